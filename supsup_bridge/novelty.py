"""NNs: a learner that is not told which task it sees, and decides by itself when a mask is new."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.bank import MaskBank
from supsup_bridge.inference import slopes
from supsup_bridge.networks import FixedNetwork, Masks
from supsup_bridge.objectives import Objective
from supsup_bridge.store import GrowingStore
from supsup_bridge.training import MaskTrainer, TrainingSettings

_log = logging.getLogger(__name__)
EPSILON = 0.04
_SILENT = 1e-5  # spread of a layer's supports, relative to Σ|g|, that is no more than rounding


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Answer of a novelty test.

    Attributes:
        mask: the mask that the images suit best.
        strength: how well they do, in the test's own units.
        new: whether the images are of a task that no mask was learned for.
        blind: the images say nothing; then neither known nor new.
    """

    mask: int
    strength: float
    new: bool
    blind: bool = False


class Novelty(Protocol):
    """What a `FreeLearner` asks: `NoveltyTest` over a bank, `RecallNovelty` over a memory."""

    @property
    def network(self) -> FixedNetwork:
        """The fixed network."""
        ...

    @property
    def store(self) -> GrowingStore:
        """Where masks go."""
        ...

    def judge(self, images: Tensor) -> Verdict:
        """Judge images (n, ...), all of one task."""
        ...

    def state(self) -> dict[str, Any]:
        """What earlier judgements left."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the `state` of another test over the same store."""
        ...


class NoveltyTest:
    """Are these images of a task that one of k masks was learned for?

    The support of mask i in layer l is s_il = −⟨g_l, M_il⟩ with g = ∂H/∂M at the superposition of
    the k masks and one blank mask, level at each layer's density ρ: M̄ = (Σ M_i + ρ)/(k + 1). A mask
    unrelated to the images, its bits independent with means M̄, has mean −⟨g_l, M̄_l⟩ and variance
    σ_l² = Σ g_l² M̄_l(1 − M̄_l). The layer in which a mask stands out most decides:
    z_i = max_l (s_il + ⟨g_l, M̄_l⟩)/σ_l, and the images are new where ε · max_i z_i < 1.

    The paper asks whether k · max softmax(s) < 1 + ε instead. That is always so for k = 1, and for
    many masks the scale of ∇H shrinks: with 20 masks of PermutedMNIST it measured 1.13 to 1.15 for
    unknown tasks and 1.22 for a known one, with 2 masks up to 1.4 for unknown ones, so that no one
    ε serves both. z was 41 to 94 for known tasks, from 100 batches of training on, and at most 21
    for unknown ones, 8 from 20 masks on (1 to 39 masks, held-out training images). These figures
    are of PermutedMNIST and masks trained with dilution. Where tasks share their inputs' statistics
    (the split benchmarks), a mask is as sure of another task's images as of its own, and neither
    statistic tells them apart.

    Args:
        network: the fixed network.
        bank: the masks.
        objective: H.
        epsilon: 1/ε is the z from which on a mask is known.

    Raises:
        ConfigError: an epsilon that is not positive.

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.6 (NNs); the statistic z is ours.
    """

    def __init__(
        self,
        *,
        network: FixedNetwork,
        bank: MaskBank,
        objective: Objective,
        epsilon: float = EPSILON,
    ) -> None:
        if not epsilon > 0:
            raise ConfigError(f"epsilon must be positive, got {epsilon}")
        self.network, self.store, self.objective = network, bank, objective
        self.epsilon = epsilon

    def judge(self, images: Tensor) -> Verdict:
        """Judge images (n, ...), all of one task; the verdict's strength is z.

        Raises:
            EmptyMemoryError: the bank holds no mask.
        """
        count = self.store.count
        mean = {n: (count * m + m.mean()) / (count + 1) for n, m in self.store.mean.items()}
        slope = slopes(self.network, self.objective, images[None], mean)
        best = torch.full((count,), -torch.inf, device=images.device)
        for layer, gradient in slope.items():
            alone = {name: g[0] * (name == layer) for name, g in slope.items()}
            spread = (gradient[0].square() * mean[layer] * (1 - mean[layer])).sum().sqrt()
            expected = (gradient[0] * mean[layer]).sum()
            z = (expected - self.store.scores(alone)) / spread.clamp_min(1e-30)
            silent = spread <= _SILENT * gradient.abs().sum()  # all masks alike: rounding alone
            best = torch.maximum(best, torch.where(silent, 0, z))
        mask = int(best.argmax())
        strength = float(best[mask])
        blind = not any(bool(g.any()) for g in slope.values())
        new = self.epsilon * strength < 1 and not blind
        return Verdict(mask=mask, strength=strength, new=new, blind=blind)

    def state(self) -> dict[str, Any]:
        """Nothing: every judgement stands for itself."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to go on from."""


@dataclass(kw_only=True)
class LearnerLog:
    """What a `FreeLearner` decided.

    Attributes:
        asked: how often it asked which task it sees.
        allocated: masks it allocated.
        refused: how often it wanted one more than its budget.
        undecided: how often the images said nothing and it went on with the mask in use.
        unlearned: batches that went to a mask learned earlier, or were over budget, and trained
            nothing.
    """

    asked: int = 0
    allocated: int = 0
    refused: int = 0
    undecided: int = 0
    unlearned: int = 0


