"""The content address: what a task's data look like -> its key, learned in constant space."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
from torch import Tensor

from hopmask.errors import ConfigError, CueError, NumericalError
from hopmask.memory.features import (
    STRANGE,
    Description,
    RandomFeatures,
    Samples,
    check_range,
    checked,
)
from hopmask.patterns.keys import Keys

_RIDGE = 1e-2  # of the mean variance of a feature
_KEPT = 4  # read-outs, for so many numbers of samples
_SCALE, _SPREAD, _INVERSE, _SQUARES = range(4)  # scalars: unit, tasks of more than one sample,
# Σ 1/s_t over them, Σ ‖m_t‖² over all
_OUTSIDE = 1e-6  # of a key squared: what lies outside the span of those learned
_NONE = 1e-9  # tasks of more than one sample that are no more than rounding
_FLOOR = 1e-6  # of a mean feature squared: spread that is no more than rounding
_TRIES = 12  # of a Cholesky factor, each with ten times the ridge


class _Solved(NamedTuple):
    """For sets of so many samples: the read-out (F, key bits), m̄ (F,), κ̄ (key bits,), what turns a
    guess with 1 beside it into Σ p m (key bits + 1, F), and what chance leaves unexplained."""

    readout: Tensor
    centre: Tensor
    prior: Tensor
    decode: Tensor
    spread: Tensor


class ContentAddress:
    """The best linear guess of a task's key from its data.

    A sample x of a task's data (an image, or whatever vector describes it) has the features
    φ(x) = max(0, x R), with R (n, F) uniform in [-1, 1] from the seed. For each task t the address
    adds up, and then forgets, the mean m_t of its features, their covariance C_t and its key κ_t:

        within = Σ_t C_t,   link = Σ_t m_t [κ_t 1]ᵀ,   keys = Σ_t [κ_t 1] [κ_t 1]ᵀ,

    and four scalars.
    From the mean c of the features of s samples it guesses

        κ̂ = κ̄ + Cov(κ, m) (Cov(m) + C̄/s + λ)⁻¹ (c − m̄),

    the linear map of least mean squared error for a task drawn at random and s of its samples:
    centred on all tasks, insensitive to what varies within tasks, and equal to Σ_t p_t κ_t where
    Σ p_t = 1 and p_t estimates the chance of task t. Cov(m) needs no list of the m_t, since
    Σ m mᵀ = link · keys⁺ · linkᵀ, exactly so up to as many tasks as key bits. All sums are free of
    order. λ is 1 % of the mean variance of a feature in c; where no task gave more than one sample,
    C̄ is taken as isotropic and a quarter of Cov(m).

    Args:
        keys: the memory's keys.
        features: F.
        dtype: of the sums.
        device: where the sums live.

    Raises:
        ConfigError: a number of features that nothing can be built from.

    Example:
        >>> address = ContentAddress(Keys(seed=0, bits=64), features=128)
        >>> g = torch.Generator().manual_seed(0)
        >>> data = torch.randn(3, 50, 8, generator=g) + 2 * torch.randn(3, 1, 8, generator=g)
        >>> for task in range(3):
        ...     address.learn(task, address.describe(data[task, 1:]))
        >>> guess, _ = address.guess(data[:, :1])
        >>> (guess @ address.keys.of(torch.arange(3)).T).argmax(1)
        tensor([0, 1, 2])

    Source:
        Optimal linear associative memory: Kohonen, Ruohonen 1973; random features of a fixed
        network read out by a pooled linear discriminant: McDonnell et al. 2023 (RanPAC,
        arXiv 2307.02251).
    """

    def __init__(
        self,
        keys: Keys,
        *,
        features: int,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self._phi = RandomFeatures(seed=keys.seed, count=features, dtype=dtype)
        self.keys, self.features = keys, features
        self.length = 0  # of a sample; 0 until there is one
        width = keys.bits + 1
        try:
            self.sums = {
                "within": torch.zeros(features, features, dtype=dtype, device=device),
                "link": torch.zeros(features, width, dtype=dtype, device=device),
                "keys": torch.zeros(width, width, dtype=dtype, device=device),
                "scalars": torch.zeros(4, dtype=torch.float64, device=device),
            }
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise ConfigError(
                f"no room or device for {features} signature features on '{device}': {error}"
            ) from error
        self._ready: dict[int, _Solved] = {}  # by number of samples

    @property
    def count(self) -> int:
        """Number of tasks learned."""
        return int(self.sums["keys"][-1, -1])

    @property
    def nbytes(self) -> int:
        """Bytes of the sums; independent of `count`. R and the read-out follow from them."""
        return sum(value.numel() * value.element_size() for value in self.sums.values())

    def to(self, device: str | torch.device) -> None:
        """Move the sums to a device."""
        self.sums = {name: value.to(device) for name, value in self.sums.items()}
        self._ready.clear()

    def restore(self, sums: Mapping[str, Tensor], *, length: int) -> None:
        """Take over sums that were read from a file.

        Raises:
            ConfigError: sums of another form.
        """
        if {n: (v.shape, v.dtype) for n, v in self.sums.items()} != {
            n: (v.shape, v.dtype) for n, v in sums.items()
        }:
            raise ConfigError("the sums of its content address do not fit its numbers of bits")
        self.sums, self.length = dict(sums), length
        self._ready.clear()

    def describe(self, samples: Samples) -> Description:
        """What `learning` needs of one task's samples (n,) or (s, n); nothing is changed.

        Of an iterable of parts (s_i, n), one part is held at a time: means and covariances of parts
        are put together as in Chan, Golub, LeVeque 1979.

        Raises:
            CueError: not finite samples of the length of all others, or all zero.
        """
        return self._phi.describe(
            samples,
            device=self.sums["link"].device,
            scale=float(self.sums["scalars"][_SCALE]),
            length=self.length,
        )

    @contextmanager
    def learning(self, task: int, described: Description) -> Iterator[None]:
        """Add a task, unless the block raises: then the address is as it was, to the bit.

        The block is where the task's pattern is written into the couplings, so that neither is
        without the other. The covariances, of which no copy is made, are added last.
        """
        before = {name: self.sums[name].clone() for name in ("link", "keys", "scalars")}
        samples = described.samples
        own = [1.0, 1 / samples] if samples > 1 else [0.0, 0.0]
        try:
            self._add(task, described.means[0], own, 1)
            self.sums["scalars"][_SCALE] = described.scale
            yield
        except BaseException:
            self.sums.update(before)
            self._ready.clear()
            raise
        self.sums["within"].add_(described.covariance)
        self.length = described.length

    def learn(self, task: int, described: Description) -> None:
        """Add a task."""
        with self.learning(task, described):
            pass

    def can_forget(self) -> bool:
        """Whether the share of one task in the sums can be separated: see `forget`."""
        return self.count <= self.keys.bits

    def forget(self, task: int) -> None:
        """Take a task out: its mean, up to rounding, and an equal share of the covariances.

        The mean is link · keys⁺ · [κ 1], exactly so while there are no more tasks than key bits
        (`can_forget`). A task that was never learned changes nothing.
        """
        if self.count == 0:
            return
        decode = torch.linalg.pinv(self.sums["keys"].double(), hermitian=True)
        key = self._with_one(task).double()
        outside = key - self.sums["keys"].double() @ (decode @ key)  # of the keys learned
        if float(outside.square().sum()) > _OUTSIDE * float(key.square().sum()):
            return
        mean = (self.sums["link"].double() @ (decode @ key)).to(self.sums["link"])
        share = 1 / self.count
        own = (self.sums["scalars"][[_SPREAD, _INVERSE]] * share).tolist()
        self.sums["within"].mul_(1 - share)
        self._add(task, mean, own, -1)
        if self.count == 0:
            self.length = 0
            for value in self.sums.values():
                value.zero_()

    def guess(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """κ̂ for sets of samples (b, s, n): (b, key bits), and how strange the sets are: (b,).

        Strangeness is ‖c − Σ_t p_t m_t‖², what no mix of the tasks learned explains, over what
        chance leaves unexplained: tr C̄ (1/s + mean 1/s_t), with s_t the samples that task t was
        learned from, and, beyond as many tasks as key bits, what Σ_t p_t m_t itself misses. It is
        about 1 for data of a task that was learned. A set of zeros alone says nothing: its guess is
        0 and its strangeness infinite.

        Raises:
            CueError: not finite samples of the length of all others, or nothing to compare with.
            NumericalError: the sums are not finite.
        """
        samples = checked(samples, self.length).to(self.sums["link"].device)
        if self.count == 0:
            raise CueError("no task was stored with a signature: give one to store(...)")
        scale = float(self.sums["scalars"][_SCALE])
        means = self._phi.of_sets(samples, scale)
        solved = self._solved(samples.shape[1])
        guess = solved.prior + (means - solved.centre) @ solved.readout
        rest = means - torch.cat([guess, guess.new_ones(len(guess), 1)], -1) @ solved.decode
        strange = rest.square().sum(-1) / solved.spread
        silent = (samples == 0).flatten(1).all(-1)
        check_range(means[~silent], strange)
        guess = guess.masked_fill(silent[:, None], 0.0)
        return guess, strange.masked_fill(silent, torch.inf)

    def _solved(self, samples: int) -> "_Solved":
        """What a guess from so many samples needs; kept until something is learned."""
        if samples in self._ready:
            return self._ready[samples]
        within, link, keys = (self.sums[name].double() for name in ("within", "link", "keys"))
        if not bool(torch.isfinite(within.sum() + link.sum() + keys.sum())):
            raise NumericalError("the content address holds NaN or infinity: load a saved memory")
        count = self.count
        _, spreads, inverse, squares = self.sums["scalars"].tolist()
        centre, prior = link[:, -1] / count, keys[-1, :-1] / count
        decode = torch.linalg.pinv(keys, hermitian=True) @ link.T  # (key bits + 1, F)
        decoded = link @ decode / count
        missed = max(0.0, squares / count - float(decoded.trace()))  # 0 up to count = key bits
        between = decoded - torch.outer(centre, centre)
        cross = link[:, :-1] / count - torch.outer(centre, prior)
        spreads = spreads if spreads > _NONE else 1.0  # a share is left where tasks were forgotten
        noise = within / (spreads * samples)
        level = noise.diagonal().mean()
        if level > 0:
            noise.diagonal().add_(_RIDGE * level)
            level = level * (1 + samples * inverse / spreads)
        else:  # a quarter of what separates tasks, or of the only task's mean
            level = (between.diagonal().mean() if count > 1 else centre.square().mean()) / STRANGE
            level = level.clamp_min(_FLOOR * centre.square().mean())  # signatures that coincide
            noise.diagonal().add_(level.clamp_min(1e-30))
        if count == 1:
            between.zero_()  # but for rounding
        factor = _factor(between, noise)
        spread = level * self.features + missed
        parts = (torch.cholesky_solve(cross, factor), centre, prior, decode, spread)
        if len(self._ready) == _KEPT:
            self._ready.pop(next(iter(self._ready)))
        self._ready[samples] = _Solved(*(part.to(self.sums["link"]) for part in parts))
        return self._ready[samples]

    def _add(self, task: int, mean: Tensor, own: list[float], sign: int) -> None:
        key = self._with_one(task)
        self.sums["link"].addr_(mean, key, alpha=sign)
        self.sums["keys"].addr_(key, key, alpha=sign)
        scalars = self.sums["scalars"]
        scalars[[_SPREAD, _INVERSE]] += sign * scalars.new_tensor(own)
        scalars[_SQUARES] += sign * mean.double().square().sum()
        self._ready.clear()

    def _with_one(self, task: int) -> Tensor:
        key = self.keys.of(torch.tensor([task], device="cpu"))[0].to(self.sums["link"])
        return torch.cat([key, key.new_ones(1)])


def _factor(between: Tensor, noise: Tensor) -> Tensor:
    """Cholesky factor of between + noise, with as much more ridge as rounding makes necessary."""
    whole = between + noise
    ridge = _FLOOR * whole.diagonal().mean()
    for _ in range(_TRIES):
        factor, failed = torch.linalg.cholesky_ex(whole)
        if not bool(failed):
            return cast(Tensor, factor)
        whole.diagonal().add_(ridge)
        ridge = 10 * ridge
    raise NumericalError("the content address cannot be solved: its sums make no sense")
