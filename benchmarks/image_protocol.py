"""One image, its own task: SplitMNIST with `--protocol image` and `batch`, by what names the task.

    python benchmarks/image_protocol.py --data DIR [--seeds 0 1 2]
    python benchmarks/image_protocol.py --data DIR --held-out --seeds 71 72 73 \
        --out held_out.json
    python benchmarks/image_protocol.py --table

The masks of a seed are trained once, and stored with each signature. "posterior" is what
`supsup run split-mnist --protocol image` does; "address alone" takes the nearest of its means, and
asks no mask; "entropy alone" takes the mask of lowest entropy, and no address. With `--held-out`
1,000 training images of each task are neither learned nor shown to the address, and take the place
of the test images: settings are chosen on these. Rows are written as they come, after those of FILE
that are of other signatures.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import Quiet, held_out, read_json, write_json
from recall import AtTheEnd

from supsup_bridge import MaskBank, PosteriorInference, RunSettings
from supsup_bridge.continual.scoring import PROTOCOLS, Protocol, TaskScore, score
from supsup_bridge.data.benchmarks import task_stream
from supsup_bridge.inference.posterior import Weights
from supsup_bridge.rng import stream
from supsup_bridge.runs.timing import Stopwatch
from supsup_bridge.stores.protocols import for_forward

WAYS = {
    "posterior": Weights(),
    "address alone": Weights(task=1, group=1, entropy=0, label=0),
    "entropy alone": Weights(task=0, group=0, entropy=1e6, label=1),  # labels of equal entropy
}


def learned(options: argparse.Namespace, seed: int, signature: str, masks: MaskBank | None) -> Any:
    """A run whose memory holds all tasks, with masks of an earlier one if there are any."""
    settings = RunSettings(
        benchmark=options.benchmark,
        seed=seed,
        tasks=options.tasks,
        batches=options.batches,
        augment=options.augment,
        signature=signature,
        evaluate_every=options.tasks or 5,
    )
    tasks = task_stream(settings.benchmark, seed=seed, tasks=settings.tasks or 1, data=options.data)
    tasks = held_out(tasks, seed) if options.held_out else tasks
    run = AtTheEnd(settings, tasks=tasks, learned=masks)
    run.run(Quiet())
    return run


def rows(run: AtTheEnd) -> list[dict[str, Any]]:
    """Every way by every protocol, on the memory of a run."""
    after, made = run.ledger.count - 1, []
    for protocol in PROTOCOLS:
        for way, weights in WAYS.items():
            watch, found = Stopwatch("recall", "evaluate"), list[TaskScore]()
            for number, task in enumerate(run.stream):
                inference = PosteriorInference(
                    network=run.network,
                    memory=run.hopfield,
                    signature=run.learner.inferences.signature,
                    weights=weights,
                )
                drawn = stream(run.settings.seed, "evaluation", after, number)
                part = score(
                    run.network,
                    task,
                    for_forward(run.memory.recall(task=number)),
                    inference,
                    Protocol(protocol, 1, drawn),
                    accepted={number: run.ledger.digests[number]},
                    device=run.device,
                    watch=watch,
                )
                found.append(part)
            made.append(row(run, protocol, way, found, watch))
            shown = {k: made[-1][k] for k in ("seed", "signature", "protocol", "way")}
            print(shown, f"accuracy {made[-1]['accuracy']:.4f}", flush=True)
    return made


def row(
    run: AtTheEnd, protocol: str, way: str, found: Sequence[TaskScore], watch: Stopwatch
) -> dict[str, Any]:
    """One row: means over the tasks of what `supsup run` reports."""
    result, memory = run.result(), run.hopfield
    address = memory.address.nbytes

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return {
        "benchmark": run.settings.benchmark,
        "seed": run.settings.seed,
        "tasks": run.ledger.count,
        "signature": run.preset.signature,
        "features": run.preset.features,
        "protocol": protocol,
        "way": way,
        "accuracy": mean([part.joint for part in found]),
        "label_right": mean([part.label for part in found]),
        "task_right": mean([hit for part in found for hit in part.inferred]),
        "accuracy_given_task": mean([part.given for part in found]),
        "inferences": sum(len(part.inferred) for part in found),
        "bytes": {
            "memory": memory.nbytes,
            "without_address": memory.nbytes - address,
            "packed_masks": result["bytes"]["packed_masks"],
        },
        "seconds": {
            **{name: run.watch.seconds()[name] for name in ("train", "store")},
            **{name: watch.seconds()[name] for name in ("recall", "evaluate")},
        },
        "versions": result["versions"],
    }


def table(done: Sequence[dict[str, Any]]) -> str:
    """Means over the seeds, a line for each protocol, signature and way."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for one in done:
        key = (one["benchmark"], one["protocol"], one["signature"], one["way"])
        groups.setdefault(key, []).append(one)
    lines = [
        "| benchmark | protocol | signature | task named by | seeds | task right | accuracy | "
        "task given | MB | without address |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, some in groups.items():
        seeds = " ".join(str(one["seed"]) for one in some)
        names = ("task_right", "accuracy", "accuracy_given_task")
        means = [f"{sum(one[n] for one in some) / len(some):.4f}" for n in names]
        sizes = [f"{some[0]['bytes'][n] / 1e6:.1f}" for n in ("memory", "without_address")]
        lines.append(f"| {' | '.join([*key, seeds, *means, *sizes])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path)
    add("--benchmark", default="split-mnist")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--signatures", nargs="+", default=["patches", "input"])
    add("--held-out", action="store_true", help="test on training images, to choose settings")
    add("--tasks", type=int, help="fewer tasks, for a look")
    add("--batches", type=int, help="training steps per task, for a look")
    add("--augment", help="of a benchmark of pictures: strong, crop-flip or none")
    add("--out", type=Path, default=Path("benchmarks/image_protocol.json"))
    add("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.out)))
        return
    done = [row for row in read_json(options.out) if row["signature"] not in options.signatures]
    for seed in options.seeds:
        masks: MaskBank | None = None
        for signature in options.signatures:
            run = learned(options, seed, signature, masks)
            if masks is None:
                masks = MaskBank(run.network.mask_sizes)
                for number in range(run.ledger.count):
                    masks.store(run.memory.recall(task=number).masks)
            done.extend(rows(run))
            write_json(options.out, done)


if __name__ == "__main__":
    main()
