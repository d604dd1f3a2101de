"""Hit: what a recall answers, and how far to trust it."""

from dataclasses import dataclass
from typing import Any

from hopmask.layout import Masks
from hopmask.search import Trace


@dataclass(frozen=True, kw_only=True)
class Hit:
    """Answer of `MaskMemory.recall`; batch dimensions (...) are those of the cue.

    Attributes:
        masks: bool, name -> (..., *shape). Always there; `converged` says whether to trust them.
        task: number of the task whose key is nearest to the recalled one; int, or long (batch,).
        residual: ρ of the answer, 0 for a memory, 1/4 for a 3-mixture, about 1 for noise.
        energy: E = −½ zᵀΨz of the joint state.
        steps: updates until the state stopped changing, over all basins visited.
        converged: a key that is exactly a task's, and check bits that prove every bit of the answer
            right.
        margin: recall by data: F(next) − F(answer), F = penalty − w · agreement with the cue, which
            includes the key that the content address guesses (see `search.py`), next the best of
            the other basins visited, and no more than its penalty lies below a random state's; −∞
            where no basin was a memory; NaN for one attempt, and for recall by number or damaged
            mask.
        known: converged, and by data: the margin is at least 2 (nats of entropy; a penalty in other
            units asks for a rule of your own on `margin`) and the signature, where there is one, is
            no stranger to the content address; by damaged mask: it agrees with the answer by 5
            standard deviations of chance or more. False says "none of mine", or "I cannot tell".
        unstable: spins of the answer that the energy alone would flip; the check bits mended them.
        trace: step by step record, if asked for.

    `converged` says that the answer is a memory, not that it is the right one: with a weak cue and
    more memories than `attempts`, another may fit better.

    Example:
        >>> from hopmask import MaskMemory
        >>> memory = MaskMemory({"h": 64})
        >>> import torch
        >>> memory.store({"h": torch.arange(64) % 3 == 0})
        0
        >>> memory.recall(task=0).converged
        True

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.5; the checks are hopmask's own.
    """

    masks: Masks
    task: Any
    residual: Any
    energy: Any
    steps: Any
    converged: Any
    margin: Any
    known: Any
    unstable: Any
    trace: Trace | None
