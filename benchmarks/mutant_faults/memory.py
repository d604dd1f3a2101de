"""Faults of the memory: keys, check bits, the content address, capacity, and what is refused."""

from mutant_faults.fault import Fault

FAULTS = (
    # Memory
    Fault(
        "another-task",  # is an answer to the number of one
        "hopmask/memory/query.py",
        "verified & (tasks == self._wanted[rows])",
        "verified",
    ),
    Fault(
        "tried-rows",  # of the first rows, not of those still searching
        "hopmask/memory/query.py",
        "self._tried[rows], -torch.inf",
        "self._tried[: len(rows)], -torch.inf",
    ),
    # Keys and check bits
    Fault(
        "check-bits-skipped",
        "hopmask/patterns/joint_code.py",
        "self._parity.holds(state) & (agreement == 1)",
        "agreement == 1",
        also=("memory/test_mask_memory",),
    ),
    Fault(
        "mended-unsolved",  # spins turned although the equations have no solution
        "hopmask/patterns/check_bits.py",
        "torch.where(turned & solved[:, None], -1, 1)",
        "torch.where(turned, -1, 1)",
    ),
    Fault(
        "key-signed",
        "hopmask/patterns/keys.py",
        "nearest = overlaps.abs().argmax(-1)",
        "nearest = overlaps.argmax(-1)",
    ),
    # Content address
    Fault(
        "address-not-centred",
        "hopmask/memory/address.py",
        "solved.prior + (means - solved.centre) @ solved.readout",
        "solved.prior + means @ solved.readout",
    ),
    Fault(
        "address-fades",  # later tasks weigh more: sums depend on the order
        "hopmask/memory/address.py",
        'self.sums["link"].addr_(mean, key, alpha=sign)',
        'self.sums["link"].addr_(mean, key, beta=0.99, alpha=sign)',
    ),
    Fault(
        "address-one-first",  # [1 κ], read as [κ 1]
        "hopmask/memory/address.py",
        "torch.cat([key, key.new_ones(1)])",
        "torch.cat([key.new_ones(1), key])",
    ),
    # Capacity
    Fault(
        "bisection-short",  # ends one too early
        "hopmask/capacity/bisection.py",
        "while bad - good > 1:",
        "while bad - good > 2:",
        also=(
            "capacity/test_measurement",
            "capacity/test_headroom",
        ),
    ),
    Fault(
        "student-tail",  # 5 % of it on one side, not on both
        "hopmask/capacity/measurement.py",
        "student.ppf(0.5 + _CONFIDENCE / 2, ",
        "student.ppf(_CONFIDENCE, ",
    ),
    Fault(
        "lean-not-rooted",
        "hopmask/memory/chance.py",
        "(mean - middle) * sqrt(share)",
        "(mean - middle) * share",
        also=("capacity/test_measurement",),
    ),
    Fault(
        "parent-not-rooted",
        "hopmask/capacity/mask_sources.py",
        "max(0.0, (overlap - bias**2) / (1 - bias**2)) ** 0.5",
        "max(0.0, (overlap - bias**2) / (1 - bias**2))",
    ),
    Fault(
        "damage-short",
        "hopmask/capacity/damage.py",
        "number = round(self.share * size)",
        "number = max(0, round(self.share * size) - 1)",
    ),
    # What is recognized, refused, and kept whole
    Fault(
        "chance-of-half-masks",  # whatever masks are like
        "hopmask/memory/query.py",
        "means, _ = population_means(",
        "means, _ = 0 * self._couplings.mean[body], population_means(",
        ("memory/test_chance",),
    ),
    Fault(
        "duplicate-unproven",
        "hopmask/memory/duplicates.py",
        "tasks[verified & (agreement > 0) & same]",
        "tasks[(agreement > 0) & same]",
    ),
    Fault(
        "forgotten-numbers-count",  # as basins visited
        "hopmask/memory/query.py",
        "self.spare = 1 + numbered - couplings.count if several else 0",
        "self.spare = 1 if several else 0",
    ),
    Fault(
        "half-stored",  # the address learns what the couplings refuse
        "hopmask/memory/address.py",
        "self.sums.update(before)",
        "pass",
        ("memory/test_state",),
    ),
    Fault(
        "autocast",  # reaches the check bits and the couplings
        "hopmask/_precision.py",
        "stack.enter_context(torch.autocast(kind, enabled=False))",
        "pass",
        ("test_precision",),
    ),
    Fault(
        "negative-for-positive",
        "hopmask/couplings/dense.py",
        "return share > 0.5",
        "return abs(share) > 0.5",
    ),
    Fault(
        "rows-of-others",  # a penalty of rows is not narrowed
        "hopmask/memory/mask_penalty.py",
        "self.penalty.of_rows(rows)",
        "self.penalty.of_rows(rows.flip(0))",
    ),
)
