"""The search over basins: which one is the answer, what it costs, what the trace says."""

import pytest
import torch

from hopmask import MaskMemory, Reservoir, Search, paper_schedule
from hopmask.recall.dynamics import SignPolish
from hopmask.recall.result import Trace

D = 192


@pytest.fixture
def patterns(random_spins):
    return random_spins(5, D, seed=2)


@pytest.fixture
def reservoir(patterns):
    reservoir = Reservoir(D)
    reservoir.store(patterns)
    return reservoir


def distance_to(target):
    return lambda spins: (spins - target).square().mean(-1)


class Counting:
    """A penalty that counts how often it is asked."""

    def __init__(self, penalty):
        self.penalty, self.calls = penalty, 0

    def __call__(self, spins):
        self.calls += 1
        return self.penalty(spins)


@pytest.mark.parametrize("target", range(5))
def test_the_penalty_decides_among_the_basins(reservoir, patterns, target):
    hit = reservoir.recall(penalty=distance_to(patterns[target]))
    assert torch.equal(hit.spins, patterns[target])
    assert hit.verified


@pytest.mark.parametrize("target", range(5))
def test_the_value_of_the_penalty_decides_even_where_its_slope_misleads(
    reservoir, patterns, target
):
    """The gradient points at another memory; the values at ±1 states point at the target."""

    def misleading(spins):
        level = (spins - patterns[target]).square().mean(-1).detach()
        toward = (spins - spins.detach()) * -patterns[(target + 1) % 5]
        return 100 * level + toward.sum(-1)

    hit = reservoir.recall(penalty=misleading)
    assert torch.equal(hit.spins, patterns[target])


def test_a_strong_penalty_overrules_a_weak_cue(reservoir, patterns):
    same = patterns[0] == patterns[3]
    known = torch.cat([same.nonzero()[:5, 0], (~same).nonzero()[:3, 0]])  # 8 bits of pattern 0
    cue = torch.zeros(D)
    cue[known] = patterns[0, known]
    hit = reservoir.recall(cue, penalty=lambda spins: 50 * distance_to(patterns[3])(spins))
    assert torch.equal(hit.spins, patterns[3])


def test_a_strong_cue_overrules_a_weak_penalty(reservoir, patterns):
    hit = reservoir.recall(patterns[0], penalty=lambda spins: distance_to(patterns[3])(spins))
    assert torch.equal(hit.spins, patterns[0])


def test_the_answer_is_the_best_of_all_memories_when_all_are_visited(reservoir, patterns):
    direction = torch.randn(D, generator=torch.Generator().manual_seed(3))
    hit = reservoir.recall(penalty=lambda spins: spins @ direction, search=Search(max_basins=5))
    both = torch.cat([patterns, -patterns])
    values = both @ direction
    reached = float(hit.spins @ direction)
    toward_mean = [float(z @ direction) for z in both if float(z @ reservoir.mean) > 0]
    assert reached == pytest.approx(min(toward_mean), abs=1e-3)
    assert reached <= float(values.median())


@pytest.mark.parametrize("max_basins", [1, 2, 4])
def test_work_is_bounded_by_the_attempts(patterns, reservoir, max_basins):
    """One call for the start, one for a random state, one for the answer of each basin."""
    penalty = Counting(distance_to(patterns[0]))
    reservoir.recall(penalty=penalty, search=Search(max_basins=max_basins))
    assert penalty.calls <= 2 + max_basins


def test_work_does_not_grow_with_the_number_of_memories(random_spins):
    calls = []
    for k in (10, 40):
        reservoir = Reservoir(256, rule="projection")
        patterns = random_spins(k, 256)
        reservoir.store(patterns)
        penalty = Counting(distance_to(patterns[0]))
        reservoir.recall(penalty=penalty, search=Search(max_basins=3))
        calls.append(penalty.calls)
    assert calls[0] == calls[1] <= 5


def test_the_papers_schedule_asks_the_penalty_once_a_step_and_once_a_basin(reservoir, patterns):
    penalty = Counting(distance_to(patterns[0]))
    reservoir.recall(
        penalty=penalty, search=Search(max_basins=2, dynamics=paper_schedule(steps=10))
    )
    assert penalty.calls <= 2 * (10 + 1) + 1


def test_no_more_basins_are_visited_than_there_are_memories(random_spins):
    reservoir = Reservoir(D)
    patterns = random_spins(2, D)
    reservoir.store(patterns)
    penalty = Counting(distance_to(patterns[0]))
    hit = reservoir.recall(penalty=penalty, search=Search(max_basins=100, trace=False))
    assert penalty.calls <= 4
    assert torch.equal(hit.spins, patterns[0])


def test_a_cue_alone_visits_one_basin(reservoir, patterns, flipped):
    hit = reservoir.recall(flipped(patterns, 0.1), search=Search(max_basins=8, trace=True))
    assert not hit.trace.basin.any()


