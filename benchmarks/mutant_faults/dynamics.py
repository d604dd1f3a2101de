"""Faults of learning rules, recall and its search."""

from mutant_faults.fault import Fault

FAULTS = (
    # Learning rules
    Fault(
        "storkey-sign",  # + h hᵀ
        "hopmask/couplings/rules.py",
        "_add_square(psi, h / sqrt(pattern.numel()), -1)",
        "_add_square(psi, h / sqrt(pattern.numel()), 1)",
    ),
    Fault("storkey-scale", "hopmask/couplings/rules.py", "scale=1 + 2 / d)", "scale=1 - 2 / d)"),
    Fault(
        "storkey-diagonal",  # left in
        "hopmask/couplings/rules.py",
        "_rank_two(psi, pattern, scale=1 + 2 / d)\n        psi.fill_diagonal_(0)",
        "_rank_two(psi, pattern, scale=1 + 2 / d)",
    ),
    Fault(
        "storkey-transposed",  # z hᵀ twice, in place of z hᵀ and h zᵀ
        "hopmask/couplings/rules.py",
        "_add_square(psi, u / sqrt(pattern.numel()), 1)\n"
        "    _add_square(psi, h / sqrt(pattern.numel()), -1)",
        "psi.addr_(pattern, u - h, alpha=1 / pattern.numel())",
    ),
    Fault(
        "matrix-identity",  # no − I
        "hopmask/couplings/rules.py",
        "scale=1.0)\n        psi.diagonal().sub_(1 / pattern.numel())",
        "scale=1.0)",
    ),
    Fault(
        "residual-not-squared",
        "hopmask/couplings/rules.py",
        "along * along.abs() / _square(state).mul(_square(answer)).clamp_min(1e-30)",
        "along / _square(state).mul(_square(answer)).clamp_min(1e-30).sqrt()",
    ),
    Fault(
        "projection-diagonal",  # felt
        "hopmask/couplings/rules.py",
        "return state @ psi - state * psi.diagonal()",
        "return state @ psi",
    ),
    Fault(
        "projection-rounding",  # not orthogonalised again
        "hopmask/couplings/rules.py",
        "rest = pattern - pattern @ psi\n        rest = rest - rest @ psi",
        "rest = pattern - pattern @ psi",
    ),
    # Reservoir
    Fault(
        "mean-off-by-one",
        "hopmask/couplings/dense.py",
        "self.mean += (pattern - self.mean) / self.count",
        "self.mean += (pattern - self.mean) / (self.count + 1)",
    ),
    Fault(
        "forget-mean",  # not divided
        "hopmask/couplings/dense.py",
        "self.mean += (self.mean - pattern) / self.count",
        "self.mean += self.mean - pattern",
    ),
    Fault(
        "duplicate-threshold",  # beyond the 1/4 of a mixture of three patterns
        "hopmask/couplings/dense.py",
        "_DUPLICATE_RESIDUAL = 0.2",
        "_DUPLICATE_RESIDUAL = 0.3",
    ),
    # Descent
    Fault(
        "ties-turn",
        "hopmask/patterns/spins.py",
        "torch.where(field == 0, state, field)",
        "torch.where(field == 0, -state, field)",
        also=("recall/test_descent",),
    ),
    Fault(
        "annealing-heats",
        "hopmask/recall/dynamics.py",
        "self.hot * (self.cold / self.hot) **",
        "self.cold * (self.hot / self.cold) **",
    ),
    Fault(
        "paper-late",
        "hopmask/recall/dynamics.py",
        "share = (t + 1) / self.steps",
        "share = t / self.steps",
    ),
    Fault(
        "deflation-raw",  # states as they are, no orthonormal basis
        "hopmask/recall/landscape.py",
        "rest = self.outside(self.outside(state))",
        "rest = state",
        also=("recall/test_search",),
    ),
    Fault(
        "penalty-rows",  # of the first rows, not of those still searching
        "hopmask/recall/penalty.py",
        "return self.whole(filled.index_copy(0, self.rows, state))[self.rows]",
        "return self.whole(filled.index_copy(0, self.rows, state))[: len(self.rows)]",
        also=("recall/test_search",),
    ),
    # Search
    Fault(
        "highest-value",
        "hopmask/recall/search.py",
        "taken = (value < lowest) |",
        "taken = (value > lowest) |",
    ),
    Fault(
        "next-lowest",  # the lowest itself, where the last basin is the best
        "hopmask/recall/search.py",
        "torch.minimum(self.next[rows], torch.maximum(lowest, value))",
        "torch.minimum(self.next[rows], value)",
        also=("memory/test_mask_memory",),
    ),
    Fault(
        "one-basin-more",
        "hopmask/recall/search.py",
        "most = min(question.basins, couplings.count)",
        "most = min(question.basins, couplings.count) + 1",
    ),
)
