"""Folders of pictures: Tiny ImageNet's and ImageNet's layouts, and any folder of class folders."""

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.data.files import DataError, given_folder, printable, read_file
from supsup_bridge.data.image_files import IMAGENET, LabelledFiles
from supsup_bridge.data.labelled import Labelled, LabelledPixels, LabelledSet
from supsup_bridge.data.pictures import all_of, picture, whole

_KINDS = (".jpeg", ".jpg", ".png")
_SMALL = 64  # pixels of a side, at most, of pictures that are held in memory
_ByClass = dict[str, list[Path]]  # name of a class -> its files


def load_tiny_imagenet(
    folder: str | Path | None = None, *, side: Literal[32, 64] = 64
) -> LabelledSet:
    """Tiny ImageNet in its authors' layout: 64×64 pixels, its validation images as test part.

    A part of it, with fewer classes or images, is read as well.

    Args:
        folder: with `train/WNID/images/*.JPEG`, `val/images` and `val/val_annotations.txt`, or one
            that holds it as `tiny-imagenet-200`. Default: the variable HOPMASK_DATA.
        side: of the images, in pixels; 32 scales each picture to half.

    Raises:
        ConfigError: another side.
        DataError: a file is missing, is no whole picture of 64×64 pixels, lies in the folder of
            another class, or is in no list.

    Source:
        Stanford CS231N 2015; images of ImageNet, Russakovsky et al. 2015 (arXiv 1409.0575).
    """
    if side not in (_SMALL // 2, _SMALL) or isinstance(side, bool):
        raise ConfigError(f"images have a side of 32 or 64 pixels, got {side!r}")
    root = _root(folder, "tiny-imagenet-200")
    train = {name: _pictures(root / "train" / name / "images") for name in _folders(root / "train")}
    listed = root / "wnids.txt"
    if listed.is_file() and (lacking := set(_lines(listed)) ^ train.keys()):
        raise DataError(
            f"{listed} and the folders in {root / 'train'} differ in class {min(lacking)}: unpack "
            "the archive again"
        )
    _check_homes(train)
    test = _annotated(root / "val", train.keys())
    read = partial(whole, size=(_SMALL, _SMALL), made=None if side == _SMALL else (side, side))
    return _named(root, _joined(root, train, test, read))


def load_imagenet(folder: str | Path | None = None) -> LabelledSet:
    """ImageNet in class folders, streamed from its files; its validation images as test part.

    A part of it, with fewer classes or images, is read as well.

    Args:
        folder: with `train/WNID/*.JPEG` and `val/WNID/*.JPEG`, or one that holds it as `imagenet`.
            Default: the variable HOPMASK_DATA.

    Raises:
        DataError: a folder is missing or empty, holds anything but pictures, or a picture lies in
            the folder of another class. Files are decoded only when they are needed.

    Source:
        Russakovsky et al. 2015 (arXiv 1409.0575).
    """
    root = _root(folder, "imagenet")
    train = _by_class(root / "train")
    _check_homes(train)
    return _named(root, _joined(root, train, _by_class(root / "val"), read=None))


def load_image_folder(folder: str | Path | None = None) -> LabelledSet:
    """Any folder of class folders of JPEG or PNG pictures.

    Pictures of up to 64×64 pixels are of one size, and are held in memory; larger ones are of any
    size, and streamed as ImageNet's. All are read in three channels.

    Args:
        folder: with `train/CLASS/` and `test/CLASS/` or `val/CLASS/` (of both, `test` if it has
            class folders), or with `CLASS/` alone. Default: the variable HOPMASK_DATA.

    Raises:
        DataError: a folder is missing or empty, holds anything but pictures, or a small picture is
            not whole or of another size.
    """
    root = _root(folder, "")
    tests = [root / name for name in ("test", "val") if (root / name).is_dir()]
    if (root / "train").is_dir() != bool(tests):
        raise DataError(
            f"{root} has a training part without test part (test or val), or the reverse: give "
            "both, or class folders alone, which are cut by the seed"
        )
    tests.sort(key=lambda part: not _subfolders(part))  # a test part without labels is passed over
    train = _by_class(root / "train" if tests else root)
    first = next(iter(train.values()))[0]
    size = picture(first).size
    return _joined(
        root,
        train,
        _by_class(tests[0]) if tests else None,
        read=partial(whole, size=size) if max(size) <= _SMALL else None,
    )


def _root(folder: str | Path | None, name: str) -> Path:
    root = given_folder(folder, what=f"the pictures ({name or 'class folders'})")
    return root / name if (root / name).is_dir() else root


def _folders(folder: Path) -> list[str]:
    """Names of the class folders in one."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: unpack or sort the pictures into it")
    names = _subfolders(folder)
    if not names:
        raise DataError(f"{folder} holds no class folders: sort the pictures into one per class")
    for path in folder.glob("[!.]*"):
        stray = path.is_file() and path.suffix.lower() in _KINDS
        if stray or not path.exists():
            why = "is a picture outside of them" if stray else "leads nowhere"
            raise DataError(f"{folder} holds class folders, and {path.name} {why}: take it out")
    return names


def _subfolders(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")


def _pictures(folder: Path) -> list[Path]:
    """The picture files of one class."""
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: unpack the archive again")
    files = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    if not files:
        raise DataError(f"{folder} is empty: put its pictures there, or take the folder away")
    for path in files:
        if path.suffix.lower() not in _KINDS or not path.is_file():
            raise DataError(
                f"{path} is no picture file ({', '.join(_KINDS)}): class folders hold pictures "
                "alone; take it out"
            )
    return files


def _by_class(folder: Path) -> _ByClass:
    return {name: _pictures(folder / name) for name in _folders(folder)}


def _check_homes(train: _ByClass) -> None:
    """Raise DataError for a file that is named after another class than its folder's."""
    for name, files in train.items():
        for path in files:
            named = path.stem.rpartition("_")[0]
            if named != name and named in train:
                raise DataError(
                    f"{path} is a picture of class {named} in the folder of class {name}: put it "
                    "back"
                )


def _lines(path: Path) -> list[str]:
    try:
        return read_file(path).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read ({error}): fetch it again") from error


def _annotated(folder: Path, classes: Collection[str]) -> _ByClass:
    """Tiny ImageNet's validation files by class, as its list says."""
    listed, images = folder / "val_annotations.txt", folder / "images"
    there = {path.name: path for path in _pictures(images)}
    found: _ByClass = {}
    for number, line in enumerate(_lines(listed), 1):
        name, _, rest = line.partition("\t")
        label = rest.partition("\t")[0]
        path = there.pop(name, None)
        if path is None or label not in classes:
            raise DataError(
                f"line {number} of {listed} names '{name}' of class '{label}', and there is no "
                f"such file in {images}, it is named twice, or there is no such class: unpack the "
                "archive again"
            )
        found.setdefault(label, []).append(path)
    if there:
        raise DataError(f"{images / min(there)} has no line in {listed}: unpack the archive again")
    return found


def _joined(
    root: Path, train: _ByClass, test: _ByClass | None, read: Callable[[Path], Tensor] | None
) -> LabelledSet:
    """Training and test part with the same labels, held as `read` makes them, or streamed."""
    if test is not None and (lacking := train.keys() ^ test.keys()):
        raise DataError(
            f"class {min(lacking)} is in the training or in the test part of {root} alone: each "
            "class needs pictures in both"
        )
    names = sorted(train)
    parts = [None if part is None else _labelled(part, names, read) for part in (train, test)]
    assert parts[0] is not None
    return LabelledSet(train=parts[0], test=parts[1], names=tuple(map(printable, names)))


def _named(root: Path, data: LabelledSet) -> LabelledSet:
    """The set with words for its classes, where the file words.txt is there and has them."""
    listed = root / "words.txt"
    if not listed.is_file():
        return data
    words = dict(line.split("\t", 1) for line in _lines(listed) if "\t" in line)
    names = (words.get(name, name).partition(",")[0] for name in data.names)
    return replace(data, names=tuple(names))


def _labelled(part: _ByClass, names: list[str], read: Callable[[Path], Tensor] | None) -> Labelled:
    files = tuple(path for name in names for path in part[name])
    counts = torch.tensor([len(part[name]) for name in names], device="cpu")
    labels = torch.arange(len(names), device="cpu").repeat_interleave(counts)
    if read is None:
        return LabelledFiles(files=files, labels=labels)
    return LabelledPixels(
        pixels=all_of(read, files), labels=labels, scale=replace(IMAGENET, centre=False)
    )
