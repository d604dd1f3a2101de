"""Every learner on equal terms: accuracy by scenario, forgetting, bytes and seconds; as JSON.

    python benchmarks/rivals.py --tune --data DIR [--benchmarks NAME ...] [--learners NAME ...]
    python benchmarks/rivals.py --data DIR [--benchmarks ...] [--learners ...] [--seeds S ...]
        [--minutes M]
    python benchmarks/rivals.py --table
    python benchmarks/rivals.py --plot PNG

All learners see the same tasks, take the same training steps and are scored on the same images; a
task that is not given is inferred for each image by itself (`--protocol image`). A learner that
compares tasks is scored a second time with 128 images of a task for each inference, as in the
paper; outputs that all tasks share are read for each image either way. The networks are the same,
with the superfluous outputs of SupSup's preset where a learner compares tasks, and one output for
each class where its task is given. `--tune` tries six settings of a baseline on held-out training
images (of tasks drawn by another seed; on the split sets of digits they are the same tasks), and
adds what it found to TUNING, which the runs read: a baseline that was not tuned is not run. Tuning
sees two or three tasks alone, so that it says little of what a learner forgets over many. BatchE
has the rank at which a task takes about as many bytes as a packed mask. The settings of SupSup are
its presets, chosen before on held-out images, with more trials than six; of LeNet-5 on
split-cifar100 they are those of the ResNet. A learner that compares tasks, as SupSup does, learns
the same in GNs and GNu, so that one run gives both. NNs is run, and tuned, where a learner can.
split-cifar100 is learned by LeNet-5, since Avalanche's learners share the statistics of batch
norms, and its PackNet takes none; split-cifar100-resnet is the paper's comparison with separate
heads and BatchE, the task given. Rows are written as they come; those that stand in the file are
not made again.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from common import Quiet, held_out, read_json, spread, write_json
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hopmask import NumericalError
from supsup_bridge import BaselineRun, Experiment, RunSettings, Task
from supsup_bridge.adapters.rivals.learners import maker_of
from supsup_bridge.continual.baselines.scoring import score_baseline
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.rng import stream
from supsup_bridge.runs.baseline_presets import Tuned
from supsup_bridge.runs.learners import LEARNERS, OURS, READ_OUT, RIVALS
from supsup_bridge.runs.presets import preset

SCENARIOS = ("GG", "GNs", "GNu", "NNs")
BATCH = 128  # images of a task that infer it, the paper's
BATCHED = ("GNu", "NNs")  # scenarios for which the accuracy from so many is shown
_CIFAR = {"tasks": 5, "batches": 400, "augment": "crop-flip"}  # 20 epochs
_RESNET = "split-cifar100-resnet"  # the paper's comparison
BENCHMARKS: dict[str, dict[str, Any]] = {  # and what its runs have beside its presets
    "split-mnist": {"tasks": 5},
    "permuted-mnist": {"tasks": 20, "batches": 500},
    "split-cifar100": {"network": "lenet-5", **_CIFAR},
    _RESNET: {"network": "gem-resnet18", **_CIFAR},
}
STREAMS = {name: name for name in BENCHMARKS} | {_RESNET: "split-cifar100"}  # `supsup run NAME`
TUNED_ON = {
    **{"split-mnist": (3, None), "permuted-mnist": (3, 500)},
    **{"split-cifar100": (2, 400), _RESNET: (2, 400)},
}
TUNING_SEED = 100
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)  # of which a learner with a choice tries the middle
MIDDLE = RATES[1:4]
LOWER = tuple(rate / 10 for rate in RATES)  # where the best of RATES was the least, or near it
CHOICES: dict[str, tuple[dict[str, Any], ...]] = {  # two of a learner, with three rates each
    "xdg": ({"silent": 0.8}, {"silent": 0.5}),
    "wsn": ({"share": 0.5}, {"share": 0.1}),
    "exssnet": ({"share": 0.5}, {"share": 0.1}),
    "ewc": ({"strength": 1e4}, {"strength": 1e6}),
    "si": ({"strength": 1e2}, {"strength": 1e3}),
    "lwf": ({"strength": 1.0}, {"strength": 3.0}),
    "gem": ({"strength": 0.5}, {"strength": 0.1}),
    "packnet": ({"prune": 0.5}, {"prune": 0.9}),
}

RANK = {"split-mnist": 6, "permuted-mnist": 6, "split-cifar100": 2, _RESNET: 12}  # of BatchE
BOUNDLESS = (OURS, "lower-bound")  # need no task boundaries
ON_RESNET = (OURS, "upper-bound", "heads", "heads-trained", "batche", "batche-trained")


def runs_of(learner: str, benchmark: str) -> tuple[str, ...]:
    """The scenarios in which a learner is run; `accuracies` are of more."""
    if benchmark == _RESNET:
        return ("GG",) if learner in ON_RESNET else ()
    if learner in RIVALS:
        return RIVALS[learner]
    wanted: tuple[str, ...] = ("GG", "GNs", "GNu")
    if learner not in READ_OUT:
        wanted = ("GNu",) if alike(learner, benchmark) else ("GG", "GNu")
    return (*wanted, "NNs") if learner in BOUNDLESS else wanted


def alike(learner: str, benchmark: str) -> bool:
    """Whether a learner learns the same in GG as in GNu; others have fewer outputs there."""
    training = preset(STREAMS[benchmark], "weight").training
    return learner == OURS and training.contrast == 0


def compares(learner: str, scenario: str) -> bool:
    """Whether a learner infers tasks from images of them, in a scenario."""
    return scenario != "GG" and learner not in READ_OUT


def tuning_key(benchmark: str, learner: str, scenario: str) -> dict[str, Any]:
    """What a row of the tuning is of."""
    return {"benchmark": benchmark, "learner": learner, "boundless": scenario == "NNs"}


def settings_of(benchmark: str, learner: str, scenario: str, seed: int, **more: Any) -> RunSettings:
    """Of one run."""
    given = {**BENCHMARKS[benchmark], **more}
    if learner == "pnn":  # which has its own
        given.pop("network", None)
    if scenario == "NNs":
        given.pop("augment", None)
    if learner not in RIVALS:  # which train so
        given["train_in"] = "float32"
    return RunSettings(
        benchmark=STREAMS[benchmark],
        learner=learner,
        scenario=scenario,
        protocol="batch" if scenario == "GG" else "image",
        seed=seed,
        evaluate_every=given["tasks"],
        **given,
    )


def finished(
    settings: RunSettings,
    data: Path | None,
    chosen: Tuned | None = None,
    tasks: Sequence[Task] | None = None,
) -> Experiment | BaselineRun:
    """A run, done."""
    run: Experiment | BaselineRun
    if settings.learner == OURS:
        run = Experiment(settings, data=data, tasks=tasks)
    else:
        make = maker_of(settings.learner)
        run = BaselineRun(settings, data=data, tasks=tasks, make=make, chosen=chosen)
    run.run(Quiet(say=False))
    return run


def accuracies(run: Experiment | BaselineRun) -> dict[str, float]:
    """Scenario -> accuracy of what a run has learned."""
    result, settings = run.result(), run.settings
    found: dict[str, float] = {settings.scenario: result["accuracy"]}
    if settings.scenario == "GNu" and settings.learner not in READ_OUT:
        found["GNs"] = result["accuracy_label"]
        if alike(settings.learner, settings.benchmark):
            found["GG"] = result["accuracy_given_task"]
    return found


def by_batch(run: Experiment | BaselineRun) -> dict[str, float]:
    """Scenario -> accuracy of what a run has learned, its tasks inferred from 128 images each."""
    if isinstance(run, Experiment):
        run.change_inference(replace(run.settings, protocol="batch", infer_samples=BATCH))
        run.evaluate(Quiet(say=False))
        result = run.result()
        if run.settings.scenario == "NNs":
            return {"NNs": result["accuracy"]}
        return {"GNs": result["accuracy_label"], "GNu": result["accuracy"]}
    count = run.ledger.count
    scores = [
        score_baseline(
            run.learner,
            run.stream[number],
            number,
            scenario=run.settings.scenario,
            protocol="batch",
            samples=BATCH,
            generator=stream(run.settings.seed, "evaluation", count - 1, number),
            device=run.device,
        )
        for number in range(count)
    ]
    return {name: mean(score.accuracy(name) for score in scores) for name in ("GNs", "GNu")}


def row_of(run: dict[str, Any], data: Path | None) -> dict[str, Any]:
    """The figures of one run."""
    wanted = (run[name] for name in ("benchmark", "learner", "scenario", "seed"))
    how = run["tuned"]
    chosen = None if how is None else Tuned(rate=how["rate"], options=how["options"])
    done = finished(settings_of(*wanted), data, chosen)
    result = done.result()
    kept = ("task_inference_accuracy", "forgetting", "bytes", "seconds", "config", "versions")
    return {
        "run": run,
        "accuracy": accuracies(done),
        **{name: result[name] for name in kept},
        "by_batch": by_batch(done) if compares(run["learner"], run["scenario"]) else {},
    }


def tries_of(benchmark: str, learner: str, scenario: str) -> list[dict[str, Any]]:
    """The six settings of a learner that are tried."""
    rates = MIDDLE if learner in CHOICES else RATES
    if learner == "psp" or (learner, scenario) == ("lower-bound", "NNs"):
        rates = LOWER
    choices = CHOICES.get(learner, ({},))
    if learner.startswith("batche"):
        choices = ({"rank": RANK[benchmark]},)
    return [{"rate": rate, "options": {**choice}} for choice in choices for rate in rates]


def tune(options: argparse.Namespace) -> None:
    """Try each learner's settings on held-out training images; a row each."""
    for benchmark in options.benchmarks:
        tasks, batches = TUNED_ON[benchmark]
        more = {"tasks": tasks, "batches": batches}
        others = task_stream(STREAMS[benchmark], seed=TUNING_SEED, tasks=tasks, data=options.data)
        images = held_out(others[:tasks], TUNING_SEED)
        for learner in options.learners:
            for scenarios in (("GG", "GNu"), ("NNs",)):
                served = runs_of(learner, benchmark)
                able = [scenario for scenario in scenarios if scenario in served]
                key = tuning_key(benchmark, learner, scenarios[0])
                stands = any(row["run"] == key for row in read_json(options.tuning))
                if learner == OURS or stands or not able:
                    continue
                tried = tries_of(benchmark, learner, scenarios[0])
                for how in tried:
                    found: dict[str, float] = {}
                    for scenario in able:
                        settings = settings_of(benchmark, learner, scenario, TUNING_SEED, **more)
                        try:
                            done = finished(settings, options.data, Tuned(**how), images)
                        except NumericalError:  # a rate at which it diverges is no choice
                            found |= dict.fromkeys(able, 0.0)
                            break
                        found |= accuracies(done)
                    how["accuracy"] = mean(found[name] for name in scenarios if name in found)
                best = max(tried, key=lambda one: one["accuracy"])
                row = {"run": key, "best": best, "tried": tried}
                write_json(options.tuning, [*read_json(options.tuning), row])
                print(key, best, flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """A part for each benchmark, a line for each learner."""
    batched = [f"{scenario}, {BATCH} images" for scenario in BATCHED]
    columns = ["learner", *SCENARIOS, *batched, "forgetting, GNu", "MB", "s", "seeds"]
    lines = []
    for benchmark in BENCHMARKS:
        mine = [row for row in rows if row["run"]["benchmark"] == benchmark]
        if not mine:
            continue
        lines += [
            f"{benchmark}, {BENCHMARKS[benchmark]['tasks']} tasks",
            "",
            f"| {' | '.join(columns)} |",
            "|---" * len(columns) + "|",
        ]
        for learner in LEARNERS:
            some = [row for row in mine if row["run"]["learner"] == learner]
            if some:
                lines.append(f"| {' | '.join([learner, *_cells(some)])} |")
        lines.append("")
    return "\n".join(lines)


def _cells(rows: list[dict[str, Any]]) -> Iterator[str]:
    for scenario in SCENARIOS:
        values = [row["accuracy"][scenario] for row in rows if scenario in row["accuracy"]]
        yield spread(values) if values else "–"
    for scenario in BATCHED:
        values = [row["by_batch"][scenario] for row in rows if scenario in row["by_batch"]]
        yield spread(values) if values else "–"
    by = {name: [row for row in rows if row["run"]["scenario"] == name] for name in SCENARIOS}
    last = by["GNu"]
    yield f"{mean(row['forgetting'] for row in last):.4f}" if last else "–"
    shown = [f"{_megabytes(some):.3f}" for some in by.values() if some]
    yield " / ".join(dict.fromkeys(shown))
    yield f"{mean(row['seconds']['total'] for row in last or rows):.0f}"
    yield str(len({row["run"]["seed"] for row in rows}))


def _megabytes(rows: list[dict[str, Any]]) -> float:
    return mean(row["bytes"]["memory"] for row in rows) / 1e6


def plot(rows: list[dict[str, Any]]) -> Figure:
    """Accuracy over bytes: a panel for each benchmark; filled GG, hollow GNu."""
    named = [name for name in BENCHMARKS if any(r["run"]["benchmark"] == name for r in rows)]
    figure = Figure(figsize=(max(8.0, 4.6 * len(named)), 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, benchmark in zip(
        figure.subplots(1, len(named), squeeze=False)[0], named, strict=True
    ):
        for place, learner in enumerate(LEARNERS):
            some = [row for row in rows if row["run"]["benchmark"] == benchmark]
            some = [row for row in some if row["run"]["learner"] == learner]
            label: str | None = learner
            for scenario, fill in (("GG", "full"), ("GNu", "none")):
                mine = [row for row in some if scenario in row["accuracy"]]
                if not mine:
                    continue
                axis.plot(
                    _megabytes(mine),
                    mean(row["accuracy"][scenario] for row in mine),
                    "os^DvP*X"[place // 10],
                    fillstyle=fill,
                    color=f"C{place % 10}",
                    linestyle="none",
                    label=label,
                )
                label = None  # one entry of a learner
        axis.set(
            xscale="log",
            xlabel="MB kept",
            ylabel="accuracy",
            title=f"{benchmark}: filled GG, hollow GNu",
        )
        axis.grid(alpha=0.3)
    handles = {
        label: h
        for axis in figure.axes
        for h, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=6, fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path)
    add("--benchmarks", nargs="+", default=[*BENCHMARKS], choices=BENCHMARKS)
    add("--learners", nargs="+", default=[*LEARNERS], choices=LEARNERS)
    add("--seeds", nargs="+", type=int, default=[0])
    add("--minutes", type=float, help="begin no run after so many")
    add("--tune", action="store_true")
    add("--tuning", type=Path, default=Path("benchmarks/rivals_tuning.json"))
    add("--out", type=Path, default=Path("benchmarks/rivals.json"))
    add("--table", action="store_true")
    add("--plot", type=Path)
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    if options.plot:
        plot(read_json(options.out)).savefig(options.plot, dpi=120)
        return
    if options.tune:
        tune(options)
        return
    began, tuned = time.monotonic(), read_json(options.tuning)
    found = {str(row["run"]): row["best"] for row in tuned}
    for benchmark in options.benchmarks:
        for seed in options.seeds:
            for learner in options.learners:
                if not runs_of(learner, benchmark):
                    print(f"{learner} is not run on {benchmark}")
                for scenario in runs_of(learner, benchmark):
                    run = {"benchmark": benchmark, "learner": learner, "scenario": scenario}
                    how = found.get(str(tuning_key(benchmark, learner, scenario)))
                    if learner != OURS and how is None:
                        print(f"not tuned, and so not run: {run}")
                        continue
                    run = {**run, "seed": seed, "tuned": how, **BENCHMARKS[benchmark]}
                    if any(row["run"] == run for row in read_json(options.out)):
                        continue
                    if options.minutes and time.monotonic() - began > 60 * options.minutes:
                        print("the time is over: run again to go on")
                        return
                    row = row_of(run, options.data)
                    write_json(options.out, [*read_json(options.out), row])
                    print(run, row["accuracy"], row["bytes"]["memory"], flush=True)


if __name__ == "__main__":
    main()
