"""A learner that is not told its tasks: the statistic z, and what it does with its answers."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from math import isfinite, isnan, sqrt
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hopmask import ConfigError, EmptyMemoryError, NumericalError
from supsup_bridge import (
    FixedNetwork,
    MaskBank,
    MaskedNetwork,
    TaskAgnosticLearner,
    TrainingSettings,
    UnitNetwork,
    entropy,
    fix_weights,
    mlp,
    superfluous,
)
from supsup_bridge.continual.task_agnostic.learner import LearnerLog
from supsup_bridge.continual.task_agnostic.novelty import (
    NoveltyTest,
    Verdict,
)
from supsup_bridge.training.trainer import (
    MaskTrainer,
)

SIZES = [6, 12, 8, 5]


def network_of(kind: str, seed: int) -> FixedNetwork:
    g = torch.Generator().manual_seed(seed)
    if kind == "layer":
        return UnitNetwork(SIZES, network=g).double()
    module = fix_weights(mlp(SIZES), g)
    if kind == "hashed":
        return MaskedNetwork(module, masks="hashed", bits=40, spread=g).double()
    return MaskedNetwork(module, masks=kind).double()


def bank_of(network: FixedNetwork, count: int, seed: int, density: float = 0.5) -> MaskBank:
    g = torch.Generator().manual_seed(seed + 1000)
    bank = MaskBank(network.mask_sizes)
    sizes = network.mask_sizes.items()
    for _ in range(count):
        bank.store({name: torch.rand(size, generator=g) < density for name, size in sizes})
    return bank


def images_of(samples: int, seed: int) -> Tensor:
    return torch.randn(samples, 6, generator=torch.Generator().manual_seed(seed + 2000)).double()


def z_by_hand(network: FixedNetwork, bank: MaskBank, images: Tensor) -> list[float]:
    """z of each mask in float64, layer by layer and mask by mask."""
    k = bank.count
    masks = [bank.recall(task=i).masks for i in range(k)]
    mean = {}
    for name in network.mask_sizes:
        bits = [mask[name].double() for mask in masks]
        density = sum(float(b.mean()) for b in bits) / k
        mean[name] = (sum(bits) + density) / (k + 1)
    levels = {name: level.clone().requires_grad_() for name, level in mean.items()}
    entropy(network(images, levels)).mean().backward()
    best = [-float("inf")] * k
    for name, level in levels.items():
        g, m = level.grad, mean[name]
        sigma = sqrt(float((g**2 * m * (1 - m)).sum()))
        for i in range(k):
            surplus = float((g * m).sum()) - float((g * masks[i][name]).sum())
            best[i] = max(best[i], surplus / sigma if sigma > 0 else 0.0)
    return best


def test_of(network: FixedNetwork, bank: MaskBank, **changes: Any) -> NoveltyTest:
    options = {"objective": entropy, "epsilon": 0.04, **changes}
    return NoveltyTest(network=network, bank=bank, **options)


test_of.__test__ = False  # type: ignore[attr-defined]


# --- the statistic


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["weight", "hashed", "unit", "layer"]),
    count=st.integers(1, 9),
    density=st.sampled_from([0.5, 0.2, 0.05]),
    samples=st.integers(1, 20),
    seed=st.integers(0, 10_000),
)
def test_deviations_equal_the_formula(kind, count, density, samples, seed) -> None:
    network, images = network_of(kind, seed), images_of(samples, seed)
    bank = bank_of(network, count, seed, density)
    verdict = test_of(network, bank).judge(images)
    expected = z_by_hand(network, bank, images)
    assert verdict.strength == pytest.approx(max(expected), rel=1e-3, abs=1e-3)
    assert expected[verdict.mask] == pytest.approx(max(expected), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("kind", ["weight", "unit"])
def test_the_layer_in_which_a_mask_stands_out_most_decides(kind: str) -> None:
    network, images = network_of(kind, 3), images_of(10, 3)
    bank = bank_of(network, 4, 3)
    mean = {n: (4 * m + m.mean()) / 5 for n, m in bank.mean.items()}
    levels = {name: level.double().requires_grad_() for name, level in mean.items()}
    entropy(network(images, levels)).mean().backward()
    before = test_of(network, bank).judge(images).strength
    for name, level in levels.items():
        ideal = bank.recall(task=2).masks
        ideal[name] = level.grad < 0
        bank.replace(2, ideal)
        after = test_of(network, bank).judge(images)
        assert after.mask == 2
        assert after.strength > before
        bank = bank_of(network, 4, 3)


def test_a_mask_is_known_from_one_over_epsilon_deviations_on() -> None:
    network = network_of("weight", 0)
    bank, images = bank_of(network, 5, 0), images_of(10, 0)
    z = test_of(network, bank).judge(images).strength
    assert z > 0
    assert test_of(network, bank, epsilon=0.99 / z).judge(images).new
    assert not test_of(network, bank, epsilon=1.01 / z).judge(images).new


def test_deviations_do_not_depend_on_epsilon() -> None:
    network = network_of("weight", 0)
    bank, images = bank_of(network, 5, 0), images_of(10, 0)
    verdicts = [test_of(network, bank, epsilon=e).judge(images) for e in (1e-6, 1e-3, 1e6)]
    assert len({(v.mask, v.strength) for v in verdicts}) == 1
    assert [v.new for v in verdicts] == [True, True, False]


def test_deviations_do_not_depend_on_the_scale_of_the_objective() -> None:
    network = network_of("weight", 1)
    bank, images = bank_of(network, 5, 1), images_of(10, 1)
    one = test_of(network, bank).judge(images)
    many = test_of(network, bank, objective=lambda y: 1000 * entropy(y)).judge(images)
    assert many.mask == one.mask
    assert many.strength == pytest.approx(one.strength, rel=1e-4)


def test_any_objective_can_be_asked() -> None:
    network = network_of("weight", 2)
    bank, images = bank_of(network, 5, 2), images_of(10, 2)
    verdict = test_of(network, bank, objective=lambda y: superfluous(y, labels=2)).judge(images)
    assert isfinite(verdict.strength)
    assert verdict.strength != test_of(network, bank).judge(images).strength


@pytest.mark.parametrize("value", [False, True], ids=["off", "on"])
def test_a_layer_in_which_all_masks_are_constant_says_nothing(value: bool) -> None:
    """All off or all on, so that no bit of it can differ from what is expected."""
    network = network_of("weight", 0)
    bank = MaskBank(network.mask_sizes)
    for masks in (bank_of(network, 3, 0).recall(task=i).masks for i in range(3)):
        bank.store({**masks, "4": torch.full_like(masks["4"], value)})
    for seed in range(8):
        z = test_of(network, bank).judge(images_of(20, seed)).strength
        assert abs(z) < 100


def test_images_that_move_no_output_are_neither_known_nor_new() -> None:
    """Without biases, all logits of a black image are 0 under every mask."""
    network = network_of("weight", 0)
    for epsilon in (1e-6, 1e6):
        verdict = test_of(network, bank_of(network, 4, 0), epsilon=epsilon).judge(
            images_of(3, 0) * 0
        )
        assert verdict.blind
        assert not verdict.new


def test_other_images_are_not_blind() -> None:
    network = network_of("weight", 0)
    assert not test_of(network, bank_of(network, 4, 0)).judge(images_of(3, 0)).blind


def test_judging_changes_nothing() -> None:
    network = network_of("weight", 0)
    bank, images = bank_of(network, 4, 0), images_of(5, 0)
    before, rng = images.clone(), torch.get_rng_state()
    masks = [bank.recall(task=i).masks for i in range(4)]
    first = test_of(network, bank).judge(images)
    assert test_of(network, bank).judge(images) == first
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), rng)
    for i, mask in enumerate(masks):
        assert all(torch.equal(bank.recall(task=i).masks[n], m) for n, m in mask.items())


def test_an_empty_bank_knows_nothing_to_judge_by() -> None:
    network = network_of("weight", 0)
    with pytest.raises(EmptyMemoryError):
        test_of(network, MaskBank(network.mask_sizes)).judge(images_of(3, 0))


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_images_that_are_not_finite_have_no_verdict(poison: float) -> None:
    network, images = network_of("weight", 0), images_of(3, 0)
    images[1, 2] = poison
    with pytest.raises(NumericalError):
        test_of(network, bank_of(network, 3, 0)).judge(images)


@pytest.mark.parametrize("epsilon", [0, 0.0, -1.0, float("nan")])
def test_an_epsilon_that_is_not_positive_is_refused(epsilon: float) -> None:
    network = network_of("weight", 0)
    with pytest.raises(ConfigError, match="epsilon must be a positive number"):
        test_of(network, bank_of(network, 3, 0), epsilon=epsilon)


# --- a stream of tasks

INPUTS, CLASSES, OUTPUTS, BATCHES = 100, 3, 20, 60
SETTINGS = TrainingSettings(rate=1e-2, contrast=0, diluted_every=2)
EPSILON = 0.06  # z is 26 and more for known tasks here, and at most 9 for others


def clouds(task: int, seed: int) -> tuple[Tensor, Tensor]:
    """A batch of a task of three classes, each a cloud around a centre of its own."""
    g = torch.Generator().manual_seed(1000 * task + seed)
    centres = torch.randn(CLASSES, INPUTS, generator=torch.Generator().manual_seed(100 + task))
    labels = torch.randint(0, CLASSES, (32,), generator=g)
    return 1.5 * centres[labels] + 0.3 * torch.randn(32, INPUTS, generator=g), labels


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def network() -> FixedNetwork:
    return MaskedNetwork(fix_weights(mlp([INPUTS, 200, OUTPUTS]), seeded(0)))


Make = Callable[..., TaskAgnosticLearner]


@pytest.fixture
def make(network: FixedNetwork) -> Make:
    """Changes -> a learner with an empty bank, asked at the border of each task."""

    def learner(*, epsilon: float = EPSILON, **changes: Any) -> TaskAgnosticLearner:
        options = {
            "ask_every": BATCHES,
            "budget": None,
            "transfer": False,
            "scores": lambda mask: seeded(mask),
            "noise": lambda mask: seeded(50 + mask),
            **changes,
        }
        training = options.pop("training", SETTINGS)
        test = test_of(network, MaskBank(network.mask_sizes), epsilon=epsilon)
        return TaskAgnosticLearner(test, training, **options)

    return learner


def show(
    learner: TaskAgnosticLearner, task: int, *, visit: int = 0, batches: int = BATCHES
) -> list[tuple[int, float]]:
    """Pass the batches of one visit of a task; the answers."""
    return [learner.learn(*clouds(task, BATCHES * visit + i)) for i in range(batches)]


def served(answers: list[tuple[int, float]]) -> set[int]:
    return {mask for mask, _ in answers}


def rows(learner: TaskAgnosticLearner) -> list[dict[str, Tensor]]:
    bank = learner.test.store
    return [bank.recall(task=i).masks for i in range(bank.count)]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def counted(learner: TaskAgnosticLearner) -> dict[str, int]:
    return {name: number for name, number in asdict(learner.log).items() if number}


def test_each_new_task_gets_a_mask_of_its_own(make) -> None:
    learner = make()
    for task in range(4):
        answers = show(learner, task)
        assert served(answers) == {task}
        assert all(isfinite(loss) for _, loss in answers)
    assert learner.test.store.count == 4
    assert counted(learner) == {"asked": 3, "allocated": 4}


def test_a_task_that_returns_is_recognised_and_its_mask_stays(make) -> None:
    learner = make()
    for task in range(3):
        show(learner, task)
    learner.commit()
    before = rows(learner)
    for task in (1, 0):
        answers = show(learner, task, visit=1)
        assert served(answers) == {task}
        assert all(isnan(loss) for _, loss in answers)
    learner.commit()
    assert len(rows(learner)) == 3
    assert all(same(a, b) for a, b in zip(before, rows(learner), strict=True))
    assert counted(learner) == {"asked": 4, "allocated": 3, "unlearned": 2 * BATCHES}


def test_the_newest_task_is_trained_on_where_it_goes_on(make) -> None:
    learner = make()
    show(learner, 0)
    learner.commit()
    (before,) = rows(learner)
    answers = show(learner, 0, visit=1)
    learner.commit()
    assert served(answers) == {0}
    assert all(isfinite(loss) for _, loss in answers)
    assert not same(before, rows(learner)[0])
    assert counted(learner) == {"asked": 1, "allocated": 1}


def test_the_newest_task_is_not_trained_on_once_another_was_served(make) -> None:
    learner = make()
    show(learner, 0)
    show(learner, 1)
    show(learner, 0, visit=1)
    before = rows(learner)
    answers = show(learner, 1, visit=1)
    learner.commit()
    assert served(answers) == {1}
    assert all(isnan(loss) for _, loss in answers)
    assert all(same(a, b) for a, b in zip(before, rows(learner), strict=True))


def test_a_new_task_after_one_that_returned_gets_a_mask(make) -> None:
    learner = make()
    for task in (0, 1):
        show(learner, task)
    show(learner, 0, visit=1)
    before = rows(learner)
    answers = show(learner, 2)
    assert served(answers) == {2}
    assert all(isfinite(loss) for _, loss in answers)
    assert all(same(a, b) for a, b in zip(before, rows(learner), strict=False))


def test_the_masks_learned_predict_their_tasks(make, network) -> None:
    learner = make()
    for task in range(3):
        show(learner, task)
    learner.commit()
    for task, mask in enumerate(rows(learner)):
        images, labels = clouds(task, 5000)
        right = network.predictor(mask, images)(images).argmax(-1) == labels
        assert float(right.float().mean()) > 0.9


def test_a_mask_is_the_one_that_a_trainer_would_learn_alone(make, network) -> None:
    learner = make()
    losses = [loss for task in (0, 1) for _, loss in show(learner, task)]
    learner.commit()
    alone: list[float] = []
    for task in (0, 1):
        trainer = MaskTrainer(network, SETTINGS, scores=seeded(task), noise=seeded(50 + task))
        alone += [trainer.step(*clouds(task, i)) for i in range(BATCHES)]
        assert same(rows(learner)[task], trainer.masks())
    assert losses == alone


# --- when it asks


@pytest.mark.parametrize("every", [1, 7, 10, 20, 1000])
def test_it_asks_about_every_so_many_batches_but_not_the_first(every: int, make) -> None:
    learner = make(ask_every=every, epsilon=1e9)
    judged: list[Tensor] = []
    judge = learner.test.judge
    learner.test.judge = lambda images: judged.append(images) or judge(images)
    show(learner, 0, batches=20)
    expected = [clouds(0, i)[0] for i in range(every, 20, every)]
    assert learner.log.asked == len(judged) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(judged, expected, strict=True))


def test_a_change_of_task_goes_unnoticed_until_it_asks(make) -> None:
    learner = make(ask_every=90)
    assert served(show(learner, 0)) == {0}
    answers = show(learner, 1)
    assert [mask for mask, _ in answers] == [0] * 30 + [1] * 30


def test_it_asks_a_bank_that_knows_the_training_so_far(make) -> None:
    learner = make(ask_every=10, epsilon=1e9)
    seen: list[dict[str, Tensor]] = []
    judge = learner.test.judge
    learner.test.judge = lambda images: seen.extend(rows(learner)) or judge(images)
    show(learner, 0, batches=31)
    assert len(seen) == 3
    for number, mask in enumerate(seen, 1):
        trainer = MaskTrainer(learner.test.network, SETTINGS, scores=seeded(0), noise=seeded(50))
        for i in range(10 * number):
            trainer.step(*clouds(0, i))
        assert same(mask, trainer.masks())


def test_images_that_say_nothing_leave_the_mask_in_use(make) -> None:
    learner = make(ask_every=10)
    show(learner, 0, batches=10)
    images, labels = clouds(0, 10)
    mask, loss = learner.learn(images * 0, labels)
    assert mask == 0
    assert isfinite(loss)
    assert counted(learner) == {"asked": 1, "allocated": 1, "undecided": 1}


# --- commit


def test_a_commit_brings_the_training_so_far_into_the_bank(make, network) -> None:
    learner = make()
    trainer = MaskTrainer(network, SETTINGS, scores=seeded(0), noise=seeded(50))
    learner.learn(*clouds(0, 0))
    trainer.step(*clouds(0, 0))
    assert same(rows(learner)[0], trainer.masks())
    for i in range(1, 30):
        learner.learn(*clouds(0, i))
        trainer.step(*clouds(0, i))
        if i % 10 == 0:
            learner.commit()
            assert same(rows(learner)[0], trainer.masks())


def test_a_commit_changes_no_earlier_mask(make) -> None:
    learner = make()
    show(learner, 0)
    show(learner, 1, batches=1)
    before = rows(learner)
    show(learner, 1, visit=1, batches=BATCHES - 1)
    learner.commit()
    first, second = rows(learner)
    assert same(first, before[0])
    assert not same(second, before[1])


def test_the_mean_of_the_bank_follows_a_commit(make) -> None:
    learner = make()
    show(learner, 0)
    show(learner, 1)
    learner.commit()
    for name, mean in learner.test.store.mean.items():
        expected = torch.stack([mask[name] for mask in rows(learner)]).float().mean(0)
        torch.testing.assert_close(mean, expected)


def test_a_commit_before_the_first_batch_does_nothing(make) -> None:
    learner = make()
    learner.commit()
    assert learner.test.store.count == 0


# --- a spent budget


@pytest.mark.parametrize("budget", [1, 2])
def test_over_budget_tasks_are_served_and_nothing_is_trained(budget: int, make) -> None:
    learner = make(budget=budget)
    for task in range(budget):
        show(learner, task)
    learner.commit()
    before = rows(learner)
    for task in range(budget, 4):
        answers = show(learner, task)
        assert len(served(answers)) == 1
        assert served(answers) <= set(range(budget))
        assert all(isnan(loss) for _, loss in answers)
    learner.commit()
    assert all(same(a, b) for a, b in zip(before, rows(learner), strict=True))
    over = 4 - budget
    assert counted(learner) == {
        "asked": 3,
        "allocated": budget,
        "refused": over,
        "unlearned": over * BATCHES,
    }


def test_a_task_over_budget_is_served_by_the_mask_that_stands_out_most(make) -> None:
    learner = make(budget=2)
    verdicts: list[Verdict] = []
    judge = learner.test.judge
    learner.test.judge = lambda images: verdicts.append(judge(images)) or verdicts[-1]
    for task in range(4):
        answers = show(learner, task)
        if task >= 2:
            assert verdicts[-1].new
            assert served(answers) == {verdicts[-1].mask}


def test_a_known_task_is_recognised_over_budget(make) -> None:
    learner = make(budget=2)
    for task in range(3):
        show(learner, task)
    for task in (0, 1):
        assert served(show(learner, task, visit=1)) == {task}
    assert learner.log.refused == 1


def test_a_spent_budget_warns_once_and_then_informs(make, caplog) -> None:
    learner = make(budget=1)
    with caplog.at_level(logging.INFO, logger="supsup_bridge"):
        for task in range(4):
            show(learner, task)
    records = [record for record in caplog.records if record.name.startswith("supsup_bridge")]
    assert [record.levelname for record in records] == ["WARNING", "INFO", "INFO"]
    for number, record in enumerate(records, 1):
        message = record.getMessage()
        assert f"a new task after {number * BATCHES} batches" in message
        assert "the budget of 1 masks is spent" in message
        assert "raise the budget" in message


def test_a_budget_that_suffices_says_nothing(make, caplog) -> None:
    learner = make(budget=3)
    with caplog.at_level(logging.INFO, logger="supsup_bridge"):
        for task in range(3):
            show(learner, task)
    assert not caplog.records
    assert counted(learner) == {"asked": 2, "allocated": 3}


# --- where scores start, and what is drawn


@pytest.mark.parametrize("transfer", [False, True])
def test_later_masks_start_from_the_mean_where_told_so(transfer: bool, make, network) -> None:
    learner = make(transfer=transfer)
    for task in range(2):
        show(learner, task)
    learner.commit()
    mean = learner.test.store.mean if transfer else None
    learner.learn(*clouds(2, 0))
    options = {"scores": seeded(2), "noise": seeded(52)}
    expected = MaskTrainer(network, SETTINGS, **options, mean=mean)
    expected.step(*clouds(2, 0))
    assert same(rows(learner)[2], expected.masks())


def test_the_first_mask_starts_at_random(make) -> None:
    a, b = (make(transfer=transfer) for transfer in (False, True))
    for learner in (a, b):
        learner.learn(*clouds(0, 0))
    assert same(rows(a)[0], rows(b)[0])


def test_each_mask_draws_from_generators_of_its_number(make) -> None:
    drawn: list[tuple[str, int]] = []
    learner = make(
        scores=lambda mask: drawn.append(("scores", mask)) or seeded(mask),
        noise=lambda mask: drawn.append(("noise", mask)) or seeded(50 + mask),
    )
    for task in (0, 1, 0, 2):
        show(learner, task)
    assert sorted(drawn) == [(name, mask) for name in ("noise", "scores") for mask in range(3)]


def test_two_learners_with_equal_generators_learn_alike(make) -> None:
    training = TrainingSettings(rate=1e-2, contrast=0.5, diluted_every=2)  # draws noise
    a, b = (make(training=training) for _ in range(2))
    rng = torch.get_rng_state()
    for task in range(2):
        first, second = (show(learner, task, batches=10) for learner in (a, b))
        assert first == second
    assert torch.equal(torch.get_rng_state(), rng)


def test_sparse_masks_of_a_learner_are_sparse(make) -> None:
    learner = make(training=TrainingSettings(rate=1e-2, contrast=0, sparsity=0.05))
    show(learner, 0, batches=20)
    learner.commit()
    (mask,) = rows(learner)
    kept = sum(int(bits.sum()) for bits in mask.values())
    assert kept == pytest.approx(0.05 * sum(bits.numel() for bits in mask.values()), abs=1)


# --- what is not finite


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [0, 5, BATCHES], ids=["first", "within", "asked"])
def test_images_that_are_not_finite_are_an_error(at: int, poison: float, make) -> None:
    learner = make()
    show(learner, 0, batches=at)
    images, labels = clouds(0, at)
    images[3, 7] = poison
    with pytest.raises(NumericalError):
        learner.learn(images, labels)


@pytest.mark.parametrize("at", [5, BATCHES], ids=["within", "asked"])
def test_after_an_error_it_goes_on_as_if_the_batch_had_not_been(at: int, make) -> None:
    failed, spared = make(ask_every=1000), make(ask_every=1000)
    for learner in (failed, spared):
        show(learner, 0, batches=at)
    images, labels = clouds(0, at)
    with pytest.raises(NumericalError):
        failed.learn(images * float("nan"), labels)
    for learner in (failed, spared):
        show(learner, 0, visit=2, batches=10)
        learner.commit()
    assert same(rows(failed)[0], rows(spared)[0])


def test_a_log_starts_at_zero() -> None:
    assert set(asdict(LearnerLog()).values()) == {0}
