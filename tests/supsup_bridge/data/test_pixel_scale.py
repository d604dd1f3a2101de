"""From pixels to images: whole, by channel, and refused where no picture has such a scale."""

import pytest
import torch

from hopmask import ConfigError
from supsup_bridge import PixelScale


def test_each_channel_has_its_own_scale() -> None:
    scale = PixelScale(mean=(0.0, 0.2, 0.4), std=(1.0, 0.5, 0.25))
    pixels = torch.full((2, 3, 4, 5), 51, dtype=torch.uint8)
    images = scale.images(pixels)
    assert images.shape == pixels.shape
    torch.testing.assert_close(images[:, :, 0, 0], torch.tensor([[0.2, 0.0, -0.8]] * 2))
    assert int(pixels.sum()) == 51 * pixels.numel()  # untouched


def test_one_figure_is_for_all_pixels() -> None:
    pixels = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    images = PixelScale(mean=(0.2,), std=(0.4,)).images(pixels)
    torch.testing.assert_close(images, torch.tensor([[-0.5, 0.0, 2.0]]))


@pytest.mark.parametrize(
    ("mean", "std", "named"),
    [
        ((0.1,), (0.0,), "std"),
        ((0.1,), (-1.0,), "std"),
        ((0.1,), (1.0, 1.0), "std"),
        ((), (), "mean"),
        ((float("nan"),), (1.0,), "mean"),
        (("a",), (1.0,), "mean"),
        (0.5, 0.5, "mean"),
        ((0.5,), 0.5, "std"),
    ],
    ids=str,
)
def test_what_no_pixels_have_is_refused(mean, std, named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named} must"):
        PixelScale(mean=mean, std=std)


def test_a_centre_is_true_or_false() -> None:
    with pytest.raises(ConfigError, match="centre must be True or False"):
        PixelScale(mean=(0.5,), std=(0.5,), centre="no")


@pytest.mark.parametrize("kind", [torch.float32, torch.int64])
def test_only_bytes_are_pixels(kind: torch.dtype) -> None:
    with pytest.raises(ConfigError, match="must be uint8"):
        PixelScale(mean=(0.5,), std=(0.5,)).images(torch.zeros(3, dtype=kind))


@pytest.mark.parametrize("shape", [(4, 5, 3), (3, 4), (2, 1, 4, 5)])
def test_pixels_of_other_channels_are_refused(shape: tuple[int, ...]) -> None:
    scale = PixelScale(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    with pytest.raises(ConfigError, match="3, height, width"):
        scale.images(torch.zeros(shape, dtype=torch.uint8))
