"""The content address of a hub memory: what tasks' data look like, in integers that add exactly."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hopmask._checks import is_whole
from hopmask._room import check_room, zeros
from hopmask.errors import ConfigError, CueError, SaturationError
from hopmask.memory.features import RandomFeatures, Samples, check_range, checked
from hopmask.memory.groups import LARGEST as MOST_GROUPS
from hopmask.memory.groups import Groups
from hopmask.memory.readout import Readout
from hopmask.memory.signature_sums import UNIT, SignatureSums, fits, largest, triangle
from hopmask.patterns.hadamard import OrthogonalKeys, transform

_ENTRIES = 1 << 20  # of a link at a time


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
    what varies within groups, until no task is left. λ is 1 % of the mean variance of a feature;
    where no group has more than one sample, C̄ is taken as isotropic and a quarter of what
    separates the means, and the factor is 1/s.

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

    def describe(self, samples: Samples, groups: Groups | None = None) -> SignatureSums:
        """What one task's samples add to the sums; nothing is changed.

        Args:
            samples: see `RandomFeatures.describe`.
            groups: see `GroupLabels`.

        Raises:
            CueError: as `RandomFeatures.describe`, or values so large or small that no sum could
                hold them.
        """
        described = self._phi.describe(
            samples,
            device=self.addressed.device,
            scale=1.0,
            length=self.length,
            groups=groups,
            group_count=self.groups,
        )
        return SignatureSums.of(described, seed=self.keys.seed, hubs=self.hubs)

    def fitting(
        self, signature: Samples | SignatureSums, groups: Groups | None = None
    ) -> SignatureSums:
        """What `put` needs of a task's samples, or of what was described elsewhere.

        Args:
            signature: samples as in `describe`, or what it returned.
            groups: of samples.

        Raises:
            CueError: as `describe`; groups of what was described, or one that was described by
                another seed, other features or groups, or of samples of another length.
            SaturationError: so many covariances were added that the sum would leave its range.
        """
        if not isinstance(signature, SignatureSums):
            added = self.describe(signature, groups)
        elif groups is not None:
            raise CueError("what was described has its groups in it: leave out groups=")
        else:
            form = {"features": self.features, "groups": self.groups, "length": self.length}
            signature.check_made(seed=self.keys.seed, hubs=self.hubs, **form)
            added = signature.to(self.addressed.device)
        _check_range(self.sums, {"within": added.within, "scalars": added.scalars})
        return added

    def put(self, task: int, added: SignatureSums) -> None:
        """Learn a task from what is `fitting`, or learn it anew: its means replace those before."""
        means = added.means
        if bool(self.addressed[task]):
            means = means - _means(self.sums["link"], self._key(task))
        self.sums["link"].addcmul_(means[:, None], self._key(task)[None])
        self.sums["within"] += added.within
        self.sums["scalars"] += added.scalars
        self.addressed[task], self.length = True, added.length
        self._ready = None

    def drop(self, task: int) -> None:
        """Forget a task's means, exactly; its covariance stays on average until no task is left."""
        if bool(self.addressed[task]):
            link, key = self.sums["link"], self._key(task)
            link.addcmul_(_means(link, key)[:, None], key[None], value=-1)
            self.addressed[task] = False
            self._ready = None
            if self.count == 0:
                self.length = 0
                for value in self.sums.values():
                    value.zero_()

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
        _check_range(self.sums, other.sums)

    def check_growth(self) -> None:
        """Raise unless the hubs can be doubled.

        Raises:
            ConfigError: too little room.
            SaturationError: a mean is too large for sums over so many tasks.
        """
        hubs, link = 2 * self.hubs, self.sums["link"]
        check_room(2 * link.nbytes, self.addressed.device, f"the content address of {hubs} hubs")
        size = float(transform(link).abs().max()) * UNIT / self.hubs
        if not fits(size, hubs):
            raise SaturationError(
                f"the content address cannot grow to {hubs} hubs: features of {size:.3g} do not "
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
        sets = self._known(sets)
        means, found, strange = self._read().evidence(sets, self._phi)
        silent = (sets == 0).flatten(1).all(-1)
        check_range(means[~silent], strange)
        nothing = torch.where(self.addressed, 0.0, -torch.inf)
        found = torch.where(silent[:, None], nothing, found)
        return found, strange.masked_fill(silent, torch.inf)

    def of_groups(self, samples: Tensor) -> Tensor:
        """log p(x, g | task) − log p₀(x) of samples (b, n), each by itself; p₀ is around m̄.

        It is e_tg(x) − log G_t: logsumexp over the groups is the `evidence` of a set of one.

        Returns:
            (b, K, G), by task number, −∞ of tasks and groups that the address does not know. Of a
            sample of zeros, all groups of a task count alike, and so do all tasks.

        Raises:
            CueError, NumericalError: as `evidence`.
        """
        samples = self._known(samples)
        return self._read().of_groups(samples, self._phi)

    def _known(self, samples: Tensor) -> Tensor:
        """Samples (..., n) that can be compared with what was learned, on its device."""
        samples = checked(samples, self.length).to(self.addressed.device)
        if self.count == 0:
            raise CueError("no task was stored with a signature: give one to store(...)")
        return samples

    def _read(self) -> Readout:
        """What evidence needs of the sums; kept until these change."""
        if self._ready is None:
            self._ready = self._made_ready()
        return self._ready

    def _made_ready(self) -> Readout:
        link = self.keys.by_task(transform(self.sums["link"])).double() * (UNIT / self.hubs)
        spreads, inverse = (self.sums["scalars"].double() * UNIT).tolist()
        within = link.new_zeros(self.features, self.features)
        within[triangle(within)] = self.sums["within"].double() * (UNIT / max(spreads, 1))
        within += within.triu(1).T
        ratio = inverse / max(spreads, 1)
        return Readout.of(link, within, inverse=ratio, addressed=self.addressed)

    def _key(self, task: int) -> Tensor:
        number = torch.tensor([task], device=self.addressed.device)
        return self.keys.of(number, hubs=self.hubs, dtype=torch.int64)[0]


def _means(link: Tensor, key: Tensor) -> Tensor:
    """m_tg of a task's key in whole units, group after group, int64 (G F,)."""
    parts = torch.split(link, max(1, _ENTRIES // len(key)))
    return torch.cat([(part * key).sum(-1) for part in parts]) // len(key)


def _check_range(sums: Mapping[str, Tensor], added: Mapping[str, Tensor]) -> None:
    """Raise SaturationError if the sums of covariances would leave their range."""
    for name in ("within", "scalars"):
        if largest(sums[name]) + largest(added[name]) >= 2.0**62:
            raise SaturationError(
                "the sum of the tasks' covariances is full: scale signatures to values of about 1, "
                "and give a task's signature once"
            )
