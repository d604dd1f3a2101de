"""Hit: what a recall answers, as numbers for one recall and as rows for a batch."""

import inspect
from dataclasses import FrozenInstanceError, fields

import pytest
import torch

from hopmask import Hit, MaskMemory

SIZES = {"h1": 64, "h2": (4, 8)}
PLAIN = {
    "task": int,
    "residual": float,
    "energy": float,
    "steps": int,
    "verified": bool,
    "margin": float,
    "recognized": bool,
    "unstable": int,
}
ROWS = {int: torch.long, float: torch.float32, bool: torch.bool}


@pytest.fixture(scope="module")
def tasks(random_mask):
    return [
        {
            name: random_mask(shape, seed=10 * task + n)
            for n, (name, shape) in enumerate(SIZES.items())
        }
        for task in range(4)
    ]


@pytest.fixture(scope="module")
def memory(tasks):
    memory = MaskMemory(SIZES, key_bits=64, signature_features=0)
    for masks in tasks:
        memory.store(masks)
    return memory


def batched(tasks, rows):
    return {name: torch.stack([tasks[row][name].float() for row in rows]) for name in SIZES}


def test_every_answer_but_masks_extras_and_trace_is_a_number():
    assert {field.name for field in fields(Hit)} == {"masks", "extras", "trace", *PLAIN}


def test_one_recall_answers_in_plain_numbers(memory, tasks):
    for hit in (memory.recall(task=1), memory.recall(cue=tasks[1])):
        assert {name: type(getattr(hit, name)) for name in PLAIN} == PLAIN


@pytest.mark.parametrize("rows", [[2], [3, 0, 2]], ids=len)
def test_a_batch_answers_in_a_row_for_each_cue(memory, tasks, rows):
    hit = memory.recall(cue=batched(tasks, rows))
    for name, plain in PLAIN.items():
        assert getattr(hit, name).shape == (len(rows),), name
        assert getattr(hit, name).dtype == ROWS[plain], name


def test_masks_have_the_shapes_of_the_layers_after_those_of_the_cue(memory, tasks):
    one, three = memory.recall(cue=tasks[0]), memory.recall(cue=batched(tasks, [0, 1, 2]))
    assert {name: tuple(mask.shape) for name, mask in one.masks.items()} == memory.shapes
    assert {name: tuple(mask.shape) for name, mask in three.masks.items()} == {
        name: (3, *shape) for name, shape in memory.shapes.items()
    }
    assert {mask.dtype for mask in [*one.masks.values(), *three.masks.values()]} == {torch.bool}


def test_there_are_masks_even_where_nothing_was_found(memory, random_mask):
    hit = memory.recall(cue={"h1": random_mask(64, seed=99)})
    assert hit.recognized is False
    assert {name: tuple(mask.shape) for name, mask in hit.masks.items()} == memory.shapes


def test_a_hit_cannot_be_changed(memory):
    hit = memory.recall(task=0)
    with pytest.raises(FrozenInstanceError):
        hit.verified = False


def test_an_answer_is_the_callers_own(memory, tasks):
    """What a caller does to the masks of a hit reaches no other recall."""
    memory.recall(task=2).masks["h1"].zero_()
    assert torch.equal(memory.recall(task=2).masks["h1"], tasks[2]["h1"])


def test_every_answer_is_described():
    lines = (inspect.getdoc(Hit) or "").splitlines()
    assert [name for name in PLAIN if not any(ln.startswith(f"    {name}: ") for ln in lines)] == []
