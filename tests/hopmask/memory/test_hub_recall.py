"""Recall from hub memories: by number, damage, penalty and signature, alone and together."""

import math

import pytest
import torch

from hopmask import Damage, MaskMemory, Search
from hopmask.errors import ConfigError, CueError, PenaltyError, UnknownTaskError
from hopmask.memory import hub_recall
from hopmask.recall.dynamics import MeanField, SignPolish

NUMBERS = (0, 1, 2, 3, 4)


def flat_of(masks):
    return torch.cat([mask.flatten().float() for mask in masks.values()])


def layers(memory, rows):
    """Rows of all bits (b, bits) as name -> (b, *shape)."""
    return memory.code.layout.split(rows)


def same_masks(hit, task, row=...):
    return all(torch.equal(hit.masks[name][row], mask) for name, mask in task["masks"].items())


class Toward:
    """A penalty that is lower the nearer masks are to some target, one for each row or one for all.

    Attributes:
        calls: how many rows each call had.
    """

    def __init__(self, targets, *, scale=1.0):
        self.targets, self.scale, self.calls = targets, scale, []

    def __call__(self, masks):
        level = torch.cat([masks["a"], masks["b"].flatten(-2)], -1)
        self.calls.append(len(level) if level.ndim == 2 else 1)
        return self.scale * (level - self.targets).square().sum(-1)


class RowsToward(Toward):
    """The same as a `RowPenalty`."""

    def of_rows(self, rows):
        part = RowsToward(self.targets[rows], scale=self.scale)
        part.calls = self.calls
        return part


@pytest.fixture
def memory(hub_memory):
    return hub_memory(5)


@pytest.fixture
def targets(hub_task):
    return torch.stack([flat_of(hub_task(number)["masks"]) for number in NUMBERS])


# By number


def test_many_numbers_come_back_in_one_batch_in_their_order(memory, hub_task):
    for given in ([3, 0, 3], (3, 0, 3), torch.tensor([3, 0, 3])):
        hit = memory.recall(given)
        assert hit.task.tolist() == [3, 0, 3]
        assert hit.verified.tolist() == [True] * 3
        assert hit.extras["x"].shape == (3, 3)
        for row, number in enumerate((3, 0, 3)):
            assert same_masks(hit, hub_task(number), row)
            assert torch.equal(hit.extras["y"][row], hub_task(number)["extras"]["y"].half().float())


@pytest.mark.parametrize("task", [5, -1, [0, 5], [], "0", 1.0, [True]])
def test_numbers_that_are_not_held_are_refused(task, memory):
    with pytest.raises(UnknownTaskError):
        memory.recall(task)


@pytest.mark.parametrize(
    "rest",
    [
        {"cue": {"a": torch.ones(96)}},
        {"batch": 2},
        {"signature": torch.ones(5)},
        {"penalty": lambda masks: masks["a"].mean()},
        {"penalty": lambda masks: masks["a"].mean(), "signature": torch.ones(5)},
    ],
)
def test_a_number_goes_with_nothing_else(rest, memory):
    with pytest.raises(CueError):
        memory.recall(0, **rest)


def test_a_corrupted_coupling_is_told_by_the_digest(memory):
    assert bool(memory.recall(list(NUMBERS)).verified.all())
    memory.couplings.narrow[:10] = 0
    wrong = memory.recall(list(NUMBERS))
    assert not bool(wrong.verified.all())
    assert torch.equal(wrong.recognized, wrong.verified)


def test_energy_is_that_of_the_joint_state(memory, hub_task):
    hit = memory.recall(list(NUMBERS))
    assert hit.energy.tolist() == [-memory.code.size] * 5
    assert hit.steps.tolist() == [1] * 5
    assert all(math.isnan(margin) for margin in hit.margin.tolist())


# By damaged masks


