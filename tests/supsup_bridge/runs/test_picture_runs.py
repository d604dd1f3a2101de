"""Runs on pictures: shaped images, held or streamed, in as many tasks as the data makes."""

import io
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from hopmask import ConfigError
from supsup_bridge import (
    DataError,
    Experiment,
    RunSettings,
    SupSup,
    Workers,
    split_folder,
    split_imagenet,
)
from supsup_bridge.continual.description import described
from supsup_bridge.data import image_files
from supsup_bridge.runs import checkpoint
from supsup_bridge.runs.ledger import Ledger
from supsup_bridge.runs.merging import merged
from supsup_bridge.runs.report import summary
from supsup_bridge.runs.shard import Shard
from supsup_bridge.training.data import StreamedData

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of xdist's threads


def settings(**changes: Any) -> RunSettings:
    given = {"benchmark": "folder", "network": "lenet-5", "batches": 12, "device": "cpu"}
    return RunSettings(**(given | changes))


@pytest.fixture(scope="module")
def small(pictures) -> Path:
    return pictures(16)


@pytest.fixture(scope="module")
def large(pictures) -> Path:
    return pictures(70)


def test_as_many_tasks_are_learned_as_the_data_makes(small: Path, quiet) -> None:
    assert settings().tasks is None
    run = Experiment(settings(), data=small)
    assert run.settings.tasks == 2
    run.run(quiet)
    result = run.result()
    assert (result["tasks"], result["config"]["tasks"]) == (2, 2)
    assert result["config"]["classes_per_task"] == 2
    assert len(result["accuracy_per_task"]) == 2
    assert result["config"]["hubs"] == 2


def test_inference_changes_where_the_data_decides_the_number_of_tasks(small: Path) -> None:
    run = Experiment(settings(), data=small)
    run.change_inference(settings(recall="address"))
    assert (run.settings.tasks, run.settings.recall) == (2, "address")


def test_classes_per_task_decide_the_number_of_tasks(small: Path) -> None:
    assert Experiment(settings(classes_per_task=1), data=small).settings.tasks == 4
    with pytest.raises(ConfigError, match=r"4 classes .* make 1 tasks of 4, and 2 are"):
        Experiment(settings(classes_per_task=4, tasks=2), data=small)


def test_classes_per_task_are_refused_where_tasks_are_what_they_are() -> None:
    with pytest.raises(ConfigError, match="leave out --classes-per-task"):
        RunSettings(benchmark="split-mnist", classes_per_task=2)
    with pytest.raises(ConfigError, match="classes_per_task must be at least 1"):
        settings(classes_per_task=0)


def test_networks_that_a_run_cannot_have_are_answered_with_one_that_it_can(small: Path) -> None:
    free = {"scenario": "NNs", "quick": True, "batches": None}
    with pytest.raises(ConfigError, match="use --network lenet-5 or another"):
        Experiment(settings(**free, network="standard"), data=small)
    assert Experiment(settings(**free, network="lenet-5"), data=small)
    with pytest.raises(ConfigError, match="use --network lenet-300-100 or fc-1024-1024"):
        Experiment(settings(benchmark="split-digits"))


def test_tasks_of_the_users_decide_their_number_too(small: Path) -> None:
    tasks = split_folder(data=small)[:1]
    assert Experiment(settings(), tasks=tasks).settings.tasks == 1


@pytest.mark.parametrize("scenario", ["GG", "GNs", "GNu", "NNs"])
@pytest.mark.parametrize("memory", ["hopfield", "bank"])
def test_shaped_images_are_learned_and_scored(scenario, memory, small: Path, quiet) -> None:
    run = Experiment(settings(scenario=scenario, memory=memory), data=small)
    run.run(quiet)
    assert 0 <= run.result()["accuracy"] <= 1
    assert run.learner.image_shape == (3, 16, 16)


