"""Headroom: what a given memory can still take, tried on copies of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hopmask._checks import check_whole
from hopmask.capacity.bisection import enough, largest, spread
from hopmask.capacity.mask_sources import BiasedMasks, generator_of
from hopmask.couplings.dense import DenseCouplings
from hopmask.errors import ConfigError, EmptyMemoryError
from hopmask.memory.chance import population_means
from hopmask.memory.health import recalled_by_key
from hopmask.memory.mask_memory import MaskMemory
from hopmask.memory.reservoir import Reservoir
from hopmask.patterns.joint_code import JointCode


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a memory can still take, see `estimate`.

    Attributes:
        tasks: that it holds now.
        overlap: q, mean overlap of the spins of two of its masks; NaN with fewer than two.
        more: tasks that it took on top before too few were recalled.
        open: `more` is where the trial was ended, not where the memory did.
        recalled: share of the sampled tasks that had to come back.

    Example:
        >>> str(Estimate(tasks=3, overlap=0.1, more=8, open=True, recalled=1.0))
        '3 tasks held (mean overlap 0.100); at least 8 more of their kind'
    """

    tasks: int
    overlap: float
    more: int
    open: bool
    recalled: float

    def __str__(self) -> str:
        least = "at least " if self.open else ""
        alike = "" if self.tasks < 2 else f" (mean overlap {self.overlap:.3f})"
        return f"{self.tasks} tasks held{alike}; {least}{self.more} more of their kind"


def estimate(
    memory: MaskMemory, *, recalled: float = 1.0, most: int = 256, seed: int = 0
) -> Estimate:
    """Try how many more tasks a memory takes, on copies of it, with masks like those it holds.

    Masks are drawn with independent bits, each with a mean of its own, M + (μ − M) √s, as dense
    and as alike as those stored: μ is the memory's mean, M = (1/d) Σ μ, m = (1/d) Σ μ²,
    q = (k m − 1)/(k − 1) the mean overlap of two of its k masks, which thus follows from μ alone,
    and s = (q − M²)/(m − M²). They are stored on top, and a sample of 32 old and 32 new tasks is
    recalled by number, until fewer than `recalled` of them come back. Hub couplings are exact, so
    that nothing is tried: they take as many more as hubs are free. What it cannot know: whether
    later masks will be more alike than those before, or alike in pairs of bits, as learned masks
    are: where q is large, take it for an upper bound. From two or three masks q is a rough guess.

    Args:
        memory: not empty. It is not changed; two copies of Ψ are made.
        recalled: share of the sample that must come back, in (0, 1].
        most: tasks to try at most.
        seed: of the masks.

    Raises:
        ConfigError: a share or number out of range, or something other than a MaskMemory.
        EmptyMemoryError: nothing is stored.

    Example:
        >>> from hopmask import MaskMemory
        >>> memory = MaskMemory({"hidden": 192}, key_bits=64, signature_features=0)
        >>> for task in range(3):
        ...     _ = memory.store({"hidden": torch.arange(192) % (task + 2) == 0})
        >>> estimate(memory, most=4).tasks
        3

    Source:
        hopmask's own.
    """
    if not isinstance(memory, MaskMemory):
        raise ConfigError(
            f"estimate takes a MaskMemory, got {type(memory).__name__}: it recalls by number. For "
            "a Reservoir, measure its rule: measure(reservoir.rule, ...)"
        )
    if not isinstance(recalled, int | float) or not 0 < recalled <= 1:
        raise ConfigError(f"recalled must be a share in (0, 1], got {recalled!r}")
    check_whole(most, "most (tasks to try)")
    held, code, numbered = memory.couplings, memory.code, memory.numbered
    _require_patterns(held)
    _, overlap = population_means(held.mean[code.layout.body], held.count)
    if memory.capacity is not None:
        more = 0 if held.levels else memory.capacity - held.count
        return Estimate(tasks=held.count, overlap=overlap, more=more, open=False, recalled=recalled)
    masks = biased_masks(memory).draw(most, generator_of(seed, 0)).to(held.mean)
    masks = masks[:, code.layout.body]
    old = spread(numbered, 32)
    if numbered > held.count:  # nothing says which were forgotten: those recalled now must stay
        old = old[_by_number(held, code, old, numbered).cpu()]

    def write(couplings: DenseCouplings, number: int) -> None:
        new = number - held.count
        couplings.write(code.pattern(numbered + new, masks[new], like=held.mean)[0])

    def holds(couplings: DenseCouplings) -> bool:
        new = couplings.count - held.count
        tasks = torch.cat([old, numbered + spread(new, 32)])
        right = _by_number(couplings, code, tasks, numbered + new)
        return enough(int(right.sum()), len(right), recalled)

    more = largest(held, write, holds, most=most, first=1)
    return Estimate(
        tasks=held.count, overlap=overlap, more=more, open=more == most, recalled=recalled
    )


def biased_masks(store: MaskMemory | Reservoir) -> BiasedMasks:
    """Masks like those that a memory holds, as far as the mean μ shows; see `estimate`.

    Args:
        store: not empty. The key and check bits of a MaskMemory are drawn as coins fall.

    Raises:
        EmptyMemoryError: nothing is stored.
        ConfigError: it is no memory.

    Example:
        >>> reservoir = Reservoir(64)
        >>> reservoir.store(torch.arange(64) % 3 == 0)
        >>> biased_masks(reservoir).size
        64
    """
    if not isinstance(store, MaskMemory | Reservoir):
        raise ConfigError(f"give a MaskMemory or a Reservoir, got {type(store).__name__}")
    couplings = store.couplings
    where = slice(None) if isinstance(store, Reservoir) else store.code.layout.body
    _require_patterns(couplings)
    mean = torch.zeros_like(couplings.mean)
    mean[where], _ = population_means(couplings.mean[where], couplings.count)
    return BiasedMasks(mean=mean)


def _by_number(couplings: DenseCouplings, code: JointCode, tasks: Tensor, numbered: int) -> Tensor:
    """Which of some tasks come back by their number."""
    return recalled_by_key(couplings, code, tasks, bits=code.keys.bits, numbered=numbered)[1]


def _require_patterns(couplings: DenseCouplings) -> None:
    if couplings.count == 0:
        raise EmptyMemoryError("nothing is stored yet: there is nothing to estimate from")
