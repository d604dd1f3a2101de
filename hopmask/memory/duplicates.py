"""Duplicates: whether the masks of a task are in a memory already, whatever their number."""

import torch
from torch import Tensor

from hopmask.couplings.base import Couplings
from hopmask.errors import DuplicateError
from hopmask.memory.health import recalled_by_key
from hopmask.memory.query import read
from hopmask.patterns.check_bits import MENDED
from hopmask.patterns.joint_code import JointCode
from hopmask.recall.descent import descend
from hopmask.recall.dynamics import SETTLE
from hopmask.recall.landscape import Landscape

_FEW = 64  # mask bits, up to which they are too few to point at the other bits of a pattern


def refuse_duplicate(
    couplings: Couplings, code: JointCode, numbered: int, body: Tensor, *, but: int | None = None
) -> None:
    """Raise DuplicateError if these very masks are stored, proven by check bits.

    Large masks are recalled by themselves. Masks of few bits do not determine the rest of a
    pattern, so they are compared with what each number recalls.

    Args:
        couplings: of the memory.
        code: of the patterns.
        numbered: how many task numbers were given out.
        body: the masks, ±1, (bits,).
        but: a number that does not count.
    """
    if couplings.count == 0:
        return
    if code.bits <= _FEW:
        numbers = torch.arange(numbered, device="cpu")
        state, held, _ = recalled_by_key(
            couplings, code, numbers, bits=code.keys.bits, numbered=numbered
        )
        same = held & (state[:, code.layout.body] == body).all(-1)
        found = numbers.to(same.device)[same]
    else:
        found = _recalled_by_itself(couplings, code, numbered, body)
    found = found[found != -1 if but is None else found != but]
    if len(found):
        task = int(found[0])
        raise DuplicateError(
            f"these masks are stored already, as task {task}: a second copy would distort both. "
            f"Nothing was stored; use recall({task})"
        )


def _recalled_by_itself(
    couplings: Couplings, code: JointCode, numbered: int, body: Tensor
) -> Tensor:
    """Number of the verified memory that masks recall, if these are its masks; (0,) or (1,)."""
    probe = code.blank(1, like=couplings.mean)
    probe[:, code.layout.body] = body
    answer = couplings.field(probe)[:, code.layout.body]
    nothing = torch.empty(0, dtype=torch.long, device=probe.device)
    if int((answer * body <= 0).sum()) > MENDED:
        return nothing
    keys = code.keys_of(numbered, like=couplings.mean)
    settled = descend(Landscape(couplings, None, 1), probe, SETTLE).state
    state, verified = read(couplings, code, settled, keys)
    tasks, agreement = code.keys.nearest(state, keys)
    same = (state[:, code.layout.body] == body).all(-1)
    return tasks[verified & (agreement > 0) & same]
