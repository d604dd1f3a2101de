"""Random patches: vectors of images by which a task is recognised."""

import pytest
import torch
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge.inference.patches import patches


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(28, 28), (3, 32, 32), (1, 8, 8), (2, 9, 30), (64,)])
def test_every_image_has_a_vector_of_length_about_1(shape: tuple[int, ...]) -> None:
    found = patches(images(5, *shape), seed=0)
    assert found.ndim == 2
    torch.testing.assert_close(found.square().mean(1), torch.ones(5))
    assert bool((found >= 0).all())


def test_a_flat_square_is_the_image_that_it_is() -> None:
    square = images(4, 12, 12)
    found = patches(square, seed=0)
    assert torch.equal(patches(square.flatten(1), seed=0), found)
    assert torch.equal(patches(square[:, None], seed=0), found)


def test_an_image_has_the_same_vector_alone_and_among_others() -> None:
    many = images(7, 28, 28)
    torch.testing.assert_close(patches(many[3:4], seed=0)[0], patches(many, seed=0)[3])


def test_brightness_and_contrast_change_nothing_within_the_image() -> None:
    """Filters have mean 0, so that a constant adds nothing but at the edges; length is 1."""
    inner = torch.zeros(1, 28, 28)
    inner[:, 8:20, 8:20] = images(1, 12, 12)
    torch.testing.assert_close(patches(3 * inner, seed=0), patches(inner, seed=0))


def test_a_pixel_to_the_side_changes_patches_less_than_pixels() -> None:
    stroke = torch.zeros(1, 28, 28)
    stroke[:, 6:22, 13] = 1

    def alike(one: Tensor, other: Tensor) -> float:
        return float(torch.cosine_similarity(one.flatten(), other.flatten(), dim=0))

    moved = stroke.roll(1, -1)
    assert alike(stroke, moved) == 0
    assert alike(patches(stroke, seed=0), patches(moved, seed=0)) > 0.6


def test_seeds_make_other_filters() -> None:
    assert not torch.allclose(patches(images(1, 8, 8), seed=0), patches(images(1, 8, 8), seed=1))


def test_an_empty_image_is_silent() -> None:
    assert not patches(torch.zeros(2, 8, 8), seed=0).any()


@pytest.mark.parametrize("shape", [(5, 63), (5,), (2, 1, 3, 8, 8)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="patches"):
        patches(images(*shape), seed=0)
