"""Runs that continue where they stopped, to the bit."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import count, groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import hopmask
from hopmask import ConfigError, storage
from hopmask.errors import CorruptStoreError, StoreFileError
from supsup_bridge import DataError, Experiment, RunSettings, Workers
from supsup_bridge.runs import checkpoint, presets
from supsup_bridge.runs.checkpoint import Checkpoints, Slot
from supsup_bridge.runs.state_tree import packed
from supsup_bridge.runs.timing import Pace
from supsup_bridge.training.data import TensorData
from supsup_bridge.training.fit import Lesson

KINDS: dict[str, dict[str, Any]] = {
    "weight": {},
    "hashed": {"masks": "hashed"},
    "signed": {"masks": "signed"},
    "transfer": {"mask_init": "mean"},
    "nearest": {"mask_init": "nearest"},
    "NNs": {"scenario": "NNs", "ask_every": 7},
    "NNs hashed": {"masks": "hashed", "scenario": "NNs", "ask_every": 7},
    "bank": {"memory": "bank"},
    "NNs on a bank": {"memory": "bank", "scenario": "NNs", "ask_every": 7, "epsilon": 1e-9},
}


class Stopped(Exception):
    """The run was stopped on purpose."""


def stop_at(number: int, then: Callable[[], None]) -> Callable[[], None]:
    """A pause that does `then` and stops the run when it is called for the number-th time."""
    calls = count(1)

    def pause() -> None:
        if next(calls) == number:
            then()
            raise Stopped

    return pause


def files(run: Experiment, folder: Path) -> tuple[dict[str, Any], str]:
    """Result, but for the times, and SHA-256 of the memory of a run."""
    run.close()
    stamp = run.memory.save(folder / "memory.h5")
    result = run.result()
    del result["seconds"]
    return json.loads(json.dumps(result)), stamp.sha256


def resumed(folder: Path, **data: Path) -> Experiment:
    return checkpoint.resumed(folder, checkpoint.read(folder), **data)


def locked(keeper: Checkpoints) -> AbstractContextManager[None]:
    return checkpoint.locked(keeper.folder.parent)


def memories(keeper: Checkpoints) -> list[str]:
    return sorted(
        path.name for path in keeper.folder.glob("memory*.h5*") if ".lock" not in path.name
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_continues_to_the_same_bits_from_wherever_it_stopped(
    kind: str, small, quiet, tmp_path: Path
) -> None:
    check_that_it_continues(small(**KINDS[kind]), quiet, tmp_path)


def test_a_run_of_the_papers_continues_to_the_same_bits(
    small, quiet, tmp_path: Path, mnist_folder: Path
) -> None:
    settings = small(benchmark="split-mnist", network="paper", bits=64, batches=6, infer_samples=8)
    check_that_it_continues(settings, quiet, tmp_path, data=mnist_folder)


PICTURES = {"benchmark": "folder", "network": "lenet-5", "tasks": None, "batches": 8}


def test_a_run_of_augmented_pictures_continues_to_the_same_bits(
    small, quiet, pictures, tmp_path: Path
) -> None:
    check_that_it_continues(small(**PICTURES), quiet, tmp_path, data=pictures(16))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of xdist's threads
def test_a_run_of_streamed_pictures_continues_to_the_same_bits(
    small, quiet, pictures, tmp_path: Path, small_crops
) -> None:
    check_that_it_continues(small(**PICTURES), quiet, tmp_path, data=pictures(70))


def test_a_run_keeps_to_the_precision_in_which_it_began(
    small, pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capabilities = {"amx_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    data = pictures(16)
    begun = Experiment(small(**PICTURES), data=data)
    keeper = Checkpoints(tmp_path, begun, data=data)
    with locked(keeper):
        keeper.begin()
    capabilities["amx_bf16"] = False  # another machine
    continued = checkpoint.resumed(tmp_path, checkpoint.read(tmp_path))
    assert continued.preset.training.precision == begun.settings.train_in == "bfloat16"
    assert Experiment(small(**PICTURES), data=data).settings.train_in == "float32"


def test_data_may_be_a_file(small, pictures, tmp_path: Path) -> None:
    run = Experiment(small(**PICTURES), data=pictures(16))
    archive = tmp_path / "archive.tar.gz"
    archive.touch()
    keeper = Checkpoints(tmp_path / "run", run, data=archive)
    with locked(keeper):
        keeper.begin()
    with pytest.raises(DataError, match=r"archive\.tar\.gz"):  # found, and read
        resumed(tmp_path / "run")
    archive.unlink()
    with pytest.raises(ConfigError, match="no longer exists"):
        resumed(tmp_path / "run")


def test_a_run_is_not_continued_with_other_defaults(small, tmp_path: Path, monkeypatch) -> None:
    run = Experiment(small())
    keeper = Checkpoints(tmp_path, run)
    with locked(keeper):
        keeper.begin()
    assert resumed(tmp_path).preset == run.preset
    key = (run.settings.benchmark, "weight", "standard")
    chosen = presets._PRESETS[key]
    other = replace(chosen, training=replace(chosen.training, mixup=0.5))
    monkeypatch.setitem(presets._PRESETS, key, other)
    with pytest.raises(
        ConfigError, match=r"begun with other defaults.*'mixup': 0\.0.*'mixup': 0\.5"
    ):
        resumed(tmp_path)


def check_that_it_continues(settings: RunSettings, quiet: Any, folder: Path, **data: Path) -> None:
    pauses = count()
    whole = Experiment(settings, **data)
    whole.run(quiet, pause=lambda: next(pauses) and None)
    wanted = files(whole, folder)
    total = next(pauses)
    run = Experiment(settings, **data)
    for number, at in enumerate((5, total // 2, 1, total // 4)):
        keeper = Checkpoints(folder / str(number), run)
        with locked(keeper), pytest.raises(Stopped):
            run.run(quiet, pause=stop_at(at, keeper.write))
        run = resumed(folder / str(number), **data)
    run.run(quiet)
    (folder / "again").mkdir()
    assert files(run, folder / "again") == wanted


@pytest.mark.parametrize("kind", ["NNs", "NNs hashed", "NNs on a bank"])
def test_what_the_end_of_training_writes_is_in_the_next_checkpoint(
    kind: str, small, quiet, tmp_path: Path
) -> None:
    settings = small(**KINDS[kind])
    whole = Experiment(settings)
    whole.run(quiet)
    wanted = files(whole, tmp_path)
    assert whole.free is not None
    run, steps = Experiment(settings), whole.free.seen
    keeper = Checkpoints(tmp_path / "run", run)

    def pause() -> None:
        assert run.free is not None
        if run.free.seen == steps:  # after the last step, and then while the tasks are scored
            keeper.write()
            if run.ledger.count == settings.tasks:
                raise Stopped

    with locked(keeper), pytest.raises(Stopped):
        run.run(quiet, pause=pause)
    again = resumed(tmp_path / "run")
    again.run(quiet)
    (tmp_path / "again").mkdir()
    assert files(again, tmp_path / "again") == wanted


@pytest.mark.parametrize("kind", ["hashed", "NNs hashed"])
def test_a_checkpoint_is_small_beside_the_memory(kind: str, small, quiet, tmp_path: Path) -> None:
    run = Experiment(small(**KINDS[kind]))
    keeper = Checkpoints(tmp_path, run)
    with locked(keeper), pytest.raises(Stopped):
        run.run(quiet, pause=stop_at(30, keeper.write))
    beside = (keeper.folder / "run.h5").stat().st_size
    images = 0 if kind == "hashed" else 20 * 128 * 64 * 4  # those kept for the open mask's address
    assert beside < 32_000 + images


@pytest.mark.parametrize("kind", [{}, {"masks": "hashed"}], ids=str)
def test_a_checkpoint_holds_no_mask_that_was_stored(
    kind: dict[str, Any], small, quiet, tmp_path: Path
) -> None:
    sizes = []
    for tasks in (1, 3):
        run = Experiment(small(tasks=tasks, **kind))
        run.run(quiet)
        keeper = Checkpoints(tmp_path / str(tasks), run)
        with locked(keeper):
            keeper.write()
        sizes.append((keeper.folder / "run.h5").stat().st_size)
    assert sizes[1] - sizes[0] < 2 * 256  # a mask has 256 bits or more, its digest 64 digits


def test_the_memory_is_written_again_only_where_it_changed(small, quiet, tmp_path: Path) -> None:
    run = Experiment(small())
    keeper = Checkpoints(tmp_path, run)

    slots: list[Slot | None] = []

    def note() -> None:
        keeper.write()
        slots.append(checkpoint.read(tmp_path).slot)

    with locked(keeper):
        run.run(quiet, pause=note)
    assert slots[0] == slots[19]
    assert [slot.number for slot, _ in groupby(slots) if slot] == [0, 1, 0]
    assert len({slot.sha256 for slot in slots if slot}) == 3
    assert memories(keeper) == ["memory.0.h5", "memory.1.h5"]


@pytest.mark.parametrize("failures", [1, 2])
def test_failures_between_the_two_files_leave_the_last_checkpoint(
    failures: int, small, quiet, tmp_path: Path, monkeypatch
) -> None:
    """The memory is written, what names it is not, again and again, with a break or without."""
    run = Experiment(small(tasks=5))
    keeper = Checkpoints(tmp_path, run)
    with locked(keeper), pytest.raises(Stopped):
        run.run(quiet, pause=stop_at(30, keeper.write))
    first = checkpoint.read(tmp_path)
    assert first.slot is not None

    def full(keeper: Checkpoints, *_: object) -> None:
        raise StoreFileError("the disk is full")

    def fail(keeper: Checkpoints) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "_commit", full)
            with pytest.raises(StoreFileError):
                keeper.write()

    for number in range(failures):
        pause = stop_at(30, partial(fail, keeper))
        with locked(keeper), pytest.raises(Stopped):
            run.run(quiet, pause=pause)
        again = checkpoint.read(tmp_path)
        assert repr(again) == repr(first)
        if number:
            run = checkpoint.resumed(tmp_path, again)
            keeper = Checkpoints(tmp_path, run, slot=again.slot)
            assert run.kept.count == 1


def test_a_checkpoint_that_cannot_be_written_ends_no_run(
    small, quiet, tmp_path: Path, monkeypatch, caplog
) -> None:
    def full(*_: object) -> None:
        raise StoreFileError("the disk is full")

    run = Experiment(small())
    keeper = Checkpoints(tmp_path, run)
    monkeypatch.setattr(Pace, "is_due", lambda pace, cost: True)
    monkeypatch.setattr(Checkpoints, "_commit", full)
    with locked(keeper):
        run.run(quiet, pause=keeper)
    assert len(run.ledger.matrix) == 2
    assert "no checkpoint could be written, and the run continues: the disk is full" in caplog.text


def test_a_run_that_has_only_begun_can_be_continued(small, tmp_path: Path) -> None:
    run = Experiment(small(seed=4))
    keeper = Checkpoints(tmp_path, run)
    with locked(keeper):
        keeper.begin()
    saved = checkpoint.read(tmp_path)
    assert (saved.settings, saved.state, saved.slot) == (run.settings, None, None)
    assert resumed(tmp_path).ledger.count == 0


def test_checkpoints_are_written_so_seldom_that_they_take_two_percent(
    small, tmp_path: Path, monkeypatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    written: list[float] = []

    def slow(*_: object) -> None:
        now[0] += 0.5  # a checkpoint takes half a second
        written.append(now[0])

    keeper = Checkpoints(tmp_path, Experiment(small()))
    monkeypatch.setattr(Checkpoints, "_commit", slow)
    with locked(keeper):
        for _ in range(100_000):
            now[0] += 0.01
            keeper()
    assert keeper.seconds <= 0.02 * now[0] + 0.5  # what the first would take was not known
    assert keeper.seconds >= 0.015 * now[0]
    assert min(b - a for a, b in pairwise(written[1:])) > 25


def test_a_run_that_is_to_stop_writes_a_checkpoint_first(small, quiet, tmp_path: Path) -> None:
    run = Experiment(small())
    keeper = Checkpoints(tmp_path, run)
    keeper.stop = True
    with locked(keeper), pytest.raises(KeyboardInterrupt):
        run.run(quiet, pause=keeper)
    saved = checkpoint.read(tmp_path)
    assert saved.state is not None
    assert saved.state["task"]["together"]["lessons"]["batches"][0]["done"] == 1


def test_a_checkpoint_that_is_removed_leaves_nothing(small, tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, Experiment(small()))
    with locked(keeper):
        keeper.write()
        keeper.remove()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        checkpoint.read(tmp_path)


def test_a_damaged_checkpoint_is_not_continued(small, quiet, tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, Experiment(small()))
    with locked(keeper):
        keeper.write()
    path = keeper.folder / "run.h5"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError):
        checkpoint.read(tmp_path)


def test_a_memory_that_is_not_the_checkpoints_is_not_taken(small, tmp_path: Path) -> None:
    run = Experiment(small())
    keeper = Checkpoints(tmp_path, run)
    with locked(keeper):
        keeper.write()
    Experiment(small(seed=1)).memory.save(tmp_path / "other.h5")
    (tmp_path / "other.h5").replace(keeper.folder / "memory.0.h5")
    with pytest.raises(CorruptStoreError, match="not the file that was expected"):
        resumed(tmp_path)


def test_settings_of_another_version_are_refused(small, tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, Experiment(small()))
    with locked(keeper):
        keeper.write()
    path = keeper.folder / "run.h5"
    document = storage.read(path, kinds=(checkpoint.KIND,))
    about = {**document.about, "settings": {"unheard": 1}}
    storage.write(path, storage.Document(kind=checkpoint.KIND, about=about, arrays=document.arrays))
    with pytest.raises(CorruptStoreError, match="unheard"):
        checkpoint.read(tmp_path)


@pytest.mark.parametrize("state", [{}, [1], {"ledger": None}, {"ledger": {}}], ids=str)
def test_a_state_of_another_version_is_refused(state: Any, small, tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, Experiment(small()))
    with locked(keeper):
        keeper.write()
    path = keeper.folder / "run.h5"
    about = storage.read(path, kinds=(checkpoint.KIND,)).about
    arrays = packed(state)
    storage.write(path, storage.Document(kind=checkpoint.KIND, about=about, arrays=arrays))
    with pytest.raises(CorruptStoreError, match="this version does not know"):
        resumed(tmp_path)


def test_a_file_without_masks_is_no_memory_of_a_checkpoint(small, tmp_path: Path) -> None:
    """Also under `python -O`, which drops assertions."""
    keeper = Checkpoints(tmp_path, Experiment(small()))
    with locked(keeper):
        keeper.write()
        digest = hopmask.Reservoir(16).save(keeper.folder / "memory.0.h5").sha256
    saved = checkpoint.read(tmp_path)
    other = replace(saved, slot=Slot(number=0, sha256=digest))
    with pytest.raises(CorruptStoreError, match="holds no masks"):
        checkpoint.resumed(tmp_path, other)


def test_the_data_folder_is_kept_whatever_the_present_folder(
    small, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keeper = Checkpoints(tmp_path, Experiment(small()), data=Path("data"))
    with locked(keeper):
        keeper.begin()
    assert checkpoint.read(tmp_path).data == tmp_path / "data"


def test_what_figures_depend_on_is_kept(small, tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, Experiment(small()))
    with locked(keeper):
        keeper.begin()
    found = checkpoint.read(tmp_path).surroundings
    assert found["threads"] == str(torch.get_num_threads())
    assert found["device"] == "cpu"
    assert found["torch"] == str(torch.__version__)


def test_a_lesson_continues_in_the_middle_of_an_epoch(small, tmp_path: Path) -> None:
    """The order of images and the noise come from one generator, restored at one place."""
    run = Experiment(small(batches=30, benchmark="split-digits"))
    task, preset = run.stream[0], run.preset

    def lesson() -> Lesson:
        starts = run.learner.inferences.starts
        data = TensorData(task.train_images, task.train_labels)
        return Lesson(run.network, data, preset.training, scores=starts(0), batches=starts(1))

    losses: list[float] = []
    lesson().run(lambda step, loss: losses.append(loss))
    states: list[Any] = []
    first = lesson()
    first.run(lambda step, loss: None, pause=lambda: states.append(first.state()))
    again: list[float] = []
    broken = lesson()
    with pytest.raises(Stopped):
        broken.run(lambda step, loss: None, pause=stop_at(11, lambda: None))
    second = lesson()
    second.restore(broken.state())
    second.run(lambda step, loss: again.append(loss))
    assert again == losses[11:]


@pytest.mark.parametrize("workers", [False, True])
def test_interruptions_while_a_task_is_stored_leave_memory_and_ledger_alike(
    workers: bool, quiet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Experiment(RunSettings(tasks=2, quick=True, workers=workers))
    keep = run.learner.keep

    def interrupted(*learned: Any, **how: Any) -> None:
        keep(*learned, **how)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(run.learner, "keep", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.run(quiet, workers=Workers(jobs=1) if workers else None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (run.kept.count, run.ledger.count) == (1, 1)
    keeper = Checkpoints(tmp_path, run)
    with locked(keeper):
        keeper.write()
    further = resumed(tmp_path)
    further.run(quiet)
    assert further.ledger.count == 2


def test_a_checkpoint_is_removed_and_files_of_others_stay(tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, Experiment(RunSettings(tasks=2, quick=True)))
    for mine in ((), ("epoch1.pt", "run_notes.txt")):
        with locked(keeper):
            for name in mine:
                (keeper.folder / name).write_text("mine")
            for _ in range(3):
                keeper.write()
            (keeper.folder / ".run.h5.12345.tmp").touch()
            keeper.remove()
        there = sorted(path.name for path in keeper.folder.glob("*"))
        assert there == sorted(mine)
        assert keeper.folder.exists() == bool(mine)
