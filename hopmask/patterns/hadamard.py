"""Orthogonal keys: rows of a Sylvester-Hadamard matrix, made on demand, and its fast transform."""

import numpy as np
import torch
from torch import Tensor

from hopmask.patterns.keys import random_words


def transform(values: Tensor) -> Tensor:
    """Fast Walsh-Hadamard transform of the last axis: x H, H_rc = (−1)^popcount(r & c).

    H is symmetric and H H = K I, so that the transform is its own inverse but for the factor K. It
    takes K log2 K additions, and no matrix.

    Args:
        values: (..., K), K a power of two.

    Returns:
        Of the same shape and type.

    Example:
        >>> transform(torch.tensor([1, 0, 2, 0]))
        tensor([ 3,  3, -1, -1])

    Source:
        Fino, Algazi 1976, "Unified matrix treatment of the fast Walsh-Hadamard transform".
    """
    size = values.shape[-1]
    done, half = values, 1
    while half < size:
        pairs = done.reshape(*values.shape[:-1], size // (2 * half), 2, half)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        done = torch.stack([first + second, first - second], -2)
        half *= 2
    return done.reshape(values.shape)


class OrthogonalKeys:
    """Keys κ_t in {±1}^K of task numbers t < K: rows of the Hadamard matrix, in the seed's order.

    Task t has the row π(t mod K₀) + K₀ ⌊t / K₀⌋, with K₀ the number of hubs at birth and π a
    permutation of K₀ from the seed. So a task keeps its row when K doubles, and its key becomes
    [κ κ]: H_2K = [[H, H], [H, −H]].

    Args:
        seed: the memory's seed.
        born: K₀, hubs at birth, a power of two.

    Example:
        >>> keys = OrthogonalKeys(seed=0, born=4)
        >>> of_four = keys.of(torch.arange(4), hubs=4)
        >>> bool((of_four @ of_four.T == 4 * torch.eye(4)).all())
        True
        >>> bool((keys.of(torch.arange(4), hubs=8) == torch.cat([of_four, of_four], -1)).all())
        True

    Source:
        Sylvester 1867; as keys of a hetero-associative memory: hopmask's own.
    """

    def __init__(self, *, seed: int, born: int) -> None:
        self.seed, self.born = seed, born
        words = random_words(seed, np.arange(born), 1, domain=4)[:, 0]
        self._order = torch.from_numpy(np.argsort(words, kind="stable").astype(np.int64))

    def rows(self, tasks: Tensor) -> Tensor:
        """Row of each task's key, (k,) -> (k,)."""
        order = self._order.to(tasks.device)
        return order[tasks % self.born] + tasks // self.born * self.born

    def of(self, tasks: Tensor, *, hubs: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Keys of tasks (k,): ±1, (k, hubs)."""
        parity = self.rows(tasks)[:, None] & torch.arange(hubs, device=tasks.device)
        shift = 1
        while shift < hubs.bit_length():  # fold the parity of the bits into the lowest
            parity = parity ^ (parity >> shift)
            shift *= 2
        return (1 - 2 * (parity & 1)).to(dtype)

    def by_task(self, values: Tensor) -> Tensor:
        """Values that stand by rows, (..., K), in the order of task numbers."""
        tasks = torch.arange(values.shape[-1], device=values.device)
        return values[..., self.rows(tasks)]

    def by_row(self, values: Tensor) -> Tensor:
        """The inverse of `by_task`."""
        tasks = torch.arange(values.shape[-1], device=values.device)
        return torch.empty_like(values).index_copy_(-1, self.rows(tasks), values)
