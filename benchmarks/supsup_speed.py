"""Speed and size of explicit supermasks, as ratios within one run, as JSON.

    python benchmarks/supsup_speed.py [--tasks K] [--out FILE]

- Training step of LeNet 300-100 with 500 outputs, batch 128: a masked step against a step of the
  same dense network under frozen masks, both with Adam.
- One-Shot from one image over K stored masks: the bank against the masks stacked as floats, scaled
  by α and summed, as one writes it first, or multiplied by α as one matrix, the best that floats
  can do; time and peak memory. And against reading the packed masks once (their sum as 64-bit
  integers).
- Bits per weight and task in the bank.

Each part runs in a process of its own, so that its peak memory is its own. Times are medians of
interleaved repetitions.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from common import write_json
from torch import Tensor, nn

import hopmask
from supsup_bridge import (
    MaskBank,
    MaskedNetwork,
    OneShot,
    TrainingSettings,
    entropy,
    fix_weights,
    mlp,
)
from supsup_bridge.training.trainer import (
    MaskTrainer,
)

SIZES = [784, 300, 100, 500]


def timed(*functions: Callable[[], Any], repeat: int) -> list[float]:
    """Median seconds of each function; the functions take turns."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(repeat + 2):
        for function, kept in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if turn >= 2:  # the first two warm up
                kept.append(time.perf_counter() - start)
    return [median(kept) for kept in times]


def peak() -> int:
    """Largest resident memory of this process so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def random_masks(network: MaskedNetwork, generator: torch.Generator) -> dict[str, Tensor]:
    return {
        name: torch.rand(size, generator=generator) < 0.5
        for name, size in network.mask_sizes.items()
    }


def network_of(generator: torch.Generator) -> MaskedNetwork:
    return MaskedNetwork(fix_weights(mlp(SIZES), generator))


def step(_: int, repeat: int) -> dict[str, Any]:
    """Seconds of a masked and of a dense training step."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(128, SIZES[0], generator=generator)
    labels = torch.randint(0, 10, (128,), generator=generator)
    network = network_of(generator)
    settings = TrainingSettings(contrast=0)
    trainer = MaskTrainer(network, settings, scores=generator, noise=generator)
    dense = mlp(SIZES)
    layers = [layer for layer in dense if isinstance(layer, nn.Linear)]
    frozen = [mask.float() for mask in random_masks(network, generator).values()]
    optimiser = torch.optim.Adam(dense.parameters(), lr=1e-3)

    def dense_step() -> None:
        hidden = images
        for i, (layer, mask) in enumerate(zip(layers, frozen, strict=True)):
            hidden = F.linear(F.relu(hidden) if i else hidden, layer.weight * mask)
        loss = F.cross_entropy(hidden, labels)
        optimiser.zero_grad()
        loss.backward()
        loss.item()
        optimiser.step()

    ours, theirs = timed(lambda: trainer.step(images, labels), dense_step, repeat=7 * repeat)
    return {"masked": ours, "dense": theirs, "ratio": ours / theirs}


