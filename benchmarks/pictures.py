"""CIFAR-100 and Tiny ImageNet with the task given (GG), gem-resnet18: accuracy over bytes, as JSON.

    python benchmarks/pictures.py --data DIR [--benchmark B] [--classes-per-task N] [--tasks N]
        [--epochs N] [--sparsity S ...] [--masks KIND] [--mask-init START] [--seed S]
        [--augment strong|crop-flip|none] [--memory hopfield|bank]
    python benchmarks/pictures.py --table     # of the rows in FILE
    python benchmarks/pictures.py --plot PNG  # split-cifar100: accuracy over bytes per task

Each row has the figures of one `supsup run BENCHMARK --scenario GG`. A sparsity is a share of
the weights, such as 1/8, or `none` for thresholded scores; several are run one after the other. A
run keeps its state in a folder of its own under `--runs`, and is on the disk after each task: the
same command continues it where it was killed. Runs that stand in FILE are not made again. The
learner is saved there, too, for `task_inference.py`. Of a part of a data set, `--images` is the
number of its training images of a class.

The paper's sparsities 1, 2, 4, 8, 16 and 32 are factors of (n_in + n_out) / number of weights; of
this network they keep 0.26, 0.53, 1.0, 2.0, 3.9 and 7.5 % of the weights.
"""

import argparse
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from common import FIGURES, continued, figures, read_json, write_json
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from supsup_bridge import Experiment, RunSettings, Task
from supsup_bridge.continual.building import device_named
from supsup_bridge.networks.precision import precision_on
from supsup_bridge.runs import checkpoint
from supsup_bridge.runs.presets import preset, resolved

IMAGES = 500  # of a class, to train on, in either set
CLASSES = {
    "split-cifar100": 5,
    "split-tiny-imagenet": 10,
    "split-tiny-imagenet-32": 10,
}  # of a task
TAUGHT = ("batch", "rate", "averaging", "smoothing", "mixup", "augment", "precision")
PAPER = {"the paper": 0.8957, "the paper, Transfer": 0.9166}  # the best, after 250 epochs


class Kept:
    """An observer that prints every task, and keeps the run's state after it."""

    def __init__(self, checkpoints: checkpoint.Checkpoints) -> None:
        self.checkpoints = checkpoints

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None: ...

    def evaluated(self, task: Task, number: int, after: int, accuracy: float) -> None:
        if number == after:
            print(f"  task {number}: {accuracy:.4f}", flush=True)

    def learned(self, task: Task, number: int) -> None:
        self.checkpoints.write()


def settings_of(options: argparse.Namespace, sparsity: float | None) -> RunSettings:
    """The settings of a run; so many epochs are so many batches."""
    training = preset(options.benchmark, options.masks).training
    per_epoch = ceil(options.images * options.classes_per_task / training.batch)
    return RunSettings(
        benchmark=options.benchmark,
        scenario="GG",
        network="gem-resnet18",
        memory=options.memory,
        masks=options.masks,
        mask_init=options.mask_init,
        sparsity=sparsity,
        tasks=options.tasks,
        classes_per_task=options.classes_per_task,
        batches=options.epochs * per_epoch,
        augment=options.augment,
        train_in=precision_on("auto", device_named("auto")),
        evaluate_every=options.tasks,
        seed=options.seed,
    )


def finished(settings: RunSettings, folder: Path, *, data: Path | None, images: int) -> Experiment:
    """The run of these settings, from where it stopped in a folder, to its end.

    Args:
        settings: of the run.
        folder: its own.
        data: of the data set.
        images: that each class is to have, to train on.

    Raises:
        RuntimeError: the folder holds a run of other settings, or the data has other images.
    """
    check = partial(check_images, images=images)
    with continued(settings, folder, data=data, check=check) as (experiment, checkpoints):
        experiment.run(Kept(checkpoints), pause=checkpoints)
    experiment.save(folder)  # for task_inference.py
    return experiment


def check_images(experiment: Experiment, images: int) -> None:
    """Raise RuntimeError unless a class of the run has so many training images."""
    task = experiment.stream[0]
    if len(task.train_labels) != images * task.classes:
        found = len(task.train_labels) / task.classes
        raise RuntimeError(f"a class has {found:g} training images: give --images {found:g}")


def key_of(options: argparse.Namespace, settings: RunSettings) -> dict[str, Any]:
    """What tells runs apart."""
    names = ("benchmark", "tasks", "classes_per_task", "epochs", "masks", "mask_init", "memory")
    training = asdict(resolved(settings).training)
    return {
        **{name: getattr(options, name) for name in (*names, "seed")},
        "sparsity": settings.sparsity,
        "training": {name: training[name] for name in TAUGHT},
    }


