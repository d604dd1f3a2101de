"""How many tasks a device can train at once."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from hopmask import ConfigError
from supsup_bridge.networks.fixed import FixedNetwork, half_masks, shape_of
from supsup_bridge.networks.precision import in_precision
from supsup_bridge.training.settings import TrainingSettings, is_count

_USED = 0.8  # share of the free memory that is planned for
_REAL = 4  # bytes
_ON_CPU = 8  # measured best, with two threads
_IMAGES = 2**32  # bytes that the images of those may take


def tasks_at_once(
    network: FixedNetwork,
    settings: TrainingSettings,
    shape: Sequence[int],
    images: int,
    device: str | torch.device,
) -> int:
    """How many tasks to train at once: as many as fit into a GPU; on a CPU up to eight.

    T = 0.8 · free memory / `bytes_per_task`, at least 1. Where memory is tight all the same, torch
    raises its OutOfMemoryError: choose fewer.

    On a CPU eight are the fastest where torch has several threads, which one small task leaves idle
    half of the time, and one task alone where it has one thread, or where the network has
    convolutions (`python benchmarks/tasks_at_once.py`). Their images take 4 GB at most.

    Args:
        network: the fixed network.
        settings: how masks are trained.
        shape: of an image.
        images: of a task.
        device: where they are trained.

    Raises:
        ConfigError: images that the network cannot take, or no images.

    Example:
        >>> from supsup_bridge import UnitNetwork
        >>> network = UnitNetwork([4, 8, 3], network=torch.Generator())
        >>> tasks_at_once(network, TrainingSettings(), (4,), 100, "cpu") in (1, 8)
        True
    """
    _check_images(images)
    device = torch.device(device)
    if not together(network, settings):
        return 1
    if device.type != "cuda":
        maps = any(isinstance(layer, nn.Conv2d) for layer in network.modules())
        if device.type != "cpu" or maps or torch.get_num_threads() == 1:
            return 1
        return max(1, min(_ON_CPU, _IMAGES // (_REAL * images * prod(shape))))
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(
        device
    )  # kept by torch
    return max(1, int(_USED * free / bytes_per_task(network, settings, shape, images)))


def together(network: FixedNetwork, settings: TrainingSettings) -> bool:
    """Whether several tasks can be trained at once as each alone would be.

    In bfloat16 convolutions and batch norms cannot: torch computes those of many tasks in float32,
    or not at all. Nor can they in "auto", whatever the device.

    Example:
        >>> from supsup_bridge import MaskedNetwork, mlp
        >>> together(MaskedNetwork(mlp([4, 8, 3])), TrainingSettings(precision="bfloat16"))
        True
    """
    apart = (nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    full = settings.precision == "float32"
    return full or not any(isinstance(layer, apart) for layer in network.modules())


def bytes_per_task(
    network: FixedNetwork, settings: TrainingSettings, shape: Sequence[int], images: int
) -> int:
    """Bytes on the device, about, of one task of those that are trained at once.

    Scores, their gradients, averages and moments; its images, as a run gives them and in the tensor
    of all tasks, and a batch of them; what the network keeps of a batch for the backward pass,
    measured on two small ones, and as much for gradients.

    Args:
        network: the fixed network.
        settings: how masks are trained.
        shape: of an image.
        images: of the task.

    Raises:
        ConfigError: images that the network cannot take, or no images.

    Example:
        >>> from supsup_bridge import MaskedNetwork, mlp
        >>> network = MaskedNetwork(mlp([4, 8, 3]))
        >>> bytes_per_task(network, TrainingSettings(contrast=0), (4,), 1000)
        58720
    """
    _check_images(images)
    sizes = network.mask_sizes.values()
    scores = sum(prod(shape_of(size)) for size in sizes) * _REAL
    kept = 5 if settings.optimiser == "adam" else 3  # score, gradient, (average,) moment(s)
    few, more = (_saved(network, settings, shape, n) for n in (2, 4))
    per_image, fixed = max(0, more - few) / 2, max(0, 2 * few - more)
    batch = settings.batch * (1 if settings.contrast == 0 else 2)
    pixels = prod(shape) * _REAL
    return round(
        kept * scores + 2 * fixed + images * (2 * pixels + 8) + batch * (pixels + 2 * per_image)
    )


def _check_images(images: int) -> None:
    if not is_count(images):
        raise ConfigError(f"images must be how many a task has, 1 or more, got {images!r}")


def _saved(
    network: FixedNetwork, settings: TrainingSettings, shape: Sequence[int], count: int
) -> int:
    """Bytes that autograd keeps of a forward pass of so many images, under a mask of ½."""
    storages: dict[int, int] = {}
    own = {value.untyped_storage().data_ptr() for value in network.state_dict().values()}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return value

    device = network.device
    images = torch.zeros((count, *shape), dtype=torch.float32, device=device)
    masks = half_masks(network.mask_sizes, images)
    for mask in masks.values():
        mask.requires_grad_()
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda value: value),
        in_precision(settings.precision, device),
    ):
        logits: Tensor = network(images, masks)  # held, so that no storage is taken twice
    return sum(storages.values()) + logits.numel() * _REAL
