"""The descent: its landscape, its dynamics, and what it demands of a penalty."""

import pytest
import torch

from hopmask import (
    ConfigError,
    NumericalError,
    PenaltyError,
    Reservoir,
    Search,
    paper_schedule,
)
from hopmask.recall.descent import descend
from hopmask.recall.dynamics import (
    SETTLE,
    AnnealedDescent,
    MeanField,
    SignPolish,
)
from hopmask.recall.landscape import Landscape

D = 128


@pytest.fixture
def patterns(random_spins):
    return random_spins(5, D)


@pytest.fixture
def reservoir(patterns):
    reservoir = Reservoir(D)
    reservoir.store(patterns)
    return reservoir


def landscape_of(reservoir, penalty=None, batch=1):
    return Landscape(reservoir.couplings, penalty, batch)


# Landscape


def test_a_rejected_state_has_no_part_in_the_field(reservoir, patterns, random_spins):
    landscape = landscape_of(reservoir)
    landscape.reject(patterns[:1])
    landscape.reject(patterns[1:2])
    field = landscape.field(random_spins(1, D, seed=3))
    assert field.norm() > 0.1
    torch.testing.assert_close(field @ patterns[:2].T, torch.zeros(1, 2), rtol=0, atol=1e-4)


def test_the_rejected_basis_is_orthonormal(reservoir, patterns):
    landscape = landscape_of(reservoir)
    for pattern in patterns:
        landscape.reject(pattern[None])
    basis = landscape.rejected[:, 0]
    torch.testing.assert_close(basis @ basis.T, torch.eye(5), rtol=0, atol=1e-5)


def test_rejecting_the_same_state_twice_does_no_harm(reservoir, patterns):
    landscape = landscape_of(reservoir)
    landscape.reject(patterns[:1])
    once = landscape.field(patterns[1:2])
    landscape.reject(patterns[:1])
    torch.testing.assert_close(landscape.field(patterns[1:2]), once, rtol=0, atol=1e-3)


def test_held_spins_stay_whatever_the_energy_wants(reservoir, patterns):
    held = torch.zeros(1, D)
    held[0, :6] = -patterns[0, :6]
    state = descend(landscape_of(reservoir).holding(held), patterns[:1], SETTLE).state
    assert torch.equal(state[0, :6], -patterns[0, :6])
    assert torch.equal(state[0, 6:], patterns[0, 6:])


def test_holding_leaves_the_landscape_itself_as_it_was(reservoir, patterns):
    landscape = landscape_of(reservoir)
    field = landscape.field(patterns[:1])
    other = landscape.holding(patterns[1:2])
    assert torch.equal(landscape.field(patterns[:1]), field)
    assert not torch.equal(other.field(patterns[:1]), field)
    assert other.couplings is landscape.couplings


def test_some_rows_have_their_own_penalty_rejections_and_held_spins(reservoir, patterns):
    targets = patterns.clone()

    def penalty(state):
        return ((state - targets) ** 2).mean(-1)

    whole = landscape_of(reservoir, penalty, batch=5)
    whole.reject(patterns.roll(1, 0))
    held = torch.zeros(5, D)
    held[:, :3] = torch.arange(5.0)[:, None].sub(2).sign()
    whole = whole.holding(held)
    rows = torch.tensor([3, 1])
    some = whole.narrowed(rows)
    states = patterns.roll(2, 0)
    assert torch.equal(some.evaluate(states[rows]), whole.evaluate(states)[rows])
    torch.testing.assert_close(some.slope(states[rows])[1], whole.slope(states)[1][rows])
    torch.testing.assert_close(some.field(states[rows]), whole.field(states)[rows])
    assert some.couplings is whole.couplings


