"""One reservoir of spins: what it keeps, what it says of a state, what it recalls."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import (
    ConfigError,
    CueError,
    DuplicateError,
    EmptyMemoryError,
    HopmaskError,
    MaskError,
    NotForgettableError,
    NumericalError,
    OverloadWarning,
    PenaltyError,
    Reservoir,
    Search,
)
from hopmask.couplings.rules import (
    Hebbian,
    Projection,
)
from hopmask.recall.dynamics import (
    SignPolish,
)

D = 128


def filled(rule, patterns, **options):
    reservoir = Reservoir(patterns.shape[1], rule=rule, **options)
    reservoir.store(patterns)
    return reservoir


def overfilled(rule, patterns, **options):
    """A reservoir of more patterns than it can hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        return filled(rule, patterns, **options)


# What it keeps


def test_the_mean_is_that_of_the_stored_patterns(rule, random_spins):
    patterns = random_spins(6, D)
    reservoir = filled(rule, patterns)
    torch.testing.assert_close(reservoir.mean, patterns.mean(0))


def test_several_patterns_at_once_are_stored_as_one_by_one(rule, random_spins):
    patterns = random_spins(6, D)
    together, one_by_one = filled(rule, patterns), Reservoir(D, rule=rule)
    for pattern in patterns:
        one_by_one.store(pattern)
    assert torch.equal(together.psi, one_by_one.psi)
    assert torch.equal(together.mean, one_by_one.mean)
    assert together.count == one_by_one.count == 6


def test_bool_patterns_are_the_spins_that_they_stand_for(rule, random_spins):
    patterns = random_spins(4, D)
    assert torch.equal(filled(rule, patterns > 0).psi, filled(rule, patterns).psi)


def test_storing_does_not_change_its_input(rule, random_spins):
    patterns = random_spins(4, D)
    before = patterns.clone()
    filled(rule, patterns)
    assert torch.equal(patterns, before)


def test_storing_does_not_keep_its_input(rule, random_spins):
    patterns = random_spins(4, D)
    reservoir = filled(rule, patterns)
    psi, mean = reservoir.psi.clone(), reservoir.mean.clone()
    patterns.zero_()
    assert torch.equal(reservoir.psi, psi)
    assert torch.equal(reservoir.mean, mean)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bytes_are_those_of_the_tensors_whatever_is_stored(dtype, random_spins):
    reservoir = Reservoir(D, dtype=dtype)
    empty = reservoir.nbytes
    reservoir.store(random_spins(5, D))
    kept = [*vars(reservoir).values(), *vars(reservoir.couplings).values()]
    tensors = [value for value in kept if isinstance(value, torch.Tensor)]
    assert reservoir.nbytes == empty == sum(t.nbytes for t in tensors) + 8


def test_load_is_patterns_a_spin(random_spins):
    assert filled("storkey", random_spins(4, D)).load == 4 / D


@pytest.mark.parametrize("device", ["cpu", "meta", torch.device("cpu")], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_reservoir_says_where_and_of_which_type_it_is(device, dtype):
    """A device without storage stands for any other than the default."""
    reservoir = Reservoir(8, device=device, dtype=dtype)
    assert reservoir.device == reservoir.mean.device == torch.device(device)
    assert reservoir.dtype == reservoir.mean.dtype == dtype


def test_a_pattern_stored_already_is_refused_and_changes_nothing(rule, random_spins):
    patterns = random_spins(5, D)
    reservoir = filled(rule, patterns)
    psi, mean = reservoir.psi.clone(), reservoir.mean.clone()
    for pattern in torch.cat([patterns, -patterns]):
        with pytest.raises(DuplicateError):
            reservoir.store(pattern)
    assert torch.equal(reservoir.psi, psi)
    assert torch.equal(reservoir.mean, mean)
    assert reservoir.count == 5


def test_patterns_before_a_duplicate_are_stored_those_after_it_are_not(random_spins):
    a, b, c = random_spins(3, D)
    reservoir = Reservoir(D)
    with pytest.raises(DuplicateError):
        reservoir.store(torch.stack([a, b, a, c]))
    assert reservoir.count == 2
    assert bool((reservoir.residual(torch.stack([a, b])) < 0.1).all())
    assert reservoir.residual(c) > 0.5


@pytest.mark.parametrize("rule", ["storkey", "hebbian", "projection"])
def test_a_pattern_near_a_stored_one_is_no_duplicate(rule, random_spins, flipped):
    pattern = random_spins(1, D)
    reservoir = filled(rule, pattern)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)  # Hebb's rule cannot keep both
        reservoir.store(flipped(pattern, 0.1))
    assert reservoir.count == 2


