"""Training of one task's supermask."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hopmask import ConfigError, HopmaskError, NumericalError
from supsup_bridge import (
    FixedNetwork,
    MaskedNetwork,
    TrainingSettings,
    UnitNetwork,
    entropy,
    fix_weights,
    mlp,
    train_mask,
)
from supsup_bridge.training.batches import Batches
from supsup_bridge.training.scores import (
    erdos_renyi,
)
from supsup_bridge.training.trainer import (
    MaskTrainer,
)

INPUTS = 10


def clouds(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two classes of points, far apart compared with their width."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=g)
    centre = torch.linspace(-1, 1, INPUTS)
    return (2.0 * labels[:, None] - 1) * centre + 0.4 * torch.randn(n, INPUTS, generator=g), labels


@pytest.fixture(scope="module")
def networks(
    generator: Callable[[int], torch.Generator], hashed: Callable[..., FixedNetwork]
) -> dict[str, FixedNetwork]:
    sizes = [INPUTS, 100, 100, 5]
    return {
        "weight": MaskedNetwork(fix_weights(mlp(sizes), generator(0))),
        "hashed": hashed(sizes, bits=400, network=generator(0), spread=generator(1)),
        "layer": UnitNetwork(sizes, network=generator(0)),
        "batch": UnitNetwork(sizes, network=generator(0), normalisation="batch"),
    }


def learn(network: FixedNetwork, seed: int = 0, n: int = 100, **options: Any) -> dict[str, Tensor]:
    progress = options.pop("progress", lambda step, loss: None)
    mean = options.pop("mean", None)
    settings = TrainingSettings(**{"epochs": 10, "batch": 20, "rate": 0.03, **options})
    return train_mask(
        network,
        *clouds(n, 0),
        settings,
        generator=torch.Generator().manual_seed(seed),
        mean=mean,
        progress=progress,
    )


def accuracy(network: FixedNetwork, masks: Mapping[str, Tensor]) -> float:
    images, labels = clouds(400, 99)
    logits = network(images, {name: mask.float() for name, mask in masks.items()})
    return float((logits.argmax(-1) == labels).float().mean())


# --- what is learned


@pytest.mark.parametrize("kind", ["weight", "hashed", "layer", "batch"])
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


@pytest.mark.parametrize("kind", ["weight", "hashed", "layer"])
def test_masks_have_the_networks_names_sizes_and_type_bool(kind: str, networks) -> None:
    masks = learn(networks[kind], max_batches=1)
    sizes = {n: s if isinstance(s, tuple) else (s,) for n, s in networks[kind].mask_sizes.items()}
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == sizes
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


# --- what the network is shown


class Watching(UnitNetwork):
    """Keeps the images and the mask of each call."""

    def __init__(self) -> None:
        super().__init__([INPUTS, 30, 4], network=torch.Generator().manual_seed(0))
        self.images: list[Tensor] = []
        self.masks: list[Tensor] = []

    def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        self.images.append(images)
        self.masks.append(masks["hidden1"].detach().clone())
        return super().forward(images, masks)


def test_a_network_sees_only_binary_masks_while_it_is_trained() -> None:
    network = Watching()
    learn(network, max_batches=4)
    assert len(network.masks) == 4
    assert all(set(mask.tolist()) == {0.0, 1.0} for mask in network.masks)


def test_every_third_step_sees_a_diluted_mask() -> None:
    network = Watching()
    learn(network, max_batches=7, diluted_every=3)
    diluted = [set(mask.tolist()) != {0.0, 1.0} for mask in network.masks]
    assert diluted == [False, False, True, False, False, True, False]


def test_a_diluted_mask_is_a_fifth_of_the_mask_and_the_rest_blank() -> None:
    plain, diluting = Watching(), Watching()
    learn(plain, max_batches=1)
    learn(diluting, max_batches=1, diluted_every=1)
    torch.testing.assert_close(diluting.masks[0], 0.5 + 0.2 * (plain.masks[0] - 0.5))


def test_a_diluted_sparse_mask_is_blank_at_its_share() -> None:
    plain, diluting = Watching(), Watching()
    learn(plain, max_batches=1, sparsity=0.1)
    learn(diluting, max_batches=1, sparsity=0.1, diluted_every=1)
    torch.testing.assert_close(diluting.masks[0], 0.1 + 0.2 * (plain.masks[0] - 0.1))


def test_diluted_steps_learn_too(networks) -> None:
    masks = learn(networks["weight"], diluted_every=1, contrast=0)
    assert accuracy(networks["weight"], masks) > 0.9


# --- sparse masks


@pytest.mark.parametrize("sparsity", [0.05, 0.3])
def test_sparse_masks_keep_each_layers_share(sparsity: float, networks) -> None:
    network = networks["weight"]
    shares = erdos_renyi(network.mask_sizes, sparsity)
    for name, mask in learn(network, max_batches=3, sparsity=sparsity).items():
        assert int(mask.sum()) == round(shares[name] * mask.numel())


def test_sparse_masks_keep_the_share_of_all_weights_that_was_asked_for(networks) -> None:
    masks = learn(networks["weight"], max_batches=3, sparsity=0.1)
    kept, weights = (sum(f(m) for m in masks.values()) for f in (Tensor.sum, Tensor.numel))
    assert int(kept) / weights == pytest.approx(0.1, abs=1e-3)


def test_a_separable_problem_is_learned_by_a_sparse_mask(networks) -> None:
    masks = learn(networks["weight"], contrast=0, sparsity=0.2)
    assert accuracy(networks["weight"], masks) > 0.95


@pytest.mark.parametrize("sparsity", [0.0, -0.1, 1.01, 1e-9, float("nan")])
def test_a_sparsity_that_no_mask_has_is_refused(sparsity: float, networks) -> None:
    with pytest.raises(ConfigError, match="sparsity"):
        learn(networks["weight"], sparsity=sparsity)


# --- where scores start


def test_training_starts_from_the_mean_where_it_decides(networks) -> None:
    mean = {"bits": (torch.arange(400) % 3 == 0).float()}
    mask = learn(networks["hashed"], rate=1e-12, mean=mean)["bits"]
    assert torch.equal(mask, mean["bits"] > 0.5)


def test_training_starts_at_random_where_the_mean_is_undecided(networks) -> None:
    half = learn(networks["hashed"], rate=1e-12, mean={"bits": torch.full((400,), 0.5)})
    assert torch.equal(half["bits"], learn(networks["hashed"], rate=1e-12)["bits"])


def test_a_mask_leaves_a_bad_start(networks) -> None:
    network = networks["hashed"]
    start = {name: mask.float() for name, mask in learn(network).items()}
    opposite = {"bits": 1 - start["bits"]}
    assert accuracy(network, opposite) < 0.5
    assert accuracy(network, learn(network, contrast=0, mean=opposite)) > 0.95


# --- batch by batch


def trainer(network: FixedNetwork, **options: Any) -> MaskTrainer:
    settings = options.pop("settings", TrainingSettings(rate=0.03))
    options.setdefault("noise", torch.Generator().manual_seed(1))
    return MaskTrainer(network, settings, scores=torch.Generator().manual_seed(0), **options)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("hashed", {}), ("layer", {"optimiser": "sgd"}), ("weight", {"sparsity": 0.3})],
    ids=str,
)
def test_training_step_by_step_equals_training_at_once(kind: str, changes, networks) -> None:
    images, labels = clouds(100, 0)
    settings = TrainingSettings(**{"epochs": 2, "batch": 30, "rate": 0.03, **changes})
    seen: list[float] = []
    at_once = train_mask(
        networks[kind],
        images,
        labels,
        settings,
        generator=torch.Generator().manual_seed(0),
        progress=lambda step, loss: seen.append(loss),
    )
    g = batches = torch.Generator().manual_seed(0)
    learner = MaskTrainer(networks[kind], settings, scores=g, noise=g)
    losses = [learner.step(images[i], labels[i]) for i in Batches(100, settings, batches)]
    assert losses == seen
    for name, mask in learner.masks().items():
        assert torch.equal(mask, at_once[name])


def test_a_trainer_counts_its_steps(networks) -> None:
    learner = trainer(networks["layer"])
    for done in range(3):
        assert learner.done == done
        learner.step(*clouds(10, done))


def test_reading_the_mask_does_not_change_the_training(networks) -> None:
    read, left = trainer(networks["layer"]), trainer(networks["layer"])
    for step in range(5):
        assert read.step(*clouds(20, step)) == left.step(*clouds(20, step))
        read.masks()
    assert all(torch.equal(m, left.masks()[name]) for name, m in read.masks().items())


def test_a_trainer_that_did_nothing_has_the_starting_mask(networks) -> None:
    start = trainer(networks["layer"]).masks()
    for name, mask in learn(networks["layer"], rate=1e-12).items():
        assert torch.equal(mask, start[name])


def test_scores_that_are_not_finite_make_no_mask(networks) -> None:
    for poison in (float("nan"), float("inf")):
        learner = trainer(networks["layer"])
        learner.step(*clouds(10, 0))
        learner.scores["hidden2"].data[3] = poison
        with pytest.raises(NumericalError, match="scores of mask 'hidden2'"):
            learner.masks()


def test_a_step_that_fails_moves_no_score(networks) -> None:
    learner = trainer(networks["layer"])
    before = {name: score.detach().clone() for name, score in learner.scores.items()}
    images, labels = clouds(10, 0)
    images[0, 0] = float("nan")
    with pytest.raises(NumericalError, match="at step 1"):
        learner.step(images, labels)
    assert learner.done == 0
    assert all(torch.equal(score, before[name]) for name, score in learner.scores.items())


class Downhill(FixedNetwork):
    """Logits whose gradient drives each score away from zero at all times, at one slope."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_sizes, self.outputs = {"bits": 40}, 2

    def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        first = ((masks["bits"] - 0.5) ** 2).mean() + 0 * images[:, :1]
        return torch.cat([first, torch.zeros_like(first)], -1)


