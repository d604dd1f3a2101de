"""Growth of a hub memory that is taken back where what it was for fails."""

from collections.abc import Iterator
from contextlib import contextmanager

from hopmask._undisturbed import undisturbed
from hopmask.couplings.hub_state import MOST_HUBS
from hopmask.errors import ConfigError
from hopmask.memory.hub_masks import HubMasks


@contextmanager
def growing(masks: HubMasks, hubs: int) -> Iterator[None]:
    """Grow to at least so many hubs, unless the block raises; see `MaskMemory.growing`."""
    if hubs <= masks.capacity:
        yield
        return
    if hubs > MOST_HUBS:
        raise ConfigError(f"a memory takes at most {MOST_HUBS} hubs, asked for {hubs}")
    couplings, address = masks.couplings, masks.address
    # growth makes new couplings, links and flags, and leaves these as they are
    before = couplings.narrow, couplings.wide, couplings.live
    numbered, extras_sum = masks.numbered, masks.extras_sum.clone()
    sums = {} if address is None else dict(address.sums)
    sums |= {name: sums[name].clone() for name in ("within", "scalars") if sums}
    known, length = (address.addressed, address.length) if address else (None, 0)
    try:
        while masks.capacity < hubs:
            masks.grow()
        yield
    except BaseException:
        with undisturbed():
            couplings.restore(*before, couplings.levels)
            masks.numbered, masks.extras_sum = numbered, extras_sum
            if address is not None and known is not None:
                address.restore(sums, known, length=length)
        raise
