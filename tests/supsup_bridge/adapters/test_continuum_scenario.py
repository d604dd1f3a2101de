"""Tasks of scenarios of Continuum itself, where it is installed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("continuum", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")  # of Continuum and its packages

from continuum import ClassIncremental, ContinualScenario, InstanceIncremental  # noqa: E402
from continuum.datasets import H5Dataset, InMemoryDataset  # noqa: E402
from continuum.scenarios import OnlineFellowship, Permutations, Rotations  # noqa: E402
from continuum.tasks import TaskType  # noqa: E402
from PIL import Image  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from torchvision.transforms import ToTensor  # noqa: E402

from hopmask import ConfigError  # noqa: E402
from supsup_bridge import Experiment, RunSettings, SupSup, TrainingSettings  # noqa: E402
from supsup_bridge.adapters.continuum_scenario import tasks_of  # noqa: E402

ORDER = [5, 2, 4, 1, 8, 6, 7, 9, 0, 3]


def digits() -> tuple[Any, Any]:
    """Images in [0, 255], as Continuum's own data sets hold them, for training and for test."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels * 15).astype("uint8").reshape(-1, 8, 8)
    test = np.arange(len(labels)) % 3 == 0
    return tuple(InMemoryDataset(images[i], labels[i]) for i in (~test, test))


def random_data(kind: TaskType, shape: tuple[int, ...], dtype: str = "uint8") -> InMemoryDataset:
    draw = np.random.default_rng(0).integers(0, 256, (8, *shape))
    return InMemoryDataset(draw.astype(dtype), np.arange(8) % 2, np.arange(8) % 4 // 2, kind)


def test_classes_come_two_by_two_and_find_their_way_back() -> None:
    data = digits()
    train, test = (ClassIncremental(d, increment=2, class_order=ORDER) for d in data)
    tasks = tasks_of(train, test)
    assert len(tasks) == 5
    pixels, labels, _ = data[0].get_data()
    for number, task in enumerate(tasks):
        assert task.classes == 2
        back = train.get_original_targets(tasks.classes_of(number)[task.train_labels].numpy())
        mine = np.isin(labels, ORDER[2 * number : 2 * number + 2])
        assert (back == labels[mine]).all()
        expected = torch.from_numpy(pixels[mine]).float()[:, None] / 255
        torch.testing.assert_close(task.train_images, expected, rtol=0, atol=1e-7)
        assert {*task.scored_labels.tolist()} == {0, 1}
        assert abs(len(task.scored_images) - len(task.inference_images)) <= 1


def test_a_learner_learns_a_scenario() -> None:
    tasks = tasks_of(*(ClassIncremental(data, increment=2) for data in digits()))
    training = TrainingSettings(rate=0.01, epochs=6, batch=32)
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 2)
    )
    learner = SupSup(module, training=training)
    for task in tasks:
        learner.learn((task.train_images, task.train_labels))
    assert learner.evaluate(tasks, infer_samples=16).mean["joint"] > 0.9


def test_a_stream_without_boundaries_learns_a_scenario() -> None:
    tasks = tasks_of(*(Permutations(data, nb_tasks=2) for data in digits()))
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10)
    )
    learner = SupSup(module, task_free=True, training=TrainingSettings(rate=0.01, batch=32))
    for task in tasks:
        batches = zip(task.train_images.split(32), task.train_labels.split(32), strict=True)
        for images, labels in batches:
            learner.observe(images, labels)
    assert learner.tasks == (0, 1)


def test_permutations_show_the_same_images_in_every_task() -> None:
    scenarios = [Permutations(data, nb_tasks=3) for data in digits()]
    tasks = tasks_of(*scenarios)
    first, *others = (task.train_images.flatten(1) for task in tasks)
    for number, images in enumerate(others, 1):
        assert not torch.equal(images, first)
        torch.testing.assert_close(images.sort(-1)[0], first.sort(-1)[0])
        assert tasks.classes_of(number).tolist() == [*range(10)]
        assert torch.equal(tasks[number].train_labels, tasks[0].train_labels)


