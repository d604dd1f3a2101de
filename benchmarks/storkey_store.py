"""Time of one Storkey store against the textbook version with outer-product temporaries.

    python benchmarks/storkey_store.py [--size 2048] [--repeats 15] [--out FILE]

Both run in turn on equal couplings; the figure is the median ratio.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from hopmask import Storkey


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
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 2, (options.repeats, options.size), generator=generator) * 2.0 - 1
    ours, theirs = torch.zeros(options.size, options.size), torch.zeros(options.size, options.size)
    rule, seconds = Storkey(), {"hopmask": [], "textbook": []}
    for pattern in patterns:
        start = time.perf_counter()
        rule.update(ours, pattern)
        middle = time.perf_counter()
        theirs = textbook(theirs, pattern)
        seconds["hopmask"].append(middle - start)
        seconds["textbook"].append(time.perf_counter() - middle)
    ratios = [t / h for h, t in zip(seconds["hopmask"], seconds["textbook"], strict=True)]
    result = {
        "size": options.size,
        "repeats": options.repeats,
        "threads": torch.get_num_threads(),
        "hopmask_ms": 1e3 * statistics.median(seconds["hopmask"]),
        "textbook_ms": 1e3 * statistics.median(seconds["textbook"]),
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "largest_difference": (ours - theirs).abs().max().item(),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
