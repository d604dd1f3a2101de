"""Random features of a task's data, and the mean and covariance by which a task is described."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hopmask._checks import is_tensor, is_whole
from hopmask.errors import ConfigError, CueError
from hopmask.memory.groups import GroupLabels, Groups
from hopmask.patterns.keys import random_words

STRANGE = 4.0  # strangeness from which on data are of no task that was learned
LARGEST = 16_384  # features: no file holds the sums of more
_BLOCKS = 8  # rows of them, of a square of which half is computed
_CHUNK = 1 << 23  # numbers that features take at once
Samples = Tensor | Iterable[Tensor]  # (n,), (s, n), or parts (s_i, n)


@dataclass(frozen=True, kw_only=True)
class Description:
    """Features of one task's samples, in units of `scale`.

    Attributes:
        means: of each group of samples, (G, F); zeros of a group that has none.
        covariance: Σ_g (s_g − 1) C_g / Σ_g (s_g − 1) of the groups that are there, (F, F).
        counts: samples s_g of each group, int64 (G,).
        scale: unit of the features.
        length: of a sample.
    """

    means: Tensor
    covariance: Tensor
    counts: Tensor
    scale: float
    length: int

    @property
    def samples(self) -> int:
        """Number of all samples."""
        return int(self.counts.sum())

    @property
    def freedom(self) -> int:
        """Σ_g (s_g − 1), the weight of the covariance; 0 where it says nothing."""
        return int((self.counts - 1).clamp_min(0).sum())


class RandomFeatures:
    """φ(x) = max(0, x R) of samples x (n,), with R (n, F) uniform in [-1, 1] / √n from the seed.

    Args:
        seed: the memory's seed.
        count: F.
        dtype: of the features.

    Raises:
        ConfigError: a number of features that nothing can be built from.

    Example:
        >>> RandomFeatures(seed=0, count=8).of(torch.ones(3, 5), scale=1.0).shape
        torch.Size([3, 8])

    Source:
        Rahimi, Recht 2008 (random features); ReLU read out by a pooled linear discriminant:
        McDonnell et al. 2023 (RanPAC, arXiv 2307.02251).
    """

    def __init__(self, *, seed: int, count: int, dtype: torch.dtype = torch.float32) -> None:
        if not is_whole(count) or count > LARGEST:
            raise ConfigError(
                f"signature_features must be a whole number from 0 to {LARGEST}, got {count!r}"
            )
        self.seed, self.count, self.dtype = seed, count, dtype
        self._map = torch.zeros(0, count, device="cpu")  # R, made anew for another length or device

    def of(self, samples: Tensor, scale: float) -> Tensor:
        """φ of samples (..., n), in units of scale: (..., F)."""
        length = samples.shape[-1]
        if len(self._map) != length:
            self._map = self.map_of(length)
        self._map = self._map.to(samples.device)
        scaled = (samples.double() * (scale / length**0.5)).to(self._map)
        return torch.relu(scaled @ self._map)

    def map_of(self, length: int) -> Tensor:
        """R √n for samples of a length n, uniform in [-1, 1]: (n, F)."""
        words = random_words(self.seed, np.arange(length), self.count, domain=2)
        uniform = (words >> np.uint64(40)).astype(np.float32) / 2**23 - 1
        return torch.from_numpy(uniform).to(self.dtype)

    def of_sets(self, sets: Tensor, scale: float) -> Tensor:
        """Mean features of sets of samples (b, s, n): (b, F)."""
        chunk = max(1, _CHUNK // (self.count * sets.shape[1]))
        return torch.cat([self.of(part, scale).mean(1) for part in torch.split(sets, chunk)])

    def describe(
        self,
        samples: Samples,
        *,
        device: torch.device,
        scale: float = 0.0,
        length: int = 0,
        groups: Groups | None = None,
        group_count: int = 1,
    ) -> Description:
        """Means and covariance of the features of one task's samples.

        Of an iterable of parts (s_i, n), one part is held at a time: means and covariances of parts
        are put together as in Chan, Golub, LeVeque 1979.

        Args:
            samples: (n,), (s, n), or parts (s_i, n).
            device: where to work.
            scale: unit of the features; 0 for the largest value of the samples.
            length: n; 0 for any.
            groups: of all samples in their order; see `GroupLabels`.
            group_count: G.

        Raises:
            CueError: not finite samples of that length, or all zero, or out of range; or groups
                that do not fit.
        """
        parts = [samples] if isinstance(samples, Tensor) else samples
        labels = GroupLabels(groups, count=group_count)
        whole: Description | None = None
        for some in parts if isinstance(parts, Iterable) else [parts]:
            known = (whole.scale, whole.length) if whole else (scale, length)
            rows = _rows(some, known[1]).to(device)
            of_rows = labels.take(len(rows)).to(device)
            part = self._part(rows, of_rows, known[0], group_count)
            whole = part if whole is None else _joined(whole, part)
        labels.end()
        if whole is None:
            raise CueError("the signature is empty: give samples of the task's data")
        check_range(whole.means[whole.counts > 0], whole.covariance)
        return whole

    def _part(self, samples: Tensor, groups: Tensor, scale: float, count: int) -> Description:
        scale = scale or 1 / float(samples.abs().max())
        counts = torch.bincount(groups, minlength=count)
        means = torch.zeros(count, self.count, dtype=self.dtype, device=samples.device)
        part = Description(
            means=means,
            covariance=means.new_zeros(self.count, self.count),
            counts=counts,
            scale=scale,
            length=samples.shape[-1],
        )
        weight = 1 / max(1, part.freedom)
        for group in counts.nonzero()[:, 0].tolist():
            done = 0
            for some in torch.split(samples[groups == group], max(1, _CHUNK // self.count)):
                rest, more = self.of(some, scale), len(some)
                rest -= (mean := rest.mean(0))
                _add_square(part.covariance, rest, weight)
                shift = mean - means[group]
                part.covariance.addr_(shift, shift, alpha=weight * done * more / (done + more))
                means[group] += shift * (more / (done + more))
                done += more
        part.covariance.triu_().add_(part.covariance.triu(1).T)
        return part


def _add_square(square: Tensor, rows: Tensor, weight: float) -> None:
    """square ← square + weight rowsᵀ rows, in its upper triangle and a few blocks beside it."""
    side = -(-len(square) // _BLOCKS)
    for first in range(0, len(square), side):
        left = rows[:, first : first + side]
        square[first : first + side, first:].addmm_(left.T, rows[:, first:], alpha=weight)


def checked(samples: Tensor, wanted: int) -> Tensor:
    """Samples (..., n) of a wanted length (0 for any); CueError for what are none."""
    real = is_tensor(samples) and samples.is_floating_point() and samples.ndim > 0
    if not real:
        raise CueError(
            "a signature must be a dense floating tensor: one vector (n,), or more samples of it"
        )
    if samples.numel() == 0 or not bool(torch.isfinite(samples).all()):
        raise CueError("the signature is empty or holds NaN or infinity")
    if wanted not in (0, samples.shape[-1]):
        raise CueError(
            f"the memory's signatures have length {wanted}, got {samples.shape[-1]}: "
            "compute them in the same way for every store and recall"
        )
    return samples.detach()


def as_sets(signature: Tensor) -> Tensor:
    """A signature (n,), (b, n) or (b, s, n) as sets of samples (b, s, n).

    Raises:
        CueError: it is none of them.
    """
    real = is_tensor(signature) and 1 <= signature.ndim <= 3
    if not real or signature.numel() == 0:
        raise CueError("a signature must be a dense tensor (n,), (batch, n) or (batch, samples, n)")
    return signature if signature.ndim == 3 else signature.reshape(-1, 1, signature.shape[-1])


def check_range(means: Tensor, other: Tensor) -> None:
    """Raise CueError for features that overflowed, or vanished, in the unit of all tasks."""
    if not bool(torch.isfinite(other).all()):
        raise CueError(
            "the signature is too large beside those stored before: compute them in the same way "
            "for every store and recall"
        )
    silent = (means == 0).all(-1).nonzero()[:, 0].tolist()
    if silent:
        raise CueError(
            f"no random feature answers to the samples of group {silent[0]}: they are 0, such as "
            "black images, or too small beside those stored before. Compute signatures in the "
            "same way for every store, without samples of 0, or use more signature_features"
        )


def _rows(samples: Tensor, length: int) -> Tensor:
    """Samples (s, n) of a signature; see `RandomFeatures.describe`."""
    samples = checked(samples, length)
    if samples.ndim == 1:
        samples = samples[None]
    if samples.ndim != 2:
        raise CueError(
            f"store takes a signature (n,) or samples (s, n), got {tuple(samples.shape)}"
        )
    if not bool(samples.any()):
        raise CueError("the signature is all zeros: it separates no tasks")
    return samples


def _joined(a: Description, b: Description) -> Description:
    """Means and covariance of two parts of the samples together."""
    counts = a.counts + b.counts
    apart = b.means - a.means
    share = (b.counts.to(apart) / counts.clamp_min(1))[:, None]
    scatter = a.freedom * a.covariance + b.freedom * b.covariance
    scatter.addmm_((a.counts.to(apart)[:, None] * share * apart).T, apart)
    joined = replace(a, means=a.means + share * apart, covariance=scatter, counts=counts)
    return replace(joined, covariance=scatter / max(1, joined.freedom))
