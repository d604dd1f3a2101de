"""Dense couplings: one matrix Ψ between all spins, and the mean of the patterns it holds."""

import torch
from torch import Tensor

from hopmask._checks import check_whole
from hopmask._room import check_room, check_room_to_move, zeros
from hopmask._undisturbed import undisturbed
from hopmask.couplings.rules import LearningRule, rule_named
from hopmask.errors import ConfigError, DuplicateError, NumericalError

LARGEST = 16_384  # spins: beyond it Ψ alone takes more than 1 GiB, and no file holds it
RESIDUAL_TOLERANCE = 0.1  # above it a state is no memory; a 3-mixture has 0.25
_DUPLICATE_RESIDUAL = 0.2  # a fixed point this close to the stored span is a stored pattern


def check_size(size: int) -> None:
    """Raise ConfigError unless dense couplings can have so many spins."""
    check_whole(size, "size (spins)")
    if size > LARGEST:
        raise ConfigError(
            f"dense couplings take at most {LARGEST} spins, got {size}: their matrix is quadratic "
            "in the mask. Use fewer mask bits, several smaller memories, or couplings='hub'"
        )


class DenseCouplings:
    """Ψ (d, d) and μ (d,): E(z) = −½ zᵀΨz, h(z) = Ψz, μ ← ((k−1) μ + z)/k.

    Args:
        size: d, number of spins, at most 16,384.
        rule: learning rule, by name or as an object.
        dtype: torch.float32 or torch.float64.
        device: where Ψ lives.

    Attributes:
        psi: Ψ, (d, d).
        mean: μ, (d,).
        count: number of patterns held.
        rule: the learning rule.

    Raises:
        ConfigError: size, rule, dtype or device that nothing can be built from.

    Example:
        >>> couplings = DenseCouplings(16)
        >>> couplings.write(torch.ones(16))
        >>> float(couplings.residual(torch.ones(16))) < 0.1
        True

    Source:
        Hopfield 1982; Storkey 1997; Wortsman et al. 2020 (arXiv 2006.14769), section 3.5.
    """

    def __init__(
        self,
        size: int,
        *,
        rule: str | LearningRule = "storkey",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        check_size(size)
        if dtype not in (torch.float32, torch.float64):
            raise ConfigError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        self.rule = rule_named(rule)
        check_room(size**2 * dtype.itemsize, device, f"couplings of {size} x {size} spins")
        self.psi = zeros(size, size, dtype=dtype, device=device)
        self.mean = torch.zeros(size, dtype=dtype, device=device)
        self.count = 0

    @classmethod
    def of(cls, psi: Tensor, mean: Tensor, count: int, *, rule: LearningRule) -> "DenseCouplings":
        """Couplings around tensors that were read from a file or copied; they are kept."""
        found = cls(len(mean), rule=rule, dtype=psi.dtype, device="meta")
        found.psi, found.mean, found.count = psi, mean, count
        return found

    @property
    def size(self) -> int:
        """d, number of spins."""
        return len(self.mean)

    @property
    def rule_name(self) -> str:
        """Name of the learning rule."""
        return self.rule.name

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of Ψ."""
        return self.psi.dtype

    @property
    def device(self) -> torch.device:
        """Where Ψ lives."""
        return self.psi.device

    @property
    def nbytes(self) -> int:
        """Bytes of Ψ, μ and the counter; independent of `count`."""
        return (self.psi.numel() + self.mean.numel()) * self.psi.element_size() + 8

    @property
    def load(self) -> float:
        """α = count / d."""
        return self.count / self.size

    def clone(self) -> "DenseCouplings":
        """The same couplings in tensors of their own."""
        return self.of(self.psi.clone(), self.mean.clone(), self.count, rule=self.rule)

    def to(self, device: str | torch.device) -> None:
        """Move Ψ and μ to a device.

        Raises:
            ConfigError: there is no such device, or no room on it.
        """
        try:
            check_room_to_move(self.psi.nbytes, self.device, device, "couplings")
            self.psi, self.mean = self.psi.to(device), self.mean.to(device)
        except (RuntimeError, AssertionError, TypeError) as error:  # torch without CUDA asserts
            raise ConfigError(f"the couplings cannot be moved to {device!r}: {error}") from error

    def write(self, pattern: Tensor) -> None:
        """Store one valid pattern (d,); see `Couplings.write`."""
        field = self.field(pattern)
        if not bool(torch.isfinite(field).all()):
            raise NumericalError("Ψ holds NaN or infinity: nothing was stored. Load a saved memory")
        stable = self.count > 0 and bool((field * pattern > 0).all())
        if stable and bool(self.residual(pattern) < _DUPLICATE_RESIDUAL):
            raise DuplicateError(
                f"the pattern, or its negative, is stored already (one of {self.count}), or made "
                "up of stored ones: a second copy would distort the memory. Skip it"
            )
        with undisturbed():
            self.rule.update(self.psi, pattern)
            self.count += 1
            self.mean += (pattern - self.mean) / self.count

    def remove(self, pattern: Tensor) -> None:
        """Take a pattern (d,) out that is held; see `Couplings.remove`."""
        with undisturbed():
            self.rule.remove(self.psi, pattern)
            self.count -= 1
            if self.count:
                self.mean += (self.mean - pattern) / self.count
            else:
                self.mean.zero_()

    def holds(self, pattern: Tensor) -> bool:
        """Whether one pattern (d,) itself, not its negative, is stored, as far as Ψ and μ show.

        Where the rule decides it (`LearningRule.signed_share`), from Ψ and μ together; else the
        pattern must be recalled by itself and agree with μ.
        """
        share = self.rule.signed_share(self.psi, self.mean, self.count, pattern)
        if share is not None:
            return share > 0.5  # +1 for a pattern stored, −1 for its negative, else in between
        return bool(self.is_memory(pattern)) and bool(pattern @ self.mean > 0)

    def field(self, state: Tensor) -> Tensor:
        """h = Ψz, as the rule defines it, of states (..., d); (..., d)."""
        return self.rule.field(self.psi, state)

    def energy(self, state: Tensor) -> Tensor:
        """E(z) = −½ zᵀΨz of states (..., d); (...)."""
        return -0.5 * (state * self.field(state)).sum(-1)

    def residual(self, state: Tensor) -> Tensor:
        """ρ of states (..., d); see `LearningRule.residual`; (...)."""
        return self.rule.residual(self.psi, state)

    def unstable(self, state: Tensor) -> Tensor:
        """How many spins of ±1 states (..., d) the energy would flip, z_i h_i <= 0; (...)."""
        return (self.field(state) * state <= 0).sum(-1)

    def is_memory(self, state: Tensor) -> Tensor:
        """Whether ±1 states (..., d) are fixed points with the residual of a memory; (...)."""
        return (self.unstable(state) == 0) & (self.residual(state) <= RESIDUAL_TOLERANCE)

    def check_finite(self) -> None:
        """Raise NumericalError where Ψ or μ holds NaN or infinity."""
        if not bool(torch.isfinite(self.mean).all() and torch.isfinite(self.psi.sum())):
            raise NumericalError("Ψ holds NaN or infinity: load a saved memory")

    def arrays(self) -> dict[str, Tensor]:
        """Ψ as `psi` and μ as `mean`."""
        return {"psi": self.psi, "mean": self.mean}