def packed(tasks: int, repeat: int) -> dict[str, Any]:
    """One-Shot over a bank."""
    generator = torch.Generator().manual_seed(0)
    network = network_of(generator)
    image = torch.randn(1, 1, SIZES[0], generator=generator)
    several = torch.randn(16, 1, SIZES[0], generator=torch.Generator().manual_seed(1))
    before = peak()
    bank = MaskBank(network.mask_sizes)
    for _ in range(tasks):
        bank.store(random_masks(network, generator))
    words = torch.ones(-(-bank.packed_nbytes // 8), dtype=torch.int64)  # as many bytes
    inference = OneShot(network=network, bank=bank)
    seconds, read = timed(lambda: inference.decide(image), lambda: words.sum(), repeat=repeat)
    size = peak() - before
    (of_several,) = timed(lambda: inference.decide(several), repeat=max(1, repeat // 10))
    weights = sum(prod(size) for size in network.mask_sizes.values())
    return {
        "compiled": "supsup_bridge.stores.compiled" in sys.modules,
        "seconds": seconds,
        "seconds_per_image_of_16": of_several / 16,
        "read_once": read,
        "bytes": size,
        "bits_per_weight": 8 * bank.packed_nbytes / tasks / weights,
        "answer": int(inference.decide(image)[0]),
    }


def on_threads(threads: int, tasks: int, repeat: int) -> dict[str, Any]:
    """The same on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return packed(tasks, repeat)
    finally:
        torch.set_num_threads(before)


def without_numba(tasks: int, repeat: int) -> dict[str, Any]:
    """The same where numba is not installed."""
    with patch.dict(sys.modules, {"numba": None}):
        return packed(tasks, max(1, repeat // 3))


def stacked(
    tasks: int, repeat: int, superpose: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, Any]:
    """One-Shot over a stack of float masks; α is a leaf and a call is a forward and a backward."""
    generator = torch.Generator().manual_seed(0)
    network = network_of(generator)
    image = torch.randn(1, SIZES[0], generator=generator)
    before = peak()
    stacks = {name: torch.empty(tasks, *size) for name, size in network.mask_sizes.items()}
    for task in range(tasks):
        for name, mask in random_masks(network, generator).items():
            stacks[name][task] = mask
    answers = []

    def one_shot() -> None:
        alpha = torch.full((tasks,), 1 / tasks, requires_grad=True)
        levels = {name: superpose(alpha, stack) for name, stack in stacks.items()}
        entropy(network(image, levels)).mean().backward()
        answers.append(int(alpha.grad.argmin()))

    (seconds,) = timed(one_shot, repeat=max(1, repeat // 6))
    return {"seconds": seconds, "bytes": peak() - before, "answer": answers[-1]}


def summed(tasks: int, repeat: int) -> dict[str, Any]:
    """The stack scaled by α and summed over the tasks."""
    return stacked(tasks, repeat, lambda alpha, stack: (alpha[:, None, None] * stack).sum(0))


def multiplied(tasks: int, repeat: int) -> dict[str, Any]:
    """The stack as one matrix, times α: the best that floats can do."""
    return stacked(tasks, repeat, lambda alpha, stack: torch.tensordot(alpha, stack, 1))


PARTS = {
    "step": step,
    "packed": packed,
    "one_thread": partial(on_threads, 1),
    "two_threads": partial(on_threads, 2),
    "without_numba": without_numba,
    "summed": summed,
    "multiplied": multiplied,
}
WAYS = ("packed", "one_thread", "two_threads", "without_numba")


def over_reading(part: dict[str, Any]) -> float:
    """Seconds of One-Shot over those of reading the packed masks once."""
    return float(part["seconds"] / part["read_once"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2500)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/supsup_speed.json"))
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--repeat", type=int, default=30, help="of each timing")
    parser.add_argument(
        "--together", action="store_true", help="all parts in this process: bytes mean nothing"
    )
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part](options.tasks, options.repeat)))
        return
    done: dict[str, Any] = {"tasks": options.tasks, "threads": torch.get_num_threads()}
    done["versions"] = {"hopmask": hopmask.__version__, "torch": torch.__version__}
    for part in PARTS:
        if options.together:
            done[part] = PARTS[part](options.tasks, options.repeat)
            continue
        command = [sys.executable, __file__, "--part", part, "--tasks", str(options.tasks)]
        command += ["--repeat", str(options.repeat)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        done[part] = json.loads(answer.stdout)
    ours = done["packed"]
    done["ratios"] = {
        "step over dense": done["step"]["ratio"],
        "summed stack over bank, seconds": done["summed"]["seconds"] / ours["seconds"],
        "summed stack over bank, bytes": done["summed"]["bytes"] / max(1, ours["bytes"]),
        "multiplied stack over bank, seconds": done["multiplied"]["seconds"] / ours["seconds"],
        "multiplied stack over bank, bytes": done["multiplied"]["bytes"] / max(1, ours["bytes"]),
        **{f"one-shot over reading once, {way}": over_reading(done[way]) for way in WAYS},
        "bits per weight": ours["bits_per_weight"],
    }
    write_json(options.out, done)
    print(json.dumps(done["ratios"], indent=1))


if __name__ == "__main__":
    main()
