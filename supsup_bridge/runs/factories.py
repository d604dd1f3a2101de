"""How a run asks which task it sees, and whether it is new: from its settings and its memory."""

from hopmask import MaskMemory
from supsup_bridge.continual.task_agnostic.novelty import EPSILON, Novelty, NoveltyTest
from supsup_bridge.continual.task_agnostic.staged_inference import RecallNovelty, StagedInference
from supsup_bridge.continual.task_agnostic.staged_memory import StagedMemory
from supsup_bridge.inference.base import TaskInference
from supsup_bridge.inference.named import check_objective, follows_gradient, inference_named
from supsup_bridge.inference.objectives import Objective, entropy, objective_named
from supsup_bridge.inference.paper import PaperInference
from supsup_bridge.inference.recall import RecallInference
from supsup_bridge.inference.signatures import Signature
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.rng import stream
from supsup_bridge.runs.presets import Preset
from supsup_bridge.runs.settings import RunSettings
from supsup_bridge.stores.bank import MaskBank

Memory = MaskMemory | MaskBank | StagedMemory


class Asking:
    """Makes the task inference and the novelty test of a run.

    Args:
        settings: of the run.
        preset: with what the settings leave open.
        network: the fixed network.
        labels: labels of a task, at most.
        signature: of images, for the content address.

    Raises:
        ConfigError: an objective that the inference does not take, or that needs more outputs.
    """

    def __init__(
        self,
        settings: RunSettings,
        preset: Preset,
        network: FixedNetwork,
        *,
        labels: int,
        signature: Signature,
    ) -> None:
        self._settings, self._preset, self._network = settings, preset, network
        self._labels, self._signature = labels, signature
        self._objective = _objective(settings, preset, labels)

    def inference(self, memory: Memory, *purpose: int) -> TaskInference:
        """Which task images are of, by a memory; `purpose` tells random streams apart."""
        if isinstance(memory, MaskBank):
            return inference_named(
                self._preset.inference,
                network=self._network,
                bank=memory,
                objective=self._objective,
                labels=self._labels,
            )
        if isinstance(memory, StagedMemory):
            return StagedInference(self.recall(memory.memory, *purpose), memory)
        return self.recall(memory, *purpose)

    def recall(self, memory: MaskMemory, *purpose: int) -> RecallInference:
        """The same by a Hopfield memory alone."""
        if self._settings.network == "paper":
            return PaperInference(
                network=self._network,
                memory=memory,
                generator=stream(self._settings.seed, "paper-recall", *purpose),
                batch=self._preset.infer_samples,
            )
        return RecallInference(
            network=self._network,
            memory=memory,
            signature=self._signature,
            recall=self._settings.recall or "both",
        )

    def novelty(self, memory: MaskBank | StagedMemory) -> Novelty:
        """NNs: whether images are of a task that a memory holds no mask for."""
        if isinstance(memory, StagedMemory):
            return RecallNovelty(StagedInference(self.recall(memory.memory), memory))
        epsilon = EPSILON if self._settings.epsilon is None else self._settings.epsilon
        return NoveltyTest(network=self._network, bank=memory, objective=entropy, epsilon=epsilon)


def _objective(settings: RunSettings, preset: Preset, labels: int) -> Objective:
    """What a bank's inference follows the gradient of; H where it follows none."""
    check_objective(preset.inference, settings.objective)
    if settings.scenario == "GG" or not follows_gradient(preset.inference):
        return entropy
    name = settings.objective or preset.objective
    return objective_named(name, labels=labels, outputs=preset.outputs)
