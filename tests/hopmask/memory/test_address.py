"""The content address: from samples of a task's data to its key, in constant space."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import ConfigError, CueError, NumericalError
from hopmask.memory.address import ContentAddress
from hopmask.memory.features import STRANGE, RandomFeatures
from hopmask.patterns.keys import Keys


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(features: int = 96, bits: int = 64, dtype: torch.dtype = torch.float64) -> ContentAddress:
    return ContentAddress(Keys(seed=3, bits=bits), features=features, dtype=dtype)


def clouds(tasks: int, samples: int, length: int = 12, apart: float = 2.0, seed: int = 0):
    """Samples of tasks whose data are Gaussian clouds around centres `apart`, (tasks, s, n)."""
    g = generator(seed)
    centres = apart * torch.randn(tasks, 1, length, generator=g, dtype=torch.float64)
    return centres + torch.randn(tasks, samples, length, generator=g, dtype=torch.float64)


def learned(data: torch.Tensor, order=None, **options) -> ContentAddress:
    address = make(**options)
    for task in order if order is not None else range(len(data)):
        address.learn(task, address.describe(data[task]))
    return address


def features_of(address: ContentAddress, samples: torch.Tensor) -> torch.Tensor:
    """φ by its definition: max(0, x R), in the address's units."""
    scale = float(address.sums["scalars"][0]) / samples.shape[-1] ** 0.5
    features = RandomFeatures(seed=address.keys.seed, count=address.features, dtype=samples.dtype)
    return (samples * scale @ features.map_of(samples.shape[-1])).clamp_min(0)


def reference(address: ContentAddress, data: torch.Tensor, cue: torch.Tensor) -> torch.Tensor:
    """The guess from an explicit list of means and covariances; cue (s, n)."""
    keys = address.keys.of(torch.arange(len(data))).double()
    features = [features_of(address, samples) for samples in data]
    means = torch.stack([f.mean(0) for f in features])
    spread = torch.stack(
        [torch.cov(f.T, correction=1 if len(f) > 1 else 0) for f in features]
    ).mean(0) / len(cue)
    centred, keyed = means - means.mean(0), keys - keys.mean(0)
    between = centred.T @ centred / len(data)
    if float(spread.diagonal().mean()) > 0:
        ridge = 0.01 * spread.diagonal().mean()
    else:
        ridge = between.diagonal().mean() / 4
    total = between + spread + ridge * torch.eye(len(between), dtype=torch.float64)
    weights = torch.linalg.solve(total, centred.T @ keyed / len(data))
    return keys.mean(0) + (features_of(address, cue).mean(0) - means.mean(0)) @ weights


@settings(max_examples=15, deadline=None)
@given(
    tasks=st.integers(2, 40),
    samples=st.sampled_from([1, 3, 30]),
    cues=st.sampled_from([1, 5]),
    seed=st.integers(0, 1000),
)
def test_the_guess_is_that_of_an_explicit_list(tasks, samples, cues, seed):
    data = clouds(tasks, samples + cues, seed=seed)
    address = learned(data[:, cues:])
    for task in (0, tasks - 1):
        guess = address.guess(data[task : task + 1, :cues])[0][0]
        expected = reference(address, data[:, cues:], data[task, :cues])
        torch.testing.assert_close(guess, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 40])
def test_data_of_a_task_point_at_its_key(samples):
    data = clouds(30, 60)
    address = learned(data[:, :40], features=256)
    guess, _ = address.guess(data[:, 40 : 40 + samples])
    assert (guess @ address.keys.of(torch.arange(30)).double().T).argmax(1).tolist() == [*range(30)]


