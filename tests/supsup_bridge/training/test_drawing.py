"""Batches of several tasks, drawn side by side."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hopmask import ConfigError
from supsup_bridge import MaskedNetwork, TrainingSettings, mlp
from supsup_bridge.training.batches import Batches, check_labels
from supsup_bridge.training.data import LoaderData, TensorData
from supsup_bridge.training.drawing import Gathered, SideBySide, drawn

OUTPUTS = 4


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data_of(count: int, images: int) -> list[TensorData]:
    return [
        TensorData(
            torch.randn(images, 3, generator=seeded(task)),
            torch.randint(0, OUTPUTS, (images,), generator=seeded(50 + task)).int(),
        )
        for task in range(count)
    ]


def alone(data: Sequence[TensorData], how: TrainingSettings) -> list[list[tuple[Tensor, Tensor]]]:
    """Batches of each task by itself."""
    return [list(one.batches(how, seeded(9 + task))) for task, one in enumerate(data)]


def gathered(data: Sequence[TensorData], how: TrainingSettings) -> Gathered:
    orders = [Batches(len(one.images), how, seeded(9 + i)) for i, one in enumerate(data)]
    return Gathered(data, orders, torch.device("cpu"))


def side_by_side(data: Sequence[TensorData], how: TrainingSettings) -> SideBySide:
    batches = [one.batches(how, seeded(9 + task)) for task, one in enumerate(data)]
    return SideBySide(batches, outputs=OUTPUTS)


SETTINGS = st.builds(TrainingSettings, epochs=st.integers(1, 3), batch=st.integers(1, 9))


@pytest.mark.parametrize("source", [gathered, side_by_side])
@given(how=SETTINGS, count=st.integers(1, 4), images=st.integers(1, 12))
def test_each_task_gets_the_batches_it_gets_alone(source, how, count, images) -> None:
    data = data_of(count, images)
    found = list(source(data, how))
    assert len(found) == how.steps(images)
    for task, batches in enumerate(alone(data, how)):
        for (images_at_once, labels_at_once), (pixels, labels) in zip(found, batches, strict=True):
            assert torch.equal(images_at_once[task], pixels)
            assert torch.equal(labels_at_once[task].long(), labels.long())


@pytest.mark.parametrize("source", [gathered, side_by_side])
def test_both_go_on_where_they_were_broken_off(source) -> None:
    how, data = TrainingSettings(epochs=3, batch=4), data_of(2, 10)
    expected = list(source(data, how))
    first, taken = source(data, how), 5
    for _, _batch in zip(range(taken), first, strict=False):
        pass
    states = [batches.state() for batches in first.batches]
    done = states[0]["done"]
    again = source(data, how)
    for batches, state in zip(again.batches, states, strict=True):
        batches.restore(state)
    rest = list(again)
    assert len(rest) == len(expected) - done
    for (a, b), (c, d) in zip(rest, expected[done:], strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_the_images_of_one_task_are_not_copied() -> None:
    images, labels = torch.randn(4, 3), torch.zeros(4, dtype=torch.long)
    network = MaskedNetwork(mlp([3, 5, OUTPUTS]))
    source = drawn(network, [LoaderData([(images, labels)])], TrainingSettings(), [seeded(0)])
    found, _ = next(iter(source))
    assert found.data_ptr() == images.data_ptr()


def test_types_of_images_that_differ_are_refused() -> None:
    data = data_of(2, 8)
    data[1] = TensorData(data[1].images.double(), data[1].labels)
    network = MaskedNetwork(mlp([3, 5, OUTPUTS]))
    with pytest.raises(ConfigError, match="data 1 has"):
        drawn(network, data, TrainingSettings(), [seeded(0), seeded(1)])


def test_labels_of_tensors_are_looked_at_once(monkeypatch) -> None:
    looks: list[int] = []

    def look(images: Tensor, labels: Tensor, outputs: int) -> None:
        looks.append(outputs)
        check_labels(images, labels, outputs)

    for room in ("data", "drawing"):
        monkeypatch.setattr(f"supsup_bridge.training.{room}.check_labels", look)
    network = MaskedNetwork(mlp([3, 5, OUTPUTS]))
    how = TrainingSettings(epochs=3, batch=4)
    assert len(list(drawn(network, data_of(2, 8), how, [seeded(0), seeded(1)]))) == 6
    assert looks == [OUTPUTS, OUTPUTS]
