"""What a run of many tasks spends on anything but training, at 100, 500, 1000 and 2400 tasks; JSON.

    python benchmarks/bookkeeping.py [--folder DIRECTORY] [--out FILE]
    python benchmarks/bookkeeping.py --table    # the JSON as a Markdown table; run nothing

A run of 2500 synthetic tasks of MNIST's size, LeNet 300-100, on 4096 hubs (2.7 GB): masks are drawn
and not trained, and recalled by the content address, one inference per task. To come from one point
to the next, tasks are noted in the ledger as a run notes them, and are live in the memory with
random addresses, but their masks stay out of its couplings: the time of integer products does not
depend on the integers. The few tasks after a point are stored, scored and checkpointed as always.
Each row has the seconds of one task or one file, the median of a few, by the clock and of the
processor alone, which other work disturbs less.

`scorings` counts how often one task is scored in a run of 2500 tasks by the default schedule, and
what it was when every point of the curve scored all tasks, and each newest task was scored.
`before` is of results and checkpoints that held the whole accuracy matrix and a list of all
inferences: this script, adapted to the code of that time, measured it without a memory. It stays in
the file.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from common import Quiet, write_json

from hopmask import MaskMemory
from hopmask.couplings.hub import HubCouplings
from hopmask.patterns.hadamard import transform
from supsup_bridge import Experiment, RunSettings, Task
from supsup_bridge.continual.scoring import TaskScore
from supsup_bridge.runs import report
from supsup_bridge.runs.checkpoint import Checkpoints
from supsup_bridge.runs.evaluation import Scores
from supsup_bridge.runs.schedule import is_newest_due, is_point, tasks_of_point

PIXELS, CLASSES, IMAGES = 784, 10, 128
POINTS = (100, 500, 1000, 2400)
REPEATS = 3


def generator(*purpose: int) -> torch.Generator:
    """A random stream of its own for each purpose."""
    seed = 0
    for number in purpose:
        seed = seed * 1_000_003 + number
    return torch.Generator().manual_seed(seed)


class Tasks(Sequence[Task]):
    """Synthetic tasks, made at each access."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, where: Any) -> Any:
        if isinstance(where, slice):
            return [self[number] for number in range(*where.indices(len(self)))]
        if not 0 <= where < len(self):
            raise IndexError(where)
        drawn = generator(1, where)
        images = torch.randn(PIXELS, generator=drawn) + torch.rand(
            3, IMAGES, PIXELS, generator=drawn
        )
        labels = torch.arange(IMAGES) % CLASSES
        return Task(
            name=f"task {where}",
            train_images=images[0],
            train_labels=labels,
            inference_images=images[1],
            scored_images=images[2],
            scored_labels=labels,
            classes=CLASSES,
        )


class Drawn:
    """Random masks by number, in place of trained ones."""

    def __init__(self) -> None:
        self.sizes: dict[str, tuple[int, ...]] = {}

    def recall(self, *, task: int) -> Any:
        drawn = generator(2, task)
        masks = {n: torch.rand(size, generator=drawn) < 0.5 for n, size in self.sizes.items()}
        return SimpleNamespace(masks=masks, extras={}, steps=0, verified=True)


