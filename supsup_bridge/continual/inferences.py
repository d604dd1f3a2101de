"""Makes a learner's task inference and novelty test from the settings and the memory."""

from functools import partial

import torch

from hopmask import ConfigError, MaskMemory
from supsup_bridge.continual.description import Described, described
from supsup_bridge.continual.settings import ASK_EVERY, LearnerSettings
from supsup_bridge.continual.task_agnostic.in_place_memory import Stage
from supsup_bridge.continual.task_agnostic.learner import TaskAgnosticLearner
from supsup_bridge.continual.task_agnostic.novelty import EPSILON, Novelty, NoveltyTest
from supsup_bridge.continual.task_agnostic.staged_inference import RecallNovelty, StagedInference
from supsup_bridge.inference.base import TaskInference
from supsup_bridge.inference.named import inference_named
from supsup_bridge.inference.objectives import entropy, entropy_and_logit, objective_named
from supsup_bridge.inference.paper import PaperInference
from supsup_bridge.inference.posterior import PosteriorInference, check_each_alone
from supsup_bridge.inference.recall import RecallInference
from supsup_bridge.inference.signatures import signature_named
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.rng import stream
from supsup_bridge.stores.bank import MaskBank
from supsup_bridge.training.data import LessonData

Memory = MaskMemory | MaskBank | Stage


class Inferences:
    """Makes the task inference and the novelty test of a learner, and the signatures of a task.

    Args:
        settings: of the learner.
        network: the fixed network.

    Attributes:
        signature: of images, for the content address.

    Raises:
        ConfigError: a signature, an objective or a recall that the network cannot serve.
    """

    def __init__(self, settings: LearnerSettings, network: FixedNetwork) -> None:
        if settings.recall == "posterior":
            check_each_alone(network)
        self._settings, self._network = settings, network
        self._labels = network.outputs if settings.classes is None else settings.classes
        if self._labels > network.outputs:
            raise ConfigError(
                f"classes={self._labels} is more than the network's {network.outputs} outputs"
            )
        self.signature = signature_named(settings.signature or "input", network, seed=settings.seed)
        self._objective = objective_named(
            settings.objective or "H", labels=self._labels, outputs=network.outputs
        )
        self._compares = partial(entropy_and_logit, labels=self._labels)

    def inference(self, memory: Memory, *purpose: int) -> TaskInference:
        """Which task images are of, by a memory; `purpose` keeps random streams apart."""
        if isinstance(memory, MaskBank):
            return inference_named(
                str(self._settings.inference),
                network=self._network,
                bank=memory,
                objective=self._objective,
                labels=self._labels,
            )
        if isinstance(memory, Stage):
            return StagedInference(self.recall(memory.memory, *purpose), memory)
        if self._settings.recall == "posterior":
            return PosteriorInference(
                network=self._network, memory=memory, signature=self.signature
            )
        return self.recall(memory, *purpose)

    def recall(self, memory: MaskMemory, *purpose: int) -> RecallInference:
        """The same by the search of a Hopfield memory alone; beside a posterior, by "both"."""
        way = self._settings.recall
        if way == "paper":
            return PaperInference(
                network=self._network,
                memory=memory,
                generator=stream(self._settings.seed, "paper-recall", *purpose),
                batch=self._settings.infer_samples or 1,
            )
        return RecallInference(
            network=self._network,
            memory=memory,
            signature=self.signature,
            recall="both" if way == "posterior" else str(way),
            objective=self._objective,
            compares=entropy if memory.capacity is None else self._compares,
        )

    def novelty(self, memory: MaskBank | Stage) -> Novelty:
        """Whether images are of a task that a memory holds no mask for."""
        if isinstance(memory, Stage):
            return RecallNovelty(StagedInference(self.recall(memory.memory), memory))
        epsilon = EPSILON if self._settings.epsilon is None else self._settings.epsilon
        return NoveltyTest(network=self._network, bank=memory, objective=entropy, epsilon=epsilon)

    def observer(self, memory: MaskBank | Stage) -> TaskAgnosticLearner:
        """What learns from a stream without task boundaries."""
        settings = self._settings
        return TaskAgnosticLearner(
            self.novelty(memory),
            settings.training,
            ask_every=settings.ask_every or ASK_EVERY,
            budget=settings.budget,
            transfer=settings.mask_init == "mean",
            scores=self.starts,
            noise=lambda mask: stream(settings.seed, "noise", mask),
            trained=memory.observe if isinstance(memory, Stage) else lambda images, labels: None,
        )

    def described(self, data: LessonData, task: int) -> Described:
        """What the content address is given of a task's data."""
        return described(
            self.signature,
            data,
            grouped=self._settings.by_class,
            generator=stream(self._settings.seed, "described", task),
            device=self._network.device,
        )

    def starts(self, mask: int) -> torch.Generator:
        """Generator of a mask's starting scores."""
        shared = self._settings.mask_init == "shared"
        return stream(self._settings.seed, "scores", 0 if shared else mask)