@pytest.mark.parametrize("damage", [Damage(share=0.2), Damage(kind="erasures", share=0.8)])
def test_damaged_masks_come_back_whole_alone_and_in_a_batch(damage, memory, hub_task, targets):
    cues = (1 + damage.of(2 * targets - 1, torch.Generator().manual_seed(0))) / 2
    hit = memory.recall(cue=layers(memory, cues))
    assert hit.task.tolist() == list(NUMBERS)
    assert bool(hit.verified.all())
    for number in NUMBERS:
        assert same_masks(hit, hub_task(number), number)
        one = memory.recall(cue=layers(memory, cues[number]))
        assert (one.task, one.verified) == (number, True)
        assert same_masks(one, hub_task(number))
        assert one.recognized == bool(hit.recognized[number])


@pytest.mark.parametrize("layer", ["a", "b"])
def test_one_layer_is_enough(layer, memory, hub_task):
    for number in NUMBERS:
        hit = memory.recall(cue={layer: hub_task(number)["masks"][layer].float()})
        assert hit.task == number
        assert hit.recognized


def test_one_layer_for_all_rows_and_one_for_each(memory, hub_task):
    b = torch.stack([hub_task(number)["masks"]["b"].float() for number in (1, 2)])
    hit = memory.recall(cue={"a": torch.full((96,), 0.5), "b": b})
    assert hit.task.tolist() == [1, 2]


def test_noise_is_not_recognized_but_whole_masks_are(memory, hub_task):
    noise = (torch.rand(50, 128, generator=torch.Generator().manual_seed(77)) < 0.6).float()
    hit = memory.recall(cue=layers(memory, noise))
    assert bool(hit.verified.all())
    assert not bool(hit.recognized.any())
    masks = {name: mask.float() for name, mask in hub_task(2)["masks"].items()}
    assert memory.recall(cue=masks).recognized


@pytest.mark.parametrize(
    "cue",
    [
        {},
        {"c": torch.ones(96)},
        {"a": torch.ones(95)},
        {"a": torch.zeros(96)},
        {"a": torch.full((96,), 0.5)},
        {"a": torch.full((96,), 2.0)},
        {"a": torch.full((96,), float("nan"))},
        {"a": torch.ones(2, 96), "b": torch.ones(3, 4, 8)},
        {"a": [1.0] * 96},
        "a",
    ],
)
def test_cues_that_say_nothing_or_do_not_fit_are_refused(cue, memory, unchanged):
    with unchanged(memory), pytest.raises(CueError):
        memory.recall(cue=cue)


def test_nothing_to_recall_by_is_refused(memory):
    with pytest.raises(CueError):
        memory.recall()
    with pytest.raises(CueError):
        memory.recall(batch=2)
    with pytest.raises(CueError):
        memory.recall(cue={"a": torch.ones(96)}, batch=2)


# By penalty


def test_a_penalty_points_at_its_task(memory, hub_task, targets):
    for number in NUMBERS:
        hit = memory.recall(penalty=Toward(targets[number]))
        assert (hit.task, hit.verified, hit.recognized) == (number, True, True)
        assert same_masks(hit, hub_task(number))


@pytest.mark.parametrize("kind", [Toward, RowsToward])
@pytest.mark.parametrize("search", [Search(), Search(min_margin=1.0), Search(max_basins=2)])
def test_a_penalty_of_a_batch_points_each_row_at_its_own(kind, search, memory, hub_task, targets):
    order = [4, 0, 2, 2]
    hit = memory.recall(penalty=kind(targets[order]), batch=4, search=search)
    assert hit.task.tolist() == order
    for row, number in enumerate(order):
        assert same_masks(hit, hub_task(number), row)
        one = memory.recall(penalty=Toward(targets[number]), search=search)
        assert one.task == number
        assert one.margin == pytest.approx(float(hit.margin[row]))


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_the_scale_of_a_penalty_does_not_move_where_it_points(scale, memory, targets):
    for number in NUMBERS:
        search = Search(max_basins=1)
        assert (
            memory.recall(penalty=Toward(targets[number], scale=scale), search=search).task
            == number
        )


