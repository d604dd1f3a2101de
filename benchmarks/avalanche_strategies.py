"""Avalanche's SplitMNIST and PermutedMNIST-10 by SupSup and by Avalanche's own strategies; JSON.

    python benchmarks/avalanche_strategies.py --data DIR [--benchmark split-mnist|permuted-mnist]
        [--strategies NAME ...] [--epochs N] [--seeds S ...] [--out FILE]
    python benchmarks/avalanche_strategies.py --table    # of the rows in FILE

Needs `hopmask[avalanche]`, with a torchvision that fits torch. All strategies learn the same stream
in batches of 128, LeNet 300-100, the same number of epochs; none is given a task in evaluation.
`supsup` infers the task of each test image by itself, `supsup, batch` from the 128 images of a
mini-batch. Avalanche's strategies use Adam at 10⁻³, and the strengths of their penalties are those
of this file: nobody has tuned them here. A row has the accuracy over the whole test stream after
the last experience, and the median seconds of training an experience.
"""

import argparse
import gzip
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from common import read_json, write_json
from torch import nn

from supsup_bridge import SupSup
from supsup_bridge.runs.presets import preset

BATCH, TASKS = 128, {"split-mnist": 5, "permuted-mnist": 10}
EWC_LAMBDA, SI_LAMBDA = 100.0, 1.0
Made = Callable[[Any, int], Any]


def lenet(outputs: int) -> nn.Module:
    """LeNet 300-100."""
    sizes = (784, 300, 100)
    layers = [layer for n, m in pairwise(sizes) for layer in (nn.Linear(n, m), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(sizes[-1], outputs))


def own(name: str) -> Made:
    """A strategy of Avalanche's, by its name."""

    def make(options: argparse.Namespace, seed: int) -> Any:
        from avalanche.training import supervised

        torch.default_generator.manual_seed(seed)
        model = lenet(10)
        more = {"EWC": {"ewc_lambda": EWC_LAMBDA}, "SynapticIntelligence": {"si_lambda": SI_LAMBDA}}
        return getattr(supervised, name)(
            model=model,
            optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=BATCH,
            train_epochs=options.epochs,
            eval_mb_size=BATCH,
            evaluator=evaluator(),
            **more.get(name, {}),
        )

    return make


def supsup(infer: str) -> Made:
    """The strategy of this library, made as `supsup run` makes the learner of the benchmark."""

    def make(options: argparse.Namespace, seed: int) -> Any:
        from supsup_bridge.adapters.avalanche_strategy import SupSupStrategy

        split = options.benchmark == "split-mnist"
        training = preset(options.benchmark, "weight").training
        learner = SupSup(
            lenet(10 if split else 500),
            seed=seed,
            training=training,
            classes=2 if split else 10,
            **(
                {"signature": "patches", "signature_features": 4096, "signature_groups": 2}
                if split
                else {"objective": "G"}
            ),
        )
        return SupSupStrategy(
            learner,
            classes=10,
            infer=infer,
            train_mb_size=BATCH,
            train_epochs=options.epochs,
            eval_mb_size=BATCH,
            evaluator=evaluator(),
        )

    return make


STRATEGIES: dict[str, Made] = {
    "supsup": supsup("image"),
    "supsup, batch": supsup("batch"),
    "naive": own("Naive"),
    "EWC": own("EWC"),
    "SI": own("SynapticIntelligence"),
}


def evaluator() -> Any:
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin

    return EvaluationPlugin(accuracy_metrics(stream=True))


@contextmanager
def mnist(data: Path) -> Iterator[Path]:
    """A folder in which torchvision finds MNIST's files, unpacked."""
    source = data / "mnist" if (data / "mnist").is_dir() else data
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for path in source.glob("*-ubyte*"):
            content = gzip.decompress(path.read_bytes()) if path.suffix else path.read_bytes()
            (raw / path.stem).write_bytes(content)
        yield Path(folder)


def row(options: argparse.Namespace, name: str, seed: int, root: Path) -> dict[str, Any]:
    """Learn the stream by one strategy, and score it."""
    from avalanche.benchmarks.classic import PermutedMNIST, SplitMNIST

    tasks = options.tasks or TASKS[options.benchmark]
    make = SplitMNIST if options.benchmark == "split-mnist" else PermutedMNIST
    benchmark = make(tasks, seed=seed, dataset_root=root)
    strategy, seconds = STRATEGIES[name](options, seed), []
    for experience in benchmark.train_stream:
        start = time.perf_counter()
        strategy.train(experience, eval_streams=[])
        seconds.append(time.perf_counter() - start)
    metrics = strategy.eval(benchmark.test_stream)
    (accuracy,) = (value for key, value in metrics.items() if key.startswith("Top1_Acc_Stream"))
    return {
        "run": {
            "benchmark": options.benchmark,
            "tasks": tasks,
            "epochs": options.epochs,
            "strategy": name,
            "seed": seed,
        },
        "accuracy": accuracy,
        "seconds_per_task": median(seconds),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each strategy, the mean of its seeds."""
    lines = [
        "| benchmark | tasks | epochs | strategy | seeds | accuracy | s per task |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        key = {name: value for name, value in one["run"].items() if name != "seed"}
        groups.setdefault(json.dumps(key), []).append(one)
    for key, group in groups.items():
        cells = [*map(str, json.loads(key).values()), str(len(group))]
        cells += [f"{mean(one['accuracy'] for one in group):.4f}"]
        cells += [f"{median(one['seconds_per_task'] for one in group):.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path)
    add("--benchmark", default="split-mnist", choices=TASKS)
    add("--tasks", type=int, help="default: 5 of split-mnist, 10 of permuted-mnist")
    add("--strategies", nargs="+", default=[*STRATEGIES], choices=STRATEGIES)
    add("--epochs", type=int, default=3)
    add("--seeds", nargs="+", type=int, default=[0])
    add("--out", type=Path, default=Path("benchmarks/avalanche_strategies.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    warnings.filterwarnings("ignore", module="avalanche")
    with mnist(options.data) as root:
        for seed in options.seeds:
            for name in options.strategies:
                found = row(options, name, seed, root)
                write_json(options.out, [*read_json(options.out), found])
                print(table([found]).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
