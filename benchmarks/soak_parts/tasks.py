"""Tasks of a soak: their images, a learner that trains their masks, and the memory for these."""

import numpy as np
import torch
from torch import Tensor

from hopmask import LiveMemory, MaskMemory
from soak_parts.journal import Entry
from supsup_bridge import SupSup
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.networks.fixed import Masks
from supsup_bridge.training.data import TensorData
from supsup_bridge.training.settings import TrainingSettings

PIXELS, CLASSES, IMAGES, FEW, BATCH = 784, 10, 512, 64, 128
HUBS, FEATURES = 64, 512


def memory_of() -> MaskMemory:
    """An empty memory of LeNet's masks, 266,200 bits each, on 64 hubs, with a content address."""
    return MaskMemory(
        learner_of().network.mask_sizes,
        couplings="hub",
        hubs=HUBS,
        signature_features=FEATURES,
        seed=0,
    )


def learner_of() -> SupSup:
    """A learner whose masks are trained for a few steps and stored elsewhere."""
    training = TrainingSettings(epochs=1, batch=BATCH)
    return SupSup("lenet-300-100", inputs=PIXELS, outputs=CLASSES, memory="bank", training=training)


def images_of(writer: int, number: int, *, draw: int, count: int) -> tuple[Tensor, Tensor]:
    """Images of one of a writer's tasks, and their labels: ten kinds of its own, and noise."""
    kinds = np.random.default_rng((writer, number)).normal(size=(CLASSES, PIXELS))
    noise = np.random.default_rng((writer, number, draw)).normal(size=(count, PIXELS))
    labels = np.arange(count) % CLASSES
    images = torch.from_numpy(kinds[labels] + 0.5 * noise).float()
    return images, torch.from_numpy(labels)


def learned(learner: SupSup, writer: int, number: int) -> tuple[Entry, Masks, Tensor]:
    """Train a mask for a task: what to announce, the mask, and the images of its address."""
    images, labels = images_of(writer, number, draw=0, count=IMAGES)
    masks = learner.lesson(TensorData(images, labels)).run()
    return Entry(writer, number, mask_digest(masks)), masks, images


def drawn(memory: MaskMemory | LiveMemory, writer: int, number: int) -> tuple[Entry, Masks, Tensor]:
    """The same of a random mask, which costs no training."""
    generator = np.random.default_rng((writer, number, 0))
    masks = {
        name: torch.from_numpy(generator.random(shape) < 0.5)
        for name, shape in memory.shapes.items()
    }
    images, _ = images_of(writer, number, draw=0, count=FEW)
    return Entry(writer, number, mask_digest(masks)), masks, images