def test_a_row_that_settled_is_left_alone_and_the_others_go_on(reservoir, patterns, random_spins):
    """Steps and state of each row are those it would have by itself."""
    starts = torch.cat([patterns[:2], 0.01 * random_spins(3, D, seed=8), patterns[2:3]])
    together = descend(landscape_of(reservoir, batch=6), starts, SETTLE)
    for row in range(6):
        alone = descend(landscape_of(reservoir), starts[row : row + 1], SETTLE)
        assert torch.equal(alone.state[0], together.state[row])
        assert int(alone.steps[0]) == int(together.steps[row])
    assert int(together.steps[0]) < int(together.steps[2:5].max())


def test_each_row_rejects_its_own_states(reservoir, patterns):
    landscape = landscape_of(reservoir, batch=2)
    landscape.reject(patterns[:2])
    field = landscape.field(patterns[2].expand(2, D))
    own = (field * patterns[:2]).sum(-1)
    other = (field * patterns[:2].flip(0)).sum(-1)
    torch.testing.assert_close(own, torch.zeros(2), rtol=0, atol=1e-4)
    assert other.abs().min() > 1e-2


def test_rejection_leaves_the_couplings_alone(reservoir, patterns):
    before = reservoir.psi.clone()
    landscape_of(reservoir).reject(patterns[:1])
    assert torch.equal(reservoir.psi, before)


def test_the_penalty_s_gradient_is_that_of_autograd(reservoir, patterns):
    landscape = landscape_of(reservoir, lambda state: (state**3).sum(-1), batch=5)
    value, gradient = landscape.slope(patterns)
    torch.testing.assert_close(value, patterns.sum(-1))
    torch.testing.assert_close(gradient, 3 * patterns**2)


def test_without_a_penalty_the_slope_is_zero(reservoir, patterns):
    value, gradient = landscape_of(reservoir, batch=5).slope(patterns)
    assert not value.any()
    assert not gradient.any()


# Dynamics


def test_mean_field_annealing_finds_the_memory_near_the_cue(reservoir, patterns, flipped):
    cues = flipped(patterns, 0.2)
    found = descend(landscape_of(reservoir, batch=5), cues, (MeanField(),))
    assert torch.equal(found.state, patterns)


def test_mean_field_annealing_leaves_a_mixture_that_sign_dynamics_stay_in(random_spins):
    patterns = random_spins(3, 512)
    reservoir = Reservoir(512, rule="hebbian")
    reservoir.store(patterns)
    mixture = patterns.sum(0).sign()
    start = (mixture + 0.2 * patterns[0])[None]
    annealed = descend(landscape_of(reservoir), start, SETTLE)
    polished = descend(landscape_of(reservoir), start, (SignPolish(),))
    assert torch.equal(polished.state[0], mixture)
    assert torch.equal(annealed.state[0], patterns[0])


def test_sign_polish_ends_at_a_fixed_point(reservoir, patterns, flipped):
    landscape = landscape_of(reservoir, batch=5)
    found = descend(landscape, flipped(patterns, 0.1), (SignPolish(),))
    assert bool((landscape.field(found.state) * found.state > 0).all())


def test_sign_polish_stops_once_the_state_stands_still(reservoir, patterns):
    found = descend(landscape_of(reservoir, batch=5), patterns, (SignPolish(steps=20),), trace=True)
    assert len(found.path) == 2  # the start, and one step that changed nothing
    assert not found.steps.any()


def test_a_descent_takes_at_most_the_steps_it_is_given(reservoir, random_spins):
    parts = (MeanField(steps=3), SignPolish(steps=2))
    found = descend(landscape_of(reservoir), random_spins(1, D, seed=4), parts, trace=True)
    assert len(found.path) <= 1 + 3 + 2
    assert int(found.steps.max()) <= 5


def test_a_descent_keeps_no_path_unless_asked(reservoir, patterns):
    assert descend(landscape_of(reservoir, batch=5), patterns, SETTLE).path.numel() == 0


def test_a_path_goes_from_the_start_to_the_end(reservoir, patterns, flipped):
    start = flipped(patterns, 0.1)
    found = descend(landscape_of(reservoir, batch=5), start, SETTLE, trace=True)
    assert torch.equal(found.path[0], start)
    assert torch.equal(found.path[-1], found.state)