def test_steps_of_all_basins_add_up(reservoir, patterns):
    one = reservoir.recall(penalty=distance_to(patterns[0]), search=Search(max_basins=1))
    many = reservoir.recall(penalty=distance_to(patterns[0]), search=Search(max_basins=5))
    assert int(many.steps) > int(one.steps) > 0


def test_the_basins_visited_are_different_memories(reservoir, patterns):
    hit = reservoir.recall(
        penalty=distance_to(patterns[0]), search=Search(max_basins=5, trace=True)
    )
    ends = torch.stack([hit.trace.states[hit.trace.basin == number][-1, 0] for number in range(5)])
    reached = (ends @ patterns.T).abs().argmax(-1)
    assert sorted(reached.tolist()) == [0, 1, 2, 3, 4]


# Trace


@pytest.fixture
def traced(reservoir, patterns, flipped):
    return reservoir.recall(flipped(patterns, 0.1), search=Search(trace=True))


def test_there_is_no_trace_unless_asked(reservoir, patterns):
    assert reservoir.recall(patterns).trace is None


def test_a_trace_has_a_row_for_every_state(traced):
    trace = traced.trace
    assert isinstance(trace, Trace)
    rows = len(trace.basin)
    assert rows > int(traced.steps.max())
    assert trace.energy.shape == trace.overlap.shape == (rows, 5)
    assert trace.states.shape == (rows, 5, D)


def test_a_trace_begins_at_the_cue_and_ends_at_the_answer(reservoir, patterns, flipped):
    cue = flipped(patterns, 0.1)
    hit = reservoir.recall(cue, search=Search(trace=True))
    assert torch.equal(hit.trace.states[0], cue)
    assert torch.equal(hit.trace.states[-1], hit.spins)
    assert torch.equal(hit.trace.overlap[-1], torch.ones(5))


def test_traced_energy_is_that_of_the_traced_states(reservoir, traced):
    torch.testing.assert_close(traced.trace.energy, reservoir.energy(traced.trace.states))


def test_traced_overlap_is_the_mean_agreement_with_the_answer(traced):
    expected = (traced.trace.states * traced.spins).mean(-1)
    torch.testing.assert_close(traced.trace.overlap, expected)
    assert traced.trace.overlap.abs().max() <= 1


def test_a_trace_without_a_penalty_has_none(traced):
    assert traced.trace.penalty is None


def test_a_trace_records_the_penalty_of_every_state(reservoir, patterns):
    penalty = distance_to(patterns[2])
    trace = reservoir.recall(penalty=penalty, search=Search(trace=True)).trace
    assert trace.penalty.shape == trace.energy.shape
    torch.testing.assert_close(trace.penalty[:, 0], penalty(trace.states[:, 0]))
    assert not trace.penalty.requires_grad


def test_the_basin_that_was_chosen_ends_at_the_answer(reservoir, patterns):
    for target in patterns:
        trace = reservoir.recall(penalty=distance_to(target), search=Search(trace=True)).trace
        ends = [trace.overlap[trace.basin == n][-1].item() for n in trace.basin.unique()]
        assert max(ends) == 1


def test_attempts_of_a_trace_are_numbered_in_order(reservoir, patterns):
    trace = reservoir.recall(
        penalty=distance_to(patterns[1]), search=Search(max_basins=4, trace=True)
    ).trace
    assert trace.basin.unique().tolist() == [0, 1, 2, 3]
    assert bool((trace.basin.diff() >= 0).all())


def test_traced_states_lie_between_minus_and_plus_1(reservoir, patterns):
    trace = reservoir.recall(penalty=distance_to(patterns[1]), search=Search(trace=True)).trace
    assert trace.states.abs().max() <= 1


def test_tracing_does_not_change_the_answer(reservoir, patterns, flipped):
    cue = flipped(patterns, 0.2)
    plain = reservoir.recall(cue)
    traced = reservoir.recall(cue, search=Search(trace=True))
    assert torch.equal(plain.spins, traced.spins)
    assert torch.equal(plain.steps, traced.steps)


def test_the_papers_schedule_is_traced_step_by_step(reservoir, patterns):
    hit = reservoir.recall(
        penalty=distance_to(patterns[0]),
        search=Search(dynamics=paper_schedule(steps=9), max_basins=1, trace=True),
    )
    assert len(hit.trace.basin) == 1 + 9


def test_a_mask_memory_traces_its_joint_states(random_mask):
    memory = MaskMemory({"h": 96}, key_bits=32, signature_features=64)
    for seed in range(3):
        memory.store({"h": random_mask(96, seed=seed)})
    hit = memory.recall(task=1, search=Search(trace=True, dynamics=(SignPolish(),)))
    assert hit.trace.states.shape == (len(hit.trace.basin), 1, 32 + 64 + 96)
    overlap = memory.overlap(hit.trace.states, {"h": random_mask(96, seed=1)})
    assert overlap.shape == hit.trace.energy.shape
    assert overlap[-1].item() == 1
