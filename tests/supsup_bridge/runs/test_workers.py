"""Workers: results in order, whatever happens to the processes. They compute nothing of torch's."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import joblib
import pytest

from hopmask import ConfigError
from supsup_bridge.runs.workers import Workers, WorkersLostError

SOURCE = """
import os, signal, time
from pathlib import Path

def square(number):
    return number * number

def where(number):
    return os.getpid()

def lost_once(mark, number):
    if number == 1 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number

def lost(number):
    os.kill(os.getpid(), signal.SIGKILL)

def forever(mark):
    Path(mark).touch()
    while True:
        time.sleep(1)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that worker processes can import."""
    (tmp_path / "work_of_mine.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import work_of_mine  # type: ignore[import-not-found]

    yield work_of_mine
    del sys.modules["work_of_mine"]


@pytest.fixture
def two() -> Workers:
    return Workers(jobs=2, engine="loky")


def children() -> set[int]:
    """Worker processes that this process has."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        if parent == os.getpid() and "LokyProcess" in command:
            found.add(int(entry.name))
    return found


def test_results_come_in_the_order_of_the_calls(work: ModuleType, two: Workers) -> None:
    calls = [(number,) for number in range(40)]  # more than a group
    assert list(two.results(work.square, calls)) == [number**2 for number in range(40)]
    assert children() == set()


def test_no_more_calls_are_taken_than_may_be_done_ahead(work: ModuleType, two: Workers) -> None:
    taken: list[int] = []

    def calls() -> Iterator[tuple[int]]:
        for number in range(20):
            taken.append(number)
            yield (number,)

    results = two.results(work.square, calls(), ahead=3)
    assert [next(results) for _ in range(6)] == [0, 1, 4, 9, 16, 25]
    assert taken == [*range(6)]  # three for each of two
    assert list(results) == [number**2 for number in range(6, 20)]


def test_two_jobs_work_in_other_processes_and_one_in_this(work: ModuleType, two: Workers) -> None:
    assert os.getpid() not in set(two.results(work.where, [(0,), (1,)]))
    assert set(Workers(jobs=1, engine="loky").results(work.where, [(0,)])) == {os.getpid()}


def test_the_work_of_a_lost_worker_is_done_again(
    work: ModuleType, two: Workers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = tmp_path / "killed"
    calls = [(str(mark), number) for number in range(6)]
    assert list(two.results(work.lost_once, calls)) == [0, 1, 4, 9, 16, 25]
    assert mark.exists()
    assert "a worker was lost" in caplog.text
    assert children() == set()


def test_workers_that_are_lost_again_and_again_are_an_error(work: ModuleType, two: Workers) -> None:
    with pytest.raises(WorkersLostError, match="3 times"):
        list(two.results(work.lost, [(0,), (1,)]))
    assert children() == set()


def test_whoever_leaves_early_leaves_no_process_behind(work: ModuleType, two: Workers) -> None:
    results = two.results(work.square, [(number,) for number in range(9)])
    assert next(results) == 0
    assert len(children()) == 2
    results.close()
    assert children() == set()


def test_arguments_that_no_process_can_be_sent_are_refused(work: ModuleType, two: Workers) -> None:
    with pytest.raises(ConfigError, match="cannot be sent"):
        list(two.results(work.square, [(threading.Lock(),)]))


def test_a_backend_that_the_user_configured_is_used(work: ModuleType) -> None:
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert list(Workers().results(work.square, [(2,), (3,)])) == [4, 9]
        assert set(Workers().results(work.where, [(2,), (3,)])) == {os.getpid()}


def test_calls_are_taken_as_they_are_needed(work: ModuleType) -> None:
    taken: list[int] = []

    def calls() -> Iterator[tuple[int]]:
        for number in range(100):
            taken.append(number)
            yield (number,)

    results = Workers(jobs=1).results(work.square, calls())
    assert [next(results), next(results)] == [0, 1]
    assert len(taken) <= 8
    results.close()


@pytest.mark.parametrize("options", [{"jobs": 0}, {"jobs": 1.5}, {"engine": "lokey"}])
def test_workers_that_there_are_not_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Workers(**options)  # type: ignore[arg-type]


def test_an_interruption_stops_the_waiting_at_once(
    work: ModuleType, two: Workers, tmp_path: Path
) -> None:
    mark = tmp_path / "begun"

    def interrupt() -> None:
        while not mark.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(two.results(work.forever, [(str(mark),)]))
    finally:
        signal.signal(signal.SIGINT, before)
    assert children() == set()


def test_an_interruption_while_workers_begin_is_passed_on(tmp_path: Path) -> None:
    """In a process of its own: loky's one pool does not outlive it."""
    (tmp_path / "driver.py").write_text(
        "from operator import neg\n"
        "from joblib.externals.loky import process_executor\n"
        "from supsup_bridge.runs.workers import Workers\n"
        "def interrupted(self):\n"
        "    raise KeyboardInterrupt\n"
        "process_executor._ExecutorManagerThread.start = interrupted\n"
        "try:\n"
        "    list(Workers(jobs=2, engine='loky').results(neg, [(1,), (2,)]))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    path = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "driver.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "interrupted" in done.stdout.splitlines(), done.stderr