def test_rows_that_are_clear_are_no_longer_compared(memory, targets):
    between = 0.6 * targets[3] + 0.4 * targets[1]
    whole, few = (RowsToward(torch.stack([targets[1], between])) for _ in range(2))
    every = memory.recall(penalty=whole, batch=2)
    hit = memory.recall(penalty=few, batch=2, search=Search(min_margin=0.5))
    assert hit.task.tolist() == every.task.tolist() == [1, 3]
    assert sum(whole.calls) == 2 * 7  # the slope, chance and five candidates
    assert few.calls == [2, 2, 2, 1]  # the second row's alone has a second candidate
    assert 0.5 < float(hit.margin[0]) < float(every.margin[0])  # the first's lead, by agreement


def test_a_lead_that_is_not_recognized_is_compared(memory, targets):
    penalty = Toward(targets[1])
    hit = memory.recall(penalty=penalty, search=Search(min_margin=0.5, recognition_margin=30.0))
    assert len(penalty.calls) == 2 + 2
    assert hit.margin > 30
    assert hit.recognized


def test_one_candidate_alone_has_the_margin_to_chance(memory, targets):
    penalty = Toward(targets[1])
    hit = memory.recall(penalty=penalty, search=Search(max_basins=1))
    assert hit.margin == pytest.approx(float(hit_of_chance(memory, targets)), rel=1e-5)


def hit_of_chance(memory, targets):
    """What a random state's penalty is above that of the right mask, which is 0."""
    seen = Seen(targets[1])
    memory.recall(penalty=seen, search=Search(max_basins=1))
    return Toward(targets[1])(seen.given[1])


def test_a_lead_is_no_reason_to_stop_where_the_margin_asked_for_is_larger(memory, targets):
    penalty = Toward(targets[1])
    hit = memory.recall(penalty=penalty, search=Search(min_margin=40.0))
    assert len(penalty.calls) == 2 + 2  # the slope, chance and two candidates
    assert hit.margin > 40


@pytest.mark.parametrize(("basins", "calls"), [(1, 1), (3, 3), (5, 5), (99, 5)])
def test_max_basins_counts_the_candidates_compared(basins, calls, memory, targets):
    penalty = Toward(targets[1])
    hit = memory.recall(penalty=penalty, search=Search(max_basins=basins))
    assert len(penalty.calls) == 2 + calls
    assert hit.task == 1


def test_a_pointing_penalty_points_by_one_function_and_compares_by_another(memory, targets):
    class Pointing(Toward):
        def pointing(self):
            return Toward(targets[3])

    assert memory.recall(penalty=Pointing(targets[1]), search=Search(max_basins=1)).task == 3
    strong = Pointing(targets[1], scale=100)
    assert memory.recall(penalty=strong).task == 1
    assert len(strong.calls) == 6  # chance and five candidates: it was not asked for a slope


class Seen(Toward):
    """Keeps the mappings that it was given."""

    def __init__(self, targets):
        super().__init__(targets)
        self.given = []

    def __call__(self, masks):
        self.given.append({name: value.detach().clone() for name, value in masks.items()})
        return super().__call__(masks)


def halves(hub_task, number):
    return {name: value.half().float() for name, value in hub_task(number)["extras"].items()}


def test_a_penalty_is_given_each_candidates_own_extras(memory, hub_task, targets):
    penalty = Seen(targets[2])
    memory.recall(penalty=penalty)
    tried = penalty.given[2:]
    assert len(tried) == 5
    for masks in tried:
        (number,) = (
            n for n in NUMBERS if torch.equal(masks["a"].bool(), hub_task(n)["masks"]["a"])
        )
        for name, value in halves(hub_task, number).items():
            assert torch.equal(masks[name], value)


def test_at_the_mean_mask_extras_are_the_mean_of_the_live_tasks(memory, hub_task, targets):
    memory.forget(3)
    penalty = Seen(targets[2])
    memory.recall(penalty=penalty)
    for given in penalty.given[:2]:  # the slope at μ, and the random mask
        for name in ("x", "y"):
            mean = torch.stack([halves(hub_task, n)[name] for n in (0, 1, 2, 4)]).double().mean(0)
            torch.testing.assert_close(given[name], mean.float())
    torch.testing.assert_close(penalty.given[0]["a"], memory.mean["a"])


