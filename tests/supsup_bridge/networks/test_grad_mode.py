"""Learners inside of torch's inference mode, or without gradients: as outside."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from hopmask import ConfigError
from supsup_bridge import (
    BaselineRun,
    Experiment,
    MaskBank,
    MaskedNetwork,
    RunSettings,
    SupSup,
    TrainingSettings,
)
from supsup_bridge.networks.grad_mode import outside_inference
from supsup_bridge.runs.observer import Observers

MODES = {"inference": torch.inference_mode, "no_grad": torch.no_grad}
TRAINING = TrainingSettings(max_batches=8, batch=16)


def clouds(task: int, count: int = 40) -> tuple[Tensor, Tensor]:
    """Images (n, 8) of two classes; both lie elsewhere in each task."""
    draw = torch.Generator().manual_seed(task)
    labels = torch.arange(count) % 2
    centres = 2 * torch.randn(2, 8, generator=draw)
    return centres[labels] + 0.1 * torch.randn(count, 8, generator=draw), labels


def made(**options: Any) -> SupSup:
    return SupSup("lenet-300-100", inputs=8, outputs=4, training=TRAINING, **options)


def answers(learner: SupSup, images: Tensor, labels: Tensor) -> list[Any]:
    """What a learner says, by every way of asking."""
    each, joint = learner.predict(images[:3]), learner.predict(images[:3], together=True)
    return [
        *(each.logits, each.task, each.recognized, joint.logits),
        learner.infer_task(images[:3]),
        *learner.evaluate([(images, labels)]).given,
        *learner.evaluate([DataLoader(TensorDataset(images, labels), 7)], protocol="image").joint,
        learner.module(1)(images[:3]),
    ]


def told(mode: Any, folder: Path, **options: Any) -> tuple[list[Any], ...]:
    """Answers of a learner that was made, taught and loaded in a mode, and what it then learns."""
    with mode():
        learner = made(**options)
        for task in range(2):
            images, labels = (value.clone() for value in clouds(task))
            learner.learn((images, labels))
        learner.save(folder)
        loaded = SupSup.load(folder)
        within = answers(loaded, images, labels)
    after = answers(loaded, images, labels)  # tensors that were made in the mode
    loaded.learn(clouds(2))
    return within, after, answers(loaded, *clouds(2))


@pytest.mark.parametrize(
    "options", [{"hubs": 4, "signature_features": 64}, {"memory": "bank", "inference": "one-shot"}]
)
@pytest.mark.parametrize("mode", MODES)
def test_a_learner_says_the_same_as_outside(mode: str, options: Any, tmp_path: Path) -> None:
    found = told(MODES[mode], tmp_path / "within", **options)
    wanted = told(nullcontext, tmp_path / "outside", **options)
    for some, others in zip(found, wanted, strict=True):
        for one, other in zip(some, others, strict=True):
            assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_is_learned_as_outside(mode: str) -> None:
    found = []
    for around in (MODES[mode], nullcontext):
        with around():
            learner = made(task_free=True, hubs=4)
            for step in range(6):
                images, labels = (value.clone() for value in clouds(step // 3, 16))
                number, loss = learner.observe(images, labels)
            learner.close()
            found.append((number, loss, learner.predict(images).logits.tolist()))
    assert found[0] == found[1]


def test_logits_of_a_prediction_hang_on_no_graph() -> None:
    learner = made()
    learner.learn(clouds(0))
    assert not learner.predict(clouds(0)[0]).logits.requires_grad


def test_tensors_of_inference_mode_are_copied_and_others_are_not() -> None:
    given: list[Any] = []
    keep = outside_inference(lambda *args, **options: given.extend([*args, *options.values()]))
    usual, name, mine = torch.ones(2), object(), [torch.ones(2)]
    with torch.inference_mode():
        special = torch.ones(2)
        keep(usual, [special, (special, 3)], mine, name=name)
    first, nested, same, last = given
    assert first is usual
    assert same is mine
    assert last is name
    assert not nested[0].is_inference()
    assert not nested[1][0].is_inference()
    assert nested[1][1] == 3


class Computed(Dataset[Any]):
    """Images that code of a user's computes, as of a backbone."""

    def __init__(self, task: int) -> None:
        self.images, self.labels = clouds(task)
        self.backbone = nn.Linear(8, 8)
        nn.init.eye_(self.backbone.weight)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        made = torch.from_numpy(self.backbone(self.images[number]).numpy())
        return made, self.labels[number]


@pytest.mark.parametrize("of_loader", [False, True])
def test_code_of_a_users_that_makes_images_runs_without_gradients(of_loader: bool) -> None:
    data: Any = DataLoader(Computed(0), 16) if of_loader else Computed(0)
    learner = made(hubs=4)
    learner.learn(data)
    assert learner.evaluate([data]).given[0] > 0.5


def test_batches_that_were_made_in_inference_mode_are_learned() -> None:
    with torch.inference_mode():
        ready = [(images + 0, labels + 0) for images, labels in [clouds(0)]]
    assert ready[0][0].is_inference()
    learner = made(hubs=4)
    assert learner.learn(DataLoader(ready, batch_size=None)) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_a_bank_is_changed_as_outside(mode: str) -> None:
    with MODES[mode]():
        bank = MaskBank({"a": 9})
        bank.store({"a": torch.arange(9) % 2 == 0})
    for number in range(1, 20):
        bank.store({"a": torch.arange(9) % 3 == number % 3})
    assert bank.recall(task=0).masks["a"].tolist() == (torch.arange(9) % 2 == 0).tolist()


@pytest.mark.parametrize("mode", MODES)
def test_runs_are_made_as_outside(mode: str) -> None:
    found = []
    for around in (MODES[mode], nullcontext):
        with around():
            run = Experiment(RunSettings(tasks=2, quick=True))
            run.run(Observers())
            other = BaselineRun(RunSettings(tasks=1, quick=True, learner="psp"))
            other.run(Observers())
            found.append((run.result()["accuracy_matrix"], other.result()["accuracy_matrix"]))
    assert found[0] == found[1]


def test_networks_of_bfloat16_are_refused() -> None:
    module = nn.Sequential(nn.Linear(8, 4, bias=False)).bfloat16()
    for one in (module, MaskedNetwork(module, masks="weight")):
        with pytest.raises(ConfigError, match="weight is bfloat16"):
            SupSup(one)
