"""MaskBank: SupSup's own store, every mask kept explicitly at one bit per entry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import index
from pathlib import Path

import torch
from torch import Tensor

from hopmask import (
    ConfigError,
    EmptyMemoryError,
    Layout,
    MaskError,
    NumericalError,
    UnknownTaskError,
    storage,
)
from supsup_bridge.networks.fixed import Size
from supsup_bridge.stores import bank_file
from supsup_bridge.stores.extras import ExtraRows
from supsup_bridge.stores.packed import combine, pack, products, unpack


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Answer of `MaskBank.recall`.

    Attributes:
        masks: bool, name -> (*shape); a copy.
        extras: what else belongs to the task, name -> float32 (*shape).
        task: the number that was given.
        steps, verified: 0 and True: nothing has to be searched for.
    """

    masks: dict[str, Tensor]
    task: int
    extras: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    verified: bool = True


class MaskBank:
    """Supermasks of many tasks, each of them kept: exact, and growing by its bits with each task.

    Two tasks may have the same masks.

    Args:
        sizes: name of each layer -> number of bits, or shape, of its mask. Fixed for life.
        extras: name -> number, or shape, of real values that belong to a task beside its masks,
            such as statistics of normalisation; kept as 16-bit floats.
        device: where the masks live.

    Raises:
        ConfigError: sizes that nothing can be built from, or an extra named like a mask.

    Example:
        >>> bank = MaskBank({"hidden": (2, 3)})
        >>> mask = torch.tensor([[True, False, True], [False, False, True]])
        >>> bank.store({"hidden": mask})
        0
        >>> torch.equal(bank.recall(task=0).masks["hidden"], mask)
        True
        >>> bank.scores({"hidden": torch.ones(2, 3)})
        tensor([3.])

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), eqs. 2-4 and the section on storing masks.
    """

    @torch.inference_mode(False)  # or it could not be changed outside of it
    def __init__(
        self,
        sizes: Mapping[str, Size],
        *,
        extras: Mapping[str, Size] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self._layout, extras = Layout(sizes, head=0), extras or {}
        if both := sorted({*sizes} & {*extras}):
            raise ConfigError(f"extra {both[0]!r} is named like a mask: give it another name")
        self._extras = ExtraRows(extras, device=device)
        self._reserve = torch.empty(0, -(-self._layout.size // 8), dtype=torch.uint8, device=device)
        self._counts = torch.zeros(self._layout.size, dtype=torch.int32, device=device)
        self.count = 0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each layer -> shape of its mask."""
        return dict(self._layout.shapes)

    @property
    def mean(self) -> dict[str, Tensor]:
        """Mean of all masks, (1/k) Σ_i M_i: name -> float32 levels in [0, 1].

        It comes from exact counts that are kept, so its cost does not depend on k.

        Raises:
            EmptyMemoryError: nothing is stored.
        """
        self._require_masks()
        return self._layout.split((self._counts.double() / self.count).float())

    @property
    def mean_extras(self) -> dict[str, Tensor]:
        """Mean of the tasks' extras, name -> float32 (*shape); empty where there are none.

        Raises:
            EmptyMemoryError: nothing is stored.
        """
        self._require_masks()
        weights = self._counts.new_full((self.count,), 1 / self.count, dtype=torch.float64)
        return self._extras.superpose(weights)

    @property
    def packed_nbytes(self) -> int:
        """Bytes of the masks: k ⌈w/8⌉ for w bits per task."""
        return self._rows.numel()

    @property
    def nbytes(self) -> int:
        """Bytes of the state: the packed masks, an int32 count per bit, and the extras.

        Not in it, because nothing stands in it: room for up to k/8 + 16 further tasks, so that not
        every `store` moves the masks.
        """
        counts = self._counts.numel() * self._counts.element_size()
        return self.packed_nbytes + counts + self._extras.nbytes

    @torch.inference_mode(False)
    def store(
        self,
        masks: Mapping[str, Tensor],
        *,
        signature: Tensor | None = None,
        extras: Mapping[str, Tensor] | None = None,
    ) -> int:
        """Store one task's masks; the tensors are not kept.

        Args:
            masks: name -> bool or {0, 1} of the layer's shape; every layer, no other.
            signature: ignored. A bank finds a task by `scores` and needs no content address; it is
                here so that a bank stands in for a MaskMemory.
            extras: name -> values of every extra that the bank was built with.

        Returns:
            The task's number: 0, 1, 2 ...

        Raises:
            MaskError: a wrong name, shape, type or value.
        """
        bits, row = self._bits(masks), self._extras.row(extras)
        if self.count == len(self._reserve):
            grown = self._reserve.new_empty(
                self.count + self.count // 8 + 16, self._reserve.shape[1]
            )
            grown[: self.count] = self._reserve
            self._reserve = grown
        self._extras.put(self.count, row)
        self._reserve[self.count] = pack(bits)
        self._counts += bits
        self.count += 1
        return self.count - 1

    def replace(
        self,
        task: int,
        masks: Mapping[str, Tensor],
        *,
        extras: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Put other masks in the place of a task's, for example those of a longer training.

        Raises:
            EmptyMemoryError: nothing is stored.
            UnknownTaskError: no task of that number.
            MaskError: a wrong name, shape, type or value.

        Example:
            >>> bank = MaskBank({"h": 2})
            >>> task = bank.store({"h": torch.tensor([True, False])})
            >>> bank.replace(task, {"h": torch.tensor([True, True])})
            >>> bank.mean
            {'h': tensor([1., 1.])}
        """
        number = self._known(task)
        bits, row = self._bits(masks), self._extras.row(extras)
        self._extras.put(number, row)
        self._counts += bits.int() - unpack(self._rows[number], self._layout.size).int()
        self._reserve[number] = pack(bits)

    def recall(self, *, task: int) -> Stored:
        """One task's masks and extras, bit for bit.

        Raises:
            EmptyMemoryError, UnknownTaskError: nothing is stored, or no task of that number.
        """
        number = self._known(task)
        bits = unpack(self._rows[number], self._layout.size)
        masks = self._layout.split(bits)
        return Stored(masks=masks, task=number, extras=self._extras.of(number))

    def scores(self, gradient: Mapping[str, Tensor]) -> Tensor:
        """Products of a gradient by the mask with all masks, s_i = ⟨g, M_i⟩.

        With g = ∂H/∂M at the superposition M = Σ_i α_i M_i this is ∂H/∂α_i, for all tasks at once.
        Equal masks have equal scores, and those of a gradient do not depend on the others given;
        for the error see `supsup_bridge.stores.packed.products`.

        Args:
            gradient: float, name -> (*shape) or (b, *shape); every layer, no other.

        Returns:
            (k,) or (b, k), k = 0 where nothing is stored; float64 for float64, else float32.

        Raises:
            MaskError: a wrong name, type or shape.
            NumericalError: NaN or infinity, or a score too large for its type.

        Source:
            Wortsman et al. 2020 (arXiv 2006.14769), eq. 4.
        """
        parts, batches = [], set()
        for name in gradient:
            if name not in self.shapes:
                raise MaskError(f"unknown gradient {name!r}: the bank holds {list(self.shapes)}")
        for name, shape in self.shapes.items():
            if name not in gradient:
                raise MaskError(f"gradient '{name}' is missing: the bank holds {list(self.shapes)}")
            part = gradient[name]
            real = isinstance(part, Tensor) and part.is_floating_point()
            came = tuple(part.shape) if real else type(part).__name__
            if not real or part.shape[-len(shape) :] != shape or part.ndim > len(shape) + 1:
                raise MaskError(
                    f"gradient '{name}' must be floats {shape} or (batch, ...), got {came}"
                )
            if not bool(torch.isfinite(part).all()):
                raise NumericalError(f"gradient '{name}' holds NaN or infinity")
            batches.add(part.shape[: part.ndim - len(shape)])
            parts.append(part.detach().to(self._counts.device).flatten(-len(shape)))
        if len(batches) > 1:
            raise MaskError("the layers of a gradient must have one batch size")
        joined = torch.cat(parts, -1)
        found = products(self._rows, joined.reshape(-1, self._layout.size))
        return found if joined.ndim == 2 else found[0]

    def superpose(self, weights: Tensor) -> dict[str, Tensor]:
        """Superposition of all masks, M = Σ_i α_i M_i, and beside them of their extras.

        Args:
            weights: α, float, (k,) or (b, k).

        Returns:
            name -> (*shape) or (b, *shape): float64 for float64 weights, else float32; extras are
            float32.

        Raises:
            EmptyMemoryError: nothing is stored.
            ConfigError: weights of a wrong type or shape.
            NumericalError: NaN or infinity.

        Source:
            Wortsman et al. 2020 (arXiv 2006.14769), eq. 3.
        """
        self._require_masks()
        real = isinstance(weights, Tensor) and weights.is_floating_point()
        if not real or weights.ndim not in (1, 2) or weights.shape[-1] != self.count:
            came = tuple(weights.shape) if real else type(weights).__name__
            raise ConfigError(
                f"weights must be floats ({self.count},) or (batch, {self.count}), got {came}"
            )
        alphas = weights.detach().to(self._counts.device)
        levels = combine(self._rows, alphas.reshape(-1, self.count), self._layout.size)
        masks = self._layout.split(levels if weights.ndim == 2 else levels[0])
        return {**masks, **self._extras.superpose(alphas)}

    def save(self, path: str | Path) -> storage.Stamp:
        """Commit the bank to an HDF5 file, durably; a file that stood there becomes NAME.prev.

        Returns:
            The file's generation and SHA-256.

        Raises:
            CommitFailedError, StoreLockedError: the file cannot be written now; it is as it was.
            StoreFileError: the path names no file.
        """
        rows, halves = self._rows.cpu().numpy(), self._extras.rows.cpu().numpy()
        parts = bank_file.BankParts(self.shapes, self._extras.shapes, rows, halves)
        return storage.write(path, bank_file.document_of(parts))

    @classmethod
    @torch.inference_mode(False)
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        expect_sha256: str | None = None,
    ) -> "MaskBank":
        """Read a bank that `save` wrote, bit for bit; `expect_sha256` is as in `hopmask.load`.

        Raises:
            StoreNotFoundError: there is no such file.
            NotAHopmaskStoreError: it is something else.
            SchemaTooNewError: a newer version wrote it.
            CorruptStoreError, UnsafeStoreError: it is truncated, altered, or none that was written.
        """
        parts = bank_file.read(path, sha256=expect_sha256)
        bank = cls(parts.layers, extras=parts.extras, device=device)
        bank._extras.rows = torch.tensor(parts.halves, dtype=torch.float16, device=device)
        bank._reserve = torch.tensor(parts.rows, dtype=torch.uint8, device=device)
        bank.count = len(parts.rows)
        ones = torch.ones(1, bank.count, dtype=torch.float32, device=device)
        bank._counts = combine(bank._reserve, ones, bank._layout.size)[0].int()
        return bank

    @property
    def _rows(self) -> Tensor:
        """The packed masks, (k, P)."""
        return self._reserve[: self.count]

    def _bits(self, masks: Mapping[str, Tensor]) -> Tensor:
        """Masks as one bool vector (w,)."""
        return self._layout.join(masks).to(self._counts.device) > 0

    def _known(self, task: int) -> int:
        """A task's number, checked."""
        self._require_masks()
        try:
            number = -1 if isinstance(task, bool) else index(task)
        except TypeError:
            number = -1
        if not 0 <= number < self.count:
            raise UnknownTaskError(
                f"unknown task {task!r}: the bank holds tasks 0 to {self.count - 1}"
            )
        return number

    def _require_masks(self) -> None:
        if self.count == 0:
            raise EmptyMemoryError("the bank is empty: store masks before recalling them")