def test_what_varies_within_tasks_is_ignored():
    """The tasks differ, by little, along directions that vary less than all others."""
    data = torch.randn(8, 400, 16, generator=generator(), dtype=torch.float64)
    data[:, :, :8] = 0.1 * torch.eye(8)[:, None] + 0.05 * data[:, :, :8]
    address = learned(data[:, :350], features=256)
    guess, _ = address.guess(data[:, 350:])
    keys = address.keys.of(torch.arange(8)).double()
    assert (guess @ keys.T).argmax(1).tolist() == [*range(8)]
    features = torch.stack([features_of(address, samples[:350]).mean(0) for samples in data])
    cue = torch.stack([features_of(address, samples[350:]).mean(0) for samples in data])
    nearest = torch.cdist(cue, features).argmin(1)
    assert (nearest != torch.arange(8)).sum() >= 2  # which is why the nearest mean does not do


def test_the_shares_of_the_tasks_add_up_to_one():
    data = clouds(10, 20)
    address = learned(data)
    guess = address.guess(data[3:4, :2])[0][0]
    keys = address.keys.of(torch.arange(10)).double()
    shares = torch.linalg.lstsq(keys.T, guess[:, None]).solution[:, 0]
    assert float(shares.sum()) == pytest.approx(1, abs=1e-6)
    assert int(shares.argmax()) == 3


def test_the_order_of_tasks_does_not_matter():
    data = clouds(12, 10)
    one, other = learned(data), learned(data, order=[5, 0, 11, 3, 1, 2, 4, 6, 10, 9, 8, 7])
    for name in ("within", "link", "keys"):
        # the first task's largest entry sets the unit; compare without it
        unit = {"within": 2, "link": 1, "keys": 0}[name]
        scales = [float(a.sums["scalars"][0]) ** unit for a in (one, other)]
        torch.testing.assert_close(one.sums[name] / scales[0], other.sums[name] / scales[1])
    torch.testing.assert_close(one.guess(data[:, :3])[0], other.guess(data[:, :3])[0])


