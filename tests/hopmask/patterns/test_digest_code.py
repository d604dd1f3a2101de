"""Patterns of masks, extras and a digest: every bit against a slow reading of the document."""

import hashlib
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopmask import ConfigError, MaskError
from hopmask.patterns.digest_code import DigestCode

HALVES = st.floats(width=16, allow_nan=False, allow_infinity=False)


def code_of(**options):
    return DigestCode({"a": 11, "b": (2, 3)}, extras={"x": 2, "y": (1, 2)}, seed=7, **options)


def body_of(code, seed=0):
    return torch.rand(code.bits, generator=torch.Generator().manual_seed(seed)) < 0.5


def slow_pattern(seed, task, body, values):
    """As docs/file_format.md says, with strings of 0 and 1."""
    bits = "".join("01"[bool(bit)] for bit in body)
    for value in values:
        bits += f"{int.from_bytes(struct.pack('<e', value), 'little'):016b}"
    padded = bits + "0" * (-len(bits) % 8)
    packed = int(padded, 2).to_bytes(len(padded) // 8, "big")
    head = struct.pack("<QQ", seed, task)
    digest = hashlib.blake2b(head + packed, digest_size=8, person=b"hopmask task").digest()
    return bits + "".join(f"{byte:08b}" for byte in digest)


@given(values=st.lists(HALVES, min_size=4, max_size=4), task=st.integers(0, 65535))
def test_a_pattern_is_masks_then_extras_then_digest_bit_by_bit(values, task):
    code = code_of()
    body = body_of(code)
    extras = {"x": torch.tensor(values[:2]), "y": torch.tensor([values[2:]])}
    found = code.pattern(task, body, extras)
    assert "".join("01"[bit] for bit in found.int()) == slow_pattern(7, task, body, values)
    assert code.size == 17 + 64 + 64


@given(values=st.lists(HALVES, min_size=4, max_size=4))
def test_extras_come_back_as_half_floats_to_the_bit(values):
    code = code_of()
    extras = {"x": torch.tensor(values[:2]), "y": torch.tensor([values[2:]])}
    found = code.extras_of(code.pattern(0, body_of(code), extras).expand(3, -1))
    assert found["x"].shape == (3, 2)
    assert found["y"].shape == (3, 1, 2)
    for name, value in extras.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name][1].view(torch.int32), value.view(torch.int32))  # −0 too


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_extras_of_any_floating_type_are_rounded_to_the_nearest_half(dtype):
    code = code_of()
    given_values = torch.tensor([1 / 3, 65503.0], dtype=torch.float64).to(dtype)
    extras = {"x": given_values, "y": torch.zeros(1, 2, dtype=dtype)}
    if float(given_values[1]) > 65519:
        pytest.skip("rounded beyond the half floats already")
    found = code.extras_of(code.pattern(0, body_of(code), extras))["x"]
    assert torch.equal(found, given_values.to(torch.float16).float())


def test_a_pattern_holds_its_own_digest_and_no_other_one():
    code = code_of()
    extras = {"x": torch.ones(2), "y": torch.ones(1, 2)}
    pattern = code.pattern(3, body_of(code), extras)
    flips = pattern.repeat(code.size, 1) ^ torch.eye(code.size, dtype=torch.bool)
    assert not bool(code.holds(torch.full((code.size,), 3), flips).any())
    assert code.holds(torch.tensor([3, 4]), pattern.expand(2, -1)).tolist() == [True, False]
    other = DigestCode({"a": 11, "b": (2, 3)}, extras={"x": 2, "y": (1, 2)}, seed=8)
    assert not bool(other.holds(torch.tensor([3]), pattern[None]))


def test_masks_of_all_zeros_hold_no_digest_of_zeros():
    code = DigestCode({"a": 8}, seed=0)
    empty = torch.zeros(64, code.size, dtype=torch.bool)
    assert not bool(code.holds(torch.arange(64), empty).any())


def test_masks_come_back_in_their_shapes():
    code = code_of()
    body = body_of(code)
    masks = code.masks_of(code.pattern(0, body, {"x": torch.ones(2), "y": torch.ones(1, 2)}))
    assert torch.equal(masks["a"], body[:11])
    assert torch.equal(masks["b"], body[11:].reshape(2, 3))


def test_the_largest_seed_and_number_fit():
    code = DigestCode({"a": 8}, seed=2**64 - 1)
    pattern = code.pattern(2**16 - 1, torch.ones(8, dtype=torch.bool), None)
    assert bool(code.holds(torch.tensor([2**16 - 1]), pattern[None]))


@pytest.mark.parametrize(
    "extras",
    [
        None,
        {},
        {"x": torch.ones(2)},
        {"x": torch.ones(2), "y": torch.ones(2)},
        {"x": torch.ones(2), "y": torch.ones(1, 2), "z": torch.ones(1)},
        {"x": torch.ones(2), "Y": torch.ones(1, 2)},
        {"x": torch.ones(2), "y": torch.tensor([[0.0, float("nan")]])},
        {"x": torch.ones(2), "y": torch.tensor([[0.0, float("inf")]])},
        {"x": torch.ones(2), "y": torch.tensor([[0.0, 65520.0]])},
        {"x": torch.ones(2), "y": torch.tensor([[0.0, -1e30]])},
        {"x": torch.ones(2), "y": torch.ones(1, 2, dtype=torch.int64)},
        {"x": torch.ones(2), "y": torch.ones(1, 2, dtype=torch.bool)},
        {"x": torch.ones(2), "y": torch.ones(1, 2, dtype=torch.complex64)},
        {"x": torch.ones(2), "y": [[1.0, 2.0]]},
        {"x": torch.ones(2), 1: torch.ones(1, 2)},
        [torch.ones(2), torch.ones(1, 2)],
        torch.ones(4),
        5,
    ],
)
def test_extras_that_do_not_fit_are_refused(extras):
    code = code_of()
    with pytest.raises(MaskError):
        code.pattern(0, body_of(code), extras)


def test_extras_of_a_code_without_any_are_refused():
    code = DigestCode({"a": 8}, seed=0)
    with pytest.raises(MaskError):
        code.pattern(0, torch.ones(8, dtype=torch.bool), {"x": torch.ones(1)})
    assert code.extras_of(torch.zeros(2, code.size, dtype=torch.bool)) == {}


def test_extras_that_require_a_gradient_are_taken_without_it():
    code = DigestCode({"a": 8}, extras={"x": 1}, seed=0)
    pattern = code.pattern(
        0, torch.ones(8, dtype=torch.bool), {"x": torch.ones(1).requires_grad_()}
    )
    assert not pattern.requires_grad
    assert np.array_equal(pattern[8:24].numpy().astype(int), [int(c) for c in f"{0x3C00:016b}"])


def test_an_extra_named_like_a_mask_is_refused():
    with pytest.raises(ConfigError, match="'x' is named like a mask"):
        DigestCode({"a": 8, "x": 2}, extras={"x": 1}, seed=0)
