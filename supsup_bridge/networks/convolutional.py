"""Convolutional networks of a few layers, and the layers of all networks for images of shape.

No layer has a bias, and normalisations have no affine parameters: all that a network can learn is
its masks. Batch norms are in training mode, so that their statistics belong to the task.
"""

import torch
from torch import Tensor, nn

ImageShape = tuple[int, int, int]  # channels, height, width
_REAL = torch.float32


def convolution(before: int, after: int, side: int, *, stride: int = 1, pad: int = 0) -> nn.Conv2d:
    """A square convolution without bias.

    Example:
        >>> convolution(3, 20, 3, pad=1).weight.shape
        torch.Size([20, 3, 3, 3])
    """
    return nn.Conv2d(
        before, after, side, stride=stride, padding=pad, bias=False, device="cpu", dtype=_REAL
    )


def linear(before: int, after: int) -> nn.Linear:
    """A fully connected layer without bias."""
    return nn.Linear(before, after, bias=False, device="cpu", dtype=_REAL)


def norm_of_maps(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation of maps, without affine parameters."""
    return nn.BatchNorm2d(channels, affine=False, device="cpu", dtype=_REAL)


class LeNet5(nn.Sequential):
    """LeNet-5: convolutions of 6 and 16 channels, 5×5, max-pooled; 120, 84 units.

    With ReLU and max-pooling, as it is used today, and without normalisation.

    Args:
        shape: of an image, sides of 16 pixels or more.
        outputs: output units.

    Example:
        >>> LeNet5((1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])

    Source:
        LeCun et al. 1998, "Gradient-based learning applied to document recognition".
    """

    def __init__(self, shape: ImageShape, outputs: int) -> None:
        channels, *sides = shape
        left = [((side - 4) // 2 - 4) // 2 for side in sides]
        super().__init__(
            *(convolution(channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(convolution(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Flatten(),
            *(linear(16 * left[0] * left[1], 120), nn.ReLU()),
            *(linear(120, 84), nn.ReLU()),
            linear(84, outputs),
        )


class SmallAlexNet(nn.Module):
    """The AlexNet of the task-incremental literature: 64, 128, 256 channels; 2048, 2048 units.

    Kernels of 4, 3 and 2, each layer batch-normalised and each map max-pooled; 6.5 M weights on
    (3, 32, 32). Dropout is left out: a mask is trained and used on one and the same function.

    Args:
        shape: of an image, sides of 19 pixels or more.
        outputs: output units.

    Example:
        >>> SmallAlexNet((3, 32, 32), 10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    Source:
        Serra et al. 2018 (HAT, arXiv 1801.01423); with batch norm: Saha et al. 2021 (GPM, arXiv
        2103.09762), and so Kang et al. 2022 (WSN).
    """

    def __init__(self, shape: ImageShape, outputs: int) -> None:
        super().__init__()
        channels, *sides = shape
        left = [(((side - 3) // 2 - 2) // 2 - 1) // 2 for side in sides]
        self.conv1 = convolution(channels, 64, 4)
        self.bn1 = norm_of_maps(64)
        self.conv2 = convolution(64, 128, 3)
        self.bn2 = norm_of_maps(128)
        self.conv3 = convolution(128, 256, 2)
        self.bn3 = norm_of_maps(256)
        self.fc1 = linear(256 * left[0] * left[1], 2048)
        self.bn4 = _norm_of_units(2048)
        self.fc2 = linear(2048, 2048)
        self.bn5 = _norm_of_units(2048)
        self.fc3 = linear(2048, outputs)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, outputs) of images (n, *shape)."""
        maps = self.pool(self.relu(self.bn1(self.conv1(images))))
        maps = self.pool(self.relu(self.bn2(self.conv2(maps))))
        maps = self.pool(self.relu(self.bn3(self.conv3(maps))))
        units = self.relu(self.bn4(self.fc1(maps.flatten(1))))
        logits: Tensor = self.fc3(self.relu(self.bn5(self.fc2(units))))
        return logits


def _norm_of_units(units: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(units, affine=False, device="cpu", dtype=_REAL)
