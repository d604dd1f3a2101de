"""Row: the time of a commit."""

import argparse
import os
import statistics
import time

import numpy as np
import torch

from torture_rows.memories import dense
from torture_rows.tally import Row, Tally, scratch


def commit_time(options: argparse.Namespace, generator: np.random.Generator) -> Row:
    """Time of a commit against that of a temporary file, fsync and rename alone."""
    tally, most, repeats = Tally(), 2.0, 3 if options.quick else 21
    with scratch(options) as folder:
        for spins in (2048,) if options.quick else (2048, 4096):
            memory = dense(spins)
            memory.couplings.psi.copy_(torch.from_numpy(generator.normal(size=(spins, spins))))
            path, plain, draft = (folder / f"{spins}.{end}" for end in ("h5", "plain", "draft"))
            memory.save(path)
            data = path.read_bytes()
            plain.write_bytes(data)
            times: dict[str, list[float]] = {"hopmask": [], "plain": []}
            for _ in range(repeats + 1):  # the first is not counted
                start = time.perf_counter()
                memory.save(path)
                middle = time.perf_counter()
                handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                os.write(handle, data)
                os.fsync(handle)
                os.close(handle)
                draft.rename(plain)
                times["plain"].append(time.perf_counter() - middle)
                times["hopmask"].append(middle - start)
            ours, bare = (statistics.median(times[which][1:]) for which in ("hopmask", "plain"))
            tally.trials += 1
            tally.counted[f"{len(data) >> 20} MiB"] = {
                "commit_ms": round(1000 * ours, 1),
                "plain_ms": round(1000 * bare, 1),
                "ratio": round(ours / bare, 2),
            }
            tally.expect(ours / bare <= most, f"{spins} spins: {ours / bare:.2f} times as long")
    return tally.row(repeats=repeats, target_ratio=most)
