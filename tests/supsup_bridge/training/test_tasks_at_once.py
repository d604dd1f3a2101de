"""How many tasks a device can train at once."""

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import ConfigError
from supsup_bridge import FixedNetwork, MaskedNetwork, TrainingSettings, mlp, tasks_at_once
from supsup_bridge.networks.resnets import gem_resnet18
from supsup_bridge.training.tasks_at_once import bytes_per_task

PLAIN = TrainingSettings(contrast=0)
SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def plain() -> FixedNetwork:
    return MaskedNetwork(mlp([20, 30, 10]))


@pytest.fixture(scope="module")
def maps() -> FixedNetwork:
    with torch.random.fork_rng(devices=[]):
        return MaskedNetwork(gem_resnet18(SHAPE, 5))


@pytest.mark.parametrize(("threads", "linear", "mapped"), [(1, 1, 1), (2, 8, 1), (16, 8, 1)])
def test_a_cpu_trains_several_where_one_leaves_threads_idle(
    plain, maps, threads, linear, mapped, monkeypatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert tasks_at_once(plain, PLAIN, (20,), 100, "cpu") == linear
    assert tasks_at_once(maps, PLAIN, SHAPE, 100, "cpu") == mapped


@settings(max_examples=30, deadline=None)
@given(free=st.integers(0, 10**12), images=st.integers(1, 10**6))
def test_a_gpu_trains_as_many_as_fit(plain, free, images) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
        found = tasks_at_once(plain, PLAIN, (20,), images, "cuda:0")
    each = bytes_per_task(plain, PLAIN, (20,), images)
    assert found == 1 or found * each <= free
    assert (found + 1) * each > 0.8 * free


def test_scores_averages_moments_and_images_are_counted(plain) -> None:
    scores = sum(prod(size) for size in plain.mask_sizes.values()) * 4
    few, many = (bytes_per_task(plain, PLAIN, (20,), images) for images in (1, 1001))
    assert few > 5 * scores
    assert many - few == 1000 * (2 * 20 * 4 + 8)


def test_sgd_keeps_fewer_scores(plain) -> None:
    adam, sgd = (
        bytes_per_task(plain, TrainingSettings(contrast=0, optimiser=name), (20,), 1)
        for name in ("adam", "sgd")
    )
    scores = sum(prod(size) for size in plain.mask_sizes.values()) * 4
    assert adam - sgd == 2 * scores


def test_activations_grow_with_the_batch_and_with_noisy_images(maps) -> None:
    def need(**changes: object) -> int:
        return bytes_per_task(maps, TrainingSettings(**{"contrast": 0, **changes}), SHAPE, 1)

    small, large = need(batch=16), need(batch=32)
    per_image = (large - small) / 16
    kept = sum(  # at least the maps that the three later stages' convolutions see
        20 * 2**stage * (16 // 2**stage) ** 2 * 4 for stage in range(1, 4)
    )
    assert per_image > 2 * kept
    assert need(batch=16, contrast=0.5) == large


def test_less_precision_keeps_fewer_bytes(maps) -> None:
    full, half = (
        bytes_per_task(maps, TrainingSettings(contrast=0, precision=name), SHAPE, 1)
        for name in ("float32", "bfloat16")
    )
    assert half < 0.8 * full


def test_the_network_stays_as_it_is(maps) -> None:
    before = {name: value.clone() for name, value in maps.state_dict().items()}
    bytes_per_task(maps, PLAIN, SHAPE, 1)
    assert all(torch.equal(value, before[name]) for name, value in maps.state_dict().items())


@pytest.mark.parametrize("images", [0, -1, 1.5, True, None])
def test_a_task_without_images_is_refused(plain, images) -> None:
    with pytest.raises(ConfigError, match="images must be how many"):
        bytes_per_task(plain, PLAIN, (20,), images)


def test_images_that_do_not_fit_are_refused(plain) -> None:
    with pytest.raises(ConfigError, match="cannot take images"):
        bytes_per_task(plain, PLAIN, (21,), 10)
