"""Data sets in IDX files: read whole, or refused by the name of the file that is wrong."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from supsup_bridge import DataError
from supsup_bridge.data.class_splits import cut_off
from supsup_bridge.data.idx import load_idx, read_idx
from supsup_bridge.rng import stream

DRAW = np.random.default_rng(0)
IMAGES = {"train": DRAW.integers(0, 256, (30, 4, 5), dtype=np.uint8)}
IMAGES["t10k"] = DRAW.integers(0, 256, (12, 4, 5), dtype=np.uint8)
LABELS = {part: np.arange(len(images), dtype=np.uint8) % 6 for part, images in IMAGES.items()}


def idx(array: np.ndarray, code: int = 8) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()


def write(folder: Path, stem: str, part: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx(IMAGES[part]))
    (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(LABELS[part]))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "train", "train")
    return write(tmp_path, "t10k", "t10k")


def test_both_parts_are_read_flat_with_their_labels(folder: Path) -> None:
    found = load_idx(folder)
    assert found.test is not None
    for part, name in ((found.train, "train"), (found.test, "t10k")):
        assert np.array_equal(part.pixels.numpy(), IMAGES[name].reshape(-1, 20))
        assert part.labels.tolist() == LABELS[name].tolist()


def test_packed_files_are_read_as_plain_ones(folder: Path) -> None:
    plain = load_idx(folder)
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert torch.equal(load_idx(folder).train.pixels, plain.train.pixels)


def test_both_parts_are_on_the_training_parts_scale(folder: Path) -> None:
    found = load_idx(folder)
    pixels = IMAGES["train"].astype(np.float64) / 255
    assert found.test is not None
    for part, name in ((found.train, "train"), (found.test, "t10k")):
        expected = (IMAGES[name].reshape(-1, 20) / 255 - pixels.mean()) / pixels.std()
        made = part.made(torch.arange(len(expected)))()
        torch.testing.assert_close(made, torch.from_numpy(expected).float())


def test_images_that_are_scored_change_nothing_of_training(tmp_path: Path, monkeypatch) -> None:
    where = write(tmp_path, "train", "train")
    train, test = cut_off(load_idx(where).train, stream(0, "split"))
    kept = set(map(tuple, train.pixels.tolist()))
    changed = IMAGES["train"].copy()
    for number, image in enumerate(changed):
        if tuple(image.reshape(-1).tolist()) not in kept:
            changed[number] = 255
    monkeypatch.setitem(IMAGES, "train", changed)
    again, white = cut_off(load_idx(write(tmp_path, "train", "train")).train, stream(0, "split"))
    every = torch.arange(len(train.labels))
    assert bool((white.pixels == 255).all())
    assert not torch.equal(white.pixels, test.pixels)
    assert torch.equal(again.made(every)(), train.made(every)())
    assert float(again.made(every)().mean()) == pytest.approx(0, abs=1e-5)
    assert white.scale == again.scale


def test_images_of_one_grey_are_zeros(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(IMAGES, "train", np.full((30, 4, 5), 7, np.uint8))
    made = load_idx(write(tmp_path, "train", "train")).train.made(torch.arange(30))()
    torch.testing.assert_close(made, torch.zeros(30, 20))


def test_emnists_names_are_known(tmp_path: Path) -> None:
    write(tmp_path, "emnist-letters-train", "train")
    found = load_idx(write(tmp_path, "emnist-letters-test", "t10k"))
    assert (len(found.train.labels), found.test and len(found.test.labels)) == (30, 12)


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_one_part_alone_will_do(part: str, tmp_path: Path) -> None:
    found = load_idx(write(tmp_path, part, part))
    assert found.test is None
    assert len(found.train.labels) == len(LABELS[part])


def test_the_variable_names_the_default_folder(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOPMASK_DATA", str(folder))
    assert len(load_idx().train.labels) == 30


# --- what is amiss is named


def test_no_folder_is_an_error(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HOPMASK_DATA", raising=False)
    with pytest.raises(DataError, match="--data"):
        load_idx()
    with pytest.raises(DataError, match="nowhere"):
        load_idx(tmp_path / "nowhere")


def test_a_folder_without_such_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{tmp_path} .*holds none.*train-images-idx3-ubyte"):
        load_idx(tmp_path)


def test_several_sets_in_one_folder_are_named(folder: Path) -> None:
    write(folder, "emnist-digits-train", "train")
    with pytest.raises(DataError, match=r"2 sets .*emnist-digits"):
        load_idx(folder)


@pytest.mark.parametrize("name", ["valid", "test"])
def test_a_part_of_another_name_or_twice_is_named(name: str, folder: Path) -> None:
    write(folder, name, "t10k")
    with pytest.raises(DataError, match=rf"{folder} .*'(valid|test|t10k)'"):
        load_idx(folder)


NAMES = [f"{p}-{e}-ubyte" for p in ("train", "t10k") for e in ("images-idx3", "labels-idx1")]


@pytest.mark.parametrize("name", NAMES)
def test_images_without_labels_are_named_and_the_reverse(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"{folder} has neither {name} nor"):
        load_idx(folder)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", [-1, 1, -1000], ids=["shorter", "longer", "nothing"])
def test_a_file_of_another_length_is_named(name: str, change: int, folder: Path) -> None:
    content = (folder / name).read_bytes()
    content = content[:change] if change < 0 else content + b"\0"
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{folder / name} .*fetch"):
        load_idx(folder)


def test_a_truncated_packed_file_is_named(folder: Path) -> None:
    path = folder / NAMES[0]
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    (folder / f"{NAMES[0]}.gz").write_bytes(packed[:-9])
    with pytest.raises(DataError, match=rf"{NAMES[0]}\.gz cannot be read"):
        load_idx(folder)


def test_labels_in_the_place_of_images_are_named(folder: Path) -> None:
    (folder / NAMES[0]).write_bytes((folder / NAMES[1]).read_bytes())
    with pytest.raises(DataError, match=rf"{NAMES[0]} holds uint8 numbers in 1 dimensions"):
        load_idx(folder)


def test_numbers_of_another_type_are_named(folder: Path) -> None:
    (folder / NAMES[0]).write_bytes(idx(np.zeros((30, 4, 5), ">f4"), code=13))
    with pytest.raises(DataError, match=rf"{NAMES[0]} holds float32"):
        load_idx(folder)


@pytest.mark.parametrize("content", [b"<html>", b"\x89PNG", b"\0\0\7\3" + bytes(12)])
def test_files_of_another_format_are_named(content: bytes, folder: Path) -> None:
    (folder / NAMES[0]).write_bytes(content)
    with pytest.raises(DataError, match=rf"{NAMES[0]} is no IDX file"):
        load_idx(folder)


def test_the_labels_of_another_part_are_noticed(folder: Path) -> None:
    (folder / NAMES[1]).write_bytes((folder / NAMES[3]).read_bytes())
    with pytest.raises(DataError, match=r"30 images, .* 12 labels"):
        load_idx(folder)


def test_parts_of_different_sets_are_noticed(folder: Path, monkeypatch) -> None:
    monkeypatch.setitem(IMAGES, "t10k", np.zeros((12, 5, 5), np.uint8))
    write(folder, "t10k", "t10k")
    with pytest.raises(DataError, match="different sets"):
        load_idx(folder)


def test_images_without_pixels_are_named(folder: Path) -> None:
    (folder / NAMES[0]).write_bytes(idx(np.zeros((30, 0, 5), np.uint8)))
    with pytest.raises(DataError, match=rf"{NAMES[0]} holds images of \(0, 5\) pixels"):
        load_idx(folder)


def test_sizes_beyond_the_file_are_refused_before_anything_is_made() -> None:
    content = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1)
    with pytest.raises(DataError, match="truncated"):
        read_idx(content, "images", dimensions=3)


# --- real sets, where they are at hand


@pytest.mark.parametrize(
    ("name", "train", "test", "pixels"),
    [
        ("fashion-mnist", 60_000, 10_000, 784),
        ("notmnist", 10_000, None, 784),
        ("usps", 7291, 2007, 256),
    ],
)
def test_real_sets_have_their_sizes(name: str, train: int, test: int | None, pixels: int) -> None:
    folder = Path(os.environ.get("HOPMASK_DATA") or "nowhere") / name
    if not folder.is_dir():
        pytest.skip(f"HOPMASK_DATA names no folder with {name}")
    found = load_idx(folder)
    assert found.train.pixels.shape == (train, pixels)
    assert (None if found.test is None else len(found.test.labels)) == test
    assert set(found.train.labels.tolist()) == set(range(10))


def test_hidden_files_do_not_count(folder: Path) -> None:
    for path in list(folder.iterdir()):
        (folder / f"._{path.name}").write_bytes(b"of another system")
    assert len(load_idx(folder).train.labels) > 0
