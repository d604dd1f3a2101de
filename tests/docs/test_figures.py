"""Figures in the README and on the page of tables are those of the files under benchmarks/."""

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")}
TABLES = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
SHARE, ACCURACY, GIVEN = "exact_recall_rate", "accuracy", "accuracy_given_task"
# Wortsman et al. 2020: 250 tasks of PermutedMNIST, GNu; SplitCIFAR100, GG, with Transfer, without
THE_PAPERS = {"permuted-mnist": "0.9491", "split-cifar100": "0.9166", "random start": "0.8957"}
Row = dict[str, Any]


def rows(file: str, **wanted: object) -> list[Row]:
    """The rows of a file whose settings are those wanted, wherever a row has them."""
    found = []
    for row in json.loads((ROOT / "benchmarks" / file).read_text(encoding="utf-8")):
        settings = {**row, **row.get("config", {}), **row.get("options", {})}
        settings |= {name: row[name] for name in ("tasks", "memory", "masks") if name in row}
        if all(settings.get(name) == value for name, value in wanted.items()):
            found.append(row)
    return found


def figure(key: str, found: list[Row], *, runs: int) -> float:
    """The mean over so many runs."""
    assert len(found) == runs
    return mean(row[key] for row in found)


def _hashed(images: int) -> list[Row]:
    return rows("split_mnist.json", masks="hashed", recall="both", infer_samples=images)


def _named(protocol: str, way: str) -> list[Row]:
    return rows("image_protocol.json", signature="patches", way=way, protocol=protocol)


def _many(memory: str, masks: str, **wanted: object) -> list[Row]:
    common = {"benchmark": "permuted-mnist", "tasks": 250, "infer_samples": 1}
    return rows("recall.json", memory=memory, masks=masks, **common, **wanted)


CIFAR100 = {
    **{"benchmark": "split-cifar100", "tasks": 20, "classes_per_task": 5, "masks": "weight"},
    **{"memory": "hopfield", "seed": 0, "sparsity": None},
}


def _cifar100(start: str, epochs: int) -> float:
    """Accuracy of all of SplitCIFAR100."""
    wanted = {**CIFAR100, "mask_init": start, "epochs": epochs}
    (row,) = (row for row in rows("pictures.json") if wanted.items() <= row["run"].items())
    accuracy: float = row[ACCURACY]
    return accuracy


BANK = rows("supsup.json", benchmark="split-mnist", inference="argmax")
# benchmark, memory, images -> the runs, how many, and the key of "mask right"
SOURCES: dict[tuple[str, str, str], tuple[list[Row], int, str]] = {
    ("split-mnist", "hopfield, hashed masks", "64"): (_hashed(64), 3, SHARE),
    ("split-mnist", "hopfield, hubs", "1"): (_named("batch", "posterior"), 3, "task_right"),
    ("split-mnist", "hopfield, hubs, `--protocol image`", "itself"): (
        *(_named("image", "posterior"), 3, "task_right"),
    ),
    ("split-mnist", "hopfield, hashed masks", "1"): (_hashed(1), 3, SHARE),
    ("split-mnist", "bank, largest real logit", "1"): (BANK, 3, "task_inference_accuracy"),
    ("permuted-mnist", "hopfield, hubs", "1"): (
        *(_many("hopfield", "weight", recall="entropy", objective="G"), 1, SHARE),
    ),
    ("permuted-mnist", "hopfield, hashed masks", "1"): (_many("hopfield", "hashed"), 1, SHARE),
    ("permuted-mnist", "bank of the same masks, One-Shot, G", "1"): (
        *(_many("bank", "weight"), 1, SHARE),
    ),
}


def _cells() -> dict[tuple[str, str, str], list[str]]:
    """Of the README's table of results: what a row is of -> its figures."""
    lines = re.findall(r"^\| ((?:split|permuted)-mnist .*) \|$", README, re.MULTILINE)
    table = [line.split(" | ") for line in lines]
    return {(row[0], row[2], row[3]): row[4:] for row in table}


def test_every_row_of_the_readme_has_a_source() -> None:
    assert _cells().keys() == SOURCES.keys()


