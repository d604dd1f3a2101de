"""What holds of rules, reservoirs and memories whatever is stored, each with its formula."""

import copy
import tempfile
from itertools import permutations, product
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from hopmask import (
    MaskMemory,
    NumericalError,
    RandomMasks,
    Reservoir,
    Search,
    load,
    rule_named,
)
from hopmask.capacity import biased_masks, estimate
from hopmask.couplings.rules import (
    Projection,
    Storkey,
    StorkeyMatrix,
)
from hopmask.recall.dynamics import (
    MeanField,
    SignPolish,
)
from hopmask.testing import damaged, mask_sets, memories, reservoirs, spins

RULES = st.sampled_from(["storkey", "storkey-matrix", "hebbian", "projection"])
DTYPES = st.sampled_from([torch.float32, torch.float64])
KINDS = st.sampled_from(["flips", "erasures", "block"])
EASY = st.floats(0, 0.2)  # share of a cue that is damaged; all of it is mended at low load
DESCENTS = ((MeanField(), SignPolish()), (SignPolish(),))
SIZES = {"first": 96, "second": (8, 8)}
SAMPLE = 12  # numbers in a sample of a signature


def signed(masks):
    return masks.double() * 2 - 1


def random_sets(size, least=1, most=4):
    return mask_sets(size, count=st.integers(least, most), density=0.5)


def learned(rule, patterns):
    psi = torch.zeros(patterns.shape[1], patterns.shape[1], dtype=patterns.dtype)
    for pattern in patterns:
        rule.update(psi, pattern)
    return psi


def updated(rule, psi, pattern):
    psi = psi.clone()
    rule.update(psi, pattern)
    return psi


def projector(patterns):
    """P = Z⁺Z, from the singular values."""
    return torch.linalg.pinv(patterns) @ patterns


def off_diagonal(matrix):
    return matrix - matrix.diagonal().diag()


