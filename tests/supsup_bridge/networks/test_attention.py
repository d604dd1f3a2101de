"""Attention by plain products: only within a block, of whichever thread."""

from threading import Barrier, Thread

import pytest
import torch
from torch import nn

from supsup_bridge.networks.attention import attends, plain_attention


def switches() -> tuple[bool, bool, bool]:
    return (
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
    )


def test_torchs_switches_are_as_before_after_a_block_and_after_an_error() -> None:
    before = switches()
    with plain_attention():
        with plain_attention():
            assert switches() == (False, False, True)
        assert switches() == (False, False, True)
    assert switches() == before
    with pytest.raises(KeyError), plain_attention():
        raise KeyError
    assert switches() == before


def test_a_switch_that_was_off_stays_off() -> None:
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with plain_attention():
            pass
        assert not torch.backends.mha.get_fastpath_enabled()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_blocks_of_two_threads_overlap_in_any_order() -> None:
    before, first_is_in, second_is_in, seen = switches(), Barrier(2), Barrier(2), []

    def first() -> None:
        with plain_attention():
            first_is_in.wait(10)
            second_is_in.wait(10)

    thread = Thread(target=first)
    thread.start()
    first_is_in.wait(10)
    with plain_attention():
        second_is_in.wait(10)
        thread.join(10)
        seen.append(torch.backends.mha.get_fastpath_enabled())
    assert seen == [False]
    assert switches()[0] == before[0]


def test_what_attends() -> None:
    assert attends(nn.Sequential(nn.TransformerEncoderLayer(8, 2)))
    assert attends(nn.Sequential(nn.MultiheadAttention(8, 2)))
    assert not attends(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