def test_a_linear_combination_adds_nothing_to_a_projection_and_is_refused(random_spins):
    a, b, c = random_spins(3, D)
    c = torch.where(a == b, a, c)
    reservoir = filled("projection", torch.stack([a, b, c]))
    psi = reservoir.psi.clone()
    with pytest.raises((NumericalError, DuplicateError)):
        reservoir.store(a + b - c)
    assert torch.equal(reservoir.psi, psi)
    assert reservoir.count == 3


def test_too_many_patterns_warn_of_the_overload(random_spins):
    with pytest.warns(OverloadWarning, match=r"not stable.*'hebbian'"):
        filled("hebbian", random_spins(40, 64))


def test_the_overload_warning_points_at_the_callers_line(random_spins):
    reservoir = Reservoir(64, rule="hebbian")
    with pytest.warns(OverloadWarning) as caught:
        reservoir.store(random_spins(40, 64))
    assert caught[0].filename == __file__


def test_a_pattern_that_overloads_is_stored_all_the_same(random_spins):
    patterns = random_spins(40, 64)
    reservoir = overfilled("hebbian", patterns)
    assert reservoir.count == 40
    torch.testing.assert_close(reservoir.mean, patterns.mean(0))


def test_couplings_that_are_not_finite_take_no_pattern(rule, random_spins):
    patterns = random_spins(4, D)
    reservoir = filled(rule, patterns[:3])
    reservoir.psi[2, 5] = reservoir.psi[5, 2] = float("inf")
    with pytest.raises(NumericalError):
        reservoir.store(patterns[3])
    assert reservoir.count == 3


def test_infinite_couplings_that_agree_with_a_pattern_do_not_take_it_either(rule, random_spins):
    pattern = random_spins(1, D)[0]
    reservoir = filled(rule, pattern[None])
    reservoir.psi[2, 5] = reservoir.psi[5, 2] = pattern[2] * pattern[5] * float("inf")
    with pytest.raises((NumericalError, DuplicateError)):
        reservoir.store(pattern)
    assert reservoir.count == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_couplings_that_are_not_finite_recall_nothing(value, random_spins):
    patterns = random_spins(3, D)
    reservoir = filled("storkey", patterns)
    reservoir.psi[2, 5] = value
    with pytest.raises(NumericalError):
        reservoir.recall(patterns[0])


# What it says of a state


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(["storkey", "storkey-matrix"]), seed=st.integers(0, 2**16))
def test_energy_is_minus_half_of_the_quadratic_form(name, seed, random_spins):
    reservoir = filled(
        name, random_spins(4, 48, seed=seed, dtype=torch.float64), dtype=torch.double
    )
    z = random_spins(1, 48, seed=seed + 1, dtype=torch.float64)[0]
    expected = -0.5 * sum(
        float(z[i] * reservoir.psi[i, j] * z[j]) for i in range(48) for j in range(48)
    )
    assert reservoir.energy(z).item() == pytest.approx(expected, abs=1e-9)


def test_energy_is_minus_half_of_state_times_field(rule, random_spins):
    reservoir = filled(rule, random_spins(4, D))
    states = torch.rand(2, 3, D, generator=torch.Generator().manual_seed(0)) * 2 - 1
    energy = reservoir.energy(states)
    assert energy.shape == (2, 3)
    torch.testing.assert_close(energy, -0.5 * (states * reservoir.field(states)).sum(-1))


