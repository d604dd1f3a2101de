"""How full a memory is: measured on memories it gives back, not on formulas alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hopmask.memory.reservoir import Reservoir
from hopmask.patterns.check_bits import MENDED
from hopmask.patterns.joint_code import Code
from hopmask.recall.descent import descend
from hopmask.recall.dynamics import SETTLE

_OLDEST = 4  # tasks, from the first, that are asked after each store


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What a memory holds, and how safely.

    Attributes:
        rule: name of the learning rule.
        tasks: tasks stored.
        spins: d, size of the joint vector.
        load: α = tasks / d.
        nbytes: bytes of the state.
        packed_nbytes: bytes of a plain list of the same masks, one bit each.
        sampled: tasks that were recalled by their number for this report.
        recalled: share of them that came back as verified memories; where some were forgotten, an
            estimate, since the memory does not know which.
        recalled_by_half: the same by half of their keys: the first to fall as the memory fills.
        unstable: of the sampled task that is worst off, the spins that the energy alone would flip
            and the check bits mend; they mend 32 at most.

    Example:
        >>> import torch
        >>> from hopmask import MaskMemory
        >>> memory = MaskMemory({"hidden": 256})
        >>> memory.store({"hidden": torch.arange(256) % 3 == 0})
        0
        >>> memory.report().recalled
        1.0

    Source:
        Stability of a spin, z_i h_i > 0: Gardner 1988.
    """

    rule: str
    tasks: int
    spins: int
    load: float
    nbytes: int
    packed_nbytes: int
    sampled: int
    recalled: float
    recalled_by_half: float
    unstable: int

    def __str__(self) -> str:
        return (
            f"{self.tasks} tasks in {self.spins} spins (rule '{self.rule}', load {self.load:.4f}): "
            f"{self.recalled:.0%} of {self.sampled} recalled by number, "
            f"{self.recalled_by_half:.0%} by half of their keys, at most {self.unstable} unstable "
            "spins"
        )


def report_of(
    reservoir: Reservoir, code: Code, *, sample: int, known: int, nbytes: int
) -> LoadReport:
    """Recall some tasks by their number and measure how safely they are held.

    Args:
        reservoir: not empty.
        code: of its patterns.
        sample: how many tasks, spread evenly.
        known: numbers given so far.
        nbytes: of the whole memory's state.
    """
    tasks = torch.linspace(0, known - 1, min(sample, known)).round().long()
    state, held, _ = recalled_by_key(reservoir, code, tasks, bits=code.keys.bits, known=known)
    _, easily, _ = recalled_by_key(reservoir, code, tasks, bits=code.keys.bits // 2, known=known)
    unstable = reservoir.unstable(state[held])
    of_all = known / reservoir.count  # numbers that were forgotten are among the sample
    return LoadReport(
        rule=reservoir.rule.name,
        tasks=reservoir.count,
        spins=reservoir.size,
        load=reservoir.load,
        nbytes=nbytes,
        packed_nbytes=reservoir.count * -(-code.bits // 8),
        sampled=len(tasks),
        recalled=float((held.double().mean() * of_all).clamp(max=1)),
        recalled_by_half=float((easily.double().mean() * of_all).clamp(max=1)),
        unstable=int(unstable.max()) if len(unstable) else 0,
    )


def overload(reservoir: Reservoir, code: Code, *, task: int, pattern: Tensor, known: int) -> str:
    """What to warn of after a task was stored as `pattern` (1, d); "" while all is well.

    The newest task is recalled, and, unless some were forgotten and it is not known which, the
    oldest, under storkey the first to fade where masks overlap, and another one at each store. One
    is lost, or about to be: half of its key no longer recalls it, or mending had to reach beyond an
    eighth of the spins that it can mend.
    """
    wrong = int(reservoir.unstable(pattern)[0])
    full = lost = ""
    if wrong > MENDED:
        lost = f"task {task} is stored, but {wrong} of its spins would flip"
    elif reservoir.count > 1:
        earlier = [*range(min(task, _OLDEST)), task * 40503 % 65521 % max(task, 1)]
        asked = torch.tensor([*(earlier if known == reservoir.count else []), task])
        bits = code.keys.bits
        _, held, reach = recalled_by_key(reservoir, code, asked, bits=bits // 2, known=known)
        if not bool(held.all()):
            weak = int(asked[held.logical_not().cpu()][0])
            full = f"task {weak} is recalled by its number, but not by half of its key"
            _, held, reach = recalled_by_key(reservoir, code, asked, bits=bits, known=known)
        if not bool(held.all()):
            lost = f"task {int(asked[held.logical_not().cpu()][0])} is no longer recalled"
        if not full and int(reach.max()) > MENDED // 8:
            weak, far = int(asked[int(reach.argmax())]), int(reach.max())
            full = (
                f"task {weak} is recalled by mending as far as its {far} least firm spins, and the "
                f"check bits mend {MENDED}"
            )
    if not lost and not full:
        return ""
    rule = reservoir.rule.name
    remedy = "a larger memory" + ("" if rule == "projection" else " or rule 'projection'")
    return (
        f"the memory is {'too full' if lost else 'full'} ({reservoir.count} tasks, rule '{rule}', "
        f"{reservoir.size} spins, load {reservoir.load:.3f}): {lost or full}. Use {remedy}"
        f"{'' if lost else ' before the next task'}"
    )


def recalled_by_key(
    reservoir: Reservoir, code: Code, tasks: Tensor, *, bits: int, known: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Recall some tasks (k,) by the first bits of their keys.

    Returns:
        The states (k, d); which are these tasks (k,); and how far mending had to reach: the place,
        from 1, of the firmest spin that was turned, among all in order of firmness, or 0 (k,).
    """
    cue = code.by_key(tasks, like=reservoir.mean, bits=bits)
    landscape = reservoir._landscape(None, len(tasks)).holding(cue)
    keys = code.keys_of(known, like=cue)
    settled = descend(landscape, cue, SETTLE).state
    firm = settled * reservoir.field(settled)
    state, verified = code.read(settled, firm, keys)
    found, _ = code.keys.nearest(state, keys)
    place = firm.argsort(-1).argsort(-1) + 1
    reach = torch.where(state != settled, place, 0).amax(-1)
    return state, verified & (found == tasks.to(found)), reach