class Run:
    """An experiment that can be carried to any number of tasks without learning each.

    Args:
        folder: for a checkpoint.
        tasks: of the run.
    """

    def __init__(self, folder: Path, tasks: int) -> None:
        masks = Drawn()
        settings = RunSettings(benchmark="permuted-mnist", tasks=tasks, recall="address", seed=0)
        start = time.perf_counter()
        self.experiment = Experiment(settings, tasks=Tasks(tasks), learned=masks)
        self.made = time.perf_counter() - start
        masks.sizes = self.experiment.network.mask_sizes
        self._masks, self._folder = masks, folder
        (folder / "checkpoint").mkdir()
        self._checkpoints = Checkpoints(folder, self.experiment)

    def carry(self, count: int) -> None:
        """Note tasks in the ledger as a run does, and have them be live in the memory."""
        memory, first = self.experiment.hopfield, self.experiment.ledger.count
        masks = self._masks.recall(task=first).masks
        for number in range(first, count):
            self._note(number, masks)
        join(memory, slice(first, count - 1))
        signature = self.experiment.stream[count - 1].train_images
        memory.store(masks, task=count - 1, signature=signature)

    def figures(self, *, repeats: int) -> dict[str, Any]:
        """One row: seconds of a task's parts at the present number of tasks, and sizes."""
        run = self.experiment
        tasks = run.ledger.count
        times, busy = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)

        def timed(what: str, work: Callable[[], object]) -> None:
            start, busy_before = time.perf_counter(), time.process_time()
            work()
            busy[what].append(time.process_time() - busy_before)
            times[what].append(time.perf_counter() - start)

        timed("checkpoint with memory", self.write_checkpoint)
        for _ in range(repeats):
            timed("checkpoint without memory", self.write_checkpoint)
        for _ in range(repeats):
            number, task = run.ledger.count, run.stream[run.ledger.count]
            timed("store", lambda task=task, number=number: self._teach(task, number))
            timed("score newest", lambda: self._score(run.ledger.count - 1))
            run.ledger.scored(Scores(), point=False)
        for _ in range(repeats):
            timed("result", self.write_result)
        return {
            "tasks": tasks,
            "seconds": {what: round(statistics.median(some), 5) for what, some in times.items()},
            "cpu_seconds": {what: round(statistics.median(some), 5) for what, some in busy.items()},
            "result_bytes": (self._folder / "result.json").stat().st_size,
            "run_bytes": (self._folder / "checkpoint" / "run.h5").stat().st_size,
            "most_resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        }

    def write_checkpoint(self) -> None:
        """Write a checkpoint; the memory only if it changed."""
        self._checkpoints.write()

    def write_result(self) -> None:
        """Write `result.json`."""
        report.write_json(self.experiment.result(), self._folder / "result.json")

    def finish(self) -> None:
        """Note scores of every task, as of a last evaluation."""
        ledger = self.experiment.ledger
        ledger.scored(scores_of(range(ledger.count)), point=True)

    def _teach(self, task: Task, number: int) -> None:
        run = self.experiment
        run._teacher.teach(task, number, Quiet(say=False), lambda: None, watch=run.watch)

    def _score(self, number: int) -> None:
        self.experiment._scorer().score([number], Scores(), Quiet(say=False))

    def _note(self, number: int, masks: Any) -> None:
        """What a run of the default schedule notes of a task."""
        ledger, learned = self.experiment.ledger, number + 1
        ledger.begun(self.experiment.stream[0])
        ledger.learned({number: 1000})
        ledger.note(number, masks)
        point = is_point(learned, self.experiment.settings)
        due = tasks_of_point(learned, seed=0) if point else [number] * is_newest_due(learned)
        ledger.scored(scores_of(due), point=point)


def scores_of(tasks: Sequence[int]) -> Scores:
    """Scores of tasks with 5000 scored images each."""
    scores, each = Scores(), 40
    for task in tasks:
        found = TaskScore(
            given=0.95,
            label=0.95,
            joint=0.95,
            named=[task] * each,
            inferred=[True] * each,
            exact=[True] * each,
            steps=[1] * each,
            verified=[True] * each,
        )
        scores.add(task, 0.95, found)
    return scores


def join(memory: MaskMemory, new: slice) -> None:
    """Have tasks be live, with random addresses; the couplings stay as they are."""
    couplings, address = memory.couplings, memory.address
    assert isinstance(couplings, HubCouplings)
    assert address is not None
    couplings.live[new] = True
    if not address.count:
        return
    keys, link, known = couplings.keys, address.sums["link"], address.addressed.clone()
    like = keys.by_task(transform(link) // couplings.hubs)[:, int(known.nonzero()[0])]
    means = torch.zeros_like(link)
    for task in range(new.start, new.stop):
        means[:, task] = like[torch.randperm(len(like), generator=generator(3, task))]
    link += transform(keys.by_row(means))
    for name in ("within", "scalars"):
        address.sums[name] += address.sums[name] // address.count * (new.stop - new.start)
    known[new] = True
    address.restore(address.sums, known, length=address.length)


def scorings(tasks: int) -> dict[str, int]:
    """How often a run scores one task."""
    settings = RunSettings(benchmark="permuted-mnist", tasks=tasks)
    now = before = 0
    for learned in range(1, tasks + 1):
        if learned == tasks:
            now, before = now + learned, before + learned
        elif is_point(learned, settings):
            now, before = now + len(tasks_of_point(learned, seed=0)), before + learned
        else:
            now, before = now + is_newest_due(learned), before + 1
    return {"now": now, "before": before, "of the last evaluation": tasks}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Seconds of the processor as a Markdown table, with their ratios to the first row."""
    names = list(rows[0]["cpu_seconds"])
    lines = [f"| tasks | {' | '.join([*names, 'result.json', 'run.h5'])} |"]
    lines.append("|---" * (len(names) + 3) + "|")
    for row in rows:
        seconds = {name: (row["cpu_seconds"][name], rows[0]["cpu_seconds"][name]) for name in names}
        cells = [f"{value:.3f} ({value / first:.2f})" for value, first in seconds.values()]
        cells += [f"{row[size] / 1e3:.0f} kB" for size in ("result_bytes", "run_bytes")]
        lines.append(f"| {row['tasks']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--tasks", type=int, default=2500)
    add("--points", type=int, nargs="+", default=POINTS)
    add("--repeats", type=int, default=REPEATS)
    add("--folder", type=Path, help="where the files lie; default: the folder for temporary files")
    add("--table", action="store_true", help="print the JSON as a Markdown table; run nothing")
    add("--out", type=Path, default=Path("benchmarks/bookkeeping.json"))
    options = parser.parse_args()
    if options.table:
        kept = json.loads(options.out.read_text())
        parts = [kept["rows"], kept.get("before", {}).get("rows", [])]
        print("\n\n".join(table(rows) for rows in parts if rows))
        return
    kept = json.loads(options.out.read_text()) if options.out.exists() else {}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        run = Run(Path(name), options.tasks)
        found: dict[str, Any] = {"made_seconds": run.made, "rows": []}
        for point in options.points:
            run.carry(point)
            found["rows"].append(run.figures(repeats=options.repeats))
            print(json.dumps(found["rows"][-1]), flush=True)
        run.finish()
        start = time.perf_counter()
        run.write_result()
        found["last result"] = {
            "seconds": time.perf_counter() - start,
            "bytes": (Path(name) / "result.json").stat().st_size,
        }
    found["scorings"] = scorings(options.tasks)
    found |= {part: rows for part, rows in kept.items() if part == "before"}
    write_json(options.out, found)


if __name__ == "__main__":
    main()
