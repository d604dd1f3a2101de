"""Figures of a run, from the accuracy matrix and the recalls."""

from collections.abc import Mapping, Sequence
from math import isnan, prod

from torch import Tensor

from hopmask import ConfigError, NumericalError
from supsup_bridge.networks.fixed import Size, shape_of

Matrix = Sequence[Sequence[float | None]]
"""R: row i after learning task i, column j for task j; None where nothing was measured."""


def average_accuracy(matrix: Matrix) -> float:
    """Mean accuracy over the tasks learned so far: A = (1/k) Σ_j R_kj, the matrix's last row.

    Not the "average incremental accuracy" (Rebuffi et al. 2017), which is the mean of A over all
    rows and is also called average accuracy.

    Args:
        matrix: R, its last row measured whole.

    Raises:
        ConfigError: no row, or a last row without one of the learned tasks.
        NumericalError: NaN in the matrix.

    Example:
        >>> average_accuracy([[1.0, None], [0.5, 1.0]])
        0.75

    Source:
        Lopez-Paz, Ranzato 2017 (arXiv 1706.08840), "average accuracy".
    """
    last = _last_row(matrix)
    return sum(last) / len(last)


def accuracy_curve(matrix: Matrix) -> list[tuple[int, float]]:
    """Number of tasks learned, and A (see `average_accuracy`), wherever a row was measured whole.

    Args:
        matrix: R; rows may be sparse.

    Example:
        >>> accuracy_curve([[1.0, None, None], [None, 1.0, None], [0.25, 0.75, 0.5]])
        [(1, 1.0), (3, 0.5)]

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), accuracy over the number of tasks learned.
    """
    learned = range(1, len(matrix) + 1)
    return [(k, average_accuracy(matrix[:k])) for k in learned if not _missing(matrix[:k])]


def forgetting(matrix: Matrix) -> float | None:
    """How far tasks fell below their best: F = (1/(k−1)) Σ_{j<k} (max_{i<k} R_ij − R_kj).

    The maximum is over the rows, but for the last, in which task j was measured. Positive where
    accuracy was lost. Not `-backward_transfer`, which starts from R_jj instead of the maximum and
    is also called forgetting; nor the one whose maximum includes the last row, so never negative.

    Args:
        matrix: R; rows may be sparse, the last one must be whole.

    Returns:
        F; None with fewer than two tasks.

    Raises:
        ConfigError: a last row without one of the learned tasks, or a task not measured before it.
        NumericalError: NaN in the matrix.

    Example:
        >>> forgetting([[0.5, None, None], [0.75, 1.0, None], [0.25, 0.75, 1.0]])
        0.375

    Source:
        Chaudhry et al. 2018 (arXiv 1801.10112), "average forgetting".
    """
    if len(matrix) < 2:
        return None
    *old, _ = _last_row(matrix)
    lost = [_best_before(matrix, task) - now for task, now in enumerate(old)]
    return sum(lost) / len(lost)


def backward_transfer(matrix: Matrix) -> float | None:
    """Change of tasks since they were learned: BWT = (1/(k−1)) Σ_{j<k} (R_kj − R_jj).

    Negative where accuracy was lost. Not the one of Díaz-Rodríguez et al. 2018 (arXiv 1810.13166),
    which is the mean of R_ij − R_jj over all rows i > j and has the same name.

    Args:
        matrix: R; rows may be sparse, the diagonal and the last row must be whole.

    Returns:
        BWT; None with fewer than two tasks.

    Raises:
        ConfigError: a last row without one of the learned tasks, or a gap in the diagonal.
        NumericalError: NaN in the matrix.

    Example:
        >>> backward_transfer([[0.5, None, None], [0.75, 1.0, None], [0.25, 0.75, 1.0]])
        -0.25

    Source:
        Lopez-Paz, Ranzato 2017 (arXiv 1706.08840), "backward transfer".
    """
    if len(matrix) < 2:
        return None
    *old, _ = _last_row(matrix)
    change = [now - _when_learned(matrix, task) for task, now in enumerate(old)]
    return sum(change) / len(change)


def _missing(matrix: Matrix) -> list[int]:
    """The learned tasks that the last row lacks."""
    last, learned = matrix[-1], len(matrix)
    return [task for task in range(learned) if task >= len(last) or last[task] is None]


def _last_row(matrix: Matrix) -> list[float]:
    """The last row, of the tasks learned so far."""
    if not matrix:
        raise ConfigError("the accuracy matrix is empty: score the tasks after learning one")
    _refuse_nan(matrix)
    if missing := _missing(matrix):
        raise ConfigError(
            f"the last row of the accuracy matrix lacks task {missing[0]} of the {len(matrix)} "
            "learned: score every learned task after the last one"
        )
    return [value for value in matrix[-1][: len(matrix)] if value is not None]


def _refuse_nan(matrix: Matrix) -> None:
    for after, row in enumerate(matrix):
        for task, value in enumerate(row):
            if value is not None and isnan(value):
                raise NumericalError(
                    f"the accuracy of task {task} after learning task {after} is NaN: put None "
                    "where nothing was measured"
                )


def _best_before(matrix: Matrix, task: int) -> float:
    column = [row[task] for row in matrix[:-1] if task < len(row)]
    measured = [value for value in column if value is not None]
    if not measured:
        raise ConfigError(
            f"the accuracy matrix has task {task} in its last row alone: score a task at least "
            "once before the last one is learned"
        )
    return max(measured)


def _when_learned(matrix: Matrix, task: int) -> float:
    row = matrix[task]
    value = row[task] if task < len(row) else None
    if value is None:
        raise ConfigError(
            f"the diagonal of the accuracy matrix lacks task {task}: score each task right after "
            "it was learned"
        )
    return value


def packed_bytes(mask_sizes: Mapping[str, Size], tasks: int) -> int:
    """Bytes of a plain list of the masks, one bit per mask bit, each mask padded to whole bytes.

    Example:
        >>> packed_bytes({"bits": 12}, tasks=3)
        6
    """
    return tasks * -(-_entries(mask_sizes) // 8)


def extras_bytes(sizes: Mapping[str, Size], tasks: int) -> int:
    """Bytes of a plain list of the tasks' extras, 2 for each value.

    Example:
        >>> extras_bytes({"bn.mean": 4, "bn.var": 4}, tasks=3)
        48
    """
    return tasks * 2 * _entries(sizes)


def csc_bytes(masks: Mapping[str, Tensor]) -> int:
    """Bytes of binary masks as compressed sparse columns, as the paper counts sparse masks.

    A mask is a matrix (first side, product of the others): (n_out, fan_in) of a layer's weights.
    Each bit that is set takes a row index of 2 bytes (4 where there are more than 2^16 rows) and no
    data; c columns take c + 1 pointers of 4 bytes.

    Args:
        masks: name -> bool or {0, 1} (*size).

    Example:
        >>> import torch
        >>> csc_bytes({"fc": torch.tensor([[True, False, True], [True, False, False]])})
        22

    Source:
        Wortsman et al. 2020 (arXiv 2006.14769), section 4: scipy.sparse.csc with 16-bit indices.
    """
    total = 0
    for mask in masks.values():
        rows, columns = mask.shape[0], prod(mask.shape[1:])
        index = 2 if rows <= 2**16 else 4
        total += index * int((mask > 0.5).sum()) + 4 * (columns + 1)
    return total


def _entries(sizes: Mapping[str, Size]) -> int:
    return sum(prod(shape_of(size)) for size in sizes.values())