@pytest.mark.parametrize("rule", ["storkey", "hebbian", "projection"])
def test_flipping_one_spin_changes_the_energy_by_twice_spin_times_field(rule, random_spins):
    """ΔE = 2 z_i h_i holds for every rule whose field leaves out the diagonal."""
    reservoir = filled(rule, random_spins(5, D, dtype=torch.float64), dtype=torch.float64)
    z = random_spins(1, D, seed=8, dtype=torch.float64)[0]
    field, energy = reservoir.field(z), reservoir.energy(z)
    for i in (0, 17, D - 1):
        other = z.clone()
        other[i] *= -1
        torch.testing.assert_close(reservoir.energy(other) - energy, 2 * z[i] * field[i])


def test_a_stored_pattern_lies_lower_than_noise(rule, random_spins):
    patterns = random_spins(5, D)
    reservoir = filled(rule, patterns)
    noise = reservoir.energy(random_spins(20, D, seed=4))
    assert reservoir.energy(patterns).max() < noise.min()


def test_residual_under_projection_is_0_for_what_is_stored(random_spins):
    patterns = random_spins(8, 256)
    assert filled("projection", patterns).residual(patterns).max() < 1e-5


def test_residual_under_projection_is_a_quarter_for_a_mixture_of_three(random_spins):
    patterns = random_spins(6, 1024)
    reservoir = filled("projection", patterns)
    mixture = patterns[:3].sum(0).sign()
    assert reservoir.residual(mixture).item() == pytest.approx(0.25, abs=0.05)


def test_residual_under_projection_is_about_1_for_noise(random_spins):
    reservoir = filled("projection", random_spins(6, 1024))
    assert reservoir.residual(random_spins(10, 1024, seed=3)).min() > 0.95


def test_residual_tells_memories_from_noise_under_every_rule(rule, random_spins):
    patterns = random_spins(6, 256)
    reservoir = filled(rule, patterns)
    assert reservoir.residual(patterns).max() < 0.1
    assert reservoir.residual(random_spins(20, 256, seed=3)).min() > 0.5


def test_residual_is_the_same_for_a_state_and_its_negative(rule, random_spins):
    reservoir = filled(rule, random_spins(6, D))
    states = random_spins(5, D, seed=2)
    assert torch.equal(reservoir.residual(states), reservoir.residual(-states))


@pytest.mark.parametrize(
    "state",
    [torch.ones(D + 1), torch.tensor(1.0), torch.full((D,), float("nan")), torch.full((D,), 1.5)],
    ids=["size", "no dimension", "NaN", "out of range"],
)
def test_a_state_of_wrong_shape_or_value_is_refused(state, random_spins):
    reservoir = filled("storkey", random_spins(2, D))
    for question in (reservoir.energy, reservoir.field, reservoir.residual):
        with pytest.raises(CueError):
            question(state)


def test_an_empty_reservoir_still_answers_about_states(random_spins):
    reservoir = Reservoir(D)
    state = random_spins(1, D)[0]
    assert reservoir.energy(state) == 0
    assert not reservoir.field(state).any()
    assert reservoir.residual(state) == 1


# What it recalls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_patterns_are_recalled_from_a_tenth_of_flipped_spins(rule, dtype, random_spins, flipped):
    patterns = random_spins(8, 256, dtype=dtype)
    reservoir = filled(rule, patterns, dtype=dtype)
    hit = reservoir.recall(flipped(patterns, 0.1))
    assert torch.equal(hit.spins, patterns)
    assert bool(hit.verified.all())
    assert hit.spins.dtype == dtype


@pytest.mark.parametrize(
    ("name", "k"), [("storkey", 30), ("storkey-matrix", 20), ("projection", 60)]
)
def test_patterns_are_recalled_at_higher_load(name, k, random_spins, flipped):
    patterns = random_spins(k, 256, seed=1)
    hit = filled(name, patterns).recall(flipped(patterns, 0.05))
    assert torch.equal(hit.spins, patterns)


