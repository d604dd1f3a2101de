"""Folders of pictures: every layout read whole, and whatever is amiss named with its file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hopmask import ConfigError
from supsup_bridge import DataError
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.data.image_files import LabelledFiles
from supsup_bridge.data.image_folder import load_image_folder, load_imagenet, load_tiny_imagenet
from supsup_bridge.data.labelled import LabelledPixels, LabelledSet

CLASSES = ("n01", "n02", "n03")
EACH = {"train": 3, "val": 2}
MEAN, STD = (
    torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)  # ImageNet's


def save(path: Path, shade: int, side: int) -> None:
    """A grey PNG; its name may end otherwise, as in ImageNet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side), shade, np.uint8)).save(path, format="PNG")


def shade(part: str, label: int, number: int) -> int:
    return 100 * (part == "val") + 10 * label + number


def tiny(root: Path) -> Path:
    lines = []
    for label, name in enumerate(CLASSES):
        for number in range(EACH["train"]):
            path = root / "train" / name / "images" / f"{name}_{number}.JPEG"
            save(path, shade("train", label, number), 64)
        for number in range(EACH["val"]):
            file = f"val_{2 * number + label % 2}_{label}.JPEG"
            save(root / "val" / "images" / file, shade("val", label, number), 64)
            lines.append(f"{file}\t{name}\t0\t0\t63\t63")
    (root / "val" / "val_annotations.txt").write_text("\n".join(sorted(lines)) + "\n")
    (root / "wnids.txt").write_text("\n".join(reversed(CLASSES)) + "\n")
    return root


def classes(root: Path, *, side: int = 80, parts: tuple[str, ...] = ("train", "val")) -> Path:
    for part in parts:
        for label, name in enumerate(CLASSES):
            for number in range(EACH[part]):
                path = root / part / name / f"{name}_{number}.JPEG"
                save(path, shade(part, label, number), side)
    return root


def check(data: LabelledSet, make: Callable[[Any], torch.Tensor]) -> None:
    """Every picture is there with its class, in both parts."""
    assert data.names == CLASSES
    for part, held in (("train", data.train), ("val", data.test)):
        assert held is not None
        found = sorted(zip(held.labels.tolist(), make(held).tolist(), strict=True))
        assert found == [
            (label, shade(part, label, number))
            for label in range(3)
            for number in range(EACH[part])
        ]


def shades(held: Any) -> torch.Tensor:
    """Shade of each image, from what a task would be given."""
    made = held.made(torch.arange(len(held.labels)))
    images = (made() if callable(made) else made) * STD + MEAN
    return (255 * images).mean((1, 2, 3)).round().long()


# --- layouts


@pytest.mark.parametrize("inside", ["", "tiny-imagenet-200"])
def test_tiny_imagenet_is_read_in_its_layout(inside: str, tmp_path: Path) -> None:
    tiny(tmp_path / inside)
    data = load_tiny_imagenet(tmp_path)
    check(data, shades)
    assert isinstance(data.train, LabelledPixels)
    assert data.train.pixels.shape == (9, 3, 64, 64)


def test_tiny_imagenet_of_half_the_side_scales_each_picture(tmp_path: Path) -> None:
    tiny(tmp_path)
    halves = np.zeros((64, 64), np.uint8)
    halves[:, 32:] = 200  # left black, right grey
    listed = sorted(tmp_path.glob("train/**/*.JPEG"))
    Image.fromarray(halves).save(listed[0], format="PNG")
    task = task_stream("split-tiny-imagenet-32", seed=0, tasks=1, data=tmp_path, classes_per_task=3)
    assert task[0].scored_images.shape[1:] == (3, 32, 32)
    data = load_tiny_imagenet(tmp_path, side=32)
    assert isinstance(data.train, LabelledPixels)
    assert data.train.pixels.shape == (9, 3, 32, 32)
    first = data.train.pixels[0, 0, 16]  # a row of the picture of two halves
    assert first[:15].tolist() == [0] * 15
    assert first[17:].tolist() == [200] * 15
    others = data.train.pixels[1:].float().mean((1, 2, 3)).tolist()
    assert others == [shade("train", label, n) for label in range(3) for n in range(3)][1:]


@pytest.mark.parametrize("side", [48, 0, True, None, "32", 32.5])
def test_tiny_imagenet_has_no_other_side(side: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="32 or 64 pixels, got"):
        load_tiny_imagenet(tiny(tmp_path), side=side)