@pytest.mark.parametrize("memory", ["hopfield", "bank"])
def test_statistics_of_tasks_are_counted_beside_the_masks(memory, small: Path, quiet) -> None:
    run = Experiment(settings(network="gem-resnet18", batches=1, memory=memory), data=small)
    run.run(quiet)
    result = run.result()
    stored = [run.memory.recall(task=task).extras for task in range(2)]
    values = sum(value.numel() for extras in stored for value in extras.values())
    sizes = result["bytes"]
    assert sizes["extras"] == 2 * values > 0
    text = io.StringIO()
    Console(file=text, width=200).print(summary(result))
    assert f"beside them: {sizes['extras'] / 1e6:.4f} MB" in text.getvalue()
    if memory == "bank":
        bits = sum(mask.numel() for mask in run.memory.recall(task=0).masks.values())
        assert sizes["memory"] == sizes["packed_masks"] + 4 * bits + sizes["extras"]
        assert "with their running mean and statistics" in text.getvalue()


def test_a_run_of_shaped_images_is_read_back_and_predicts_the_same(
    small: Path, quiet, tmp_path: Path
) -> None:
    run = Experiment(settings(), data=small)
    run.run(quiet)
    run.save(tmp_path)
    images = run.stream[0].scored_images
    found = SupSup.load(tmp_path).predict(images)
    assert torch.equal(found.logits, run.learner.predict(images).logits)


def test_streamed_pictures_are_learned_saved_and_predict_the_same(
    large: Path, quiet, tmp_path: Path, small_crops
) -> None:
    losses: dict[int, list[float]] = {0: [], 1: []}

    class Noted(type(quiet)):
        def training(self, task, number, step, steps, loss) -> None:
            losses[number].append(loss)
            assert (steps, task.streamed is not None) == (16, True)

    run = Experiment(
        settings(benchmark="split-imagenet", classes_per_task=2, batches=16), data=large
    )
    run.run(Noted())
    for found in losses.values():
        assert len(found) == 16
        assert sum(found[-4:]) < sum(found[:4])
    run.save(tmp_path)
    images = run.stream[1].scored_images
    assert images.shape[1:] == run.learner.image_shape == (3, small_crops, small_crops)
    found = SupSup.load(tmp_path).predict(images, task=1)
    assert torch.equal(found.logits, run.learner.predict(images, task=1).logits)


def test_the_address_is_given_the_centres_of_streamed_pictures(large: Path, small_crops) -> None:
    task = split_imagenet(data=large, classes_per_task=2)[0]
    assert task.streamed is not None
    known = described(
        partial(torch.flatten, start_dim=1),
        StreamedData(task.streamed),
        grouped=False,
        generator=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
    )
    seen = torch.cat([*known.signature])
    assert sorted(seen.tolist()) == sorted(task.train_images.flatten(1).tolist())


@pytest.mark.parametrize(("side", "features", "batch"), [(16, 2048, 128), (70, 0, 64)])
def test_large_pictures_have_no_address_and_small_batches(
    side: int, features: int, batch: int, pictures, small_crops
) -> None:
    run = Experiment(settings(), data=pictures(side))
    assert (run.preset.features, run.preset.training.batch) == (features, batch)
    assert run.learner.settings.signature_features == features
    assert (run.preset.recall == "entropy") is (features == 0)
    run.change_inference(settings(protocol="image"))
    assert run.preset.features == features


def test_what_reads_an_address_is_refused_for_large_pictures(large: Path, small_crops) -> None:
    for changes in ({"recall": "both"}, {"signature": "patches"}, {"recall": "posterior"}):
        with pytest.raises(ConfigError, match="folder keeps no content address of images this"):
            Experiment(settings(**changes), data=large)
    assert Experiment(settings(scenario="NNs", recall="entropy"), data=large)


