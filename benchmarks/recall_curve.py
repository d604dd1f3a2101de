"""Exact recall over the number of tasks: ways of recall, learning rules, the paper's schedule.

    python benchmarks/recall_curve.py --data DIR --learned bank.h5 --masks hashed
    python benchmarks/recall_curve.py --data DIR --learned unit.h5 --masks unit --images 64
    python benchmarks/recall_curve.py --plot benchmarks/recall_curve.png

`--learned` is a bank of PermutedMNIST's masks, as `benchmarks/recall.py` makes it. One memory per
rule takes the masks one by one; at some numbers of tasks they are recalled

- by entropy alone, by content address alone and by both, from `--images` images of the recall part;
- by the paper's schedule, 64 fresh images at each of 30 steps;
- by number, by half of a key, and by the masks with 10 % of their bits turned, for every task.

An answer counts if it is the learned mask, bit for bit.
"""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import read_json, write_json
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from hopmask import MaskMemory, OverloadWarning
from hopmask.memory.health import recalled_by_key
from supsup_bridge import Experiment, MaskBank, RunSettings, TaskInference
from supsup_bridge.inference.paper import PAPER_STEPS, PaperInference
from supsup_bridge.inference.recall import RecallInference
from supsup_bridge.rng import stream

POINTS = (5, 10, 20, 50, 100, 175, 250)
WAYS = ("entropy", "address", "both", "paper")
STYLES = {"storkey": "-", "projection": "--", "storkey-matrix": "-.", "hebbian": ":"}
LEARNED = 2048  # images of a task that the address learns from
POOL = 1024  # images from which each step of the paper's schedule draws 64
TURNED = 0.1  # share of a mask's bits


