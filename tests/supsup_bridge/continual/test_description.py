"""What the content address is given of a task's images, however they are read."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from supsup_bridge.continual.description import Described, described
from supsup_bridge.inference.signatures import DESCRIBED, Signature, pixels
from supsup_bridge.training.data import LessonData, lesson_data


def of(data: object, signature: Signature = pixels, *, grouped: bool = True) -> Described:
    lesson: LessonData = lesson_data(data)
    generator, device = torch.Generator().manual_seed(0), torch.device("cpu")
    return described(signature, lesson, grouped=grouped, generator=generator, device=device)


def rows(found: Described) -> tuple[list[int], list[Tensor], list[Tensor]]:
    """Lengths of the parts, and all signatures and labels in an order of their own."""
    assert isinstance(found.signature, Iterable)
    assert isinstance(found.groups, Iterable)
    parts, groups = [], list[Tensor]()
    labels = iter(found.groups)
    for part in found.signature:
        parts.append(part)
        while sum(map(len, groups)) < sum(map(len, parts)):
            groups.append(next(labels))
    assert next(labels, None) is None
    signatures = torch.cat(parts)
    order = signatures[:, 0].argsort()
    return [len(part) for part in parts], [*signatures[order]], [*torch.cat(groups)[order]]


@pytest.mark.parametrize("count", [5, DESCRIBED + 1000])
def test_a_data_set_is_described_as_its_tensors_are(count: int) -> None:
    images, labels = torch.arange(2.0 * count).reshape(count, 2), torch.arange(count) % 3
    whole = of((images, labels))
    lengths, signatures, groups = rows(of(TensorDataset(images, labels)))
    assert lengths == [min(count, DESCRIBED)]
    assert isinstance(whole.signature, Tensor)
    assert isinstance(whole.groups, Tensor)
    assert torch.equal(torch.stack(signatures), whole.signature)
    assert torch.equal(torch.stack(groups), whole.groups)


def test_batches_of_a_loader_come_in_parts_of_bounded_size() -> None:
    images, labels = torch.arange(10.0)[:, None], torch.arange(10) % 2

    def wide(images: Tensor) -> Tensor:
        return images.expand(len(images), 1 << 21)

    lengths, signatures, groups = rows(of(DataLoader(TensorDataset(images, labels)), wide))
    assert lengths == [4, 4, 2]
    assert [float(signature[0]) for signature in signatures] == [*range(10)]
    assert torch.equal(torch.stack(groups), labels)


def test_labels_stay_out_where_the_address_has_no_groups() -> None:
    found = of(DataLoader(TensorDataset(torch.eye(3), torch.arange(3))), grouped=False)
    assert found.groups is None
    assert [len(part) for part in found.signature] == [3]