def test_steps_count_until_the_signs_stop_changing(reservoir, patterns, flipped):
    start = torch.cat([patterns[:1], flipped(patterns[1:2], 0.1)])
    found = descend(landscape_of(reservoir, batch=2), start, (SignPolish(),), trace=True)
    for row, steps in enumerate(found.steps.tolist()):
        assert torch.equal(found.path[steps, row], found.state[row])
        assert steps == 0 or not torch.equal(found.path[steps - 1, row], found.state[row])


def test_a_descent_does_not_change_its_start(reservoir, patterns):
    start = patterns.clone()
    for parts in (SETTLE, paper_schedule(steps=3)):
        descend(landscape_of(reservoir, lambda s: s.mean(-1), batch=5), start, parts)
    assert torch.equal(start, patterns)


def test_a_descent_into_infinity_is_an_error(reservoir):
    wild = AnnealedDescent(steps=5, rate=1e30, strength=1e30)
    landscape = landscape_of(reservoir, lambda state: 1e30 * state.sum(-1))
    with pytest.raises(NumericalError):
        descend(landscape, reservoir.mean[None], (wild,))


def test_the_papers_schedule_is_annealed_descent_and_nothing_else():
    (part,) = paper_schedule(steps=17)
    assert part == AnnealedDescent(steps=17)


def test_annealed_descent_follows_its_formula(reservoir, patterns):
    """Scores, velocity and straight-through gradient, written out for two steps."""
    options = AnnealedDescent(steps=2, strength=0.01, rate=3.0, momentum=0.5, decay=0.1)
    target = patterns[0]
    landscape = landscape_of(reservoir, lambda state: ((state - target) ** 2).sum(-1))
    found = descend(landscape, reservoir.mean[None], (options,), trace=True)

    scores, velocity = reservoir.mean.double(), torch.zeros(D, dtype=torch.float64)
    psi = reservoir.psi.double()
    for t in (1, 2):
        z = torch.where(scores >= 0, 1.0, -1.0).double()
        by_z = (1 - t / 2) * 2 * (z - target) + 0.01 * (t / 2) * -(psi @ z)
        velocity = 0.5 * velocity + 2 * by_z + 0.1 * scores
        scores = scores - 3.0 * velocity
        assert torch.equal(found.path[t, 0].double(), torch.where(scores >= 0, 1.0, -1.0).double())


@pytest.mark.parametrize("target", range(5))
def test_the_papers_schedule_recalls_what_the_penalty_points_to(reservoir, patterns, target):
    hit = reservoir.recall(
        penalty=lambda spins: (spins - patterns[target]).square().mean(),
        search=Search(dynamics=paper_schedule(steps=30)),
    )
    assert torch.equal(hit.spins, patterns[target])
    assert hit.verified


def test_annealed_descent_asks_the_penalty_once_a_step(reservoir, patterns):
    calls = []

    def penalty(state):
        calls.append(1)
        return (state - patterns[0]).square().mean(-1)

    descend(landscape_of(reservoir, penalty), reservoir.mean[None], paper_schedule(steps=12))
    assert len(calls) == 12


def test_a_users_dynamics_work_beside_the_others(reservoir, patterns, flipped):
    class Pause:
        from_mean = False
        settles = False
        steps = 2

        def begin(self, landscape, state):
            return (state,)

        def step(self, landscape, work, t):
            return work

    hit = reservoir.recall(flipped(patterns, 0.1), search=Search(dynamics=(Pause(), *SETTLE)))
    assert torch.equal(hit.spins, patterns)


# Options


@pytest.mark.parametrize("kind", [AnnealedDescent, MeanField, SignPolish])
def test_steps_that_are_no_positive_number_are_refused(kind):
    for steps in (0, 2.5, True, "x"):
        with pytest.raises(ConfigError):
            kind(steps=steps)


