"""Residual networks for images, without biases and affine normalisation."""

from collections.abc import Sequence

from torch import Tensor, nn

from supsup_bridge.networks.convolutional import ImageShape, convolution, linear, norm_of_maps


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut.

    Args:
        before: channels of the maps given.
        width: channels inside, and of the maps returned.
        stride: of the first convolution.
    """

    expansion = 1

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(before, width, 3, stride=stride, pad=1)
        self.bn1 = norm_of_maps(width)
        self.conv2 = convolution(width, width, 3, pad=1)
        self.bn2 = norm_of_maps(width)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(before, width, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (n, width, h, w)."""
        inner = self.relu(self.bn1(self.conv1(maps)))
        inner = self.bn2(self.conv2(inner))
        out: Tensor = self.relu(inner + self.downsample(maps))
        return out


class Bottleneck(nn.Module):
    """A 1×1, a 3×3 and a 1×1 convolution beside a shortcut; the 3×3 has the stride.

    Args:
        before: channels of the maps given.
        width: channels inside; four times as many are returned.
        stride: of the 3×3 convolution.
    """

    expansion = 4

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = width * self.expansion
        self.conv1 = convolution(before, width, 1)
        self.bn1 = norm_of_maps(width)
        self.conv2 = convolution(width, width, 3, stride=stride, pad=1)
        self.bn2 = norm_of_maps(width)
        self.conv3 = convolution(width, after, 1)
        self.bn3 = norm_of_maps(after)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(before, after, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (n, 4 width, h, w)."""
        inner = self.relu(self.bn1(self.conv1(maps)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        out: Tensor = self.relu(inner + self.downsample(maps))
        return out


class ResNet(nn.Module):
    """Four stages of residual blocks, the mean of each map, one linear layer.

    Args:
        block: kind of the blocks.
        depths: blocks of each stage.
        width: channels inside the first stage's blocks; each further stage has twice as many and
            halves the maps.
        shape: of an image.
        outputs: output units.
        large: a stem for large images (7×7, stride 2, max-pooled), which makes maps of a quarter
            of the side; else 3×3, which keeps it.

    Example:
        >>> import torch
        >>> net = ResNet(BasicBlock, (2, 2, 2, 2), width=20, shape=(3, 32, 32), outputs=5)
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])

    Source:
        He et al. 2016 (arXiv 1512.03385); the layers' names are torchvision's.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        *,
        width: int,
        shape: ImageShape,
        outputs: int,
        large: bool = False,
    ) -> None:
        super().__init__()
        side, stride, pad = (7, 2, 3) if large else (3, 1, 1)
        self.conv1 = convolution(shape[0], width, side, stride=stride, pad=pad)
        self.bn1 = norm_of_maps(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        before = width
        for stage, depth in enumerate(depths, 1):
            inside = width * 2 ** (stage - 1)
            after = inside * block.expansion
            first = block(before, inside, 1 if stage == 1 else 2)
            rest = [block(after, inside, 1) for _ in range(depth - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(first, *rest))
            before = after
        self.stages = len(depths)
        self.fc = linear(before, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, outputs) of images (n, *shape)."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in range(1, self.stages + 1):
            maps = self.get_submodule(f"layer{stage}")(maps)
        logits: Tensor = self.fc(maps.mean((-2, -1)))
        return logits


def gem_resnet18(shape: ImageShape, outputs: int) -> ResNet:
    """The reduced ResNet-18 of GEM: 20 channels where it has 64, a 3×3 stem; 1.09 M weights.

    Of (3, 32, 32) the last maps are 4×4, and their mean is GEM's average pool.

    Source:
        Lopez-Paz and Ranzato 2017 (GEM, arXiv 1706.08840), which SupSup uses on SplitCIFAR100:
        Wortsman et al. 2020 (arXiv 2006.14769), appendix.
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), width=20, shape=shape, outputs=outputs)


def resnet18(shape: ImageShape, outputs: int) -> ResNet:
    """ResNet-18 with the stem for large images; 11 M weights."""
    return ResNet(BasicBlock, (2, 2, 2, 2), width=64, shape=shape, outputs=outputs, large=True)


def resnet50(shape: ImageShape, outputs: int) -> ResNet:
    """ResNet-50 with the stem for large images; 23.5 M weights and those of the outputs."""
    return ResNet(Bottleneck, (3, 4, 6, 3), width=64, shape=shape, outputs=outputs, large=True)


def _shortcut(before: int, after: int, stride: int) -> nn.Module:
    """The identity, or a 1×1 convolution where maps change their form."""
    if stride == 1 and before == after:
        return nn.Identity()
    return nn.Sequential(convolution(before, after, 1, stride=stride), norm_of_maps(after))