class Curves:
    """Measures one memory after another on the masks of one bank."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.bank = MaskBank.load(options.learned)
        self.options = options
        settings = RunSettings(
            benchmark=options.benchmark,
            masks=options.masks,
            bits=options.bits,
            output_size=options.output_size,
            seed=options.seed,
            tasks=self.bank.count,
            infer_samples=options.images,
            device="cpu",
        )
        self.run = Experiment(settings, data=options.data, learned=self.bank)

    def rows(self, rule: str) -> Iterator[list[dict[str, Any]]]:
        """The measurements at each number of tasks, one after the other."""
        preset = self.run.preset
        points = [point for point in self.options.points if point <= self.bank.count]
        by_data = rule in self.options.by_data
        memory = MaskMemory(
            self.run.network.mask_sizes,
            rule=rule,
            seed=self.options.seed,
            key_bits=preset.key_bits,
            signature_features=preset.features if by_data else 0,
        )
        for number in range(max(points)):
            images = self.run.stream[number].train_images[:LEARNED] if by_data else None
            memory.store(self.bank.recall(task=number).masks, signature=images)
            if number + 1 in points:
                yield self._measured(memory)

    def _measured(self, memory: MaskMemory) -> list[dict[str, Any]]:
        figures = {
            "number": self._by_key(memory, 1),
            "half key": self._by_key(memory, 0.5),
            "damaged": self._damaged(memory),
        }
        if memory.rule.name in self.options.by_data:
            for way in self.options.ways:
                figures[way] = self._by_data(memory, way)
        common = {
            "masks": self.options.masks,
            "outputs": self.run.preset.outputs,
            "seed": self.options.seed,
            "rule": memory.couplings.rule.name,
            "tasks": memory.count,
            "spins": memory.couplings.size,
        }
        rows = [{**common, "way": way, "exact": exact} for way, exact in figures.items()]
        for row in rows:
            row["images"] = self.options.images if row["way"] in WAYS else None
            if row["way"] == "paper":
                row["images"] = 64 * PAPER_STEPS
            print(row, flush=True)
        return rows

    def _by_data(self, memory: MaskMemory, way: str) -> float:
        network, recalls = self.run.network, self.options.recalls
        inference: TaskInference = RecallInference(
            network=network, memory=memory, recall="both" if way == "paper" else way
        )
        generator = stream(self.options.seed, "curve", memory.count)
        if way == "paper":
            recalls = min(recalls, 32)
            inference = PaperInference(network=network, memory=memory, generator=generator)
        tasks = torch.linspace(0, memory.count - 1, recalls).round().long()
        pool = POOL if way == "paper" else self.options.images
        drawn = []
        for task in tasks.tolist():
            images = self.run.stream[task].inference_images
            drawn.append(images[torch.randperm(len(images), generator=generator)[:pool]])
        found = inference.infer(torch.stack(drawn))
        return float(self._exact(found.masks, tasks).double().mean())

    def _by_key(self, memory: MaskMemory, share: float) -> float:
        """Recall all tasks by a share of their keys."""
        tasks, code = torch.arange(memory.count), memory.code
        state, _, _ = recalled_by_key(
            memory.couplings,
            code,
            tasks,
            bits=int(share * memory.key_bits),
            numbered=memory.numbered,
        )
        masks = {name: spins > 0 for name, spins in code.layout.split(state).items()}
        return float(self._exact(masks, tasks).double().mean())

    def _damaged(self, memory: MaskMemory) -> float:
        generator = stream(self.options.seed, "damage", memory.count)
        cues: dict[str, list[Tensor]] = {name: [] for name in memory.shapes}
        for task in range(memory.count):
            for name, mask in self.bank.recall(task=task).masks.items():
                turned = torch.rand(mask.shape, generator=generator) < TURNED
                cues[name].append((mask ^ turned).float())
        hit = memory.recall(cue={name: torch.stack(parts) for name, parts in cues.items()})
        return float(self._exact(hit.masks, torch.arange(memory.count)).double().mean())

    def _exact(self, masks: dict[str, Tensor], tasks: Tensor) -> Tensor:
        """Whether masks (b, *size) are those learned for tasks (b,), or () for all rows."""
        rows = len(next(iter(masks.values())))
        right = torch.ones(rows, dtype=torch.bool)
        for row, task in enumerate(tasks.expand(rows).tolist()):
            learned = self.bank.recall(task=task).masks
            right[row] = all(torch.equal(masks[name][row], learned[name]) for name in learned)
        return right


def plot(rows: list[dict[str, Any]]) -> Figure:
    """A panel for each kind of mask by data, and one by number and by damaged masks."""
    kinds = sorted({(r["masks"], r["outputs"], r["images"]) for r in rows if r["way"] == "entropy"})
    if len({row["seed"] for row in rows}) != 1:
        raise SystemExit("the plot takes measurements of one seed, and one number of images a kind")
    figure = Figure(figsize=(5.4 * len(kinds), 8.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(kinds), squeeze=False, sharey=True)
    for column, (masks, outputs, images) in enumerate(kinds):
        of = [r for r in rows if (r["masks"], r["outputs"]) == (masks, outputs)]
        for axis, ways in (
            (axes[0][column], WAYS),
            (axes[1][column], ("number", "half key", "damaged")),
        ):
            for rule in STYLES:
                for color, way in enumerate(ways):
                    line = sorted(
                        (r["tasks"], r["exact"]) for r in of if (r["rule"], r["way"]) == (rule, way)
                    )
                    if line:
                        axis.plot(
                            *zip(*line, strict=True),
                            STYLES[rule],
                            color=f"C{color}",
                            marker="o",
                            markersize=3,
                            label=f"{way}, {rule}",
                        )
            axis.set_xlabel("tasks")
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7)
        axes[0][column].set_title(f"{masks} masks, {outputs} outputs, {images} image(s) per recall")
        axes[0][column].set_ylabel("exact recall")
        axes[1][column].set_ylabel("exact recall by number or damaged mask")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path)
    add("--learned", type=Path)
    add("--masks", default="hashed")
    add("--output-size", type=int)
    add("--seed", type=int, default=0)
    add("--images", type=int, default=1)
    add("--recalls", type=int, default=100, help="at each point and way")
    add("--points", type=int, nargs="+", default=POINTS)
    add("--rules", nargs="+", default=list(STYLES))
    add("--by-data", nargs="+", default=["storkey", "projection"], help="rules that recall by data")
    add("--benchmark", default="permuted-mnist", help="of the learned masks")
    add("--bits", type=int, help="of the learned masks (default: the benchmark's)")
    add("--ways", nargs="+", default=WAYS)
    add("--out", type=Path, default=Path("benchmarks/recall_curve.json"))
    add("--plot", type=Path)
    options = parser.parse_args()
    done = read_json(options.out)
    if options.plot:
        plot(done).savefig(options.plot, dpi=110)
        return
    curves = Curves(options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        for rule in options.rules:
            for rows in curves.rows(rule):
                new = {_key(row) for row in rows}
                done = [row for row in done if _key(row) not in new] + rows
                write_json(options.out, done)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a measurement is of."""
    return tuple(value for name, value in sorted(row.items()) if name != "exact")


if __name__ == "__main__":
    main()