def test_rotations_are_those_of_the_scenario() -> None:
    scenarios = [Rotations(data, list_degrees=[0, 45]) for data in digits()]
    straight, turned = tasks_of(*scenarios)
    assert not torch.equal(straight.train_images, turned.train_images)
    expected = torch.stack([image for image, _, _ in scenarios[0][1]])
    torch.testing.assert_close(turned.train_images, expected)


def test_permutations_with_classes_of_their_own() -> None:
    scenarios = [Permutations(d, nb_tasks=2, shared_label_space=False) for d in digits()]
    tasks = tasks_of(*scenarios)
    assert tasks.classes_of(1).tolist() == [*range(10, 20)]
    assert torch.equal(tasks[0].train_labels, tasks[1].train_labels)


def test_instances_come_in_parts_and_a_run_learns_them(quiet) -> None:
    flat = [ToTensor(), torch.flatten]
    train, test = (InstanceIncremental(data, 2, transformations=flat) for data in digits())
    tasks = tasks_of(train, test)
    assert sum(len(task.train_labels) for task in tasks) == train.nb_samples
    run = Experiment(RunSettings(tasks=2, batches=60), tasks=tasks)
    run.run(quiet)
    assert run.result()["accuracy_given_task"] > 0.8


def test_labels_that_the_scenario_shifts() -> None:
    train, test = digits()
    tasks = tasks_of(OnlineFellowship([train, train]), OnlineFellowship([test, test]))
    assert tasks.classes_of(1).tolist() == [*range(10, 20)]
    assert {*tasks[1].scored_labels.tolist()} == {*range(10)}


def test_colours_files_tensors_and_hdf5(tmp_path: Path) -> None:
    colours = random_data(TaskType.IMAGE_ARRAY, (6, 4, 3))
    pixels, labels, parts = colours.get_data()
    paths = [str(tmp_path / f"{number}.png") for number in range(len(pixels))]
    for path, picture in zip(paths, pixels, strict=True):
        Image.fromarray(picture).save(path)
    files = InMemoryDataset(np.array(paths), labels, parts, TaskType.IMAGE_PATH)
    kept = H5Dataset(pixels, labels, parts, data_path=str(tmp_path / "images.h5"))
    expected = torch.from_numpy(pixels[parts == 1]).float().permute(0, 3, 1, 2) / 255
    for data in (colours, files, kept):
        task = tasks_of(ContinualScenario(data), ContinualScenario(data))[1]
        torch.testing.assert_close(task.train_images, expected)
        assert task.train_labels.tolist() == [0, 1, 0, 1]
    features = ContinualScenario(random_data(TaskType.TENSOR, (5,), dtype="float64"))
    found = tasks_of(features, features)[0].train_images
    assert (found.dtype, found.shape) == (torch.float32, (4, 5))


def test_what_does_not_fit_is_refused() -> None:
    train, test = digits()
    pairs = ClassIncremental(train, increment=2), ClassIncremental(test, increment=5)
    with pytest.raises(ConfigError, match="5 and 2 task sets"):
        tasks_of(*pairs)
    another = ClassIncremental(test, increment=2, class_order=ORDER)
    shuffled = tasks_of(InstanceIncremental(train, nb_tasks=5), another)
    assert shuffled[0].classes == 10  # fewer classes in test are no fault
    with pytest.raises(ConfigError, match="the task, which has"):
        tasks_of(another, InstanceIncremental(test, nb_tasks=5))[0]
    text = ContinualScenario(random_data(TaskType.TEXT, ()))
    with pytest.raises(ConfigError, match="got TEXT"):
        tasks_of(text, text)[0]
    whole = ContinualScenario(random_data(TaskType.TENSOR, (5,)))
    with pytest.raises(ConfigError, match=r"floats, got torch.uint8"):
        _ = tasks_of(whole, whole)[0].train_images
    raw, classes, parts = random_data(TaskType.IMAGE_ARRAY, (4, 4)).get_data()
    two = InMemoryDataset(raw, np.stack([classes, classes], 1), parts)
    columns = ContinualScenario(two)
    with pytest.raises(ConfigError, match="one class"):
        tasks_of(columns, columns)[0]
