"""Rules that a reader relies on: one-way imports, short files, a README that says what the code does."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

MODULES = sorted((ROOT / "pairft").rglob("*.py"))


def dotted(path: Path) -> str:
    """The name by which a file of the package is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, inside functions too; a name imported from a package as package.name, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path  # a relative import would hide where it leads
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_imports_run_one_way():
    names = set(map(dotted, MODULES))
    graph = {dotted(path): imports_of(path) & names for path in MODULES}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, naming the circle
    assert set(order) >= names


GROUND, TOP = 0, 7
LEVELS = {
    "data": 1,
    "model": 2,
    "training": 3,
    "runs": 4,
    "speed": 4,
    "prediction": 5,
    "reporting": 5,
    "searching": 6,
    "comparison": 6,
    "explaining": 6,
}  # of the wings; imports run downwards
COMMANDS = {
    "train",
    *(
        f"pairft.{name}"
        for name in ("predict", "predict_args", "push", "export", "compare", "explain", "report", "sweep")
    ),
}  # above all wings


def wing_of(module: str) -> tuple[int, str]:
    """The level and name of a module's wing."""
    if module in COMMANDS:
        return TOP, "commands"
    name = module.split(".")[1] if "." in module else ""
    return (LEVELS[name], name) if name in LEVELS else (GROUND, "ground")


def test_each_wing_imports_only_itself_and_those_below():
    names = {*map(dotted, MODULES), "train"}
    wrong = []
    for path in [*MODULES, ROOT / "train.py"]:
        level, wing = wing_of(dotted(path))
        for imported in sorted(imports_of(path) & names):
            other_level, other = wing_of(imported)
            if other != wing and other_level >= level:
                wrong.append(f"{dotted(path)} ({wing}) imports {imported} ({other})")
    assert not wrong
    folders = {path.parent.name for path in MODULES if path.parent != ROOT / "pairft"}
    assert folders == LEVELS.keys()


@pytest.mark.parametrize("wing", ["data", "model", "training", "runs"])
def test_no_wing_below_it_knows_speed(wing):
    """Not even by a name in a string, with which importlib could import it."""
    for path in (ROOT / "pairft" / wing).glob("*.py"):
        assert "pairft.speed" not in path.read_text(encoding="utf-8"), path


def test_the_product_does_not_use_what_it_replaces():
    for path in [*MODULES, ROOT / "train.py"]:
        text = path.read_text(encoding="utf-8")
        assert not imports_of(path) & {"accelerate", "lightning", "ignite"}, path
        assert not re.search(r"import .*\b(Trainer|TrainingArguments)\b", text), path


def test_nothing_heavy_is_imported_before_it_is_needed():
    light = {
        "torch",
        "transformers",
        "datasets",
        "evaluate",
        "numpy",
        "pyarrow",
        "yaml",
        "sklearn",
        "scipy",
        "matplotlib",
    }
    code = f"import sys, train; print(sorted(set(sys.modules) & {light!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"


def test_test_files_have_names_of_their_own():
    """Otherwise pytest can't import the second one."""
    names = [path.name for path in ROOT.glob("tests/**/test_*.py")]
    assert sorted(names) == sorted(set(names))


CODE = [*MODULES, ROOT / "train.py", *sorted(ROOT.glob("tests/**/*.py")), *sorted(ROOT.glob("benchmarks/*.py"))]


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= {"train.py": 130, "loop.py": 120}.get(path.name, 250)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and "benchmarks" not in path.parts:
            assert node.end_lineno - node.lineno < 60, node.name


def test_setup_admits_the_constraints():
    from configparser import ConfigParser

    from packaging.requirements import Requirement

    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    wanted = setup["options"]["install_requires"] + "\n".join(setup["options.extras_require"].values())
    for text in filter(None, wanted.splitlines()):
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[requirement.name.lower().replace("_", "-")]), text
