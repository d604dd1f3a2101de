"""Digests of masks and of networks."""

import torch
from torch import nn

from supsup_bridge import MaskedNetwork, UnitNetwork
from supsup_bridge.networks.digests import fingerprint, mask_digest


def test_digest_of_equal_masks_is_equal_whatever_their_type_and_order() -> None:
    a = {"x": torch.tensor([True, False, True]), "y": torch.tensor([False])}
    b = {"y": torch.tensor([0.0]), "x": torch.tensor([1.0, 0.0, 1.0])}
    assert mask_digest(a) == mask_digest(b)


def test_one_flipped_bit_changes_the_digest() -> None:
    mask = torch.zeros(1000, dtype=torch.bool)
    flipped = mask.clone()
    flipped[517] = True
    assert mask_digest({"bits": mask}) != mask_digest({"bits": flipped})


def test_a_bit_that_moves_to_another_layer_changes_the_digest() -> None:
    a = {"x": torch.tensor([True, False]), "y": torch.tensor([True])}
    b = {"x": torch.tensor([True]), "y": torch.tensor([False, True])}
    assert mask_digest(a) != mask_digest(b)


def test_masks_swapped_between_layers_change_the_digest() -> None:
    a, b = torch.tensor([True, False]), torch.tensor([False, True])
    assert mask_digest({"x": a, "y": b}) != mask_digest({"x": b, "y": a})


def units(seed: int, sizes: list[int] | None = None) -> UnitNetwork:
    return UnitNetwork(sizes or [4, 8, 3], network=torch.Generator().manual_seed(seed))


def test_a_fingerprint_is_that_of_the_weights_and_sizes() -> None:
    first = fingerprint(units(0))
    assert fingerprint(units(0)) == first
    assert len({first, fingerprint(units(1)), fingerprint(units(0, [4, 8, 4]))}) == 3


def test_a_fingerprint_sees_the_map_of_hashed_masks() -> None:
    module = nn.Linear(6, 5)
    maps = (torch.Generator().manual_seed(seed) for seed in (0, 1))
    hashed = [MaskedNetwork(module, "hashed", bits=8, spread=spread) for spread in maps]
    assert fingerprint(hashed[0]) != fingerprint(hashed[1])


def test_a_fingerprint_tells_weights_that_are_cut_from_weights_that_are_flipped() -> None:
    cut, flipped = (MaskedNetwork(nn.Linear(6, 5), masks) for masks in ("weight", "signed"))
    flipped.module.load_state_dict(cut.module.state_dict())
    assert fingerprint(cut) != fingerprint(flipped)


def test_a_fingerprint_sees_the_mode_of_batch_norms() -> None:
    module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
    trained, kept = MaskedNetwork(module.train()), MaskedNetwork(module.eval())
    assert fingerprint(trained) != fingerprint(kept)


class Projected(nn.Module):
    """Reads a buffer that its state_dict leaves out."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        drawn = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("projection", drawn, persistent=False)
        self.head = nn.Linear(6, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images @ self.projection)


def test_a_fingerprint_sees_buffers_that_a_state_dict_leaves_out() -> None:
    one, other = MaskedNetwork(Projected(0)), MaskedNetwork(Projected(1))
    other.module.load_state_dict(one.module.state_dict())
    assert fingerprint(one) != fingerprint(other)
    again = MaskedNetwork(Projected(0))
    again.module.load_state_dict(one.module.state_dict())
    assert fingerprint(one) == fingerprint(again)
