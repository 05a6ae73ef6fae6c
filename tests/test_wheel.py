"""The wheel: every module of the checkout is in it and can be imported from where it was installed."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

IMPORT = (
    "import importlib, json, sys; print(json.dumps({n: importlib.import_module(n).__file__ for n in sys.argv[1:]}))"
)


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def modules_under(folder: Path) -> dict[str, Path]:
    """The dotted names of the modules of `folder`/pairft, and their paths relative to `folder`."""
    paths = [path.relative_to(folder) for path in folder.glob("pairft/**/*.py")]
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def built_wheel(folder: Path) -> Path:
    """The wheel of a copy of the sources, so that the build leaves nothing in the checkout and finds nothing of an
    earlier build there."""
    source = folder / "source"
    shutil.copytree(ROOT / "pairft", source / "pairft", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    isolation = ["--no-build-isolation"] if find_spec("setuptools") else []  # else pip fetches setuptools
    pip("wheel", "--no-deps", *isolation, "--wheel-dir", folder / "wheels", source)
    [wheel] = (folder / "wheels").iterdir()
    return wheel


def installed_wheel(folder: Path) -> tuple[Path, Path]:
    """The Python and the site-packages of a new virtual environment that holds the wheel.

    It sees the dependencies of this environment through a .pth file. Python doesn't read the .pth files in a directory
    added that way, so an editable install there stays out of sight.
    """
    venv.create(folder / "venv", with_pip=False, symlinks=os.name != "nt")
    scheme = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    site = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
    python = Path(sysconfig.get_path("scripts", "venv", vars=scheme)) / Path(sys.executable).name
    pip("--python", python, "install", "--no-deps", "--no-index", built_wheel(folder))
    own = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(own)) + "\n", encoding="utf-8")
    return python, site


def test_every_module_is_in_the_wheel_and_can_be_imported(tmp_path):
    python, site = installed_wheel(tmp_path)
    modules = modules_under(ROOT)
    assert modules_under(site) == modules
    assert (site / "pairft" / "py.typed").is_file()
    for pattern in ("*.html", "*.css"):  # of the report
        pages = sorted(path.relative_to(ROOT) for path in ROOT.glob(f"pairft/**/{pattern}"))
        assert pages and sorted(path.relative_to(site) for path in site.glob(f"pairft/**/{pattern}")) == pages
    [metadata] = importlib.metadata.distributions(name="pairft", path=[str(site)])
    assert metadata.version in (ROOT / "pairft" / "__init__.py").read_text(encoding="utf-8")
    # Isolated (-I): neither PYTHONPATH nor the working directory can bring the checkout back.
    command = [str(python), "-I", "-c", IMPORT, *sorted(modules)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
    imported = {name: Path(file).resolve() for name, file in json.loads(result.stdout).items()}
    assert imported == {name: (site / path).resolve() for name, path in modules.items()}
