"""The state of hub couplings: a tall matrix of integers, its wide columns, and who is live."""

import torch
from torch import Tensor

from hopmask._checks import check_whole
from hopmask._room import check_room, check_room_to_move, zeros
from hopmask.couplings.levels import Levels
from hopmask.errors import ConfigError, ReadOnlyMemoryError
from hopmask.patterns.hadamard import OrthogonalKeys

MOST_HUBS = 1 << 16  # up to which sums of a row's couplings are counted exactly in floats
KINDS = {"int8": torch.int8, "int16": torch.int16}
_INT8_HUBS = 256  # hubs up to which precision "auto" takes int8


class HubState:
    """What `HubCouplings` keep; see there for the arguments and attributes."""

    rule_name = "storkey"
    dtype = torch.float32  # of fields

    def __init__(
        self,
        neurons: int,
        *,
        hubs: int,
        seed: int,
        born: int | None = None,
        precision: str = "auto",
        device: str | torch.device = "cpu",
    ) -> None:
        check_whole(neurons, "the number of mask neurons")
        born = hubs if born is None else born
        for what, number in (("hubs", hubs), ("hubs at birth", born)):
            check_whole(number, what, least=2)
            if number & (number - 1) or number > MOST_HUBS:
                raise ConfigError(
                    f"{what} must be a power of two from 2 to {MOST_HUBS}, since keys are rows of "
                    f"a Hadamard matrix, got {number}"
                )
        if born > hubs:
            raise ConfigError(f"hubs at birth ({born}) exceed the hubs ({hubs})")
        if precision not in ("auto", *KINDS):
            raise ConfigError(f"precision must be auto, {' or '.join(KINDS)}, got {precision!r}")
        self.precision, self.keys = precision, OrthogonalKeys(seed=seed, born=born)
        kind = narrow_type(precision, hubs)
        check_room(_nbytes(neurons, hubs, born, kind), device, f"couplings with {hubs} hubs")
        self.narrow = zeros(neurons, hubs, dtype=kind, device=device)
        self.wide = zeros(neurons, hubs // born, dtype=torch.int32, device=device)
        self.live = zeros(hubs, dtype=torch.bool, device=device)
        self.levels: Levels | None = None
        self._peak = 0  # no narrow coupling is larger

    @property
    def neurons(self) -> int:
        """D, number of mask neurons."""
        return len(self.narrow)

    @property
    def hubs(self) -> int:
        """K, number of hubs, and of tasks that fit."""
        return self.narrow.shape[1]

    @property
    def size(self) -> int:
        """Number of all neurons, D + K."""
        return self.neurons + self.hubs

    @property
    def count(self) -> int:
        """Number of tasks held."""
        return int(self.live.sum())

    @property
    def device(self) -> torch.device:
        """Where A lives."""
        return self.narrow.device

    @property
    def nbytes(self) -> int:
        """Bytes of A, its wide columns and one flag per hub; independent of `count`."""
        return self.narrow.nbytes + self.wide.nbytes + self.live.nbytes

    @property
    def load(self) -> float:
        """Tasks held per hub, k / K."""
        return self.count / self.hubs

    @property
    def mask_mean(self) -> Tensor:
        """μ of the mask neurons, column 0 over k, (D,); zeros while there are no tasks."""
        return self.wide[:, 0].to(self.dtype) / max(1, self.count)

    def grow(self) -> None:
        """Twice the hubs, exactly: A ← [A A], since a key κ of K hubs is [κ κ] of 2 K.

        Raises:
            ConfigError: too little room, or too many hubs; nothing was changed.
        """
        self.require_exact()
        hubs, born = 2 * self.hubs, self.keys.born
        if hubs > MOST_HUBS:
            raise ConfigError(f"a memory takes at most {MOST_HUBS} hubs, it has {self.hubs}")
        kind = narrow_type(self.precision, hubs)
        check_room(_nbytes(self.neurons, hubs, born, kind), self.device, f"{hubs} hubs")
        grown = zeros(self.neurons, hubs, dtype=kind, device=self.device)
        grown.view(self.neurons, 2, -1)[:] = self.narrow[:, None]
        self.narrow, self.wide = grown, self.wide.repeat(1, 2)
        self.live = torch.cat([self.live, torch.zeros_like(self.live)])

    def to(self, device: str | torch.device) -> None:
        """Move the couplings to a device.

        Raises:
            ConfigError: there is no such device, or no room on it.
        """
        try:
            check_room_to_move(self.nbytes, self.device, device, "couplings")
            self.narrow, self.wide = self.narrow.to(device), self.wide.to(device)
            self.live = self.live.to(device)
        except (RuntimeError, AssertionError, TypeError) as error:  # torch without CUDA asserts
            raise ConfigError(f"the couplings cannot be moved to {device!r}: {error}") from error

    def restore(self, narrow: Tensor, wide: Tensor, live: Tensor, levels: Levels | None) -> None:
        """Take over tensors that were read from a file; they are kept."""
        self.narrow, self.wide, self.live, self.levels = narrow, wide, live, levels
        self._peak = torch.iinfo(narrow.dtype).max  # until the first change measures it

    def arrays(self) -> dict[str, Tensor]:
        """The tensors of the state, by the names under which they stand in a file."""
        return {"narrow": self.narrow, "wide": self.wide, "live": self.live}

    def require_exact(self) -> None:
        """Raise ReadOnlyMemoryError where the couplings were rounded for a smaller file."""
        if self.levels is not None:
            raise ReadOnlyMemoryError(
                f"the memory was saved with {self.levels.bits} bits per coupling and cannot be "
                "changed any more: load the file that was saved without bits=, and change that"
            )


def narrow_type(precision: str, hubs: int) -> torch.dtype:
    """Integers of the narrow couplings of so many hubs."""
    if precision == "auto":
        precision = "int8" if hubs <= _INT8_HUBS else "int16"
    return KINDS[precision]


def _nbytes(neurons: int, hubs: int, born: int, kind: torch.dtype) -> int:
    return neurons * (hubs * kind.itemsize + 4 * (hubs // born)) + hubs
