"""Figures that others published of the learners that SupSup is compared with, measured here; JSON.

    python benchmarks/published.py --data DIR [--learners NAME ...] [--seeds S ...] [--out FILE]
    python benchmarks/published.py --table    # of the rows in FILE

A learner is trained as its figure was: the network (without biases), epochs, batch, optimiser and
rate of the source. Where Avalanche's code takes another number for the same thing, the comment at
the figure says how it follows. A figure is reproduced if the mean over the seeds lies within two
points of it. Accuracy is the mean over the tasks after the last. Rows are written as they come;
those that stand in the file are not made again.

What differs: Adam's rate decays, each task begins with a new state of the optimiser, and plain SGD
is SGD with momentum 0.9 at a tenth of the rate. EWC squares gradients at the labels given, there at
the labels predicted. Replay takes as many steps as without it, and as many images again in each;
there old and new images share the batches of twice the steps. GEM's memory is cut for all tasks
from the start. Hsu et al.'s code has neither LwF nor generative replay, whose epochs here are those
of its other learners. WSN's last epoch counts, there the best on images held out; its share of
weights is an argument there, and half here.
"""

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from common import read_json, spread, write_json
from torch import nn

from supsup_bridge import TrainingSettings
from supsup_bridge.adapters.rivals.learners import maker_of
from supsup_bridge.continual.baselines.scoring import score_baseline
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.networks.fixed import mlp
from supsup_bridge.rng import stream
from supsup_bridge.training.data import lesson_data

WITHIN = 0.02


def fc_400_400(inputs: int, outputs: int) -> nn.Module:
    """Two hidden layers of 400 units."""
    return mlp([inputs, 400, 400, outputs])


def fc_256_256(inputs: int, outputs: int) -> nn.Module:
    """Two hidden layers of 256 units."""
    return mlp([inputs, 256, 256, outputs])


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a published figure was measured."""

    source: str
    benchmark: str
    tasks: int
    classes: int
    network: str
    epochs: int
    batch: int
    rate: float = 1e-3
    optimiser: str = "adam"

    @property
    def training(self) -> TrainingSettings:
        return TrainingSettings(
            epochs=self.epochs,
            batch=self.batch,
            rate=self.rate,
            optimiser=self.optimiser,
            averaging=0.0,
            contrast=0.0,
        )


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Accuracies of a learner by scenario, as published."""

    learner: str
    setting: Setting
    published: Mapping[str, float]
    options: Mapping[str, Any] = field(default_factory=dict)


_HSU: dict[str, Any] = {
    "source": "Hsu et al. 2018, Table 2",
    "benchmark": "split-mnist",
    "tasks": 5,
    "classes": 2,
    "network": "published:fc_400_400",
    "epochs": 4,
    "batch": 128,
}
HSU = Setting(**_HSU)
HSU_SGD = Setting(**_HSU, optimiser="sgd", rate=1e-3)  # plain SGD's 0.01
PERMUTED = Setting(
    source="continual-learning-baselines, target_results.csv",
    benchmark="permuted-mnist",
    tasks=17,
    classes=10,
    network="published:fc_256_256",
    epochs=1,
    batch=10,
    optimiser="sgd",
    rate=0.01,  # plain SGD's 0.1
)
KANG = Setting(
    source="Kang et al. 2022, PermutedMNIST",
    benchmark="permuted-mnist",
    tasks=10,
    classes=10,
    network="fc-100-100",
    epochs=5,
    batch=10,
)
FIGURES = (
    Figure(
        learner="lower-bound",
        setting=HSU,
        published={"GG": 0.9346, "GNs": 0.5516, "GNu": 0.1971},
    ),
    Figure(
        learner="ewc",
        setting=HSU,
        published={"GG": 0.9770, "GNs": 0.5885},
        options={"strength": 100.0 * 128},  # squares are of an image's gradient, here of a batch's
    ),
    Figure(
        learner="ewc",
        setting=HSU,
        published={"GNu": 0.1980},
        options={"strength": 600.0 * 128},
    ),
    *(  # Avalanche halves the strength, and cuts Ω off at 10⁻³
        Figure(
            learner="si",
            setting=HSU,
            published={scenario: accuracy},
            options={"strength": 2 * coefficient, "damping": 0.1},
        )
        for scenario, accuracy, coefficient in (
            ("GG", 0.9856, 300.0),
            ("GNs", 0.6476, 3000.0),
            ("GNu", 0.1967, 600.0),
        )
    ),
    Figure(
        learner="lwf",
        setting=HSU,
        published={"GG": 0.9960, "GNs": 0.7102, "GNu": 0.2417},
        options={"strength": 4.0},  # T² = 4; the method's first code has T² times tasks before
    ),
    Figure(
        learner="replay",
        setting=HSU,
        published={"GG": 0.9940, "GNs": 0.9516, "GNu": 0.9078},
        options={"buffer": 1100},
    ),
    Figure(
        learner="gem",
        setting=HSU_SGD,
        published={"GG": 0.9842, "GNs": 0.9616, "GNu": 0.9220},
        options={"buffer": 1100, "strength": 0.5},
    ),
    Figure(
        learner="a-gem",
        setting=PERMUTED,
        published={"GNs": 0.81},
        options={"buffer": 17 * 250, "sample": 256},
    ),
    Figure(
        learner="generative-replay",
        setting=HSU,
        published={"GNs": 0.9574, "GNu": 0.9124},
        options={"latent": 100},
    ),
    Figure(learner="wsn", setting=KANG, published={"GG": 0.9641}, options={"share": 0.5}),
)


