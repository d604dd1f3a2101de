"""SupSup: what is taught, what is answered, and what is refused."""

import os
import signal
import weakref
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from hopmask import (
    ConfigError,
    EmptyMemoryError,
    HopmaskError,
    MaskMemory,
    NotForgettableError,
    NumericalError,
    UnknownTaskError,
)
from hopmask.errors import StoreFileError
from hopmask.memory.features import RandomFeatures
from supsup_bridge import Experiment, PixelScale, RunSettings, SupSup, Task, split_digits
from supsup_bridge.continual import evaluation, files, prediction
from supsup_bridge.continual.scoring import PROTOCOLS
from supsup_bridge.continual.task_agnostic.novelty import Verdict
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.training.data import LoaderData
from supsup_bridge.training.fit import Lesson
from supsup_bridge.training.settings import TrainingSettings

TRAINING = TrainingSettings(epochs=12, batch=32, contrast=1.0, noise=1.5)
KINDS: list[dict[str, Any]] = [
    {},
    {"masks": "signed"},
    {"masks": "hashed", "bits": 512},
    {"masks": "unit", "rule": "hebbian"},
    {"memory": "bank"},
]


def clouds(task: int, count: int = 96) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 4, 4) of one of three tasks of two classes."""
    g = torch.Generator().manual_seed(task)
    centres = 2 * torch.randn(2, 1, 4, 4, generator=g)
    labels = torch.arange(count) % 2
    return centres[labels] + 0.3 * torch.randn(count, 1, 4, 4, generator=g), labels


def conv() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 48, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(768, 10)
        )


def taught(tasks: int = 3, **options: Any) -> SupSup:
    learner = SupSup(conv(), training=TRAINING, **options)
    for task in range(tasks):
        assert learner.learn(clouds(task)) == task
    return learner


@pytest.fixture(scope="module")
def learner() -> SupSup:
    """Three tasks under weight masks; not to be changed."""
    learner = SupSup(conv(), training=replace(TRAINING, epochs=40))
    for task in range(3):
        learner.learn(clouds(task))
    return learner


# --- learning


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_tasks_are_learned_inferred_and_labelled(kind: dict[str, Any]) -> None:
    learner = taught(**kind)
    assert learner.tasks == (0, 1, 2)
    for task in range(3):
        images, labels = clouds(task)
        found = learner.predict(images, together=True)
        assert set(found.task.tolist()) == {task}
        assert float((found.label == labels).float().mean()) > 0.8
        assert learner.infer_task(images, together=True) == task


def test_every_image_infers_its_own_task(learner: SupSup) -> None:
    parts = [clouds(task, 10) for task in range(3)]
    found = learner.predict(torch.cat([images for images, _ in parts]))
    expected = torch.arange(3).repeat_interleave(10)
    assert float((found.task == expected).float().mean()) > 0.9
    assert torch.equal(found.task, learner.infer_task(torch.cat([i for i, _ in parts])))
    assert found.logits.shape == (30, 10)


def test_one_seed_teaches_the_same_from_tensors_and_from_a_data_set() -> None:
    a, b = SupSup(conv(), training=TRAINING), SupSup(conv(), training=TRAINING)
    a.learn(clouds(0))
    b.learn(TensorDataset(*clouds(0)))
    one, two = (mask_digest(learner.memory.recall(task=0).masks) for learner in (a, b))
    assert one == two


@pytest.mark.parametrize("source", ["tensors", "data set", "loader"])
def test_the_address_learns_a_mean_of_each_class(source: str) -> None:
    learner = SupSup(conv(), training=TRAINING, signature_groups=3)
    for task in range(2):
        images, labels = clouds(task)
        data = TensorDataset(images, labels)
        learner.learn(
            {
                "tensors": (images, labels),
                "data set": data,
                "loader": DataLoader(data, batch_size=24, shuffle=True),
            }[source]
        )
    address = learner.memory.address
    keys = address.keys.of(torch.arange(2), hubs=64, dtype=torch.int64)
    means = (address.sums["link"] @ keys.T).T.view(2, 3, -1).double() / (64 * 2**44)
    phi = RandomFeatures(seed=learner.memory.seed, count=2048)
    for task in range(2):
        images, labels = clouds(task)
        for label in range(2):
            own = phi.of(images[labels == label].flatten(1), 1.0).mean(0).double()
            torch.testing.assert_close(means[task, label], own, rtol=0, atol=1e-5)
    assert not means[:, 2].any()


def test_labels_without_a_group_are_refused_before_anything_is_trained_or_kept() -> None:
    learner = SupSup(conv(), training=TRAINING, signature_groups=2)
    images, labels = clouds(0)
    loader = DataLoader(TensorDataset(images, labels + 1), batch_size=24)
    steps: list[int] = []
    for data in ((images, labels + 1), loader):
        with pytest.raises(ConfigError, match="signature_groups=3"):
            learner.learn(data, progress=lambda step, all, loss: steps.append(step))
    assert len(learner) == 0
    assert steps == []
    learner.learn((images, labels))
    stream = SupSup(conv(), training=TRAINING, signature_groups=2, task_free=True)
    with pytest.raises(ConfigError, match="signature_groups=3"):
        stream.observe(images, labels + 1)
    assert len(stream) == 0


def test_a_loader_decides_the_batches_and_progress_is_called_after_each() -> None:
    learner, steps = SupSup(conv(), training=TRAINING, memory="bank"), []
    loader = DataLoader(TensorDataset(*clouds(0)), batch_size=24, shuffle=True)
    before = torch.get_rng_state()
    learner.learn(loader, epochs=2, progress=lambda step, all, loss: steps.append((step, all)))
    assert steps == [(step, 8) for step in range(1, 9)]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_task_that_is_streamed_is_never_held_whole() -> None:
    class Counted(Dataset[Any]):
        alive = most = 0

        def __len__(self) -> int:
            return 1024

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            image = clouds(0, 2)[0][index % 2] + 0.01 * index
            Counted.alive += 1
            Counted.most = max(Counted.most, Counted.alive)
            weakref.finalize(image, lambda: setattr(Counted, "alive", Counted.alive - 1))
            return image, index % 2

    learner = SupSup(conv(), training=TrainingSettings(epochs=1, batch=64))
    learner.learn(Counted())
    assert Counted.most <= 2 * 128


def test_the_module_is_copied_and_its_weights_are_those_of_the_seed() -> None:
    module = conv()
    before = deepcopy(module.state_dict())
    a, b, c = (SupSup(module, seed=seed).network for seed in (0, 0, 1))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    weights = [network.module[0].weight for network in (a, b, c)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    torch.testing.assert_close(weights[0].abs(), torch.full((48, 1, 3, 3), (2 / 9) ** 0.5))


def test_given_weights_are_kept() -> None:
    module = conv()
    network = SupSup(module, weights="given").network
    assert torch.equal(network.module[0].weight, module[0].weight)


def test_a_network_by_name_takes_inputs_and_outputs() -> None:
    learner = SupSup("lenet-300-100", inputs=16, outputs=10, training=TRAINING)
    images, labels = clouds(0)
    learner.learn((images.flatten(1), labels))
    assert learner.predict(images.flatten(1)).logits.shape == (96, 10)
    with pytest.raises(ConfigError):
        SupSup("lenet-300-100")


@pytest.mark.parametrize("fails", ["training", "storing"])
def test_learning_that_fails_changes_nothing(fails: str, tmp_path: Path, monkeypatch) -> None:
    learner = taught(1)
    before = learner.memory.save(tmp_path / "a.h5").sha256, learner.state()

    def broken(*_: Any, **__: Any) -> Any:
        raise NumericalError("broken")

    what = (Lesson, "run") if fails == "training" else (learner.memory.couplings, "put")
    monkeypatch.setattr(*what, broken)
    with pytest.raises(NumericalError):
        learner.learn(clouds(1))
    monkeypatch.undo()
    assert (learner.memory.save(tmp_path / "b.h5").sha256, learner.state()) == before
    assert learner.learn(clouds(1)) == 1


# --- answers


@pytest.mark.parametrize("kind", KINDS[1:], ids=str)
def test_an_answer_does_not_depend_on_the_other_images(kind: dict[str, Any]) -> None:
    learner = taught(**kind)
    images = torch.cat([clouds(task, 4)[0] for task in range(3)])
    together = learner.predict(images)
    for row, image in enumerate(images):
        alone = learner.predict(image[None])
        assert int(alone.task) == int(together.task[row])
        torch.testing.assert_close(alone.logits[0], together.logits[row], rtol=1e-4, atol=1e-4)


def test_many_images_are_answered_in_pieces(learner: SupSup, monkeypatch) -> None:
    images = torch.cat([clouds(task, 8)[0] for task in range(3)])
    whole = learner.predict(images)
    monkeypatch.setattr(prediction, "_NUMBERS", 1)
    pieces = learner.predict(images)
    assert torch.equal(whole.task, pieces.task)
    torch.testing.assert_close(whole.logits, pieces.logits, rtol=1e-4, atol=1e-4)


def test_noise_is_not_recognized(learner: SupSup) -> None:
    own = learner.predict(clouds(1)[0], together=True)
    noise = learner.predict(torch.randn(50, 1, 4, 4, generator=torch.Generator().manual_seed(9)))
    assert float(own.recognized.float().mean()) > 0.7
    assert float(noise.recognized.float().mean()) < 0.3
    assert len(repr(noise)) < 100


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_exported_task_gives_the_same_logits(kind: dict[str, Any], tmp_path: Path) -> None:
    learner = taught(2, **kind)
    images, _ = clouds(1)
    module = learner.module(1)
    assert type(module) is nn.Sequential
    torch.testing.assert_close(module(images), learner.predict(images, task=1).logits)
    torch.save(module.state_dict(), tmp_path / "task.pt")
    fresh = conv()
    fresh.load_state_dict(torch.load(tmp_path / "task.pt"))
    assert torch.equal(fresh(images), module(images))


def test_a_layer_norm_network_is_exported() -> None:
    learner = SupSup("layer-norm", inputs=16, outputs=4, masks="unit", bits=64, training=TRAINING)
    images, labels = clouds(0)
    learner.learn((images.flatten(1), labels))
    given = learner.predict(images.flatten(1), task=0).logits
    torch.testing.assert_close(learner.module(0)(images.flatten(1)), given)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_evaluation_measures_what_a_run_does(protocol: str) -> None:
    settings = RunSettings(tasks=2, quick=True, device="cpu", protocol=protocol)

    class Quiet:
        def training(self, *_: Any) -> None: ...
        def evaluated(self, *_: Any) -> None: ...
        def learned(self, *_: Any) -> None: ...

    run = Experiment(settings)
    run.run(Quiet())
    learner = SupSup(
        "lenet-300-100",
        inputs=64,
        outputs=100,
        signature_features=1024,
        signature_groups=2,
        training=run.preset.training,
    )
    tasks = split_digits(tasks=2)
    for task in tasks:
        learner.learn((task.train_images, task.train_labels))
    evaluation, result = learner.evaluate(tasks, protocol=protocol), run.result()
    assert result["protocol"] == protocol
    assert list(evaluation.joint) == result["accuracy_per_task"]
    assert list(evaluation.tasks) == result["per_task"]["task_inference_accuracy"]
    assert evaluation.mean["given"] == result["accuracy_given_task"]
    scored = [len(task.scored_labels) for task in tasks]
    expected = scored if protocol == "image" else [-(-count // 128) for count in scored]
    assert list(evaluation.inferences) == expected


def test_a_task_is_learned_like_its_images_and_says_how_they_are_made_of_pixels() -> None:
    def learned(*, pixels: PixelScale | None = None, whole: bool = True) -> SupSup:
        learner = SupSup(
            "lenet-300-100",
            inputs=64,
            outputs=10,
            training=TrainingSettings(epochs=1),
            pixels=pixels,
        )
        for task in tasks:
            learner.learn(task if whole else (task.train_images, task.train_labels))
        return learner

    tasks = split_digits(tasks=2)
    images, own = tasks[1].scored_images, PixelScale(mean=(0.5,), std=(0.5,))
    by_task, by_images = learned(), learned(whole=False)
    assert torch.equal(by_task.predict(images).logits, by_images.predict(images).logits)
    assert by_task.settings.pixels == tasks[0].scale
    assert tasks[0].scale is not None
    assert by_images.settings.pixels is None
    assert learned(pixels=own).settings.pixels == own
    tasks = [replace(task, scale=None) for task in tasks]
    assert learned().settings.pixels == "unknown"


def test_merged_learners_agree_on_how_images_are_made_of_pixels() -> None:
    def learned(*numbers: int, scale: PixelScale | None) -> SupSup:
        learner = SupSup(
            "lenet-300-100", inputs=64, outputs=10, training=TrainingSettings(epochs=1)
        )
        for number in numbers:
            learner.learn(replace(tasks[number], scale=scale), task=number)
        return learner

    tasks, other = split_digits(tasks=2), PixelScale(mean=(0.5,), std=(0.5,))
    own = tasks[0].scale
    for first, second, expected in (
        (learned(scale=None), learned(1, scale=own), own),
        (learned(0, scale=own), learned(1, scale=own), own),
        (learned(0, scale=own), learned(scale=None), own),
        (learned(0, scale=own), learned(1, scale=other), "unknown"),
    ):
        first.merge(second)
        assert first.settings.pixels == expected


def test_protocol_image_scores_what_is_predicted_of_each_image() -> None:
    learner = taught(masks="weight", signature_groups=2)
    tasks = [
        Task(
            name=f"clouds {number}",
            train_images=images[:0],
            train_labels=labels[:0],
            inference_images=images[:48],
            scored_images=images[48:],
            scored_labels=labels[48:],
        )
        for number, (images, labels) in enumerate(map(clouds, range(3)))
    ]
    evaluation = learner.evaluate(tasks, protocol="image")
    for number, task in enumerate(tasks):
        found = learner.predict(task.scored_images)
        right = (found.task == number) & (found.label == task.scored_labels)
        assert evaluation.joint[number] == pytest.approx(float(right.double().mean()))
        one = learner.predict(task.scored_images[5:6])
        assert (int(one.task), int(one.label)) == (int(found.task[5]), int(found.label[5]))


def test_protocols_that_there_are_not_or_that_see_no_other_images_are_refused(learner) -> None:
    for options in ({"protocol": "set"}, {"protocol": "image", "infer_samples": 4}):
        with pytest.raises(ConfigError):
            learner.evaluate([clouds(0)], **options)


SPOILED: dict[str, Any] = {
    "more labels than images": lambda images, labels: (images, labels.repeat(2)),
    "labels with an axis": lambda images, labels: (images, labels[:, None]),
    "labels beyond the outputs": lambda images, labels: (images, labels + 10),
    "labels that are no whole numbers": lambda images, labels: (images, labels.float()),
    "other channels": lambda images, labels: (images.repeat(1, 2, 1, 1), labels),
    "float64": lambda images, labels: (images.double(), labels),
    "whole numbers": lambda images, labels: (images.long(), labels),
    "NaN": lambda images, labels: (images * torch.nan, labels),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_test_data_that_cannot_be_scored_is_refused(learner: SupSup, fault: str) -> None:
    error = NumericalError if fault == "NaN" else ConfigError
    with pytest.raises(error):
        learner.evaluate([SPOILED[fault](*clouds(0))])


@pytest.mark.parametrize("samples", [0, 1.5, True])
def test_an_inference_sees_a_whole_number_of_images(learner: SupSup, samples: Any) -> None:
    with pytest.raises(ConfigError, match="infer_samples"):
        learner.evaluate([clouds(0)], infer_samples=samples)


def test_images_of_another_type_are_refused_with_the_remedy(learner: SupSup) -> None:
    for given in (None, 0):
        with pytest.raises(ConfigError, match=r"torch\.float32"):
            learner.predict(IMAGES.double(), task=given)


def test_an_evaluation_names_the_tasks_that_there_are() -> None:
    learner = SupSup(conv(), training=TRAINING)
    learner.learn(clouds(0), task=1, epochs=1)
    learner.learn(clouds(1), task=5, epochs=1)
    lines = str(learner.evaluate([clouds(0), clouds(1)])).splitlines()
    assert [line.split()[0] for line in lines] == ["task", "1", "5", "mean"]


def test_means_of_classes_are_weighed_unless_a_gradient_is_to_point() -> None:
    def recall(**options: Any) -> str | None:
        return SupSup(conv(), **options).settings.recall

    assert recall(signature_groups=2) == "posterior"
    assert recall() == recall(signature_groups=2, objective="H") == "both"
    assert recall(signature_groups=2, task_free=True) == "both"
    assert recall(signature_groups=2, recall="entropy") == "entropy"


def test_an_evaluation_cuts_test_data_by_the_seed(learner: SupSup) -> None:
    a, b = (learner.evaluate([clouds(t) for t in range(3)], infer_samples=4) for _ in range(2))
    assert a == b
    assert min(a.joint) > 0.9
    assert all(j <= i <= 1 for i, j in zip(a.inferred, a.joint, strict=True))
    assert str(a).splitlines()[-1].startswith("mean")


# --- streams without boundaries


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"signature_groups": 2},
        {"masks": "hashed", "bits": 512},
        {"memory": "bank", "epsilon": 1e-9},
    ],
    ids=str,
)
def test_a_stream_is_learned_and_answered_while_it_lasts(
    kind: dict[str, Any], tmp_path: Path
) -> None:
    learner = SupSup(conv(), training=TRAINING, task_free=True, ask_every=30, **kind)
    for task in range(2):
        images, labels = clouds(task)
        for first in range(0, 90 * 32, 32):
            where = torch.arange(first, first + 32) % 96
            learner.observe(images[where], labels[where])
        assert learner.predict(images[:4], together=True).task.unique().numel() == 1
        with pytest.raises(ConfigError):
            learner.save(tmp_path)
        learner.close()
    masks = len(learner)
    assert masks >= 2
    learner.save(tmp_path)
    again = SupSup.load(tmp_path, module=conv())
    assert torch.equal(again.predict(clouds(0)[0]).task, learner.predict(clouds(0)[0]).task)
    mask, _ = again.observe(*clouds(2, 32))
    assert mask == masks


def stream(learner: SupSup, task: int, batches: int) -> None:
    for first in range(0, batches * 32, 32):
        where = torch.arange(first, first + 32) % 96
        images, labels = clouds(task)
        learner.observe(images[where], labels[where])


@pytest.mark.parametrize("kind", [{}, {"masks": "hashed", "bits": 512}], ids=str)
def test_a_stream_that_came_back_to_an_earlier_task_is_saved_once_it_is_closed(
    kind: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = SupSup(conv(), training=TRAINING, task_free=True, ask_every=4, **kind)
    stream(learner, 0, 4)
    learner.close()
    stream(learner, 1, 4)
    assert learner.observer is not None
    earlier = Verdict(mask=0, strength=1.0, new=False)
    monkeypatch.setattr(learner.observer.test, "judge", lambda images: earlier)
    assert learner.observe(*clouds(0, 32))[0] == 0
    with pytest.raises(ConfigError, match="call close"):
        learner.save(tmp_path)
    assert not list(tmp_path.iterdir())
    learner.close()
    learner.save(tmp_path)
    assert len(SupSup.load(tmp_path, module=conv())) == 2


def test_a_batch_that_fails_adds_no_mask_to_a_stream() -> None:
    learner = SupSup(conv(), training=TRAINING, task_free=True, ask_every=1)
    for masks in range(2):
        with pytest.raises(ConfigError, match="shape"):
            learner.observe(torch.randn(8, 3, 4, 4), torch.arange(8) % 2)
        assert len(learner) == masks
        assert learner.observe(*clouds(masks, 32))[0] == masks
        learner.close()


def test_a_changed_inference_judges_the_stream_too(tmp_path: Path) -> None:
    learner = SupSup(conv(), training=TRAINING, task_free=True, ask_every=4)
    stream(learner, 0, 6)
    assert learner.observer is not None
    state = learner.observer.state()
    learner.change_inference(recall="entropy")
    assert learner.observer.test.inference.recall.recall == "entropy"
    assert str(learner.observer.state()) == str(state)


# --- Ctrl-C


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, though the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("kind", [{}, {"masks": "hashed", "bits": 512}], ids=str)
def test_a_store_that_is_interrupted_is_done(
    kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch, ctrl_c: None
) -> None:
    learner, store, asked = SupSup(conv(), training=TRAINING, **kind), MaskMemory.store, [True]

    def interrupted(memory: MaskMemory, *given: Any, **options: Any) -> int:
        if asked.pop() if asked else False:
            signal.raise_signal(signal.SIGINT)
        return store(memory, *given, **options)

    monkeypatch.setattr(MaskMemory, "store", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learner.learn(clouds(0))
    assert learner.tasks == (0,)
    assert learner.image_shape == (1, 4, 4)
    assert learner.learn(clouds(1)) == 1
    assert len(learner.evaluate([clouds(0), clouds(1)]).numbers) == 2


@pytest.mark.parametrize("kind", [{}, {"masks": "hashed", "bits": 512}], ids=str)
def test_a_stream_that_is_interrupted_goes_on(
    kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch, ctrl_c: None
) -> None:
    learner = SupSup(conv(), training=TRAINING, task_free=True, ask_every=4, **kind)
    stage, asked = learner.memory, [True]
    store = stage.store

    def interrupted(*given: Any, **options: Any) -> int:
        number = store(*given, **options)
        if asked.pop() if asked else False:
            signal.raise_signal(signal.SIGINT)
        return number

    monkeypatch.setattr(stage, "store", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learner.observe(*clouds(0, 32))
    assert learner.observe(*clouds(0, 32))[0] == 0
    stream(learner, 0, 3)
    learner.close()
    assert len(learner) == 1


# --- forgetting


def test_images_of_more_pixels_are_learned_once_every_task_is_forgotten() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )
    learner, labels = SupSup(module, training=TRAINING), torch.arange(32) % 2
    for side in (8, 12):
        learner.learn((torch.randn(32, 1, side, side), labels), epochs=1)
        assert learner.image_shape == (1, side, side)
        learner.forget(learner.tasks[0])


def test_images_of_another_shape_are_learned_once_every_task_is_forgotten() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    images, labels = clouds(0)
    one, other = SupSup(module, training=TRAINING), SupSup(module, training=TRAINING)
    one.learn((images, labels))
    one.forget(0)
    other.learn((images.flatten(1), labels), task=1)
    one.merge(other)
    assert one.image_shape == (16,)
    assert one.predict(images.flatten(1)[:2]).task.tolist() == [1, 1]
    one.forget(torch.tensor(1))
    one.learn((images, labels))
    assert one.image_shape == (1, 4, 4)


def test_images_of_two_shapes_are_no_task() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    )
    labels = torch.arange(8) % 2
    batches = [(torch.randn(8, 1, side, side), labels) for side in (8, 12)]
    learner = SupSup(module, training=TRAINING, signature_features=0)
    with pytest.raises(ConfigError, match="shape"):
        learner.learn(LoaderData(batches))
    assert len(learner) == 0


def test_a_forgotten_task_is_gone_and_its_number_is_not_used_again() -> None:
    learner = taught(2, rule="hebbian", masks="unit")
    learner.forget(0)
    assert learner.tasks == (1,)
    assert len(learner) == 1
    with pytest.raises(UnknownTaskError):
        learner.predict(clouds(0)[0], task=0)
    assert learner.learn(clouds(2)) == 2


def test_a_bank_forgets_nothing() -> None:
    with pytest.raises(NotForgettableError):
        taught(1, memory="bank").forget(0)


# --- files


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_loaded_learner_answers_the_same_and_learns_on(
    kind: dict[str, Any], tmp_path: Path
) -> None:
    learner = taught(2, **kind)
    images = torch.cat([clouds(task, 8)[0] for task in range(2)])
    learner.save(tmp_path)
    again = SupSup.load(tmp_path, module=conv())
    a, b = learner.predict(images), again.predict(images)
    assert all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))
    assert learner.learn(clouds(2)) == again.learn(clouds(2)) == 2
    one, two = (mask_digest(x.memory.recall(task=2).masks) for x in (learner, again))
    assert one == two


def test_the_folder_has_one_size_for_any_number_of_tasks(tmp_path: Path) -> None:
    sizes = []
    for tasks in (1, 3):
        taught(tasks).save(tmp_path / str(tasks))
        sizes.append((tmp_path / str(tasks) / "memory.h5").stat().st_size)
    assert sizes[0] == sizes[1]


def test_another_module_or_other_weights_are_refused(tmp_path: Path) -> None:
    taught(1).save(tmp_path / "fixed")
    taught(1, weights="given").save(tmp_path / "given")
    wider = nn.Sequential(nn.Conv2d(1, 50, 3, padding=1), nn.Flatten(), nn.Linear(800, 10))
    other = conv()
    with torch.no_grad():
        other[0].weight += 0.1
    SupSup.load(tmp_path / "fixed", module=other)  # drawn anew
    SupSup.load(tmp_path / "given", module=conv())
    for folder, module in (("fixed", wider), ("fixed", None), ("given", other)):
        with pytest.raises(ConfigError):
            SupSup.load(tmp_path / folder, module=module)


def test_a_memory_of_another_network_is_refused() -> None:
    one, other = taught(1, seed=0), taught(1, seed=1)
    with pytest.raises(ConfigError):
        one.restore(one.state(), other.kept)


@pytest.mark.parametrize("crashes", [1, 2])
def test_a_save_that_is_cut_short_leaves_the_state_before(
    crashes: int, tmp_path: Path, monkeypatch
) -> None:
    learner = taught(1)
    learner.save(tmp_path)

    def crash(*_: Any, **__: Any) -> Any:
        raise StoreFileError("power cut")

    broken = SimpleNamespace(**{**vars(files.storage), "write": crash})

    for task in range(1, 1 + crashes):
        learner.learn(clouds(task))
        with monkeypatch.context() as patch:
            patch.setattr(files, "storage", broken)  # after the memory was written
            with pytest.raises(StoreFileError):
                learner.save(tmp_path)
        assert SupSup.load(tmp_path, module=conv()).tasks == (0,)
    learner.save(tmp_path)
    assert len(SupSup.load(tmp_path, module=conv())) == 1 + crashes


@pytest.mark.parametrize("name", ["memory.h5", "learner.h5"])
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    taught(1).save(tmp_path)
    os.truncate(tmp_path / name, 700)
    with pytest.raises(StoreFileError):
        SupSup.load(tmp_path, module=conv())


# --- what is refused


@pytest.mark.parametrize(
    "options",
    [
        {"memory": "banks"},
        {"rule": "hebbian"},
        {"key_bits": 64},
        {"hubs": 12},
        {"masks": "hashed", "hubs": 8},
        {"masks": "hashed", "objective": "H"},
        {"memory": "bank", "hubs": 8},
        {"objective": "G", "classes": 10},
        {"recall": "address", "objective": "H"},
        {"recall": "paper"},
        {"signature_groups": 0},
        {"signature_groups": 2, "signature_features": 0},
        {"signature_groups": 2, "masks": "hashed"},
        {"signature_groups": 1, "memory": "bank"},
        {"signature_groups": 5000},
        {"recall": "both", "signature_features": 0},
        {"recall": "address", "signature_features": 0},
        {"signature": "outputs", "masks": "signed"},
        {"signature": "gradient", "masks": "signed"},
        {"signature": "outputs", "signature_features": 0},
        {"recall": "posterior"},
        {"recall": "posterior", "signature_groups": 2, "task_free": True},
        {"recall": "posterior", "signature_groups": 2, "objective": "H"},
        {"ask_every": 3},
        {"memory": "bank", "epsilon": 0.1},
        {"memory": "bank", "recall": "both"},
        {"inference": "one-shot"},
        {"weights": "drawn"},
        {"bits": 0},
        {"seed": -1},
        {"device": "gpu"},
        {"inputs": 3},
        {"budget": 3},
        {"training": 3},
        {"memory": "bank", "bits": 64},
        {"memory": "bank", "objective": "G"},
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SupSup(conv(), **options)


@pytest.mark.parametrize("module", [3, "no-such-network", nn.ReLU()], ids=str)
def test_what_is_no_network_is_refused(module: Any) -> None:
    with pytest.raises(ConfigError):
        SupSup(module)


IMAGES, LABELS = clouds(0, 8)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ((IMAGES.flatten(1), LABELS), ConfigError),
        ((IMAGES, LABELS.float()), ConfigError),
        ((IMAGES, LABELS + 9), ConfigError),
        ((IMAGES[:0], LABELS[:0]), ConfigError),
        ((IMAGES * torch.nan, LABELS), NumericalError),
        (IMAGES, ConfigError),
        (DataLoader(TensorDataset(IMAGES, LABELS + 9)), ConfigError),
    ],
    ids=["flat", "float labels", "labels", "empty", "NaN", "no labels", "loader"],
)
def test_data_that_does_not_fit_is_refused(data: Any, error: type[HopmaskError]) -> None:
    learner = SupSup(conv(), training=TRAINING)
    with pytest.raises(error):
        learner.learn(data)
    assert len(learner) == 0


@pytest.mark.parametrize(
    ("images", "error"),
    [
        (IMAGES.flatten(1), ConfigError),
        (IMAGES[:0], ConfigError),
        (IMAGES[:, :, :2], ConfigError),
        (IMAGES.long(), ConfigError),
        (IMAGES * torch.inf, NumericalError),
        ([1, 2], ConfigError),
    ],
    ids=["flat", "none", "shape", "type", "inf", "list"],
)
def test_questions_that_do_not_fit_are_refused(
    images: Any, error: type[HopmaskError], learner: SupSup
) -> None:
    for ask in (learner.predict, learner.infer_task):
        with pytest.raises(error):
            ask(images)


def test_before_the_first_task_there_is_no_answer() -> None:
    learner = SupSup(conv())
    for ask in (learner.predict, learner.infer_task):
        with pytest.raises(EmptyMemoryError):
            ask(IMAGES)
    with pytest.raises(EmptyMemoryError):
        learner.module(0)
    with pytest.raises(EmptyMemoryError, match="no task was learned"):
        learner.evaluate([])


@pytest.mark.parametrize(
    ("masks", "images", "seen"), [("weight", 40, 1), ("unit", 40, 20), ("unit", 200, 64)]
)
def test_so_many_images_infer_a_task_unless_a_learner_says_otherwise(
    masks: str, images: int, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = TrainingSettings(max_batches=2)
    module = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    draw = torch.Generator().manual_seed(0)
    data = torch.randn(images, 6, generator=draw), torch.arange(images) % 2
    learner = SupSup(module, masks=masks, training=training)
    learner.learn(data)
    asked = []
    inner = evaluation.scoring.Protocol

    def watched(protocol: str, samples: int, generator: torch.Generator) -> Any:
        asked.append(samples)
        return inner(protocol, samples, generator)

    monkeypatch.setattr(evaluation.scoring, "Protocol", watched)
    learner.evaluate([data])
    assert asked == [seen]


def test_test_data_that_has_no_length_is_refused(learner: SupSup) -> None:
    with pytest.raises(ConfigError, match="a list of the data of tasks, got generator"):
        learner.evaluate(clouds(task) for task in range(2))  # type: ignore[arg-type]


def test_an_unknown_task_is_refused(learner: SupSup) -> None:
    for task in (3, -1, True, "0", 1.0):
        with pytest.raises(UnknownTaskError):
            learner.predict(IMAGES, task=task)  # type: ignore[arg-type]


def test_a_task_that_was_found_can_be_given(learner: SupSup) -> None:
    found = learner.predict(clouds(1)[0][:2]).task[0]
    given = learner.predict(IMAGES, task=found)  # type: ignore[arg-type]
    assert torch.equal(given.logits, learner.predict(IMAGES, task=int(found)).logits)
    assert given.task.unique().tolist() == [int(found)]


def test_verbs_of_the_other_kind_of_learner_are_refused(learner: SupSup) -> None:
    with pytest.raises(ConfigError):
        learner.observe(IMAGES, LABELS)
    with pytest.raises(ConfigError):
        SupSup(conv(), task_free=True).learn((IMAGES, LABELS))


@pytest.mark.parametrize("kind", [{}, {"masks": "hashed", "bits": 64}], ids=str)
def test_a_way_of_recall_can_be_changed(kind: dict[str, Any]) -> None:
    learner = taught(1, **kind)
    for recall in ("address", "entropy", "both"):
        learner.change_inference(recall=recall)
        assert learner.infer_task(clouds(0)[0], together=True) == 0


def test_an_inference_that_is_refused_leaves_the_one_before(learner: SupSup) -> None:
    before = learner.settings
    for options in ({"seed": 3}, {"inference": "one-shot"}, {"recall": "no"}):
        with pytest.raises(ConfigError):
            learner.change_inference(**options)
    assert learner.settings == before


def test_an_image_of_zeros_changes_no_other_prediction(learner: SupSup) -> None:
    images = torch.cat([clouds(task)[0][:5] for task in range(3)])
    blank = torch.cat([images[:7], torch.zeros(1, 1, 4, 4), images[7:]])
    found, alone = learner.predict(blank), learner.predict(images)
    others = torch.arange(16) != 7
    for name in ("task", "label", "logits", "recognized"):
        assert torch.equal(getattr(found, name)[others], getattr(alone, name)), name
    assert not found.recognized[7]
    assert torch.equal(learner.infer_task(blank)[others], alone.task)


# --- messages


def test_an_option_that_there_is_not_is_refused_with_one_much_like_it() -> None:
    with pytest.raises(ConfigError, match="did you mean 'hubs'"):
        SupSup(conv(), hub=4)  # type: ignore[call-arg]


def test_images_of_another_type_are_refused_with_the_type_that_is_needed() -> None:
    images, labels = clouds(0)
    learner = SupSup(conv(), training=TRAINING)
    with pytest.raises(ConfigError, match=r"images\.to\(torch\.float32\)"):
        learner.learn((images.double(), labels))
    with pytest.raises(ConfigError, match="of the shape that the module takes"):
        learner.learn((images.flatten(1), labels))
    assert learner.tasks == ()


def test_settings_that_were_left_out_are_their_defaults_where_learners_merge() -> None:
    images, labels = (
        torch.randn(32, 4, generator=torch.Generator().manual_seed(0)),
        torch.arange(32),
    )
    one, other = (
        SupSup("lenet-300-100", inputs=4, outputs=2, signature_features=32, **given)
        for given in ({}, {"masks": "weight", "signature": "input"})
    )
    one.learn((images, labels % 2))
    other.learn((images + 1, labels % 2), task=1)
    one.merge(other)
    assert list(one.tasks) == [0, 1]


def test_autocast_around_a_prediction_changes_nothing() -> None:
    images = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    learner = SupSup("lenet-300-100", inputs=4, outputs=2, signature_features=32)
    learner.learn((images, torch.arange(32) % 2))
    for way in ({}, {"task": 0}, {"together": True}):
        wanted = learner.predict(images, **way)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = learner.predict(images, **way)
        assert torch.equal(found.logits, wanted.logits)
        assert torch.equal(found.recognized, wanted.recognized)
