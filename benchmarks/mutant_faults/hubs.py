"""Faults of hub memories."""

from mutant_faults.fault import Fault

FAULTS = (
    # Hub couplings
    Fault(
        "hub-not-replaced",  # Hebb in the place of Storkey: the old mask stays
        "hopmask/couplings/hub.py",
        "change = change - self._mask(task, held)",
        "change = change - 0 * self._mask(task, held)",
    ),
    Fault(
        "open-signs-believed",  # of fields that rounding may have turned
        "hopmask/couplings/hub.py",
        "_OPEN = 2**-8",
        "_OPEN = 0.0",
    ),
    Fault(
        "wide-twice",  # wide columns in the narrow matrix as well
        "hopmask/couplings/hub.py",
        "key[0, :: self.keys.born] = 0",
        "key[0, 1 :: self.keys.born] += 0",
    ),
    Fault("grown-alike", "hopmask/patterns/hadamard.py", "+ tasks // self.born * self.born", ""),
    Fault(
        "grown-negated",  # [A −A]
        "hopmask/couplings/hub_state.py",
        "grown.view(self.neurons, 2, -1)[:] = self.narrow[:, None]",
        "grown.view(self.neurons, 2, -1)[:, 1] = -self.narrow",
    ),
    Fault("saturates", "hopmask/couplings/hub.py", "if peak > largest:", "if False:"),
    Fault(
        "digits-overlap",
        "hopmask/couplings/integer_products.py",
        "(self.whole(where).int() + _MIDDLE) ^ _MIDDLE",
        "self.whole(where).int() ^ 0",
    ),
    Fault(
        "tile-too-tall",  # sums beyond 2^24
        "hopmask/couplings/integer_products.py",
        "_ROWS = 1024",
        "_ROWS = 65536",
    ),
    Fault(
        "digest-of-masks-alone",  # the number is left out
        "hopmask/patterns/digest_code.py",
        '+ task.to_bytes(8, "little")',
        "",
    ),
    Fault(
        "dead-tasks-answer",
        "hopmask/memory/hub_recall.py",
        "return scores.masked_fill(~self._couplings.live, -inf)",
        "return scores",
    ),
    Fault(
        "entropy-alone",  # energy and penalty one after the other
        "hopmask/memory/hub_recall.py",
        "total = value - self._weight * scores[rows, place]",
        "total = value",
    ),
    Fault(
        "mean-not-forgotten",
        "hopmask/memory/hub_address.py",
        'self.sums["link"] -= self._means(task)[:, None] * self._key(task)',
        "pass",
    ),
    Fault(
        "groups-without-their-share",  # log G_t
        "hopmask/memory/readout.py",
        "offset = (apart * readout).sum(0) / 2 + prior",
        "offset = (apart * readout).sum(0) / 2",
    ),
    Fault(
        "covariance-across-groups",
        "hopmask/memory/features.py",
        "rest = self.of(some, scale) - means[group]",
        "rest = self.of(some, scale) - means.mean(0)",
    ),
    Fault(
        "unaddressed-ruled-out",
        "hopmask/memory/hub_recall.py",
        "evidence = torch.where(evidence.isinf(), mean, evidence)",
        "pass",
    ),
    Fault(
        "address-not-merged",
        "hopmask/memory/hub_masks.py",
        "self.address.add(other.address)",
        "pass",
    ),
    Fault(
        "extras-stay",
        "hopmask/memory/hub_masks.py",
        "self.extras_sum -= self._whole_extras(held)",
        "pass",
    ),
    Fault(
        "levels-even",
        "hopmask/couplings/levels.py",
        "2 * code + 1 - 2**levels.bits",
        "2 * code - 2**levels.bits",
    ),
    Fault(
        "rounded-once",  # no neuron anew
        "hopmask/couplings/levels.py",
        "going = (wrong > 0) & (wrong <= most)",
        "going = wrong < 0",
    ),
    Fault(
        "step-of-all",  # the mean over neurons
        "hopmask/couplings/levels.py",
        "variance.clamp_min(_LEAST).sqrt()",
        "variance.mean().expand(len(variance)).clamp_min(_LEAST).sqrt()",
    ),
    Fault(
        "wide-of-any-size",
        "hopmask/memory/hub_document.py",
        "if not -count <= wide.min() <= wide.max() <= count or parity != count % 2:",
        "if parity != count % 2:",
    ),
)
