"""What a recall costs: batches, number of tasks, bytes; ratios within one run, as JSON.

    python benchmarks/recall_speed.py [--bits 8192] [--out FILE]

Masks are random here and the penalty is a quadratic one, so that the memory alone is timed; the
network's share of a recall is that of its forward passes. The penalty of a random mask is 4, that
of the right one 0, near what a network's entropy is in nats: 4.4 and 0.7 with 100 outputs.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import write_json
from torch import Tensor

from hopmask import MaskMemory, Search

LENGTH = 64  # of a signature


def filled(bits: int, tasks: int) -> tuple[MaskMemory, Tensor, Tensor]:
    """A memory of random masks, the masks, and a signature of each task."""
    g = torch.Generator().manual_seed(0)
    memory = MaskMemory({"bits": bits}, key_bits=512, signature_features=2048)
    masks = torch.rand(tasks, bits, generator=g) < 0.5
    signatures = torch.randn(tasks, LENGTH, generator=g)
    for mask, signature in zip(masks, signatures, strict=True):
        memory.store({"bits": mask}, signature=signature)
    return memory, masks, signatures


def seconds(work: Callable[[], object], *, repeats: int) -> float:
    """Median time of a call, after one that is not timed."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def recall(memory: MaskMemory, wanted: Tensor, signature: Tensor) -> object:
    """Recall by signature and penalty, a batch or one."""

    def penalty(masks: dict[str, Tensor]) -> Tensor:
        return 8 * (masks["bits"] - wanted).square().mean(-1)

    hit = memory.recall(signature=signature, penalty=penalty, search=Search(min_margin=2.0))
    if not bool(torch.as_tensor(hit.verified).all()):
        raise RuntimeError("a recall that is timed must succeed: give more --bits or fewer --tasks")
    return hit


def size(memory: MaskMemory) -> tuple[int, int]:
    """Bytes in memory and on disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.h5"
        memory.save(path)
        return memory.nbytes, path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bits", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--tasks", type=int, default=250, help="of the fullest memory")
    parser.add_argument("--batch", type=int, default=128, help="recalls in one call")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/recall_speed.json"))
    options = parser.parse_args()
    figures: dict[str, object] = {"bits": options.bits, "threads": torch.get_num_threads()}
    times, sizes = {}, {}
    most, batch = options.tasks, options.batch
    for tasks in (1, 5, most):
        memory, masks, signatures = filled(options.bits, tasks)
        wanted = masks.float()
        sizes[tasks] = size(memory)
        times[tasks] = seconds(
            lambda m=memory, w=wanted, s=signatures: recall(m, w[0], s[0]),  # type: ignore[misc]
            repeats=options.repeats,
        )
    wanted, signatures = wanted[:batch], signatures[:batch]
    together = seconds(lambda: recall(memory, wanted, signatures), repeats=1)
    alone = seconds(
        lambda: [recall(memory, w, s) for w, s in zip(wanted, signatures, strict=True)], repeats=1
    )
    figures |= {
        f"bytes in memory and on disk, 1 and {most} tasks": [sizes[1], sizes[most]],
        f"recall at {most} tasks over 5": times[most] / times[5],
        f"{batch} recalls one by one over one call": alone / together,
        "seconds": {
            "5 tasks": times[5],
            f"{most} tasks": times[most],
            str(batch): together,
            "alone": alone,
        },
    }
    write_json(options.out, figures)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
