"""The content address of a hub memory: what tasks' data look like, in integers that add exactly."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from hopmask._checks import is_whole
from hopmask._room import check_room, zeros
from hopmask.errors import ConfigError, CueError, NumericalError, SaturationError
from hopmask.memory.features import RandomFeatures, Samples, check_range, checked
from hopmask.memory.groups import LARGEST as MOST_GROUPS
from hopmask.memory.groups import Groups
from hopmask.memory.readout import Readout
from hopmask.patterns.hadamard import OrthogonalKeys, transform

_UNIT = 2.0**-44  # of all sums: values up to 2^19 in int64
_LARGEST = 2.0**18  # of a sum
_RIDGE = 1e-2  # of the mean variance of a feature
_SHARE = 0.25  # of what separates tasks, taken for the spread where no task gave two samples
_FLOOR = 1e-6  # of a mean feature squared: spread that is no more than rounding
_NOWHERE = 1e30  # against a group that is not there
_CHUNK = 1 << 23  # numbers that evidence takes at once
_NONSENSE = "the content address cannot be solved: its sums make no sense"


class HubAddress:
    """Which task samples are of, by a Gaussian discriminant, in sums of constant size.

    A sample has the random features φ(x) (see `RandomFeatures`, in units of the data themselves).
    A task's samples may be of up to G groups, such as its classes. The mean m_tg of group g of task
    t stands under the task's key κ_t in a link L_g, and the covariance C_t within its groups is
    added to those of all others:

        L_g ← L_g + m_tg κ_tᵀ,   within ← within + C_t.

    Keys are orthogonal, so that m_tg = L_g κ_t / K, exactly. It is 0 for a group that the task does
    not have, and for no other, so that nothing else says which it has. With r = mean 1/s_tg over
    the numbers of samples and S = C̄ (1 + r) + λ, a sample's evidence for group g of task t is

        e_tg(x) = (m_tg − m̄)ᵀ S⁻¹ (φ(x) − m̄) − ½ (m_tg − m̄)ᵀ S⁻¹ (m_tg − m̄),

    its log density but for a constant of x, and that of a set of s samples for task t of G_t groups

        log p(x_1 ... x_s | t) + const = (1 + r)/(1 + s r) Σ_i log (Σ_g exp e_tg(x_i) / G_t).

    The factor says that means from few samples are the same mistake for all samples of a set: of
    one group, the evidence is that of the set's mean feature c under C̄ (1/s + r).

    All sums are whole multiples of 2⁻⁴⁴, so that adding, merging and forgetting means are exact and
    free of order. A task's covariance cannot be taken out again: it stays in the average that says
    what varies within groups. λ is 1 % of the mean variance of a feature; where no group has more
    than one sample, C̄ is taken as isotropic and a quarter of what separates the means, and the
    factor is 1/s.

    Args:
        keys: of the memory.
        hubs: K.
        features: F.
        groups: G.
        device: where the sums live.

    Attributes:
        sums: `within` (F (F + 1) / 2,), the upper triangle row by row; `link` (G F, K), L_0 to
            L_(G−1) one below the other; `scalars` (2,): tasks that gave a covariance, and the sum
            of their means of 1/s_tg over their groups. int64 all.
        addressed: which tasks it knows, bool (K,).
        length: of a sample; 0 until there is one.

    Raises:
        ConfigError: numbers of features or groups that nothing can be built from, or too little
            room.

    Example:
        >>> address = HubAddress(OrthogonalKeys(seed=0, born=4), hubs=4, features=64)
        >>> g = torch.Generator().manual_seed(0)
        >>> data = torch.randn(3, 50, 8, generator=g) + 2 * torch.randn(3, 1, 8, generator=g)
        >>> for task in range(3):
        ...     address.put(task, address.describe(data[task, 1:]))
        >>> evidence, _ = address.evidence(data[:, :1])
        >>> evidence.argmax(-1)
        tensor([0, 1, 2])

    Source:
        Linear discriminant analysis: Fisher 1936; on random features: McDonnell et al. 2023
        (RanPAC, arXiv 2307.02251); the sums over orthogonal keys are hopmask's own.
    """

    def __init__(
        self,
        keys: OrthogonalKeys,
        *,
        hubs: int,
        features: int,
        groups: int = 1,
        device: str | torch.device = "cpu",
    ) -> None:
        self._phi = RandomFeatures(seed=keys.seed, count=features)
        if not is_whole(groups) or groups > MOST_GROUPS:
            raise ConfigError(
                f"signature_groups must be a whole number from 1 to {MOST_GROUPS}, got {groups!r}"
            )
        triangle = features * (features + 1) // 2
        room = 8 * (triangle + groups * features * hubs)
        check_room(room, device, f"{features} signature features of {groups} groups")
        self.keys, self.features, self.groups, self.length = keys, features, groups, 0
        self.sums = {
            "within": zeros(triangle, dtype=torch.int64, device=device),
            "link": zeros(groups * features, hubs, dtype=torch.int64, device=device),
            "scalars": zeros(2, dtype=torch.int64, device=device),
        }
        self.addressed = zeros(hubs, dtype=torch.bool, device=device)
        self._ready: Readout | None = None

    @property
    def hubs(self) -> int:
        """K."""
        return len(self.addressed)

    @property
    def count(self) -> int:
        """Number of tasks it knows."""
        return int(self.addressed.sum())

    @property
    def nbytes(self) -> int:
        """Bytes of the sums and flags; independent of `count`."""
        return self.addressed.nbytes + sum(value.nbytes for value in self.sums.values())

    def to(self, device: str | torch.device) -> None:
        """Move the sums to a device."""
        self.sums = {name: value.to(device) for name, value in self.sums.items()}
        self.addressed = self.addressed.to(device)
        self._ready = None

    def restore(self, sums: Mapping[str, Tensor], addressed: Tensor, *, length: int) -> None:
        """Take over sums that were read from a file; they are kept."""
        self.sums, self.addressed, self.length = dict(sums), addressed, length
        self._ready = None

    def describe(self, samples: Samples, groups: Groups | None = None) -> "Addition":
        """What `put` needs of one task's samples; nothing is changed.

        Args:
            samples: see `RandomFeatures.describe`.
            groups: see `GroupLabels`.

        Raises:
            CueError: as `RandomFeatures.describe`, or values so large or small that no sum could
                hold them.
            SaturationError: so many covariances were added that the sum would leave its range.
        """
        described = self._phi.describe(
            samples,
            device=self.addressed.device,
            scale=1.0,
            length=self.length,
            groups=groups,
            group_count=self.groups,
        )
        within = described.covariance[_triangle(described.covariance)]
        largest = max(float(within.abs().max()), float(described.means.abs().max()))
        if largest * self.hubs > _LARGEST:
            raise CueError(
                f"the signature is too large: features of {largest:.3g} do not fit into sums over "
                f"{self.hubs} tasks. Scale signatures to values of about 1"
            )
        means, there = _whole(described.means), described.counts > 0
        if not bool(means[there].any(-1).all()):
            raise CueError("the signature is too small: scale signatures to values of about 1")
        inverse = (1 / described.counts[there].double()).mean()
        scalars = torch.stack([torch.ones_like(inverse), inverse]) * (described.freedom > 0)
        added = Addition(means.flatten(), _whole(within), _whole(scalars), described.length)
        self._check_range(added.within, added.scalars)
        return added

    def put(self, task: int, added: "Addition") -> None:
        """Learn a task, or learn it anew: its means take the place of those before."""
        means = added.means
        if bool(self.addressed[task]):
            means = means - self._means(task)
        self.sums["link"] += means[:, None] * self._key(task)
        self.sums["within"] += added.within
        self.sums["scalars"] += added.scalars
        self.addressed[task], self.length = True, added.length
        self._ready = None

    def drop(self, task: int) -> None:
        """Forget a task's means, exactly. Its covariance stays in the average of all."""
        if bool(self.addressed[task]):
            self.sums["link"] -= self._means(task)[:, None] * self._key(task)
            self.addressed[task] = False
            self._ready = None

    def add(self, other: "HubAddress") -> None:
        """Add what another address knows of other tasks, exactly."""
        self.check_addition(other)
        for name, value in other.sums.items():
            self.sums[name] += value.to(self.addressed.device)
        self.addressed |= other.addressed.to(self.addressed.device)
        self.length = self.length or other.length
        self._ready = None

    def check_addition(self, other: "HubAddress") -> None:
        """Raise unless another address can be added.

        Raises:
            ConfigError: it has other features or groups, or samples of another length.
            SaturationError: the sum of covariances would leave its range.
        """
        mine, theirs = (self.features, self.groups), (other.features, other.groups)
        if mine != theirs:
            raise ConfigError(
                f"one address has {mine[0]} features of {mine[1]} groups, the other {theirs[0]} of "
                f"{theirs[1]}"
            )
        if self.length and other.length and self.length != other.length:
            raise ConfigError(
                f"one memory's signatures have length {self.length}, the other's {other.length}"
            )
        self._check_range(other.sums["within"], other.sums["scalars"])

    def check_growth(self) -> None:
        """Raise unless the hubs can be doubled.

        Raises:
            ConfigError: too little room.
            SaturationError: a mean is too large for sums over so many tasks.
        """
        hubs, link = 2 * self.hubs, self.sums["link"]
        check_room(2 * link.nbytes, self.addressed.device, f"the content address of {hubs} hubs")
        largest = float(transform(link).abs().max()) * _UNIT / self.hubs
        if largest * hubs > _LARGEST:
            raise SaturationError(
                f"the content address cannot grow to {hubs} hubs: features of {largest:.3g} do not "
                "fit into sums over so many tasks. Nothing was changed: scale the signatures of "
                "all tasks to values of about 1"
            )

    def grow(self) -> None:
        """Twice the hubs: L ← [L L]."""
        self.sums["link"] = self.sums["link"].repeat(1, 2)
        self.addressed = torch.cat([self.addressed, torch.zeros_like(self.addressed)])
        self._ready = None

    def evidence(self, sets: Tensor) -> tuple[Tensor, Tensor]:
        """log p(set | task) for sets of samples (b, s, n), up to a constant of the set.

        A set of zeros alone says nothing: its evidence is 0 for all tasks, and its strangeness
        infinite.

        Returns:
            Evidence (b, K), by task number, −∞ where the address knows none; and how strange the
            sets are, (b,): ‖c − Σ p_tg m_tg‖² with p_tg the posterior of tasks, and of groups
            within them on average over the set, over what chance leaves unexplained,
            tr C̄ (1/s + r). It is about 1 for data of a task learned.

        Raises:
            CueError: not finite samples of the length of all others, or no task is known.
            NumericalError: the sums make no sense.
        """
        sets = checked(sets, self.length).to(self.addressed.device)
        if self.count == 0:
            raise CueError("no task was stored with a signature: give one to store(...)")
        if self._ready is None:
            self._ready = self._solved()
        samples = sets.shape[1]
        at_once = max(1, _CHUNK // max(self.features, self.groups * self.hubs))
        parts = [
            self._compared(self._ready, part, at_once)
            for part in torch.split(sets, max(1, at_once // samples))
        ]
        means, found, strange = (torch.cat(some) for some in zip(*parts, strict=True))
        silent = (sets == 0).flatten(1).all(-1)
        check_range(means[~silent], strange)
        nothing = torch.where(self.addressed, 0.0, -torch.inf)
        found = torch.where(silent[:, None], nothing, found)
        return found, strange.masked_fill(silent, torch.inf)

    def _compared(
        self, solved: Readout, sets: Tensor, at_once: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean features (b, F), evidence (b, K) and strangeness (b,) of sets (b, s, n)."""
        if self.groups == 1:  # linear in the features: those of the mean will do
            parts = iter([self._phi.of_sets(sets, 1.0)[:, None]])
            count = 1
        else:
            parts = (self._phi.of(part, 1.0) for part in torch.split(sets, at_once, 1))
            count = sets.shape[1]
        mean = solved.centre.new_zeros(len(sets), self.features)
        found = mean.new_zeros(len(sets), self.hubs)
        share = mean.new_zeros(len(sets), self.hubs, self.groups)
        for features in parts:
            each = (features - solved.centre) @ solved.readout - solved.offset
            each = each.view(*each.shape[:2], self.hubs, self.groups)
            mean += features.sum(1) / count
            found += each.logsumexp(-1).sum(1) / count
            share += each.softmax(-1).sum(1) / count
        weight = solved.weight(sets.shape[1])
        found = (weight * found).masked_fill(~self.addressed, -torch.inf)
        posterior = found.softmax(-1)[..., None] * share
        rest = mean - posterior.flatten(1) @ solved.means.T
        return mean, found, rest.square().sum(-1) * (weight / solved.spread)

    def _solved(self) -> Readout:
        link = self.keys.by_task(transform(self.sums["link"])).double() * (_UNIT / self.hubs)
        link = (link * self.addressed).view(self.groups, self.features, self.hubs)
        means = link.permute(1, 2, 0).flatten(1)
        there = means.any(0)
        groups = there.view(self.hubs, self.groups).sum(-1)  # G_t
        spreads, inverse = (self.sums["scalars"].double() * _UNIT).tolist()
        ratio = inverse / max(spreads, 1)
        if not 0 <= ratio <= 1 or bool((groups[self.addressed] == 0).any()):
            raise NumericalError(_NONSENSE)
        count = int(groups.sum())
        centre = means.sum(-1) / count
        apart = (means - centre[:, None]) * there
        noise = means.new_zeros(self.features, self.features)
        noise[_triangle(noise)] = self.sums["within"].double() * (_UNIT / max(spreads, 1))
        noise = (noise + noise.triu(1).T) * (1 + ratio)
        level = float(noise.diagonal().mean())
        known = level > 0
        if known:
            noise.diagonal().add_(_RIDGE * level)
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
        prior = groups.double().log().repeat_interleave(self.groups)
        offset = (apart * readout).sum(0) / 2 + prior
        kind = torch.float32
        return Readout(
            readout=readout.to(kind),
            offset=offset.masked_fill(~there, _NOWHERE).to(kind),
            centre=centre.to(kind),
            means=means.to(kind),
            spread=level * self.features,
            inverse=ratio if known else None,
        )

    def _check_range(self, within: Tensor, scalars: Tensor) -> None:
        """Raise SaturationError if the sums of covariances would leave their range."""
        for name, added in (("within", within), ("scalars", scalars)):
            total = _largest(self.sums[name]) + _largest(added)
            if total >= 2.0**62:
                raise SaturationError(
                    "the sum of the tasks' covariances is full: scale signatures to values of "
                    "about 1, and give a task's signature once"
                )

    def _means(self, task: int) -> Tensor:
        """m_tg in whole units, group after group, int64 (G F,)."""
        return (self.sums["link"] * self._key(task)).sum(-1) // self.hubs

    def _key(self, task: int) -> Tensor:
        number = torch.tensor([task], device=self.addressed.device)
        return self.keys.of(number, hubs=self.hubs, dtype=torch.int64)[0]


class Addition(NamedTuple):
    """What a task adds to the sums, in whole units, and the length of its samples."""

    means: Tensor
    within: Tensor
    scalars: Tensor
    length: int


def _triangle(square: Tensor) -> Tensor:
    """Which entries of a square matrix are of its upper triangle."""
    return torch.ones_like(square, dtype=torch.bool).triu()


def _largest(values: Tensor) -> float:
    """Largest size of whole numbers."""
    return float(values.double().abs().max())


def _whole(values: Tensor) -> Tensor:
    """Values in whole units, int64."""
    return (values.double() / _UNIT).round().long()