def measured(figure: Figure, scenario: str, seed: int, data: Path) -> list[float]:
    """Learn all tasks one by one; the accuracy on each at the end."""
    setting = figure.setting
    tasks = task_stream(setting.benchmark, seed=seed, tasks=setting.tasks, data=data)
    learner = maker_of(figure.learner)(
        figure.learner,
        network=setting.network,
        inputs=tasks[0].train_images.shape[1],
        classes=setting.classes,
        tasks=setting.tasks,
        scenario=scenario,
        training=setting.training,
        seed=seed,
        **figure.options,
    )
    for number in range(setting.tasks):
        learner.learn(lesson_data(tasks[number]))
    scores = [
        score_baseline(
            learner,
            tasks[number],
            number,
            scenario=scenario,
            protocol="image",
            samples=1,
            generator=stream(seed, "evaluation", number),
            device=torch.device("cpu"),
        )
        for number in range(setting.tasks)
    ]
    return [score.accuracy(scenario) for score in scores]


def rows_of(figure: Figure, seeds: list[int], done: list[Any], data: Path) -> Iterator[Any]:
    """The rows of a figure that are not done."""
    for seed in seeds:
        for scenario, published in figure.published.items():
            run = {"learner": figure.learner, "scenario": scenario, "seed": seed}
            run |= {"setting": asdict(figure.setting), "options": dict(figure.options)}
            if run in done:
                continue
            began = time.monotonic()
            found = measured(figure, scenario, seed, data)
            yield {
                "run": run,
                "published": published,
                "accuracy": mean(found),
                "accuracy_per_task": found,
                "seconds": time.monotonic() - began,
                "versions": {"torch": torch.__version__},
            }


def _matches(run: dict[str, Any], figure: Figure) -> bool:
    """Whether a row is of a figure as it stands here, and not of other settings once tried."""
    own = (figure.learner, asdict(figure.setting), dict(figure.options))
    return own == (run["learner"], run["setting"], run["options"])


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each learner and scenario."""
    lines = [
        "| learner | scenario | source | published | here | seeds | within two points |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        run = row["run"]
        if any(_matches(run, figure) for figure in FIGURES):
            key = (run["learner"], run["scenario"], run["setting"]["source"])
            groups.setdefault(key, []).append(row)
    for key in sorted(groups):
        found = [row["accuracy"] for row in groups[key]]
        published = groups[key][0]["published"]
        apart = mean(found) - published
        right = "yes" if abs(apart) < WITHIN else "above" if apart > 0 else "no"
        cells = [*key, f"{published:.4f}", spread(found), str(len(found)), right]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(dict.fromkeys(figure.learner for figure in FIGURES))
    add = parser.add_argument
    add("--data", type=Path)
    add("--learners", nargs="+", default=names, choices=names)
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--out", type=Path, default=Path("benchmarks/published.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    for figure in FIGURES:
        if figure.learner in options.learners:
            done = [row["run"] for row in read_json(options.out)]
            for row in rows_of(figure, options.seeds, done, options.data):
                write_json(options.out, [*read_json(options.out), row])
                print(table([row]).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
