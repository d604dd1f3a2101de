"""How the content address of a hub memory is read: what follows from its sums, and evidence."""

from typing import NamedTuple

import torch
from torch import Tensor

from hopmask.errors import NumericalError
from hopmask.memory.features import RandomFeatures, check_range
from hopmask.memory.signature_sums import UNIT

_RIDGE = 1e-2  # of the mean variance of a feature
_SHARE = 0.25  # of what separates tasks, taken for the spread where no task gave two samples
_FLOOR = 1e-6  # of a mean feature squared: spread that is no more than rounding
_NOWHERE = 1e30  # against a group that is not there
_CHUNK = 1 << 23  # numbers that evidence takes at once
_NONSENSE = "the content address cannot be solved: its sums make no sense"


class Readout(NamedTuple):
    """What evidence needs of the sums; columns are the groups of task 0, of task 1, ...

    The formulas are those of `HubAddress`.

    Attributes:
        readout: S⁻¹ (m_tg − m̄), (F, K G).
        offset: ½ (m_tg − m̄)ᵀ S⁻¹ (m_tg − m̄) + log G_t, (K G,); huge of groups not there.
        centre: m̄, (F,).
        means: m_tg, (F, K G).
        addressed: which tasks have groups, bool (K,).
        spread: what chance leaves unexplained of one sample, tr S without λ.
        inverse: r; None where nothing is known of how samples vary within groups.
    """

    readout: Tensor
    offset: Tensor
    centre: Tensor
    means: Tensor
    addressed: Tensor
    spread: float
    inverse: float | None

    @classmethod
    def of(cls, link: Tensor, within: Tensor, *, inverse: float, addressed: Tensor) -> "Readout":
        """What follows from the means and the covariance of tasks.

        Args:
            link: m_tg, group after group, float64 (G F, K); what stands for a task that is not
                addressed has no meaning.
            within: C̄, float64 (F, F); 0 where no group gave two samples.
            inverse: r.
            addressed: which tasks have means, bool (K,).

        Raises:
            NumericalError: they make no sense.

        Example:
            >>> link = torch.tensor([[1.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
            >>> addressed = torch.tensor([True, True])
            >>> read = Readout.of(link, torch.eye(2).double(), inverse=0.0, addressed=addressed)
            >>> read.offset  # 1/2, but for λ
            tensor([0.4950, 0.4950])
        """
        hubs, features = len(addressed), len(within)
        means = (link * addressed).view(-1, features, hubs).permute(1, 2, 0).flatten(1)
        there = means.any(0)
        groups = there.view(hubs, -1).sum(-1)  # G_t
        if not 0 <= inverse <= 1 or bool((groups[addressed] == 0).any()):
            raise NumericalError(_NONSENSE)
        count = int(groups.sum())
        centre = means.sum(-1) / count
        apart = (means - centre[:, None]) * there
        noise = within * (1 + inverse)
        level = float(noise.diagonal().mean())
        known = level > 0
        if known:
            rounded = UNIT * features**0.5  # what rounding of its entries may take from a spread
            noise.diagonal().add_(max(_RIDGE * level, rounded))
        else:
            between = apart.square().sum(-1).mean() / count
            square = centre.square().mean()
            level = float(_SHARE * (between if count > 1 else square))
            level = max(level, _FLOOR * float(square), 1e-30)  # signatures that coincide
            noise.diagonal().add_(level)
        factor, failed = torch.linalg.cholesky_ex(noise)
        if bool(failed):
            raise NumericalError(_NONSENSE)
        readout = torch.cholesky_solve(apart, factor)
        prior = groups.double().log().repeat_interleave(len(there) // hubs)
        offset = (apart * readout).sum(0) / 2 + prior
        kind = torch.float32
        return cls(
            readout=readout.to(kind),
            offset=offset.masked_fill(~there, _NOWHERE).to(kind),
            centre=centre.to(kind),
            means=means.to(kind),
            addressed=groups > 0,
            spread=level * features,
            inverse=inverse if known else None,
        )

    def evidence(self, sets: Tensor, phi: RandomFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """Mean features (b, F), evidence (b, K) and strangeness (b,) of sets (b, s, n).

        Args:
            sets: of samples; a few are taken at a time.
            phi: the features of a sample.
        """
        at_once = max(1, _CHUNK // max(len(self.means), len(self.offset)))
        parts = [
            self._compared(part, phi, at_once)
            for part in torch.split(sets, max(1, at_once // sets.shape[1]))
        ]
        means, found, strange = (torch.cat(some) for some in zip(*parts, strict=True))
        return means, found, strange

    def of_groups(self, samples: Tensor, phi: RandomFeatures) -> Tensor:
        """log p(x, g | t) of samples (b, n), each by itself: (b, K, G); see `HubAddress`.

        Args:
            samples: a few are taken at a time.
            phi: the features of a sample.

        Raises:
            CueError: features out of range.
        """
        hubs = len(self.addressed)
        there = (self.offset < _NOWHERE).view(hubs, -1)
        nothing = -there.sum(-1, keepdim=True).float().log()  # of a sample of zeros
        found = []
        for part in torch.split(samples, max(1, _CHUNK // max(len(self.means), len(self.offset)))):
            features, silent = phi.of(part, 1.0), (part == 0).all(-1)
            each = self._each(features)
            check_range(features[~silent], each)
            each = torch.where(silent[:, None, None], nothing, each)
            found.append(each.masked_fill(~there, -torch.inf))
        return torch.cat(found)

    def _each(self, features: Tensor) -> Tensor:
        """e_tg − log G_t of features (..., F): (..., K, G); hugely negative of groups not there."""
        each = (features - self.centre) @ self.readout - self.offset
        return each.view(*each.shape[:-1], len(self.addressed), -1)

    def _compared(
        self, sets: Tensor, phi: RandomFeatures, at_once: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        hubs = len(self.addressed)
        groups = len(self.offset) // hubs
        if groups == 1:  # linear in the features: those of the mean will do
            parts = iter([phi.of_sets(sets, 1.0)[:, None]])
            count = 1
        else:
            parts = (phi.of(part, 1.0) for part in torch.split(sets, at_once, 1))
            count = sets.shape[1]
        mean = self.centre.new_zeros(len(sets), len(self.centre))
        found = mean.new_zeros(len(sets), hubs)
        share = mean.new_zeros(len(sets), hubs, groups)
        for features in parts:
            each = self._each(features)
            mean += features.sum(1) / count
            found += each.logsumexp(-1).sum(1) / count
            share += each.softmax(-1).sum(1) / count
        weight = self._weight(sets.shape[1])
        found = (weight * found).masked_fill(~self.addressed, -torch.inf)
        posterior = found.softmax(-1)[..., None] * share
        rest = mean - posterior.flatten(1) @ self.means.T
        return mean, found, rest.square().sum(-1) * (weight / self.spread)

    def _weight(self, samples: int) -> float:
        """For how many samples a set of s counts: (1 + r)/(1/s + r)."""
        return 1.0 if self.inverse is None else (1 + self.inverse) / (1 / samples + self.inverse)
