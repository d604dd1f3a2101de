"""SupSup with an explicit bank of weight masks: the figures of the README's tables, as JSON.

    python benchmarks/supsup.py --data DIR [--only NAME ...] [--seed S] [--out FILE]
    python benchmarks/supsup.py --table    # of the rows in FILE, as in the README
    python benchmarks/supsup.py --plot PNG # accuracy over tasks, and Transfer over batches

NAME is one of permuted, rotated, split, stream (NNs), transfer; `--only` replaces the rows of these
names and of the seed and leaves the others in FILE. Each row has the figures of one
`supsup run --memory bank` with the options of the row. Runs that differ in the task inference alone
learn the same masks, so the masks are trained once and the last evaluation is made anew: such a row
has no forgetting, no curve before it, and the seconds of that evaluation alone. Rows are written as
they come.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import FIGURES, Quiet, figures, read_json, write_json
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from supsup_bridge import Experiment, RunSettings

KEPT = (
    *FIGURES,
    *("forgetting", "backward_transfer", "infer_samples", "network", "curve", "novelty"),
)
NAMES = ("permuted", "rotated", "split", "stream", "transfer")
INFERENCES = ("one-shot", "binary", "descent", "try-all", "argmax")


def runs(name: str, seed: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """A run's options, and with what other ways of inference it is scored anew."""
    common = {"memory": "bank", "seed": seed}
    if name == "permuted":
        run = {"benchmark": "permuted-mnist", "tasks": 250, "scenario": "GNu", **common}
        yield run, [{"infer_samples": 8}]
    elif name == "rotated":
        run = {"benchmark": "rotated-mnist", "tasks": 36, "scenario": "GNu", **common}
        run |= {"infer_samples": 128, "evaluate_every": 36}
        yield run, [{"inference": "try-all"}]
    elif name == "split":
        run = {"benchmark": "split-mnist", "scenario": "GNu", "infer_samples": 1, **common}
        ways: list[dict[str, Any]] = [{"inference": way} for way in INFERENCES[1:]]
        ways += [{"inference": way, "objective": "G"} for way in INFERENCES[:3]]
        yield {**run, "inference": "one-shot"}, ways
    elif name == "stream":
        for scenario in ("GNs", "NNs"):
            run = {"benchmark": "permuted-mnist", "tasks": 50, "scenario": scenario, **common}
            yield {**run, "evaluate_every": 10}, []
    elif name == "transfer":
        for batches in (100, 300, 1000):
            for init in ("random", "mean"):
                run = {"benchmark": "permuted-mnist", "tasks": 20, "scenario": "GG", **common}
                run |= {"batches": batches, "mask_init": init, "evaluate_every": 20}
                yield run, []


def anew(experiment: Experiment, change: dict[str, Any]) -> None:
    """Score all tasks once more by another way of inference."""
    experiment.change_inference(replace(experiment.settings, **change))
    experiment.evaluate(Quiet())


def table(done: list[dict[str, Any]]) -> str:
    """A line for each row."""
    lines = [
        "| run | options | tasks | images | accuracy | task given | task right | masks |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in done:
        hidden = ("benchmark", "memory", "tasks", "infer_samples", "scenario", "evaluate_every")
        options = ", ".join(f"{k} {v}" for k, v in row["options"].items() if k not in hidden)
        figures = [
            "–" if row[key] is None else f"{row[key]:.4f}"
            for key in ("accuracy", "accuracy_given_task", "task_inference_accuracy")
        ]
        cells = [
            f"{row['options']['benchmark']} {row['options']['scenario']}",
            options,
            str(row["curve"][-1]["tasks"]),
            str(row["infer_samples"]),
            *figures,
            str(row["masks_allocated"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(done: list[dict[str, Any]]) -> Figure:
    """PermutedMNIST over the number of tasks, and Transfer against a random start."""
    figure = Figure(figsize=(9.6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    curve, transfer = figure.subplots(1, 2)
    first = next(row for row in done if row["name"] == "permuted")
    tasks = [point["tasks"] for point in first["curve"]]
    for key, style in (("accuracy_given_task", "--"), ("accuracy", "-")):
        values = [point[key] for point in first["curve"]]
        curve.plot(tasks, values, style, marker="o", markersize=3, label=key)
    curve.set(xlabel="tasks learned", ylabel="average accuracy", title="permuted-mnist, GNu")
    for init in ("random", "mean"):
        rows = [
            row for row in done if row["name"] == "transfer" and row["options"]["mask_init"] == init
        ]
        batches = [row["options"]["batches"] for row in rows]
        transfer.plot(batches, [row["accuracy"] for row in rows], marker="o", label=init)
    transfer.set(xlabel="batches per task", title="permuted-mnist, GG: start of the scores")
    for axis in (curve, transfer):
        axis.grid(alpha=0.3)
        axis.legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    for name in ("tasks", "batches", "infer-samples"):
        parser.add_argument(f"--{name}", type=int, help="in place of every run's own, for a look")
    parser.add_argument("--benchmark", help="in place of every run's own, for a look")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/supsup.json"))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    done = read_json(options.out)
    if options.table:
        print(table(done))
        return
    if options.plot:
        plot(done).savefig(options.plot, dpi=120)
        return
    done = [
        row
        for row in done
        if row["name"] not in options.only or row["options"]["seed"] != options.seed
    ]
    small = {name: getattr(options, name) for name in ("benchmark", "tasks", "batches")}
    small |= {"infer_samples": options.infer_samples}
    small = {name: value for name, value in small.items() if value is not None}
    for name in options.only:
        for first, others in runs(name, options.seed):
            first |= small
            print(first, flush=True)
            experiment = Experiment(RunSettings(**first), data=options.data)
            experiment.run(Quiet())
            for change in ({}, *others):
                if change:
                    anew(experiment, change)
                row = figures(experiment, {**first, **change}, KEPT)
                done.append({"name": name, **row})
                write_json(options.out, done)
                print(table(done[-1:]).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
