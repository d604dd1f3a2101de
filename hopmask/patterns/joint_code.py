"""Code: how a task's number and masks become one joint ±1 vector, and how one is read back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hopmask.patterns.check_bits import CHECK_BITS, CheckBits
from hopmask.patterns.keys import Keys
from hopmask.patterns.layout import Layout, Size


class JointCode:
    """The joint vector [key bits | check bits | masks of all layers] of one memory.

    Key bits stand for the task's number, check bits prove a vector right and mend it. One vector
    for all layers, in one reservoir: they cannot disagree about the task.

    Args:
        sizes: name of each layer -> number of bits, or shape, of its mask.
        seed: the memory's seed.
        key_bits: bits of a key.

    Raises:
        ConfigError: sizes or bits that nothing can be built from.

    Example:
        >>> code = JointCode({"hidden": 100}, seed=0, key_bits=64)
        >>> pattern = code.pattern(3, torch.ones(100), like=torch.zeros(1))
        >>> pattern.shape
        torch.Size([1, 228])
        >>> state, right = code.read(pattern, pattern, code.keys_of(5, like=pattern))
        >>> bool(right)
        True
    """

    def __init__(self, sizes: Mapping[str, Size], *, seed: int, key_bits: int) -> None:
        self.keys = Keys(seed=seed, bits=key_bits)
        self.layout = Layout(sizes, head=key_bits + CHECK_BITS)
        checked = slice(key_bits, key_bits + CHECK_BITS)
        self._parity = CheckBits(seed=seed, size=self.layout.size, where=checked)

    @property
    def size(self) -> int:
        """d, spins of a joint vector."""
        return self.layout.size

    @property
    def bits(self) -> int:
        """Bits of one task's masks."""
        return self.layout.body.stop - self.layout.body.start

    def blank(self, rows: int, *, like: Tensor) -> Tensor:
        """Joint vectors of which nothing is known: zeros (rows, d)."""
        return like.new_zeros(rows, self.size)

    def pattern(self, task: int, body: Tensor, *, like: Tensor) -> Tensor:
        """What is stored for a task's number and masks (±1, (body,)): (1, d)."""
        made = self.by_key(torch.tensor([task], device="cpu"), like=like)
        made[:, self.layout.body] = body
        self._parity.seal(made)
        return made

    def by_key(self, tasks: Tensor, *, like: Tensor, bits: int | None = None) -> Tensor:
        """Cues (k, d) of the keys, or the first so many bits of the keys, of tasks (k,)."""
        where = slice(0, bits or self.keys.bits)
        cue = self.blank(len(tasks), like=like)
        cue[:, where] = self.keys.of(tasks)[:, where].to(like)
        return cue

    def keys_of(self, count: int, *, like: Tensor) -> Tensor:
        """Keys of the numbers below `count`, (count, key bits): made on demand, never kept."""
        return self.keys.of(torch.arange(count, device="cpu")).to(like)

    def read(self, state: Tensor, firm: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """States (b, d) with their last wrong spins mended, and which are stored patterns, proven.

        Args:
            state: ±1.
            firm: how firmly each spin is held, z_i h_i.
            keys: of all tasks, (count, key bits).
        """
        state = self._parity.mended(state, firm)
        _, agreement = self.keys.nearest(state, keys)
        return state, self._parity.holds(state) & (agreement == 1)
