"""The pages in a real browser: headless Chromium, where one is installed."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from supsup_bridge import cli

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"),
)
_OWN = "not an origin"  # of what Chromium itself asks for, which is no page's doing


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What came of opening a page: its DOM, lines of the console, and addresses it asked for."""

    dom: str
    console: list[str]
    requests: list[str]


def opened(page: Path, folder: Path) -> Opened:
    """Open a page from its file; what Chromium writes goes into a new folder."""
    folder.mkdir()
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium is installed: there is no browser to open the page")
    log = folder / "net.json"
    flags = [*_FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    done = subprocess.run(
        [browser, *flags, page.resolve().as_uri()],
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=300,
    )
    events = json.loads(log.read_text(encoding="utf-8"))
    start = events["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [event.get("params", {}) for event in events["events"] if event["type"] == start]
    urls = [params["url"] for params in asked if params.get("initiator", _OWN) != _OWN]
    return Opened(
        dom=done.stdout,
        console=[line for line in done.stderr.splitlines() if ":CONSOLE" in line],
        requests=[url for url in urls if not url.startswith(("file:", "data:"))],
    )


def headings(dom: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", dom)


def test_what_a_page_says_and_asks_for_is_seen(tmp_path: Path) -> None:
    """A page unlike ours: it writes to the console, and asks for a picture."""
    page = tmp_path / "page.html"
    page.write_text(
        '<h1>a</h1><img src="http://127.0.0.1:9/a.png"><script>console.error("no")</script>'
    )
    found = opened(page, tmp_path / "browser")
    assert "<h1>a</h1>" in found.dom
    assert len(found.console) == 1
    assert found.requests == ["http://127.0.0.1:9/a.png"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run, some of whose inferences name the wrong task."""
    folder = tmp_path_factory.mktemp("runs") / "short"
    short = ["--quick", "--tasks", "3", "--device", "cpu", "--protocol", "image"]
    assert cli.main(["run", *short, "--recall", "entropy", "--out", str(folder)]) == 0
    return folder


def test_a_report_opens_without_an_error_or_a_request(run: Path, tmp_path: Path) -> None:
    found = opened(run / "report.html", tmp_path / "browser")
    assert found.console == []
    assert found.requests == []
    assert headings(found.dom) == [
        "Accuracy over tasks",
        "Accuracy matrix",
        "Which tasks are mistaken for which",
        "What recalls did",
        "Bytes and time",
        "Repeat this run",
        "Settings",
    ]
    assert found.dom.count("<svg") == found.dom.count("<figure") == 5


def test_a_comparison_opens_without_an_error_or_a_request(run: Path, tmp_path: Path) -> None:
    other, page = tmp_path / "other", tmp_path / "compare.html"
    other.mkdir()
    shutil.copy(run / "result.json", other)
    assert cli.main(["compare", str(run), str(other), "--out", str(page)]) == 0
    found = opened(page, tmp_path / "browser")
    assert found.console == []
    assert found.requests == []
    assert headings(found.dom) == [
        "Are they alike?",
        "Figures",
        "Accuracy over tasks",
        "Accuracy and inference at the end",
        "Settings that differ",
        "Repeat these runs",
    ]
    assert found.dom.count("<svg") == found.dom.count("<figure") == 2
