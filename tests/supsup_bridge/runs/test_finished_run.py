"""A finished run, read from its folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hopmask import ConfigError
from hopmask.errors import CorruptStoreError, SchemaTooNewError
from supsup_bridge.runs import checkpoint
from supsup_bridge.runs.finished_run import read_run, read_runs
from supsup_bridge.runs.report import write_json


@pytest.fixture
def folder(finished, tmp_path: Path) -> Path:
    """Of a finished run."""
    path = tmp_path / "run"
    path.mkdir()
    write_json(finished().result(), path / "result.json")
    return path


def test_a_run_is_read_as_it_was_written(folder: Path, finished) -> None:
    experiment = finished()
    run = read_run(folder)
    assert run.name == "run"
    assert run.settings == experiment.settings
    assert run.result["accuracy_matrix"] == experiment.result()["accuracy_matrix"]


@pytest.mark.parametrize("changes", [{"scenario": "GG"}, {"scenario": "NNs"}, {"memory": "bank"}])
def test_every_kind_of_run_is_read(changes: dict, finished, tmp_path: Path) -> None:
    result = finished(**changes).result()
    write_json(result, tmp_path / "result.json")
    assert read_run(tmp_path).result == json.loads(json.dumps(result))


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=path.name):
            read_run(path)


def test_a_run_that_is_not_finished_is_refused(folder: Path) -> None:
    (folder / "result.json").rename(folder / "result.partial.json")
    with pytest.raises(ConfigError, match="start it anew"):  # there is no checkpoint
        read_run(folder)


def test_a_run_that_replaces_another_is_not_finished(folder: Path) -> None:
    """The result is the other's."""
    place = folder / checkpoint.FOLDER
    place.mkdir()
    (place / "run.h5").touch()
    with pytest.raises(ConfigError, match="--resume"):
        read_run(folder)


@pytest.mark.parametrize(
    "text", [b"", b'{"format": 1', b"[]", b"\xff\xfe", b"{}", b'{"format":', b"[" * 100_000]
)
def test_text_that_is_no_result_is_refused(text: bytes, folder: Path) -> None:
    (folder / "result.json").write_bytes(text)
    with pytest.raises((CorruptStoreError, SchemaTooNewError), match=r"result\.json"):
        read_run(folder)


def lacks(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(result: dict[str, Any]) -> None:
        for name in names[:-1]:
            result = result[name]
        del result[names[-1]]

    return change


DAMAGES = {
    "no accuracy": lacks("accuracy"),
    "no outputs": lacks("config", "output_size"),
    "no training": lacks("config", "preset", "training"),
    "no settings": lacks("settings"),
    "a share is a text": lambda result: result.update(accuracy="high"),
    "bytes are true": lambda result: result["bytes"].update(memory=True),
    "an unknown setting": lambda result: result["settings"].update(colour="red"),
    "a setting of another type": lambda result: result["settings"].update(seed="zero"),
    "a curve of numbers": lambda result: result.update(curve=[1, 2]),
    "a point without its accuracy": lambda result: result["curve"][0].pop("accuracy"),
    "a matrix with too few rows": lambda result: result["accuracy_matrix"].pop(),
    "a matrix of texts": lambda result: result["accuracy_matrix"].__setitem__(1, ["a", "b"]),
    "no recalls": lambda result: result["recall"].update(samples=0),
    "a share above 1": lambda result: result.update(task_inference_accuracy=2.0),
    "a share that is not a number": lambda result: result.update(accuracy=float("nan")),
    "an infinite time": lambda result: result["seconds"].update(total=float("inf")),
    "a matrix beyond 1": lambda result: result["accuracy_matrix"][1].__setitem__(0, 10**400),
    "a curve beyond 1": lambda result: result["curve"][0].update(accuracy=7),
    "quick of another type": lambda result: result["settings"].update(quick="yes"),
    "no matrix at all": lambda result: result.update(accuracy_matrix=None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_a_comparison_would_stumble_over_is_refused(damage: str, folder: Path) -> None:
    path = folder / "result.json"
    result = json.loads(path.read_text())
    DAMAGES[damage](result)
    path.write_text(json.dumps(result))
    with pytest.raises(CorruptStoreError, match=r"result\.json"):
        read_run(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    write_json({**result, "format": 2}, folder / "result.json")
    with pytest.raises(SchemaTooNewError):
        read_run(folder)


def test_one_run_or_one_folder_twice_is_no_comparison(folder: Path) -> None:
    for folders in ([folder], [folder, folder / ".." / folder.name]):
        with pytest.raises(ConfigError):
            read_runs(folders)


def test_folders_of_one_name_are_told_apart(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / folder.name
    other.mkdir(parents=True)
    write_json(json.loads((folder / "result.json").read_text()), other / "result.json")
    assert [run.name for run in read_runs([folder, other])] == [str(folder), str(other)]
