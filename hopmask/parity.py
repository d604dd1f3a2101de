"""Check bits: they prove a recalled pattern right bit for bit, and mend its last unstable ones."""

import numpy as np
import torch
from torch import Tensor

from hopmask.keys import random_words

CHECK_BITS = 64
_WEAKEST = 32  # spins that may be what is wrong
MENDED = 2  # wrong spins that can be mended, at most


class Parity:
    """A linear code over the spins of one joint vector [key | check bits | masks].

    Every spin i has a random word w_i of 64 bits from the seed; check bit j has the word 2^j. A
    pattern belongs to the code if the words of its positive spins add up to 0, bit by bit and
    modulo 2, which is what its check bits are chosen for. A wrong spin i changes that sum, the
    syndrome, by w_i: so of the spins that the energy holds least, one or two are found whose words
    add up to it, and turned. That a wrong pattern passes has a chance below 2⁻⁵⁰.

    Args:
        seed: the memory's seed.
        size: d, number of spins.
        where: which of them are the check bits.

    Example:
        >>> parity = Parity(seed=0, size=300, where=slice(100, 164))
        >>> spins = torch.ones(1, 300)
        >>> parity.seal(spins)
        >>> bool(parity.holds(spins).all())
        True
        >>> wrong = spins.clone(); wrong[0, 7] *= -1
        >>> bool((parity.mended(wrong, torch.arange(300.0)[None]) == spins).all())
        True

    Source:
        Syndrome decoding of linear codes: Hamming 1950; random words for each position: Zobrist
        1970; trying the least reliable positions: Chase 1972.
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
        """Patterns (b, d) with one or two wrong spins turned; others stay as they are.

        Args:
            spins: ±1, (b, d).
            margin: how firmly each spin is held, (b, d): the least firm are tried.
        """
        self._to(spins)
        places = torch.arange(CHECK_BITS, device=spins.device)
        syndrome = (self._sum(spins).long() << places).sum(-1)  # (b,)
        weakest = margin.topk(min(_WEAKEST, margin.shape[-1]), largest=False).indices  # (b, m)
        words = self._words[weakest]
        none = words.new_zeros(len(words), 1)
        first = torch.cat([none, words], -1)  # column 0: no spin
        match = (first[:, :, None] ^ first[:, None, :]) == syndrome[:, None, None]
        match &= (syndrome != 0)[:, None, None]
        match &= torch.ones_like(match).triu(1)
        row, one, other = match.nonzero(as_tuple=True)
        answer = spins.clone()
        for place in (one, other):
            real = place > 0
            answer[row[real], weakest[row[real], place[real] - 1]] *= -1
        return answer

    def _sum(self, spins: Tensor) -> Tensor:
        """Sum of the words of positive spins modulo 2: 0 or 1, (b, 64)."""
        self._to(spins)
        return ((spins > 0).float() @ self._bits).remainder(2)

    def _to(self, spins: Tensor) -> None:
        self._words, self._bits = self._words.to(spins.device), self._bits.to(spins.device)
