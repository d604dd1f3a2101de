"""Event files for TensorBoard, read by TensorBoard itself."""

import sys
from pathlib import Path

import pytest

from hopmask.errors import MissingDependencyError
from supsup_bridge.adapters.tensorboard_scalars import TensorBoardScalars


def series(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_series_are_written_and_continued(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    scalars = TensorBoardScalars(tmp_path)
    scalars.add("loss", 3, "6 or 7", 1, 0.5)
    scalars.add("loss", 3, "6 or 7", 2, 0.25)
    scalars.close()
    scalars = TensorBoardScalars(tmp_path, continued=True)
    assert scalars.last() == {("loss", 3): 2}
    scalars.add("accuracy", 3, "6 or 7", 4, 1.0)
    scalars.close()
    assert series(tmp_path) == {
        "loss/3 6 or 7": [(1, 0.5), (2, 0.25)],
        "accuracy/3 6 or 7": [(4, 1.0)],
    }
    assert TensorBoardScalars.wrote(tmp_path / "tensorboard")


def test_without_tensorboard_the_error_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"hopmask\[log\]"):
        TensorBoardScalars(tmp_path)
    assert [*tmp_path.iterdir()] == []