def test_a_stored_pattern_recalls_itself_in_no_step(rule, random_spins):
    patterns = random_spins(5, D)
    hit = filled(rule, patterns).recall(patterns, search=Search(dynamics=(SignPolish(),)))
    assert torch.equal(hit.spins, patterns)
    assert not hit.steps.any()


def test_unknown_spins_are_filled_in(rule, random_spins):
    patterns = random_spins(5, 256)
    cue = patterns.clone()
    cue[:, ::2] = 0
    assert torch.equal(filled(rule, patterns).recall(cue).spins, patterns)


def test_the_answer_points_the_way_of_the_cue(rule, random_spins):
    patterns = random_spins(5, D)
    assert torch.equal(filled(rule, patterns).recall(-patterns).spins, -patterns)


@pytest.mark.parametrize("k", [6, 60], ids=["few patterns", "far too many"])
def test_a_batch_is_recalled_as_its_rows_one_by_one(rule, k, random_spins, flipped):
    """Whatever else is asked in the same call, an answer is the same."""
    patterns = random_spins(k, D, dtype=torch.float64)
    reservoir = overfilled(rule, patterns, dtype=torch.float64)
    cues = torch.cat([flipped(patterns[:6], 0.15), random_spins(14, D, seed=7)])
    together = reservoir.recall(cues)
    for row, cue in enumerate(cues):
        alone = reservoir.recall(cue)
        assert torch.equal(together.spins[row], alone.spins)
        assert together.verified[row] == alone.verified
        assert together.steps[row] == alone.steps
        torch.testing.assert_close(together.residual[row], alone.residual)
        torch.testing.assert_close(together.energy[row], alone.energy)


@pytest.mark.parametrize("shape", [(), (3,), (1,), (2, 3), (0,)])
def test_the_answer_has_the_shape_of_the_cue(shape, random_spins):
    patterns = random_spins(3, D)
    cue = patterns[0].expand(*shape, D)
    hit = filled("storkey", patterns).recall(cue)
    assert hit.spins.shape == (*shape, D)
    for answer in (hit.residual, hit.energy, hit.steps, hit.verified):
        assert answer.shape == shape


def test_a_bool_cue_is_the_spins_that_it_stands_for(random_spins, flipped):
    patterns = random_spins(3, D)
    cue = flipped(patterns, 0.1)
    assert torch.equal(filled("storkey", patterns).recall(cue > 0).spins, patterns)


def test_a_hit_says_what_the_reservoir_says_of_its_spins(rule, random_spins, flipped):
    patterns = random_spins(4, D)
    reservoir = filled(rule, patterns)
    hit = reservoir.recall(flipped(patterns, 0.1))
    assert torch.equal(hit.residual, reservoir.residual(hit.spins))
    assert torch.equal(hit.energy, reservoir.energy(hit.spins))


def test_recalling_an_answer_gives_it_again(rule, random_spins):
    reservoir = filled(rule, random_spins(6, D))
    hit = reservoir.recall(random_spins(20, D, seed=5))
    again = reservoir.recall(hit.spins[hit.verified])
    assert torch.equal(again.spins, hit.spins[hit.verified])
    assert bool(again.verified.all())


def test_single_and_double_precision_agree(rule, random_spins, flipped):
    patterns = random_spins(8, 256)
    single = filled(rule, patterns, dtype=torch.float32)
    double = filled(rule, patterns, dtype=torch.float64)
    a, b = (r.recall(flipped(patterns, 0.1)) for r in (single, double))
    assert torch.equal(a.spins.double(), b.spins)
    torch.testing.assert_close(a.energy.double(), b.energy, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(a.residual.double(), b.residual, rtol=0, atol=1e-4)
    torch.testing.assert_close(single.psi.double(), double.psi, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["storkey", "hebbian"])
def test_an_answer_that_is_no_memory_has_not_converged(name, random_spins):
    patterns = random_spins(100, D)
    reservoir = overfilled(name, patterns)
    hit = reservoir.recall(random_spins(30, D, seed=3))
    stored = (hit.spins @ patterns.T).abs().amax(-1) == D
    assert not bool((hit.verified & ~stored).any())
    assert not bool(hit.verified.all())


def test_a_mixture_of_three_patterns_has_not_converged(random_spins):
    patterns = random_spins(3, 512)
    reservoir = filled("hebbian", patterns)
    mixture = patterns.sum(0).sign()
    hit = reservoir.recall(mixture, search=Search(dynamics=(SignPolish(),)))
    assert torch.equal(hit.spins, mixture)  # it is a fixed point
    assert not hit.verified


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), k=st.integers(1, 12))
def test_a_converged_answer_is_a_stored_pattern_or_its_negative(seed, k, random_spins):
    patterns = random_spins(k, D, seed=seed)
    hit = filled("projection", patterns).recall(random_spins(5, D, seed=seed + 1))
    found = hit.spins[hit.verified]
    assert bool(((found @ patterns.T).abs() == D).any(-1).all())