def rates(count: int, **changes: Any) -> list[float]:
    """How far each of the first steps moves the scores of `Downhill`."""
    settings = TrainingSettings(contrast=0, rate=0.1, **changes)
    learner = trainer(Downhill(), settings=settings)
    images, labels = torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)
    moved = []
    for _ in range(count):
        before = learner.scores["bits"].detach().clone()
        learner.step(images, labels)
        moved.append(float((learner.scores["bits"].detach() - before).abs().mean()))
    return moved


@pytest.mark.parametrize("kind", ["weight", "layer"])
def test_adams_rate_is_in_proportion_to_where_a_layers_scores_start(kind, networks) -> None:
    """Adam's first step moves every score with a gradient by the rate of its layer."""
    network = networks[kind]
    g = torch.Generator().manual_seed(0)
    settings = TrainingSettings(rate=0.01, contrast=0)
    trainer = MaskTrainer(network, settings, scores=g, noise=g)
    before = {name: score.detach().clone() for name, score in trainer.scores.items()}
    trainer.step(*clouds(50, 0))
    for name, score in trainer.scores.items():
        moved = float((score.detach() - before[name]).abs().max())
        assert moved == pytest.approx(0.01 * network.score_bounds[name] / 0.1, rel=1e-3)
    if kind == "weight":
        assert len({round(bound, 6) for bound in network.score_bounds.values()}) > 1


