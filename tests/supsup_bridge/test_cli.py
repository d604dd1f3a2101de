"""The command `supsup`."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch

import hopmask
from hopmask import NumericalError
from supsup_bridge import Experiment, cli
from supsup_bridge import experiment as module

QUICK = ["--quick", "--bits", "256", "--tasks", "2", "--device", "cpu"]


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

    monkeypatch.setattr(module, "train_mask", refuse)


def run(arguments: Sequence[str]) -> int:
    """Exit status, whether it is returned or raised."""
    try:
        return cli.main(["run", *arguments])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        pytest.fail("an interruption came through")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- a run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    out = tmp_path_factory.mktemp("done") / "deep" / "out"
    return run([*QUICK, "--seed", "3", "--out", str(out)]), out


def test_a_run_ends_well_and_leaves_its_three_files(done: tuple[int, Path]) -> None:
    status, out = done
    assert status == 0
    assert names(out) == {"result.json", "memory.h5", "recall.png"}


def test_a_runs_result_is_what_was_asked_for(done: tuple[int, Path]) -> None:
    result = json.loads((done[1] / "result.json").read_text())
    asked = {"benchmark": "split-digits", "scenario": "GNu", "masks": "hashed", "seed": 3}
    assert {key: result[key] for key in asked} == asked
    assert len(result["accuracy_matrix"]) == result["tasks"] == 2
    assert result["config"]["bits"] == 256
    assert 0 <= result["accuracy"] <= 1


def test_a_runs_memory_can_be_loaded(done: tuple[int, Path]) -> None:
    memory = hopmask.load(done[1] / "memory.h5")
    assert memory.count == 2
    assert memory.recall(task=1).converged


def test_a_runs_picture_is_one(done: tuple[int, Path]) -> None:
    assert (done[1] / "recall.png").read_bytes().startswith(b"\x89PNG")


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


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--scenario", "GG"], {"scenario": "GG"}),
        (["--scenario", "GNs"], {"scenario": "GNs"}),
        (["--masks", "unit", "--bits", "128"], {"masks": "unit"}),
        (["--infer-samples", "8"], {"infer_samples": 8}),
        (["split-digits", "--memory", "hopfield"], {"memory": "hopfield"}),
    ],
    ids=str,
)
def test_options_reach_the_run(options: list[str], expected: dict, tmp_path: Path) -> None:
    assert run([*QUICK, "--tasks", "1", *options, "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert {key: result[key] for key in expected} == expected


@pytest.mark.parametrize("recall", ["both", "entropy", "address"])
def test_each_way_of_recall_runs(recall: str, tmp_path: Path) -> None:
    assert run([*QUICK, "--recall", recall, "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["config"]["recall"] == recall


def test_two_runs_of_one_seed_leave_equal_results(tmp_path: Path, done) -> None:
    assert run([*QUICK, "--seed", "3", "--out", str(tmp_path / "again")]) == 0
    a, b = (json.loads((out / "result.json").read_text()) for out in (tmp_path / "again", done[1]))
    assert a.pop("seconds").keys() == b.pop("seconds").keys()
    assert a == b


def test_split_mnist_runs_from_a_folder(tmp_path: Path, mnist_folder: Path) -> None:
    options = ["split-mnist", *QUICK, "--masks", "unit", "--bits", "64", "--tasks", "1"]
    assert run([*options, "--data", str(mnist_folder), "--out", str(tmp_path / "out")]) == 0


def test_the_papers_network_takes_unit_masks_by_itself(tmp_path: Path, mnist_folder) -> None:
    options = ["split-mnist", *QUICK, "--network", "paper", "--bits", "64", "--tasks", "1"]
    assert run([*options, "--data", str(mnist_folder), "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["masks"] == "unit"


# --- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["split-digit"], "did you mean 'split-digits'"),
        (["split-minst"], "did you mean 'split-mnist'"),
        (["--scenario", "GNU"], "did you mean 'GNu'"),
        (["--masks", "units"], "did you mean 'unit'"),
        (["--recall", "entropie"], "did you mean 'entropy'"),
        (["--network", "papr"], "did you mean 'paper'"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--tasks", "6"], "1 to 5 tasks"),
        (["--tasks", "0"], "tasks must be at least 1"),
        (["--seed", "-1"], "seed must be at least 0"),
        (["--bits", "0"], "bits must be at least 1"),
        (["--bits", "999999999"], "bits must lie between"),
        (["--infer-samples", "100000"], "can see at most"),
        (["--network", "paper"], "no split-digits with unit masks on the paper network"),
        (["--network", "paper", "--recall", "address"], "leave out --recall"),
        (["--tasks", "two"], "invalid int value: 'two'"),
        (["--bits", "2.5"], "invalid int value: '2.5'"),
        (["--seed", ""], "invalid int value"),
        (["--memory", "cloud"], "invalid choice: 'cloud'"),
        (["--nonsense"], "--nonsense"),
    ],
    ids=str,
)
def test_bad_input_ends_with_2_and_says_why(
    options: list[str], message: str, tmp_path: Path, capsys, untrained
) -> None:
    assert run([*options, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_bad_input_leaves_no_folder_behind(tmp_path: Path, untrained) -> None:
    for options in (["split-digit"], ["--tasks", "6"], ["--infer-samples", "100000"]):
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


@pytest.mark.parametrize("place", ["file", "file/under"])
def test_a_folder_that_cannot_be_written_is_refused_before_training(
    place: str, tmp_path: Path, capsys, untrained
) -> None:
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

    monkeypatch.setattr(module, "train_mask", broken)
    assert run([*QUICK, "--out", str(tmp_path / "out")]) == 1
    assert "error: the loss became nan" in capsys.readouterr().err
    assert "result.json" not in names(tmp_path / "out")


def test_brackets_in_a_message_are_printed_as_they_are(tmp_path: Path, capsys) -> None:
    run(["split-mnist", *QUICK, "--data", str(tmp_path / "[red]x"), "--out", str(tmp_path / "o")])
    assert "[red]x" in capsys.readouterr().err


# --- help


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]], ids=str)
def test_help_ends_well(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 0
    assert "usage: supsup" in capsys.readouterr().out


def test_help_names_every_option(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    text = capsys.readouterr().out
    for option in (
        "--scenario", "--memory", "--masks", "--bits", "--recall", "--tasks", "--seed",
        "--infer-samples", "--data", "--out", "--device", "--quick",
    ):  # fmt: skip
        assert option in text
    assert "split-digits" in text
    assert "split-mnist" in text


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

    def interrupted(self: Experiment, observer: Any) -> None:
        if self.memory.count - 1 == number:
            raise KeyboardInterrupt
        evaluate(self, observer)

    monkeypatch.setattr(Experiment, "evaluate", interrupted)


def test_ctrl_c_at_the_second_task_leaves_what_was_done(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    interrupt_at(1, monkeypatch)
    assert run([*QUICK, "--out", str(tmp_path / "out")]) == 130
    assert names(tmp_path / "out") == {"result.partial.json", "memory.partial.h5"}
    result = json.loads((tmp_path / "out" / "result.partial.json").read_text())
    assert len(result["accuracy_matrix"]) == 1
    assert 0 <= result["accuracy"] <= 1
    message = capsys.readouterr().err
    assert "interrupted" in message
    assert "result.partial.json" in message


def test_what_ctrl_c_leaves_can_be_loaded(tmp_path: Path, monkeypatch) -> None:
    interrupt_at(1, monkeypatch)
    run([*QUICK, "--out", str(tmp_path / "out")])
    memory = hopmask.load(tmp_path / "out" / "memory.partial.h5")
    assert memory.count == 2
    assert memory.recall(task=0).converged


def test_ctrl_c_before_the_first_task_is_done_leaves_an_empty_result(
    tmp_path: Path, monkeypatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train_mask", interrupted)
    assert run([*QUICK, "--out", str(tmp_path / "out")]) == 130
    result = json.loads((tmp_path / "out" / "result.partial.json").read_text())
    assert result["accuracy"] is None
    assert result["masks_allocated"] == 0
    assert hopmask.load(tmp_path / "out" / "memory.partial.h5").count == 0


def test_ctrl_c_while_data_is_read_ends_with_130(tmp_path: Path, monkeypatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "task_stream", interrupted)
    assert run([*QUICK, "--out", str(tmp_path / "out")]) == 130


def test_a_finished_run_clears_no_earlier_result_when_interrupted(
    tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "out"
    assert run([*QUICK, "--tasks", "1", "--out", str(out)]) == 0
    before = (out / "result.json").read_bytes()
    interrupt_at(0, monkeypatch)
    assert run([*QUICK, "--out", str(out)]) == 130
    assert (out / "result.json").read_bytes() == before


CHILD = """
    import signal, sys, time
    from pathlib import Path

    from supsup_bridge import cli, experiment

    train, calls = experiment.train_mask, []

    def slow(*args, **options):
        calls.append(None)
        if len(calls) == 2:
            Path(sys.argv[1]).touch()
            time.sleep(300)
        return train(*args, **options)

    experiment.train_mask = slow
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
def test_a_real_interrupt_ends_with_130_and_leaves_what_was_done(tmp_path: Path) -> None:
    out, mark = tmp_path / "out", tmp_path / "second-task"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(mark), "run", *QUICK, "--out", str(out)],
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
        child.send_signal(signal.SIGINT)
        _, message = child.communicate(timeout=120)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130, message
    assert "interrupted after 1 of 2 tasks" in message
    assert "Traceback" not in message
    assert names(out) == {"result.partial.json", "memory.partial.h5"}