def test_recall_changes_neither_the_cue_nor_the_memory(rule, random_spins, flipped):
    patterns = random_spins(4, D)
    reservoir = filled(rule, patterns)
    cue = flipped(patterns, 0.1)
    kept, psi, mean = cue.clone(), reservoir.psi.clone(), reservoir.mean.clone()
    reservoir.recall(cue, penalty=lambda spins: spins.mean(-1))
    assert torch.equal(cue, kept)
    assert torch.equal(reservoir.psi, psi)
    assert torch.equal(reservoir.mean, mean)


def test_the_global_random_numbers_are_left_alone(rule, random_spins):
    patterns = random_spins(4, D)
    before = torch.get_rng_state()
    reservoir = filled(rule, patterns)
    reservoir.recall(patterns)
    reservoir.recall(penalty=lambda spins: spins.mean())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_cue_gives_the_same_answer_twice(rule, random_spins):
    reservoir = filled(rule, random_spins(6, D))
    cue = random_spins(10, D, seed=5)
    assert torch.equal(reservoir.recall(cue).spins, reservoir.recall(cue).spins)


def test_the_penalty_picks_the_memory_it_is_lowest_at(rule, random_spins):
    patterns = random_spins(5, 256)
    reservoir = filled(rule, patterns)
    for target in patterns:
        hit = reservoir.recall(penalty=lambda spins, z=target: (spins - z).square().mean())
        assert torch.equal(hit.spins, target)
        assert hit.verified


def test_a_batched_penalty_picks_each_rows_memory(random_spins):
    patterns = random_spins(4, 256)
    reservoir = filled("storkey", patterns)
    weak = torch.zeros(4, 256)
    weak[:, :8] = patterns[:, :8]
    hit = reservoir.recall(weak, penalty=lambda spins: 50 * (spins - patterns).square().mean(-1))
    assert torch.equal(hit.spins, patterns)


def test_the_penalty_sees_the_cues_shape(random_spins):
    patterns = random_spins(3, D)
    reservoir = filled("storkey", patterns)
    seen = set()

    def penalty(spins):
        seen.add((tuple(spins.shape), bool((spins.abs() <= 1).all())))
        return spins.mean(-1)

    reservoir.recall(patterns, penalty=penalty)
    reservoir.recall(patterns[0], penalty=penalty)
    reservoir.recall(penalty=penalty)
    assert seen == {((3, D), True), ((D,), True)}


def test_one_scalar_for_a_batch_of_rows_is_no_penalty(random_spins):
    patterns = random_spins(3, D)
    with pytest.raises(PenaltyError):
        filled("storkey", patterns).recall(patterns, penalty=lambda spins: spins.mean())


# What it refuses


def test_an_empty_reservoir_recalls_nothing(random_spins):
    with pytest.raises(EmptyMemoryError):
        Reservoir(D).recall(random_spins(1, D)[0])


def test_recall_by_nothing_is_refused(random_spins):
    with pytest.raises(CueError):
        filled("storkey", random_spins(2, D)).recall()


@pytest.mark.parametrize("thing", [3, "entropy", torch.ones(D)], ids=repr)
def test_a_penalty_that_cannot_be_called_is_refused(thing, random_spins):
    with pytest.raises(PenaltyError):
        filled("storkey", random_spins(2, D)).recall(penalty=thing)


