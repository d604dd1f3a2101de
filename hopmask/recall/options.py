"""Options of a recall's search, in one frozen object."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from hopmask._checks import is_real, is_whole
from hopmask.errors import ConfigError
from hopmask.recall.dynamics import SETTLE, Dynamics

BASINS = 8  # visited at most, unless a search says otherwise


OF_DATA = ("min_margin", "agreement_weight", "recognition_margin")
"""Options of a `Search` that a recall by number or by a damaged mask has no use for."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a recall searches.

    Args:
        dynamics: of dense couplings: parts of each descent, run in order.
        max_basins: basins to visit at most; default 8 for a recall by number or by data, and 1 by
            a damaged mask alone, whose first basin is nearly always the answer. Of hub couplings:
            candidates whose penalties are compared, by data alone.
        min_margin: by data: visit no more basins once the best is ahead of the next by this margin,
            in the penalty's units; default: visit all `max_basins`. Of hub couplings: a first
            candidate is compared with no other if its penalty lies below a random state's by this
            margin, and its agreement alone leads by half of it, by the recognition margin, and by
            four standard deviations.
        agreement_weight: by data: w, the penalty that full agreement with the cue is worth, by
            default 5; of hub couplings the penalty that one standard deviation of agreement, or one
            nat of evidence, is worth, by default 0.5.
        recognition_margin: by data: the margin from which on an answer counts as recognized. The
            defaults of w and this margin are for a penalty in nats of entropy.
        trace: record energy, penalty, overlap and state at every step.

    Raises:
        ConfigError: an option out of its range.

    Example:
        >>> Search(max_basins=3).trace
        False

    Source:
        hopmask's own.
    """

    dynamics: Sequence[Dynamics] = SETTLE
    max_basins: int | None = None
    min_margin: float = inf
    agreement_weight: float | None = None
    recognition_margin: float = 2.0
    trace: bool = False

    def given(self, *names: str) -> str | None:
        """The first of these options that is not the default; None where all are.

        Args:
            names: of options.

        Example:
            >>> Search(min_margin=2.0).given("max_basins", "min_margin")
            'min_margin'
        """
        usual = type(self)()
        return next((n for n in names if getattr(self, n) != getattr(usual, n)), None)

    def __post_init__(self) -> None:
        parts = isinstance(self.dynamics, Sequence) and len(self.dynamics) > 0
        if not parts or not all(hasattr(part, "from_mean") for part in self.dynamics):
            raise ConfigError(
                f"dynamics must hold at least one part, such as (MeanField(), SignPolish()), "
                f"got {self.dynamics!r}"
            )
        if self.max_basins is not None and not is_whole(self.max_basins):
            raise ConfigError(
                f"max_basins must be a whole number of at least 1, got {self.max_basins!r}"
            )
        for name in ("min_margin", "agreement_weight", "recognition_margin"):
            value = getattr(self, name)
            if name == "agreement_weight" and value is None:
                continue
            if not is_real(value) or not value > 0:
                raise ConfigError(f"{name} must be positive, got {value!r}")
