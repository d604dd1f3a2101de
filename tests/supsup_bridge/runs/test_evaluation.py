"""Scoring of one task: what counts as right in each scenario, and what sees which images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from supsup_bridge import FixedNetwork, MaskBank, Task, TaskInference
from supsup_bridge.continual.scoring import SCORED_BATCH, TaskScore
from supsup_bridge.inference.base import Inferred
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.runs.evaluation import Scorer, Scores, mean
from supsup_bridge.runs.timing import Stopwatch

CLASSES = 4


class Gates(FixedNetwork):
    """The logits are the pixels that the mask lets through; it remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_sizes, self.outputs = {"gates": CLASSES}, CLASSES
        self.masks: list[list[bool]] = []  # one for each predictor
        self.references: list[Tensor] = []
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        return images * masks["gates"][..., None, :]

    def predictor(self, masks: Mapping[str, Tensor], reference: Tensor) -> Any:
        self.masks.append(masks["gates"].tolist())
        self.references.append(reference)
        predict = super().predictor(masks, reference)

        def watched(images: Tensor) -> Tensor:
            self.seen.append(images)
            return predict(images)

        return watched


class Told(TaskInference):
    """Answers with tasks that the test chose, one for each set, and remembers the sets."""

    def __init__(self, bank: MaskBank, tasks: list[int], *, damage: tuple[int, ...] = ()) -> None:
        self.bank, self.tasks, self.damage = bank, tasks, damage
        self.given: list[Tensor] = []

    def infer(self, images: Tensor) -> Inferred:
        self.given.append(images)
        assert len(images) == len(self.tasks)
        gates = torch.stack([self.bank.recall(task=t).masks["gates"] for t in self.tasks])
        for row in self.damage:
            gates[row] = ~gates[row]
        return Inferred(
            task=torch.tensor(self.tasks),
            masks={"gates": gates},
            steps=torch.arange(len(self.tasks)) + 3,
            verified=torch.tensor([row not in self.damage for row in range(len(self.tasks))]),
        )


class Deaf(TaskInference):
    def infer(self, images: Tensor) -> Inferred:
        pytest.fail("the task was inferred")


def make_task(scored: int, *, recall: int = 20) -> Task:
    g = torch.Generator().manual_seed(scored)

    def images(n: int) -> Tensor:
        return torch.rand(n, CLASSES, generator=g)

    def labels(n: int) -> Tensor:
        return torch.randint(0, CLASSES, (n,), generator=g)

    return Task(
        name="noise",
        train_images=images(5),
        train_labels=labels(5),
        inference_images=images(recall),
        scored_images=images(scored),
        scored_labels=labels(scored),
        classes=CLASSES,
    )


MASKS = [[True, True, True, False], [False, True, True, True], [True, False, True, True]]


@pytest.fixture
def bank() -> MaskBank:
    bank = MaskBank({"gates": CLASSES})
    for gates in MASKS:
        bank.store({"gates": torch.tensor(gates)})
    return bank


def digests(bank: MaskBank, numbers: set[int]) -> dict[int, str]:
    return {number: mask_digest(bank.recall(task=number).masks) for number in numbers}


def run(
    task: Task,
    bank: MaskBank,
    inference: TaskInference,
    *,
    scenario: str = "GNu",
    told: int = 0,
    accepted: set[int] | None = None,
    samples: int = 3,
    network: Gates | None = None,
    seed: int = 0,
) -> tuple[float, TaskScore]:
    scorer = Scorer(
        network=network or Gates(),
        scenario=scenario,
        device=torch.device("cpu"),
        watch=Stopwatch("recall", "evaluate"),
    )
    return scorer.score(
        task,
        known=bank.recall(task=told),
        accepted=digests(bank, {told} if accepted is None else accepted),
        inference=inference,
        samples=samples,
        generator=torch.Generator().manual_seed(seed),
    )


def right_by_batch(task: Task, gates: list[list[bool]]) -> list[list[bool]]:
    """Whether each scored label is right, image by image and batch by batch."""
    right = []
    images, labels = task.scored_images, task.scored_labels
    for batch, mask in enumerate(gates):
        where = range(batch * 128, min((batch + 1) * 128, len(labels)))
        values = [[float(images[i, c]) * mask[c] for c in range(CLASSES)] for i in where]
        right.append(
            [v.index(max(v)) == int(labels[i]) for v, i in zip(values, where, strict=True)]
        )
    return right


