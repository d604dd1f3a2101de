"""The rooms of both packages: imports run downwards, no circle, no reach into private names."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Top floor first. A room may import from the rooms below it, and from itself.
FLOORS = {
    "hopmask": (
        *("__init__", "cli", "testing", "capacity", "memory", "recall", "couplings", "patterns"),
        *("storage", "_precision", "_undisturbed", "_room", "_checks", "errors"),
    ),
    "supsup_bridge": (
        *("__init__", "cli", "adapters", "runs", "continual", "inference", "training", "stores"),
        *("data", "networks", "rng"),
    ),
}
LONGEST_FILE, LONGEST_CLASS = 400, 300
# Private names of other libraries, each behind one function, with what is done without them
FOREIGN = {
    ("hopmask/couplings/int8_product.py", "_int_mm"),
    ("hopmask/couplings/int8_product.py", "_weight_int8pack_mm"),
    ("supsup_bridge/networks/masked.py", "_parameters"),
    ("supsup_bridge/networks/masked.py", "_version"),
}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in FLOORS
    for path in sorted((ROOT / package).rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def imports(name: str) -> set[str]:
    """The modules of the project that a module imports."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & {*MODULES}
            found |= inner if len(inner) == len(node.names) else {node.module, *inner}
    return {module for module in found if module in MODULES and module != name}


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@pytest.mark.parametrize("package", FLOORS)
def test_every_module_lies_in_a_room(package: str) -> None:
    inside = [name for name in MODULES if name.split(".")[0] == package]
    assert [name for name in inside if room(name) not in FLOORS[package]] == []


def test_no_import_runs_upwards() -> None:
    upwards = []
    for name in MODULES:
        package = name.split(".")[0]
        floors = FLOORS[package]
        for other in imports(name):
            inside = other.split(".")[0] == package
            if inside and floors.index(room(other)) < floors.index(room(name)):
                top = room(name) == "cli" and other == package  # the command prints the version
                upwards += [] if top else [f"{name} imports {other}"]
    assert upwards == []


def test_no_circle_of_imports() -> None:
    try:
        TopologicalSorter({name: imports(name) - {"hopmask"} for name in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_core_names_no_client() -> None:
    named = [name for name, path in MODULES.items() if name.split(".")[0] == "hopmask"]
    texts = {name: MODULES[name].read_text(encoding="utf-8") for name in named}
    assert [name for name in named if "import supsup_bridge" in texts[name]] == []
    assert [name for name in named if "from supsup_bridge" in texts[name]] == []
    kept = {"hopmask.errors"}  # its base class is that of both packages
    assert [name for name in named if "supsup_bridge" in texts[name] and name not in kept] == []


def test_the_bridge_imports_only_what_the_core_exports() -> None:
    doors = {"hopmask", "hopmask.errors", "hopmask.storage", "hopmask.capacity"}
    reached = []
    for name in MODULES:
        if name.split(".")[0] == "supsup_bridge":
            others = {other for other in imports(name) if other.split(".")[0] == "hopmask"}
            reached += [f"{name} imports {other}" for other in others - doors]
    assert reached == []


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_no_module_reaches_into_private_names_of_another() -> None:
    reached = []
    for name, tree in TREES.items():
        own = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("self", "cls")
        }
        own |= {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        where = MODULES[name].relative_to(ROOT).as_posix()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                reached += [f"{name}: {a.name}" for a in node.names if private(a.name)]
            elif isinstance(node, ast.Attribute) and private(node.attr):
                known = node.attr in own or (where, node.attr) in FOREIGN
                reached += [] if known else [f"{name}: {ast.unparse(node)}"]
    assert reached == []


def test_no_file_and_no_class_is_too_long() -> None:
    files = {n: len(p.read_text(encoding="utf-8").splitlines()) for n, p in MODULES.items()}
    assert {name: lines for name, lines in files.items() if lines > LONGEST_FILE} == {}
    classes = {
        f"{name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    assert {name: lines for name, lines in classes.items() if lines >= LONGEST_CLASS} == {}
