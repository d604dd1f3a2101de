"""Runs whose tasks workers train: the same bits from any number of them, and what is refused."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch

from hopmask import ConfigError, NumericalError
from supsup_bridge import Experiment, Task, Workers, split_digits
from supsup_bridge.runs import checkpoint
from supsup_bridge.runs.checkpoint import Checkpoints

ONE = Workers(jobs=1, engine="loky")
KINDS: dict[str, dict[str, Any]] = {
    "weight": {},
    "hashed": {"masks": "hashed"},
    "bank": {"memory": "bank"},
    "GG": {"scenario": "GG"},
}


def bits(run: Experiment) -> tuple[dict[str, Any], str]:
    """Result, but for the times, and SHA-256 of the memory."""
    result = run.result()
    del result["seconds"]
    with tempfile.TemporaryDirectory() as folder:
        stamp = run.kept.save(Path(folder) / "memory.h5")
    return json.loads(json.dumps(result)), stamp.sha256


@pytest.fixture(scope="module")
def by_one(small, quiet) -> Callable[..., Experiment]:
    """Settings -> a run that one worker trained."""
    kept: dict[str, Experiment] = {}

    def run(**changes: Any) -> Experiment:
        if (key := repr(changes)) not in kept:
            kept[key] = Experiment(small(tasks=3, workers=True, **changes))
            kept[key].run(quiet, workers=ONE)
        return kept[key]

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_of_any_backend_give_the_bits_of_one(kind: str, by_one, small, quiet) -> None:
    run = Experiment(small(tasks=3, workers=True, **KINDS[kind]))
    with joblib.parallel_config(backend="threading", n_jobs=2):
        run.run(quiet, workers=Workers())
    assert bits(run) == bits(by_one(**KINDS[kind]))


@pytest.mark.filterwarnings("ignore")  # of Dask and Ray themselves
@pytest.mark.parametrize(
    ("engine", "package"), [("loky", "joblib"), ("dask", "distributed"), ("ray", "ray")]
)
def test_two_processes_of_which_one_is_killed_give_the_bits_of_one(
    engine: str, package: str, by_one, small, quiet, tmp_path: Path, monkeypatch
) -> None:
    pytest.importorskip(package)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    (tmp_path / "killing.py").write_text(
        "import os, signal\nfrom pathlib import Path\n"
        "def once(mark, function, job, number, task):\n"
        "    if number == 1 and not Path(mark).exists():\n"
        "        Path(mark).touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return function(job, number, task)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from killing import once  # type: ignore[import-not-found]

    class Mortal(Workers):
        def results(self, function: Any, calls: Any, **options: Any) -> Any:
            once_lost = partial(once, str(tmp_path / "mark"), function)
            return super().results(once_lost, calls, **options)

    run = Experiment(small(tasks=3, workers=True))
    run.run(quiet, workers=Mortal(jobs=2, engine=engine))
    monkeypatch.delitem(sys.modules, "killing")
    assert (tmp_path / "mark").exists()
    assert bits(run) == bits(by_one())


def test_workers_compute_with_one_thread_and_give_it_back(small, quiet) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run = Experiment(small(tasks=1, workers=True))
        run.run(quiet, workers=ONE)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_run_is_continued_with_another_number_of_workers(
    by_one, small, quiet, tmp_path: Path
) -> None:
    run = Experiment(small(tasks=3, workers=True))
    keeper = Checkpoints(tmp_path, run)
    asked: list[int] = []

    def pause() -> None:
        asked.append(run.ledger.count)
        if asked.count(2) == 1:
            keeper.write()
            raise KeyboardInterrupt

    with checkpoint.locked(tmp_path), pytest.raises(KeyboardInterrupt):
        run.run(quiet, pause=pause, workers=ONE)
    again = checkpoint.resumed(tmp_path, checkpoint.read(tmp_path))
    assert again.ledger.count == 2
    with joblib.parallel_config(backend="threading", n_jobs=2):
        again.run(quiet, workers=Workers())
    assert bits(again) == bits(by_one())


def test_tasks_of_ones_own_are_sent_to_the_workers(by_one, small, quiet) -> None:
    run = Experiment(small(tasks=3, workers=True), tasks=split_digits(tasks=3))
    run.run(quiet, workers=ONE)
    assert bits(run) == bits(by_one())


def test_an_error_of_training_reaches_the_user_as_it_is(small, quiet) -> None:
    good, bad = split_digits(tasks=2)
    images = bad.train_images.clone()
    images[3] = float("nan")
    broken = Task(
        name="broken",
        train_images=images,
        train_labels=bad.train_labels,
        inference_images=bad.inference_images,
        scored_images=bad.scored_images,
        scored_labels=bad.scored_labels,
    )
    run = Experiment(small(workers=True), tasks=[good, broken])
    with pytest.raises(NumericalError) as caught:
        run.run(quiet, workers=ONE)
    assert "trained task 1" in caught.value.__notes__[0]
    assert run.ledger.count == 1


def test_tasks_that_cannot_be_sent_are_refused(small, quiet) -> None:
    task = split_digits(tasks=1)[0]
    object.__setattr__(task, "streamed", (open(__file__) for _ in range(1)))  # noqa: PTH123, SIM115
    run = Experiment(small(tasks=1, workers=True), tasks=[task])
    with pytest.raises(ConfigError, match="cannot be sent"):
        run.run(quiet, workers=Workers(jobs=2, engine="loky"))


def test_code_that_no_worker_can_import_is_named(
    small, quiet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from supsup_bridge import mlp\n\ndef net(inputs, outputs):\n"
    (tmp_path / "nets_here.py").write_text(source + "    return mlp([inputs, 16, outputs])\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        run = Experiment(small(tasks=1, workers=True, network="nets_here:net"))
    monkeypatch.delitem(sys.modules, "nets_here")
    with pytest.raises(ConfigError, match=r"a worker process.*nets_here"):
        run.run(quiet, workers=ONE)


@pytest.mark.parametrize("start", ["mean", "nearest", "previous", "earlier"])
def test_starts_from_earlier_masks_are_refused(start: str, small) -> None:
    with pytest.raises(ConfigError, match="tasks before"):
        Experiment(small(workers=True, mask_init=start))


def test_what_cannot_be_trained_apart_is_refused(small, quiet, finished) -> None:
    with pytest.raises(ConfigError, match="NNs"):
        small(workers=True, scenario="NNs")
    with pytest.raises(ConfigError, match="workers must be"):
        small(workers=2)
    with pytest.raises(ConfigError, match="learned="):
        Experiment(small(workers=True), learned=finished().memory)
    with pytest.raises(ConfigError, match=r"RunSettings\(workers=True\)"):
        Experiment(small()).run(quiet, workers=ONE)