@pytest.mark.parametrize(
    "cue",
    [
        torch.zeros(D),
        torch.ones(D - 1),
        torch.ones(2, D + 1),
        torch.ones(D, 1),
        torch.tensor(1.0),
        torch.full((D,), float("nan")),
        torch.full((D,), 1.01),
        torch.cat([torch.ones(1, D), torch.zeros(1, D)]),
        torch.ones(D - 1, dtype=torch.bool),
        torch.ones(D, dtype=torch.complex64),
        [1.0] * D,
    ],
    ids=[
        "zeros",
        "short",
        "long",
        "column",
        "no dimension",
        "NaN",
        "out of range",
        "one row of zeros",
        "short bool",
        "complex",
        "list",
    ],
)
def test_a_cue_that_cannot_name_a_memory_is_refused(cue, random_spins):
    with pytest.raises(CueError):
        filled("storkey", random_spins(2, D)).recall(cue)


@pytest.mark.parametrize(
    "spins",
    [
        torch.zeros(D),
        torch.full((D,), 0.5),
        torch.full((D,), float("nan")),
        torch.ones(D + 1),
        torch.tensor(1.0),
        torch.zeros(0, D),
        torch.zeros(0, dtype=torch.bool),
        torch.full((D,), 1j),
        torch.ones(D + 1, dtype=torch.bool),
        [1] * D,
        None,
    ],
    ids=[
        "zeros",
        "half",
        "NaN",
        "size",
        "no dimension",
        "none",
        "empty bool",
        "complex",
        "bool size",
        "list",
        "None",
    ],
)
def test_what_is_no_pattern_is_not_stored(spins):
    reservoir = Reservoir(D)
    with pytest.raises(MaskError):
        reservoir.store(spins)
    assert reservoir.count == 0
    assert not reservoir.psi.any()


def test_no_pattern_of_a_batch_with_a_wrong_one_is_stored(random_spins):
    reservoir = Reservoir(D)
    patterns = random_spins(3, D)
    patterns[2, 0] = 0
    with pytest.raises(MaskError):
        reservoir.store(patterns)
    assert reservoir.count == 0


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "64", None])
def test_a_size_that_is_no_positive_number_is_refused(size):
    with pytest.raises(ConfigError):
        Reservoir(size)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool, None])
def test_a_type_other_than_single_or_double_is_refused(dtype):
    with pytest.raises(ConfigError):
        Reservoir(8, dtype=dtype)