@pytest.mark.parametrize("factor", [1e-30, 1e-3, 1e4, 1e30])
def test_the_unit_of_the_data_does_not_matter(factor):
    data = clouds(6, 10)
    expected = learned(data).guess(data[:, :2])[0]
    torch.testing.assert_close(
        learned(data * factor).guess(data[:, :2] * factor)[0], expected, rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("known", [1, 20])
def test_strangers_are_stranger_than_what_was_learned(known):
    data = clouds(known + 20, 200, length=40)
    _, strange = learned(data[:known, :100], features=128).guess(data[:, 100:140])
    assert 0.6 < float(strange[:known].mean()) < STRANGE
    assert float(strange[:known].max()) < STRANGE < 10 < float(strange[known:].min())


def test_strangers_to_one_sample_of_one_task_are_as_far_as_chance():
    data = clouds(50, 1, length=40)
    _, strange = learned(data[:1], features=512).guess(data)
    assert float(strange[0]) < 1e-6
    assert float(strange[1:].median()) > STRANGE


def test_one_task_alone_is_guessed_whatever_comes():
    data = clouds(1, 10)
    address = learned(data)
    key = address.keys.of(torch.tensor([0])).double()
    torch.testing.assert_close(address.guess(data[:, :1] + 5)[0], key)


def test_more_tasks_than_key_bits_are_told_apart_approximately():
    data = clouds(80, 40, length=40)
    address = learned(data[:, :30], features=512, bits=32)
    guess, _ = address.guess(data[:, 30:])
    found = (guess @ address.keys.of(torch.arange(80)).double().T).argmax(1)
    assert float((found == torch.arange(80)).double().mean()) > 0.9


def test_bytes_do_not_depend_on_the_number_of_tasks():
    data = clouds(20, 4)
    address = make()
    before = address.nbytes
    shapes = {name: value.shape for name, value in address.sums.items()}
    for task in range(20):
        address.learn(task, address.describe(data[task]))
    assert address.nbytes == before
    assert {name: value.shape for name, value in address.sums.items()} == shapes
    assert address.count == 20


def test_describing_changes_nothing():
    data = clouds(2, 4)
    address = learned(data[:1])
    before = {name: value.clone() for name, value in address.sums.items()}
    address.describe(data[1])
    assert all(torch.equal(value, before[name]) for name, value in address.sums.items())


def test_a_forgotten_task_is_gone_from_the_sums():
    data = clouds(9, 12)
    address, without = learned(data), learned(data[:8])
    address.forget(8)
    torch.testing.assert_close(address.sums["link"], without.sums["link"], rtol=1e-9, atol=1e-9)
    assert torch.equal(address.sums["keys"], without.sums["keys"])
    torch.testing.assert_close(address.sums["within"], learned(data).sums["within"] * 8 / 9)
    torch.testing.assert_close(
        address.sums["scalars"][1:], without.sums["scalars"][1:], rtol=1e-9, atol=1e-9
    )
    assert address.count == 8
    expected, _ = without.guess(data[:8, :1])
    torch.testing.assert_close(address.guess(data[:8, :1])[0], expected, rtol=0.2, atol=0.1)


def test_beyond_as_many_tasks_as_key_bits_a_task_s_share_cannot_be_told():
    data = clouds(34, 3)
    assert learned(data[:32], bits=32).can_forget()
    assert not learned(data[:33], bits=32).can_forget()


@pytest.mark.parametrize(("count", "samples"), [(20, 60), (32, 10), (80, 1)])
def test_what_was_learned_is_no_stranger_however_many_tasks_there_are(count, samples):
    data = clouds(count, 40 + samples, length=40)
    _, strange = learned(data[:, :40], features=256, bits=32).guess(data[:, 40:])
    assert 0.3 < float(strange.mean()) < 2
    assert float((strange < STRANGE).double().mean()) > 0.97


@pytest.mark.parametrize("stored", [2, 5, 20])
def test_more_samples_than_were_stored_are_no_strangers(stored):
    data = clouds(12, stored + 100, length=40)
    _, strange = learned(data[:, :stored], features=128).guess(data[:, stored:])
    assert 0.3 < float(strange.mean()) < 2.5


def test_single_vectors_among_samples_do_not_dilute_the_spread():
    data = clouds(20, 60, length=40)
    mixed = make(features=128)
    for task in range(20):
        mixed.learn(task, mixed.describe(data[task, : 50 if task % 2 else 1]))
    _, strange = mixed.guess(data[1::2, 50:51])
    assert 0.5 < float(strange.mean()) < 1.6


def test_forgetting_all_leaves_nothing():
    address = learned(clouds(3, 4))
    for task in (1, 0, 2):
        address.forget(task)
    assert all(not bool(value.any()) for value in address.sums.values())
    assert address.length == 0
    address.learn(0, address.describe(torch.ones(2, 5, dtype=torch.float64)))


def test_forgetting_what_was_never_learned_changes_nothing():
    address = learned(clouds(3, 4))
    before = {name: value.clone() for name, value in address.sums.items()}
    address.forget(7)
    assert all(torch.equal(value, before[name]) for name, value in address.sums.items())
    empty = make()
    empty.forget(0)
    assert empty.count == 0


def test_a_number_that_was_never_learned_changes_nothing_however_many_there_are():
    address = learned(clouds(45, 3))
    before = {name: value.clone() for name, value in address.sums.items()}
    for task in range(45, 64):
        address.forget(task)
    assert all(torch.equal(value, before[name]) for name, value in address.sums.items())
    address.forget(44)
    assert address.count == 44


def test_data_of_a_task_are_no_strangers_once_others_were_forgotten():
    generator_ = generator(3)
    means = 2 * torch.randn(10, 16, generator=generator_, dtype=torch.float64)

    def data(task: int, count: int) -> torch.Tensor:
        noise = torch.randn(count, 16, generator=generator_, dtype=torch.float64)
        return means[task] + noise

    address = make(features=256)
    for task in range(10):
        address.learn(task, address.describe(data(task, 200 if task == 0 else 1)))
    for task in range(1, 10):
        address.forget(task)
        _, strange = address.guess(data(0, 40)[:, None])
        assert 0.7 < float(strange.mean()) < 1.4


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ([1.0, 2.0], "must be a dense floating tensor"),
        (torch.ones(2, 4, dtype=torch.long), "must be a dense floating tensor"),
        (torch.tensor(1.0), "must be a dense floating tensor"),
        (torch.ones(0, 12), "empty"),
        (torch.full((2, 12), float("nan")), "NaN"),
        (torch.full((2, 12), float("inf")), "infinity"),
        (torch.zeros(2, 12), "all zeros"),
        (torch.ones(2, 11), "length 12, got 11"),
        (torch.ones(2, 2, 12), "samples \\(s, n\\)"),
    ],
)
def test_what_is_no_data_is_not_learned(samples, says):
    address = learned(clouds(2, 3))
    with pytest.raises(CueError, match=says):
        address.describe(samples)


