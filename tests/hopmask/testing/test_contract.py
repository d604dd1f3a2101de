"""Every rule that hopmask brings keeps the contract of learning rules."""

import torch
from torch import Tensor

from hopmask import Hebbian, Projection, Storkey, StorkeyMatrix
from hopmask.testing import LearningRuleContract


class TestHebbian(LearningRuleContract):
    make_rule = Hebbian
    order_free = forgets = True

    def definition(self, patterns: Tensor) -> Tensor:
        """C = Σ z zᵀ − k I."""
        return patterns.T @ patterns - len(patterns) * torch.eye(patterns.shape[1]).double()


class TestStorkey(LearningRuleContract):
    make_rule = Storkey

    def definition(self, patterns: Tensor) -> Tensor:
        """W_ij += (z_i z_j − z_i h_ji − h_ij z_j)/d, h_ij = Σ_{k ≠ i, j} W_ik z_k."""
        d = patterns.shape[1]
        weights = torch.zeros(d, d, dtype=torch.float64)
        for z in patterns:
            change = torch.zeros_like(weights)
            for i in range(d):
                for j in range(d):
                    if i != j:
                        others = [k for k in range(d) if k not in (i, j)]
                        h_ij, h_ji = weights[i, others] @ z[others], weights[j, others] @ z[others]
                        change[i, j] = (z[i] * z[j] - z[i] * h_ji - h_ij * z[j]) / d
            weights = weights + change
        return weights


class TestStorkeyMatrix(LearningRuleContract):
    make_rule = StorkeyMatrix
    zero_diagonal = False

    def definition(self, patterns: Tensor) -> Tensor:
        """Ψ += (z zᵀ − z (Ψz)ᵀ − (Ψz) zᵀ − I)/d."""
        d = patterns.shape[1]
        psi = torch.zeros(d, d, dtype=torch.float64)
        for z in patterns:
            h = psi @ z
            psi = psi + (z.outer(z) - z.outer(h) - h.outer(z) - torch.eye(d)) / d
        return psi


class TestProjection(LearningRuleContract):
    make_rule = Projection
    order_free = True

    def definition(self, patterns: Tensor) -> Tensor:
        """P = Z⁺Z."""
        return torch.linalg.pinv(patterns) @ patterns