def test_extras_come_with_the_batch_dimension_of_the_masks(memory, targets):
    penalty = Seen(targets)
    memory.recall(penalty=penalty, batch=5)
    assert {tuple(given["y"].shape) for given in penalty.given} == {(5, 1, 2)}
    assert {tuple(given["a"].shape) for given in penalty.given} == {(5, 96)}


@pytest.mark.parametrize("rows", [False, True])
def test_extras_decide_between_tasks_of_like_masks(rows, hub_task):
    """The penalty knows a task by its extras, which the memory compares for all candidates."""
    memory = MaskMemory({"a": 96}, couplings="hub", hubs=8, extras={"x": 3})
    for number in NUMBERS:
        task = hub_task(number)
        memory.store({"a": task["masks"]["a"]}, extras={"x": task["extras"]["x"]})
    wanted = torch.stack([halves(hub_task, number)["x"] for number in (4, 1)])

    class Wanted:
        def __init__(self, values):
            self.values = values

        def __call__(self, masks):
            away = (masks["x"] - self.values).square().sum(-1)
            return 1e3 * away + 1e-3 * masks["a"].mean(-1)

    class WantedRows(Wanted):
        def of_rows(self, chosen):
            return WantedRows(self.values[chosen])

    kind = WantedRows if rows else Wanted
    hit = memory.recall(penalty=kind(wanted), batch=2, search=Search(min_margin=50.0))
    assert hit.task.tolist() == [4, 1]
    assert torch.equal(hit.extras["x"], wanted)


def test_a_penalty_of_extras_alone_points_at_no_mask(memory):
    with pytest.raises(PenaltyError, match="does not depend on the masks"):
        memory.recall(penalty=lambda masks: masks["x"].sum())


def test_the_answer_does_not_depend_on_what_else_is_in_the_batch(memory, targets):
    generator = torch.Generator().manual_seed(1)
    near = (targets + 0.4 * torch.randn(5, 128, generator=generator)).clamp(0, 1)
    whole = memory.recall(penalty=Toward(near), batch=5)
    for row in range(5):
        one = memory.recall(penalty=Toward(near[row]))
        assert one.task == int(whole.task[row])
        assert one.margin == pytest.approx(float(whole.margin[row]), rel=1e-5)


@pytest.mark.parametrize(
    "penalty",
    [
        5,
        lambda masks: 1.0,
        lambda masks: torch.tensor(1.0),
        lambda masks: masks["a"],
        lambda masks: masks["a"].mean() * torch.nan,
        lambda masks: masks["a"].mean().detach(),
        lambda masks: (
            masks["a"].mean().log() * 0 + masks["a"].sub(0.5).abs().sqrt().sum() * torch.inf
        ),
    ],
)
def test_penalties_that_are_none_are_refused(penalty, memory, unchanged):
    with unchanged(memory), pytest.raises(PenaltyError):
        memory.recall(penalty=penalty)


def test_penalties_work_where_no_gradients_are_wanted(memory, targets):
    with torch.no_grad():
        assert memory.recall(penalty=Toward(targets[1])).task == 1
    with torch.inference_mode():
        assert memory.recall(penalty=Toward(targets[1])).task == 1


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "2"])
def test_batches_that_are_none_are_refused(batch, memory):
    with pytest.raises(CueError):
        memory.recall(penalty=lambda masks: masks["a"].mean(-1), batch=batch)


# By signature, and together


def test_a_signature_names_its_task(memory, hub_task):
    for number in NUMBERS:
        samples = hub_task(number)["signature"]
        one = memory.recall(signature=samples.mean(0))
        assert one.task == number
        assert same_masks(one, hub_task(number))
    sets = torch.stack([hub_task(number)["signature"][:20] for number in NUMBERS])
    hit = memory.recall(signature=sets)
    assert hit.task.tolist() == list(NUMBERS)
    assert bool(hit.recognized.all())


def test_strange_data_are_not_recognized(memory):
    hit = memory.recall(signature=50 + torch.randn(3, 20, 5))
    assert not bool(hit.recognized.any())