@pytest.mark.parametrize("device", ["nowhere", "cuda:999"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ConfigError):
        Reservoir(8, device=device)


def test_a_size_beyond_the_machine_is_refused():
    with pytest.raises(ConfigError):
        Reservoir(10**8)


def test_a_size_that_no_file_would_hold_is_refused_before_anything_is_learned():
    with pytest.raises(ConfigError):
        Reservoir(16_385, device="meta")
    assert Reservoir(16_384, device="meta").size == 16_384


def test_a_margin_to_stop_at_is_refused_since_bare_patterns_are_not_compared_by_key(random_spins):
    reservoir = filled("storkey", random_spins(2, D))
    with pytest.raises(ConfigError):
        reservoir.recall(penalty=lambda spins: spins.mean(), search=Search(min_margin=1.0))


# Forgetting


def test_a_forgotten_pattern_leaves_no_trace(random_spins):
    patterns = random_spins(5, D)
    reservoir = filled(Hebbian(), patterns)
    reservoir.forget(patterns[2])
    rest = patterns[[0, 1, 3, 4]]
    without = filled("hebbian", rest)
    assert torch.equal(reservoir.psi, without.psi)
    torch.testing.assert_close(reservoir.mean, without.mean)
    assert reservoir.count == 4
    assert torch.equal(reservoir.recall(rest).spins, rest)


def test_a_reservoir_that_forgot_everything_is_as_new(random_spins):
    pattern = random_spins(1, D)[0]
    reservoir = filled("hebbian", pattern[None])
    reservoir.forget(pattern)
    assert reservoir.count == 0
    assert not reservoir.psi.any()
    assert not reservoir.mean.any()


def test_a_forgotten_pattern_can_be_stored_again(random_spins):
    patterns = random_spins(3, D)
    reservoir = filled("hebbian", patterns)
    psi = reservoir.psi.clone()
    reservoir.forget(patterns[0])
    reservoir.store(patterns[0])
    assert torch.equal(reservoir.psi, psi)


@pytest.mark.parametrize(
    "rule", ["storkey", "storkey-matrix", pytest.param(Projection(), id="projection")]
)
def test_a_rule_without_an_inverse_does_not_forget(rule, random_spins):
    patterns = random_spins(3, D)
    reservoir = filled(rule, patterns)
    psi = reservoir.psi.clone()
    with pytest.raises(NotForgettableError):
        reservoir.forget(patterns[0])
    assert torch.equal(reservoir.psi, psi)
    assert reservoir.count == 3


@pytest.mark.parametrize("share", [0.5, 0.1, 0.02], ids=["noise", "near", "very near"])
def test_what_is_not_stored_is_not_forgotten(share, random_spins, flipped):
    patterns = random_spins(3, D)
    reservoir = filled("hebbian", patterns)
    psi = reservoir.psi.clone()
    with pytest.raises(HopmaskError):
        reservoir.forget(flipped(patterns, share)[0])
    assert torch.equal(reservoir.psi, psi)
    assert reservoir.count == 3


def test_the_negative_of_a_stored_pattern_never_spoils_the_mean(random_spins):
    """Ψ is the same for both; μ is not."""
    patterns = random_spins(3, D)
    reservoir = filled("hebbian", patterns)
    try:
        reservoir.forget(-patterns[0])
    except HopmaskError:
        torch.testing.assert_close(reservoir.mean, patterns.mean(0))
    else:
        torch.testing.assert_close(reservoir.mean, patterns[1:].mean(0))


def test_nothing_is_forgotten_by_an_empty_reservoir(random_spins):
    with pytest.raises(EmptyMemoryError):
        Reservoir(D, rule="hebbian").forget(random_spins(1, D)[0])


def test_only_one_pattern_is_forgotten_at_a_time(random_spins):
    patterns = random_spins(3, D)
    reservoir = filled("hebbian", patterns)
    with pytest.raises(HopmaskError):
        reservoir.forget(patterns[:2])
    assert reservoir.count == 3


def test_a_mixture_of_three_stored_patterns_is_no_duplicate(random_spins):
    """It is a fixed point too, but at residual 1/4."""
    patterns = random_spins(3, 512)
    reservoir = filled("hebbian", patterns)
    mixture = patterns.sum(0).sign()
    assert int(reservoir.unstable(mixture)) == 0
    assert reservoir.residual(mixture).item() == pytest.approx(0.25, abs=0.03)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverloadWarning)
        reservoir.store(mixture)
    assert reservoir.count == 4


def test_a_reservoir_that_is_not_finite_is_not_saved(tmp_path, random_spins):
    reservoir = Reservoir(32)
    reservoir.store(random_spins(2, 32))
    reservoir.save(tmp_path / "memory.h5")
    before = (tmp_path / "memory.h5").read_bytes()
    reservoir.psi[3, 4] = torch.nan
    with pytest.raises(NumericalError, match="'psi'"):
        reservoir.save(tmp_path / "memory.h5")
    assert (tmp_path / "memory.h5").read_bytes() == before


def test_a_spin_of_minus_128_in_int8_is_refused():
    reservoir = Reservoir(8)
    with pytest.raises(CueError):
        reservoir.energy(torch.full((8,), -128, dtype=torch.int8))


def test_spins_of_whole_numbers_without_a_sign_are_taken():
    reservoir = Reservoir(8)
    reservoir.store(torch.ones(8))
    assert reservoir.energy(torch.ones(8, dtype=torch.uint8)) == reservoir.energy(torch.ones(8))