def close(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def rows_of(layers, row):
    return {name: values[row] for name, values in layers.items()}


def same(found, masks):
    return set(found) == set(masks) and all(torch.equal(found[n], masks[n]) for n in masks)


# Storkey's rule: order


def test_three_patterns_under_storkey_depend_on_their_order():
    """d = 3: which pattern comes last decides which coupling is 15/27, the others are ±17/27."""
    a, b, c = torch.tensor([[1, 1, 1], [1, 1, -1], [1, -1, 1]]).double()
    abc = torch.tensor([[0, 15, 17], [15, 0, -17], [17, -17, 0]]).double() / 27
    acb = torch.tensor([[0, 17, 15], [17, 0, -17], [15, -17, 0]]).double() / 27
    cba = torch.tensor([[0, 17, 17], [17, 0, -15], [17, -15, 0]]).double() / 27
    close(learned(Storkey(), torch.stack([a, b, c])), abc)
    close(learned(Storkey(), torch.stack([a, c, b])), acb)
    close(learned(Storkey(), torch.stack([c, b, a])), cba)


@given(masks=mask_sets(st.integers(2, 12), count=2))
def test_two_patterns_under_storkey_are_free_of_order(masks):
    """W_ij = (x_i x_j + y_i y_j + (2 x_i x_j + 2 y_i y_j − q d (x_i y_j + y_i x_j))/d)/d off the
    diagonal, with q d = Σ x y: the same where x and y change places."""
    x, y = patterns = signed(masks)
    d = len(x)
    both = x.outer(x) + y.outer(y)
    expected = off_diagonal(both * (1 + 2 / d) - (x @ y) * (x.outer(y) + y.outer(x)) / d) / d
    close(learned(Storkey(), patterns), expected)
    close(learned(Storkey(), patterns.flip(0)), expected)


# The projection rule: a projector


@given(masks=mask_sets(st.integers(5, 10), count=st.integers(1, 7)))
def test_projection_is_the_projector_on_the_span_of_all_that_was_offered(masks):
    """P² = P = Pᵀ, P Zᵀ = Zᵀ, trace P = rank Z, and a pattern that is refused lies in the span."""
    patterns = signed(masks)
    psi = torch.zeros(patterns.shape[1], patterns.shape[1]).double()
    for pattern in patterns:
        try:
            Projection().update(psi, pattern)
        except NumericalError:
            close(psi @ pattern, pattern)
    assert torch.equal(psi, psi.T)
    close(psi @ psi, psi)
    close(psi @ patterns.T, patterns.T)
    close(psi.trace(), torch.linalg.matrix_rank(patterns).double())


@given(log=st.integers(2, 5), share=st.floats(0, 1), seed=st.integers(0, 2**16))
def test_of_orthogonal_patterns_projection_is_hebb_with_a_diagonal(log, share, seed):
    """P = (C + k I)/d where z·z' = 0 for every two of the k patterns, C Hebb's couplings."""
    patterns = torch.ones(1, 1).double()
    for _ in range(log):
        patterns = torch.kron(torch.tensor([[1, 1], [1, -1]]).double(), patterns)
    d = len(patterns)
    generator = torch.Generator().manual_seed(seed)
    gauge = RandomMasks(size=d).draw(1, generator).double()
    chosen = torch.randperm(d, generator=generator)[: 1 + round(share * (d - 1))]
    patterns = (patterns * gauge)[chosen]
    hebb = learned(rule_named("hebbian"), patterns)
    expected = (hebb + len(patterns) * torch.eye(d)) / d
    close(learned(Projection(), patterns), expected)


# From Storkey's rule to the projection


@given(masks=random_sets(st.integers(4, 40), least=2, most=6))
def test_storkey_is_its_matrix_form_plus_two_dths_of_the_couplings_off_the_diagonal(masks):
    """Storkey(W) = M(W) + (2/d) W off the diagonal, and 0 on it, M the simplified matrix form.

    h_ij leaves out the share W_ij z_j of spin j: −z_i h_ji − h_ij z_j gains 2 W_ij by it.
    """
    *stored, pattern = signed(masks)
    weights = learned(Storkey(), torch.stack(stored))
    matrix = updated(StorkeyMatrix(), weights, pattern)
    expected = off_diagonal(matrix + 2 / len(pattern) * weights)
    close(updated(Storkey(), weights, pattern), expected)


@given(masks=random_sets(st.integers(8, 40), least=2, most=5))
def test_storkeys_matrix_form_is_the_first_order_of_the_projection(masks):
    """P' − M(P) = I/d + h hᵀ/d + (z·h) r rᵀ/(d r·r), with h = Pz and r = z − h.

    M(P) = P + (z zᵀ − z hᵀ − h zᵀ − I)/d drops h hᵀ from r rᵀ/(r·r) and puts d for r·r. As h ⊥ r
    and z·h = h·h, the two last terms have the norm √2 ‖h‖²/d: of second order in ‖h‖/√d, which is
    the sine of the angle from z to what is orthogonal to the span.
    """
    *stored, z = signed(masks)
    d, before = len(z), projector(torch.stack(stored))
    h = before @ z
    r = z - h
    assume(r @ r > 0.01 * d)  # else z lies in the span
    second = (h.outer(h) + (z @ h) / (r @ r) * r.outer(r)) / d
    found = updated(Projection(), before, z) - updated(StorkeyMatrix(), before, z)
    found.diagonal().sub_(1 / d)
    close(found, second)
    close(found.norm(), 2**0.5 * (h @ h) / d)


@given(masks=random_sets(st.integers(8, 40), least=2, most=5))
def test_storkey_is_the_first_order_of_the_projection_without_its_diagonal(masks):
    """P'_ij − Storkey(W)_ij = (h_i h_j + (z·h) r_i r_j/(r·r) − 2 P_ij − z_i z_j (P_ii + P_jj))/d
    for i ≠ j, where W is P without its diagonal: two terms of second order, as in the matrix form,
    and two that leave out a spin's own share, d times smaller than W and than Hebb's z zᵀ k/d."""
    *stored, z = signed(masks)
    d, before = len(z), projector(torch.stack(stored))
    h, own = before @ z, before.diagonal()
    r = z - h
    assume(r @ r > 0.01 * d)
    second = h.outer(h) + (z @ h) / (r @ r) * r.outer(r)
    left_out = 2 * before + z.outer(z) * (own[:, None] + own[None, :])
    found = updated(Projection(), before, z) - updated(Storkey(), off_diagonal(before), z)
    close(off_diagonal(found), off_diagonal(second - left_out) / d)


# The residual under projection


@given(masks=random_sets(st.integers(8, 64), most=6), of=st.integers(0, 5))
def test_residual_of_a_memory_with_one_spin_turned(masks, of):
    """ρ = 1 − ‖Pz'‖²/d = 4 (1 − P_ii)/d for spin i turned; its mean over i is 4 (1 − k/d)/d."""
    patterns = signed(masks)
    k, d = patterns.shape
    assume(torch.linalg.matrix_rank(patterns) == k)  # else one of them is refused
    reference = projector(patterns)
    turned = patterns[of % k] * (1 - 2 * torch.eye(d).double())  # row i: spin i turned
    residual = Projection().residual(learned(Projection(), patterns), turned)
    close(residual, 1 - (turned @ reference).square().sum(-1) / d)
    close(residual, 4 * (1 - reference.diagonal()) / d)
    assert float(residual.mean()) == pytest.approx(4 * (1 - k / d) / d, abs=1e-10)


@given(
    masks=random_sets(st.integers(8, 64), least=3, most=6),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
)
def test_residual_of_a_mixture_of_three_is_a_quarter_of_that_of_their_product(masks, signs):
    """ρ(s) = ρ(t)/4 <= 1/4 for s = sign(x + y + z) and t = x ⊙ y ⊙ z, any of them negated.

    s = (x + y + z − t)/2 spin by spin, and P holds x, y and z: s − Ps = −(t − Pt)/2.
    """
    patterns = signed(masks)
    k, d = patterns.shape
    assume(torch.linalg.matrix_rank(patterns) == k)
    reference, psi = projector(patterns), learned(Projection(), patterns)
    three = patterns[:3] * torch.tensor(signs)[:, None]
    mixture, triple = three.sum(0).sign(), three.prod(0)
    residual = Projection().residual(psi, mixture)
    close(residual, 1 - (reference @ mixture).square().sum() / d)
    close(residual, Projection().residual(psi, triple) / 4)
    assert residual <= 0.25 + 1e-12


# Recall from a reservoir


@given(data=st.data(), rule=RULES)
def test_recalling_an_answer_that_converged_gives_it_again(rule, data):
    """recall(recall(cue)) = recall(cue), from any cue, where no two patterns are much alike."""
    filled = data.draw(reservoirs(size=256, rule=rule))
    overlaps = filled.patterns @ filled.patterns.T / 256
    assume(overlaps.fill_diagonal_(0).abs().max() <= 0.15)
    cues = torch.stack(data.draw(st.lists(spins(256, density=0.5), min_size=1, max_size=4)))
    hit = filled.store.recall(torch.cat([cues, filled.patterns]))
    answers = hit.spins[hit.verified]
    again = filled.store.recall(answers)
    assert torch.equal(again.spins, answers)
    assert bool(again.verified.all())
    assert torch.equal(hit.spins[len(cues) :], filled.patterns)


@given(data=st.data(), rule=RULES)
def test_damaged_cues_are_recalled_in_a_batch_as_one_by_one(rule, data):
    filled = data.draw(reservoirs(size=st.integers(64, 128), rule=rule))
    cues = data.draw(damaged(filled.patterns, kind=KINDS, share=EASY))
    together = filled.store.recall(cues)
    for row, cue in enumerate(cues):
        alone = filled.store.recall(cue)
        assert torch.equal(together.spins[row], alone.spins)
        assert together.verified[row] == alone.verified
        close(together.residual[row], alone.residual, 1e-4)
        close(together.energy[row], alone.energy, 1e-4)


@given(data=st.data(), rule=RULES)
def test_the_negative_of_a_cue_recalls_the_negative_of_the_answer(rule, data):
    """recall(−cue) = −recall(cue) and recall(cue)·cue >= 0, from any cue that knows all spins, and
    from easy ones that do not.

    Every step is odd. Only a spin that the cue does not know and whose field is exactly 0 has no
    other way to be told than up.
    """
    filled = data.draw(reservoirs(size=st.integers(48, 128), rule=rule))
    any_cue = data.draw(mask_sets(filled.store.size, count=4)).float() * 2 - 1
    easy = data.draw(damaged(filled.patterns, kind=KINDS, share=EASY))
    for cues, dynamics in product((any_cue, easy), DESCENTS):
        up, down = (
            filled.store.recall(sign * cues, search=Search(dynamics=dynamics)) for sign in (1, -1)
        )
        assert torch.equal(down.spins, -up.spins)
        assert bool(((up.spins * cues).sum(-1) >= 0).all())
        assert torch.equal(down.verified, up.verified)


@given(data=st.data(), rule=RULES, dtype=DTYPES)
def test_turning_a_spin_in_all_patterns_and_cues_turns_it_in_the_answer(rule, dtype, data):
    """recall(g ⊙ cue) from g ⊙ patterns = g ⊙ recall(cue) from patterns, for every g of ±1.

    Exactly so from any cue that knows all spins: sums have the same terms but for one common sign,
    and a spin whose field is exactly 0 stays as it is.
    """
    filled = data.draw(reservoirs(size=st.integers(48, 128), rule=rule, dtype=dtype))
    gauge = data.draw(spins(filled.store.size)).to(dtype)
    turned = Reservoir(filled.store.size, rule=rule, dtype=dtype)
    turned.store(filled.patterns * gauge)
    any_cue = data.draw(mask_sets(filled.store.size, count=4)).to(dtype) * 2 - 1
    easy = data.draw(damaged(filled.patterns, kind=KINDS, share=EASY))
    for cues, dynamics in product((any_cue, easy), DESCENTS):
        hit = filled.store.recall(cues, search=Search(dynamics=dynamics))
        other = turned.recall(cues * gauge, search=Search(dynamics=dynamics))
        assert torch.equal(other.spins, hit.spins * gauge)
        assert torch.equal(other.verified, hit.verified)


# Recall from a memory of masks


@given(data=st.data(), rule=RULES)
def test_recalling_masks_that_converged_gives_them_again(rule, data):
    """recall(recall(cue).masks) = recall(cue), from a damaged cue and from any."""
    filled = data.draw(memories(sizes=SIZES, rule=rule))
    easy = data.draw(damaged(filled.patterns, kind=KINDS, share=EASY))
    noise = {name: data.draw(mask_sets(size, count=4, density=0.5)) for name, size in SIZES.items()}
    for cues in (easy, noise):
        hit = filled.store.recall(cue=cues)
        answers = {name: masks[hit.verified] for name, masks in hit.masks.items()}
        assert cues is noise or bool(hit.verified.all())
        if not bool(hit.verified.any()):
            continue
        again = filled.store.recall(cue=answers)
        assert same(again.masks, answers)
        assert torch.equal(again.task, hit.task[hit.verified])
        assert bool(again.verified.all())


@given(data=st.data(), rule=RULES)
def test_damaged_masks_are_recalled_in_a_batch_as_one_by_one(rule, data):
    filled = data.draw(memories(sizes=SIZES, rule=rule))
    cues = data.draw(damaged(filled.patterns, kind=KINDS, share=EASY))
    together = filled.store.recall(cue=cues)
    for row in range(filled.store.count):
        alone = filled.store.recall(cue=rows_of(cues, row))
        assert same(alone.masks, rows_of(together.masks, row))
        assert same(alone.masks, rows_of(filled.patterns, row))
        assert (alone.task, alone.verified) == (row, True)
        assert (int(together.task[row]), bool(together.verified[row])) == (row, True)
        assert alone.residual == pytest.approx(float(together.residual[row]), abs=1e-4)


# What is stored


@given(data=st.data(), rule=RULES)
def test_a_reservoir_keeps_nothing_of_what_it_was_given(rule, data):
    """Inputs are as before, and changing them afterwards changes neither Ψ nor μ."""
    masks = data.draw(random_sets(64))
    stored = masks if data.draw(st.booleans()) else masks.float() * 2 - 1
    cue, before = stored[0], stored.clone()
    reservoir = Reservoir(64, rule=rule)
    reservoir.store(stored)
    hit = reservoir.recall(cue)
    assert torch.equal(stored, before)
    psi, mean, answer = reservoir.psi.clone(), reservoir.mean.clone(), hit.spins.clone()
    stored.copy_(~stored if stored.dtype == torch.bool else -stored)
    assert torch.equal(reservoir.psi, psi)
    assert torch.equal(reservoir.mean, mean)
    assert torch.equal(hit.spins, answer)
    assert torch.equal(reservoir.recall(before[0]).spins, answer)


@given(data=st.data(), rule=RULES)
def test_a_memory_keeps_nothing_of_what_it_was_given(rule, data):
    """Masks and signatures are as before, and changing them afterwards changes no sum."""
    layers = {name: data.draw(random_sets(size, 2, 2)) for name, size in SIZES.items()}
    samples = data.draw(signature_sets(2))
    before, told = copy.deepcopy(layers), samples.clone()
    memory = MaskMemory(SIZES, rule=rule, key_bits=64, signature_features=32)
    for task in range(2):
        memory.store(rows_of(layers, task), signature=samples[task])
    memory.recall(cue=rows_of(layers, 0))
    memory.recall(signature=samples[0])
    assert same(layers, before)
    assert torch.equal(samples, told)
    state = state_of(memory)
    for masks in layers.values():
        masks.logical_not_()
    samples.neg_()
    assert same(state_of(memory), state)
    assert same(memory.recall(task=1).masks, rows_of(before, 1))


@given(data=st.data())
def test_the_mean_is_that_of_what_is_stored_in_whatever_order(data):
    """μ = (1/k) Σ z, to rounding; in a memory, levels (1/k) Σ m."""
    layers = {name: data.draw(random_sets(size, 5, 5)) for name, size in SIZES.items()}
    reservoir, memory = Reservoir(96), MaskMemory(SIZES, key_bits=64, signature_features=0)
    for place in data.draw(st.permutations(range(5))):
        reservoir.store(layers["first"][place])
        memory.store(rows_of(layers, place))
    close(reservoir.mean.double(), signed(layers["first"]).mean(0), 1e-6)
    for name, masks in layers.items():
        close(memory.mean[name].double(), masks.double().mean(0), 1e-6)


# Files


@given(data=st.data(), rule=RULES, dtype=DTYPES)
def test_a_reservoir_read_from_its_file_is_the_same_bit_for_bit(rule, dtype, data):
    """Ψ, μ and count are the same; so are all answers, and what is stored on top."""
    *stored, more = data.draw(random_sets(96, least=2, most=5)).to(dtype) * 2 - 1
    reservoir = Reservoir(96, rule=rule, dtype=dtype)
    reservoir.store(torch.stack(stored))
    again = through_a_file(reservoir)
    cues = data.draw(damaged(torch.stack(stored), kind=KINDS, share=EASY))
    assert (again.count, again.dtype, again.rule.name) == (len(stored), dtype, rule)
    assert torch.equal(again.psi, reservoir.psi)
    assert torch.equal(again.mean, reservoir.mean)
    assert torch.equal(again.recall(cues).spins, reservoir.recall(cues).spins)
    again.store(more)
    reservoir.store(more)
    assert torch.equal(again.psi, reservoir.psi)
    assert torch.equal(again.mean, reservoir.mean)


@pytest.mark.parametrize("features", [0, 64])
@given(data=st.data(), rule=RULES)
def test_a_memory_read_from_its_file_is_the_same_bit_for_bit(features, rule, data):
    """Ψ, μ, the address's sums and counters are the same; so are answers by number, cue and data,
    and what is stored on top."""
    number = data.draw(st.integers(1, 3))
    layers = {
        name: data.draw(random_sets(size, number + 1, number + 1)) for name, size in SIZES.items()
    }
    samples = data.draw(signature_sets(number + 1))
    memory = MaskMemory(
        SIZES,
        rule=rule,
        seed=data.draw(st.integers(0, 2**16)),
        key_bits=64,
        signature_features=features,
    )

    def store(store, task):
        signature = samples[task] if features else None
        return store.store(rows_of(layers, task), signature=signature)

    for task in range(number):
        store(memory, task)
    again = through_a_file(memory)
    cues = data.draw(damaged(rows_of(layers, slice(number)), kind=KINDS, share=EASY))
    questions = [{"cue": cues}, *({"task": task} for task in range(number))]
    if features:
        questions.append({"signature": samples[0]})
    assert (again.count, again.seed, again.key_bits) == (number, memory.seed, 64)
    assert (again.shapes, again.nbytes) == (memory.shapes, memory.nbytes)
    assert same(state_of(again), state_of(memory))
    for question in questions:
        hit, other = memory.recall(**question), again.recall(**question)
        assert same(other.masks, hit.masks)
        for figure in ("task", "verified", "recognized"):
            assert torch.equal(*(torch.as_tensor(getattr(one, figure)) for one in (hit, other)))
    assert store(memory, number) == store(again, number) == number
    assert same(state_of(again), state_of(memory))


# Forgetting


@pytest.mark.parametrize("features", [0, 64])
@given(data=st.data())
def test_forgetting_undoes_storing_under_hebbian(features, data):
    """forget(store(x)) leaves Ψ to the bit, and μ and the address's sums to rounding.

    Of the address's within = Σ C_t an equal share is taken instead of the C of the task that goes,
    which the sums no longer tell: within ← (within + C) (1 − 1/n), n tasks with this one.
    """
    number = data.draw(st.integers(0, 3))
    layers = {
        name: data.draw(random_sets(size, number + 1, number + 1)) for name, size in SIZES.items()
    }
    memory = MaskMemory(SIZES, rule="hebbian", key_bits=64, signature_features=features)
    samples = data.draw(signature_sets(number + 1))
    signs_last = features and data.draw(st.booleans())  # else the last comes without a signature
    for task in range(number):
        memory.store(rows_of(layers, task), signature=samples[task] if features else None)
    before = state_of(memory)
    expected = dict(before)
    if signs_last and number:
        own = memory.address.describe(samples[number].reshape(-1, SAMPLE)).covariance
        expected["within"] = (before["within"] + own) * (1 - 1 / (number + 1))
    task = memory.store(rows_of(layers, number), signature=samples[number] if signs_last else None)
    assert not torch.equal(memory.couplings.psi, before["psi"])
    memory.forget(task)
    after = state_of(memory)
    assert memory.count == number
    for name in ("psi", "keys") if signs_last else set(after) - {"mean", "counters"}:
        assert name not in after or torch.equal(after[name], before[name]), name
    for name in set(after) - {"counters"}:
        close(after[name], expected[name], 1e-5)
    if memory.address is not None and number == 0:
        assert not any(bool(after[name].any()) for name in memory.address.sums)
    for other in range(number):
        assert same(memory.recall(task=other).masks, rows_of(layers, other))


# What further masks will be like


@given(masks=mask_sets(st.integers(4, 40), count=st.integers(2, 7), distinct=False))
def test_masks_of_the_means_that_follow_from_the_mean_overlap_as_those_stored(masks):
    """Σ mean/d = M and Σ mean²/d = max(q, M²), q the mean of z·z'/d over all pairs."""
    patterns = signed(masks)
    reservoir = Reservoir(patterns.shape[1], dtype=torch.float64)
    reservoir.couplings.mean, reservoir.couplings.count = patterns.mean(0), len(patterns)
    mean, middle = biased_masks(reservoir).mean, float(patterns.mean())
    assert float(mean.mean()) == pytest.approx(middle, abs=1e-12)
    expected = max(mean_overlap(patterns), middle**2)
    assert float(mean.square().mean()) == pytest.approx(expected, abs=1e-12)


@given(filled=memories(sizes=SIZES, count=st.integers(2, 4)))
def test_the_mean_overlap_of_the_masks_that_a_memory_holds_follows_from_its_mean(filled):
    """q = (k m − 1)/(k − 1), m = (1/d) Σ μ², is the mean of z·z'/d over all pairs."""
    masks = torch.cat([masks.flatten(1) for masks in filled.patterns.values()], -1)
    found = estimate(filled.store, most=1)
    assert found.tasks == len(masks)
    assert found.overlap == pytest.approx(mean_overlap(signed(masks)), abs=1e-6)


def mean_overlap(patterns):
    pairs = [float(x @ y) / len(x) for x, y in permutations(patterns, 2)]
    return sum(pairs) / len(pairs)


def signature_sets(number):
    """Samples of so many tasks, (number, samples, SAMPLE), or one vector each, (number, SAMPLE)."""

    def draw(seed, samples):
        shape = (number, samples, SAMPLE) if samples else (number, SAMPLE)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    return st.builds(draw, st.integers(0, 2**16), st.sampled_from([4, 0]))


def state_of(memory):
    """All that a memory keeps, copied."""
    sums, length = {}, 0
    if memory.address is not None:
        sums, length = memory.address.sums, memory.address.length
    counters = torch.tensor([memory.count, memory.numbered, length])
    kept = {"psi": memory.couplings.psi, "mean": memory.couplings.mean, "counters": counters}
    return {name: value.clone() for name, value in (kept | sums).items()}


def through_a_file(store):
    with tempfile.TemporaryDirectory() as folder:
        store.save(Path(folder) / "memory.h5")
        return load(Path(folder) / "memory.h5")