def test_zeros_point_nowhere_and_are_never_recognized(memory, hub_task, targets):
    signature = torch.stack([torch.zeros(5), hub_task(2)["signature"].mean(0)])
    alone = memory.recall(signature=signature)
    assert int(alone.task[1]) == 2
    assert not bool(alone.recognized[0])
    both = memory.recall(signature=signature, penalty=Toward(targets[[4, 2]]))
    assert both.task.tolist() == [4, 2]
    assert not bool(both.recognized[0])


def test_tasks_without_a_signature_are_found_by_the_rest(hub_memory, hub_task, targets):
    memory = hub_memory(0)
    for number in NUMBERS:
        task = hub_task(number)
        if number in (1, 3):
            del task["signature"]
        memory.store(**task)
    strange = hub_task(3)["signature"][None]
    assert int(memory.recall(signature=strange).task) in (0, 2, 4)
    both = memory.recall(signature=strange, penalty=Toward(targets[[3]], scale=1e4))
    assert both.task.tolist() == [3]
    assert memory.recall(signature=hub_task(2)["signature"][None]).task.tolist() == [2]


def test_a_task_without_a_signature_is_neither_ruled_out_by_one_nor_named(
    hub_memory, hub_task, targets
):
    memory, other = hub_memory(5), hub_task(7)
    number = memory.store(other["masks"], extras=other["extras"])
    signature = hub_task(2)["signature"][None]
    assert int(memory.recall(signature=signature, penalty=Toward(targets[[2]], scale=0)).task) == 2
    own = flat_of(other["masks"])
    two_nats = Toward(own[None], scale=2 / float((own - targets[2]).square().sum()))
    assert int(memory.recall(signature=signature, penalty=two_nats).task) == number


def test_no_signature_at_all_is_said(hub_memory, hub_task):
    memory = hub_memory(0)
    task = hub_task(0)
    memory.store(task["masks"], extras=task["extras"])
    with pytest.raises(CueError):
        memory.recall(signature=torch.ones(5))


def test_signature_cue_and_penalty_decide_together(memory, hub_task, targets):
    signature = torch.stack([hub_task(number)["signature"].mean(0) for number in (1, 2)])
    cue = {"a": torch.stack([hub_task(number)["masks"]["a"].float() for number in (1, 2)])}
    hit = memory.recall(cue=cue, signature=signature, penalty=Toward(targets[[1, 2]]))
    assert hit.task.tolist() == [1, 2]
    assert bool(hit.recognized.all())


def test_what_all_tasks_share_takes_nothing_from_the_signature(hub_memory, hub_task):
    """A cue on which all masks agree points at no task, however exactly it is known."""
    memory, base = hub_memory(0), hub_task(0)["masks"]["a"]
    for number in NUMBERS:
        task = hub_task(number)
        task["masks"]["a"] = base
        memory.store(**task)
    cue = {"a": 0.8 * base.float() + 0.1}
    for number in NUMBERS:
        signature = hub_task(number)["signature"].mean(0)
        assert memory.recall(signature=signature, cue=cue).task == number


@pytest.mark.parametrize(
    "signature",
    [
        torch.ones(4),
        torch.ones(0),
        torch.ones(2, 2, 2, 5),
        torch.full((5,), float("nan")),
        torch.ones(5, dtype=torch.int64),
        [1.0] * 5,
        torch.tensor(1.0),
        torch.full((5,), 1e38),
    ],
)
def test_signatures_that_do_not_fit_are_refused(signature, memory, unchanged):
    with unchanged(memory), pytest.raises(CueError):
        memory.recall(signature=signature)


def test_batches_of_different_sizes_are_refused(memory):
    with pytest.raises(CueError):
        memory.recall(cue={"a": torch.ones(2, 96)}, signature=torch.ones(3, 5))
    with pytest.raises(CueError):
        memory.recall(
            signature=torch.ones(3, 5), penalty=lambda masks: masks["a"].mean(-1), batch=3
        )


@pytest.mark.parametrize("penalty", [None, lambda masks: masks["a"].square().sum(-1)])
def test_a_batch_of_no_cues_has_no_answers(penalty, memory):
    hit = memory.recall(cue={"a": torch.ones(0, 96)}, penalty=penalty)
    assert hit.task.shape == (0,)
    assert hit.masks["a"].shape == (0, 96)


