"""What pip installs: the packages, their data, the commands and the manual pages."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy of what is here, without a network."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("mstore", "workers", "docs/man"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(built)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [found] = built.glob("*.whl")
    return found


def pages() -> dict[str, bytes]:
    """The manual pages by where ``man`` looks for them."""
    return {
        f"share/man/man{path.suffix[1:]}/{path.name}": path.read_bytes() for path in ROOT.glob("docs/man/*")
    }


def test_the_wheel_has_all_modules_and_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {
        str(path.relative_to(ROOT))
        for package in ("mstore", "workers")
        for suffix in ("py", "json")
        for path in ROOT.glob(f"{package}/**/*.{suffix}")
    }
    assert {name for name in names if name.startswith(("mstore/", "workers/"))} == wanted
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"mstore", "workers", "m_store"}


def test_pip_puts_manual_pages_and_commands_where_they_are_looked_for(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-index"]
    subprocess.run(
        [*pip, "--no-deps", "--no-compile", "--ignore-installed", "--prefix", tmp_path, wheel], check=True
    )
    there = tmp_path / "share" / "man"
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in there.glob("man?/*")}
    assert found == pages() and {"share/man/man5/ms.conf.5", "share/man/man8/msadm.8"} <= found.keys()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {path.name for path in (tmp_path / "bin").iterdir()} == scripts.keys()
