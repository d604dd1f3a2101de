"""`log.csv`: what is written, and what is continued."""

import csv
from pathlib import Path

import pytest

from hopmask import ConfigError
from supsup_bridge.adapters.csv_scalars import CsvScalars


def rows(folder: Path) -> list[list[str]]:
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [*csv.reader(file)]


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    scalars = CsvScalars(tmp_path)
    scalars.add("loss", 0, 'a "quoted", name', 1, 0.5)
    scalars.add("loss", 0, 'a "quoted", name', 2, float("nan"))
    scalars.add("accuracy", 0, "plain", 1, 1.0)
    scalars.close()
    return tmp_path


def test_a_row_for_every_scalar(begun: Path) -> None:
    assert rows(begun) == [
        ["figure", "task", "name", "step", "value"],
        ["loss", "0", 'a "quoted", name', "1", "0.5"],
        ["loss", "0", 'a "quoted", name', "2", "nan"],
        ["accuracy", "0", "plain", "1", "1.0"],
    ]


def test_a_row_is_in_the_file_at_once(tmp_path: Path) -> None:
    scalars = CsvScalars(tmp_path)
    scalars.add("loss", 3, "name", 7, 0.25)
    assert rows(tmp_path)[-1] == ["loss", "3", "name", "7", "0.25"]
    scalars.close()


def test_a_log_is_continued_or_replaced(begun: Path) -> None:
    before = rows(begun)
    scalars = CsvScalars(begun, continued=True)
    assert scalars.last() == {("loss", 0): 2, ("accuracy", 0): 1}
    scalars.add("loss", 1, "next", 1, 0.5)
    scalars.close()
    assert rows(begun) == [*before, ["loss", "1", "next", "1", "0.5"]]
    CsvScalars(begun).close()
    assert rows(begun) == before[:1]


@pytest.mark.parametrize("kept", [1, 5, 40])
def test_a_row_that_a_kill_cut_off_is_taken_out(begun: Path, kept: int) -> None:
    before, path = rows(begun), begun / "log.csv"
    torn = "loss,1,a name much longer than forty characters,12,0.25\n"
    path.write_text(path.read_text(encoding="utf-8") + torn[:kept], encoding="utf-8")
    scalars = CsvScalars(begun, continued=True)
    scalars.close()
    assert rows(begun) == before


def test_an_empty_file_is_begun(tmp_path: Path) -> None:
    (tmp_path / "log.csv").touch()
    CsvScalars(tmp_path, continued=True).close()
    assert len(rows(tmp_path)) == 1


def test_another_table_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("my,own\n1,2\n", encoding="utf-8")
    with pytest.raises(ConfigError):
        CsvScalars(tmp_path, continued=True)
    assert path.read_text(encoding="utf-8") == "my,own\n1,2\n"