# Few tasks


def test_one_task_is_always_the_answer(hub_memory, hub_task, targets):
    memory = hub_memory(1)
    masks = {name: mask.float() for name, mask in hub_task(0)["masks"].items()}
    for by in (
        {"cue": masks},
        {"penalty": Toward(targets[0])},
        {"penalty": Toward(1 - targets[0])},
        {"signature": hub_task(0)["signature"].mean(0)},
        {"cue": masks, "penalty": Toward(targets[0]), "signature": hub_task(0)["signature"][0]},
    ):
        hit = memory.recall(**by)
        assert (hit.task, hit.verified) == (0, True)
        assert not math.isinf(hit.energy)
    assert memory.recall(penalty=Toward(targets[0])).recognized
    assert not memory.recall(penalty=Toward(1 - targets[0])).recognized


def test_of_two_tasks_each_is_found(hub_memory, hub_task, targets):
    memory = hub_memory(2)
    for number in (0, 1):
        assert memory.recall(penalty=Toward(targets[number])).task == number
        assert memory.recall(signature=hub_task(number)["signature"].mean(0)).task == number
        cue = {name: mask.float() for name, mask in hub_task(number)["masks"].items()}
        assert memory.recall(cue=cue).task == number


def test_of_equal_masks_the_signature_tells_which(hub_memory, hub_task, targets):
    memory = hub_memory(0)
    for number in NUMBERS:
        memory.store(**hub_task(number) | {"masks": hub_task(0)["masks"]})
    for number in NUMBERS:
        signature = hub_task(number)["signature"].mean(0)
        assert memory.recall(signature=signature, penalty=Toward(targets[0])).task == number
    assert memory.recall(cue={"a": hub_task(0)["masks"]["a"].float()}).task in NUMBERS


# Options


@pytest.mark.parametrize("dynamics", [(SignPolish(),), (MeanField(), SignPolish())])
def test_dynamics_are_of_dense_couplings(dynamics, memory):
    search = Search(dynamics=dynamics)
    for by in ({"task": 0}, {"cue": {"a": torch.ones(96)}}, {"signature": torch.ones(5)}):
        with pytest.raises(ConfigError):
            memory.recall(**by, search=search)


@pytest.mark.parametrize(
    "option",
    [
        {"min_margin": 1.0},
        {"max_basins": 2},
        {"agreement_weight": 1.0},
        {"recognition_margin": 1.0},
    ],
    ids=str,
)
def test_options_of_a_recall_by_data_are_refused_elsewhere(option, memory):
    for by in ({"task": 0}, {"cue": {"a": torch.ones(96)}}):
        with pytest.raises(ConfigError):
            memory.recall(**by, search=Search(**option))


def test_a_cue_has_one_batch_dimension(memory):
    for shape in ((5, 3, 96), (1, 1, 96)):
        with pytest.raises(CueError, match="shape"):
            memory.recall(cue={"a": torch.ones(shape)})


def test_the_weight_decides_between_agreement_and_penalty(memory, targets):
    class Pointing(Toward):
        def pointing(self):
            return Toward(targets[1])

    penalty = Pointing(targets[2])
    assert memory.recall(penalty=penalty, search=Search(agreement_weight=1e6)).task == 1
    assert memory.recall(penalty=penalty, search=Search(agreement_weight=1e-6)).task == 2


def test_the_recognition_margin_is_honoured(memory, targets):
    hit = memory.recall(penalty=Toward(targets[1]))
    for factor, recognized in ((0.99, True), (1.01, False)):
        search = Search(recognition_margin=factor * hit.margin)
        assert memory.recall(penalty=Toward(targets[1]), search=search).recognized is recognized


def test_a_trace_shows_the_candidates_compared(memory, targets):
    trace = memory.recall(penalty=Toward(targets[1]), search=Search(trace=True)).trace
    assert trace.states.shape == (5, 1, memory.code.size)
    assert trace.basin.tolist() == [0, 1, 2, 3, 4]
    assert trace.energy.tolist() == [[-memory.code.size]] * 5
    assert float(trace.overlap.max()) == 1
    bits = (trace.states[:, 0, :128] + 1) / 2
    expected = (bits - targets[1]).square().sum(-1)
    torch.testing.assert_close(trace.penalty[:, 0].float(), expected)
    assert len(torch.unique(bits, dim=0)) == 5


