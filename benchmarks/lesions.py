"""Learned masks in hub couplings that lost something: wrong bits and accuracy, over the load.

    python benchmarks/lesions.py --data DIR --learned bank.h5
    python benchmarks/lesions.py --plot benchmarks/lesions.png

`--learned` is a bank of PermutedMNIST's masks, as `benchmarks/recall.py` makes it. The first tasks
of it are stored in one hub memory of `--hubs` hubs, which then

- loses a share of its couplings, chosen at random, wide columns included: they become 0;
- is saved with few bits per coupling (`save(bits=)`) and loaded.

Wrong bits are those of masks recalled by number, of all mask bits; the accuracy is that of the
recalled masks, with the task given, on all scored images of `--scored` tasks.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import read_json, write_json
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from hopmask import MaskMemory, load
from supsup_bridge import Experiment, MaskBank, RunSettings
from supsup_bridge.continual.scoring import score_given

LOADS = (0.25, 0.5, 1.0)
LOST = (0.05, 0.1, 0.2, 0.3)
BITS = (4, 3, 2, 1)
_ROWS = 4096  # mask neurons whose couplings are chosen at once


class Lesions:
    """Stores the masks of one bank, and measures what is left of them.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.bank = options, MaskBank.load(options.learned)
        settings = RunSettings(
            benchmark=options.benchmark,
            scenario="GG",
            seed=options.seed,
            tasks=self.bank.count,
            hubs=options.hubs,
            device="cpu",
        )
        self.run = Experiment(settings, data=options.data, learned=self.bank)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each lesion at each load."""
        memory = self._memory()
        for load_of in LOADS:
            wanted = min(int(load_of * self.options.hubs), self.bank.count)
            for number in range(memory.count, wanted):
                memory.store(self.bank.recall(task=number).masks)
            packed = memory.report().packed_nbytes
            common = {"tasks": wanted, "hubs": self.options.hubs, "load": wanted / memory.capacity}
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "memory.h5"
                stamp = memory.save(path)
                yield {**common, "bits": 8, "lost": 0.0, **self._measured(memory)}
                for lost in LOST:
                    lesioned = loaded(path)
                    lose(lesioned, lost)
                    yield {**common, "bits": 8, "lost": lost, **self._measured(lesioned)}
                for bits in BITS:
                    stamp = memory.save(path, bits=bits)
                    size = {"file_over_packed_list": stamp.nbytes / packed}
                    yield {
                        **common,
                        "bits": bits,
                        "lost": 0.0,
                        **size,
                        **self._measured(loaded(path)),
                    }

    def _memory(self) -> MaskMemory:
        return MaskMemory(
            self.run.network.mask_sizes,
            couplings="hub",
            hubs=self.options.hubs,
            seed=self.options.seed,
            signature_features=0,
        )

    def _measured(self, memory: MaskMemory) -> dict[str, Any]:
        """Wrong bits and accuracy of some tasks, evenly spread."""
        count, scored = memory.count, min(self.options.scored, memory.count)
        tasks = [round(place * (count - 1) / max(1, scored - 1)) for place in range(scored)]
        wrong, size, accuracy = 0, 0, 0.0
        for task in tasks:
            hit, held = memory.recall(task), self.bank.recall(task=task).masks
            wrong += sum(int((hit.masks[name] != held[name]).sum()) for name in held)
            size += sum(mask.numel() for mask in held.values())
            accuracy += score_given(
                self.run.network, self.run.stream[task], hit.masks, device=self.run.device
            )
        return {
            "scored": scored,
            "wrong_bits_per_mask": wrong / scored,
            "wrong_share": wrong / size,
            "accuracy": accuracy / scored,
        }


def loaded(path: Path) -> MaskMemory:
    """The memory in a file."""
    memory = load(path)
    assert isinstance(memory, MaskMemory)
    return memory


def lose(memory: MaskMemory, share: float) -> None:
    """Set a share of all couplings to 0, chosen at random."""
    generator = torch.Generator().manual_seed(4)
    narrow, wide = memory.couplings.narrow, memory.couplings.wide

    def lesioned(part: Tensor) -> Tensor:
        return part * (torch.rand(part.shape, generator=generator) >= share)

    for first in range(0, len(narrow), _ROWS):
        where = slice(first, first + _ROWS)
        narrow[where], wide[where] = lesioned(narrow[where]), lesioned(wide[where])


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Wrong bits and accuracy over what was lost, one line for each load."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2, sharey="row", sharex="col")
    tasks = sorted({row["tasks"] for row in rows})
    for number, count in enumerate(tasks):
        some = [row for row in rows if row["tasks"] == count]
        label = f"{count} tasks, load {some[0]['load']:.2f}"
        lost = sorted((row for row in some if row["bits"] == 8), key=lambda row: row["lost"])
        kept = sorted((row for row in some if row["lost"] == 0), key=lambda row: -row["bits"])
        style = {"marker": "os^Dv"[number % 5], "color": f"C{number}", "label": label}
        for column, (points, key) in enumerate(((lost, "lost"), (kept, "bits"))):
            where = [100 * row[key] if key == "lost" else str(row[key]) for row in points]
            share = [100 * row["wrong_share"] for row in points]
            axes[0, column].plot(where, share, **style)
            axes[1, column].plot(where, [row["accuracy"] for row in points], **style)
    for axis in axes[0]:
        axis.set_yscale("symlog", linthresh=1e-3)
        axis.set_ylim(bottom=0)
    axes[0, 0].set_ylabel("wrong bits of a mask (%)")
    axes[1, 0].set_ylabel("accuracy, task given")
    axes[1, 0].set_xlabel("couplings lost at random (%)")
    axes[1, 1].set_xlabel("bits per coupling")
    axes[0, 0].legend()
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, or plot what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=Path)
    add("--learned", type=Path, help="bank of learned masks")
    add("--benchmark", default="permuted-mnist")
    add("--seed", type=int, default=0)
    add("--hubs", type=int, default=256)
    add("--scored", type=int, default=16, help="tasks that are measured at each load")
    add("--out", type=Path, default=Path("benchmarks/lesions.json"))
    add("--plot", type=Path)
    options = parser.parse_args()
    if options.plot is not None:
        plot(read_json(options.out), options.plot)
        return
    if options.learned is None:
        parser.error("give --learned, a bank of learned masks")
    rows = []
    for row in Lesions(options).rows():
        rows.append({"benchmark": options.benchmark, "seed": options.seed, **row})
        print(rows[-1], flush=True)
        write_json(options.out, rows)


if __name__ == "__main__":
    main()