@pytest.mark.parametrize("row", SOURCES, ids=" ".join)
def test_a_row_of_the_readme_has_the_figures_of_its_file(row: tuple[str, str, str]) -> None:
    right, accuracy, given, paper = _cells()[row]
    runs, count, key = SOURCES[row]
    digits = len(right.partition(".")[2])
    assert right == f"{figure(key, runs, runs=count):.{digits}f}"
    assert accuracy == f"{figure(ACCURACY, runs, runs=count):.4f}"
    assert given == f"{figure(GIVEN, runs, runs=count):.4f}"
    assert paper in ("–", THE_PAPERS.get(row[0]))


def _papers_recall(tasks: int) -> float:
    """The share of hashed masks that the paper's own recall finds in Storkey's couplings."""
    wanted = {"masks": "hashed", "rule": "storkey", "way": "paper", "tasks": tasks}
    return figure("exact", rows("recall_curve.json", **wanted), runs=1)


def _sentences() -> list[str]:
    """What the README says of figures outside its table."""
    posterior = figure("task_right", _named("image", "posterior"), runs=3)
    entropy = figure("task_right", _named("image", "entropy alone"), runs=3)
    address = figure(ACCURACY, _named("image", "address alone"), runs=3)
    digits = rows("split_digits.json", masks="weight", recall="both", infer_samples=1)
    (memory,) = {row["bytes"]["memory"] for row in digits}
    (packed,) = {row["bytes"]["packed_masks"] for row in digits}
    hashed = figure(ACCURACY, _many("hopfield", "hashed"), runs=1)
    weight = figure(ACCURACY, SOURCES["permuted-mnist", "hopfield, hubs", "1"][0], runs=1)
    return [
        f"accuracy {_cifar100('mean', 60):.4f} with Transfer",
        f"and {_cifar100('random', 80):.4f} from random starts",
        f"beside {THE_PAPERS['split-cifar100']} and {THE_PAPERS['random start']} of SupSup",
        f"five split-mnist tasks, {_papers_recall(10):.2f} of ten and {_papers_recall(20):.2f}",
        f"names task and label as well ({address:.4f})",
        f"about one image in {1 / (1 - posterior):.0f} finds the mask of another task",
        f"(by entropy alone one in {1 / (1 - entropy):.0f})",
        f"keeps {memory / 1e6:.1f} MB",
        f"a list of its five masks takes {packed / 1e3:.0f} kB",
        f"{hashed:.2f} against {weight:.2f} with one bit per weight on permuted-mnist",
    ]


def test_figures_in_the_readmes_sentences_are_those_of_the_files() -> None:
    text = " ".join(README.split())
    assert [said for said in _sentences() if said not in text] == []


def test_no_figure_of_the_readme_goes_unchecked() -> None:
    prose = re.sub(r"```.*?```|\(http.*?\)", "", README, flags=re.DOTALL)
    cells = {cell for row in _cells().values() for cell in row}
    checked = cells | set(re.findall(r"\b0\.\d+\b", " ".join(_sentences())))
    assert set(re.findall(r"\b0\.\d+\b", prose)) - checked == set()


def test_no_figure_on_the_page_of_tables_is_typed_by_hand() -> None:
    assert re.findall(r"\d\.\d+", re.sub(r"```.*?```", "", TABLES, flags=re.DOTALL)) == []


def test_the_page_of_tables_shows_every_file() -> None:
    files = sorted((ROOT / "benchmarks").glob("*.json"))
    assert [file.name for file in files if f"benchmarks/{file.stem}." not in TABLES] == []


def test_one_page_says_what_was_measured_on_a_gpu_and_others_link_to_it() -> None:
    says = re.compile(r"(?:measured|measurements?)\s+on\s+a\s+GPU")
    assert [name for name, text in PAGES.items() if says.search(text)] == ["choosing.md"]
    links = [
        name for name, text in PAGES.items() if "choosing.md#one-machine-many-or-a-gpu" in text
    ]
    assert {"index.md", "tables.md", "measurements.md", "faq.md", "masks.md"} <= {*links}