def test_pictures_are_not_decoded_to_be_counted(large: Path, small_crops, monkeypatch) -> None:
    tasks = split_imagenet(data=large, classes_per_task=2)

    def refuse(*_: Any) -> None:
        pytest.fail("pictures were decoded")

    monkeypatch.setattr(image_files, "all_of", refuse)
    assert [task.inference_count for task in tasks] == [4, 4]
    ledger = Ledger(tasks=2)
    ledger.begun(tasks[0])
    assert ledger.images[0]["inference"] == 4


def test_a_damaged_picture_ends_a_streamed_run_with_its_name(pictures, quiet, small_crops) -> None:
    folder = pictures(70)
    for bad in folder.glob("train/class?/3.png"):
        bad.write_bytes(bad.read_bytes()[:-100])
    run = Experiment(settings(), data=folder)
    with pytest.raises(DataError, match=r"^\S*/3\.png is no whole"):
        run.run(quiet)
    assert run.ledger.count == 0


def test_streams_and_whole_images_of_a_task_are_the_same_pictures(large: Path, small_crops) -> None:
    task = split_imagenet(data=large, classes_per_task=2)[0]
    assert task.streamed is not None
    with torch.random.fork_rng(devices=[]):
        ((images, labels),) = task.streamed.batches(100, augment=False)
    for label in (0, 1):
        whole = task.train_images[task.train_labels == label].flatten(1)
        some = images[labels == label].flatten(1)
        assert sorted(map(tuple, some.tolist())) == sorted(map(tuple, whole.tolist()))


SMALL_NETWORK = """
from torch import nn

def made(inputs, outputs):
    return nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(192, outputs))
"""


def test_workers_decode_streamed_pictures_themselves(
    large: Path, quiet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small_network.py").write_text(SMALL_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    run = Experiment(
        settings(network="small_network:made", batches=2, workers=True, scenario="GG"), data=large
    )
    run.run(quiet, workers=Workers(jobs=2))
    assert run.ledger.count == 2


def one_more(folder: Path) -> None:
    shutil.copy(folder / "train" / "class2" / "0.png", folder / "train" / "class2" / "more.png")


def another_class(folder: Path) -> None:
    for part in ("train", "val"):
        (folder / part / "class3").rename(folder / part / "zebra")


def other_pixels(folder: Path) -> None:
    for number in range(4):
        one, other = (folder / "val" / f"class{label}" / f"{number}.png" for label in (0, 3))
        kept = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(kept)


@pytest.mark.parametrize(
    ("side", "change"),
    [(16, one_more), (16, another_class), (16, other_pixels), (70, one_more), (70, another_class)],
)
def test_a_run_of_data_that_changed_does_not_continue(
    side: int, change, pictures, quiet, tmp_path: Path, small_crops
) -> None:
    moved, folder = tmp_path / "moved", pictures(side)
    run = Experiment(settings(batches=1, tasks=1, classes_per_task=4), data=folder)
    keeper = checkpoint.Checkpoints(tmp_path, run, data=folder)
    with checkpoint.locked(tmp_path):
        keeper.write()
    saved = checkpoint.read(tmp_path)
    shutil.copytree(folder, moved)
    assert checkpoint.resumed(tmp_path, saved, data=moved).ledger.tasks == 1
    change(moved)
    with pytest.raises(DataError, match=r"changed since it began: task 0 is 'class\d"):
        checkpoint.resumed(tmp_path, saved, data=moved)


def test_shards_of_data_that_differ_are_not_merged(pictures, quiet, tmp_path: Path) -> None:
    folder = pictures(16)
    for number in range(2):
        shard = Shard(settings(batches=1, workers=True), range(number, number + 1), data=folder)
        shard.run(quiet)
        out = tmp_path / str(number)
        with checkpoint.locked(out):
            checkpoint.Checkpoints(out, shard, data=folder, shard=shard.numbers).write()
    folders = [tmp_path / "0", tmp_path / "1"]
    assert merged(folders).ledger.count == 2
    one_more(folder)
    with pytest.raises(DataError, match="changed since it began: task"):
        merged(folders)
