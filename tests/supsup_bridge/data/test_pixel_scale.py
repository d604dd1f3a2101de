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
    images = PixelScale(mean=(0.2,), std=(0.4,)).images(torch.tensor([[0, 51, 255]]))
    torch.testing.assert_close(images, torch.tensor([[-0.5, 0.0, 2.0]]))


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.1,), (0.0,)),
        ((0.1,), (-1.0,)),
        ((), ()),
        ((0.1,), (1.0, 1.0)),
        ((float("nan"),), (1.0,)),
    ],
    ids=str,
)
def test_what_no_pixels_have_is_refused(mean, std) -> None:
    with pytest.raises(ConfigError, match="mean"):
        PixelScale(mean=mean, std=std)
