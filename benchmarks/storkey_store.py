"""Time of one Storkey store against the textbook version with outer-product temporaries.

    python benchmarks/storkey_store.py [--size 2048] [--repeats 15] [--out FILE]

The rule's update alone, `Reservoir.store` with its checks, and the textbook run in turn on the same
patterns; the figures are medians of the ratios.
"""

import argparse
import json
import statistics
import time
from itertools import pairwise
from pathlib import Path

import torch
from common import write_json
from torch import Tensor

from hopmask import Reservoir
from hopmask.couplings.rules import Storkey


def textbook(weights: Tensor, pattern: Tensor) -> Tensor:
    """Storkey 1997 as it is usually written: fields h_ij and outer products as d×d matrices."""
    d = pattern.numel()
    own = weights.diagonal()[:, None] * pattern[:, None]
    fields = (weights @ pattern)[:, None] - own - weights * pattern[None, :]
    new = weights + torch.outer(pattern, pattern) / d
    new = new - pattern[:, None] * fields.T / d - fields * pattern[None, :] / d
    return new.fill_diagonal_(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 2, (options.repeats, options.size), generator=generator) * 2.0 - 1
    ours, theirs = torch.zeros(options.size, options.size), torch.zeros(options.size, options.size)
    reservoir, rule = Reservoir(options.size), Storkey()
    seconds: dict[str, list[float]] = {"update": [], "store": [], "textbook": []}
    for pattern in patterns:
        times = [time.perf_counter()]
        rule.update(ours, pattern)
        times.append(time.perf_counter())
        reservoir.store(pattern)
        times.append(time.perf_counter())
        theirs = textbook(theirs, pattern)
        times.append(time.perf_counter())
        for name, (start, end) in zip(seconds, pairwise(times), strict=True):
            seconds[name].append(end - start)

    def ratio(name: str) -> float:
        pairs = zip(seconds["textbook"], seconds[name], strict=True)
        return statistics.median(slow / fast for slow, fast in pairs)

    result = {
        "size": options.size,
        "repeats": options.repeats,
        "threads": torch.get_num_threads(),
        "median_ms": {name: 1e3 * statistics.median(values) for name, values in seconds.items()},
        "textbook_over_update": ratio("update"),
        "textbook_over_store": ratio("store"),
        "largest_difference": (ours - theirs).abs().max().item(),
    }
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
