"""One run by every engine of `--jobs`, with a worker killed in between: the same bits?

    python benchmarks/engines.py

Each engine trains the tasks of split-digits with two workers on this machine, one of which kills
itself (SIGKILL) while it trains a task. The memory and the result, but for the times, are compared
with those of one job. An engine whose package is not installed is a row that says so.
"""

import argparse
import hashlib
import json
import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import Quiet, write_json

from hopmask.errors import MissingDependencyError
from supsup_bridge import Experiment, RunSettings, Workers
from supsup_bridge.runs.engines import ENGINES

_KILLED = 2  # number of the task whose first worker is killed


@dataclass(frozen=True, kw_only=True)
class MortalWorkers(Workers):
    """Workers of which the first one that gets a certain task kills itself.

    Args:
        mark: a file that is made then.
    """

    mark: Path

    def results(
        self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], **options: int
    ) -> Generator[Any, None, None]:
        return super().results(partial(killed_once, str(self.mark), function), calls, **options)


def killed_once(mark: str, function: Callable[..., Any], job: Any, number: int, task: Any) -> Any:
    """Do the work, unless this is the first try of that task."""
    if number == _KILLED and not os.path.exists(mark):  # noqa: PTH110
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return function(job, number, task)


def measured(workers: Workers, tasks: int) -> dict[str, Any]:
    """Digests of memory and result of a run."""
    run = Experiment(RunSettings(tasks=tasks, quick=True, device="cpu", workers=True))
    run.run(Quiet(say=False), workers=workers)
    result = run.result()
    seconds = result.pop("seconds")
    arrays = sorted(run.kept.document().arrays.items())
    memory = hashlib.sha256(b"".join(name.encode() + a.tobytes() for name, a in arrays))
    return {
        "memory": memory.hexdigest(),
        "result": hashlib.sha256(json.dumps(result).encode()).hexdigest(),
        "tasks": run.ledger.count,
        "seconds": round(seconds["total"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/engines.json"))
    options = parser.parse_args()
    one = measured(Workers(jobs=1, engine="loky"), options.tasks)
    rows: list[dict[str, Any]] = [{"engine": "loky", "jobs": 1, "killed": 0, **one}]
    for engine in options.engines:
        with tempfile.TemporaryDirectory() as folder:
            workers = MortalWorkers(jobs=2, engine=engine, mark=Path(folder) / "killed")
            try:
                found = measured(workers, options.tasks)
            except MissingDependencyError as error:
                rows.append({"engine": engine, "skipped": str(error)})
            else:
                package = {"loky": "joblib", "dask": "distributed", "ray": "ray"}[engine]
                rows.append(
                    {
                        "engine": engine,
                        "version": version(package),
                        "jobs": 2,
                        "killed": int(workers.mark.exists()),
                        "same_memory": found["memory"] == one["memory"],
                        "same_result": found["result"] == one["result"],
                        **found,
                    }
                )
        print(rows[-1], flush=True)
    write_json(options.out, rows)


if __name__ == "__main__":
    main()
