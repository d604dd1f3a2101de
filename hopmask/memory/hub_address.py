"""The content address of a hub memory: what tasks' data look like, in integers that add exactly."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from hopmask._room import check_room, zeros
from hopmask.errors import ConfigError, CueError, NumericalError, SaturationError
from hopmask.memory.features import RandomFeatures, Samples, check_range, checked
from hopmask.patterns.hadamard import OrthogonalKeys, transform

_UNIT = 2.0**-44  # of all sums: values up to 2^19 in int64
_LARGEST = 2.0**18  # of a sum
_RIDGE = 1e-2  # of the mean variance of a feature
_SHARE = 0.25  # of what separates tasks, taken for the spread where no task gave two samples
_FLOOR = 1e-6  # of a mean feature squared: spread that is no more than rounding
_KEPT = 4  # read-outs, for so many numbers of samples
_SPREAD, _INVERSE = range(2)  # scalars: descriptions of more than one sample, Σ 1/s over them


class _Solved(NamedTuple):
    """For sets of so many samples: S⁻¹ m_t (F, K) and m_tᵀ S⁻¹ m_t (K,) of means less m̄ (F,), the
    means m_t (F, K), and what chance leaves unexplained."""

    readout: Tensor
    square: Tensor
    centre: Tensor
    means: Tensor
    spread: float


class HubAddress:
    """Which task samples are of, by a Gaussian discriminant, in sums of constant size.

    A sample has the random features φ(x) (see `RandomFeatures`, in units of the data themselves).
    Of each task, the mean m_t stands under its key κ_t in the link L, and its covariance C_t is
    added to those of all others:

        L ← L + m_t κ_tᵀ,   within ← within + C_t.

    Keys are orthogonal, so that m_t = L κ_t / K, exactly. With S = C̄ (1/s + mean 1/s_t) + λ for s
    samples of mean feature c, the evidence for task t is

        log p(c | t) + const = (m_t − m̄)ᵀ S⁻¹ (c − m̄) − ½ (m_t − m̄)ᵀ S⁻¹ (m_t − m̄).

    All sums are whole multiples of 2⁻⁴⁴, so that adding, merging and forgetting means are exact and
    free of order. A task's covariance cannot be taken out again: it stays in the average that says
    what varies within tasks. λ is 1 % of the mean variance of a feature in c; where no task gave
    more than one sample, C̄ is taken as isotropic and a quarter of what separates tasks.

    Args:
        keys: of the memory.
        hubs: K.
        features: F.
        device: where the sums live.

    Attributes:
        sums: `within` (F (F + 1) / 2,), the upper triangle row by row; `link` (F, K); `scalars`
            (2,): int64 all.
        addressed: which tasks it knows, bool (K,).
        length: of a sample; 0 until there is one.

    Raises:
        ConfigError: a number of features that nothing can be built from, or too little room.

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
        device: str | torch.device = "cpu",
    ) -> None:
        self._phi = RandomFeatures(seed=keys.seed, count=features)
        triangle = features * (features + 1) // 2
        check_room(8 * (triangle + features * hubs), device, f"{features} signature features")
        self.keys, self.features, self.length = keys, features, 0
        self.sums = {
            "within": zeros(triangle, dtype=torch.int64, device=device),
            "link": zeros(features, hubs, dtype=torch.int64, device=device),
            "scalars": zeros(2, dtype=torch.int64, device=device),
        }
        self.addressed = zeros(hubs, dtype=torch.bool, device=device)
        self._ready: dict[int, _Solved] = {}  # by number of samples

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
        self._ready.clear()

    def restore(self, sums: Mapping[str, Tensor], addressed: Tensor, *, length: int) -> None:
        """Take over sums that were read from a file; they are kept."""
        self.sums, self.addressed, self.length = dict(sums), addressed, length
        self._ready.clear()

    def describe(self, samples: Samples) -> "Addition":
        """What `put` needs of one task's samples; nothing is changed.

        Raises:
            CueError: as `RandomFeatures.describe`, or values so large or small that no sum could
                hold them.
            SaturationError: so many covariances were added that the sum would leave its range.
        """
        described = self._phi.describe(
            samples, device=self.addressed.device, scale=1.0, length=self.length
        )
        within = described.covariance[_triangle(described.covariance)]
        largest = max(float(within.abs().max()), float(described.mean.abs().max()))
        if largest * self.hubs > _LARGEST:
            raise CueError(
                f"the signature is too large: features of {largest:.3g} do not fit into sums over "
                f"{self.hubs} tasks. Scale signatures to values of about 1"
            )
        mean = _whole(described.mean)
        if not bool(mean.any()):
            raise CueError("the signature is too small: scale signatures to values of about 1")
        many = described.samples > 1
        scalars = torch.tensor(
            [1.0, 1 / described.samples], dtype=torch.float64, device=mean.device
        )
        added = Addition(mean, _whole(within), _whole(scalars * many), described.length)
        self._check_range(added.within, added.scalars)
        return added

    def put(self, task: int, added: "Addition") -> None:
        """Learn a task, or learn it anew: its mean takes the place of the one before."""
        mean = added.mean
        if bool(self.addressed[task]):
            mean = mean - self._mean(task)
        self.sums["link"] += mean[:, None] * self._key(task)
        self.sums["within"] += added.within
        self.sums["scalars"] += added.scalars
        self.addressed[task], self.length = True, added.length
        self._ready.clear()

    def drop(self, task: int) -> None:
        """Forget a task's mean, exactly. Its covariance stays in the average of all."""
        if bool(self.addressed[task]):
            self.sums["link"] -= self._mean(task)[:, None] * self._key(task)
            self.addressed[task] = False
            self._ready.clear()

    def add(self, other: "HubAddress") -> None:
        """Add what another address knows of other tasks, exactly."""
        self.check_addition(other)
        for name, value in other.sums.items():
            self.sums[name] += value.to(self.addressed.device)
        self.addressed |= other.addressed.to(self.addressed.device)
        self.length = self.length or other.length
        self._ready.clear()

    def check_addition(self, other: "HubAddress") -> None:
        """Raise unless another address can be added.

        Raises:
            ConfigError: it has other features or samples of another length.
            SaturationError: the sum of covariances would leave its range.
        """
        if other.features != self.features:
            raise ConfigError(
                f"one address has {self.features} features, the other {other.features}"
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
        self._ready.clear()

    def evidence(self, sets: Tensor) -> tuple[Tensor, Tensor]:
        """log p(set | task) for sets of samples (b, s, n), up to a constant of the set.

        A set of zeros alone says nothing: its evidence is 0 for all tasks, and its strangeness
        infinite.

        Returns:
            Evidence (b, K), by task number, −∞ where the address knows none; and how strange the
            sets are, (b,): ‖c − Σ_t p_t m_t‖² with p_t the tasks' posterior, over what chance
            leaves unexplained, tr C̄ (1/s + mean 1/s_t). It is about 1 for data of a task learned.

        Raises:
            CueError: not finite samples of the length of all others, or no task is known.
            NumericalError: the sums make no sense.
        """
        sets = checked(sets, self.length).to(self.addressed.device)
        if self.count == 0:
            raise CueError("no task was stored with a signature: give one to store(...)")
        means = self._phi.of_sets(sets, 1.0)
        solved = self._solved(sets.shape[1])
        found = (means - solved.centre) @ solved.readout - solved.square / 2
        found = found.masked_fill(~self.addressed, -torch.inf)
        rest = means - found.softmax(-1) @ solved.means.T
        strange = rest.square().sum(-1) / solved.spread
        silent = (sets == 0).flatten(1).all(-1)
        check_range(means[~silent], strange)
        nothing = torch.where(self.addressed, 0.0, -torch.inf)
        found = torch.where(silent[:, None], nothing, found)
        return found, strange.masked_fill(silent, torch.inf)

    def _solved(self, samples: int) -> _Solved:
        """What evidence from so many samples needs; kept until something is learned."""
        if samples in self._ready:
            return self._ready[samples]
        link = self.keys.by_task(transform(self.sums["link"])).double() * (_UNIT / self.hubs)
        means = link * self.addressed  # (F, K)
        spreads, inverse = (self.sums["scalars"].double() * _UNIT).tolist()
        centre = means.sum(-1) / self.count
        apart = (means - centre[:, None]) * self.addressed
        within = means.new_zeros(self.features, self.features)
        within[_triangle(within)] = self.sums["within"].double() * _UNIT
        within = within + within.triu(1).T
        noise = within * ((1 / samples + inverse / max(spreads, 1)) / max(spreads, 1))
        level = float(noise.diagonal().mean())
        if level > 0:
            noise.diagonal().add_(_RIDGE * level)
        else:
            between = apart.square().sum(-1).mean() / self.count
            square = centre.square().mean()
            level = float(_SHARE * (between if self.count > 1 else square))
            level = max(level, _FLOOR * float(square), 1e-30)  # signatures that coincide
            noise.diagonal().add_(level)
        factor, failed = torch.linalg.cholesky_ex(noise)
        if bool(failed):
            raise NumericalError("the content address cannot be solved: its sums make no sense")
        readout = torch.cholesky_solve(apart, factor)
        square_of = (apart * readout).sum(0)
        kind = torch.float32
        solved = _Solved(
            readout.to(kind),
            square_of.to(kind),
            centre.to(kind),
            means.to(kind),
            level * self.features,
        )
        if len(self._ready) == _KEPT:
            self._ready.pop(next(iter(self._ready)))
        self._ready[samples] = solved
        return solved

    def _check_range(self, within: Tensor, scalars: Tensor) -> None:
        """Raise SaturationError if the sums of covariances would leave their range."""
        for name, added in (("within", within), ("scalars", scalars)):
            total = _largest(self.sums[name]) + _largest(added)
            if total >= 2.0**62:
                raise SaturationError(
                    "the sum of the tasks' covariances is full: scale signatures to values of "
                    "about 1, and give a task's signature once"
                )

    def _mean(self, task: int) -> Tensor:
        """m_t in whole units, int64 (F,)."""
        return (self.sums["link"] * self._key(task)).sum(-1) // self.hubs

    def _key(self, task: int) -> Tensor:
        number = torch.tensor([task], device=self.addressed.device)
        return self.keys.of(number, hubs=self.hubs, dtype=torch.int64)[0]


class Addition(NamedTuple):
    """What a task adds to the sums, in whole units, and the length of its samples."""

    mean: Tensor
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
