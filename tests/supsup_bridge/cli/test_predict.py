"""`supsup predict`: images from files in, tasks and labels out."""

import io
import json
import os
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from hopmask import ConfigError
from supsup_bridge import (
    DataError,
    Experiment,
    PixelScale,
    RunSettings,
    SupSup,
    split_digits,
)
from supsup_bridge.cli import main
from supsup_bridge.cli.predict import read_images
from supsup_bridge.training.settings import TrainingSettings

TRAINING = TrainingSettings(epochs=10, batch=32, contrast=1.0, noise=1.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A learner of two tasks of flat digits."""
    out = tmp_path_factory.mktemp("learner")
    learner = SupSup("lenet-300-100", inputs=64, outputs=10, memory="bank", training=TRAINING)
    for task in split_digits(tasks=2):
        learner.learn((task.train_images, task.train_labels))
    learner.save(out)
    return out


@pytest.fixture
def images(tmp_path: Path) -> Path:
    path = tmp_path / "digits.npy"
    np.save(path, split_digits(tasks=2)[1].scored_images[:6].numpy())
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["predict", *arguments, "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def test_predictions_are_those_of_the_learner(folder: Path, images: Path, capsys) -> None:
    rows = printed(capsys, str(folder), str(images))
    found = SupSup.load(folder).predict(torch.from_numpy(np.load(images)))
    assert [row["task"] for row in rows] == found.task.tolist()
    assert [row["label"] for row in rows] == found.label.tolist()
    assert [row["recognized"] for row in rows] == found.recognized.tolist()
    assert [row["image"] for row in rows][:2] == ["digits.npy[0]", "digits.npy[1]"]


def test_a_task_can_be_given(folder: Path, images: Path, capsys) -> None:
    assert {row["task"] for row in printed(capsys, str(folder), str(images), "--task", "0")} == {0}


def test_without_json_a_table_is_printed(folder: Path, images: Path, capsys) -> None:
    assert main(["predict", str(folder), str(images)]) == 0
    out = capsys.readouterr().out
    assert "recognized" in out
    assert out.count("digits.npy") == 6


def test_a_finished_run_is_a_learner(tmp_path: Path, images: Path, capsys) -> None:
    out = tmp_path / "run"
    run = ["run", "split-digits", "--tasks", "2", "--quick", "--device", "cpu"]
    assert main([*run, "--out", str(out)]) == 0
    capsys.readouterr()
    assert len(printed(capsys, str(out), str(images))) == 6


def test_a_run_reads_pictures_as_it_read_its_own(tmp_path: Path, capsys) -> None:
    out = tmp_path / "run"
    run = ["run", "split-digits", "--tasks", "2", "--quick", "--device", "cpu"]
    assert main([*run, "--out", str(out)]) == 0
    capsys.readouterr()
    shades = load_digits().data[:12].round() / 16
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, shade in enumerate(np.uint8(255 * shades).reshape(-1, 8, 8)):
        Image.fromarray(shade).save(pictures / f"{number:02}.png")
    np.save(tmp_path / "same.npy", np.float32((np.uint8(255 * shades) / 255 - 0.3) / 0.375))
    found, expected = (
        printed(capsys, str(out), str(tmp_path / n)) for n in ("pictures", "same.npy")
    )
    for one in (*found, *expected):
        one.pop("image")
    assert found == expected
    assert len({one["task"] for one in found}) == 2


OTHER = PixelScale(mean=(0.5,), std=(0.5,))


@pytest.mark.parametrize("scales", [(None, None), (OTHER, None), (None, OTHER)], ids=str)
def test_a_run_whose_images_are_made_in_no_known_way_takes_no_pictures(
    scales: tuple[PixelScale | None, ...], tmp_path: Path, quiet, capsys
) -> None:
    digits = split_digits(tasks=2)
    tasks = [replace(task, scale=scale) for task, scale in zip(digits, scales, strict=True)]
    run = Experiment(RunSettings(tasks=2, quick=True), tasks=tasks)
    run.run(quiet)
    run.save(tmp_path / "run")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "digit.png")
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "digit.png")]) == 2
    assert "does not keep how its images were made" in " ".join(capsys.readouterr().err.split())


def test_a_run_from_before_scales_were_kept_takes_no_pictures(
    folder: Path, tmp_path, capsys
) -> None:
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    (old / "result.json").write_text("{}")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "digit.png")
    assert main(["predict", str(old), str(tmp_path / "digit.png")]) == 2
    assert "does not keep how its images were made" in " ".join(capsys.readouterr().err.split())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of xdist's threads
@pytest.mark.parametrize("side", [16, 70])
def test_a_run_on_a_folder_reads_its_pictures_again(
    side: int, pictures, quiet, small_crops, tmp_path: Path
) -> None:
    settings = RunSettings(benchmark="folder", network="lenet-5", batches=2, device="cpu")
    data = pictures(side)
    run = Experiment(settings, data=data)
    run.run(quiet)
    run.save(tmp_path / "run")
    held = tmp_path / "held"
    held.mkdir()
    for path in data.glob("val/*/*.png"):
        (held / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    learner = SupSup.load(tmp_path / "run")
    _, images = read_images(held, learner.image_shape, pixels=learner.settings.pixels)
    tested = [part for task in run.stream for part in (task.inference_images, task.scored_images)]
    assert sorted(images.tolist()) == sorted(torch.cat(tested).tolist())


def test_a_learner_that_was_not_run_takes_pictures(folder: Path, tmp_path: Path, capsys) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "digit.png")
    assert len(printed(capsys, str(folder), str(tmp_path))) == 1


def test_what_is_assumed_of_pictures_is_said(folder: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "digit.png"
    Image.fromarray(np.full((8, 8), 9, dtype=np.uint8)).save(path)
    assert main(["predict", str(folder), str(path)]) == 0
    assert "pictures are read as pixel / 255" in capsys.readouterr().err
    np.save(tmp_path / "digit.npy", np.zeros((8, 8), dtype=np.float32).reshape(64))
    assert main(["predict", str(folder), str(tmp_path / "digit.npy")]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("shape", [(64,), (8, 8)])
def test_a_module_of_the_users_is_made_again_by_its_function(
    shape: tuple[int, ...], tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(inputs: Any, outputs: int) -> nn.Module:
        assert inputs == (64 if shape == (64,) else shape)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, outputs))

    users = types.ModuleType("users")
    users.make = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "users", users)
    learner = SupSup(make(64 if shape == (64,) else shape, 7))
    (task,) = split_digits(tasks=1)
    images = task.train_images.reshape(-1, *shape)
    learner.learn((images, task.train_labels), epochs=1)
    learner.save(tmp_path / "learner")
    np.save(tmp_path / "images.npy", images[:3].numpy())
    arguments = (str(tmp_path / "learner"), str(tmp_path / "images.npy"))
    rows = printed(capsys, *arguments, "--network", "users:make")
    assert [row["label"] for row in rows] == learner.predict(images[:3]).label.tolist()
    assert main(["predict", *arguments]) == 2
    assert "--network package.module:function" in " ".join(capsys.readouterr().err.split())
    kept = SupSup(make(64 if shape == (64,) else shape, 7), weights="given")
    kept.learn((images, task.train_labels), epochs=1)
    kept.save(tmp_path / "kept")
    assert main(["predict", str(tmp_path / "kept"), arguments[1], "--network", "users:make"]) == 2
    assert "the network is not the one" in " ".join(capsys.readouterr().err.split())
    SupSup(make(64 if shape == (64,) else shape, 7)).save(tmp_path / "kept")  # of no task
    assert main(["predict", str(tmp_path / "kept"), arguments[1], "--network", "users:make"]) == 2
    assert "does not say which inputs" in " ".join(capsys.readouterr().err.split())


def test_a_small_module_with_hashed_masks_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = types.ModuleType("users")
    users.make = lambda inputs, outputs: nn.Linear(inputs, outputs)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "users", users)
    (task,) = split_digits(tasks=1)
    learner = SupSup(nn.Linear(64, 4), masks="hashed")
    learner.learn(task, epochs=1)
    learner.save(tmp_path)
    again, images = SupSup.load(tmp_path, module="users:make"), task.scored_images
    assert torch.equal(again.predict(images).logits, learner.predict(images).logits)


def test_a_folder_of_folders_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    with pytest.raises(ConfigError, match=r"holds no files: give a folder of"):
        read_images(tmp_path, (64,))


def test_names_of_files_are_printed_as_they_are(folder: Path, tmp_path: Path, capsys) -> None:
    name = "[red]a:100:.npy"
    array = np.random.default_rng(0).normal(size=(1, 64)).astype("float32")
    np.save(tmp_path / name, array)
    assert [row["image"] for row in printed(capsys, str(folder), str(tmp_path))] == [name]
    assert main(["predict", str(folder), str(tmp_path)]) == 0
    assert name in capsys.readouterr().out


def test_an_unknown_task_is_bad_input(folder: Path, images: Path, capsys) -> None:
    assert main(["predict", str(folder), str(images), "--task", "9"]) == 2
    assert "--task 9" in capsys.readouterr().err


def test_pictures_are_read_in_order_of_their_names(tmp_path: Path, capsys) -> None:
    learner = SupSup(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4)),
        memory="bank",
        weights="given",
    )
    pictures = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    learner.learn((pictures, torch.tensor([0, 1])))
    for name, picture in zip("ba", pictures, strict=True):
        Image.fromarray((picture[0] * 255).round().byte().numpy()).save(tmp_path / f"{name}.png")
    names, read = read_images(tmp_path, learner.image_shape)
    assert names == ["a.png", "b.png"]
    torch.testing.assert_close(read, pictures.flip(0), rtol=0, atol=1 / 255)


@pytest.mark.parametrize(("kind", "ending"), [(np.uint16, "png"), (np.float32, "tiff")])
def test_pictures_of_more_than_8_bits_are_refused(kind: Any, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"deep.{ending}"
    Image.fromarray(np.full((8, 8), 40_000, kind)).save(path)
    with pytest.raises(DataError, match=rf"{path} .*save it with 8 bits"):
        read_images(path, (1, 8, 8))


@pytest.mark.parametrize("shape", [(1, 8, 8), (64,), (2, 8, 8), (4, 8, 8)])
def test_a_scale_of_other_channels_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "digit.png")
    scale = PixelScale(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    with pytest.raises(ConfigError, match="scaled by 3 figures"):
        read_images(tmp_path, shape, pixels=scale)


@pytest.mark.parametrize("shape", [(64,), (8, 8), (1, 8, 8), (3, 8, 8)])
def test_pictures_of_other_sides_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 16), np.uint8)).save(tmp_path / "wide.png")
    with pytest.raises(ConfigError, match=r"16 x 4 pixels.* of 8 x 8: resize"):
        read_images(tmp_path, shape)


@pytest.mark.parametrize("shape", [(63,), (2, 8, 8)])
def test_images_that_no_picture_makes_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "digit.png")
    with pytest.raises(ConfigError, match="not those of gray or RGB"):
        read_images(tmp_path, shape)


def test_centres_of_another_size_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "one.png")
    scale = PixelScale(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), centre=True)
    with pytest.raises(ConfigError, match=r"224 x 224 pixels.* of 64 x 64"):
        read_images(tmp_path, (3, 64, 64), pixels=scale)


@pytest.mark.parametrize("shape", [(63,), (2, 63), (0, 64)])
def test_arrays_of_another_shape_are_refused(shape: Any, folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape))
    assert main(["predict", str(folder), str(tmp_path / "x.npy")]) == 2


def test_what_is_no_image_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.npy").write_text("no array")
    for name in ("folder", "text.npy", "nowhere.npy"):
        assert main(["predict", str(folder), str(tmp_path / name)]) == 2


def test_a_folder_without_a_learner_is_refused(tmp_path: Path, images: Path) -> None:
    assert main(["predict", str(tmp_path), str(images)]) == 1


def test_a_run_of_a_learner_that_is_not_saved_is_refused(
    images: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "run"
    assert main(["run", "--learner", "psp", "--quick", "--tasks", "1", "--out", str(out)]) == 0
    assert main(["predict", str(out), str(images)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "learner psp, which is not saved" in said


def array_of(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def several_arrays() -> bytes:
    file = io.BytesIO()
    np.savez(file, np.zeros((1, 64)))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        several_arrays(),
        array_of(np.zeros((1, 64))).replace(b"descr", b"de\\cr"),
        array_of(np.zeros((1, 64))).replace(b"(1, 64)", b"(9999999999999, 64)"),
        array_of(np.zeros((1, 64), complex)),
        array_of(np.full((1, 64), "a")),
    ],
    ids=["empty", "several", "header", "huge", "complex", "text"],
)
def test_a_file_that_is_no_array_of_images_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "images.npy").write_bytes(content)
    with pytest.raises(ConfigError, match=r"images.npy is no array of real numbers"):
        read_images(tmp_path / "images.npy", (64,))


@pytest.mark.parametrize("cut", [20, 40])
def test_a_damaged_picture_is_named(cut: int, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "one.png")
    (tmp_path / "one.png").write_bytes((tmp_path / "one.png").read_bytes()[:cut])
    with pytest.raises(ConfigError, match=r"one.png is no image that Pillow can read"):
        read_images(tmp_path / "one.png", (64,))


def test_hidden_files_are_passed_over_and_names_can_be_printed(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "one.png")
    (tmp_path / "one.png").rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    (tmp_path / ".DS_Store").write_bytes(b"of another system")
    names, images = read_images(tmp_path, (64,))
    assert (names, len(images)) == ([r"caf\xe9.png"], 1)
