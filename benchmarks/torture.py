"""Files under torture: killed writers and runs, crowds, damage, full disks, hostile files; JSON.

    python benchmarks/torture.py [--only ROW ...] [--share S] [--folder DIRECTORY] [--out FILE]
    python benchmarks/torture.py --quick    # each row in a form of a few seconds, nothing written
    python benchmarks/torture.py --table    # the JSON as a Markdown table

A row goes on after a failure, counts it and keeps the first ten messages; the exit status is 1 if
any row failed. `bound95` is 3/trials: what the chance of a failure lies below, with 95 %
confidence, where none was seen. Set OMP_NUM_THREADS=1: writers are forked. Row `fuzz` needs
atheris, and the part of row `disk-full` on a small tmpfs needs the right to mount one.

Rows `hub-...` are the same of hub memories, and, where files are read, of rounded ones.

Masks follow from their writer and from how many masks it stored before, so that a file can be
checked against what its writers reported before and after each store.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torture_rows.damage import flips_and_cuts
from torture_rows.full_disk import disk_full
from torture_rows.fuzz import FUZZED, fuzz, fuzzing
from torture_rows.hostile import hostile
from torture_rows.kills import kill_four_writers, kill_one_writer, many_processes
from torture_rows.life import state_machine
from torture_rows.memories import COUPLINGS, prepared
from torture_rows.reads import readers
from torture_rows.resume import resume
from torture_rows.tally import Row
from torture_rows.times import commit_time

HUB = "hub-"  # rows of hub memories
EACH: dict[str, Callable[[argparse.Namespace, np.random.Generator], Row]] = {
    "kill-one-writer": kill_one_writer,
    "kill-four-writers": kill_four_writers,
    "many-processes": many_processes,
    "flips-and-cuts": flips_and_cuts,
    "disk-full": disk_full,
    "readers": readers,
    "hostile": hostile,
    "fuzz": fuzz,
    "state-machine": state_machine,
    "resume": resume,
}
ROWS = {**EACH, "commit-time": commit_time} | {f"{HUB}{name}": row for name, row in EACH.items()}


def measured(name: str, options: argparse.Namespace) -> Row:
    """One row."""
    options.couplings = "hub" if name.startswith(HUB) else "dense"
    start = time.perf_counter()
    try:
        row = ROWS[name](options, np.random.default_rng(options.seed))
    except Exception as error:
        row = {"trials": 0, "failures": 1, "counted": {}, "settings": {}}
        row["messages"] = [f"the row itself: {type(error).__name__}: {error}"]
    clean = row["trials"] > 0 and row["failures"] == 0
    row["bound95"] = 3 / row["trials"] if clean else None
    row["seconds"] = round(time.perf_counter() - start, 1)
    row["settings"] |= {"seed": options.seed, "quick": options.quick, "share": options.share}
    return {"name": name, **row}


def shown(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| row | trials | failures | chance below | seconds | counted |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        bound = "" if row["bound95"] is None else f"{row['bound95']:.2g}"
        counted = "; ".join(f"{what} {value}" for what, value in row["counted"].items())
        cells = (row["name"], row["trials"], row["failures"], bound, row["seconds"], counted)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--only", metavar="ROW", nargs="+", choices=[*ROWS], help=", ".join(ROWS))
    add("--quick", action="store_true", help="each row in a form of a few seconds")
    add("--table", action="store_true", help="print the JSON as a Markdown table; run nothing")
    add("--folder", type=Path, help="where the files lie; default: the folder for temporary files")
    add("--out", type=Path, help="default: benchmarks/torture.json; with --quick, none")
    add("--minutes", type=float, default=10.0, help="of fuzzing")
    add("--share", type=float, default=1.0, help="of the trials, and of the minutes")
    add("--seed", type=int, default=0)
    add("--fuzz", choices=FUZZED, help=argparse.SUPPRESS)  # the child of row `fuzz`
    add("--fuzz-couplings", dest="couplings", choices=COUPLINGS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    prepared()
    if options.fuzz:
        fuzzing(options)
    out = options.out or (None if options.quick else Path("benchmarks/torture.json"))
    rows = json.loads(out.read_text()) if out is not None and out.exists() else []
    if options.table:
        print(shown(rows))
        return 0
    failed = False
    for name in options.only or ROWS:
        row = measured(name, options)
        failed |= row["failures"] > 0
        print(json.dumps(row), flush=True)
        by_name = {old["name"]: old for old in rows} | {name: row}
        rows = [by_name[known] for known in ROWS if known in by_name]
        if out is not None:
            out.write_text(json.dumps(rows, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
