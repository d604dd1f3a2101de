"""Augmentation: training images are moved and mirrored, all others stay as they are."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hopmask import ConfigError
from supsup_bridge import SupSup, TrainingSettings
from supsup_bridge.training import augmentation
from supsup_bridge.training.augmentation import crop_flip, cut, jitter
from supsup_bridge.training.data import TensorData, lesson_data
from supsup_bridge.training.fit import Lesson

SETTINGS = TrainingSettings(epochs=3, batch=4, augment="crop-flip", contrast=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES, LABELS = torch.randn(10, 3, 8, 6, generator=seeded()), torch.arange(10) % 2


def moved(image: Tensor, top: int, left: int, mirror: bool) -> Tensor:
    """One image, pixel by pixel: what lay at (row + top - 4, column + left - 4)."""
    _, height, width = image.shape
    made = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            r, c = row + top - 4, (width - 1 - column if mirror else column) + left - 4
            if 0 <= r < height and 0 <= c < width:
                made[:, row, column] = image[:, r, c]
    return made


@pytest.fixture(scope="module")
def moves() -> list[set[bytes]]:
    """Of each image, all that it can become."""
    every = [*product(range(9), range(9), (False, True))]
    return [{moved(image, *move).numpy().tobytes() for move in every} for image in IMAGES]


def test_every_image_is_moved_as_a_slow_loop_moves_it(moves) -> None:
    made = [image.numpy().tobytes() for image in crop_flip(IMAGES, seeded())]
    assert all(one in known for one, known in zip(made, moves, strict=True))


def test_all_moves_occur_equally_often() -> None:
    count = 8100
    image = torch.zeros(1, 20, 40)
    image[0, 10, 10] = 1  # it moves to rows 6 .. 14, and columns 6 .. 14 or, mirrored, 25 .. 33
    made = crop_flip(image.expand(count, 1, 20, 40), seeded())
    rows, columns = (made.sum(axis).argmax(-1).flatten().bincount() for axis in (3, 2))
    for found, places in ((rows, [*range(6, 15)]), (columns, [*range(6, 15), *range(25, 34)])):
        assert found.sum() == found[places].sum() == count
        torch.testing.assert_close(
            found[places] / count, torch.full((len(places),), 1 / len(places)), rtol=0.25, atol=0
        )


def test_one_seed_makes_one_augmentation_and_images_are_not_changed() -> None:
    before = IMAGES.clone()
    a, b, c = (crop_flip(IMAGES, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(IMAGES, before)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    crop_flip(IMAGES, seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_colours_change_by_no_more_than_is_said() -> None:
    """Each image is an affine function of its colours, one for all of its pixels."""
    images = torch.randn(400, 3, 6, 5, generator=seeded())
    made = jitter(images, seeded(1))
    for image, changed in zip(images[:50], made, strict=False):
        colours = torch.cat([image.flatten(1).T, torch.ones(30, 1)], 1)
        found = torch.linalg.lstsq(colours, changed.flatten(1).T)
        torch.testing.assert_close(colours @ found.solution, changed.flatten(1).T)
    shift = made.mean((2, 3)) - images.mean((2, 3))
    grey, tint = shift.mean(1), shift - shift.mean(1, keepdim=True)
    assert 0.25 < float(grey.abs().max()) < 0.39
    flat = torch.ones(400, 3, 2, 2) * torch.tensor([1.0, 0.0, -1.0])[:, None, None]
    spread = jitter(flat, seeded(2))[:, 0, 0, 0] - jitter(flat, seeded(2))[:, 2, 0, 0]
    assert 2 * (1 - 0.6) - 0.18 <= float(spread.min()) < 1.2
    assert 2.8 < float(spread.max()) <= 2 * (1 + 0.6) + 0.18
    stretch = made.sub(made.mean((2, 3), keepdim=True)).mean(1).flatten(1).norm(dim=1)
    stretch = stretch / images.sub(images.mean((2, 3), keepdim=True)).mean(1).flatten(1).norm(dim=1)
    assert 0.7 - 1e-3 <= float(stretch.min()) < 0.75
    assert 1.25 < float(stretch.max()) <= 1.3 + 1e-3
    assert float(tint.abs().max()) > 0.05


def test_a_square_is_cut_out_of_each_image_anywhere() -> None:
    images = torch.ones(3000, 2, 8, 16)
    gone = cut(images, seeded()) == 0
    assert torch.equal(gone[:, 0], gone[:, 1])
    rows, columns = gone[:, 0].any(2), gone[:, 0].any(1)
    assert torch.equal(gone[:, 0], rows[:, :, None] & columns[:, None, :])  # a rectangle
    assert int(rows.sum(1).max()) == int(columns.sum(1).max()) == 3  # of 8 pixels, 3/8
    inner = columns[:, 2:-2].float().mean(0)
    torch.testing.assert_close(inner, torch.full((12,), 3 / 16), rtol=0.2, atol=0)
    assert bool((gone[:, 0].flatten(1).sum(1) > 0).all())


@pytest.mark.parametrize("change", [jitter, cut])
def test_a_change_is_of_its_seed_and_changes_no_image_in_place(change) -> None:
    before = IMAGES.clone()
    a, b, c = (change(IMAGES, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(IMAGES, before)


def test_strong_batches_are_cropped_recoloured_and_cut() -> None:
    settings = TrainingSettings(epochs=1, batch=10, augment="strong", contrast=0)
    ((images, labels),) = TensorData(IMAGES, LABELS).batches(settings, seeded(2))
    generator = seeded(2)
    order = torch.randperm(10, generator=generator)
    assert torch.equal(labels, LABELS[order])
    expected = IMAGES[order]
    for change in (crop_flip, jitter, cut):
        expected = change(expected, generator)
    assert torch.equal(images, expected)


@pytest.mark.parametrize("change", [crop_flip, jitter, cut])
@pytest.mark.parametrize("shape", [(4, 10), (4, 10, 10), (4, 1, 1, 10, 10)])
def test_images_without_channels_height_and_width_are_refused(shape, change) -> None:
    with pytest.raises(ConfigError, match="channels, height, width"):
        change(torch.zeros(shape), seeded())


def test_an_unknown_augmentation_is_refused() -> None:
    with pytest.raises(ConfigError, match="'rotate'"):
        TrainingSettings(augment="rotate")


# --- lessons


def module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(192, 4))


def learner(settings: TrainingSettings = SETTINGS, **changes: Any) -> SupSup:
    return SupSup(module(), training=settings, **changes)


def kinds() -> dict[str, Any]:
    dataset = TensorDataset(IMAGES, LABELS)
    return {
        "tensors": (IMAGES, LABELS),
        "data set": dataset,
        "loader": DataLoader(dataset, batch_size=4, shuffle=True),
    }


def lesson(data: Any, settings: TrainingSettings = SETTINGS) -> Lesson:
    network = learner(settings).network
    return Lesson(network, lesson_data(data), settings, scores=seeded(1), batches=seeded(2))


@pytest.mark.parametrize("kind", kinds())
def test_every_batch_of_a_lesson_is_augmented(kind: str, moves) -> None:
    seen: list[Tensor] = []
    lesson(kinds()[kind]).run(seen=lambda images, labels: seen.append(images))
    images = torch.cat(seen)
    assert len(images) == 3 * len(IMAGES)
    found = [image.numpy().tobytes() for image in images]
    for known in moves:  # each image is there once an epoch
        assert sum(one in known for one in found) == 3
    assert len(set(found)) > 2 * len(IMAGES)


STRONG = replace(SETTINGS, augment="strong", mixup=0.6, contrast=0.5)


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("settings", [SETTINGS, STRONG], ids=["crop-flip", "strong"])
@pytest.mark.parametrize("stop", [1, 3, 4, 8])
def test_a_stopped_lesson_continues_to_the_same_bits(
    kind: str, settings: TrainingSettings, stop: int
) -> None:
    class Stopped(Exception):
        pass

    whole = lesson(kinds()[kind], settings)
    wanted = whole.run()
    first, again = (lesson(kinds()[kind], settings) for _ in range(2))

    def pause() -> None:
        if first.batches.done == stop:
            raise Stopped

    with pytest.raises(Stopped):
        first.run(pause=pause)
    again.restore(first.state())
    found = again.run()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert again.batches.done == whole.batches.done == again.batches.steps


def test_flat_images_are_refused_before_anything_is_learned() -> None:
    flat = SupSup("lenet-300-100", inputs=6, outputs=4, training=SETTINGS)
    with pytest.raises(ConfigError, match="augment= is for images"):
        flat.learn((torch.randn(8, 6), torch.arange(8) % 2))
    assert len(flat) == 0


@pytest.mark.parametrize("kind", kinds())
def test_neither_signatures_nor_predictions_nor_scores_are_augmented(kind, monkeypatch) -> None:
    augmented: list[int] = []
    for change in (crop_flip, jitter, cut):

        def noted(images: Tensor, generator: torch.Generator, change=change) -> Tensor:
            augmented.append(len(images))
            return change(images, generator)

        monkeypatch.setattr(augmentation, change.__name__, noted)
    one = learner(STRONG)
    lesson_of = one.lesson(lesson_data(kinds()[kind]))
    masks = lesson_of.run()
    assert sum(augmented) == 3 * 3 * len(IMAGES)
    data = lesson_data(kinds()[kind])
    one.keep(one.learned(masks, data, image_shape=(3, 8, 6), task=0), data)
    one.predict(IMAGES)
    one.evaluate([(IMAGES, LABELS)])
    assert sum(augmented) == 3 * 3 * len(IMAGES)


def test_data_gives_its_own_images_to_whoever_asks_for_no_augmentation() -> None:
    batches = TensorData(IMAGES, LABELS).batches(TrainingSettings(epochs=1), seeded())
    images = torch.cat([images for images, _ in batches])
    assert {i.numpy().tobytes() for i in images} == {i.numpy().tobytes() for i in IMAGES}


@pytest.mark.parametrize("changes", [{}, {"augment": None, "mixup": 0.5}], ids=str)
def test_a_learner_of_streams_takes_its_batches_as_they_are(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="change images before observe"):
        learner(replace(SETTINGS, **changes), task_free=True)


@pytest.mark.parametrize("augment", ["crop-flip", "strong"])
@pytest.mark.parametrize("kind", ["data set", "loader"])
def test_integers_are_refused(augment: str, kind: str) -> None:
    dataset = TensorDataset(IMAGES.byte(), LABELS)
    data = dataset if kind == "data set" else DataLoader(dataset, batch_size=4)
    with pytest.raises(ConfigError, match=r"images\.float"):
        lesson(data, replace(SETTINGS, augment=augment)).run()


def test_the_setting_is_kept_in_files(tmp_path) -> None:
    one = learner()
    one.learn((IMAGES, LABELS))
    one.save(tmp_path)
    assert SupSup.load(tmp_path, module=module()).settings.training == SETTINGS
