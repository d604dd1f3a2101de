"""Hit: what a recall answers, and how far to trust it."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from hopmask.patterns.layout import Masks


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a recall did: every step of every basin visited, in order; row 0 is the first start.

    Attributes:
        basin: which basin a row belongs to, 0, 1, 2 ..., (rows,).
        energy: E of the state, (rows, batch).
        penalty: penalty of the state, (rows, batch); None without a penalty.
        overlap: (1/d) Σ z z' of the state with the answer, in [-1, 1], (rows, batch).
        states: the state, in [-1, 1], (rows, batch, d).

    Example:
        >>> import torch
        >>> from hopmask import Reservoir, Search
        >>> reservoir = Reservoir(16)
        >>> reservoir.store(torch.ones(16))
        >>> trace = reservoir.recall(torch.ones(16), search=Search(trace=True)).trace
        >>> float(trace.overlap[-1, 0])
        1.0

    Source:
        Overlap and energy as in Amit, Gutfreund, Sompolinsky 1985.
    """

    basin: Tensor
    energy: Tensor
    penalty: Tensor | None
    overlap: Tensor
    states: Tensor


@dataclass(frozen=True, kw_only=True)
class Hit:
    """Answer of `MaskMemory.recall`; batch dimensions (...) are those of the cue.

    Attributes:
        masks: bool, name -> (..., *shape). Always there; `verified` says whether to trust them.
        task: number of the task whose key is nearest to the recalled one; int, or long (batch,).
        residual: ρ of the answer, 0 for a memory, 1/4 for a 3-mixture, about 1 for noise.
        energy: E = −½ zᵀΨz of the joint state; of hub couplings E = −zᵀ A κ / K.
        steps: updates until the state stopped changing, over all basins visited.
        verified: a key that is exactly a task's, and check bits, or a digest, that prove every bit
            of the answer right.
        margin: recall by data: F(next) − F(answer), F = penalty − w · agreement with the cue, which
            includes the key that the content address guesses (see `search.py`), next the best of
            the other basins visited, and no more than its penalty lies below a random state's; −∞
            where no basin was a memory; NaN for one basin, and for recall by number or damaged
            mask. Of hub couplings: where no second candidate was needed, as if the next one had the
            same penalty; where only one was allowed, by how much its penalty lies below a random
            state's.
        recognized: verified (where the memory is exact), and by data: the margin is at least
            `Search.recognition_margin` (2, for a penalty in nats of entropy) and the signature,
            where there is one, is no stranger to the content address; by damaged mask: it agrees
            with the answer by 5
            standard deviations of chance or more, chance being a random mask like those stored.
            False says "none of mine", or "I cannot decide".
        unstable: spins of the answer that the energy alone would flip; the check bits mended them.
        trace: step by step record, where a trace was wanted.
        extras: what else belongs to the task, name -> (..., *shape); empty where there is nothing.

    `verified` says that the answer is a memory, not that it is the right one: with a weak cue and
    more memories than `max_basins`, another may fit better.

    Example:
        >>> from hopmask import MaskMemory
        >>> memory = MaskMemory({"h": 64})
        >>> import torch
        >>> memory.store({"h": torch.arange(64) % 3 == 0})
        0
        >>> memory.recall(task=0).verified
        True

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.5; the checks are hopmask's own.
    """

    masks: Masks
    task: Any
    residual: Any
    energy: Any
    steps: Any
    verified: Any
    margin: Any
    recognized: Any
    unstable: Any
    trace: Trace | None
    extras: dict[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        layers = ", ".join(f"{name} {tuple(mask.shape)}" for name, mask in self.masks.items())
        named = ("task", "verified", "recognized", "residual", "energy", "margin", "steps")
        facts = [f"{name}={_short(getattr(self, name))}" for name in named]
        return f"Hit({', '.join(facts)}; masks {layers})"


@dataclass(frozen=True, kw_only=True)
class SpinHit:
    """Answer of `Reservoir.recall`; batch dimensions are those of the cue.

    Attributes:
        spins: ±1, (..., d).
        residual: ρ of the answer, 0 for a memory, 1/4 for a 3-mixture, about 1 for noise; (...).
        energy: E = −½ zᵀΨz of the answer; (...).
        steps: updates until the state stopped changing, over all basins visited; (...).
        verified: the answer is a fixed point and its residual is that of a memory; (...).
        trace: step by step record, where a trace was wanted.

    Example:
        >>> import torch
        >>> from hopmask import Reservoir
        >>> reservoir = Reservoir(16)
        >>> reservoir.store(torch.ones(16))
        >>> float(reservoir.recall(torch.ones(2, 16)).residual.max()) < 0.1
        True

    Source:
        Residual as a test of recall: hopmask's own; see `LearningRule.residual`.
    """

    spins: Tensor
    residual: Tensor
    energy: Tensor
    steps: Tensor
    verified: Tensor
    trace: Trace | None


def _short(value: object) -> str:
    """A figure, or the first few of a batch, in a few characters."""
    if isinstance(value, Tensor):
        few = ", ".join(_short(item) for item in value[:4].tolist())
        return f"[{few}{', ...' if len(value) > 4 else ''}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
