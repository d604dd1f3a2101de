"""ResNet-50 on pictures in ImageNet's layout: what two tasks learn, weigh and take, as JSON.

    python benchmarks/split_imagenet.py --data TINY --folder FOLDER [--batches N] [--tasks N]
    python benchmarks/split_imagenet.py --table

TINY is Tiny ImageNet, or a part of it. Its files are linked into class folders, as those of
ImageNet lie (`FOLDER/imagenet/train/WNID/*.JPEG` and `val`), so that they are streamed, enlarged
and cropped to 224×224 pixels as ImageNet's are. The run is `supsup run split-imagenet --scenario
GG --batches N`, cut short; it is saved into FOLDER, loaded and asked again. A step of training is
timed on its own images, decoded by the DataLoader's workers beside it.
"""

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

import torch
from common import Quiet, read_json, write_json

from supsup_bridge import Experiment, RunSettings, SupSup, Task
from supsup_bridge.data.files import DataError

TAKEN = ("accuracy", "accuracy_per_task", "bytes", "seconds", "config", "versions")


class Losses(Quiet):
    """An observer that keeps every task's losses and the times of its steps."""

    def __init__(self) -> None:
        super().__init__(say=False)
        self.losses: list[list[float]] = []
        self.times: list[list[float]] = []

    def training(self, task: Task, number: int, step: int, steps: int, loss: float) -> None:
        if number == len(self.losses):
            self.losses.append([])
            self.times.append([])
        self.losses[number].append(loss)
        self.times[number].append(perf_counter())
        print(f"  task {number}, step {step} of {steps}: loss {loss:.4f}", flush=True)

    @property
    def seconds_per_step(self) -> float:
        return median(after - before for times in self.times for before, after in pairwise(times))


def linked(tiny: Path, folder: Path) -> Path:
    """Tiny ImageNet's files in ImageNet's layout, as links.

    Raises:
        DataError: there is no such set, or the folder holds links to another one.
    """
    root = tiny / "tiny-imagenet-200" if (tiny / "tiny-imagenet-200").is_dir() else tiny
    listed = root / "val" / "val_annotations.txt"
    if not listed.is_file():
        raise DataError(f"there is no {listed}: give --data the folder of Tiny ImageNet")
    links = {
        folder / "train" / path.parent.parent.name / path.name: path
        for path in root.glob("train/*/images/*")
    }
    for line in listed.read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        links[folder / "val" / wnid / name] = root / "val" / "images" / name
    if stale := {*folder.rglob("*.JPEG")} - links.keys():
        raise DataError(f"{min(stale)} is a link to another set: give another --folder")
    for link, path in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(path.resolve())
    return folder


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """One run, and what its saved learner predicts beside it."""
    data = linked(options.data, options.folder / "imagenet")
    settings = RunSettings(
        benchmark="split-imagenet",
        scenario="GG",
        network=options.network,
        tasks=options.tasks,
        classes_per_task=options.classes_per_task,
        hubs=options.hubs,
        batches=options.batches,
        evaluate_every=options.tasks,
        seed=options.seed,
    )
    run, seen = Experiment(settings, data=data), Losses()
    run.run(seen)
    run.save(options.folder / "learner")
    loaded, equal = SupSup.load(options.folder / "learner"), True
    for number in range(options.tasks):
        images = run.stream[number].scored_images[: options.compared]
        answers = [learner.predict(images, task=number).logits for learner in (run.learner, loaded)]
        equal &= torch.equal(*answers)
    result = run.result()
    parts = [(losses[: len(losses) // 4], losses[-(len(losses) // 4) :]) for losses in seen.losses]
    return {
        "run": {
            "tasks": options.tasks,
            "classes_per_task": options.classes_per_task,
            "batch": run.preset.training.batch,
            "batches": options.batches,
            "seed": options.seed,
            "hubs": options.hubs,
            "threads": torch.get_num_threads(),
        },
        "weights": sum(mask.numel() for mask in run.memory.recall(task=0).masks.values()),
        "losses": seen.losses,
        "loss_of_first_and_last_quarter": [[fmean(part) for part in both] for both in parts],
        "seconds_per_step": seen.seconds_per_step,
        "reloaded_predictions_equal": equal,
        "memory_file": (options.folder / "learner" / "memory.h5").stat().st_size,
        **{name: result[name] for name in TAKEN},
    }


def table(done: list[dict[str, Any]]) -> str:
    """A line for each row."""
    lines = [
        "| tasks | batches of images | loss, first and last quarter | accuracy | reloaded equal "
        "| seconds per step | threads | memory, MB | file, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in done:
        run = row["run"]
        quarters = row["loss_of_first_and_last_quarter"]
        cells = [
            f"{run['tasks']} × {run['classes_per_task']}",
            f"{run['batches']} of {run['batch']}",
            "; ".join(f"{first:.3f}, {last:.3f}" for first, last in quarters),
            f"{row['accuracy']:.3f}",
            "yes" if row["reloaded_predictions_equal"] else "no",
            f"{row['seconds_per_step']:.1f}",
            str(run["threads"]),
            f"{row['bytes']['memory'] / 1e6:.0f}",
            f"{row['memory_file'] / 1e6:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, help="Tiny ImageNet")
    add("--folder", type=Path, help="where the links and the learner go")
    add("--network", default="resnet50")
    add("--tasks", type=int, default=2)
    add("--classes-per-task", type=int, default=10)
    add("--hubs", type=int, default=2)
    add("--batches", type=int, default=16)
    add("--compared", type=int, default=32, help="scored images of each task that are asked again")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("benchmarks/split_imagenet.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    if options.batches < 4:
        parser.error("give --batches of at least 4, for the loss of the first and the last quarter")
    if options.data is None or options.folder is None:
        parser.error("give --data, Tiny ImageNet, and --folder, a place for links and learner")
    row = measured(options)
    write_json(options.out, [*read_json(options.out), row])
    print(table([row]))


if __name__ == "__main__":
    main()