def test_in_a_trace_a_row_that_is_done_keeps_its_last_candidate(memory, targets):
    vague = (targets[[0]] + targets[[1]] + targets[[2]]) / 3
    search = Search(trace=True, min_margin=4.0)
    goal = torch.cat([targets[[3]], vague])
    trace = memory.recall(penalty=RowsToward(goal), batch=2, search=search).trace
    assert len(trace.states) > 2  # the second row went on
    assert torch.equal(trace.states[1, 0], trace.states[-1, 0])
    bits = (trace.states[..., :128] + 1) / 2
    torch.testing.assert_close(trace.penalty.float(), (bits - goal).square().sum(-1))


def test_the_overlap_of_states_with_masks_is_that_of_their_bits(memory, targets, hub_task):
    trace = memory.recall(penalty=Toward(targets[1]), search=Search(trace=True)).trace
    shares = memory.overlap(trace.states, hub_task(3)["masks"])
    expected = trace.states[..., :128] @ (2 * targets[3] - 1) / 128
    torch.testing.assert_close(shares, expected)
    assert float(shares.max()) == 1


@pytest.mark.parametrize("by", [{"task": 2}, {"cue": {"a": torch.ones(96)}}])
def test_recalls_without_data_have_a_trace_of_one_step(by, memory):
    trace = memory.recall(**by, search=Search(trace=True)).trace
    assert trace.penalty is None
    assert trace.overlap.tolist() == [[1.0]]


# Surroundings


def answers(memory, hub_task, targets):
    """What recalls of all kinds answer."""
    cue = {"a": hub_task(1)["masks"]["a"].float()}
    signature = hub_task(2)["signature"].mean(0)
    hits = [
        memory.recall(0),
        memory.recall([0, 1]),
        memory.recall(cue=cue),
        memory.recall(signature=signature),
        memory.recall(penalty=Toward(targets[3])),
        memory.recall(penalty=Toward(targets), batch=5, search=Search(trace=True)),
        memory.recall(cue=cue, signature=signature, penalty=Toward(targets[3])),
    ]
    return [(hit.task, hit.margin, hit.recognized, hit.masks["a"], hit.extras["x"]) for hit in hits]


