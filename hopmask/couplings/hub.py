"""Hub couplings: mask neurons coupled to hubs alone, linear in the mask, exact up to K tasks."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from hopmask.couplings.hub_state import HubState
from hopmask.couplings.int8_product import NEAR, has_near_product, near_product
from hopmask.couplings.integer_products import Vectors, across, along, tiles
from hopmask.errors import DuplicateError, SaturationError, UnknownTaskError
from hopmask.patterns.hadamard import transform

_OPEN = 2**-8  # of a rounded product: a field must be larger than that for its sign to be sure
_ROWS = 4096  # of rounded couplings at a time: sums of their fields keep one order


class Recalled(NamedTuple):
    """Masks that keys recall, and what their fields f = A κ / K were.

    Attributes:
        spins: f > 0, bool (b, D).
        absolute: Σ |f|, (b,).
        square: Σ f², (b,).
        silent: how many f are 0, (b,).
    """

    spins: Tensor
    absolute: Tensor
    square: Tensor
    silent: Tensor


class HubCouplings(HubState):
    """A (D, K) of integers between D mask neurons and K hubs: E(z, t) = −zᵀ A κ_t / K.

    A hetero-associative (bidirectional) Hopfield network. The hubs carry a task's key κ_t, a row of
    a Hadamard matrix, so that keys are orthogonal. Storkey's rule, as a mask neuron with the local
    field h = A κ / K sees it, is

        A ← A + (z − h) κᵀ,

    which stores under a free key (h = 0) and replaces under a key in use (h is its mask, exactly).
    z = sign(A κ_t) is exact for up to K tasks, however much their masks overlap. Toward the hubs
    the network is a winner-takes-all over the keys of live tasks; see `overlaps`.

    Columns 0, K₀, 2 K₀ ... are wide, with K₀ the number of hubs at birth; column 0 is k μ. They
    grow like k, all others like √k. They stand in int32 in `wide`, with zeros in their place in
    `narrow`.

    Args:
        neurons: D, number of mask neurons.
        hubs: K, a power of two from 2 to 65,536.
        seed: of the keys.
        born: K₀; default K.
        precision: of the narrow couplings: "int8", "int16", or "auto", which is int8 up to 256
            hubs.
        device: where A lives.

    Attributes:
        narrow: (D, K), int8 or int16.
        wide: (D, K / K₀), int32.
        live: which task numbers are held, bool (K,).
        keys: of the tasks.
        levels: how the narrow couplings were rounded for a smaller file; None where they are exact.

    Raises:
        ConfigError: sizes, precision or device that nothing can be built from, or too little room.

    Example:
        >>> couplings = HubCouplings(100, hubs=8, seed=0)
        >>> mask = torch.arange(100) % 3 == 0
        >>> couplings.put(2, mask)
        >>> bool((couplings.recall(torch.tensor([2])).spins[0] == mask).all())
        True

    Source:
        Kosko 1988, "Bidirectional associative memories"; Storkey 1997; orthogonal keys on hubs:
        hopmask's own.
    """

    def put(self, task: int, spins: Tensor, *, held: Tensor | None = None) -> None:
        """Store a mask under a task's number, or replace the one there: A ← A + (z − h) κᵀ.

        Args:
            task: number below K.
            spins: z, bool (D,), True for +1.
            held: the mask there, where it is known already, bool (D,).

        Raises:
            SaturationError: a coupling would leave the range of its integers; nothing was changed.
            ReadOnlyMemoryError: the couplings were rounded.
        """
        self.require_exact()
        change = spins.to(torch.int8) * 2 - 1
        if bool(self.live[task]):
            change = change - self._mask(task, held)
        self._change(task, change)
        self.live[task] = True

    def drop(self, task: int, *, held: Tensor | None = None) -> None:
        """Take the mask of a live task out: A ← A − z κᵀ, exactly; `held` as in `put`."""
        self.require_exact()
        self._change(task, -self._mask(task, held))
        self.live[task] = False

    def recall(self, tasks: Tensor) -> Recalled:
        """z = sign(A κ_t) for task numbers (b,); a field of 0 gives −1."""
        spins = torch.empty(len(tasks), self.neurons, dtype=torch.bool, device=self.device)
        sums = torch.zeros(3, len(tasks), dtype=torch.float64, device=self.device)
        for where, onto in self._onto(tasks):
            spins[:, where] = _positive(onto)
            sums += _sums(onto.abs_())
        absolute, square, silent = sums
        return Recalled(spins, absolute / self.hubs, square / self.hubs**2, silent.long())

    def masks(self, tasks: Tensor) -> Tensor:
        """z = sign(A κ_t) alone, bool (b, D): `recall` without what its fields were."""
        if len(tasks) == 1 and (alone := self._near_mask(tasks)) is not None:
            return alone[None]
        return torch.cat([_positive(onto) for _, onto in self._onto(tasks)], -1)

    def overlaps(self, vectors: Tensor, *, digits: int = 3) -> Tensor:
        """v·z_t of vectors with the masks of all tasks at once: a transform of vᵀA.

        Args:
            vectors: v, (b, n), of the first n mask neurons; 0 for all others. Their entries are
                rounded to 2⁻²² of the largest one's power of two.
            digits: 2 rounds to 2⁻¹⁴ instead, in two thirds of the time.

        Returns:
            float64 (b, K), by task number; what stands for dead tasks has no meaning.

        Raises:
            NumericalError: the vectors are not finite.
        """
        count, width = vectors.shape
        whole = Vectors(vectors, digits=digits)
        loose = 0 if self.levels is None else min(width, self.levels.neurons)
        on_hubs = along(self.narrow[loose:width], whole, count, first=loose)
        on_hubs[:, :: self.keys.born] += along(self.wide[:width], whole, count)
        on_hubs *= whole.scale
        if self.levels is not None:
            steps = self.levels.steps(self.wide[:loose])
            stepped = Vectors(vectors[:, :loose] * steps, digits=digits)
            on_hubs += along(self.narrow[:loose], stepped, count) * stepped.scale
        return self.keys.by_task(transform(on_hubs)) / self.hubs

    def add(self, other: "HubCouplings") -> None:
        """Add couplings whose tasks are others: A ← A + A', exact and free of order.

        Raises:
            SaturationError: a coupling would leave the range of its integers; nothing was changed.
        """
        self.require_exact()
        other.require_exact()
        self._check_range(
            other._peak, lambda where: other.narrow[where].to(self.device, torch.int32)
        )
        self.narrow += other.narrow.to(self.device)
        self.wide += other.wide.to(self.device)
        self.live |= other.live.to(self.device)

    @property
    def mean(self) -> Tensor:
        """Mean of the joint states [z | κ] of the tasks held, (D + K,)."""
        keys = transform(self.keys.by_row(self.live.float())) / max(1, self.count)
        return torch.cat([self.mask_mean, keys])

    def write(self, pattern: Tensor) -> None:
        """Store a joint state [z | κ], ±1, (D + K,).

        Raises:
            UnknownTaskError: κ is no task's key.
            DuplicateError: a mask is held under that key.
            SaturationError, ReadOnlyMemoryError: as `put`.
        """
        task = self._task_of(pattern)
        if bool(self.live[task]):
            raise DuplicateError(f"task {task} is stored already: replace it, or forget it first")
        self.put(task, pattern[: self.neurons] > 0)

    def remove(self, pattern: Tensor) -> None:
        """Take a joint state (D + K,) out that is held."""
        self.drop(self._task_of(pattern))

    def field(self, state: Tensor) -> Tensor:
        """h of joint states [z | κ] (..., D + K): [A κ | Aᵀ z] / K; (..., D + K)."""
        flat = state.reshape(-1, self.size)
        z, key = flat[:, : self.neurons], flat[:, self.neurons :]
        onto = torch.cat([part for _, part in self._fields(key)], -1) / self.hubs
        back = transform(self.keys.by_row(self.overlaps(z)).to(state.dtype)) / self.hubs
        return torch.cat([onto.to(state.dtype), back], -1).reshape(state.shape)

    def energy(self, state: Tensor) -> Tensor:
        """E = −zᵀ A κ / K of joint states (..., D + K); (...)."""
        return -0.5 * (state * self.field(state)).sum(-1)

    def residual(self, state: Tensor) -> Tensor:
        """Sine squared of the angle between z and A κ of joint states; 0 for a task held; (...)."""
        z, field = state[..., : self.neurons], self.field(state)[..., : self.neurons]
        along_z = (z * field).sum(-1)
        size = z.square().sum(-1) * field.square().sum(-1)
        return (1 - along_z * along_z.abs() / size.clamp_min(1e-30)).clamp(0, 1)

    def unstable(self, state: Tensor) -> Tensor:
        """How many mask neurons of joint states the energy would flip, z_i h_i <= 0; (...)."""
        return ((state * self.field(state))[..., : self.neurons] <= 0).sum(-1)

    def check_finite(self) -> None:
        """Integers are always finite."""

    def _task_of(self, pattern: Tensor) -> int:
        """The task whose key a joint state has."""
        overlaps = self.keys.by_task(transform(pattern[self.neurons :])) / self.hubs
        task = int(overlaps.argmax())
        if float(overlaps[task]) != 1:
            raise UnknownTaskError("the hubs of the pattern carry no task's key: take keys.of(...)")
        return task

    def _mask(self, task: int, held: Tensor | None) -> Tensor:
        """The mask of a live task, ±1, int8 (D,)."""
        if held is None:
            held = self.masks(torch.tensor([task], device="cpu"))[0]
        return held.to(torch.int8) * 2 - 1

    def _change(self, task: int, change: Tensor) -> None:
        """A ← A + Δ κᵀ, for Δ int8 (D,); nothing is changed where it raises."""
        number = torch.tensor([task], device=self.device)
        key = self.keys.of(number, hubs=self.hubs, dtype=torch.int8)
        broad = key[0, :: self.keys.born].clone()
        key[0, :: self.keys.born] = 0
        step = int(change.abs().max())
        self._check_range(step, lambda where: change[where, None].int() * key.int())
        self.narrow.addcmul_(change[:, None].to(self.narrow.dtype), key.to(self.narrow.dtype))
        self.wide.addcmul_(change[:, None].int(), broad[None].int())

    def _check_range(self, step: int, added: Callable[[slice], Tensor]) -> None:
        """Raise SaturationError if A + added leaves the range of its integers.

        Args:
            step: no entry of what is added is larger.
            added: gives the entries of some rows, int32.
        """
        largest = torch.iinfo(self.narrow.dtype).max
        if self._peak + step > largest:
            peak = 0
            for where, part in tiles(self.narrow):
                peak = max(peak, int((part + added(where)).abs().amax()))
            if peak > largest:
                raise SaturationError(
                    f"a coupling would become {peak}, beyond {largest}, the largest of "
                    f"{self.narrow.dtype}: nothing was changed. Use precision='int16'"
                )
            self._peak = peak
        else:
            self._peak += step

    def _near_mask(self, tasks: Tensor) -> Tensor | None:
        """sign(A κ) of one task (1,) by rounded products; None where they leave a sign open."""
        fits = self.narrow.dtype == torch.int8 and self.hubs % NEAR == 0
        if self.levels is not None or not fits or not has_near_product(self.device):
            return None
        key = self.keys.of(tasks.to(self.device), hubs=self.hubs, dtype=torch.int8)[0]
        narrow = near_product(self.narrow, key)
        onto = narrow + (self.wide * key[:: self.keys.born].int()).sum(1)
        sure = bool((onto.abs() > narrow.abs() * _OPEN).all())
        return _positive(onto) if sure else None

    def _onto(self, tasks: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """A κ_t of tasks (b,); as `_fields`."""
        return self._fields(self.keys.of(tasks.to(self.device), hubs=self.hubs, dtype=torch.int8))

    def _fields(self, keys: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """A κ of keys (b, K), the fields times K, on some neurons at a time, (b, neurons)."""
        broad = keys[:, :: self.keys.born]
        loose = 0 if self.levels is None else self.levels.neurons
        rows = None if self.levels is None else _ROWS
        for where, onto in across(self.narrow, keys, rows=rows):
            if self.levels is not None and where.start < loose:
                rounded = slice(where.start, min(where.stop, loose))
                onto[:, : rounded.stop - where.start] *= self.levels.steps(self.wide[rounded])
            if broad.shape[1] == 1:
                onto.addcmul_(broad, self.wide[where].T)
            else:
                onto += broad.double() @ self.wide[where].double().T  # beyond what TF32 counts
            yield where, onto


def _positive(onto: Tensor) -> Tensor:
    """onto > 0: several times faster than the comparison."""
    return onto.clamp_min(0).to(torch.bool)


def _sums(sizes: Tensor) -> Tensor:
    """Σ |f|, Σ f² and how many f are 0, of |f| (b, n): float64, (3, b), or (3, 1) if all agree.

    Up to the load, every |f| is K, and there is nothing to add up. Sums of whole numbers are exact.
    """
    if len(sizes):
        low, high = sizes.aminmax()
        if bool(low == high):
            size = low.double()
            return torch.stack([size, size.square(), size == 0])[:, None] * sizes.shape[1]
    silent = sizes.shape[1] - sizes.sign().sum(-1)
    wide = sizes.double()
    return torch.stack([wide.sum(-1), wide.mul_(wide).sum(-1), silent])
