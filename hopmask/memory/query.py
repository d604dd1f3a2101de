"""Query: one recall from a memory of masks, validated, and what proves its answers right."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hopmask._checks import is_whole
from hopmask.couplings.base import Couplings
from hopmask.errors import ConfigError, CueError
from hopmask.memory.chance import beyond_chance, population_means
from hopmask.memory.mask_penalty import MaskPenalty, on_states
from hopmask.patterns.joint_code import JointCode
from hopmask.recall.options import BASINS, OF_DATA, Search
from hopmask.recall.penalty import Penalty, PointingPenalty, check_penalty
from hopmask.recall.search import Found, search

_BEYOND_CHANCE = 5.0  # agreement with a damaged mask, in standard deviations of chance
_NEAR = 0.8  # overlap with a key from which on it is that key, but for a few spins


class Query:
    """What `MaskMemory.recall` searches for: a `hopmask.recall.search.Question`.

    Args:
        couplings: of the memory; not empty.
        code: of the patterns.
        numbered: how many task numbers were given out.
        tasks: numbers to recall, (rows,), checked; or None.
        one: whether a single number was given, or none: the answer then has no batch dimension
            unless a cue or guess brings one.
        cue: name -> values in [0, 1], (size,) or (batch, size); or None.
        guess: of key bits, (key bits,) or (batch, key bits); or None.
        penalty: of masks; or None.
        batch: rows to recall, where the penalty alone is given.
        options: of the search.

    Raises:
        CueError: nothing to recall by, or parts of different batch sizes.
        ConfigError: options that such a recall would ignore.
        PenaltyError: a penalty that cannot be called.
    """

    def __init__(
        self,
        couplings: Couplings,
        code: JointCode,
        numbered: int,
        *,
        tasks: Tensor | None = None,
        one: bool = True,
        cue: Mapping[str, Tensor] | None = None,
        guess: Tensor | None = None,
        penalty: MaskPenalty | None = None,
        batch: int | None = None,
        options: Search,
    ) -> None:
        self._couplings, self._code, self._options = couplings, code, options
        self.compare = self.proposes = penalty is not None or guess is not None
        if isinstance(penalty, PointingPenalty):
            raise ConfigError(
                "a penalty that points by another one is of hub couplings: dense couplings descend "
                "along the penalty itself. Give one without pointing()"
            )
        if not self.compare and (unread := options.given(*OF_DATA)):
            raise ConfigError(
                f"{unread} is of a recall by data: leave it out, or give a signature or a penalty"
            )
        parts: list[tuple[slice, Tensor]] = []
        if tasks is not None:
            keys = code.keys.of(tasks)
            parts.append((code.keys.where, keys[0] if one else keys))
        if guess is not None:
            parts.append((code.keys.where, guess))
        self._levels = [] if cue is None else code.layout.levels(cue)
        parts.extend(self._levels)
        if not parts and penalty is None:
            raise CueError("recall needs a task, cue=, signature= or penalty=, got none of them")
        check_penalty(penalty)
        if batch is not None and (parts or not is_whole(batch)):
            raise CueError(f"batch= ({batch!r}) goes with penalty= alone and must be positive")
        self.flat = batch is None and all(part.ndim == 1 for _, part in parts)
        self.cue = self._joined(parts) if parts else None
        self.rows = batch or (1 if self.cue is None else len(self.cue))
        self.penalty: Penalty | None = None
        if penalty is not None:
            self.penalty = on_states(penalty, code.layout, flat=self.flat)
        self.basins = options.max_basins or (BASINS if self.compare or tasks is not None else 1)
        several = self.compare and self.basins > 1
        self.spare = 1 + numbered - couplings.count if several else 0
        self._keys = code.keys_of(numbered, like=couplings.mean)
        self._tried = torch.zeros(
            self.rows, numbered, dtype=torch.bool, device=couplings.mean.device
        )
        self._wanted: Tensor | None = None
        self.held: Tensor | None = None
        if tasks is not None:
            self._wanted = tasks.to(self._keys.device).expand(self.rows)
            self.held = code.by_key(tasks, like=couplings.mean).expand(self.rows, -1)

    def answer(self) -> Found:
        """Search for the answer."""
        self._couplings.check_finite()
        return search(self._couplings, self, self._options)

    def check(self, state: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """States turned the right way round and mended; which are memories, proven (r,)."""
        tasks, agreement = self._code.keys.nearest(state, self._keys)
        near = agreement.abs() > _NEAR
        toward = self._couplings.mean if self.cue is None else self.cue[rows]
        wrong = torch.where(near, agreement < 0, (state * toward).sum(-1) < 0)
        state, verified = read(
            self._couplings, self._code, torch.where(wrong[:, None], -state, state), self._keys
        )
        tasks, _ = self._code.keys.nearest(state, self._keys)  # mending may have turned key bits
        self._tried[rows[verified], tasks[verified]] = True
        if self._wanted is None:
            return state, verified
        return state, verified & (tasks == self._wanted[rows])

    def propose(self, start: Tensor, rows: Tensor) -> Tensor:
        """The key, of those not tried, that the start points at most."""
        pointed = (start[:, self._code.keys.where] @ self._keys.T).masked_fill(
            self._tried[rows], -torch.inf
        )
        chosen = pointed.argmax(-1)
        self._tried[rows, chosen] = True
        cue = torch.zeros_like(start)
        cue[:, self._code.keys.where] = self._keys[chosen]
        return cue

    def tasks_of(self, state: Tensor) -> Tensor:
        """Numbers of the tasks whose keys are nearest to those of states (rows, d); (rows,)."""
        return self._code.keys.nearest(state, self._keys)[0]

    def recognized(self, found: Found) -> Tensor:
        """Which answers are recognized: ahead of the alternatives, or of chance; (rows,)."""
        if self.compare:
            return found.verified & (found.margin >= self._options.recognition_margin)
        if not self._levels:
            return found.verified
        body = self._code.layout.body
        means, _ = population_means(self._couplings.mean[body], self._couplings.count)
        cue = self._joined(self._levels).expand(self.rows, -1)[:, body]
        beyond = beyond_chance(cue, found.state[:, body], means)
        return found.verified & (beyond >= _BEYOND_CHANCE)

    def _joined(self, parts: list[tuple[slice, Tensor]]) -> Tensor:
        """Parts of a joint vector as (batch, d), 0 where nothing is known."""
        rows = {len(part) for _, part in parts if part.ndim == 2}
        if len(rows) > 1 or any(part.ndim > 2 for _, part in parts):
            raise CueError(f"tasks, cue and signature must have one batch size, got {sorted(rows)}")
        joined = self._code.blank(rows.pop() if rows else 1, like=self._couplings.mean)
        for where, part in parts:
            joined[:, where] = part.to(joined)
        return joined


def read(
    couplings: Couplings, code: JointCode, state: Tensor, keys: Tensor
) -> tuple[Tensor, Tensor]:
    """States (b, d) with their last wrong spins mended, and which are memories, bit for bit."""
    return code.read(state, state * couplings.field(state), keys)
