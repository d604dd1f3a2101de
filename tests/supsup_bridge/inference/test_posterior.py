"""The posterior over tasks and labels against a slow reference, image by image."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hopmask import ConfigError, CueError, EmptyMemoryError, MaskMemory
from supsup_bridge import FixedNetwork, PosteriorInference, SupSup, UnitNetwork
from supsup_bridge.inference import posterior
from supsup_bridge.inference.posterior import Weights
from supsup_bridge.inference.recall import recognized_by_address
from supsup_bridge.inference.signatures import pixels

TASKS, GROUPS, OUTPUTS, PIXELS = (0, 1, 3, 6), 3, 8, 6


def clouds(task: int, count: int = 30) -> tuple[Tensor, Tensor]:
    """Images (n, 6) of a task of one to three classes."""
    g = torch.Generator().manual_seed(task)
    centres = 1.5 * torch.randn(GROUPS, PIXELS, generator=g)
    labels = torch.arange(count) % (1 + task % GROUPS)
    return centres[labels] + torch.randn(count, PIXELS, generator=g), labels


@pytest.fixture(scope="module")
def network() -> UnitNetwork:
    return UnitNetwork([PIXELS, 32, OUTPUTS], network=torch.Generator().manual_seed(0))


def memory_of(network: FixedNetwork, tasks: tuple[int, ...] = TASKS, **options: Any) -> MaskMemory:
    options = {"hubs": 8, "signature_features": 64, "signature_groups": GROUPS, **options}
    memory = MaskMemory(network.mask_sizes, couplings="hub", **options)
    for task in tasks:
        mask = torch.rand(32, generator=torch.Generator().manual_seed(50 + task)) < 0.5
        images, labels = clouds(task)
        memory.store({"hidden1": mask}, task=task, signature=images, groups=labels)
    return memory


def reference(
    network: FixedNetwork, memory: MaskMemory, image: Tensor, weights: Weights
) -> dict[tuple[int, int], float]:
    """Score of each pair of task and label for one image, by the formula in the docstring."""
    scores = {}
    evidence = memory.evidence(image[None])[0].double()
    for task in memory.tasks:
        logits = network(image[None], memory.recall(task=task).masks)[0].double()
        log_p = F.log_softmax(logits, -1)
        entropy = -float((log_p.exp() * log_p).sum())
        whole = float(evidence[task].logsumexp(-1))
        for label in range(1 + task % GROUPS):
            scores[task, label] = (
                weights.task * whole
                + weights.group * (float(evidence[task, label]) - whole)
                - weights.entropy * entropy
                + weights.label * float(log_p[label])
            )
    return scores


WAYS = [
    Weights(),
    Weights(task=1, group=1, entropy=0, label=0),
    Weights(task=0, group=0, entropy=2, label=1),
    Weights(task=0.25, group=0, entropy=0.5, label=3),
]


@pytest.mark.parametrize("weights", WAYS, ids=str)
def test_the_best_pair_names_task_and_label_of_an_image(weights: Weights, network) -> None:
    memory = memory_of(network)
    images = torch.cat([clouds(task, 6)[0] for task in TASKS])
    found = PosteriorInference(network=network, memory=memory, weights=weights).infer(
        images[:, None]
    )
    for row, image in enumerate(images):
        scores = reference(network, memory, image, weights)
        best = max(scores, key=lambda pair: scores[pair])
        assert (int(found.task[row]), int(found.label[row, 0])) == best
    assert bool(found.verified.all())
    assert found.steps.tolist() == [len(TASKS)] * len(images)


def test_every_pair_has_the_score_of_the_formula(network) -> None:
    memory, image = memory_of(network), clouds(3)[0][:1]
    pairs = PosteriorInference(network=network, memory=memory).pairs(image[None])[0, 0]
    expected = torch.full((8, GROUPS), -torch.inf, dtype=torch.float64)
    for (task, label), score in reference(network, memory, image[0], Weights()).items():
        expected[task, label] = score
    torch.testing.assert_close(pairs, expected, rtol=1e-5, atol=1e-5)


def test_a_set_names_the_task_by_the_best_labels_of_all_its_images(network) -> None:
    memory = memory_of(network)
    sets = torch.stack([clouds(task, 5)[0] for task in (6, 1, 3)])
    found = PosteriorInference(network=network, memory=memory).infer(sets)
    assert found.label.shape == (3, 5)
    for row, images in enumerate(sets):
        scores = [reference(network, memory, image, Weights()) for image in images]
        of_task = {
            task: sum(max(v for (t, _), v in one.items() if t == task) for one in scores)
            for task in TASKS
        }
        task = max(of_task, key=lambda one: of_task[one])
        assert int(found.task[row]) == task
        for label, one in zip(found.label[row].tolist(), scores, strict=True):
            own = {pair[1]: value for pair, value in one.items() if pair[0] == task}
            assert label == max(own, key=lambda c: own[c])
        stored = memory.recall(task=task).masks["hidden1"]
        assert torch.equal(found.masks["hidden1"][row], stored)


def test_answers_do_not_depend_on_the_other_sets(network, monkeypatch) -> None:
    inference = PosteriorInference(network=network, memory=memory_of(network))
    images = torch.cat([clouds(task, 9)[0] for task in TASKS])[:, None]
    whole = inference.infer(images)
    alone = [inference.infer(images[row : row + 1]) for row in range(len(images))]
    assert torch.equal(whole.task, torch.cat([one.task for one in alone]))
    assert torch.equal(whole.label, torch.cat([one.label for one in alone]))
    for name, least in (("_IMAGES", 2), ("_TOGETHER", 3), ("_BITS", 70)):
        monkeypatch.setattr(posterior, name, least)
        parts = inference.infer(images)
        assert torch.equal(parts.task, whole.task)
        assert torch.equal(parts.label, whole.label)


def test_of_many_tasks_the_likeliest_by_the_address_are_tried(network, monkeypatch) -> None:
    monkeypatch.setattr(posterior, "_MOST_TASKS", 2)
    memory = memory_of(network)
    weights = Weights(task=0, group=0, entropy=1, label=1)
    images = torch.cat([clouds(task, 6)[0] for task in TASKS])
    inference = PosteriorInference(network=network, memory=memory, weights=weights)
    tried = inference.pairs(images[:, None])[:, 0].amax(-1) > -torch.inf
    likely = memory.evidence(images).logsumexp(-1).topk(2, -1).indices
    assert tried.sum(-1).tolist() == [2] * len(images)
    assert bool(tried.gather(1, likely).all())
    assert inference.infer(images[:, None]).steps.tolist() == [2] * len(images)


def test_labels_are_outputs_of_the_network_also_of_more_groups() -> None:
    network = UnitNetwork([PIXELS, 32, 2], network=torch.Generator().manual_seed(0))
    inference = PosteriorInference(network=network, memory=memory_of(network, (0, 1, 3)))
    assert inference.pairs(clouds(1)[0][:, None]).shape == (30, 1, 8, 2)


def test_an_image_of_a_known_task_is_recognized_and_a_far_one_is_not(network) -> None:
    inference = PosteriorInference(network=network, memory=memory_of(network, (0, 1)))
    for images, known in ((clouds(1)[0], True), (30 + clouds(1)[0], False)):
        sets = images[None]
        assert inference.recognizes(sets, inference.infer(sets)).tolist() == [known]


def test_images_of_a_class_between_those_learned_are_not_recognized() -> None:
    """They are far from the next task, and no nearer to the task found than to the mean of all."""
    g = torch.Generator().manual_seed(0)
    network = UnitNetwork([PIXELS, 32, OUTPUTS], network=g)
    memory = memory_of(network, (), signature_groups=2)
    labels, ways = torch.arange(200) % 2, 9 * torch.eye(PIXELS)
    for corners in (ways[:2], ways[2:4]):
        images = corners[labels] + 2.5 * torch.randn(200, PIXELS, generator=g)
        mask = torch.rand(32, generator=g) < 0.5
        memory.store({"hidden1": mask}, signature=images, groups=labels)
    inference = PosteriorInference(network=network, memory=memory)

    def recognized(centre: Tensor) -> tuple[float, float]:
        sets = (centre + torch.randn(100, PIXELS, generator=g))[:, None]
        found = inference.infer(sets)
        near = recognized_by_address(memory, pixels, sets, found)
        both = near, inference.recognizes(sets, found)
        return float(both[0].double().mean()), float(both[1].double().mean())

    assert recognized(ways[3])[1] > 0.9
    near, known = recognized((ways[2] + ways[3]) / 4)
    assert near > 0.5
    assert known < 0.1


def test_autocast_and_gradients_take_no_part(network) -> None:
    recorded: list[bool] = []

    class Watching(UnitNetwork):
        def forward(self, images: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
            recorded.append(torch.is_grad_enabled())
            return super().forward(images, masks)

    watching = Watching([PIXELS, 32, OUTPUTS], network=torch.Generator().manual_seed(0))
    images = torch.cat([clouds(task)[0] for task in TASKS])[:, None]
    plain = PosteriorInference(network=network, memory=memory_of(network)).infer(images)
    with torch.autocast("cpu"):
        found = PosteriorInference(network=watching, memory=memory_of(network)).infer(images)
    assert torch.equal(found.task, plain.task)
    assert recorded
    assert not any(recorded)


def test_what_cannot_be_asked_is_refused(network) -> None:
    images = clouds(0)[0]
    inference = PosteriorInference(network=network, memory=memory_of(network))
    with pytest.raises(ConfigError):
        inference.infer(images)
    with pytest.raises(CueError):
        inference.infer(images[:, None] * float("nan"))
    with pytest.raises(EmptyMemoryError):
        PosteriorInference(network=network, memory=memory_of(network, ())).infer(images[:, None])


def test_a_network_that_normalises_an_image_by_others_is_refused() -> None:
    g = torch.Generator().manual_seed(0)
    network = UnitNetwork([PIXELS, 32, OUTPUTS], network=g, normalisation="batch")
    with pytest.raises(ConfigError, match="batch norm"):
        PosteriorInference(network=network, memory=memory_of(network))
    with pytest.raises(ConfigError, match="batch norm"):
        SupSup(network, signature_groups=2)
    learner = SupSup(network, signature_groups=2, recall="both")
    with pytest.raises(ConfigError, match="batch norm"):
        learner.change_inference(recall="posterior")
    assert learner.settings.recall == "both"
