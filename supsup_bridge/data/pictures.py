"""Pictures of JPEG or PNG files as tensors: whole, at their centre, or a random part of them."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from supsup_bridge.data.files import DataError

SIDE = 224  # of a crop
_RESIZED = 256  # the shorter side, before a centre crop
_LEAST, _RATIO = 0.08, 4 / 3  # share of a picture in a random crop, and its sides' ratio at most
_TRIES = 10


def picture(path: Path) -> Image.Image:
    """A decoded picture in three channels.

    Raises:
        DataError: the file is no whole picture, is transparent, or has more than 8 bits per
            channel.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as file:
            return plain_colours(file, path).convert("RGB")
    except DataError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise DataError(
            f"{path} is no whole JPEG or PNG picture ({error}): fetch it again, or take it out"
        ) from error


def plain_colours(found: Image.Image, path: Path) -> Image.Image:
    """A picture that was just opened, without an alpha channel; the file is named in errors.

    Raises:
        DataError: the picture of that file has more bits per channel, floats, or pixels that let a
            background through.
    """
    packing = " ".join(str(tile[3]) for tile in getattr(found, "tile", ()))  # as RGB;16B
    if found.mode.startswith(("I", "F")) or "16" in packing:
        raise DataError(
            f"{path} has more than 8 bits per channel (mode {found.mode} {packing}): save it with "
            "8 bits per channel"
        )
    if "A" in found.getbands() or "transparency" in found.info:
        found = found.convert("RGBA")
        if found.getchannel("A").getextrema()[0] != 255:
            raise DataError(
                f"{path} is transparent in part, and what it looks like there depends on what is "
                "behind it: save it on a background, without transparency"
            )
        return found.convert("RGB")
    return found


def whole(path: Path, *, size: tuple[int, int], made: tuple[int, int] | None = None) -> Tensor:
    """A picture of a known size (width, height), uint8 (3, height, width).

    Args:
        path: the file.
        size: that the picture has.
        made: the size that it is scaled to, by Pillow's bilinear filter; None leaves it.

    Raises:
        DataError: the file is no whole picture, or has another size.
    """
    found = picture(path)
    if found.size != size:
        raise DataError(
            f"{path} has {found.width} x {found.height} pixels where {size[0]} x {size[1]} are "
            "expected: it belongs to another set; take it out, or resize it"
        )
    return _tensor(found if made is None else found.resize(made, Image.Resampling.BILINEAR))


def centre(path: Path) -> Tensor:
    """The central 224 x 224 pixels of a picture whose shorter side is made 256, as uint8.

    Raises:
        DataError: the file is no whole picture.

    Source:
        Krizhevsky, Sutskever, Hinton 2012, ImageNet Classification, section 2.
    """
    found = picture(path)
    scale = min(found.size) / _RESIZED  # pixels of the file per pixel
    left, top = ((side - SIDE * scale) / 2 for side in found.size)
    box = (left, top, left + SIDE * scale, top + SIDE * scale)
    return _tensor(found.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))


def random_part(path: Path, seed: int) -> Tensor:
    """A random part of a picture, made 224 x 224, and mirrored half of the time; uint8.

    The part is 8 % to all of the picture, and its sides' ratio lies within 3/4 and 4/3.

    Args:
        path: the file.
        seed: of the part.

    Raises:
        DataError: the file is no whole picture.

    Source:
        Szegedy et al. 2015 (arXiv 1409.4842), section 6.
    """
    found, draw = picture(path), Random(seed)
    box = _random_box(found.width, found.height, draw)
    found = found.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    made = _tensor(found)
    return made.flip(-1) if draw.random() < 0.5 else made


def all_of(read: Callable[[Path], Tensor], files: Sequence[Path]) -> Tensor:
    """What `read` gives of each of at least one file, (n, ...); several files are read at once."""
    first = read(files[0])
    made = torch.empty((len(files), *first.shape), dtype=first.dtype, device="cpu")
    with ThreadPoolExecutor() as pool:
        for number, one in enumerate(pool.map(read, files)):
            made[number] = one
    return made


def _random_box(width: int, height: int, draw: Random) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a part that lies in a picture."""
    for _ in range(_TRIES):
        area = width * height * draw.uniform(_LEAST, 1)
        ratio = math.exp(draw.uniform(-math.log(_RATIO), math.log(_RATIO)))
        across, down = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if across <= width and down <= height:
            left, top = draw.uniform(0, width - across), draw.uniform(0, height - down)
            return left, top, left + across, top + down
    across, down = min(width, height * _RATIO), min(height, width * _RATIO)  # the largest central
    left, top = (width - across) / 2, (height - down) / 2
    return left, top, left + across, top + down


def _tensor(found: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(found)).permute(2, 0, 1).contiguous()