@pytest.mark.parametrize(
    "options",
    [
        {"strength": 0.0},
        {"strength": float("nan")},
        {"rate": 0.0},
        {"rate": "x"},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"decay": -1e-4},
        {"decay": None},
    ],
    ids=str,
)
def test_annealed_descent_refuses_options_it_cannot_run_with(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        AnnealedDescent(**options)


@pytest.mark.parametrize(
    "options", [{"hot": 0.0}, {"cold": -1.0}, {"hot": 0.2, "cold": 0.3}, {"hot": float("nan")}]
)
def test_mean_field_refuses_temperatures_it_cannot_cool_through(options):
    with pytest.raises(ConfigError):
        MeanField(**options)


def test_the_papers_schedule_refuses_no_steps():
    with pytest.raises(ConfigError):
        paper_schedule(steps=0)


@pytest.mark.parametrize("options", [AnnealedDescent(), MeanField(), SignPolish()])
def test_options_cannot_be_changed(options):
    with pytest.raises(AttributeError):
        options.steps = 3


# What a penalty must be

BAD_PENALTIES = {
    "NaN": lambda spins: spins.sum() * float("nan"),
    "infinite": lambda spins: spins.sum() * float("inf"),
    "a vector": lambda spins: spins,
    "a number": lambda spins: 1.0,
    "nothing": lambda spins: None,
    "detached": lambda spins: spins.detach().mean(),
    "constant": lambda spins: torch.tensor(1.0),
    "of other parameters alone": lambda spins: torch.ones(1, requires_grad=True).sum(),
    "of infinite slope": lambda spins: (spins - spins.detach()).abs().sqrt().sum(),
    "of too many dimensions": lambda spins: spins.mean().reshape(1, 1),
}


@pytest.mark.parametrize("penalty", BAD_PENALTIES.values(), ids=BAD_PENALTIES)
def test_a_penalty_that_is_no_finite_differentiable_scalar_is_refused(reservoir, penalty):
    for parts in (SETTLE, paper_schedule(steps=3)):
        with pytest.raises(PenaltyError):
            reservoir.recall(penalty=penalty, search=Search(dynamics=parts))


def test_a_penalty_s_own_error_comes_through(reservoir):
    def broken(spins):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        reservoir.recall(penalty=broken)


def test_a_penalty_works_where_gradients_are_switched_off(reservoir, patterns):
    with torch.no_grad():
        hit = reservoir.recall(penalty=lambda spins: (spins - patterns[1]).square().mean())
    assert torch.equal(hit.spins, patterns[1])


def test_a_penalty_leaves_no_gradient_on_the_callers_parameters(reservoir):
    weight = torch.ones(D, requires_grad=True)
    reservoir.recall(penalty=lambda spins: (spins * weight).mean())
    assert weight.grad is None


def test_annealed_descent_moves_its_scores_by_the_formula(random_spins):
    """At step t = 1 ... T the energy weighs γ t/T and the penalty 1 − t/T: all four steps."""
    patterns = random_spins(5, D, dtype=torch.float64)
    reservoir = Reservoir(D, dtype=torch.float64)
    reservoir.store(patterns)
    psi, target = reservoir.psi, patterns[0]
    landscape = landscape_of(reservoir, lambda state: ((state - target) ** 2).sum(-1))
    options = AnnealedDescent(steps=4, strength=0.3, rate=0.7, momentum=0.5, decay=0.1)
    work = options.begin(landscape, reservoir.mean[None])
    scores, velocity = reservoir.mean.clone(), torch.zeros_like(reservoir.mean)
    for t in (1, 2, 3, 4):
        work = options.step(landscape, work, t - 1)
        z = torch.where(scores >= 0, 1.0, -1.0).double()
        by_z = (1 - t / 4) * 2 * (z - target) - 0.3 * (t / 4) * (psi @ z)
        velocity = 0.5 * velocity + 2 * by_z + 0.1 * scores
        scores = scores - 0.7 * velocity
        torch.testing.assert_close(work[1][0], scores)
        assert torch.equal(work[0][0], torch.where(scores >= 0, 1.0, -1.0).double())
