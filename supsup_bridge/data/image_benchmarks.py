"""Benchmarks that split a data set of images into tasks of classes which the seed draws."""

from pathlib import Path
from typing import Literal

from supsup_bridge.data import cifar, cifar_names
from supsup_bridge.data.class_splits import class_tasks
from supsup_bridge.data.idx import load_idx
from supsup_bridge.data.image_folder import load_image_folder, load_imagenet, load_tiny_imagenet
from supsup_bridge.data.labelled import LabelledSet
from supsup_bridge.data.task import Task


def split_cifar100(
    *,
    seed: int = 0,
    tasks: int | None = None,
    classes_per_task: int = 5,
    data: str | Path | None = None,
) -> list[Task]:
    """CIFAR-100 as 20 tasks of 5 classes, drawn by the seed (SplitCIFAR100).

    Trains on CIFAR-100's training part; its test part is cut in two by the seed, half for recall,
    half scored. The set is held once, as bytes; images are standardised at each access.

    Args:
        seed: of the classes of each task, and of the cut.
        tasks: how many; default all.
        classes_per_task: classes of a task; 10 for 10 tasks of 10.
        data: where the set lies; see `cifar.load_cifar100`.

    Raises:
        ConfigError: more tasks than the classes make.
        DataError: data missing, truncated or altered.

    Example:
        >>> len(split_cifar100(data=folder, classes_per_task=10))  # doctest: +SKIP
        10

    Source:
        20 × 5 by a random split: Wortsman et al. 2020 (arXiv 2006.14769).
    """
    train, test = cifar.load_cifar100(data)
    held = LabelledSet(train=train, test=test, names=cifar_names.CIFAR100)
    return class_tasks(held, what="CIFAR-100", classes=classes_per_task, tasks=tasks, seed=seed)


def split_cifar10(
    *,
    seed: int = 0,
    tasks: int | None = None,
    classes_per_task: int = 2,
    data: str | Path | None = None,
) -> list[Task]:
    """CIFAR-10 as 5 tasks of 2 classes, drawn by the seed; see `split_cifar100`.

    Args:
        seed: of the classes of each task, and of the cut.
        tasks: how many; default all.
        classes_per_task: classes of a task.
        data: where the set lies; see `cifar.load_cifar10`.

    Raises:
        ConfigError: more tasks than the classes make.
        DataError: data missing, truncated or of another kind.

    Example:
        >>> len(split_cifar10(data=folder))  # doctest: +SKIP
        5
    """
    train, test = cifar.load_cifar10(data)
    held = LabelledSet(train=train, test=test, names=cifar_names.CIFAR10)
    return class_tasks(held, what="CIFAR-10", classes=classes_per_task, tasks=tasks, seed=seed)


def split_tiny_imagenet(
    *,
    seed: int = 0,
    tasks: int | None = None,
    classes_per_task: int = 10,
    data: str | Path | None = None,
    side: Literal[32, 64] = 64,
) -> list[Task]:
    """Tiny ImageNet as tasks of 10 classes, drawn by the seed; see `split_cifar100`.

    Test part are its validation images. The whole set makes 20 tasks, a part of it fewer. All
    pictures are decoded at the start, so that a damaged one is named before anything is learned.

    Args:
        seed: of the classes of each task, and of the cut.
        tasks: how many; default all.
        classes_per_task: classes of a task.
        data: where the set lies; see `image_folder.load_tiny_imagenet`.
        side: of the images, in pixels; 32 scales each picture to half, as class-incremental papers
            do.

    Raises:
        ConfigError: more tasks than the classes make, or another side.
        DataError: data missing, truncated or mixed up.

    Example:
        >>> len(split_tiny_imagenet(data=folder))  # doctest: +SKIP
        20

    Source:
        Images of 32×32 pixels: Kim et al. 2022 (arXiv 2203.09450), in the authors' code.
    """
    held = load_tiny_imagenet(data, side=side)
    what = "Tiny ImageNet"
    return class_tasks(held, what=what, classes=classes_per_task, tasks=tasks, seed=seed)


def split_imagenet(
    *,
    seed: int = 0,
    tasks: int | None = None,
    classes_per_task: int = 10,
    data: str | Path | None = None,
) -> list[Task]:
    """ImageNet as 100 tasks of 10 classes, drawn by the seed (SplitImageNet).

    Training images are streamed from their files, `Task.streamed`; test part are the validation
    images. A part of the set makes fewer tasks.

    Args:
        seed: of the classes of each task, and of the cut.
        tasks: how many; default all.
        classes_per_task: classes of a task.
        data: where the set lies; see `image_folder.load_imagenet`.

    Raises:
        ConfigError: more tasks than the classes make.
        DataError: folders missing or mixed up; while images are read, a damaged file.

    Example:
        >>> len(split_imagenet(data=folder))  # doctest: +SKIP
        100

    Source:
        100 × 10 by a random split: Wortsman et al. 2020 (arXiv 2006.14769).
    """
    held = load_imagenet(data)
    return class_tasks(held, what="ImageNet", classes=classes_per_task, tasks=tasks, seed=seed)


def split_folder(
    *,
    seed: int = 0,
    tasks: int | None = None,
    classes_per_task: int = 2,
    data: str | Path | None = None,
) -> list[Task]:
    """A folder of class folders of pictures as tasks of classes, drawn by the seed.

    Args:
        seed: of the classes of each task, the cut, and the test part of a folder that has none.
        tasks: how many; default all.
        classes_per_task: classes of a task.
        data: the folder; see `image_folder.load_image_folder`.

    Raises:
        ConfigError: more tasks than the classes make.
        DataError: files that are missing, damaged or no pictures.

    Example:
        >>> split_folder(data=folder, classes_per_task=3)[0].classes  # doctest: +SKIP
        3
    """
    held = load_image_folder(data)
    what = f"{data or 'HOPMASK_DATA'}"
    return class_tasks(held, what=what, classes=classes_per_task, tasks=tasks, seed=seed)


def split_idx(
    *,
    seed: int = 0,
    tasks: int | None = None,
    classes_per_task: int = 2,
    data: str | Path | None = None,
) -> list[Task]:
    """A data set in IDX files as tasks of classes, drawn by the seed.

    Args:
        seed: of the classes of each task, the cut, and the test part of a set that has none.
        tasks: how many; default all.
        classes_per_task: classes of a task.
        data: the folder; see `idx.load_idx`.

    Raises:
        ConfigError: more tasks than the classes make.
        DataError: files that are missing, truncated or mixed up.

    Example:
        >>> split_idx(data=folder, classes_per_task=3)[0].classes  # doctest: +SKIP
        3
    """
    held = load_idx(data)
    what = f"{data or 'HOPMASK_DATA'}"
    return class_tasks(held, what=what, classes=classes_per_task, tasks=tasks, seed=seed)
