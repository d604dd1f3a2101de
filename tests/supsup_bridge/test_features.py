"""The signature of a set of images."""

import pytest
import torch
from torch import Tensor

from supsup_bridge import KernelMean


def mean_kernel(a: Tensor, b: Tensor, width: float) -> float:
    """Mean over all pairs of exp(-width² |x - y|² / 2), pair by pair."""
    values = [torch.exp(-(width**2) * (x - y).square().sum() / 2) for x in a for y in b]
    return float(torch.stack(values).mean())


@pytest.mark.parametrize("shift", [0.0, 0.15, 0.4])
def test_inner_product_approximates_the_mean_gaussian_kernel(shift: float, generator) -> None:
    embed = KernelMean(16, features=40_000, generator=generator(0))
    width = float(embed.directions.square().mean().sqrt())
    a = torch.randn(8, 16, generator=generator(1)) * 0.3
    b = torch.randn(6, 16, generator=generator(2)) * 0.3 + shift
    approximate = float(embed(a) @ embed(b)) * 2 / 40_000
    assert approximate == pytest.approx(mean_kernel(a, b, width), abs=0.02)


def test_directions_are_centred_and_of_one_width(generator) -> None:
    embed = KernelMean(8, features=20_000, generator=generator(0))
    spread = embed.directions.std(1)
    assert bool((embed.directions.mean(1).abs() < 5 * spread / 20_000**0.5).all())
    torch.testing.assert_close(spread, spread.mean().expand(8), rtol=0.05, atol=0)


def test_chunks_do_not_change_the_signature(generator) -> None:
    embed = KernelMean(5, features=32, generator=generator(0))
    images = torch.randn(23, 5, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(embed(images, chunk=4), embed(images, chunk=1000))


def test_signature_is_the_mean_of_the_images_own_signatures(generator) -> None:
    embed = KernelMean(5, features=32, generator=generator(0))
    images = torch.randn(9, 5, generator=generator(1), dtype=torch.float64)
    alone = torch.stack([embed(image[None]) for image in images])
    torch.testing.assert_close(embed(images), alone.mean(0))


def test_the_order_of_the_images_does_not_matter(generator) -> None:
    embed = KernelMean(5, features=32, generator=generator(0))
    images = torch.randn(9, 5, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(embed(images), embed(images.flip(0)))


def test_sets_of_images_are_embedded_as_one_by_one(generator) -> None:
    embed = KernelMean(5, features=32, generator=generator(0))
    images = torch.randn(4, 3, 7, 5, generator=generator(1), dtype=torch.float64)
    together = embed(images, chunk=2)
    assert together.shape == (4, 3, 32)
    torch.testing.assert_close(together[2, 1], embed(images[2, 1]))


def test_equal_generators_give_equal_embeddings(generator) -> None:
    images = torch.randn(3, 5, generator=generator(1))
    a, b = (KernelMean(5, features=16, generator=generator(7))(images) for _ in range(2))
    assert torch.equal(a, b)


def test_signature_has_the_type_of_the_images(generator) -> None:
    embed = KernelMean(5, features=16, generator=generator(0))
    assert embed(torch.zeros(2, 5, dtype=torch.float64)).dtype == torch.float64
