"""Recall from hub couplings: by number, by a damaged mask, or by data.

Every way of pointing gives all live tasks a score at once: a transform of one product with A. A
pointer b of mask neurons (a damaged mask, or minus the gradient of a penalty at μ) scores

    s_t = b·(z_t − μ) / ‖b ⊙ √(1 − μ²)‖,

its agreement with the mask of task t, in standard deviations of that with a mask drawn at random.
Where the scores of all but the best task vary by more than that, they are divided by their own
standard deviation: tasks whose data look alike agree with any gradient by accident. What counts is
what lies above the best of k such accidents, softplus(s_t − √(2 ln k)). A signature scores by half
of its evidence for a task, in nats (see `HubAddress`). With a_t the sum of the scores, the few
tasks of largest a_t are candidates, and the answer minimises energy and penalty together,

    F(t) = penalty(z_t) − w a_t :

−a_t is the energy of the state (z_t, κ_t) in the field of the pointers, but for constants. A search
that may stop early compares a first candidate with no other where its a_t leads clearly; see
`Search.min_margin`.

Where tasks have extras, a penalty is given them beside the masks: those of the candidate, and at μ
their mean over the tasks. It is differentiated by the masks alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, log
from typing import Any

import torch
from torch import Tensor

from hopmask._checks import is_whole
from hopmask.couplings.hub import HubCouplings
from hopmask.errors import ConfigError, CueError
from hopmask.memory.chance import beyond_chance, population_means
from hopmask.memory.features import STRANGE, as_sets
from hopmask.memory.hub_address import HubAddress
from hopmask.memory.hub_found import Found, HeldMasks
from hopmask.memory.mask_penalty import MaskPenalty, on_levels
from hopmask.memory.pointer_scores import pointer_scores
from hopmask.patterns.digest_code import DigestCode
from hopmask.recall.dynamics import SETTLE
from hopmask.recall.options import BASINS, OF_DATA, Search
from hopmask.recall.penalty import (
    Penalty,
    PointingPenalty,
    check_penalty,
    evaluate,
    of_rows,
    slope,
)
from hopmask.recall.result import Hit, Trace

WEIGHT = 0.5  # w, unless a search says otherwise
_EVIDENCE = 0.5  # weight of a nat of the address's evidence, whose model is more certain than right
_AHEAD = 16  # masks of candidates that one pass recalls, where few rows go on to the next
_LEAD = 4.0  # of agreement: where a candidate is that far ahead, it needs no comparison
_BEYOND_CHANCE = 5.0  # agreement with a damaged mask, in standard deviations of chance


class HubRecall:
    """One recall from a hub memory, validated.

    Args:
        couplings: of the memory; not empty.
        code: of its patterns.
        address: its content address; or None.
        options: of the search.
        mean_values: mean of the tasks' extras, float32 (values,).

    Raises:
        ConfigError: options that such a recall would ignore.
    """

    def __init__(
        self,
        couplings: HubCouplings,
        code: DigestCode,
        address: HubAddress | None,
        options: Search,
        *,
        mean_values: Tensor,
    ) -> None:
        self._couplings, self._code, self._address = couplings, code, address
        self._options, self._mean_values = options, mean_values
        if options.dynamics is not SETTLE:
            raise ConfigError(
                "dynamics are of dense couplings: a hub memory recalls in one update: leave "
                "them out"
            )

    def by_number(self, tasks: Tensor, *, flat: bool) -> Hit:
        """The masks of live tasks (b,); `flat` for an answer without batch dimension."""
        self._refuse_options_of_data()
        return self._hit(self._recalled(tasks), flat=flat)

    def by_cue(self, cue: Mapping[str, Tensor]) -> Hit:
        """The masks that agree best with damaged or partial ones."""
        self._refuse_options_of_data()
        pointer, flat = self._pointer(cue)
        tasks = self._alive(self._couplings.overlaps(pointer)).argmax(-1)
        found = self._recalled(tasks)
        means, _ = population_means(self._mean, self._couplings.count)
        spins = found.recalled.spins[:, : self._code.bits].float() * 2 - 1
        recognized = beyond_chance(pointer, spins, means) >= _BEYOND_CHANCE
        return self._hit(found, flat=flat, recognized=recognized)

    def by_data(
        self,
        *,
        cue: Mapping[str, Tensor] | None,
        signature: Tensor | None,
        penalty: MaskPenalty | None,
        batch: int | None,
    ) -> Hit:
        """The masks of lowest F, see the module; arguments as of `MaskMemory.recall`."""
        check_penalty(penalty)
        if batch is not None and (cue is not None or signature is not None or not is_whole(batch)):
            raise CueError(f"batch= ({batch!r}) goes with penalty= alone and must be positive")
        scores: list[Tensor] = []
        flat, strange = batch is None, None
        if cue is not None:
            pointer, one = self._pointer(cue)
            flat &= one
            scores.append(self._scores(pointer))
        if signature is not None:
            evidence, strange = self._evidence(signature, alone=cue is None and penalty is None)
            flat &= signature.ndim == 1
            scores.append(evidence)
        rows = {len(score) for score in scores} | ({batch} if batch else set())
        if len(rows - {1}) > 1:
            raise CueError(f"cue and signature must have one batch size, got {sorted(rows)}")
        count = max(rows, default=1)
        agreement = self._couplings.wide.new_zeros(count, self._couplings.hubs).double()
        for score in scores:
            agreement = agreement + score
        compared: Penalty | None = None
        if penalty is not None:
            mean, code = (1 + self._mean) / 2, self._code
            compared = pointing = on_levels(penalty, code.layout, code.extras, flat=flat)
            if isinstance(penalty, PointingPenalty):
                pointing = on_levels(penalty.pointing(), code.layout, code.extras, flat=flat)

            def at_mean_extras(levels: Tensor) -> Tensor:
                return pointing(self._with_extras(levels, self._mean_values))

            agreement = agreement + self._scores(-slope(at_mean_extras, mean.expand(count, -1))[1])
        agreement = self._alive(agreement)
        found = self._named(agreement) if compared is None else self._tried(agreement, compared)
        recognized = found.margin >= self._options.recognition_margin
        if strange is not None:
            recognized = recognized & (strange < STRANGE)
        return self._hit(found, flat=flat, recognized=recognized)

    @property
    def _mean(self) -> Tensor:
        return self._couplings.mask_mean[: self._code.bits]

    @property
    def _weight(self) -> float:
        return self._options.agreement_weight or WEIGHT

    def _refuse_options_of_data(self) -> None:
        if unread := self._options.given("max_basins", *OF_DATA):
            raise ConfigError(
                f"{unread} is of a recall from hubs by data: leave it out, or give a signature or "
                "a penalty"
            )

    def _pointer(self, cue: Mapping[str, Tensor]) -> tuple[Tensor, bool]:
        """A damaged or partial mask as levels in [-1, 1], (b, bits), and whether it is just one."""
        parts = self._code.layout.levels(cue)
        rows = max([len(part) for _, part in parts if part.ndim == 2], default=1)
        like = self._couplings
        joined = torch.zeros(rows, self._code.bits, dtype=like.dtype, device=like.device)
        for where, part in parts:
            joined[:, where] = part.to(joined)
        return joined, all(part.ndim == 1 for _, part in parts)

    def _scores(self, pointer: Tensor) -> Tensor:
        return pointer_scores(self._couplings, pointer, self._mean)

    def _evidence(self, signature: Tensor, *, alone: bool) -> tuple[Tensor, Tensor]:
        """Evidence for each task (b, K), and strangeness (b,).

        A task that was stored without a signature cannot be named by one. Where more than the
        signature points, its data count as likely as those of a task drawn from all others,
        log mean_t p(x | t): below the best of them, and by no more than the log of their number.
        """
        if self._address is None:
            raise CueError(
                "this memory has no content address: build it with signature_features=1024"
            )
        evidence, strange = self._address.evidence(as_sets(signature))
        if not alone:
            mean = evidence.logsumexp(-1, keepdim=True) - log(self._address.count)
            evidence = torch.where(evidence.isinf(), mean, evidence)
        return _EVIDENCE * evidence.double(), strange

    def _alive(self, scores: Tensor) -> Tensor:
        return scores.masked_fill(~self._couplings.live, -inf)

    def _recalled(self, tasks: Tensor) -> Found:
        """Masks of tasks (b,), each recalled once; nothing was compared."""
        return self._held(tasks).of(tasks)

    def _held(self, tasks: Tensor) -> HeldMasks:
        """Masks of tasks, of any shape, from one pass over the couplings."""
        tasks = tasks.to(self._couplings.device).flatten()
        distinct = torch.unique(tasks)
        if len(distinct) == len(tasks):
            distinct = tasks  # in their order, in which masks need no copy
        found = self._couplings.recall(distinct)
        return HeldMasks(distinct, found, self._code.holds(distinct, found.spins))

    def _named(self, agreement: Tensor) -> Found:
        """The task of largest a_t (b, K)."""
        best = agreement.topk(min(2, agreement.shape[-1]), -1).values
        return replace(self._recalled(agreement.argmax(-1)), margin=self._lead(best))

    def _tried(self, agreement: Tensor, penalty: Penalty) -> Found:
        """The task of lowest F among the few of largest a_t (b, K)."""
        batch, bits = len(agreement), self._code.bits
        few = min(self._options.max_basins or BASINS, self._couplings.count)
        scores, tasks = agreement.topk(few, -1)
        rows = torch.arange(batch, device=agreement.device)  # those whose margin is not clear
        chance = self._of_chance(penalty, batch)
        lead, options = self._lead(scores), self._options
        clear = max(_LEAD * self._weight, options.min_margin / 2, options.recognition_margin)
        lowest = torch.full((batch,), inf, dtype=torch.float64, device=agreement.device)
        next_lowest, own = lowest.clone(), lowest.clone()
        best: Found | None = None
        values: list[Tensor] = []
        visited: list[Tensor] = []
        shown, seen = lowest, tasks[:, 0]
        held, until = self._held(tasks[:, 0]), 1
        for place in range(few):
            if place == until:
                until += max(1, _AHEAD // len(rows))
                held = self._held(tasks[rows, place:until])
            tried = held.of(tasks[rows, place])
            spins = tried.recalled.spins
            masks = spins[:, :bits].to(self._couplings.dtype)
            levels = self._with_extras(masks, self._code.values_of(spins))
            here = penalty if len(rows) == batch else of_rows(penalty, rows, batch, fill=0.5)
            with torch.no_grad():
                value = evaluate(here, levels).double()
            total = value - self._weight * scores[rows, place]
            better = total < lowest[rows]
            next_lowest[rows] = torch.minimum(next_lowest[rows], lowest[rows].maximum(total))
            lowest[rows] = lowest[rows].minimum(total)
            own[rows] = torch.where(better, value, own[rows])
            best = tried if best is None else best.with_rows(rows[better], tried, better)
            best.steps[rows] += 1
            shown = shown.index_copy(0, rows, value)
            seen = seen.index_copy(0, rows, tasks[rows, place])
            values.append(shown)
            visited.append(seen)
            if place == 0:
                margin = torch.minimum(lead, chance - own)
                rows = rows[(lead < clear) | (chance - own < options.min_margin)]
            else:
                ahead = torch.minimum(next_lowest - lowest, chance - own)[rows]
                margin = margin.index_copy(0, rows, ahead)
                rows = rows[ahead < options.min_margin]
            if len(rows) == 0:
                break
        assert best is not None
        found = replace(best, margin=margin)
        if self._options.trace:
            steps = [self._recalled(some) for some in visited]
            found = replace(found, trace=self._traced(found, steps, values))
        return found

    def _lead(self, best: Tensor) -> Tensor:
        """w (a_1 − a_2) of the largest a_t (b, few): the lead, were all penalties equal; (b,)."""
        if best.shape[-1] == 1:
            return torch.full_like(best[:, 0], inf)  # there is nothing to be ahead of
        return self._weight * (best[:, 0] - best[:, 1])

    def _of_chance(self, penalty: Penalty, batch: int) -> Tensor:
        """The penalty of one fixed random mask, with the mean extras, (b,)."""
        generator = torch.Generator().manual_seed(0)
        mask = torch.randint(0, 2, (self._code.bits,), generator=generator, device="cpu")
        with torch.no_grad():
            levels = mask.to(self._mean).expand(batch, -1)
            return evaluate(penalty, self._with_extras(levels, self._mean_values)).double()

    def _with_extras(self, levels: Tensor, values: Tensor) -> Tensor:
        """Levels of masks (b, bits) and extras (values,) or (b, values) in a row."""
        if self._code.values == 0:
            return levels  # masks take many bytes to copy
        return torch.cat([levels, values.to(levels).expand(len(levels), -1)], -1)

    def _traced(self, found: Found, steps: Sequence[Found], values: Sequence[Tensor]) -> Trace:
        """One step for each candidate; a row that was done earlier keeps its last candidate."""

        def states_of(one: Found) -> Tensor:
            return one.recalled.spins.to(self._couplings.dtype) * 2 - 1

        states = torch.stack([states_of(one) for one in steps])
        return Trace(
            basin=torch.arange(len(states), device=states.device),
            energy=torch.stack([-one.recalled.absolute for one in steps]),
            penalty=torch.stack([*values]) if values else None,
            overlap=(states * states_of(found)).mean(-1),
            states=states,
        )

    def _hit(self, found: Found, *, flat: bool, recognized: Tensor | None = None) -> Hit:
        spins, absolute, square, silent = found.recalled
        if self._options.trace and found.trace is None:
            found = replace(found, trace=self._traced(found, [found], []))
        size = self._couplings.neurons
        residual = (1 - absolute.square() / (size * square.clamp_min(1e-30))).clamp(0, 1)
        masks, extras = self._code.masks_of(spins), self._code.extras_of(spins)
        if flat:
            masks = {name: mask[0] for name, mask in masks.items()}
            extras = {name: value[0] for name, value in extras.items()}

        def plain(value: Tensor) -> Any:
            return value[0].item() if flat else value

        return Hit(
            masks=masks,
            extras=extras,
            task=plain(found.task),
            residual=plain(residual),
            energy=plain(-absolute),
            steps=plain(found.steps),
            verified=plain(found.verified),
            margin=plain(found.margin),
            recognized=plain(found.verified if recognized is None else recognized),
            unstable=plain(silent),
            trace=found.trace,
        )
