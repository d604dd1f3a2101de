"""Where the scores of a new task start: at random, or from masks that were learned before it."""

import torch
from torch import Tensor

from supsup_bridge.continual.checks import check_images
from supsup_bridge.continual.inferences import Inferences, Memory
from supsup_bridge.continual.prediction import TOGETHER, one_set
from supsup_bridge.continual.settings import LearnerSettings
from supsup_bridge.networks.fixed import FixedNetwork, Masks
from supsup_bridge.rng import shuffled, stream
from supsup_bridge.training.data import LessonData, TensorData
from supsup_bridge.training.settings import TrainingSettings


class Starts:
    """Finds the levels that a task's scores start around, by the learner's `mask_init`.

    "ones" keeps every weight, "mean" is the mean of the masks. Other starts are one mask, recalled
    from the memory by its number: "nearest" that of the task which the learner's own inference
    names for the new task's training images, "previous" that of the next lower number, "earlier"
    that of any task, drawn from the seed. Where there is no such mask, and with "random" and
    "shared", scores start at random.

    Args:
        settings: of the learner.
        network: the fixed network.
        inferences: makes the learner's task inference.

    Source:
        "mean" (Transfer): Wortsman et al. 2020 (arXiv 2006.14769), section 4, whose reference code
        has the starts from one mask as well; "ones": Mallya et al. 2018 (Piggyback, arXiv
        1801.06519).
    """

    def __init__(
        self, settings: LearnerSettings, network: FixedNetwork, inferences: Inferences
    ) -> None:
        self._settings, self._network, self._inferences = settings, network, inferences

    def levels(
        self,
        number: int,
        data: LessonData,
        *,
        memory: Memory,
        tasks: tuple[int, ...],
        image_shape: tuple[int, ...] | None,
    ) -> Masks | None:
        """Levels to start from, name -> (*size); None for a random start.

        Args:
            number: of the new task.
            data: of the new task.
            memory: the masks so far.
            tasks: the numbers of the tasks so far, in order.
            image_shape: of their images.

        Raises:
            ConfigError, NumericalError: images that the nearest mask cannot be named by.
        """
        if self._settings.mask_init == "ones":
            sizes = self._network.mask_sizes.items()
            return {
                name: torch.ones(size, dtype=torch.float32, device="cpu") for name, size in sizes
            }
        if not tasks or self._settings.mask_init in ("random", "shared"):
            return None
        if self._settings.mask_init == "mean":
            return memory.mean
        generator = stream(self._settings.seed, "start", number)
        if self._settings.mask_init == "previous":
            before = [task for task in tasks if task < number]
            if not before:
                return None
            chosen = before[-1]
        elif self._settings.mask_init == "earlier":
            chosen = tasks[int(shuffled(len(tasks), generator)[0])]
        else:
            images = _sample(data, generator)
            check_images(images, image_shape)
            inference = self._inferences.inference(memory, number)
            chosen = int(inference.infer(one_set(self._network, images)).task[0])
        return memory.recall(task=chosen).masks


def _sample(data: LessonData, generator: torch.Generator) -> Tensor:
    """All images of tensors; of other data the first `TOGETHER`, of one reading."""
    if isinstance(data, TensorData):
        return data.images
    parts: list[Tensor] = []
    batches = iter(data.batches(TrainingSettings(epochs=1), generator))
    for images, _ in batches:
        parts.append(images)
        if sum(map(len, parts)) >= TOGETHER:
            break
    return torch.cat(parts)[:TOGETHER]
