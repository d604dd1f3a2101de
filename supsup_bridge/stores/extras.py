"""Real values that belong to tasks beside their masks, one row of 16-bit floats for each task."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hopmask import Layout, MaskError
from supsup_bridge.networks.fixed import Size


class ExtraRows:
    """Extras of k tasks, every row kept, such as statistics of normalisation.

    Args:
        sizes: name -> number of values, or shape; may be empty.
        device: where they live.

    Attributes:
        rows: float16 (k, values).

    Example:
        >>> extras = ExtraRows({"bn.mean": 2})
        >>> extras.put(0, extras.row({"bn.mean": torch.tensor([0.5, 2.0])}))
        >>> extras.of(0)
        {'bn.mean': tensor([0.5000, 2.0000])}
    """

    def __init__(self, sizes: Mapping[str, Size], *, device: str | torch.device = "cpu") -> None:
        self._layout = Layout(sizes, head=0) if sizes else None
        values = self._layout.size if self._layout else 0
        self.rows = torch.empty(0, values, dtype=torch.float16, device=device)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each -> shape of its values."""
        return dict(self._layout.shapes) if self._layout else {}

    @property
    def nbytes(self) -> int:
        """Bytes of the values: two each."""
        return self.rows.numel() * self.rows.element_size()

    def row(self, extras: Mapping[str, Tensor] | None) -> Tensor:
        """Extras of one task, name -> (*shape), as a row (values,).

        Raises:
            MaskError: a name that is missing or unknown, a wrong type or shape, or a value that is
                not finite in 16 bits.
        """
        given = dict(extras or {})
        if given.keys() != self.shapes.keys():
            raise MaskError(f"extras must be {list(self.shapes)}, got {list(given)}")
        parts = [self.rows.new_zeros(0)]
        for name, shape in self.shapes.items():
            value = given[name]
            real = isinstance(value, Tensor) and value.is_floating_point()
            if not real or tuple(value.shape) != shape:
                came = tuple(value.shape) if real else type(value).__name__
                raise MaskError(f"extra '{name}' must be floats {shape}, got {came}")
            parts.append(value.detach().to(self.rows).flatten())
        row = torch.cat(parts)
        if not bool(torch.isfinite(row).all()):
            raise MaskError("extras are kept as 16-bit floats and must be finite (at most 65504)")
        return row

    def put(self, number: int, row: Tensor) -> None:
        """Keep a row under a number: in place of the one there, or as the next one."""
        if number == len(self.rows):
            self.rows = torch.cat([self.rows, row[None]])
        else:
            self.rows[number] = row

    def of(self, number: int) -> dict[str, Tensor]:
        """Extras of one task, name -> float32 (*shape)."""
        return self._split(self.rows[number].float())

    def superpose(self, weights: Tensor) -> dict[str, Tensor]:
        """Σ_i α_i e_i of weights α (k,) or (b, k), name -> float32 (*shape) or (b, *shape)."""
        return self._split((weights.double() @ self.rows.double()).float())

    def _split(self, values: Tensor) -> dict[str, Tensor]:
        return self._layout.split(values) if self._layout else {}
