"""The README's example runs as it stands."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_python_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    for example in examples:
        names: dict[str, object] = {}
        exec(compile(example, str(README), "exec"), names)
        for name, test in names.items():
            if name.startswith("test_") and callable(test):
                test()


def test_readme_prints_the_two_commands() -> None:
    text = README.read_text(encoding="utf-8")
    assert "python -m pip install . && supsup run\n" in text
    assert "python -m pip install -e '.[test]' && python -m pytest\n" in text