def test_tiny_imagenet_of_half_the_side_refuses_pictures_that_have_it_already(tmp_path) -> None:
    path = sorted(tiny(tmp_path).glob("train/**/*.JPEG"))[0]
    save(path, 0, 32)
    with pytest.raises(DataError, match=f"{path.name} has 32 x 32 pixels where 64 x 64"):
        load_tiny_imagenet(tmp_path, side=32)


@pytest.mark.parametrize("inside", ["", "imagenet"])
def test_imagenet_is_read_in_its_layout_and_stays_in_its_files(inside, tmp_path: Path) -> None:
    classes(tmp_path / inside)
    data = load_imagenet(tmp_path)
    check(data, shades)
    assert isinstance(data.train, LabelledFiles)


def test_words_name_the_classes_where_they_are_there(tmp_path: Path) -> None:
    tiny(tmp_path)
    (tmp_path / "words.txt").write_text(
        "n00\tnothing\nn01\tgoldfish, Carassius auratus\nn03\tfrog\n"
    )
    assert load_tiny_imagenet(tmp_path).names == ("goldfish", "n02", "frog")


@pytest.mark.parametrize("side", [8, 64, 65])
@pytest.mark.parametrize("test", ["test", "val"])
def test_any_folder_is_held_in_memory_if_its_pictures_are_small(side, test, tmp_path) -> None:
    classes(tmp_path, side=side)
    (tmp_path / "val").rename(tmp_path / test)
    data = load_image_folder(tmp_path)
    check(data, shades)
    assert isinstance(data.train, LabelledPixels if side <= 64 else LabelledFiles)


def test_a_test_part_without_class_folders_is_passed_over(tmp_path: Path) -> None:
    save(classes(tmp_path, side=8) / "test" / "1.png", 1, 8)
    check(load_image_folder(tmp_path), shades)


def test_a_folder_of_class_folders_alone_has_no_test_part(tmp_path: Path) -> None:
    data = load_image_folder(classes(tmp_path, side=8) / "train")
    assert data.test is None
    assert data.names == CLASSES
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    classes(tmp_path)
    (tmp_path / "train" / "n01" / ".DS_Store").write_bytes(b"")
    (tmp_path / "train" / ".cache").mkdir()
    check(load_imagenet(tmp_path), shades)


def test_the_variable_names_the_default_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOPMASK_DATA", str(tiny(tmp_path)))
    check(load_tiny_imagenet(), shades)


# --- what is amiss is named

LOADERS = (load_tiny_imagenet, load_imagenet, load_image_folder)


