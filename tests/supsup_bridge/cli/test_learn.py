"""The commands that train apart: `run --jobs`, `learn`, `merge`."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import hopmask
from supsup_bridge import Experiment, cli
from supsup_bridge.runs import presets
from supsup_bridge.runs.jobs import Failed, trained

SHORT = ["--quick", "--device", "cpu"]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.chdir(tmp_path)


def supsup(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1


def learn(numbers: str, out: str, *more: str) -> int:
    return supsup("learn", "split-digits", *SHORT, "--tasks", numbers, "--out", out, *more)


def figures(out: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    del result["seconds"]
    return result


def held(out: Path) -> dict[str, Any]:
    arrays = hopmask.load(out / "memory.h5").document().arrays
    return {name: array.tolist() for name, array in arrays.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one job."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert supsup("run", *SHORT, "--jobs", "1", "--out", str(out)) == 0
    return out


def test_a_shard_keeps_to_the_precision_in_which_it_began(
    pictures: Callable[[int], Path], capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    capabilities = {"amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    data = ("--data", str(pictures(16)), "--network", "lenet-5", "--hubs", "2")
    command = ("learn", "folder", *SHORT, *data, "--tasks", "0:2", "--out", "a")
    assert supsup(*command) == 0
    capabilities["amx_bf16"] = True  # another machine
    assert supsup(*command) == 0
    assert "already" in capsys.readouterr().out
    assert supsup(*command, "--train-in", "bfloat16") == 2
    assert "was begun with train_in 'float32', got 'bfloat16'" in capsys.readouterr().err


def test_shards_are_learned_merged_and_scored(whole: Path, tmp_path: Path, capsys) -> None:
    assert learn("3:5", "b") == learn("0:3", "a") == 0
    assert "a holds tasks 0:3" in capsys.readouterr().out
    assert learn("0:3", "a", "--engine", "loky") == 0
    assert "already" in capsys.readouterr().out
    assert supsup("merge", "b", "a", "--out", "all") == 0
    out = tmp_path / "all"
    files = {path.name for path in out.iterdir() if path.suffix != ".lock"}
    pages = {"report.html", "accuracy.png", "recall.png"}
    assert files == {"result.json", "memory.h5", "learner.h5", *pages}
    assert held(out) == held(whole)
    mine, wanted = figures(out), figures(whole)
    apart = {name for name in mine if mine[name] != wanted[name]}
    assert apart <= {"accuracy_matrix", "curve", "forgetting", "backward_transfer"}
    assert mine["config"]["workers"] is True
    assert supsup("predict", "all", "nothing.npy") == 2  # a run's folder: the images are missing
    assert supsup("merge", "b", "a", "--out", "all") == 2
    assert "finished run" in capsys.readouterr().err


def test_a_merge_calls_no_code_that_only_a_file_names(tmp_path: Path, capsys, monkeypatch) -> None:
    source = "def net(inputs, outputs):\n    return mlp([inputs, 8, outputs])\n"
    (tmp_path / "nets_of_ones_own.py").write_text("from supsup_bridge import mlp\n" + source)
    monkeypatch.syspath_prepend(tmp_path)
    own = ("--network", "nets_of_ones_own:net")
    assert learn("0:5", "a", *own) == 0
    monkeypatch.delitem(sys.modules, "nets_of_ones_own")
    assert supsup("merge", "a", "--out", "all") == 2
    assert "nothing is run that only a file names" in capsys.readouterr().err
    assert supsup("merge", "a", "--out", "all", "--network", "other:net") == 2
    assert "nets_of_ones_own" not in sys.modules
    assert supsup("merge", "a", "--out", "all", *own) == 0


def test_shards_of_other_defaults_are_refused(capsys, monkeypatch) -> None:
    assert learn("0:5", "a") == 0
    now = presets._PRESETS["split-digits", "weight", "standard"]
    changed = replace(now, training=replace(now.training, rate=0.07))
    monkeypatch.setitem(presets._PRESETS, ("split-digits", "weight", "standard"), changed)
    assert supsup("merge", "a", "--out", "all") == 2
    assert "begun with other defaults" in capsys.readouterr().err


def test_a_shard_is_continued_by_the_same_command_alone(tmp_path: Path, capsys) -> None:
    assert learn("1:2", "a") == 0
    assert learn("1:3", "a") == 2
    assert "a holds tasks 1:2" in capsys.readouterr().err
    assert learn("1:2", "a", "--seed", "4") == 2
    assert "seed 0, got 4" in capsys.readouterr().err
    assert supsup("run", "--resume", "a") == 2
    assert "supsup learn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["learn", "--tasks", "3", "--out", "a"], "A:B"),
        (["learn", "--tasks", "2:2", "--out", "a"], "A < B"),
        (["learn", "permuted-mnist", "--tasks", "8:12", "--out", "a"], "--hubs"),
        (["learn", "--tasks", "0:2", "--out", "a", "--memory", "bank"], "add up on hubs"),
        (["learn", "--tasks", "0:2", "--out", "a", "--scenario", "NNs"], "NNs"),
        (["merge", "nothing", "--out", "a"], "no checkpoint"),
        (["run", "--engine", "dask"], "--jobs N"),
        (["run", "--jobs", "0"], "jobs must be"),
        (["run", "--jobs", "2", "--engine", "spark"], "unknown engine"),
        (["run", "--jobs", "2", "--mask-init", "mean"], "tasks before"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: Sequence[str], message: str, capsys) -> None:
    assert supsup(*arguments) == 2
    assert message in capsys.readouterr().err


def test_who_trains_stays_the_same_when_a_run_is_continued(
    whole: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(job: Any, number: int, task: Any) -> Any:
        if number == 2:
            raise KeyboardInterrupt
        return trained(job, number, task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("supsup_bridge.runs.apart.trained", interrupted)
        assert supsup("run", *SHORT, "--jobs", "1", "--out", "out") == 130
    assert "supsup run --resume out --jobs 1" in capsys.readouterr().err
    assert supsup("run", "--resume", "out") == 2
    assert "--jobs N" in capsys.readouterr().err
    assert supsup("run", "--resume", "out", "--jobs", "1") == 0
    assert figures(tmp_path / "out") == figures(whole)
    assert held(tmp_path / "out") == held(whole)


def test_how_to_go_on_names_the_engine(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Experiment, "run", interrupted)
    assert supsup("run", *SHORT, "--jobs", "3", "--engine", "dask", "--out", "out") == 130
    assert "supsup run --resume out --jobs 3 --engine dask" in capsys.readouterr().err


def test_a_part_of_a_benchmark_is_merged_as_a_run_of_fewer_tasks(tmp_path: Path, capsys) -> None:
    assert learn("0:2", "a") == 0
    assert supsup("merge", "a", "--out", "all") == 2
    assert "no shard holds the tasks 2:5" in capsys.readouterr().err
    assert supsup("merge", "a", "--tasks", "2", "--device", "cpu", "--out", "all") == 0
    assert figures(tmp_path / "all")["tasks"] == 2


def test_a_run_of_one_process_is_not_continued_by_workers(
    capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supsup_bridge.training.fit import Lesson

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lesson, "run", interrupted)
    assert supsup("run", *SHORT, "--out", "out") == 130
    assert supsup("run", "--resume", "out", "--jobs", "2") == 2
    assert "leave out --jobs" in capsys.readouterr().err


def test_an_error_of_a_shard_says_how_to_go_on(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    error = hopmask.NumericalError("the loss is nan")
    monkeypatch.setattr("supsup_bridge.runs.apart.trained", lambda *_: Failed(error))
    assert learn("0:2", "a") == 1
    assert "the loss is nan. After 0 of 2 tasks. Continue" in capsys.readouterr().err


DRIVER = """
    import signal, sys
    from supsup_bridge import cli
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    if __name__ == "__main__":
        sys.exit(cli.main(sys.argv[1:]))
"""


def of_session(leader: int) -> list[int]:
    """Worker processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            session = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
            command = (entry / "cmdline").read_text()
        except OSError:
            continue
        if session == leader and "LokyProcess" in command:
            found.append(int(entry.name))
    return found


def test_a_signal_stops_a_run_of_workers_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(textwrap.dedent(DRIVER))
    endless = ["run", "--batches", "10000000", "--jobs", "2", "--out", "out", "--device", "cpu"]
    root = Path(cli.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "driver.py", *endless],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(of_session(process.pid)) == 2)
    process.send_signal(signal.SIGTERM)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert "After 0 of 5 tasks" in message
    wait_until(lambda: of_session(process.pid) == [])
    assert (tmp_path / "out" / "checkpoint" / "run.h5").exists()


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    pytest.fail("it took longer than a minute")
