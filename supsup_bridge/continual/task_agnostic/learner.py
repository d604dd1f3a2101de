"""A learner that decides by itself when a mask is new."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from hopmask import ConfigError, undisturbed
from supsup_bridge.continual.task_agnostic.in_place_memory import Stage
from supsup_bridge.continual.task_agnostic.novelty import Novelty
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.training.settings import TrainingSettings
from supsup_bridge.training.trainer import MaskTrainer

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class LearnerLog:
    """What a `TaskAgnosticLearner` decided.

    Attributes:
        asked: how often a novelty test judged a batch.
        allocated: masks it allocated.
        refused: how often it wanted one more than its budget.
        undecided: how often the images said nothing and the mask in use stayed in use.
        unlearned: batches that went to a mask learned earlier, or were over budget, and trained
            nothing.
    """

    asked: int = 0
    allocated: int = 0
    refused: int = 0
    undecided: int = 0
    unlearned: int = 0


class TaskAgnosticLearner:
    """Learns from a stream of labelled batches whose tasks nobody names.

    Every `ask_every` batches a novelty test judges the batch at hand. A new task gets a
    new mask, which is trained from then on. A task of an earlier mask is served by that mask, which
    stays as it is. Where the budget is spent, a new task is served by the mask that suits it best,
    nothing is trained, and both the log and the logger say so (a warning the first time).

    Args:
        test: novelty test, and with it the network and the store.
        training: how masks are trained; the rate decays without a known end.
        ask_every: batches between two novelty tests.
        budget: masks at most; None for no limit.
        transfer: whether scores start from the mean of the masks so far.
        scores: number of a mask -> generator of its starting scores.
        noise: number of a mask -> generator of the noise in its training.
        trained: called with images and labels of each batch that trained the newest mask.

    Attributes:
        seen: batches so far.
        writes: how often a mask in the store was replaced or closed since the learner was made.

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
        trained: Callable[[Tensor, Tensor], None] = lambda images, labels: None,
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
        self.seen, self.writes = 0, 0
        self._ended = False  # the next batch is known to be of a new task

    def learn(self, images: Tensor, labels: Tensor) -> tuple[int, float]:
        """Learn from one batch.

        Returns:
            Number of the mask that served it, and the loss; NaN where nothing was trained.

        Raises:
            ConfigError: images or labels that do not fit the network; no mask was added.
            NumericalError: the loss is not finite; likewise.
        """
        begun: MaskTrainer | None = None
        if (self._ended and self._has_room) or self.seen % self.ask_every == 0:
            begun = self._ask(images)
        trainer = begun or (self._trainer if self._serving == self._training else None)
        if trainer is None:
            self.seen += 1
            self.log.unlearned += 1
            return self._serving, float("nan")
        loss = trainer.step(images, labels)
        with undisturbed():
            if begun is not None:
                self._add(begun)
            self.seen += 1
            self._trained(images, labels)
        return self._serving, loss

    def commit(self) -> None:
        """Bring the store up to date with the mask in training."""
        if self._trainer is not None:
            self.test.store.replace(self._training, self._trainer.masks())
            self.writes += 1

    def change_test(self, test: Novelty) -> None:
        """Judge batches in another way from now on, over the same store."""
        test.restore(self.test.state())
        self.test = test

    def close(self) -> None:
        """End the task at hand: the mask in training is stored for good, the next batch is new."""
        with undisturbed():
            self.commit()
            if isinstance(self.test.store, Stage):
                self.test.store.close()
                self.writes += 1
            self._freeze()
            self._ended = self.test.store.count > 0

    @property
    def is_open(self) -> bool:
        """Whether a mask is in training, or waits beside the memory to be closed."""
        store = self.test.store
        waits = isinstance(store, Stage) and store.closed < store.count
        return waits or self._trainer is not None

    def state(self) -> dict[str, Any]:
        """All that the next batch depends on, but for the store."""
        return {
            "log": asdict(self.log),
            "seen": self.seen,
            "ended": self._ended,
            "serving": self._serving,
            "training": self._training,
            "trainer": self._trainer.state() if self._trainer else None,
            "test": self.test.state(),
        }

    def restore(self, state: Mapping[str, Any], *, device: torch.device) -> None:
        """Continue from the `state` of a learner that was made alike, over the store it had."""
        self.log = LearnerLog(**state["log"])
        self.seen, self._serving = state["seen"], state["serving"]
        self._ended = state["ended"]
        self._training = state["training"]
        self.test.restore(state["test"])
        if state["trainer"] is not None:
            self._trainer = self._new_trainer(self._training, device)
            self._trainer.restore(state["trainer"])

    def _ask(self, images: Tensor) -> MaskTrainer | None:
        """Decide which mask serves images (n, ...): an earlier one, or the new one of a trainer."""
        store = self.test.store
        if store.count == 0 or (self._ended and self._has_room):
            return self._begun(images.device)
        if self._ended:
            self._refuse(self._serving)
            return None
        self.commit()
        verdict = self.test.judge(images)
        self.log.asked += 1
        if verdict.blind:
            self.log.undecided += 1
        elif not verdict.new:
            self._serve(verdict.mask)
        elif self._has_room:
            return self._begun(images.device)
        else:
            self._refuse(verdict.mask)
        return None

    @property
    def _has_room(self) -> bool:
        return self.budget is None or self.test.store.count < self.budget

    def _refuse(self, mask: int) -> None:
        """Serve a new task that is over budget by an earlier mask."""
        self.log.refused += 1
        _log.log(
            logging.WARNING if self.log.refused == 1 else logging.INFO,
            "a new task after %d batches, but the budget of %d masks is spent: it is served by "
            "mask %d and not learned (raise the budget to learn it)",
            self.seen,
            self.budget,
            mask,
        )
        self._serve(mask)
        self._freeze()

    def _serve(self, mask: int) -> None:
        self._serving = mask
        if mask != self._training:
            self._freeze()

    def _freeze(self) -> None:
        """Train no mask on; the one that was trained is in the store."""
        self._trainer = None
        self._training = -1

    def _begun(self, device: torch.device) -> MaskTrainer:
        """The trainer of a new mask, which is not in the store yet."""
        store = self.test.store
        number = store.count
        mean = store.mean if self.transfer and number else None
        return self._new_trainer(number, device, mean)

    def _add(self, begun: MaskTrainer) -> None:
        """Store the mask of a trainer; batches train it from now on."""
        self._training = self._serving = self.test.store.store(begun.masks())
        self._trainer, self._ended = begun, False
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
