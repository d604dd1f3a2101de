"""Figures of a run, against values worked out by hand."""

import pytest
import torch

from supsup_bridge.metrics import average_accuracy, mask_digest, packed_bytes


def test_average_accuracy_is_the_mean_of_the_last_row() -> None:
    matrix = [[1.0, None, None], [0.5, 0.9, None], [0.2, 0.4, 0.9]]
    assert average_accuracy(matrix) == pytest.approx(0.5)


def test_average_accuracy_leaves_out_tasks_not_yet_learned() -> None:
    assert average_accuracy([[1.0, None, None], [0.5, 0.75, None]]) == pytest.approx(0.625)


def test_average_accuracy_counts_an_accuracy_of_zero() -> None:
    assert average_accuracy([[1.0, None], [0.0, 1.0]]) == pytest.approx(0.5)


def test_digest_of_equal_masks_is_equal_whatever_their_type_and_order() -> None:
    a = {"x": torch.tensor([True, False, True]), "y": torch.tensor([False])}
    b = {"y": torch.tensor([0.0]), "x": torch.tensor([1.0, 0.0, 1.0])}
    assert mask_digest(a) == mask_digest(b)


def test_one_flipped_bit_changes_the_digest() -> None:
    mask = torch.zeros(1000, dtype=torch.bool)
    flipped = mask.clone()
    flipped[517] = True
    assert mask_digest({"bits": mask}) != mask_digest({"bits": flipped})


def test_a_bit_that_moves_to_another_layer_changes_the_digest() -> None:
    a = {"x": torch.tensor([True, False]), "y": torch.tensor([True])}
    b = {"x": torch.tensor([True]), "y": torch.tensor([False, True])}
    assert mask_digest(a) != mask_digest(b)


def test_masks_swapped_between_layers_change_the_digest() -> None:
    a, b = torch.tensor([True, False]), torch.tensor([False, True])
    assert mask_digest({"x": a, "y": b}) != mask_digest({"x": b, "y": a})


@pytest.mark.parametrize(
    ("sizes", "tasks", "expected"),
    [
        ({"bits": 16}, 1, 2),
        ({"bits": 17}, 1, 3),
        ({"bits": 17}, 4, 12),
        ({"a": 4, "b": 5}, 3, 6),
        ({"a": 4, "b": 5}, 0, 0),
    ],
)
def test_packed_bytes(sizes: dict[str, int], tasks: int, expected: int) -> None:
    assert packed_bytes(sizes, tasks) == expected
