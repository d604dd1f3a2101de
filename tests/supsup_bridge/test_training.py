"""Training of one task's supermask."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from hopmask import ConfigError, HopmaskError, NumericalError
from supsup_bridge import (
    FixedNetwork,
    HashedNetwork,
    TrainingSettings,
    UnitNetwork,
    entropy,
    train_mask,
)
from supsup_bridge.training import _Binarise

INPUTS = 10


def clouds(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two classes of points, far apart compared with their width."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=g)
    centre = torch.linspace(-1, 1, INPUTS)
    return (2.0 * labels[:, None] - 1) * centre + 0.4 * torch.randn(n, INPUTS, generator=g), labels


@pytest.fixture(scope="module")
def networks(generator: Callable[[int], torch.Generator]) -> dict[str, FixedNetwork]:
    return {
        "hashed": HashedNetwork(
            [INPUTS, 100, 100, 5], bits=400, network=generator(0), spread=generator(1)
        ),
        "layer": UnitNetwork([INPUTS, 100, 100, 5], network=generator(0)),
        "batch": UnitNetwork([INPUTS, 100, 100, 5], network=generator(0), normalisation="batch"),
    }


def learn(network: FixedNetwork, seed: int = 0, n: int = 100, **options: Any) -> dict[str, Tensor]:
    progress = options.pop("progress", lambda step, loss: None)
    settings = TrainingSettings(**{"epochs": 10, "batch": 20, "rate": 0.03, **options})
    return train_mask(
        network,
        *clouds(n, 0),
        settings,
        scores=torch.Generator().manual_seed(seed),
        batches=torch.Generator().manual_seed(seed + 1),
        progress=progress,
    )


def accuracy(network: FixedNetwork, masks: Mapping[str, Tensor]) -> float:
    images, labels = clouds(400, 99)
    logits = network(images, {name: mask.float() for name, mask in masks.items()})
    return float((logits.argmax(-1) == labels).float().mean())


# --- what is learned


@pytest.mark.parametrize("kind", ["hashed", "layer", "batch"])
def test_a_separable_problem_is_learned(kind: str, networks) -> None:
    assert accuracy(networks[kind], learn(networks[kind], contrast=0)) > 0.95


def test_a_separable_problem_is_learned_with_the_contrast_term(networks) -> None:
    assert accuracy(networks["hashed"], learn(networks["hashed"], contrast=1.0)) > 0.95


def test_a_separable_problem_is_learned_by_sgd(networks) -> None:
    masks = learn(networks["hashed"], optimiser="sgd", rate=0.1, contrast=0)
    assert accuracy(networks["hashed"], masks) > 0.95


def test_training_beats_an_untrained_mask(networks) -> None:
    untrained = learn(networks["hashed"], rate=1e-12, contrast=0)
    trained = learn(networks["hashed"], contrast=0)
    assert accuracy(networks["hashed"], trained) > accuracy(networks["hashed"], untrained) + 0.2


@pytest.mark.parametrize("kind", ["hashed", "layer"])
def test_masks_have_the_networks_names_sizes_and_type_bool(kind: str, networks) -> None:
    masks = learn(networks[kind], max_batches=1)
    assert {name: len(mask) for name, mask in masks.items()} == networks[kind].mask_sizes
    assert all(mask.dtype == torch.bool and not mask.requires_grad for mask in masks.values())


def test_starting_masks_have_about_as_many_bits_on_as_off(networks) -> None:
    mask = learn(networks["hashed"], rate=1e-12)["bits"]
    assert float(mask.float().mean()) == pytest.approx(0.5, abs=0.15)


def test_contrast_raises_the_entropy_away_from_the_data(networks) -> None:
    network = networks["hashed"]
    images, _ = clouds(200, 50)
    noisy = images + torch.randn(images.shape, generator=torch.Generator().manual_seed(3))
    levels = []
    for contrast in (0.0, 1.0):
        masks = learn(network, contrast=contrast)
        levels.append(float(entropy(network(noisy, {"bits": masks["bits"].float()})).mean()))
    assert levels[1] > levels[0] + 0.1


# --- randomness


def test_equal_generators_give_equal_masks(networks) -> None:
    a, b = learn(networks["hashed"], seed=5), learn(networks["hashed"], seed=5)
    assert torch.equal(a["bits"], b["bits"])


def test_other_generators_give_other_masks(networks) -> None:
    a, b = learn(networks["hashed"], seed=5), learn(networks["hashed"], seed=6)
    assert not torch.equal(a["bits"], b["bits"])


def test_the_global_generator_is_neither_read_nor_moved(networks) -> None:
    before = torch.get_rng_state()
    learn(networks["hashed"], max_batches=3)
    assert torch.equal(torch.get_rng_state(), before)


# --- the estimator


def test_binarised_scores_are_one_from_zero_on() -> None:
    scores = torch.tensor([-1.0, -1e-9, 0.0, 1e-9, 3.0])
    assert _Binarise.apply(scores).tolist() == [0, 0, 1, 1, 1]


def test_the_gradient_passes_straight_through(generator) -> None:
    scores = torch.randn(50, generator=generator(0)).requires_grad_()
    slope = torch.randn(50, generator=generator(1))
    (_Binarise.apply(scores) * slope).sum().backward()
    assert torch.equal(scores.grad, slope)


def test_a_network_sees_only_binary_masks_while_it_is_trained(networks) -> None:
    seen = []

    class Watching(UnitNetwork):
        def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
            seen.append(masks["hidden1"].detach().unique().tolist())
            return super().forward(images, masks)

    learn(Watching([INPUTS, 30, 4], network=torch.Generator().manual_seed(0)), max_batches=4)
    assert seen
    assert all(set(values) <= {0.0, 1.0} for values in seen)


# --- steps and progress


@pytest.mark.parametrize(
    ("options", "images", "expected"),
    [
        ({"epochs": 3, "batch": 10}, 20, 6),
        ({"epochs": 3, "batch": 10}, 21, 9),
        ({"epochs": 3, "batch": 10}, 1, 3),
        ({"epochs": 3, "batch": 10, "max_batches": 4}, 100, 4),
        ({"epochs": 3, "batch": 10, "max_batches": 400}, 100, 30),
    ],
)
def test_number_of_steps(options: dict[str, int], images: int, expected: int) -> None:
    assert TrainingSettings(**options).steps(images) == expected


def test_progress_is_told_once_a_step(networks) -> None:
    told: list[tuple[int, float]] = []
    learn(networks["hashed"], epochs=2, batch=30, progress=lambda *step: told.append(step))
    assert [step for step, _ in told] == list(range(1, 9))
    assert all(isinstance(loss, float) for _, loss in told)


def test_every_image_is_used_once_an_epoch() -> None:
    seen: list[Tensor] = []

    class Watching(UnitNetwork):
        def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
            seen.append(images)
            return super().forward(images, masks)

    network = Watching([INPUTS, 30, 4], network=torch.Generator().manual_seed(0))
    learn(network, n=50, epochs=2, batch=15, contrast=0)
    for epoch in (torch.cat(seen[:4]), torch.cat(seen[4:])):
        expected = clouds(50, 0)[0]
        assert torch.equal(epoch[epoch[:, 0].argsort()], expected[expected[:, 0].argsort()])


def test_a_batch_larger_than_the_data_is_the_data(networks) -> None:
    assert accuracy(networks["hashed"], learn(networks["hashed"], batch=10_000, epochs=30)) > 0.9


# --- what cannot be learned


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_images_that_are_not_finite_name_the_step(poison: float, networks) -> None:
    images, labels = clouds(40, 0)
    images[:, 2] = poison
    with pytest.raises(NumericalError, match=r"step 1 of \d+.*not learned"):
        train_mask(
            networks["hashed"],
            images,
            labels,
            TrainingSettings(),
            scores=torch.Generator().manual_seed(0),
            batches=torch.Generator().manual_seed(0),
        )


def test_a_gradient_that_is_not_finite_is_an_error() -> None:
    class Broken(FixedNetwork):
        """A finite loss whose gradient is NaN."""

        def __init__(self) -> None:
            super().__init__()
            self.mask_sizes, self.outputs = {"bits": 4}, 2

        def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
            return images[:, :2] + (masks["bits"].sum() * 0).sqrt()

    with pytest.raises(NumericalError):
        learn(Broken(), max_batches=2)


@pytest.mark.parametrize("labels", [[0, 5], [-1, 0], [7, 7]])
def test_labels_outside_the_outputs_are_refused(labels: list[int], networks) -> None:
    with pytest.raises(ConfigError, match=r"0 \.\. 4"):
        train_mask(
            networks["hashed"],
            torch.zeros(2, INPUTS),
            torch.tensor(labels),
            TrainingSettings(),
            scores=torch.Generator(),
            batches=torch.Generator(),
        )


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (3, 2), (0, 2)])
def test_no_images_or_labels_that_do_not_match_are_refused(
    images: int, labels: int, networks
) -> None:
    with pytest.raises(ConfigError, match=f"got {images}, {labels}"):
        train_mask(
            networks["hashed"],
            torch.zeros(images, INPUTS),
            torch.zeros(labels, dtype=torch.long),
            TrainingSettings(),
            scores=torch.Generator(),
            batches=torch.Generator(),
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": -1},
        {"batch": 0},
        {"rate": 0.0},
        {"rate": -1e-3},
        {"rate": float("nan")},
        {"noise": 0.0},
        {"contrast": -0.1},
        {"contrast": float("nan")},
        {"max_batches": 0},
        {"optimiser": "lion"},
        {"epochs": 1.5},
        {"batch": 2.5},
    ],
    ids=str,
)
def test_settings_that_cannot_train_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TrainingSettings(**wrong)


def test_settings_are_frozen_and_keyword_only() -> None:
    with pytest.raises(AttributeError):
        TrainingSettings().epochs = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        TrainingSettings(3)  # type: ignore[misc]


def test_errors_of_training_are_the_librarys_own(networks) -> None:
    with pytest.raises(HopmaskError):
        TrainingSettings(epochs=0)
    with pytest.raises(ValueError, match="epochs"):
        TrainingSettings(epochs=0)
