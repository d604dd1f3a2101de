"""What a worker process does: it ends with the run, and keeps nothing for the next one."""

import os
import signal
import subprocess
import sys
import time

import pytest

from hopmask import HopmaskError
from supsup_bridge import RunSettings
from supsup_bridge.runs import jobs
from supsup_bridge.runs.prepared import prepared

ORPHAN = (
    "import os, sys, time\n"
    "from supsup_bridge.runs import jobs\n"
    "jobs._LOOK = 0.05\n"
    "parent = os.getpid()\n"
    "if (child := os.fork()) == 0:\n"
    "    jobs._end_with(parent)\n"
    "    time.sleep(600)\n"
    "print(child, flush=True)\n"
    "time.sleep(600)\n"
)


def job_of(**settings) -> jobs.Job:
    begun = prepared(RunSettings(quick=True, tasks=2, workers=True, **settings), data=None)
    return begun.job


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_ends_when_its_run_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        child = int(run.stdout.readline())
        assert is_alive(child)
        run.send_signal(signal.SIGKILL)
    try:
        for _ in range(600):
            if not is_alive(child):
                break
            time.sleep(0.05)
        assert not is_alive(child)
    finally:
        if is_alive(child):
            os.kill(child, signal.SIGKILL)


def test_two_runs_of_the_same_settings_share_no_data() -> None:
    assert job_of() != job_of()


def test_an_error_of_others_comes_back_as_one_that_can_be_sent(monkeypatch) -> None:
    class Odd(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("odd")

    def broken(job: jobs.Job) -> None:
        raise Odd(1, 2)

    monkeypatch.setattr(jobs, "_learner", broken)
    failed = jobs.trained(job_of(), 1)
    assert isinstance(failed, jobs.Failed)
    assert isinstance(failed.error, HopmaskError)
    assert "could not train task 1: Odd: odd" in str(failed.error)


def test_a_process_lets_go_of_what_it_read() -> None:
    job = job_of()
    with pytest.MonkeyPatch.context() as patch:
        read = []
        make = jobs.task_stream
        patch.setattr(jobs, "task_stream", lambda *a, **k: read.append(1) or make(*a, **k))
        for _ in range(2):
            jobs.trained(job, 0)
        assert len(read) == 1
        jobs.forget()
        jobs.trained(job, 0)
        assert len(read) == 2
        jobs.forget()
