"""Permuted and rotated MNIST: pixels move, labels and parts stay, and nothing is made unasked."""

import gc
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hopmask import ConfigError
from supsup_bridge import DataError, Task
from supsup_bridge.data import mnist_variants as transformed
from supsup_bridge.data.benchmarks import default_tasks
from supsup_bridge.data.datasets import load_mnist
from supsup_bridge.data.labelled import LabelledImages
from supsup_bridge.data.mnist_variants import permuted, permuted_mnist, rotated, rotated_mnist
from supsup_bridge.data.pixel_scale import PixelScale

PARTS = ("train_images", "inference_images", "scored_images")
BLACK = -0.1307 / 0.3081
STREAMS = (permuted_mnist, rotated_mnist)


@pytest.fixture(scope="module")
def mnist(mnist_folder: Path) -> tuple[LabelledImages, LabelledImages]:
    return load_mnist(mnist_folder)


def part(images: int, seed: int) -> LabelledImages:
    """So many images of noise, of the shape of MNIST's."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(images, 784, generator=generator)
    pixels[:, ::3] = 0
    return LabelledImages(
        images=(pixels - 0.1307) / 0.3081,
        labels=torch.arange(images) % 10,
        scale=PixelScale(mean=(0.1307,), std=(0.3081,)),
    )


@pytest.fixture
def noise(monkeypatch) -> tuple[LabelledImages, LabelledImages]:
    """Noise in the place of MNIST, 60 training and 41 test images."""
    parts = part(60, seed=0), part(41, seed=1)
    monkeypatch.setattr(transformed, "load_mnist", lambda data: parts)
    return parts


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def same(a: Task, b: Task) -> bool:
    names = (*PARTS, "train_labels", "scored_labels")
    return a.name == b.name and all(torch.equal(getattr(a, n), getattr(b, n)) for n in names)


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor that any operation returns."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.bytes = max(self.bytes, result.nbytes)
        return result


def held_bytes() -> int:
    """Bytes of all tensors alive, storage shared by several counted once."""
    gc.collect()
    alive = [thing for thing in gc.get_objects() if type(thing) is Tensor]
    return sum({s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in alive)}.values())


# --- both


@pytest.mark.parametrize("make", STREAMS)
def test_ten_classes_all_train_images_and_labels_unchanged(make: Any, noise: Any) -> None:
    train, _ = noise
    for task in make(tasks=3):
        assert task.classes == 10
        assert task.train_images.shape == train.images.shape
        assert torch.equal(task.train_labels, train.labels)


@pytest.mark.parametrize("make", STREAMS)
def test_tasks_share_one_cut(make: Any, noise: Any) -> None:
    first, *others = make(tasks=4, seed=2)
    assert all(torch.equal(task.scored_labels, first.scored_labels) for task in others)
    assert all(
        (len(t.inference_images), len(t.scored_images)) == (20, 21) for t in (first, *others)
    )


@pytest.mark.parametrize("make", STREAMS)
def test_the_seed_decides(make: Any, noise: Any) -> None:
    a, b, other = make(tasks=3), make(tasks=3), make(tasks=3, seed=1)
    assert all(same(x, y) for x, y in zip(a, b, strict=True))
    assert all(
        not torch.equal(x.scored_images, y.scored_images) for x, y in zip(a, other, strict=True)
    )


@pytest.mark.parametrize("make", STREAMS)
def test_tasks_differ_in_images_and_names(make: Any, noise: Any) -> None:
    for a, b in combinations(make(tasks=6), 2):
        assert a.name != b.name
        assert not rows(a.train_images) & rows(b.train_images)


@pytest.mark.parametrize("make", STREAMS)
def test_fewer_tasks_are_the_first_of_more(make: Any, noise: Any) -> None:
    assert all(same(a, b) for a, b in zip(make(tasks=2), make(tasks=5)[:2], strict=True))


@pytest.mark.parametrize("make", STREAMS)
def test_a_task_is_the_same_each_time_it_is_made(make: Any, noise: Any) -> None:
    tasks = make(tasks=3)
    assert same(tasks[2], tasks[2])


@pytest.mark.parametrize("make", STREAMS)
def test_the_global_generator_is_left_alone(make: Any, noise: Any) -> None:
    before = torch.get_rng_state()
    assert make(tasks=2)[1].train_images.shape == (60, 784)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", STREAMS)
def test_data_set_images_are_not_changed(make: Any, noise: Any) -> None:
    train, test = (p.images.clone() for p in noise)
    task = make(tasks=1)[0]
    for name in PARTS:
        getattr(task, name).zero_()
    assert torch.equal(noise[1].images, test)
    assert torch.equal(noise[0].images, train)


@pytest.mark.parametrize(
    ("make", "tasks"), [(permuted_mnist, 2500), (rotated_mnist, 36)], ids=["permuted", "rotated"]
)
def test_names_labels_and_classes_make_no_images(make: Any, tasks: int, noise: Any) -> None:
    stream = make(tasks=tasks)
    with Largest() as made:
        seen = [(task.name, task.classes, len(task.train_labels)) for task in stream]
        assert made.bytes <= 784 * 8  # no more than one order of the pixels
        assert stream[tasks - 1].scored_images.shape == (21, 784)
    assert made.bytes >= 21 * 784 * 4  # it does see images
    assert len(set(seen)) == tasks
    assert {(classes, labels) for _, classes, labels in seen} == {(10, 60)}


def test_a_stream_and_its_tasks_hold_mnist_once(noise: Any) -> None:
    before = held_bytes()
    stream = permuted_mnist(tasks=2500)
    plain = held_bytes() - before
    tasks = list(stream[:50])
    assert sum(len(task.train_images) for task in tasks) == 50 * 60
    assert plain <= 41 * (784 * 4 + 8) + 10_000  # the cut test part; the rest is the data set's
    assert held_bytes() - before - plain <= 50 * (784 * 8 + 100)


@pytest.mark.parametrize("make", STREAMS)
def test_default_number_of_tasks_is_the_benchmarks(make: Any, noise: Any) -> None:
    assert len(make()) == default_tasks(make.__name__.replace("_", "-"))


@pytest.mark.parametrize("make", STREAMS)
def test_without_data_is_a_data_error(make: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        make(data=tmp_path / "nowhere")


@pytest.mark.parametrize("tasks", [0, -1])
def test_no_permutations_are_refused(tasks: int) -> None:
    with pytest.raises(ConfigError, match=f"1 or more tasks, got {tasks}"):
        permuted_mnist(tasks=tasks)


@pytest.mark.parametrize("tasks", [0, -1, 37])
def test_numbers_of_rotations_that_do_not_exist_are_refused(tasks: int) -> None:
    with pytest.raises(ConfigError, match=f"1 to 36 tasks, got {tasks}"):
        rotated_mnist(tasks=tasks)


# --- permutations


@pytest.mark.parametrize("make", [permuted_mnist, rotated_mnist])
def test_pixels_that_were_moved_have_no_scale(make, noise: Any) -> None:
    """A picture of a file is moved by nobody."""
    assert noise[0].scale is not None
    assert [task.scale for task in make(tasks=2)] == [None, None]


def test_permuted_pixels_go_where_the_order_says() -> None:
    images = torch.arange(12.0).reshape(3, 4)
    order = torch.tensor([2, 0, 3, 1])
    expected = [[float(image[p]) for p in order] for image in images]
    assert permuted(images, order).tolist() == expected


def test_permutations_are_bijections_the_first_one_too(noise: Any) -> None:
    train, test = noise
    for task in permuted_mnist(tasks=3):
        assert not torch.equal(task.train_images, train.images)
        assert torch.equal(task.train_images.sort(1).values, train.images.sort(1).values)
        held_out = torch.cat([task.inference_images, task.scored_images])
        assert rows(held_out.sort(1).values) == rows(test.images.sort(1).values)


def test_one_order_for_all_images_of_a_task(noise: Any, monkeypatch) -> None:
    numbers = torch.arange(784.0).expand(30, 784)
    parts = [LabelledImages(images=numbers, labels=torch.arange(30) % 10)] * 2
    monkeypatch.setattr(transformed, "load_mnist", lambda data: parts)
    orders = []
    for task in permuted_mnist(tasks=3):
        images = torch.cat([getattr(task, name) for name in PARTS])
        assert (images == images[0]).all()
        orders.append(images[0])
    assert all(not torch.equal(a, b) for a, b in combinations(orders, 2))


def test_permuted_mnist_is_all_of_mnist(mnist: Any, monkeypatch) -> None:
    monkeypatch.setattr(transformed, "load_mnist", lambda data: mnist)
    train, test = mnist
    task = permuted_mnist(tasks=250, seed=5)[249]
    assert torch.equal(task.train_labels, train.labels)
    some = slice(0, 60_000, 100)
    assert torch.equal(task.train_images[some].sort(1).values, train.images[some].sort(1).values)
    assert not torch.equal(task.train_images[some], train.images[some])
    recall, scored = (rows(i.sort(1).values) for i in (task.inference_images, task.scored_images))
    assert (len(task.inference_images), len(task.scored_images)) == (5000, 5000)
    assert not recall & scored
    assert recall | scored == rows(test.images.sort(1).values)


def test_scored_images_of_mnist_keep_their_labels(mnist: Any, monkeypatch) -> None:
    monkeypatch.setattr(transformed, "load_mnist", lambda data: mnist)
    _, test = mnist
    pairs = zip(test.images, test.labels, strict=True)
    truth = {image.numpy().tobytes(): int(label) for image, label in pairs}
    task = rotated_mnist(tasks=1)[0]
    assert [truth[i.numpy().tobytes()] for i in task.scored_images] == task.scored_labels.tolist()


# --- rotations


def reference(image: Tensor, degrees: float, background: float) -> list[float]:
    """Bilinear rotation of one image, pixel by pixel; anticlockwise."""
    side = math.isqrt(len(image))
    pixels = image.double().reshape(side, side).tolist()
    cos, sin, middle = (
        math.cos(math.radians(degrees)),
        math.sin(math.radians(degrees)),
        (side - 1) / 2,
    )

    def value(r: int, c: int) -> float:
        return pixels[r][c] if 0 <= r < side and 0 <= c < side else background

    turned = []
    for i in range(side):
        for j in range(side):
            x, y = j - middle, middle - i  # to the right and up
            x, y = cos * x + sin * y, -sin * x + cos * y  # turned back, clockwise
            r, c = middle - y, middle + x
            r0, c0 = math.floor(r), math.floor(c)
            a, b = r - r0, c - c0
            turned.append(
                (1 - a) * ((1 - b) * value(r0, c0) + b * value(r0, c0 + 1))
                + a * ((1 - b) * value(r0 + 1, c0) + b * value(r0 + 1, c0 + 1))
            )
    return turned


@pytest.mark.parametrize("degrees", [0, 10, 90, 137, 350, -30])
@pytest.mark.parametrize("side", [1, 4])
def test_rotation_is_that_of_an_obvious_loop(side: int, degrees: float) -> None:
    images = torch.rand(3, side * side, generator=torch.Generator().manual_seed(side))
    expected = torch.tensor([reference(image, degrees, -0.4) for image in images])
    torch.testing.assert_close(
        rotated(images, degrees=degrees, background=-0.4), expected, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("degrees", [20, 70, 110, 300])
def test_rotation_agrees_with_scipy(degrees: float) -> None:
    square = np.random.default_rng(0).random((28, 28))
    square[[0, -1]] = square[:, [0, -1]] = 0.25  # scipy does not blend at the border
    expected = scipy.ndimage.rotate(square, degrees, reshape=False, order=1, cval=0.25)
    found = rotated(torch.from_numpy(square.reshape(1, -1)), degrees=degrees, background=0.25)
    np.testing.assert_allclose(found.numpy().reshape(28, 28), expected, atol=1e-8)


@pytest.mark.parametrize("quarters", range(5))
@pytest.mark.parametrize("side", [27, 28])
def test_quarter_turns_are_exact(side: int, quarters: int) -> None:
    images = torch.randn(5, side * side, generator=torch.Generator().manual_seed(0))
    turned = rotated(images, degrees=90 * quarters, background=3.0)
    expected = torch.rot90(images.reshape(5, side, side), quarters, dims=(1, 2)).reshape(5, -1)
    assert torch.equal(turned, expected)


def test_what_comes_in_from_outside_is_background() -> None:
    turned = rotated(torch.ones(2, 784), degrees=45, background=-7.0).reshape(2, 28, 28)
    corners = turned[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.equal(corners, torch.full((2, 4), -7.0))
    torch.testing.assert_close(turned[:, 10:18, 10:18], torch.ones(2, 8, 8))


def test_an_image_of_background_stays_so_at_any_angle() -> None:
    image = torch.full((1, 784), BLACK)
    for degrees in range(0, 360, 10):
        torch.testing.assert_close(rotated(image, degrees=degrees, background=BLACK), image)


def test_more_images_than_are_rotated_at_once_come_out_as_one_by_one() -> None:
    images = torch.rand(2500, 16, generator=torch.Generator().manual_seed(0))
    together = rotated(images, degrees=30, background=0)
    for number in (0, 1023, 1024, 2047, 2048, 2499):
        alone = rotated(images[number : number + 1], degrees=30, background=0)
        assert torch.equal(together[number], alone[0])


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"square images.*15 pixels"):
        rotated(torch.zeros(2, 15), degrees=10, background=0)


def test_rotations_are_ten_degrees_apart_and_the_first_is_none(noise: Any) -> None:
    train, _ = noise
    tasks = rotated_mnist()
    assert [task.name for task in tasks] == [f"rotated by {10 * i} degrees" for i in range(36)]
    assert torch.equal(tasks[0].train_images, train.images)
    upside_down = train.images.reshape(-1, 28, 28).flip(1, 2).reshape(-1, 784)
    assert torch.equal(tasks[18].train_images, upside_down)
    expected = rotated(train.images, degrees=70, background=BLACK)
    torch.testing.assert_close(tasks[7].train_images, expected)


def test_rotated_mnist_is_filled_with_black(mnist: Any, monkeypatch) -> None:
    monkeypatch.setattr(transformed, "load_mnist", lambda data: mnist)
    images = rotated_mnist(tasks=5)[4].inference_images.reshape(-1, 28, 28)
    assert images.shape == (5000, 28, 28)
    torch.testing.assert_close(images[:, 0, 0], torch.full((5000,), BLACK))
    torch.testing.assert_close(images.min(), torch.tensor(BLACK))


def test_no_image_of_mnist_is_scored_in_one_rotation_and_recalled_in_another(
    mnist: Any, monkeypatch
) -> None:
    monkeypatch.setattr(transformed, "load_mnist", lambda data: mnist)
    tasks = rotated_mnist(tasks=19)
    upright, upside_down = tasks[0], tasks[18]
    turned_back = rotated(upside_down.scored_images, degrees=180, background=BLACK)
    assert rows(turned_back) == rows(upright.scored_images)
    assert not rows(turned_back) & rows(upright.inference_images)
