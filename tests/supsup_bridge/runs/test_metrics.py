"""Figures of a run, against values worked out by hand."""

import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopmask import ConfigError, NumericalError
from supsup_bridge.runs.metrics import (
    accuracy_curve,
    average_accuracy,
    backward_transfer,
    csc_bytes,
    forgetting,
    packed_bytes,
)

Row = list[float | None]
BOTH = (forgetting, backward_transfer)


@st.composite
def matrices(draw: st.DrawFn, *, least: int = 1, sparse: bool = True) -> list[Row]:
    """Accuracy matrices, the last row and the diagonal whole, of a stream of as many or more tasks.

    The other entries are measured row by row or one by one, or (not sparse) all.
    """
    learned = draw(st.integers(least, 7))
    tasks = learned + draw(st.integers(0, 2))
    accuracy = st.floats(0, 1)
    maybe = st.one_of(st.none(), accuracy) if sparse else accuracy
    matrix: list[Row] = []
    for i in range(learned):
        others = draw(st.sampled_from([accuracy, maybe, st.none() if sparse else accuracy]))
        others = accuracy if i == learned - 1 else others
        row: Row = [draw(accuracy if j == i else others) for j in range(i + 1)]
        matrix.append([*row, *[None] * (tasks - i - 1)])
    return matrix


def test_average_accuracy_is_the_mean_of_the_last_row() -> None:
    matrix = [[1.0, None, None], [0.5, 0.9, None], [0.2, 0.4, 0.9]]
    assert average_accuracy(matrix) == pytest.approx(0.5)


def test_average_accuracy_leaves_out_tasks_not_yet_learned() -> None:
    assert average_accuracy([[1.0, None, None], [0.5, 0.75, None]]) == pytest.approx(0.625)


def test_average_accuracy_counts_an_accuracy_of_zero() -> None:
    assert average_accuracy([[1.0, None], [0.0, 1.0]]) == pytest.approx(0.5)


@given(matrices())
def test_average_accuracy_is_that_of_an_obvious_loop(matrix: list[Row]) -> None:
    total = 0.0
    for j in range(len(matrix)):
        total += matrix[-1][j]  # type: ignore[operator]
    assert average_accuracy(matrix) == pytest.approx(total / len(matrix))


def test_average_accuracy_leaves_out_what_was_measured_of_tasks_not_learned() -> None:
    assert average_accuracy([[1.0, 0.25], [0.5, 1.0]]) == pytest.approx(0.75)
    assert average_accuracy([[1.0, 0.25]]) == 1.0


@pytest.mark.parametrize("figure", [average_accuracy, *BOTH])
@pytest.mark.parametrize(
    ("last", "task"), [([None, 1.0], 0), ([1.0, None], 1), ([1.0], 1), ([], 0)]
)
def test_a_last_row_without_a_learned_task_is_refused(figure, last: Row, task: int) -> None:
    with pytest.raises(ConfigError, match=f"last row .* lacks task {task} of the 2 learned"):
        figure([[1.0, None], last])


def test_average_accuracy_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="accuracy matrix is empty"):
        average_accuracy([])


# --- accuracy over the number of tasks


def test_curve_has_the_rows_measured_whole() -> None:
    matrix = [[1.0, None, None, None], [None, 0.5, None, None], [0.5, 0.5, 0.2, None]]
    assert accuracy_curve(matrix) == [(1, 1.0), (3, pytest.approx(0.4))]


def test_curve_of_nothing_is_empty() -> None:
    assert accuracy_curve([]) == []


@given(matrices())
def test_curve_is_that_of_an_obvious_loop(matrix: list[Row]) -> None:
    expected = []
    for i, row in enumerate(matrix):
        values = [row[j] for j in range(i + 1) if row[j] is not None]
        if len(values) == i + 1:
            expected.append((i + 1, pytest.approx(sum(values) / (i + 1))))
    assert accuracy_curve(matrix) == expected
    assert accuracy_curve(matrix)[-1] == (len(matrix), average_accuracy(matrix))


@given(matrices(sparse=False))
def test_curve_of_a_full_matrix_has_every_number_of_tasks(matrix: list[Row]) -> None:
    assert [learned for learned, _ in accuracy_curve(matrix)] == [*range(1, len(matrix) + 1)]


# --- forgetting and backward transfer


def test_forgetting_starts_from_the_best_row_and_backward_transfer_from_the_diagonal() -> None:
    matrix = [[0.6, None, None], [0.9, 0.8, None], [0.5, 0.7, 1.0]]
    assert forgetting(matrix) == pytest.approx(((0.9 - 0.5) + (0.8 - 0.7)) / 2)
    assert backward_transfer(matrix) == pytest.approx(((0.5 - 0.6) + (0.7 - 0.8)) / 2)


def test_both_need_the_diagonal_and_the_last_row_alone() -> None:
    matrix = [[1.0, None, None], [None, 0.8, None], [0.5, 0.7, 1.0]]
    assert forgetting(matrix) == pytest.approx(0.3)
    assert backward_transfer(matrix) == pytest.approx(-0.3)


