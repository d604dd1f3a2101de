"""Capacity of the learning rules: on random masks, and on learned ones.

    python benchmarks/capacity.py --random
    python benchmarks/capacity.py --learned bank.h5 --name "hashed, 100 outputs"
    python benchmarks/capacity.py --learned bank.h5 --name "unit, 10 outputs" --after 20 40 60
    python benchmarks/capacity.py --table

`--learned` is a bank of PermutedMNIST's masks, as `benchmarks/recall.py` makes it. Capacity is the
largest number of masks of which 90 % come back bit for bit from cues with a tenth of the spins
turned, by bisection (`hopmask.capacity.measure`). Random masks of as many bits, and of the density
and mean overlap of the learned masks, are measured as well, up to as many masks. With
`--after`, what `capacity.estimate` says of a memory of the first so many tasks, beside the number
at which it truly fails to recall every task by number.
"""

import argparse
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from common import read_json, write_json
from torch import Tensor

from hopmask import GivenMasks, MaskMemory, OverloadWarning, RandomMasks, capacity
from hopmask.capacity.mask_sources import Ensemble
from hopmask.memory.health import recalled_by_key
from supsup_bridge import MaskBank

RULES = ("hebbian", "storkey-matrix", "storkey", "projection")
SIZE = 512


class AtMost:
    """At most so many masks of another ensemble."""

    def __init__(self, masks: Ensemble, most: int) -> None:
        self.masks, self.most = masks, most

    @property
    def size(self) -> int:
        return self.masks.size

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        return self.masks.draw(count, generator)


def measured(name: str, masks: Ensemble, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per rule."""
    rows = []
    for rule in options.rules:
        found = capacity.measure(rule, masks, trials=options.trials, seed=options.seed)
        print(name, found, flush=True)
        rows.append({"masks": name, "seed": options.seed, "most": masks.most, **asdict(found)})
    return rows


def flat(bank: MaskBank) -> Tensor:
    """The masks of a bank, bool (tasks, bits)."""
    tasks = [bank.recall(task=task).masks.values() for task in range(bank.count)]
    return torch.stack([torch.cat([mask.flatten() for mask in masks]) for masks in tasks])


def learned(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The learned masks, and random ones of their density and overlap."""
    masks = flat(MaskBank.load(options.learned))
    density = float(masks.double().mean())
    spins = masks.double() * 2 - 1
    overlaps = (spins @ spins.T / masks.shape[1])[~torch.eye(len(masks), dtype=torch.bool)]
    overlap = max(float(overlaps.mean()), (2 * density - 1) ** 2)
    rows = measured(options.name, GivenMasks(masks), options)
    alike = RandomMasks(size=masks.shape[1], density=density, overlap=overlap)
    rows += measured(f"{options.name}: random alike", AtMost(alike, len(masks)), options)
    for row in rows:
        row |= {
            "density": density,
            "mean_overlap": overlap,
            "largest_overlap": float(overlaps.max()),
        }
    return rows


def headroom(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What `estimate` says after some tasks, and where the memory truly fails."""
    bank = MaskBank.load(options.learned)
    sizes = {name: tuple(mask.shape) for name, mask in bank.recall(task=0).masks.items()}
    rows, lost = [], None
    for rule in options.rules:
        memory = MaskMemory(sizes, rule=rule, key_bits=options.key_bits, signature_features=0)
        said = {}
        for number in range(bank.count):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", OverloadWarning)
                memory.store(bank.recall(task=number).masks)
            tasks = torch.arange(memory.count)
            _, held, _ = recalled_by_key(
                memory.couplings, memory.code, tasks, bits=memory.key_bits, numbered=memory.numbered
            )
            if not bool(held.all()):
                lost = memory.count
                break
            if memory.count in options.after:
                said[memory.count] = asdict(capacity.estimate(memory, most=options.most))
                print(rule, memory.count, said[memory.count], flush=True)
        else:
            lost = None
        print(rule, "first loss at", lost, "of", bank.count, flush=True)
        rows.append(
            {
                "masks": options.name,
                "rule": rule,
                "tasks": bank.count,
                "lost_at": lost,
                "said": said,
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Capacities as a Markdown table, theory beside those of random masks."""
    theory = {
        rule: ", ".join(
            f"{limit.formula} = {limit.patterns:.0f}"
            for limit in capacity.limits(SIZE)
            if limit.rule == rule
        )
        for rule in RULES
    }
    lines = ["| masks | bits | rule | capacity [95 %] | load | in theory |", "|" + "---|" * 6]
    for row in rows:
        if "trials" not in row:
            continue
        interval = f"{row['patterns']:.1f} [{row['low']:.1f}, {row['high'] or 0:.1f}]"
        held = interval
        if row["censored"]:
            some = f"{row['censored']} of {len(row['trials'])} draws held all {max(row['trials'])}"
            held = f"at least {row['patterns']:.1f}: {some}"
        known = theory[row["rule"]] if row["most"] is None else ""
        load = f"{row['patterns'] / row['size']:.3f}"
        cells = (row["masks"], row["size"], row["rule"], held, load, known or "–")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--random", action="store_true", help="random masks")
    add("--size", type=int, default=SIZE, help="bits of random masks (%(default)s)")
    add("--learned", type=Path)
    add("--name")
    add("--after", type=int, nargs="+", default=[])
    add("--most", type=int, default=256)
    add("--key-bits", type=int, default=512)
    add("--rules", nargs="+", default=RULES)
    add("--trials", type=int, default=10)
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("benchmarks/capacity.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    done = read_json(options.out)
    if options.table:
        print(table(done))
        return
    if options.learned is None and not options.random:
        parser.error("say which masks: --random, or --learned BANK")
    rows = []
    if options.random:
        rows = measured("random", RandomMasks(size=options.size), options)
    elif options.after:
        rows = headroom(options)
    elif options.learned:
        rows = learned(options)
    write_json(options.out, done + rows)


if __name__ == "__main__":
    main()