def share(right: list[list[bool]]) -> float:
    flat = [value for batch in right for value in batch]
    return sum(flat) / len(flat)


# --- what counts as right


@pytest.mark.parametrize("scored", [1, 128, 129, 500])
@pytest.mark.parametrize("scenario", ["GNs", "GNu", "NNs"])
def test_with_right_tasks_every_scenario_counts_the_labels(scored, scenario, bank) -> None:
    task = make_task(scored)
    batches = -(-scored // 128)
    accuracy, scores = run(task, bank, Told(bank, [1] * batches), scenario=scenario, told=1)
    expected = share(right_by_batch(task, [MASKS[1]] * batches))
    assert accuracy == pytest.approx(expected)
    assert scores.given == pytest.approx(expected)
    assert scores.inferred == [True] * batches


@pytest.mark.parametrize("scenario", ["GNs", "NNs"])
def test_a_wrong_task_with_the_right_label_is_right_where_only_the_label_counts(
    scenario: str, bank
) -> None:
    task, answers = make_task(300), [0, 2, 1]
    accuracy, scores = run(task, bank, Told(bank, answers), scenario=scenario)
    expected = share(right_by_batch(task, [MASKS[i] for i in answers]))
    assert accuracy == pytest.approx(expected)
    assert scores.inferred == [True, False, False]


def test_a_wrong_task_is_a_wrong_answer_in_gnu(bank) -> None:
    task, answers = make_task(300), [0, 2, 0]
    accuracy, scores = run(task, bank, Told(bank, answers), scenario="GNu")
    right = right_by_batch(task, [MASKS[i] for i in answers])
    assert any(right[1])
    right[1] = [False] * 128
    assert accuracy == pytest.approx(share(right))
    assert scores.inferred == [True, False, True]


def test_wrong_tasks_alone_have_no_accuracy_in_gnu(bank) -> None:
    accuracy, scores = run(make_task(200), bank, Told(bank, [1, 2]), scenario="GNu")
    assert accuracy == 0
    assert scores.given > 0


def test_a_wrong_last_batch_costs_as_much_as_it_is_long(bank) -> None:
    """128 images of the first batch and 2 of the last."""
    task = make_task(130)
    right = right_by_batch(task, [MASKS[0], MASKS[0]])
    for answers, counted in (([0, 1], right[:1]), ([1, 0], right[1:])):
        accuracy, _ = run(task, bank, Told(bank, answers), scenario="GNu")
        assert accuracy == pytest.approx(sum(map(sum, counted)) / 130)


@pytest.mark.parametrize("scenario", ["GNu", "NNs"])
def test_any_accepted_mask_is_the_right_task(scenario: str, bank) -> None:
    task, answers = make_task(300), [0, 2, 1]
    accuracy, scores = run(
        task, bank, Told(bank, answers), scenario=scenario, told=0, accepted={0, 2}
    )
    right = right_by_batch(task, [MASKS[i] for i in answers])
    if scenario == "GNu":
        right[2] = [False] * len(right[2])
    assert accuracy == pytest.approx(share(right))
    assert scores.inferred == [True, True, False]
    assert scores.exact == [True, True, False]


def test_accuracy_with_the_task_told_does_not_depend_on_what_was_inferred(bank) -> None:
    task = make_task(300)
    given = [run(task, bank, Told(bank, a), told=1)[1].given for a in ([0, 0, 2], [1, 1, 1])]
    assert given[0] == given[1] == pytest.approx(share(right_by_batch(task, [MASKS[1]] * 3)))


# --- one pass a distinct mask


@pytest.mark.parametrize("scored", [128 * 6, 128 * 5 + 1, 128 * 5 + 127])
def test_batches_of_one_mask_scored_together_equal_batch_by_batch(scored: int, bank) -> None:
    task, answers, network = make_task(scored), [2, 0, 2, 1, 0, 2], Gates()
    accuracy, _ = run(task, bank, Told(bank, answers), scenario="GNs", network=network)
    expected = share(right_by_batch(task, [MASKS[i] for i in answers]))
    assert accuracy == pytest.approx(expected)
    told, *inferred = network.masks
    assert told == MASKS[0]
    assert sorted(inferred) == sorted(MASKS)


def test_a_damaged_mask_is_scored_as_it_is_and_is_not_exact(bank) -> None:
    task, answers = make_task(384), [0, 0, 1]
    inference = Told(bank, answers, damage=(1,))
    accuracy, scores = run(task, bank, inference, scenario="GNs")
    gates = [MASKS[0], [not bit for bit in MASKS[0]], MASKS[1]]
    assert accuracy == pytest.approx(share(right_by_batch(task, gates)))
    assert scores.exact == [True, False, False]
    assert scores.inferred == [True, True, False]
    assert scores.verified == [True, False, True]


def test_two_tasks_of_one_mask_are_both_exact(bank) -> None:
    bank.store({"gates": torch.tensor(MASKS[0])})
    network = Gates()
    _, scores = run(make_task(256), bank, Told(bank, [3, 0]), network=network)
    assert scores.exact == [True, True]
    assert scores.inferred == [False, True]
    assert len(network.masks) == 2


def test_many_images_pass_in_pieces_and_none_is_left_out(bank) -> None:
    task, network = make_task(5000), Gates()
    accuracy, _ = run(task, bank, Told(bank, [1] * 40), told=1, network=network)
    assert accuracy == pytest.approx(share(right_by_batch(task, [MASKS[1]] * 40)))
    assert max(len(images) for images in network.seen) <= 2048
    assert torch.equal(torch.cat(network.seen), task.scored_images.repeat(2, 1))


def test_steps_and_trust_are_those_of_the_inference(bank) -> None:
    _, scores = run(make_task(300), bank, Told(bank, [0, 1, 2]))
    assert scores.steps == [3, 4, 5]
    assert scores.verified == [True] * 3


def test_scores_of_several_tasks_are_added_up(bank) -> None:
    scores = Scores()
    scorer = Scorer(
        network=Gates(),
        scenario="GNs",
        device=torch.device("cpu"),
        watch=Stopwatch("recall", "evaluate"),
    )
    for number, answers in enumerate(([0, 0], [1])):
        accuracy, found = scorer.score(
            make_task(200 - 100 * number),
            known=bank.recall(task=number),
            accepted=digests(bank, {number}),
            inference=Told(bank, answers),
            samples=1,
            generator=torch.Generator().manual_seed(0),
        )
        scores.add(number, accuracy, found)
    assert scores.row.keys() == scores.given.keys() == {0, 1}
    assert scores.inferences == scores.inferred == scores.exact == scores.verified == {0: 2, 1: 1}
    assert scores.steps == {0: 3 + 4, 1: 3}
    assert scores.most_steps == {0: 4, 1: 3}


# --- told the task


def test_told_the_task_nothing_is_inferred(bank) -> None:
    task = make_task(200)
    accuracy, scores = run(task, bank, Deaf(), scenario="GG", told=2)
    assert accuracy == pytest.approx(share(right_by_batch(task, [MASKS[2]] * 2)))
    assert scores.given == accuracy
    assert scores.inferred == []
    assert (scores.exact, scores.steps, scores.verified) == ([True], [0], [True])


# --- what sees which images


def rows(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images.reshape(-1, CLASSES)}


def test_an_inference_sees_recall_images_alone(bank) -> None:
    task, inference = make_task(300), Told(bank, [0, 1, 2])
    run(task, bank, inference, samples=7)
    (given,) = inference.given
    assert given.shape == (3, 7, CLASSES)
    assert rows(given) <= rows(task.inference_images)
    assert not rows(given) & rows(task.scored_images)


def test_no_scored_image_is_a_reference_of_a_prediction(bank) -> None:
    task, network = make_task(300), Gates()
    run(task, bank, Told(bank, [0, 1, 2]), network=network)
    assert len(network.references) == 4
    assert all(torch.equal(r, task.inference_images) for r in network.references)


@pytest.mark.parametrize("scored", [1, 127, 128, 129, 256, 257])
def test_the_task_is_inferred_once_for_every_128_scored_images(scored: int, bank) -> None:
    inference = Told(bank, [0] * -(-scored // SCORED_BATCH))
    run(make_task(scored), bank, inference)
    assert [len(given) for given in inference.given] == [-(-scored // 128)]


def test_scored_images_do_not_change_what_is_drawn_for_the_inference(bank) -> None:
    task = make_task(300)
    changed = Task(
        name="changed",
        train_images=task.train_images,
        train_labels=task.train_labels,
        inference_images=task.inference_images,
        scored_images=task.scored_images * float("nan"),
        scored_labels=task.scored_labels,
        classes=CLASSES,
    )
    first, second = Told(bank, [0, 1, 2]), Told(bank, [0, 1, 2])
    run(task, bank, first)
    run(changed, bank, second)
    assert torch.equal(first.given[0], second.given[0])


def test_another_generator_draws_other_recall_images(bank) -> None:
    task, inference = make_task(300), Told(bank, [0, 1, 2])
    for seed in (0, 0, 1):
        run(task, bank, inference, seed=seed)
    a, b, c = inference.given
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_scoring_records_no_gradients(bank) -> None:
    recorded: list[bool] = []

    class Watching(Gates):
        def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
            recorded.append(torch.is_grad_enabled())
            return super().forward(images, masks)

    run(make_task(100), bank, Told(bank, [0]), network=Watching())
    assert recorded == [False, False]


def test_scoring_does_not_change_the_store(bank) -> None:
    before = [bank.recall(task=i).masks["gates"].clone() for i in range(3)]
    run(make_task(300), bank, Told(bank, [0, 1, 2]))
    assert bank.count == 3
    assert all(torch.equal(bank.recall(task=i).masks["gates"], before[i]) for i in range(3))


# --- every image by itself


class Asked(TaskInference):
    """Names the task of an image by its first pixel alone, and remembers the sets."""

    def __init__(self, bank: MaskBank, *, names: bool = False) -> None:
        self.bank, self.names = bank, names
        self.given: list[Tensor] = []

    def infer(self, images: Tensor) -> Inferred:
        self.given.append(images)
        task = (images[:, 0, 0] * 3).long()
        gates = torch.stack([self.bank.recall(task=int(t)).masks["gates"] for t in task])
        return Inferred(
            task=task,
            masks={"gates": gates},
            steps=torch.full_like(task, 2),
            verified=torch.ones_like(task, dtype=torch.bool),
            label=(images * 2).long().sum(-1) % CLASSES if self.names else None,
        )


def image_by_image(task: Task, network: Gates | None = None, **options: Any) -> Any:
    bank, accepted = options.pop("bank"), options.pop("accepted", {1})
    scorer = Scorer(
        network=network or Gates(),
        scenario=options.pop("scenario", "GNu"),
        device=torch.device("cpu"),
        watch=Stopwatch("recall", "evaluate"),
        protocol="image",
    )
    inference = Asked(bank, **options)
    generator = torch.Generator().manual_seed(0)
    found = scorer.score(
        task,
        known=bank.recall(task=1),
        accepted=digests(bank, accepted),
        inference=inference,
        samples=1,
        generator=generator,
    )
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())
    return *found, inference


@pytest.mark.parametrize("scored", [1, 128, 300])
def test_every_scored_image_infers_its_own_task_from_itself_alone(scored: int, bank) -> None:
    task = make_task(scored)
    accuracy, scores, inference = image_by_image(task, bank=bank)
    asked = torch.cat(inference.given)
    assert asked.shape == (scored, 1, CLASSES)
    assert torch.equal(asked[:, 0], task.scored_images)
    named = (task.scored_images[:, 0] * 3).long()
    right = [
        max(range(CLASSES), key=lambda c: float(image[c]) * MASKS[int(t)][c]) == int(label)
        for image, t, label in zip(task.scored_images, named, task.scored_labels, strict=True)
    ]
    both = [hit and int(t) == 1 for hit, t in zip(right, named, strict=True)]
    assert accuracy == pytest.approx(sum(both) / scored)
    assert scores.inferred == scores.exact == (named == 1).tolist()
    assert (scores.steps, scores.verified) == ([2] * scored, [True] * scored)
    only_labels, *_ = image_by_image(task, bank=bank, scenario="GNs")
    assert only_labels == pytest.approx(sum(right) / scored)


def test_an_inference_that_names_labels_is_judged_by_these(bank) -> None:
    task = make_task(200)
    accuracy, *_ = image_by_image(task, bank=bank, names=True, scenario="GNs")
    named = (task.scored_images * 2).long().sum(-1) % CLASSES
    assert accuracy == pytest.approx(float((named == task.scored_labels).double().mean()))


def test_labels_named_for_other_images_judge_no_scored_image(bank) -> None:
    """By protocol batch an inference sees images that are not scored."""
    task, answers = make_task(300), [1, 1, 1]

    class Labelling(Told):
        def infer(self, images: Tensor) -> Inferred:
            found = super().infer(images)
            return replace(found, label=torch.zeros(images.shape[:2], dtype=torch.long))

    told, plain = (run(task, bank, kind(bank, answers), told=1) for kind in (Labelling, Told))
    assert told == plain


def test_an_image_is_judged_alike_whatever_its_mates(bank) -> None:
    task = make_task(300)
    whole, scores, _ = image_by_image(task, bank=bank)
    parts = []
    for where in (slice(0, 150), slice(150, 300)):
        part = Task(
            name="part",
            train_images=task.train_images,
            train_labels=task.train_labels,
            inference_images=task.inference_images,
            scored_images=task.scored_images[where].flip(0),
            scored_labels=task.scored_labels[where].flip(0),
            classes=CLASSES,
        )
        accuracy, found, _ = image_by_image(part, bank=bank)
        parts.append((accuracy, found.inferred[::-1]))
    assert sum(accuracy for accuracy, _ in parts) / 2 == pytest.approx(whole)
    assert [hit for _, found in parts for hit in found] == scores.inferred


# --- figures


def found(inferred: list[bool], exact: list[bool], *, given: float) -> TaskScore:
    return TaskScore(
        given=given,
        label=given / 2 if inferred else None,
        joint=given / 2 if inferred else None,
        named=[0 if right else 1 for right in inferred],
        inferred=inferred,
        exact=exact,
        steps=[1] * len(exact),
        verified=[True] * len(exact),
    )


def test_figures_are_means_over_tasks_and_over_inferences() -> None:
    scores = Scores()
    scores.add(0, 1.0, found([True], [False], given=0.5))
    scores.add(2, 0.5, found([False, True, True], [False, False, True], given=1.0))
    assert scores.figures() == {
        "accuracy": 0.75,
        "accuracy_given_task": 0.75,
        "accuracy_label": 0.375,
        "task_inference_accuracy": 0.75,
        "exact_recall_rate": 0.25,
    }


def test_the_masks_named_most_often_in_place_of_the_right_one_are_counted() -> None:
    """Seven wrong masks, mask n named n times: five of them are noted."""
    scores = Scores()
    named = [0, *(n for n in range(1, 8) for _ in range(n))]
    exact = [n == 0 for n in named]
    scores.add(0, 0.5, replace(found(exact, exact, given=0.5), named=named))
    assert scores.mistaken == {0: {7: 7, 6: 6, 5: 5, 4: 4, 3: 3}}
    scores.add(1, 1.0, found([True], [True], given=1.0))
    assert scores.mistaken[1] == {}


def test_tasks_that_are_given_have_no_rate_of_inference() -> None:
    scores = Scores()
    scores.add(0, 1.0, found([], [True], given=1.0))
    assert scores.figures()["task_inference_accuracy"] is None
    assert scores.figures()["accuracy_label"] is None
    assert scores.figures()["exact_recall_rate"] == 1


def test_a_learner_without_masks_has_no_rate_of_right_masks() -> None:
    scores = Scores()
    scores.add(0, 1.0, replace(found([True], [True], given=1.0), exact=[], verified=[]))
    assert scores.figures()["exact_recall_rate"] is None
    assert scores.figures()["task_inference_accuracy"] == 1


def test_an_accuracy_of_zero_counts() -> None:
    assert Scores(row={0: 0.0, 1: 1.0}).figures()["accuracy"] == 0.5


def test_without_scores_there_are_no_figures() -> None:
    assert set(Scores().figures().values()) == {None}


def test_the_mean_of_nothing_is_none() -> None:
    assert mean([]) is None
    assert mean([0]) == 0
    assert mean([1, 2]) == 1.5
