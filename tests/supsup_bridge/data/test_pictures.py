"""Pictures in files: decoded as they are, cropped as the field does, refused by name if damaged."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from supsup_bridge import DataError
from supsup_bridge.data.pictures import SIDE, all_of, centre, picture, random_part, whole

DRAW = np.random.default_rng(0)


def save(path: Path, width: int, height: int, mode: str = "RGB", **how) -> Path:
    pixels = DRAW.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **how)
    return path


def ramp(path: Path, width: int, height: int) -> Path:
    """A picture whose red tells the column, and green the row, each as a share of 250."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = (250 * (np.arange(width) + 0.5) / width)[None]
    pixels[..., 1] = (250 * (np.arange(height) + 0.5) / height)[:, None]
    Image.fromarray(pixels).save(path)
    return path


def test_a_png_comes_back_to_the_pixel(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 5, 3)
    made = whole(path, size=(5, 3))
    assert made.dtype == torch.uint8
    assert np.array_equal(made.permute(1, 2, 0).numpy(), np.asarray(Image.open(path)))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_every_kind_of_jpeg_has_three_channels(mode: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpeg", 8, 8, mode)
    made = whole(path, size=(8, 8))
    assert made.shape == (3, 8, 8)
    assert mode != "L" or torch.equal(made[0], made[2])


@pytest.mark.parametrize("read", [picture, centre, lambda path: whole(path, size=(8, 8))])
def test_a_picture_of_16_bits_is_refused_by_its_mode(read, tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(path)
    with pytest.raises(DataError, match=rf"{path} .*\(mode I.*save it with 8 bits per channel"):
        read(path)


def test_another_size_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 5, 3)
    with pytest.raises(DataError, match=rf"{path} has 5 x 3 pixels where 3 x 5"):
        whole(path, size=(3, 5))


@pytest.mark.parametrize("ending", ["jpeg", "png"])
@pytest.mark.parametrize("left", [0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("read", [picture, centre, lambda path: random_part(path, 0)])
def test_a_truncated_file_is_named(read, left: float, ending: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"a.{ending}", 64, 64)
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    with pytest.raises(DataError, match=rf"{path} is no whole JPEG or PNG.*fetch"):
        read(path)


@pytest.mark.parametrize("content", [b"<html>log in</html>", b"", bytes(1000)])
def test_something_else_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jpeg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path}"):
        picture(path)


def test_pictures_of_other_formats_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpeg", 8, 8, format="BMP")
    with pytest.raises(DataError, match=f"{path}"):
        picture(path)


def test_no_such_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.png"):
        picture(tmp_path / "nowhere.png")


# --- crops


@pytest.mark.parametrize(("width", "height"), [(512, 256), (256, 300), (100, 60)])
def test_the_centre_is_the_middle_of_the_shorter_side_made_256(width, height, tmp_path) -> None:
    made = centre(ramp(tmp_path / "a.png", width, height)).float()
    assert made.shape == (3, SIDE, SIDE)
    side = min(width, height) * SIDE / 256  # pixels of the picture in the crop
    steps = (torch.arange(SIDE) + 0.5) / SIDE - 0.5
    for channel, length in ((0, width), (1, height)):
        expected = 250 * (0.5 + steps * side / length)
        along = made[channel].mean(channel)
        torch.testing.assert_close(along, expected, atol=3, rtol=0)


def test_a_random_part_lies_in_the_picture_and_keeps_its_bounds(tmp_path: Path) -> None:
    width, height = 300, 200
    path = ramp(tmp_path / "a.png", width, height)
    areas, mirrored = [], 0
    for seed in range(200):
        made = random_part(path, seed).float()
        assert made.shape == (3, SIDE, SIDE)
        across = made[0].mean(0)
        down = made[1].mean(1)
        mirrored += bool(across[0] > across[-1])
        share = [float(abs(line[-1] - line[0])) / 250 for line in (across, down)]
        assert float(down[-1] - down[0]) > 0  # never upside down
        areas.append(share[0] * share[1])
        ratio = share[0] * width / (share[1] * height)
        assert 0.7 < ratio < 1.45
    assert min(areas) > 0.06
    assert max(areas) > 0.6  # at a ratio of 3/2 the whole cannot be taken
    assert 70 < mirrored < 130


def test_a_long_picture_gives_the_largest_central_part(tmp_path: Path) -> None:
    path = ramp(tmp_path / "a.png", 2000, 10)  # no part of 8 % has sides in the ratio 4/3
    made = random_part(path, 0).float()
    columns = made[0].mean(0)
    assert float(columns.max() - columns.min()) < 5  # 13 of 2000 columns
    assert 120 < float(columns.mean()) < 130


def test_one_seed_makes_one_part_and_another_another(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 90, 70)
    first, again, other = (random_part(path, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_many_files_come_in_their_order(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{number}.png", 4, 4) for number in range(20)]
    made = all_of(lambda path: whole(path, size=(4, 4)), files)
    for one, path in zip(made, files, strict=True):
        assert torch.equal(one, whole(path, size=(4, 4)))


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


@pytest.mark.parametrize("colours", [2, 4, 6], ids=["RGB", "grey and alpha", "RGBA"])
def test_a_png_of_16_bits_in_several_channels_is_refused(colours: int, tmp_path: Path) -> None:
    channels = {2: 3, 4: 2, 6: 4}[colours]
    rows = (b"\0" + b"\xff" * 2 * channels * 8) * 8
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, colours, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    with pytest.raises(DataError, match=r"deep.png has more than 8 bits per channel"):
        picture(tmp_path / "deep.png")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_transparent_picture_is_refused_and_an_opaque_one_is_not(
    mode: str, tmp_path: Path
) -> None:
    pixels = DRAW.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    opaque = Image.fromarray(pixels).convert(mode)
    opaque.save(tmp_path / "opaque.png")
    assert torch.equal(
        whole(tmp_path / "opaque.png", size=(8, 8)).permute(1, 2, 0),
        torch.from_numpy(np.array(opaque.convert("RGB"))),
    )
    pixels[0, 0, 3] = 254
    through = opaque if mode == "P" else Image.fromarray(pixels).convert(mode)
    more = {"transparency": opaque.getpixel((0, 0))} if mode == "P" else {}
    through.save(tmp_path / "icon.png", **more)
    with pytest.raises(DataError, match=r"icon.png is transparent in part.*save it on a backgr"):
        picture(tmp_path / "icon.png")
