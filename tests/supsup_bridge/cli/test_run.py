"""The command `supsup`."""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch

import hopmask
from hopmask import ConfigError, NumericalError
from supsup_bridge import (
    Experiment,
    MaskBank,
    RunSettings,
    Task,
    TaskAgnosticLearner,
    cli,
    split_digits,
)
from supsup_bridge.cli import run as run_command
from supsup_bridge.runs import checkpoint, prepared, report
from supsup_bridge.training.fit import Lesson

SHORT = ["--quick", "--tasks", "2", "--device", "cpu"]
QUICK = SHORT
BANK = [*SHORT, "--memory", "bank"]
FILES = {"result.json", "report.html", "memory.h5", "learner.h5", "accuracy.png"}
PARTIAL = {"result.partial.json", "memory.partial.h5", "checkpoint"}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wide terminal, a folder of its own, no data, no network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network in tests")

    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.delenv("HOPMASK_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training anything is a failure of the test."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("a task was trained")

    monkeypatch.setattr(Lesson, "run", refuse)
    monkeypatch.setattr(TaskAgnosticLearner, "learn", refuse)


def run(arguments: Sequence[str]) -> int:
    """Exit status, whether it is returned or raised."""
    try:
        return cli.main(["run", *arguments])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        pytest.fail("an interruption came through")


def names(folder: Path) -> set[str]:
    """Of the files, but for the locks that stay beside those that were written."""
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


# --- a run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    out = tmp_path_factory.mktemp("done") / "deep" / "out"
    return run([*QUICK, "--seed", "3", "--out", str(out)]), out


def test_a_run_ends_well_and_leaves_its_files(done: tuple[int, Path]) -> None:
    status, out = done
    assert status == 0
    assert names(out) == {*FILES, "recall.png"}


def test_a_runs_result_has_the_settings_that_were_given(done: tuple[int, Path]) -> None:
    result = json.loads((done[1] / "result.json").read_text())
    given = {"benchmark": "split-digits", "scenario": "GNu", "masks": "weight", "seed": 3}
    assert {key: result[key] for key in given} == given
    assert len(result["accuracy_matrix"]) == result["tasks"] == 2
    assert result["config"]["hubs"] == 2
    assert 0 <= result["accuracy"] <= 1


def test_a_runs_memory_can_be_loaded(done: tuple[int, Path]) -> None:
    memory = hopmask.load(done[1] / "memory.h5")
    assert memory.count == 2
    assert memory.recall(task=1).verified


@pytest.mark.parametrize("picture", ["recall.png", "accuracy.png"])
def test_a_runs_pictures_are_pictures(picture: str, done: tuple[int, Path]) -> None:
    assert (done[1] / picture).read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a run with a bank leaves."""
    out = tmp_path_factory.mktemp("bank") / "out"
    assert run([*BANK, "--seed", "3", "--out", str(out)]) == 0
    return out


def test_a_run_with_a_bank_leaves_all_but_recalls(bank: Path) -> None:
    assert names(bank) == FILES


def test_a_runs_bank_can_be_loaded(bank: Path) -> None:
    loaded = MaskBank.load(bank / "memory.h5")
    result = json.loads((bank / "result.json").read_text())
    assert loaded.count == result["masks_allocated"] == 2
    assert loaded.packed_nbytes == result["bytes"]["packed_masks"]


def test_a_run_prints_one_table_and_where_its_files_are(tmp_path: Path, capsys) -> None:
    assert run([*QUICK, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert f"{result['accuracy']:.4f}" in printed.out
    assert printed.out.count("digits 2 and 3") >= 1
    assert str(tmp_path / "out") in printed.out
    assert printed.err == ""


def test_results_go_to_a_folder_of_their_own_by_default(tmp_path: Path) -> None:
    assert run([*QUICK, "--tasks", "1"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"split-digits-\d{8}-\d{6}", folder.name)
    assert "result.json" in names(folder)


def test_a_module_of_ones_own_is_named_as_package_module_function(
    tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "nets_of_my_own.py").write_text(
        "from torch import nn\n\ndef small(inputs, outputs):\n"
        "    return nn.Sequential(nn.Linear(inputs, 40), nn.ReLU(), nn.Linear(40, outputs))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    options = ["--network", "nets_of_my_own:small", "--out", str(tmp_path / "out")]
    assert run([*BANK, *options]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["network"] == "nets_of_my_own:small"
    assert result["config"]["layers"] == {"0": [40, 64], "2": [100, 40]}


def test_two_runs_of_one_seed_leave_equal_results(tmp_path: Path, done) -> None:
    assert run([*QUICK, "--seed", "3", "--out", str(tmp_path / "again")]) == 0
    a, b = (json.loads((out / "result.json").read_text()) for out in (tmp_path / "again", done[1]))
    assert a.pop("seconds").keys() == b.pop("seconds").keys()
    assert a == b


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunSettings]:
    """Options -> the settings of the run that they start; nothing is run."""
    begun: list[RunSettings] = []

    def noted(settings: RunSettings, **_: Any) -> None:
        begun.append(settings)
        raise ConfigError("no run in this test")

    monkeypatch.setattr(run_command, "Experiment", noted)

    def of(*options: str) -> RunSettings:
        assert run(options) == 2
        return begun.pop()

    return of


def test_options_are_settings(settings: Callable[..., RunSettings]) -> None:
    assert settings() == RunSettings()
    common = {"seed": 3, "tasks": 4, "infer_samples": 8, "output_size": 12, "evaluate_every": 2}
    common |= {"device": "cpu", "network": "fc-1024-1024", "mask_init": "mean"}
    hopfield = {"benchmark": "split-mnist", "scenario": "GNs", "masks": "unit", "bits": 64}
    hopfield |= {"rule": "hebbian", "recall": "both", "signature": "outputs", "quick": True}
    hopfield |= {"network": "layer-norm"}
    bank = {"scenario": "NNs", "memory": "bank", "inference": "one-shot", "objective": "G"}
    bank |= {"sparsity": 0.25, "batches": 3, "epsilon": 0.25, "ask_every": 10, "budget": 1}
    for chosen in ({**common, **hopfield}, {**common, **bank}):
        options = [str(chosen["benchmark"])] if "benchmark" in chosen else []
        for name, value in chosen.items():
            if name != "benchmark":
                options.append(f"--{name.replace('_', '-')}")
                options += [] if value is True else [str(value)]
        assert settings(*options) == RunSettings(**chosen)


def test_more_or_fewer_masks_than_tasks_are_noted(tmp_path: Path, capsys) -> None:
    options = ["--scenario", "NNs", "--budget", "1", "--epsilon", "1e-9"]
    assert run([*BANK, *options, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "1 mask for 2 tasks" in printed.out
    assert "1 mask for 2 tasks" in printed.err


def test_a_finished_run_is_overwritten_only_on_request(tmp_path: Path, bank: Path, capsys) -> None:
    out = tmp_path / "out"
    shutil.copytree(bank, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run([*BANK, "--seed", "4", "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert run([*BANK, "--seed", "4", "--out", str(out), "--overwrite"]) == 0
    assert json.loads((out / "result.json").read_text())["seed"] == 4
    assert "supsup run split-digits --memory bank --tasks 2 --seed 4" in report_of(out)


def test_a_run_that_another_process_finished_meanwhile_is_kept(
    tmp_path: Path, bank: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, make = tmp_path / "out", Experiment

    def slow(*arguments: Any, **options: Any) -> Experiment:
        shutil.copytree(bank, out)
        return make(*arguments, **options)

    monkeypatch.setattr("supsup_bridge.cli.run.Experiment", slow)
    assert run([*BANK, "--seed", "4", "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    for path in bank.iterdir():
        assert path.is_dir() or path.read_bytes() == (out / path.name).read_bytes()


def report_of(out: Path) -> str:
    return (out / "report.html").read_text(encoding="utf-8")


def test_a_report_alone_is_not_replaced_either(tmp_path: Path, capsys) -> None:
    (tmp_path / "report.html").write_text("of another run")
    assert run([*BANK, "--out", str(tmp_path)]) == 2
    assert "report.html" in capsys.readouterr().err
    assert report_of(tmp_path) == "of another run"


def test_the_files_of_a_run_are_named_at_its_end(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert run([*BANK, "--out", str(out)]) == 0
    named = capsys.readouterr().out.splitlines()[-1].removeprefix(f"{out}/").split(", ")
    assert {*named} | {"learner.h5"} == FILES


# --- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["split-digit"], "did you mean 'split-digits'"),
        (["--nonsense"], "--nonsense"),
        (["--tasks", "two"], "invalid int value: 'two'"),
        (["--tasks", "6"], "1 to 5 tasks"),
        (["--masks", "hashed", "--bits", "999999999"], "bits must lie between"),
        (["--bits", "256"], "bits is for hashed masks"),
        (["--hubs", "4"], "--hubs 8"),
        (["--rule", "hebbian"], "leave out --rule"),
        (["--infer-samples", "100000"], "can see at most"),
        (["--output-size", "1"], "set --output-size to at least 2"),
        (["--network", "no_such_package:make"], "give package.module:function"),
        (["--memory", "bank", "--inference", "try-all", "--objective", "H"], "--objective"),
        (["--quick", "--batches", "5"], "leave out --quick or --batches"),
        (["--ask-every", "5"], "leave out --ask-every"),
        (["--scenario", "NNs", "--ask-every", "500"], "at most 80"),
    ],
    ids=" ".join,
)
def test_bad_input_ends_with_2_and_says_why(
    options: list[str], message: str, tmp_path: Path, capsys, untrained
) -> None:
    assert run([*options, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_more_spins_than_a_file_holds_are_refused_before_training(
    tmp_path: Path, untrained
) -> None:
    assert run(["--masks", "hashed", "--bits", "16384", "--out", str(tmp_path / "out")]) == 2


def test_bad_input_leaves_no_folder_behind(tmp_path: Path, untrained) -> None:
    for options in (
        ["split-digit"],
        ["--tasks", "6"],
        ["--infer-samples", "100000"],
        ["--masks", "weight", "--bits", "256"],
        ["--hubs", "4"],
        ["--output-size", "1"],
        ["--network", "no_such_package:make"],
        ["--memory", "bank", "--sparsity", "1.9"],
    ):
        run([*options, "--out", str(tmp_path / "out")])
        assert not (tmp_path / "out").exists(), options


def test_a_command_is_required(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_bad_input(tmp_path: Path, capsys, untrained) -> None:
    assert run(["--device", "cuda", "--out", str(tmp_path / "out")]) == 2
    assert "--device cpu" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_before_training(
    tmp_path: Path, capsys, untrained
) -> None:
    place = "file/under"
    (tmp_path / "file").write_text("in the way")
    assert run([*QUICK, "--out", str(tmp_path / place)]) == 2
    message = capsys.readouterr().err
    assert str(tmp_path / place) in message
    assert "choose another folder with --out" in message
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_missing_data_folder_fails_and_is_named(tmp_path: Path, capsys, untrained) -> None:
    options = ["split-mnist", *QUICK, "--data", str(tmp_path / "nowhere")]
    assert run([*options, "--out", str(tmp_path / "out")]) == 1
    assert f"no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err


def test_an_empty_data_folder_fails_and_names_the_file(tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    options = ["split-mnist", *QUICK, "--data", str(tmp_path / "empty")]
    assert run([*options, "--out", str(tmp_path / "out")]) == 1
    assert "train-images-idx3-ubyte" in capsys.readouterr().err


def test_no_data_and_no_network_fails_and_names_the_remedy(tmp_path: Path, capsys) -> None:
    assert run(["split-mnist", *QUICK, "--out", str(tmp_path / "out")]) == 1
    assert "pass their folder as --data" in capsys.readouterr().err


def test_a_failure_of_the_numbers_ends_with_1(tmp_path: Path, capsys, monkeypatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise NumericalError("the loss became nan at step 1 of 20")

    monkeypatch.setattr(Lesson, "run", broken)
    assert run([*QUICK, "--out", str(tmp_path / "out")]) == 1
    assert "error: the loss became nan" in capsys.readouterr().err
    assert "result.json" not in names(tmp_path / "out")


def test_brackets_in_a_message_are_printed_as_they_are(tmp_path: Path, capsys) -> None:
    run(["split-mnist", *QUICK, "--data", str(tmp_path / "[red]x"), "--out", str(tmp_path / "o")])
    assert "[red]x" in capsys.readouterr().err


# --- help


def test_the_package_runs_as_a_module(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["supsup", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("supsup_bridge.cli", run_name="__main__")
    assert stop.value.code == 0
    assert "usage: supsup" in capsys.readouterr().out


def test_help_names_every_option(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    text = capsys.readouterr().out
    for option in (
        "--scenario", "--memory", "--masks", "--bits", "--recall", "--tasks", "--seed",
        "--infer-samples", "--data", "--out", "--device", "--quick", "--inference", "--objective",
        "--output-size", "--sparsity", "--mask-init", "--batches", "--network", "--epsilon",
        "--ask-every", "--budget", "--evaluate-every", "--resume", "--overwrite", "--hubs",
        "--protocol",
    ):  # fmt: skip
        assert f"{option} " in text
    for benchmark in ("split-digits", "split-mnist", "permuted-mnist", "rotated-mnist"):
        assert benchmark in text


def test_help_names_no_default_that_is_none(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    assert "None" not in capsys.readouterr().out


def test_the_command_is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="supsup")
    assert script.load() is cli.main


# --- Ctrl-C


def interrupt_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = Experiment.evaluate

    def interrupted(self: Experiment, observer: Any, **options: Any) -> None:
        if self.memory.count - 1 == number:
            raise KeyboardInterrupt
        evaluate(self, observer, **options)

    monkeypatch.setattr(Experiment, "evaluate", interrupted)


def test_ctrl_c_at_the_second_task_leaves_what_was_done(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    interrupt_at(1, monkeypatch)
    assert run([*QUICK, "--out", str(tmp_path / "out")]) == 130
    assert names(tmp_path / "out") == PARTIAL
    result = json.loads((tmp_path / "out" / "result.partial.json").read_text())
    assert [row for row, _, _ in result["measured"]] == [0]
    assert 0 <= result["accuracy"] <= 1
    message = capsys.readouterr().err
    assert "interrupted. After 2 of 2 tasks" in message
    assert "result.partial.json" in message


def test_ctrl_c_within_a_task_of_a_free_learner_leaves_strict_json(
    tmp_path: Path, monkeypatch
) -> None:
    learn, calls = TaskAgnosticLearner.learn, []

    def interrupted(self: TaskAgnosticLearner, *batch: Any) -> Any:
        calls.append(None)
        if len(calls) == 30:  # in the second task
            raise KeyboardInterrupt
        return learn(self, *batch)

    monkeypatch.setattr(TaskAgnosticLearner, "learn", interrupted)
    options = ["--scenario", "NNs", "--ask-every", "20", "--epsilon", "1e-9"]
    assert run([*BANK, *options, "--out", str(tmp_path / "out")]) == 130
    result = json.loads((tmp_path / "out" / "result.partial.json").read_text())
    assert [row for row, _, _ in result["measured"]] == [0]
    assert result["masks_allocated"] == 2
    assert MaskBank.load(tmp_path / "out" / "memory.partial.h5").count == 2


def test_a_finished_run_removes_what_an_interrupted_one_left(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupt_at(1, monkeypatch)
        assert run([*BANK, "--out", str(out)]) == 130
    assert names(out) == PARTIAL
    assert run(["--resume", str(out)]) == 0
    assert names(out) == FILES
    assert not list(out.glob("*.partial.*"))


def test_a_new_run_does_not_begin_in_the_folder_of_an_interrupted_one(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    out = tmp_path / "out"
    interrupt_at(1, monkeypatch)
    assert run([*BANK, "--out", str(out)]) == 130
    assert f"Continue with: supsup run --resume {out}" in capsys.readouterr().err
    assert run([*BANK, "--out", str(out)]) == 2
    assert f"supsup run --resume {out}" in capsys.readouterr().err
    assert names(out) == PARTIAL


def test_a_run_continues_with_the_data_folder_that_it_was_given(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    folders: list[Path | None] = []

    def stream(*_: Any, data: Path | None, **__: Any) -> list[Task]:
        folders.append(data)
        return split_digits(tasks=2)

    monkeypatch.setattr(prepared, "task_stream", stream)
    (tmp_path / "data").mkdir()
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(1, patch)
        assert run([*BANK, "--data", "data", "--out", str(out)]) == 130
        assert run(["--resume", str(out)]) == 130
        assert folders.pop() == tmp_path / "data"
    (tmp_path / "data").rename(tmp_path / "moved")
    assert run(["--resume", str(out)]) == 2
    assert "no longer exists" in capsys.readouterr().err
    assert run(["--resume", str(out), "--data", "moved"]) == 0
    assert folders.pop() == Path("moved")


def test_a_continued_run_takes_no_settings(tmp_path: Path, capsys, untrained) -> None:
    assert run(["--resume", str(tmp_path), "--seed", "1", "--quick", "--data", "x"]) == 2
    assert (
        "leave out --quick, --seed (--data, --jobs and --log may be given)"
        in capsys.readouterr().err
    )


def test_a_finished_run_cannot_be_continued(done: tuple[int, Path], capsys) -> None:
    assert run(["--resume", str(done[1])]) == 2
    assert "holds no checkpoint: its run is finished" in capsys.readouterr().err


def test_a_folder_without_a_run_cannot_be_continued(tmp_path: Path, capsys) -> None:
    assert run(["--resume", str(tmp_path / "nothing")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert run(["--resume", str(tmp_path)]) == 2
    assert "holds no checkpoint: no run was interrupted there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_options_are_noticed_even_if_they_are_the_defaults(
    tmp_path: Path, capsys, untrained
) -> None:
    assert run(["split-digits", "--scenario", "GNu", "--resume", str(tmp_path)]) == 2
    assert "leave out --benchmark, --scenario" in capsys.readouterr().err


def test_code_that_only_a_file_names_is_not_run(tmp_path: Path, capsys, monkeypatch) -> None:
    """Who sends a folder must not decide what runs here."""
    (tmp_path / "mine.py").write_text(
        "from supsup_bridge import mlp\n"
        "def module(inputs, outputs):\n    return mlp([inputs, 16, outputs])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "out"
    interrupt_at(1, monkeypatch)
    assert run([*BANK, "--network", "mine:module", "--out", str(out)]) == 130
    sys.modules.pop("mine")
    assert run(["--resume", str(out)]) == 2
    assert "the run calls code of yours, --network mine:module" in capsys.readouterr().err
    assert "mine" not in sys.modules
    assert run(["--resume", str(out), "--network", "other:module"]) == 2
    assert run(["--resume", str(out), "--network", "mine:module"]) == 130


def test_a_full_disk_leaves_a_message_of_what_was_not_written(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    interrupt_at(1, monkeypatch)
    monkeypatch.setattr(report, "write_json", full)
    assert run([*BANK, "--out", str(tmp_path / "out")]) == 130
    message = capsys.readouterr().err
    assert "interrupted. After 2 of 2 tasks: what was done could not be written" in message
    assert "Continue with: supsup run --resume" in message


def test_two_processes_do_not_continue_one_run(tmp_path: Path, capsys, monkeypatch) -> None:
    out = tmp_path / "out"
    interrupt_at(1, monkeypatch)
    assert run([*BANK, "--out", str(out)]) == 130
    with checkpoint.locked(out):
        assert run(["--resume", str(out)]) == 2
    message = capsys.readouterr().err
    assert f"another process works on the run in {out}" in message
    assert f"by process {os.getpid()}" in message


def test_a_failure_in_a_later_task_leaves_the_results_so_far(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    train, calls = Lesson.run, []

    def broken(*args: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise NumericalError("the loss became nan at step 1")
        return train(*args, **options)

    monkeypatch.setattr(Lesson, "run", broken)
    assert run([*BANK, "--out", str(tmp_path / "out")]) == 1
    assert "error: the loss became nan" in capsys.readouterr().err
    result = json.loads((tmp_path / "out" / "result.partial.json").read_text())
    assert result["masks_allocated"] == 1
    assert "result.json" not in names(tmp_path / "out")


@pytest.mark.parametrize("memory", ["hopfield", "bank"])
def test_a_stream_that_ends_early_ends_with_1_and_keeps_what_was_learned(
    memory: str, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(prepared, "task_stream", lambda *_, **__: split_digits(tasks=1))
    masks = ["--memory", memory, "--masks", "unit", "--bits", "128"]
    assert run([*SHORT, *masks, "--out", str(tmp_path / "out")]) == 1
    assert names(tmp_path / "out") == PARTIAL
    result = json.loads((tmp_path / "out" / "result.partial.json").read_text())
    assert result["masks_allocated"] == 1
    assert result["accuracy"] > 0.5
    message = capsys.readouterr().err
    assert "error: the task stream ended after 1 of 2 tasks: set tasks to 1" in message
    assert "result.partial.json" in message


def test_ctrl_c_before_the_first_task_is_done_leaves_an_empty_result(
    tmp_path: Path, monkeypatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lesson, "run", interrupted)
    assert run([*QUICK, "--out", str(tmp_path / "out")]) == 130
    result = json.loads((tmp_path / "out" / "result.partial.json").read_text())
    assert result["accuracy"] is None
    assert result["masks_allocated"] == 0
    assert hopmask.load(tmp_path / "out" / "memory.partial.h5").count == 0


def test_ctrl_c_while_data_is_read_ends_with_130(tmp_path: Path, monkeypatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepared, "task_stream", interrupted)
    assert run([*QUICK, "--out", str(tmp_path / "out")]) == 130


def test_a_finished_run_clears_no_earlier_result_when_interrupted(
    tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "out"
    assert run([*QUICK, "--tasks", "1", "--out", str(out)]) == 0
    before = (out / "result.json").read_bytes()
    interrupt_at(0, monkeypatch)
    assert run([*QUICK, "--overwrite", "--out", str(out)]) == 130
    assert (out / "result.json").read_bytes() == before


CHILD = """
    import signal, sys, time
    from pathlib import Path

    from supsup_bridge import cli
    from supsup_bridge.training.stack_trainer import StackTrainer

    step, calls = StackTrainer.step, []

    def slow(*args):
        calls.append(None)
        if len(calls) == 25:
            Path(sys.argv[1]).touch()
        if len(calls) >= 25:
            time.sleep(float(sys.argv[2]))
        return step(*args)

    StackTrainer.step = slow
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    sys.exit(cli.main(sys.argv[3:]))
"""


def interrupted(mark: Path, out: Path, seconds: float, signals: Sequence[int]) -> tuple[int, str]:
    """Status and messages of a run whose steps take so long from the 25th on, when signals come."""
    command = ["run", *QUICK, "--out", str(out)]
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(mark), str(seconds), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        for _ in range(2400):
            if mark.exists() or child.poll() is not None:
                break
            time.sleep(0.05)
        assert mark.exists(), child.communicate()[1] if child.poll() is not None else "too slow"
        for number in signals:
            child.send_signal(number)
            time.sleep(0.2)
        _, message = child.communicate(timeout=120)
    finally:
        child.kill()
        child.wait()
    assert "Traceback" not in message
    return child.returncode, message


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
def test_a_real_signal_stops_at_the_next_step_from_which_the_run_continues(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    status, message = interrupted(tmp_path / "mark", out, 0.05, [signal.SIGTERM])
    assert status == 130, message
    assert "interrupted. After 1 of 2 tasks" in message
    assert names(out) == PARTIAL
    saved = checkpoint.read(out)
    assert saved.state is not None
    assert 5 <= saved.state["task"]["together"]["lessons"]["batches"][0]["done"] < 20
    assert run(["--resume", str(out)]) == 0
    whole = tmp_path / "whole"
    assert run([*QUICK, "--out", str(whole)]) == 0
    pair = ((out / "memory.h5"), (whole / "memory.h5"))
    assert len({file.read_bytes()[512:] for file in pair}) == 1  # but for store ids
    results = [json.loads((folder / "result.json").read_text()) for folder in (out, whole)]
    assert results[0].pop("seconds").keys() == results[1].pop("seconds").keys()
    assert results[0] == results[1]


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, message = interrupted(tmp_path / "mark", out, 300, [signal.SIGINT, signal.SIGINT])
    assert status == 130, message
    assert "interrupted. After 1 of 2 tasks" in message
    assert names(out) == PARTIAL


def test_a_run_whose_output_nobody_reads_writes_its_results(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "supsup_bridge.cli", "run", *SHORT, "--out", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=300)
    assert (process.returncode, said) == (0, "")
    assert names(tmp_path / "out") >= FILES


def test_a_learner_that_was_saved_is_not_replaced(tmp_path: Path, capsys, untrained) -> None:
    (tmp_path / "learner.h5").write_bytes(b"of mine")
    assert run([*SHORT, "--out", "."]) == 2
    assert "holds learner.h5 of a finished run or learner" in capsys.readouterr().err


def test_an_error_is_one_line_whatever_the_width(monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert cli.main(["run", "--resume", "a folder that is not there :smile:"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
