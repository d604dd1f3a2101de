"""`supsup compare`."""

from pathlib import Path

import pytest

from supsup_bridge import cli
from supsup_bridge.runs.report import write_json


@pytest.fixture
def folders(finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of runs that differ in the memory, and in the outputs."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    runs = {"hopfield": {}, "bank": {"memory": "bank"}, "narrow": {"output_size": 50}}
    for name, changes in runs.items():
        (tmp_path / name).mkdir()
        write_json(finished(**changes).result(), tmp_path / name / "result.json")
    return [*runs]


def test_runs_are_compared_in_one_table_and_one_page(folders: list[str], capsys) -> None:
    assert cli.main(["compare", *folders[:2]]) == 0
    out, err = capsys.readouterr()
    (memory,) = [line for line in out.splitlines() if line.startswith("│ memory  ")]
    assert [cell.strip() for cell in memory.strip("│").split("│")] == ["memory", "hopfield", "bank"]
    assert out.splitlines()[-1] == "compare.html"
    assert "bank" in Path("compare.html").read_text(encoding="utf-8")
    assert err == ""


def test_a_run_that_is_not_alike_is_noted_with_the_command_of_one_that_is(
    folders: list[str], capsys
) -> None:
    assert cli.main(["compare", *folders]) == 0
    out, err = capsys.readouterr()
    assert "narrow is not like hopfield (outputs: 50, not 100)" in err
    assert "supsup run split-digits --tasks 2 --quick --device cpu" in out


def test_the_page_goes_where_it_is_wanted(folders: list[str], tmp_path: Path) -> None:
    assert cli.main(["compare", *folders, "--out", "bank/both.html"]) == 0
    assert (tmp_path / "bank" / "both.html").is_file()
    assert not (tmp_path / "compare.html").exists()


def test_names_of_runs_are_whole_in_a_narrow_terminal(
    folders: list[str], capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"split-digits-20260101-12000{second}" for second in (1, 2)]
    for folder, name in zip(folders, names, strict=False):
        Path(folder).rename(name)
    assert cli.main(["compare", *names]) == 0
    head = capsys.readouterr().out.split("┡")[0].splitlines()[1:]
    columns = zip(*([part.strip() for part in line.split("┃")[2:4]] for line in head), strict=True)
    assert ["".join(parts) for parts in columns] == names


@pytest.mark.parametrize("out", ["nowhere/page.html", "bank", "bank/result.json"])
def test_a_page_is_written_to_no_other_place(out: str, folders: list[str], capsys) -> None:
    before = Path("bank/result.json").read_bytes()
    assert cli.main(["compare", *folders, "--out", out]) == 2
    assert out in capsys.readouterr().err
    assert Path("bank/result.json").read_bytes() == before


def test_a_folder_that_cannot_be_read_leaves_no_page(folders: list[str], capsys) -> None:
    assert cli.main(["compare", *folders, "nowhere"]) == 2
    Path("narrow/result.json").write_text("{")
    assert cli.main(["compare", *folders]) == 1
    assert "narrow" in capsys.readouterr().err
    assert not Path("compare.html").exists()