@pytest.mark.parametrize("load", LOADERS)
def test_no_folder_is_an_error(load, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("HOPMASK_DATA", raising=False)
    with pytest.raises(DataError, match="--data"):
        load()
    with pytest.raises(DataError, match="nowhere"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("load", LOADERS)
def test_an_empty_folder_is_named(load, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}"):
        load(tmp_path)


def one_picture(root: Path) -> Path:
    return sorted((root / "train" / "n02").rglob("*.JPEG"))[1]


@pytest.mark.parametrize("content", [b"", b"<html>", None], ids=["empty", "a page", "truncated"])
@pytest.mark.parametrize("part", ["train", "val"])
def test_one_bad_picture_of_tiny_imagenet_is_named(content, part: str, tmp_path: Path) -> None:
    path = sorted(tiny(tmp_path).glob(f"{part}/**/*.JPEG"))[2]
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(DataError, match=rf"{path} .*fetch"):
        load_tiny_imagenet(tmp_path)


def test_one_bad_picture_of_a_small_folder_is_named(tmp_path: Path) -> None:
    path = one_picture(classes(tmp_path, side=8))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=f"{path}"):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("load", [load_tiny_imagenet, load_image_folder])
def test_a_picture_of_another_size_is_named(load, tmp_path: Path) -> None:
    root = tiny(tmp_path) if load is load_tiny_imagenet else classes(tmp_path, side=8)
    path = one_picture(root)
    save(path, 1, 32)
    with pytest.raises(DataError, match=rf"{path} has 32 x 32"):
        load(tmp_path)


@pytest.mark.parametrize(("make", "load"), [(tiny, load_tiny_imagenet), (classes, load_imagenet)])
def test_a_picture_in_the_folder_of_another_class_is_named(make, load, tmp_path: Path) -> None:
    path = one_picture(make(tmp_path))
    moved = path.rename(path.with_name("n03_77.JPEG"))
    with pytest.raises(DataError, match=rf"{moved} is a picture of class n03 .* n02"):
        load(tmp_path)


@pytest.mark.parametrize(("make", "load"), [(tiny, load_tiny_imagenet), (classes, load_imagenet)])
@pytest.mark.parametrize("name", ["boxes.txt", "folder"])
def test_anything_else_in_a_class_folder_is_named(make, load, name: str, tmp_path: Path) -> None:
    path = one_picture(make(tmp_path)).with_name(name)
    path.write_text("") if "." in name else path.mkdir()
    with pytest.raises(DataError, match=rf"{path} is no picture file"):
        load(tmp_path)


def test_a_class_without_pictures_is_named(tmp_path: Path) -> None:
    empty = classes(tmp_path) / "train" / "n04"
    empty.mkdir()
    with pytest.raises(DataError, match=rf"{empty} is empty"):
        load_imagenet(tmp_path)


@pytest.mark.parametrize("load", [load_imagenet, load_image_folder])
@pytest.mark.parametrize("part", ["train", "val"])
def test_a_class_in_one_part_alone_is_named(load, part: str, tmp_path: Path) -> None:
    save(classes(tmp_path) / part / "n04" / "n04_1.JPEG", 1, 80)
    with pytest.raises(DataError, match=r"class n04 .* alone"):
        load(tmp_path)


@pytest.mark.parametrize("part", ["train", "val"])
def test_one_part_without_the_other_is_named(part: str, tmp_path: Path) -> None:
    classes(tmp_path, parts=(part,))
    with pytest.raises(DataError, match=rf"{tmp_path} has a training part without test part"):
        load_image_folder(tmp_path)


def test_unsorted_validation_pictures_are_named(tmp_path: Path) -> None:
    classes(tmp_path, parts=("train",))
    save(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG", 1, 80)
    with pytest.raises(DataError, match=rf"{tmp_path / 'val'} holds no class folders: sort"):
        load_imagenet(tmp_path)


def test_a_class_that_is_listed_without_folder_is_named(tmp_path: Path) -> None:
    tiny(tmp_path)
    (tmp_path / "wnids.txt").write_text("n01\nn02\nn03\nn04\n")
    with pytest.raises(DataError, match=r"wnids\.txt .* class n04"):
        load_tiny_imagenet(tmp_path)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("val_9.JPEG\tn01\t0\t0\t1\t1", "val_9.JPEG"),
        ("val_0_0.JPEG\tn01\t0\t0\t1\t1", "val_0_0.JPEG"),  # named twice
        ("nothing", "nothing"),
        ("", "''"),
    ],
)
def test_a_wrong_line_of_the_list_is_named(line: str, named: str, tmp_path: Path) -> None:
    listed = tiny(tmp_path) / "val" / "val_annotations.txt"
    listed.write_text(f"{listed.read_text()}{line}\n")
    with pytest.raises(DataError, match=rf"line 7 of {listed} .*{named}"):
        load_tiny_imagenet(tmp_path)


def test_a_class_of_the_list_that_does_not_exist_is_named(tmp_path: Path) -> None:
    listed = tiny(tmp_path) / "val" / "val_annotations.txt"
    listed.write_text(listed.read_text().replace("n02", "n05"))
    with pytest.raises(DataError, match=rf"line . of {listed} .*class 'n05'"):
        load_tiny_imagenet(tmp_path)


def test_a_picture_that_the_list_leaves_out_is_named(tmp_path: Path) -> None:
    listed = tiny(tmp_path) / "val" / "val_annotations.txt"
    first, *others = listed.read_text().splitlines()
    listed.write_text("\n".join(others) + "\n")
    with pytest.raises(DataError, match=rf"{first.split()[0]} has no line"):
        load_tiny_imagenet(tmp_path)


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    listed = tiny(tmp_path) / "val" / "val_annotations.txt"
    listed.unlink()
    with pytest.raises(DataError, match=rf"{listed} cannot be read"):
        load_tiny_imagenet(tmp_path)


@pytest.mark.parametrize("given", ["", "train"])
def test_what_lies_beside_class_folders_is_named(given: str, tmp_path: Path) -> None:
    root, part = classes(tmp_path) / given, tmp_path / "train"
    (part / "notes.txt").write_text("of the author")
    assert load_image_folder(root).names == CLASSES
    (part / "n04").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds class folders, and n04 leads nowhere"):
        load_image_folder(root)
    (part / "n04").unlink()
    save(part / "stray.PNG", 0, 16)
    with pytest.raises(DataError, match=r"stray.PNG is a picture outside of them: take it out"):
        load_image_folder(root)


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    root = classes(tmp_path)
    for part in ("train", "val"):
        (root / part / "n02").rename(root / part / os.fsdecode(b"caf\xe9"))
    assert load_image_folder(root).names == (r"caf\xe9", "n01", "n03")