def test_data_too_large_beside_the_first_are_refused():
    address = learned(clouds(2, 3).float(), dtype=torch.float32)
    with pytest.raises(CueError):
        address.describe(torch.eye(12) * 1e30)


@pytest.mark.parametrize("factor", [1e38, 1e-44])
def test_a_question_out_of_all_proportion_is_refused(factor):
    address = learned(clouds(3, 3).float(), dtype=torch.float32)
    with pytest.raises(CueError):
        address.guess(torch.full((1, 1, 12), factor))


def test_read_outs_for_several_numbers_of_samples_are_kept_but_not_without_end():
    data = clouds(4, 20)
    address = learned(data)
    first = address.guess(data[:, :1])[0]
    for samples in (2, 3, 4, 5, 6):
        address.guess(data[:, :samples])
    assert len(address._ready) <= 4
    assert torch.equal(address.guess(data[:, :1])[0], first)
    address.learn(4, address.describe(data[0] + 1))
    assert not address._ready


def test_an_address_without_tasks_guesses_nothing():
    with pytest.raises(CueError):
        make().guess(torch.ones(1, 1, 12))


def test_sums_that_are_not_finite_are_noticed():
    address = learned(clouds(2, 3))
    address.sums["link"][0, 0] = float("nan")
    with pytest.raises(NumericalError):
        address.guess(torch.ones(1, 1, 12))


@pytest.mark.parametrize("features", [-1, 0, True, 2.5, "64"])
def test_features_that_nothing_can_be_built_from_are_refused(features):
    with pytest.raises(ConfigError):
        make(features=features)


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(ConfigError):
        ContentAddress(Keys(seed=0, bits=64), features=8, device="cuda:99")


def test_the_features_stay_the_same_from_version_to_version():
    """Memories on disk hold sums of these features."""
    found = RandomFeatures(seed=make().keys.seed, count=4).map_of(3)
    assert (found[:2] * 2**23).long().tolist() == EXPECTED_MAP


EXPECTED_MAP = [[-2531727, 184328, 1662177, 5160339], [-3511414, 5349674, 8235454, 3077895]]


def test_a_set_of_zeros_points_nowhere_and_changes_no_other():
    data = clouds(3, 20)
    address = learned(data)
    asked, blank = data[:, :4], torch.zeros(1, 4, 12, dtype=data.dtype)
    guess, strange = address.guess(torch.cat([asked, blank]))
    beside, usual = address.guess(torch.cat([asked, blank + 1]))  # of the same shape
    assert torch.equal(guess[:3], beside[:3])
    assert torch.equal(strange[:3], usual[:3])
    assert not guess[3].any()
    assert strange[3] > STRANGE


def test_a_sample_of_zeros_within_a_set_is_a_sample_like_any():
    data = clouds(3, 20)
    data[:, 0] = 0
    guess, strange = learned(data).guess(data[:, :4])
    assert guess.any(-1).all()
    assert torch.isfinite(strange).all()


def test_a_set_that_is_not_finite_is_refused_beside_one_of_zeros():
    address = learned(clouds(2, 3))
    with pytest.raises(CueError):
        address.guess(torch.stack([torch.zeros(1, 12), torch.full((1, 12), float("nan"))]))