def alike(one, other):
    for mine, theirs in zip(one, other, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(
                torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=0, equal_nan=True
            )


@pytest.mark.parametrize("surrounding", ["autocast", "float64", "bfloat16", "meta"])
def test_autocast_and_torchs_defaults_change_nothing(
    surrounding, hub_memory, hub_task, hub_state, targets, tmp_path
):
    memory = hub_memory(5)
    expected = answers(memory, hub_task, targets)
    tasks = {number: hub_task(number) for number in NUMBERS}
    extra = hub_task(6)
    before = torch.get_default_dtype()
    try:
        if surrounding == "autocast":
            with torch.autocast("cpu", dtype=torch.bfloat16):
                made = _lived(hub_memory(0), tasks, extra, tmp_path)
                alike(answers(memory, lambda n: tasks[n], targets), expected)
        else:
            if surrounding == "meta":
                torch.set_default_device("meta")
            else:
                torch.set_default_dtype(getattr(torch, surrounding))
            made = _lived(hub_memory(0), tasks, extra, tmp_path)
            alike(answers(memory, lambda n: tasks[n], targets), expected)
    finally:
        torch.set_default_dtype(before)
        torch.set_default_device(None)
    assert hub_state(made) == hub_state(_lived(hub_memory(0), tasks, extra, tmp_path))


def _lived(memory, tasks, extra, folder):
    """A memory that did everything."""
    for task in tasks.values():
        memory.store(**task)
    memory.forget(1)
    memory.replace(2, **extra)
    memory.grow()
    memory.save(folder / "memory.h5")
    memory.save(folder / "rounded.h5", bits=3)
    memory.merge(_empty_like(memory))
    assert memory.report().recalled == 1
    assert torch.isfinite(memory.mean_extras["x"]).all()
    return memory


def _empty_like(memory):
    other = MaskMemory(
        memory.shapes,
        couplings="hub",
        hubs=8,
        extras={"x": 3, "y": (1, 2)},
        signature_features=32,
    )
    other.grow()
    return other


# --- what one pass recalls, and how finely a gradient is read


def many(count=40, bits=400, extras=None, same=0):
    """A memory of random masks whose first bits are set in all of them, and the masks."""
    generator = torch.Generator().manual_seed(count)
    masks = torch.rand(count, bits, generator=generator) < 0.5
    masks[:, :same] = True
    memory = MaskMemory(
        {"a": bits}, couplings="hub", hubs=64, extras=extras or {}, signature_features=0
    )
    for number, mask in enumerate(masks):
        given = {name: torch.full((1,), float(number)) for name in extras or {}}
        memory.store({"a": mask}, extras=given)
    return memory, masks


@pytest.mark.parametrize("batch", [1, 5, 40])
@pytest.mark.parametrize(
    "search",
    [Search(), Search(max_basins=5), Search(min_margin=0.5), Search(min_margin=3.0, trace=True)],
    ids=["default", "five", "margin", "trace"],
)
def test_the_answer_does_not_depend_on_how_many_masks_one_pass_recalls(batch, search, monkeypatch):
    memory, masks = many(extras={"e": 1})
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(0, len(masks), (batch,), generator=generator)
    wanted = masks[rows].float() + 2 * torch.randn(batch, 400, generator=generator)

    def penalty(given):
        return 30 * (given["a"] - wanted).square().mean(-1) + 0 * given["e"].sum(-1)

    hits = []
    for ahead in (1, 16, 1000):
        monkeypatch.setattr(hub_recall, "_AHEAD", ahead)
        hits.append(memory.recall(penalty=penalty, batch=batch, search=search))
    for hit in hits:
        assert torch.equal(hit.masks["a"], masks[hit.task])
        assert torch.equal(hit.extras["e"][:, 0], hit.task.float())
        for name in ("task", "steps", "margin", "energy", "residual", "verified", "unstable"):
            assert torch.equal(getattr(hit, name), getattr(hits[0], name)), name
        if search.trace:
            assert torch.equal(hit.trace.states, hits[0].trace.states)


def test_masks_that_were_recalled_together_serve_any_of_their_tasks():
    memory, masks = many()
    hit = memory.recall([7, 3, 7, 30, 0])
    assert hit.task.tolist() == [7, 3, 7, 30, 0]
    assert torch.equal(hit.masks["a"], masks[hit.task])
    hit.masks["a"].logical_not_()
    assert torch.equal(memory.recall(7).masks["a"], masks[7])


@pytest.mark.parametrize("size", [1.0, 1e4, 1e6])
@pytest.mark.parametrize("odd", [False, True], ids=["of all", "of all but one"])
def test_a_large_term_that_tells_no_task_hides_none(size, odd):
    memory, masks = many(same=1)
    if odd:
        masks[39, 0] = False
        memory.replace(39, {"a": masks[39]})
    for number in (0, 20, 38):
        wanted = masks[number].float()

        def penalty(given, wanted=wanted):
            rest = (given["a"][1:] - wanted[1:]).square().sum()
            return size * (1 - given["a"][0]) + rest

        hit = memory.recall(penalty=penalty, search=Search(max_basins=1))
        assert hit.task == number


def test_one_row_that_needs_a_finer_gradient_changes_no_other():
    memory, masks = many()
    wanted, weight = masks[[4, 9]].float(), torch.ones(2, 400)
    weight[1, 0] = 1e5

    def penalty_of(rows):
        return lambda given: (weight[rows] * (given["a"] - wanted[rows]).square()).sum(-1)

    both = memory.recall(penalty=penalty_of([0, 1]), batch=2)
    assert both.task.tolist() == [4, 9]
    for row in range(2):
        alone = memory.recall(penalty=penalty_of([row]), batch=1)
        assert float(alone.margin) == float(both.margin[row])
