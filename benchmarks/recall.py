"""Recall among hundreds of tasks from one Hopfield memory, masks deleted; the bank beside it.

    python benchmarks/recall.py --data DIR --learned bank.h5 --seed 0 --tasks 250 \
        --way entropy:1:G --way entropy:1:H --way both:1
    python benchmarks/recall.py --data DIR --learned bank.h5 --seed 0 --tasks 250 --memory bank \
        --way one-shot:1:G
    python benchmarks/recall.py --data DIR --learned hashed.h5 --masks hashed --way entropy:1
    python benchmarks/recall.py --table

Masks are learned once and kept in a bank file (`--learned`, made where it is missing), so that
memories and ways of recall are compared on the very same ones; the Hopfield run takes one task's
masks after the other from it, stores them, and keeps none. With `--memory bank` the explicit list
itself infers the task; its ways are inferences. (In scenario NNs there is no such file:
the learner finds out for itself which masks to learn.) Each row of the JSON is the
`result.json` of one way of recall, without its accuracy matrix.
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

from common import Quiet, read_json, write_json

from hopmask import OverloadWarning
from supsup_bridge import Experiment, MaskBank, RunSettings
from supsup_bridge.runs.evaluation import Scores
from supsup_bridge.runs.observer import Observer

COLUMNS = (
    *("benchmark", "masks", "memory", "tasks", "seed", "scenario", "recall", "objective", "images"),
    *("exact recall", "accuracy", "task given", "MB", "steps", "ms per recall"),
)


class AtTheEnd(Experiment):
    """A run that scores nothing before all tasks are learned."""

    def _score_newest(self, observer: Observer) -> None:
        self.ledger.scored(Scores(), point=False)


def learned(options: argparse.Namespace) -> MaskBank | None:
    """The bank of learned masks, from its file or by training."""
    if options.scenario == "NNs":
        return None
    if options.learned.exists():
        return MaskBank.load(options.learned)
    settings = RunSettings(
        benchmark=options.benchmark,
        masks=options.masks,
        memory="bank",
        scenario="GG",
        tasks=options.tasks,
        seed=options.seed,
        batches=options.batches,
        bits=options.bits,
        evaluate_every=options.tasks,
    )
    experiment = Experiment(settings, data=options.data)
    experiment.run(Quiet())
    experiment.memory.save(options.learned)
    return MaskBank.load(options.learned)


def rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One run, scored by each way of recall."""
    ways = [(*way.split(":"), None)[:3] for way in options.way]
    settings = [
        RunSettings(
            benchmark=options.benchmark,
            masks=options.masks,
            scenario=options.scenario,
            memory=options.memory,
            rule=options.rule,
            tasks=options.tasks,
            seed=options.seed,
            objective=objective,
            **{"recall" if options.memory == "hopfield" else "inference": way},
            infer_samples=int(str(images)),
            batches=options.batches,
            bits=options.bits,
            evaluate_every=options.tasks,
        )
        for way, images, objective in ways
    ]
    experiment = AtTheEnd(settings[0], data=options.data, learned=learned(options))
    kept = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OverloadWarning)
        for chosen in settings:
            if chosen is settings[0]:
                experiment.run(Quiet())
            else:
                experiment.change_inference(chosen)
                experiment.evaluate(Quiet())
            result = experiment.result()
            del result["accuracy_matrix"]
            result.pop("measured", None)
            if chosen.memory == "hopfield":
                result["report"] = vars(experiment.hopfield.report(sample=options.tasks))
            result["overload_warnings"] = len(caught)
            kept.append(result)
            write_json(options.out, [*read_json(options.out), result])
            print(
                f"{chosen.masks} {chosen.memory} {_way(result)} {chosen.objective or ''} "
                f"{chosen.infer_samples}: "
                f"{chosen.tasks} tasks, exact {result['exact_recall_rate']:.4f}, accuracy "
                f"{result['accuracy']:.4f} of {result['accuracy_given_task']:.4f}; "
                f"{result.get('report', result['bytes'])}",
                flush=True,
            )
    return kept


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines: list[tuple[Any, ...]] = [COLUMNS, ("---",) * len(COLUMNS)]
    for row in sorted(rows, key=_order):
        lines.append(
            (
                row["benchmark"],
                row["masks"],
                row["config"]["rule"] or row["memory"],
                row["tasks"],
                row["seed"],
                row["scenario"],
                _way(row),
                row["config"].get("objective") or "",
                row["infer_samples"],
                f"{row['exact_recall_rate']:.4f}",
                f"{row['accuracy']:.4f}",
                f"{row['accuracy_given_task']:.4f}",
                f"{row['bytes']['memory'] / 1e6:.1f}",
                f"{row['recall']['steps_mean']:.1f}",
                f"{1000 * row['seconds']['recall'] / row['recall']['samples']:.0f}",
            )
        )
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    kind = (row["benchmark"], row["scenario"] != "GNu", row["masks"], -row["config"]["output_size"])
    return (*kind, row["memory"], _way(row), row["tasks"], row["infer_samples"], row["seed"])


def _way(row: dict[str, Any]) -> str:
    """How the task was named."""
    return row["config"]["recall"] or row["config"]["inference"] or "given"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path)
    add("--benchmark", default="permuted-mnist")
    add("--learned", type=Path, help="bank of learned masks; made where it is missing")
    add("--masks", default="weight")
    add("--scenario", default="GNu")
    add("--memory", default="hopfield", choices=("hopfield", "bank"))
    add("--rule")
    add("--seed", type=int, default=0)
    add("--tasks", type=int, default=100)
    add(
        "--way",
        action="append",
        default=[],
        help="recall:images, or, of weight masks, recall:images:objective; such as both:1. Of a "
        "bank, its inference for recall",
    )
    add("--batches", type=int, help="training steps per task (default: the benchmark's)")
    add("--bits", type=int, help="mask bits or hidden units per layer (default: the benchmark's)")
    add("--out", type=Path, default=Path("benchmarks/recall.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    if options.learned is None and options.scenario != "NNs":
        parser.error("give --learned, a file of learned masks, or where to keep them")
    if not options.way:
        parser.error("give --way, such as --way both:1")
    rows(options)


if __name__ == "__main__":
    main()
