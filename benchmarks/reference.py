"""Training step and One-Shot against the authors' own implementation, in one process, as JSON.

    python benchmarks/reference.py --reference DIR [--tasks K] [--part step|one-shot] [--out FILE]

DIR is a checkout of https://github.com/RAIVNLab/supsup (commit 6a31878 was measured); it needs
PyYAML, and nothing of it is changed or kept here. Without DIR nothing is measured.

- Training step of LeNet 300-100 with 500 outputs at batch 128, on batches that lie in memory: the
  authors' `trainers.default.train`, a loop over batches, with the optimiser of their experiment of
  2500 tasks (RMSprop), once under the masks of that experiment (`FastMultitaskMaskConv`, a
  threshold) and once under those of the paper (`MultitaskMaskConv`, half of the scores, by
  sorting); ours is `MaskTrainer.step`. Loading data, which the authors do image by image through
  torchvision, is left out.
- One-Shot from one image over K random masks: the authors' `se_oneshot_entropy_minimization`, up
  to the answer, over masks stacked as floats; ours is `OneShot` over the bank. Building either is
  left out.

Both run on the CPU and take turns; times are medians.
"""

import argparse
import contextlib
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from common import write_json
from supsup_speed import SIZES, network_of, random_masks, timed
from torch import Tensor, nn

import hopmask
from supsup_bridge import (
    MaskBank,
    MaskedNetwork,
    OneShot,
    TrainingSettings,
    fix_weights,
    mlp,
)
from supsup_bridge.training.trainer import MaskTrainer

BATCHES = 20  # of a call of the authors' training loop


class Batches(list[tuple[Tensor, Tensor]]):
    """Batches in memory, as the authors' loops take them."""

    @property
    def dataset(self) -> list[int]:
        return list(range(sum(len(labels) for _, labels in self)))


class Reference:
    """The modules of a checkout.

    Args:
        folder: of the checkout.
    """

    def __init__(self, folder: Path) -> None:
        sys.path.insert(0, str(folder.resolve()))
        sys.argv = sys.argv[:1]  # its modules read the command line
        self.args = self._module("args").args
        vars(self.args).update(
            output_size=SIZES[-1],
            conv_init="signed_constant",
            model="LeNet",
            device=torch.device("cpu"),
            unshared_labels=True,
        )

    def model(self, kind: str, tasks: int) -> nn.Module:
        """Its LeNet under one kind of masks, with scores of some tasks."""
        vars(self.args).update(conv_type=kind, num_tasks=tasks)
        model: nn.Module = self._module("models").LeNet()
        for layer in model.modules():
            layer.num_tasks_learned = tasks  # as its main.py does
        return model

    def train(self, model: nn.Module, batches: Batches) -> Callable[[], str]:
        """One call of its training loop, for the model's first task."""
        for layer in model.modules():
            layer.task = 0
        names = dict(model.named_parameters())
        scores = [value for name, value in names.items() if name.endswith("scores.0")]
        optimiser = torch.optim.RMSprop(scores, lr=1e-4)
        loop, loss = self._module("trainers").default.train, nn.CrossEntropyLoss()
        writer = SimpleNamespace(add_scalar=lambda *_: None)
        return silent(lambda: loop(model, writer, batches, optimiser, loss, 1, 0))

    def one_shot(self, model: nn.Module, image: Tensor) -> Callable[[], str]:
        """Its One-Shot from one image, up to the task, which it prints: task -1 is never right."""
        for layer in model.modules():
            layer.task = -1
        infer = self._module("adaptors").se_oneshot_entropy_minimization
        batches, tasks = Batches([(image, torch.zeros(1))]), self.args.num_tasks
        return silent(lambda: infer(model, None, batches, tasks, -1))

    @staticmethod
    def _module(name: str) -> ModuleType:
        with contextlib.redirect_stdout(io.StringIO()):
            return __import__(name)


def silent(function: Callable[[], Any]) -> Callable[[], str]:
    """A function that gives back what it would print."""

    def call() -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            function()
        return printed.getvalue()

    return call


def step(reference: Reference, repeat: int) -> dict[str, Any]:
    """Seconds of a training step."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCHES, 128, 1, 28, 28, generator=generator)
    labels = torch.randint(0, 10, (BATCHES, 128), generator=generator)
    batches = Batches(zip(images, labels, strict=True))
    network = network_of(generator)
    settings = TrainingSettings(contrast=0)  # the cross-entropy alone, as theirs
    trainer = MaskTrainer(network, settings, scores=generator, noise=generator)

    def ours() -> None:
        for some, names in batches:
            trainer.step(some.flatten(1), names)

    kinds = {"threshold": "FastMultitaskMaskConv", "sorted": "MultitaskMaskConv"}
    theirs = [reference.train(reference.model(kind, 1), batches) for kind in kinds.values()]
    mine, *others = (each / BATCHES for each in timed(ours, *theirs, repeat=repeat))
    seconds = dict(zip(kinds, others, strict=True))
    return {"ours": mine, **seconds, "ratios": {kind: seconds[kind] / mine for kind in kinds}}


def one_shot(reference: Reference, tasks: int, repeat: int) -> dict[str, Any]:
    """Seconds of One-Shot."""
    generator = torch.Generator().manual_seed(0)
    module = fix_weights(mlp(SIZES), generator)
    network = MaskedNetwork(module)
    image = torch.randn(1, SIZES[0], generator=generator)
    bank = MaskBank(network.mask_sizes)
    model = reference.model("FastMultitaskMaskConv", 1)
    vars(reference.args).update(num_tasks=tasks)
    for layer in model.modules():
        layer.num_tasks_learned = tasks
    layers = [layer for layer in model.modules() if hasattr(layer, "cache_masks")]
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    for layer, fixed in zip(layers, linear, strict=True):
        layer.weight.data = fixed.weight.detach().view_as(layer.weight)
        layer.register_buffer("stacked", torch.empty(tasks, *layer.weight.shape))
    for task in range(tasks):
        masks = random_masks(network, generator)
        bank.store(masks)
        for layer, mask in zip(layers, masks.values(), strict=True):
            layer.stacked[task] = mask.view_as(layer.weight)
    inference = OneShot(network=network, bank=bank)
    answer = reference.one_shot(model, image)
    mine, theirs = timed(lambda: inference.decide(image[None]), answer, repeat=repeat)
    return {
        "tasks": tasks,
        "ours": mine,
        "theirs": theirs,
        "ratio": theirs / mine,
        "answers": [int(inference.decide(image[None])[0]), int(re.findall(r"\d+", answer())[0])],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, help="the authors' checkout")
    parser.add_argument("--tasks", type=int, default=2500)
    parser.add_argument("--part", choices=("step", "one-shot"))
    parser.add_argument("--repeat", type=int, default=7, help="of each timing")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/reference.json"))
    options = parser.parse_args()
    if options.reference is None:
        print("skipped: --reference DIR names no checkout of the authors' implementation")
        return
    reference = Reference(options.reference)
    rest = options.part and options.out.exists()  # what another call measured stays
    done: dict[str, Any] = json.loads(options.out.read_text()) if rest else {}
    done["threads"] = torch.get_num_threads()
    done["versions"] = {"hopmask": hopmask.__version__, "torch": torch.__version__}
    if options.part != "one-shot":
        done["step"] = step(reference, options.repeat)
    if options.part != "step":
        done["one_shot"] = one_shot(reference, options.tasks, options.repeat)
    write_json(options.out, done)
    print(done)


if __name__ == "__main__":
    main()