def test_accuracy_gained_is_negative_forgetting_and_positive_transfer() -> None:
    matrix = [[0.5, None], [0.75, 1.0]]
    assert forgetting(matrix) == -0.25
    assert backward_transfer(matrix) == 0.25


def test_the_last_task_counts_in_neither() -> None:
    for last in (0.0, 1.0):
        assert forgetting([[0.5, None], [0.5, last]]) == 0
        assert backward_transfer([[0.5, None], [0.5, last]]) == 0


def test_forgetting_takes_any_earlier_row_where_the_diagonal_has_a_gap() -> None:
    assert forgetting([[None] * 3, [0.75, 1.0, None], [0.5, 1.0, 1.0]]) == pytest.approx(0.125)


@pytest.mark.parametrize("figure", BOTH)
@pytest.mark.parametrize("matrix", [[], [[1.0]], [[0.5, None, None]], [[None]]])
def test_fewer_than_two_tasks_have_neither(figure, matrix: list[Row]) -> None:
    assert figure(matrix) is None


def test_forgetting_of_a_task_measured_at_the_end_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match="task 1 in its last row alone"):
        forgetting([[1.0, None, None], [1.0, None, None], [1.0, 1.0, 1.0]])


@pytest.mark.parametrize("second", [[1.0, None, None], [1.0]])
def test_backward_transfer_with_a_gap_in_the_diagonal_is_refused(second: Row) -> None:
    with pytest.raises(ConfigError, match="diagonal of the accuracy matrix lacks task 1"):
        backward_transfer([[1.0, None, None], second, [1.0, 1.0, 1.0]])


@given(matrices(least=2))
def test_forgetting_is_that_of_an_obvious_loop(matrix: list[Row]) -> None:
    k, total = len(matrix), 0.0
    for j in range(k - 1):
        best = -1.0
        for i in range(k - 1):
            value = matrix[i][j]
            if value is not None and value > best:
                best = value
        total += best - matrix[k - 1][j]  # type: ignore[operator]
    assert forgetting(matrix) == pytest.approx(total / (k - 1))


@given(matrices(least=2))
def test_backward_transfer_is_that_of_an_obvious_loop(matrix: list[Row]) -> None:
    k, total = len(matrix), 0.0
    for j in range(k - 1):
        total += matrix[k - 1][j] - matrix[j][j]  # type: ignore[operator]
    assert backward_transfer(matrix) == pytest.approx(total / (k - 1))


@given(matrices(least=2))
def test_forgetting_is_at_least_minus_backward_transfer(matrix: list[Row]) -> None:
    lost, transfer = forgetting(matrix), backward_transfer(matrix)
    assert lost is not None
    assert transfer is not None
    assert -1 <= -transfer <= lost + 1e-12
    assert lost <= 1


@given(matrices(least=2))
def test_the_two_are_opposite_where_no_task_rose_above_its_diagonal(matrix: list[Row]) -> None:
    last = len(matrix) - 1
    capped: list[Row] = [
        [v if v is None or i == last else min(v, matrix[j][j] or 0.0) for j, v in enumerate(row)]
        for i, row in enumerate(matrix)
    ]
    transfer = backward_transfer(capped)
    assert transfer is not None
    assert forgetting(capped) == pytest.approx(-transfer)


@given(matrices(least=2))
def test_perfect_memory_forgets_nothing(matrix: list[Row]) -> None:
    kept: list[Row] = [
        [None if v is None else matrix[j][j] for j, v in enumerate(row)] for row in matrix
    ]
    assert forgetting(kept) == 0
    assert backward_transfer(kept) == 0


# --- masks


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


SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


@settings(max_examples=50, deadline=None)
@given(
    shapes=st.lists(SHAPES, min_size=1, max_size=3), share=st.floats(0, 1), seed=st.integers(0, 9)
)
def test_csc_bytes_are_those_of_scipys_indices_and_pointers(shapes, share: float, seed) -> None:
    g = torch.Generator().manual_seed(seed)
    masks = {str(i): torch.rand(shape, generator=g) < share for i, shape in enumerate(shapes)}
    matrices = [scipy.sparse.csc_matrix(m.reshape(len(m), -1).numpy()) for m in masks.values()]
    expected = sum(2 * len(m.indices) + 4 * len(m.indptr) for m in matrices)
    assert csc_bytes(masks) == csc_bytes({n: m.float() for n, m in masks.items()}) == expected


@pytest.mark.parametrize(("rows", "width"), [(2**16, 2), (2**16 + 1, 4)])
def test_more_rows_than_16_bits_count_have_longer_indices(rows: int, width: int) -> None:
    assert csc_bytes({"fc": torch.ones(rows, 2, dtype=torch.bool)}) == 2 * rows * width + 12


def test_no_masks_take_no_bytes() -> None:
    assert csc_bytes({}) == 0


@pytest.mark.parametrize(
    "figure", [average_accuracy, forgetting, backward_transfer, accuracy_curve]
)
def test_nan_is_refused_in_whichever_row_it_stands(figure) -> None:
    nan = float("nan")
    for rows in ([[nan, None], [0.5, 0.5]], [[0.5, None], [0.5, nan]]):
        with pytest.raises(NumericalError):
            figure(rows)
