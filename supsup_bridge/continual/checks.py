"""Checks of the images and labels that a learner is given, and of its network's mode."""

import torch
from torch import Tensor

from hopmask import ConfigError, MaskMemory, NumericalError
from supsup_bridge.networks.fixed import FixedNetwork
from supsup_bridge.stores.bank import MaskBank


def check_images(images: object, shape: tuple[int, ...] | None) -> None:
    """Raise unless these are finite images (n, *shape).

    Args:
        images: what was given.
        shape: of an image; None where any will do.

    Raises:
        ConfigError: something else, or images of another shape.
        NumericalError: NaN or infinity.
    """
    if not isinstance(images, torch.Tensor):
        raise ConfigError(
            f"images must be a tensor (n, *shape), got {type(images).__name__}: use torch.as_tensor"
        )
    if not images.is_floating_point():
        raise ConfigError(f"images must be floating-point, got {images.dtype}: use images.float()")
    if images.ndim < 2 or len(images) == 0:
        raise ConfigError(f"images must be (n, *shape), n >= 1, got {tuple(images.shape)}")
    if shape is not None and tuple(images.shape[1:]) != shape:
        raise ConfigError(
            f"the learner's images have shape {shape}, got {tuple(images.shape[1:])}: give images "
            f"(n, {', '.join(map(str, shape))})"
        )
    if not bool(torch.isfinite(images).all()):
        raise NumericalError("the images are not finite: they hold NaN or infinity")


def check_question(
    images: object,
    shape: tuple[int, ...] | None,
    *,
    network: FixedNetwork,
    memory: MaskMemory | MaskBank,
) -> None:
    """Raise unless a learner can be asked about these images, each by itself.

    Args:
        images: what was given.
        shape: of an image.
        network: the fixed network.
        memory: of its tasks.

    Raises:
        ConfigError: images of another shape or type, a network that needs reference images, or one
            whose batch norms changed their mode.
        NumericalError: images that are not finite.
    """
    check_images(images, shape)
    check_statistics(network, memory)
    if not network.pointwise_given(network.statistics_sizes):
        raise ConfigError(
            "the network's batch norm needs reference images for a prediction: use evaluate, or a "
            "network with layer norm"
        )


def check_groups(labels: Tensor, groups: int | None) -> None:
    """Raise ConfigError for labels (n,) that have no group of their own in the content address.

    Args:
        labels: classes of a task.
        groups: `signature_groups`; None or 1 where the address does not look at labels.
    """
    if groups in (None, 1) or len(labels) == 0:
        return
    if (largest := int(labels.max())) >= groups:
        raise ConfigError(
            f"the content address keeps a mean of each of {groups} classes, and the task has a "
            f"label {largest}: labels count from 0 within each task. Tasks of more classes need "
            f"signature_groups={largest + 1} or more, or none, for one mean per task"
        )


def check_statistics(network: FixedNetwork, memory: MaskMemory | MaskBank) -> None:
    """Raise ConfigError unless a network takes the statistics that its tasks were stored with.

    Args:
        network: the fixed network, whose batch norms have statistics of a task in training mode.
        memory: of its tasks.
    """
    if memory.count == 0:
        return
    held, wanted = memory.mean_extras.keys(), network.statistics_sizes.keys()
    if held != wanted:
        changed = ", ".join(sorted({name.rpartition(".")[0] for name in held ^ wanted}))
        raise ConfigError(
            f"the mode of batch norm {changed} is not the one that the tasks were learned in: call "
            f"learner.network.{'train' if held else 'eval'}(), or set the mode of each norm as it "
            "was"
        )