class FreeLearner:
    """Learns from a stream of labelled batches without being told which task they are of.

    Every `ask_every` batches it asks a novelty test about the batch at hand. A new task gets a
    new mask, which is trained from then on. A task of an earlier mask is served by that mask, which
    stays as it is. Where the budget is spent, a new task is served by the mask that suits it best,
    nothing is trained, and both the log and the logger say so (a warning the first time).

    Args:
        test: novelty test, and with it the network and the store.
        training: how masks are trained; the rate decays without a known end.
        ask_every: batches between two questions.
        budget: masks at most; None for no limit.
        transfer: whether scores start from the mean of the masks so far.
        scores: number of a mask -> generator of its starting scores.
        noise: number of a mask -> generator of the noise in its training.
        trained: told the images of each batch that trained the newest mask.

    Attributes:
        seen: batches so far.

    Raises:
        ConfigError: ask_every or a budget below 1.

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 3.6 (NNs).
    """

    def __init__(
        self,
        test: Novelty,
        training: TrainingSettings,
        *,
        ask_every: int,
        budget: int | None,
        transfer: bool,
        scores: Callable[[int], torch.Generator],
        noise: Callable[[int], torch.Generator],
        trained: Callable[[Tensor], None] = lambda images: None,
    ) -> None:
        if ask_every < 1 or (budget is not None and budget < 1):
            raise ConfigError(
                f"ask_every and budget must be at least 1, got {ask_every} and {budget}"
            )
        self.test, self.training = test, training
        self.ask_every, self.budget, self.transfer = ask_every, budget, transfer
        self.log = LearnerLog()
        self._scores, self._noise, self._trained = scores, noise, trained
        self._trainer: MaskTrainer | None = None  # of the newest mask, while it is trained
        self._training = -1  # its number
        self._serving = -1  # number of the mask in use
        self.seen = 0

    def learn(self, images: Tensor, labels: Tensor) -> tuple[int, float]:
        """Learn from one batch.

        Returns:
            Number of the mask that served it, and the loss; NaN where nothing was trained.

        Raises:
            NumericalError: the loss is not finite.
        """
        if self.seen % self.ask_every == 0:
            self._ask(images)
        self.seen += 1
        if self._trainer is None or self._serving != self._training:
            self.log.unlearned += 1
            return self._serving, float("nan")
        loss = self._trainer.step(images, labels)
        self._trained(images)
        return self._serving, loss

    def commit(self) -> None:
        """Bring the store up to date with the mask in training."""
        if self._trainer is not None:
            self.test.store.replace(self._training, self._trainer.masks())

    def state(self) -> dict[str, Any]:
        """All that the next batch depends on, but for the store."""
        return {
            "log": asdict(self.log),
            "seen": self.seen,
            "serving": self._serving,
            "training": self._training,
            "trainer": self._trainer.state() if self._trainer else None,
            "test": self.test.state(),
        }

    def restore(self, state: Mapping[str, Any], *, device: torch.device) -> None:
        """Go on from the `state` of a learner that was made alike, over the store it had."""
        self.log = LearnerLog(**state["log"])
        self.seen, self._serving = state["seen"], state["serving"]
        self._training = state["training"]
        self.test.restore(state["test"])
        if state["trainer"] is not None:
            self._trainer = self._new_trainer(self._training, device)
            self._trainer.restore(state["trainer"])

    def _ask(self, images: Tensor) -> None:
        store = self.test.store
        if store.count == 0:
            self._allocate(images.device)
            return
        self.commit()
        verdict = self.test.judge(images)
        self.log.asked += 1
        if verdict.blind:
            self.log.undecided += 1
        elif not verdict.new:
            self._serve(verdict.mask)
        elif self.budget is None or store.count < self.budget:
            self._allocate(images.device)
        else:
            self.log.refused += 1
            _log.log(
                logging.WARNING if self.log.refused == 1 else logging.INFO,
                "a new task after %d batches, but the budget of %d masks is spent: it is served by "
                "mask %d and not learned (raise the budget to learn it)",
                self.seen,
                self.budget,
                verdict.mask,
            )
            self._serve(verdict.mask)
            self._freeze()

    def _serve(self, mask: int) -> None:
        self._serving = mask
        if mask != self._training:
            self._freeze()

    def _freeze(self) -> None:
        """Train no mask on; the one that was trained is in the store."""
        self._trainer = None
        self._training = -1

    def _allocate(self, device: torch.device) -> None:
        store = self.test.store
        number = store.count
        mean = store.mean if self.transfer and number else None
        self._trainer = self._new_trainer(number, device, mean)
        self._training = self._serving = store.store(self._trainer.masks())
        self.log.allocated += 1

    def _new_trainer(
        self, mask: int, device: torch.device, mean: Masks | None = None
    ) -> MaskTrainer:
        return MaskTrainer(
            self.test.network,
            self.training,
            scores=self._scores(mask),
            noise=self._noise(mask),
            mean=mean,
            device=device,
        )