def test_adams_rate_is_half_after_400_steps() -> None:
    expected = [0.1 / (1 + t / 400) for t in range(401)]
    assert rates(401) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("optimiser", "averaging"), [("adam", 0.97), ("adam", 0.6), ("adam", 0.0), ("sgd", 0.97)]
)
def test_adams_mask_is_of_scores_averaged_over_the_last_steps(
    optimiser: str, averaging: float
) -> None:
    """One push moves all scores at once; their average follows some steps later."""

    class Pushed(FixedNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.mask_sizes, self.outputs = {"bits": 40}, 2

        def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
            first = masks["bits"].mean() + 0 * images[:, :1]
            return torch.cat([first, torch.zeros_like(first)], -1)

    images, labels = torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)
    settings = TrainingSettings(contrast=0, rate=1e-2, optimiser=optimiser, averaging=averaging)
    learner = trainer(Pushed(), settings=settings)
    average = learner.scores["bits"].detach().clone()
    apart = False
    for step in range(1, 61):
        learner.step(images, labels)
        last = learner.scores["bits"].detach()
        kept = min(averaging, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * last
        expected = average if optimiser == "adam" else last
        assert torch.equal(learner.masks()["bits"], expected >= 0)
        apart |= not torch.equal(average >= 0, last >= 0)
    assert apart == (averaging > 0)  # SGD's average is not taken


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_mixed_images_are_blended_with_their_neighbours_as_their_labels_are(
    smoothing: float,
) -> None:
    """Against a loop over images: (1 − λ) x_i + λ x_{i−1}, λ at most half of the setting."""
    images, labels = clouds(12, 0)
    shares = []
    for seed in range(30):
        network, noise = Watching(), torch.Generator().manual_seed(seed)
        settings = TrainingSettings(mixup=0.8, smoothing=smoothing, contrast=0)
        loss = trainer(network, settings=settings, noise=noise).step(images, labels)
        share = 0.4 * float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
        shares.append(share)
        (seen,), (mask,) = network.images, network.masks
        total = 0.0
        for i, image in enumerate(images):
            torch.testing.assert_close(seen[i], (1 - share) * image + share * images[i - 1])
        with torch.no_grad():
            logits = UnitNetwork.forward(network, seen, {"hidden1": mask}).log_softmax(-1)
        for i, row in enumerate(logits):
            for label, weight in ((labels[i], 1 - share), (labels[i - 1], share)):
                total -= weight * float((1 - smoothing) * row[label] + smoothing * row.mean())
        assert loss == pytest.approx(total / len(images), rel=1e-4)
    assert min(shares) < 0.05
    assert max(shares) > 0.35


def test_smoothed_targets_share_out_over_all_outputs(networks) -> None:
    """(1 − ε) CE of the label + ε CE of even targets, the contrast term untouched."""
    images, labels = clouds(8, 0)
    for contrast in (0.0, 0.5):
        losses = [
            trainer(
                networks["weight"], settings=TrainingSettings(smoothing=share, contrast=contrast)
            ).step(images, labels)
            for share in (0.0, 0.25)
        ]
        network = networks["weight"]
        masks = {n: (s >= 0).float() for n, s in trainer(network).scores.items()}
        with torch.no_grad():
            even = -network(images, masks).log_softmax(-1).mean()
            plain = torch.nn.functional.cross_entropy(network(images, masks), labels)
        assert losses[1] - losses[0] == pytest.approx(0.25 * float(even - plain), rel=1e-4)


# --- which images a step sees


def test_batches_cover_all_images_once_an_epoch() -> None:
    settings = TrainingSettings(epochs=3, batch=4)
    batches = list(Batches(10, settings, torch.Generator().manual_seed(0)))
    assert [len(chosen) for chosen in batches] == [4, 4, 2] * 3
    for epoch in range(3):
        assert sorted(torch.cat(batches[3 * epoch : 3 * epoch + 3]).tolist()) == list(range(10))


def test_every_epoch_has_an_order_of_its_own() -> None:
    settings = TrainingSettings(epochs=2, batch=50)
    first, second = Batches(50, settings, torch.Generator().manual_seed(0))
    assert not torch.equal(first, second)


def test_batches_stop_at_max_batches() -> None:
    settings = TrainingSettings(epochs=3, batch=4, max_batches=5)
    assert len(list(Batches(10, settings, torch.Generator()))) == 5


@pytest.mark.parametrize(
    ("images", "batch", "expected"),
    [
        (9, 4, [4, 5]),
        (13, 4, [4, 4, 5]),
        (10, 4, [4, 4, 2]),
        (8, 4, [4, 4]),
        (1, 4, [1]),
        (3, 4, [3]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_a_last_image_goes_with_the_batch_before_where_none_may_be_alone(
    images: int, batch: int, expected: list[int]
) -> None:
    settings = TrainingSettings(epochs=2, batch=batch)
    made = Batches(images, settings, torch.Generator().manual_seed(0), alone=False)
    batches = list(made)
    assert [len(chosen) for chosen in batches] == expected * 2
    assert made.done == made.steps == settings.steps(images, alone=False) == len(batches)
    usual = list(Batches(images, settings, torch.Generator().manual_seed(0)))
    assert torch.equal(torch.cat(batches), torch.cat(usual))  # one order of images


@pytest.mark.parametrize("stop", range(1, 4))
def test_batches_without_a_single_image_continue_where_they_were_stopped(stop: int) -> None:
    settings = TrainingSettings(epochs=2, batch=4)

    def made(seed: int) -> Batches:
        return Batches(9, settings, torch.Generator().manual_seed(seed), alone=False)

    whole, begun, continued = list(made(0)), made(0), made(1)
    for _ in zip(range(stop), begun, strict=False):
        pass
    state = begun.state()
    continued.restore(state)
    rest = list(continued)
    assert len(rest) == 4 - state["done"]
    assert all(map(torch.equal, rest, whole[state["done"] :]))


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


def test_progress_is_called_once_per_step(networks) -> None:
    seen: list[tuple[int, float]] = []
    learn(networks["hashed"], epochs=2, batch=30, progress=lambda *step: seen.append(step))
    assert [step for step, _ in seen] == list(range(1, 9))
    assert all(isinstance(loss, float) for _, loss in seen)


def test_every_image_is_used_once_an_epoch() -> None:
    network = Watching()
    learn(network, n=50, epochs=2, batch=15, contrast=0)
    assert len(network.images) == 8
    for epoch in (torch.cat(network.images[:4]), torch.cat(network.images[4:])):
        expected = clouds(50, 0)[0]
        assert torch.equal(epoch[epoch[:, 0].argsort()], expected[expected[:, 0].argsort()])


def test_a_batch_larger_than_the_data_is_the_data(networks) -> None:
    assert accuracy(networks["hashed"], learn(networks["hashed"], batch=10_000, epochs=30)) > 0.9


# --- what cannot be learned


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_images_that_are_not_finite_name_the_step(poison: float, networks) -> None:
    images, labels = clouds(40, 0)
    images[:, 2] = poison
    with pytest.raises(NumericalError, match=r"at step 1:.*not learned"):
        train_mask(
            networks["hashed"],
            images,
            labels,
            TrainingSettings(),
            generator=torch.Generator().manual_seed(0),
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
            generator=torch.Generator(),
        )


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (3, 2), (0, 2)])
def test_no_images_or_labels_that_do_not_match_are_refused(
    images: int, labels: int, networks
) -> None:
    with pytest.raises(ConfigError):
        train_mask(
            networks["hashed"],
            torch.zeros(images, INPUTS),
            torch.zeros(labels, dtype=torch.long),
            TrainingSettings(),
            generator=torch.Generator(),
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 0},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"noise": 0.0},
        {"contrast": -0.1},
        {"averaging": 1.0},
        {"averaging": float("nan")},
        {"smoothing": -0.1},
        {"smoothing": 1.0},
        {"mixup": -0.1},
        {"mixup": 1.1},
        {"max_batches": 0},
        {"diluted_every": 0},
        {"diluted_every": True},
        {"optimiser": "lion"},
        {"batch": 2.5},
        {"rate": float("inf")},
        {"rate": "a"},
        {"rate": 10**400},
        {"rate": np.float32(0.01)},
        {"contrast": float("inf")},
        {"mixup": True},
        {"sparsity": 0},
        {"sparsity": 1.5},
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