def table(done: list[dict[str, Any]]) -> str:
    """A line for each row."""
    lines = [
        "| benchmark | masks | start | sparsity | tasks × classes | epochs | images | trained in "
        "| seed | accuracy | least task | memory, MB | packed, MB | sparse columns, MB | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in done:
        run, sizes = row["run"], row["bytes"]
        share = (
            "–" if run["sparsity"] is None else str(Fraction(run["sparsity"]).limit_denominator(99))
        )
        learned = [accuracy for accuracy in row["accuracy_per_task"] if accuracy is not None]
        cells = [
            *(run["benchmark"], run["masks"], run["mask_init"], share),
            f"{run['tasks']} × {run['classes_per_task']}",
            *(str(run["epochs"]), run["training"]["augment"] or "as they are"),
            *(run["training"]["precision"], str(run["seed"])),
            *(f"{row['accuracy']:.4f}", f"{min(learned):.3f}"),
            *(f"{sizes[name] / 1e6:.2f}" for name in ("memory", "packed_masks", "csc_masks")),
            f"{row['seconds']['total'] / 60:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(done: list[dict[str, Any]]) -> Figure:
    """Accuracy over the bytes of a task's mask, as a packed list and as sparse columns."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in done:
        run = row["run"]
        if run["benchmark"] != "split-cifar100" or run["classes_per_task"] != 5:
            continue
        label = f"{run['masks']}, {run['mask_init']}, {run['tasks']} tasks, {run['epochs']} epochs"
        groups.setdefault(label, []).append(row)
    for number, (label, rows) in enumerate(groups.items()):
        for name, marker in (("csc_masks", "o"), ("packed_masks", "s")):
            points = sorted(
                (row["bytes"][name] / row["run"]["tasks"] / 1e3, row["accuracy"]) for row in rows
            )
            style = "-" if name == "csc_masks" else ":"
            words = "sparse columns" if name == "csc_masks" else "packed"
            axis.plot(
                *zip(*points, strict=True),
                linestyle=style,
                marker=marker,
                color=f"C{number % 10}",
                markersize=4,
                label=f"{label}: {words}",
            )
    for name, accuracy in PAPER.items():
        axis.axhline(accuracy, color="grey", linestyle="--", linewidth=0.8)
        axis.annotate(
            name,
            (0.01, accuracy),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            fontsize=7,
        )
    axis.margins(y=0.1)
    axis.set(xlabel="kB of a task's mask", ylabel="accuracy, task given", xscale="log")
    axis.set_title("split-cifar100, gem-resnet18", fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=6)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path)
    add("--benchmark", default="split-cifar100", choices=CLASSES)
    add("--classes-per-task", type=int, help="default: 5 of CIFAR-100, 10 of Tiny ImageNet")
    add("--tasks", type=int, help="default: those of 100 classes")
    add("--images", type=int, default=IMAGES, help="training images of a class")
    add("--epochs", type=int, default=40)
    add("--sparsity", nargs="+", default=["none"], help="shares such as 1/8, or none")
    add("--augment", help="strong, crop-flip or none (default: the benchmark's)")
    add("--masks", default="weight", help="weight or signed")
    add("--mask-init", default="random")
    add("--memory", default="hopfield")
    add("--seed", type=int, default=0)
    add("--runs", type=Path, default=Path("runs/pictures"))
    add("--out", type=Path, default=Path("benchmarks/pictures.json"))
    add("--table", action="store_true")
    add("--plot", type=Path)
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    if options.plot:
        plot(read_json(options.out)).savefig(options.plot, dpi=120)
        return
    options.classes_per_task = options.classes_per_task or CLASSES[options.benchmark]
    options.tasks = options.tasks or 100 // options.classes_per_task
    for text in options.sparsity:
        sparsity = None if text == "none" else float(Fraction(text))
        settings = settings_of(options, sparsity)
        run = key_of(options, settings)
        if any(row["run"] == run for row in read_json(options.out)):
            print(f"{run} stands in {options.out}", flush=True)
            continue
        print(run, flush=True)
        named = [str(value) for name, value in run.items() if name != "training"]
        folder = options.runs / "-".join([*named, run["training"]["augment"] or "none"])
        experiment = finished(settings, folder, data=options.data, images=options.images)
        given = {name: run[name] for name in ("tasks", "masks", "memory", "seed", "sparsity")}
        row = {"run": run, **figures(experiment, given, FIGURES)}
        done = [*read_json(options.out), row]  # other runs may have added theirs
        write_json(options.out, done)
        print(table([row]).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
