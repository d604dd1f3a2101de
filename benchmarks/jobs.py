"""Learning by two worker processes against one, shards merged in any order, and the parent's part.

    python benchmarks/jobs.py --data DIR [--parts jobs shards parent]

A benchmark (permuted-mnist) with its own settings, learned and not scored. `jobs`: seconds of two
jobs against one, from the start of the workers to the last task stored, and whether the memories
are equal. `shards`: four shards, merged in several orders, against the memory of one job. `parent`:
what the process that stores spends on a task, with as many hubs as 2,500 tasks take.
"""

import argparse
import hashlib
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from common import Quiet, read_json, write_json

from hopmask import MaskMemory
from supsup_bridge import RunSettings, Workers
from supsup_bridge.runs.jobs import trained
from supsup_bridge.runs.prepared import prepared
from supsup_bridge.runs.shard import Shard

ORDERS = ((0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0))


def digest(memory: MaskMemory) -> str:
    """SHA-256 of all that a memory holds."""
    arrays = sorted(memory.document().arrays.items())
    return hashlib.sha256(b"".join(name.encode() + a.tobytes() for name, a in arrays)).hexdigest()


def learned(
    settings: RunSettings, numbers: range, jobs: int, data: Path | None
) -> tuple[MaskMemory, float, dict[str, float]]:
    """Memory and seconds of tasks, learned alone; seconds of the shard's own watch."""
    shard = Shard(settings, numbers, data=data)
    start = time.perf_counter()
    shard.run(Quiet(say=False), workers=Workers(jobs=jobs, engine="loky"))
    seconds = time.perf_counter() - start
    assert isinstance(shard.kept, MaskMemory)
    return shard.kept, seconds, shard.watch.seconds()


def of_jobs(settings: RunSettings, tasks: int, data: Path | None) -> dict[str, Any]:
    """One job and two, one after the other."""
    row: dict[str, Any] = {"part": "jobs", "tasks": tasks}
    for jobs in (1, 2):
        memory, seconds, parts = learned(settings, range(tasks), jobs, data)
        row[f"seconds_{jobs}"], row[f"store_{jobs}"] = seconds, parts["store"]
        row[f"memory_{jobs}"] = digest(memory)
    same = row["memory_1"] == row["memory_2"]
    return {**row, "ratio": row["seconds_1"] / row["seconds_2"], "same_memory": same}


def of_shards(settings: RunSettings, tasks: int, data: Path | None) -> dict[str, Any]:
    """Four shards, merged in several orders."""
    ends = [tasks * part // 4 for part in range(5)]
    parts = [learned(settings, range(first, end), 1, data)[0] for first, end in pairwise(ends)]
    found = []
    for order in ORDERS:
        whole = Shard(settings, range(tasks), data=data).kept
        assert isinstance(whole, MaskMemory)
        for part in order:
            whole.merge(parts[part])
        found.append(digest(whole))
    return {"part": "shards", "tasks": tasks, "orders": ORDERS, "memories": found}


def of_parent(settings: RunSettings, hubs: int, data: Path | None) -> dict[str, Any]:
    """Seconds of the parent on a task that a worker returned, and its bytes."""
    quick = replace(settings, batches=None, quick=True, hubs=hubs)
    begun = prepared(quick, data=data)
    shard = Shard(quick, range(2), data=data)
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        done = work()
        spent[name] = time.perf_counter() - start
        return done

    for number in range(2):  # the second one counts
        found = trained(begun.job, number)
        sent = timed("pickle", lambda found=found: pickle.dumps(found))
        learned = timed("unpickle", lambda sent=sent: pickle.loads(sent))
        timed("store", lambda task=learned, n=number: shard.learner.keep(task, None, task=n))
    return {"part": "parent", "hubs": hubs, "bytes_sent": len(sent), "seconds": spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--benchmark", default="permuted-mnist")
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--batches", type=int, help="per task (default: the benchmark's)")
    parser.add_argument("--hubs", type=int, default=4096, help="of the part `parent`")
    parser.add_argument("--parts", nargs="+", default=["jobs", "shards", "parent"])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/jobs.json"))
    options = parser.parse_args()
    settings = RunSettings(
        benchmark=options.benchmark,
        tasks=options.tasks,
        batches=options.batches,
        device="cpu",
        workers=True,
    )
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "jobs": lambda: of_jobs(settings, options.tasks, options.data),
        "shards": lambda: of_shards(settings, options.tasks, options.data),
        "parent": lambda: of_parent(settings, options.hubs, options.data),
    }
    for part in options.parts:
        row = measures[part]()
        print(row, flush=True)
        others = [old for old in read_json(options.out) if old["part"] != part]
        rows = [*others, row]
        by_part = {one["part"]: one for one in rows}
        if {"jobs", "shards"} <= by_part.keys():
            run, shards = by_part["jobs"], by_part["shards"]
            alike = set(shards["memories"]) == {run["memory_1"]}
            shards["same_memory"] = alike if run["tasks"] == shards["tasks"] else None
        write_json(options.out, rows)


if __name__ == "__main__":
    main()
