"""`supsup predict`: which task and label a saved learner gives images from files."""

import argparse
import json
from math import isqrt, prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.cli.results import LEARNER, RESULT
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.continual.prediction import Prediction
from supsup_bridge.data.files import DataError, printable
from supsup_bridge.data.pictures import centre, plain_colours
from supsup_bridge.data.pixel_scale import UNKNOWN, PixelScale
from supsup_bridge.runs.finished_run import read_run
from supsup_bridge.runs.learners import OURS

_PLAIN = PixelScale(mean=(0.0,), std=(1.0,))


def run(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Predict, and print a table or JSON; returns the exit status."""
    _check_saved(options.folder)
    learner = SupSup.load(options.folder, module=options.network, signature=options.signature)
    if options.task is not None and options.task not in learner.tasks:
        known = ", ".join(map(str, learner.tasks))
        raise ConfigError(f"--task {options.task}: unknown task, the learner's are {known}")
    pixels = learner.settings.pixels
    if pixels is None and (options.folder / RESULT).exists():
        pixels = UNKNOWN  # of a run before runs kept it
    names, images = read_images(options.images, learner.image_shape, pixels=pixels)
    if pixels is None and any(".npy" not in name for name in names):
        errors.print(
            "note: pictures are read as pixel / 255. If the learner's images were made otherwise, "
            "make it with SupSup(pixels=...)",
            markup=False,
            soft_wrap=True,
        )
    found = learner.predict(images, task=options.task)
    if options.json:
        text = json.dumps(_rows(names, found))
        console.print(text, markup=False, emoji=False, soft_wrap=True)
        return 0
    table = Table("image", "task", "label", "recognized")
    for row in _rows(names, found):
        table.add_row(*(Text(str(value)) for value in row.values()))  # names are no markup
    console.print(table)
    return 0


def add_command(commands: Any) -> None:
    """Add `supsup predict`."""
    command = commands.add_parser(
        "predict", help="which task and label a saved learner gives images"
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("folder", type=Path, metavar="FOLDER", help="of SupSup.save, or of a finished run")
    add(
        "images",
        type=Path,
        metavar="IMAGES",
        help="an .npy file, a picture, or a folder of these",
    )
    add("--task", type=int, help="number of the images' task (default: infer it per image)")
    add("--json", action="store_true", help="a list of objects in place of a table")
    add("--network", help="package.module:function of a network that was not built by name")
    add("--signature", help="package.module:function, where the learner was run with one")


def read_images(
    path: Path,
    shape: tuple[int, ...],
    *,
    pixels: PixelScale | str | None = None,
) -> tuple[list[str], Tensor]:
    """Images (n, *shape) from an .npy file, a picture, or a folder of them, with their names.

    Hidden files of a folder are passed over.

    An .npy file holds one image or many, as the learner was taught them. Pictures become gray or
    RGB, as the shape asks for; flat images are those of square ones.

    Args:
        path: the file or folder.
        shape: of one image.
        pixels: how an image is made of a picture's pixels: a scale, None for x = pixel / 255, or
            "unknown".

    Raises:
        ConfigError: no images, images of another size, or pictures where it is unknown how images
            are made of them.
        DataError: a picture of more than 8 bits per channel, or a transparent one; of a learner
            that cuts pictures to their centre, also one that is no whole JPEG or PNG.
    """
    if not path.exists():
        raise ConfigError(f"there is no {path}: give an .npy file, an image, or a folder of these")
    inside = path.glob("[!.]*") if path.is_dir() else [path]
    paths = sorted(one for one in inside if one.is_file())
    if not paths:
        raise ConfigError(f"{path} holds no files: give a folder of .npy files or images")
    names: list[str] = []
    parts: list[Tensor] = []
    for one in paths:
        if one.suffix == ".npy":
            part = _from_npy(one, shape)
        elif isinstance(pixels, str):
            raise ConfigError(
                f"{one} is no .npy file, and the learner does not keep how its images were made of "
                "pixels, if of any: give an .npy file of images made alike"
            )
        else:
            part = _from_picture(one, shape, pixels or _PLAIN)
        parts.append(part)
        name = printable(one.name)
        names += [name] if len(part) == 1 else [f"{name}[{i}]" for i in range(len(part))]
    return names, torch.cat(parts)


def _check_saved(folder: Path) -> None:
    """Raise ConfigError if a folder is of a run whose learner leaves no files."""
    if (folder / RESULT).exists() and not (folder / LEARNER).exists():
        name = read_run(folder).settings.learner
        if name != OURS:
            raise ConfigError(
                f"the run in {folder} was of learner {name}, which is not saved: supsup predict "
                f"takes a run of --learner {OURS}"
            )


def _from_npy(path: Path, shape: tuple[int, ...]) -> Tensor:
    try:
        values = np.load(path, allow_pickle=False)
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
            raise TypeError(f"it holds {getattr(values, 'dtype', 'several arrays')}")
        images = torch.from_numpy(values.astype(np.float32))
    except Exception as error:  # a damaged file may raise anything
        raise ConfigError(
            f"{path} is no array of real numbers ({type(error).__name__}: {error}): save images "
            "with numpy.save"
        ) from error
    if tuple(images.shape) == shape:
        images = images[None]
    if tuple(images.shape[1:]) != shape or len(images) == 0:
        raise ConfigError(
            f"{path} has shape {tuple(images.shape)}, the learner takes images {shape} or "
            f"(n, {', '.join(map(str, shape))})"
        )
    return images


def _from_picture(path: Path, shape: tuple[int, ...], scale: PixelScale) -> Tensor:
    sides = shape[-2:] if len(shape) > 1 else (isqrt(shape[0]),) * 2
    channels = 3 if len(shape) == 3 and shape[0] == 3 else 1
    if prod(shape) != channels * prod(sides) or len(scale.mean) not in (1, channels):
        raise ConfigError(
            f"{path} is a picture, and the learner's images {shape}, scaled by {len(scale.mean)} "
            "figures, are not those of gray or RGB pictures (flat ones: of squares): give an .npy "
            "file"
        )
    found = centre(path) if scale.centre else _pixels(path, colour=channels == 3)
    if found.shape != (channels, *sides):
        raise ConfigError(
            f"{path} has {found.shape[2]} x {found.shape[1]} pixels, the learner takes images "
            f"{shape}, of {sides[1]} x {sides[0]}: resize it, as the images that were learned "
            "(those of split-tiny-imagenet-32 by Pillow's bilinear filter)"
        )
    return scale.images(found).reshape(1, *shape)


def _pixels(path: Path, *, colour: bool) -> Tensor:
    """A whole picture, uint8 (channels, height, width)."""
    try:
        with Image.open(path) as picture:
            plain = plain_colours(picture, path).convert("RGB" if colour else "L")
            values = torch.from_numpy(np.array(plain))
    except DataError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise ConfigError(f"{path} is no image that Pillow can read ({error})") from error
    return values.permute(2, 0, 1) if colour else values[None]


def _rows(names: list[str], found: Prediction) -> list[dict[str, Any]]:
    columns = (found.task.tolist(), found.label.tolist(), found.recognized.tolist())
    return [
        {"image": name, "task": task, "label": label, "recognized": recognized}
        for name, task, label, recognized in zip(names, *columns, strict=True)
    ]
