"""`supsup predict`: which task and label a saved learner gives images from files."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.table import Table
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.cli.results import RESULT
from supsup_bridge.continual.learner import SupSup
from supsup_bridge.continual.prediction import Prediction
from supsup_bridge.data.files import DataError
from supsup_bridge.data.pictures import centre, check_depth
from supsup_bridge.data.pixel_scale import PixelScale

_PLAIN = PixelScale(mean=(0.0,), std=(1.0,))


def run(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Predict, and print a table or JSON; returns the exit status."""
    learner = SupSup.load(options.folder, module=options.network, signature=options.signature)
    pixels = learner.settings.pixels
    unknown = pixels is None and (options.folder / RESULT).exists()
    names, images = read_images(
        options.images, learner.image_shape, pixels=pixels, standardised=unknown
    )
    found = learner.predict(images, task=options.task)
    if options.json:
        console.print(json.dumps(_rows(names, found)), markup=False, soft_wrap=True)
        return 0
    table = Table("image", "task", "label", "recognized")
    for row in _rows(names, found):
        table.add_row(*(str(value) for value in row.values()))
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
    add("--network", help="package.module:function, where the learner was run with one")
    add("--signature", help="package.module:function, where the learner was run with one")


def read_images(
    path: Path,
    shape: tuple[int, ...],
    *,
    pixels: PixelScale | None = None,
    standardised: bool = False,
) -> tuple[list[str], Tensor]:
    """Images (n, *shape) from an .npy file, an image file, or a folder of them, with their names.

    An .npy file holds one image or many, as the learner was taught them. Image files become gray or
    RGB, as the shape asks for.

    Args:
        path: the file or folder.
        shape: of one image.
        pixels: how an image is made of a picture's pixels; None for x = pixel / 255.
        standardised: whether the learner was taught images that are made in no known way.

    Raises:
        ConfigError: no images, images of another size, or image files in the place of standardised
            images.
        DataError: a picture of more than 8 bits per channel.
    """
    if not path.exists():
        raise ConfigError(f"there is no {path}: give an .npy file, an image, or a folder of these")
    paths = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    if not paths:
        raise ConfigError(f"{path} is empty: put .npy files or images into it")
    names: list[str] = []
    parts: list[Tensor] = []
    for one in paths:
        if standardised and one.suffix != ".npy":
            raise ConfigError(
                f"{one} is no .npy file: the run taught images that are not those of pictures, "
                "standardised and permuted or turned; give an .npy file of images made as the run's"
            )
        part = _from_npy(one, shape) if one.suffix == ".npy" else _from_picture(one, shape, pixels)
        parts.append(part)
        names += [one.name] if len(part) == 1 else [f"{one.name}[{i}]" for i in range(len(part))]
    return names, torch.cat(parts)


def _from_npy(path: Path, shape: tuple[int, ...]) -> Tensor:
    try:
        values = np.load(path, allow_pickle=False)
        images = torch.from_numpy(values.astype(np.float32))
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is no array of numbers ({error})") from error
    if tuple(images.shape) == shape:
        images = images[None]
    if tuple(images.shape[1:]) != shape or len(images) == 0:
        raise ConfigError(
            f"{path} has shape {tuple(images.shape)}, the learner takes images {shape} or "
            f"(n, {', '.join(map(str, shape))})"
        )
    return images


def _from_picture(path: Path, shape: tuple[int, ...], pixels: PixelScale | None) -> Tensor:
    scale = pixels or _PLAIN
    if scale.centre:
        return scale.images(centre(path))[None]
    colour = len(shape) == 3 and shape[0] == 3
    try:
        with Image.open(path) as picture:
            check_depth(picture, path)
            values = np.array(picture.convert("RGB" if colour else "L"))
    except DataError:
        raise
    except (UnidentifiedImageError, OSError) as error:
        raise ConfigError(f"{path} is no image that Pillow can read ({error})") from error
    if len(scale.mean) not in (1, 3 if colour else 1):
        raise ConfigError(
            f"pixels= of the learner has {len(scale.mean)} channels, which its images {shape} have "
            "not: give an .npy file"
        )
    image = torch.from_numpy(values)
    image = image.permute(2, 0, 1) if colour else image
    wanted = int(np.prod(shape))
    if image.numel() != wanted or (len(shape) > 1 and image.shape[-2:] != shape[-2:]):
        raise ConfigError(
            f"{path} has {values.shape[1]} x {values.shape[0]} pixels, the learner takes images "
            f"{shape}: resize it"
        )
    return scale.images(image).reshape(1, *shape)


def _rows(names: list[str], found: Prediction) -> list[dict[str, Any]]:
    columns = (found.task.tolist(), found.label.tolist(), found.recognized.tolist())
    return [
        {"image": name, "task": task, "label": label, "recognized": recognized}
        for name, task, label, recognized in zip(names, *columns, strict=True)
    ]
