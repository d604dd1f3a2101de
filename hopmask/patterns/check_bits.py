"""Check bits: they prove a recalled pattern right bit for bit, and mend its last unstable ones."""

import numpy as np
import torch
from torch import Tensor

from hopmask._precision import full_precision
from hopmask.patterns.keys import random_words

CHECK_BITS = 64
MENDED = 32  # spins that may be wrong: those that the energy holds least


class CheckBits:
    """A linear code over the spins of one joint vector [key | check bits | masks].

    Every spin i has a random word w_i of 64 bits from the seed; check bit j has the word 2^j. A
    pattern belongs to the code if the words of its positive spins add up to 0, bit by bit and
    modulo 2, which is what its check bits are chosen for. A wrong spin i changes that sum, the
    syndrome, by w_i. The 32 spins that the energy holds least are taken for unknown: whichever of
    them are wrong follow from the syndrome, as 32 unknowns from 64 linear equations. That a pattern
    with other wrong spins passes for mended has a chance of 2⁻³².

    Args:
        seed: the memory's seed.
        size: d, number of spins.
        where: which of them are the check bits.

    Example:
        >>> parity = CheckBits(seed=0, size=300, where=slice(100, 164))
        >>> spins = torch.ones(1, 300)
        >>> parity.seal(spins)
        >>> bool(parity.holds(spins).all())
        True
        >>> wrong = spins.clone(); wrong[0, 7] *= -1
        >>> bool((parity.mended(wrong, torch.arange(300.0)[None]) == spins).all())
        True

    Source:
        Syndrome decoding of linear codes: Hamming 1950; random words for each position: Zobrist
        1970; solving for the least reliable positions: Fossorier, Lin 1995 (ordered statistics).
    """

    def __init__(self, *, seed: int, size: int, where: slice) -> None:
        words = random_words(seed, np.arange(size), 1, domain=3)[:, 0]
        words[where] = np.uint64(1) << np.arange(CHECK_BITS, dtype=np.uint64)
        self.where = where
        self._words = torch.from_numpy(words.view(np.int64))  # (d,)
        unpacked = np.unpackbits(
            words.astype("<u8").view(np.uint8).reshape(size, 8), axis=1, bitorder="little"
        )
        self._bits = torch.from_numpy(unpacked).float()  # (d, 64); sums of them stay exact

    def seal(self, spins: Tensor) -> None:
        """Set the check bits of ±1 patterns (b, d), in place."""
        spins[:, self.where] = -1
        spins[:, self.where] = self._sum(spins).to(spins) * 2 - 1

    def holds(self, spins: Tensor) -> Tensor:
        """Whether ±1 patterns (b, d) belong to the code; (b,)."""
        return ~self._sum(spins).bool().any(-1)

    def mended(self, spins: Tensor, margin: Tensor) -> Tensor:
        """Patterns (b, d) with their wrong spins turned, where these are among the least firm.

        Others stay as they are.

        Args:
            spins: ±1, (b, d).
            margin: how firmly each spin is held, (b, d).
        """
        syndrome = self._sum(spins)
        wrong = syndrome.any(-1).nonzero()[:, 0]
        answer = spins.clone()
        if len(wrong) == 0:
            return answer
        weakest = margin[wrong].topk(min(MENDED, spins.shape[-1]), largest=False).indices  # (w, m)
        places = torch.arange(CHECK_BITS, device=spins.device)
        target = (syndrome[wrong].long() << places).sum(-1, keepdim=True)
        turned, solved = _solve(self._words[weakest], target)
        turn = torch.where(turned & solved[:, None], -1, 1).to(spins)
        answer[wrong[:, None], weakest] *= turn
        return answer

    def _sum(self, spins: Tensor) -> Tensor:
        """Sum of the words of positive spins modulo 2: 0 or 1, (b, 64)."""
        self._to(spins)
        with full_precision(spins.device):  # else sums beyond 256 would be rounded
            return ((spins > 0).float() @ self._bits).remainder(2)

    def _to(self, spins: Tensor) -> None:
        self._words, self._bits = self._words.to(spins.device), self._bits.to(spins.device)


def _solve(words: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Which of some words add up to a target modulo 2, bit by bit: Gaussian elimination by columns.

    Args:
        words: int64 (w, m), m <= 62.
        target: int64 (w, 1).

    Returns:
        The words chosen (w, m), and whether they do add up to the target (w,).
    """
    number = words.shape[-1]
    own = torch.ones_like(words[:1]) << torch.arange(number, device=words.device)
    left = torch.cat([words, target], -1)
    used = torch.cat([own.expand_as(words), torch.zeros_like(target)], -1)  # what each is a sum of
    for i in range(number):
        word, of = left[:, i : i + 1], used[:, i : i + 1]
        pivot = word & -word  # its lowest bit
        later = (left[:, i + 1 :] & pivot) != 0
        left[:, i + 1 :] ^= torch.where(later, word, 0)
        used[:, i + 1 :] ^= torch.where(later, of, 0)
    chosen = (used[:, -1:] & own) != 0
    return chosen, left[:, -1] == 0
