"""The parts of rc/environment.sh that are easier in Python; runs before anything is installed.

``requirements ROOT [EXTRA…]`` prints what pyproject.toml asks for; ``link ROOT ENVIRONMENT`` makes the
checkout importable in the environment and writes its commands into ``bin``.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

COMMAND = """#!{python}
import sys

from {module} import {function}

sys.exit({function}())
"""


def _project(root: Path) -> dict[str, Any]:
    with (root / "pyproject.toml").open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)["project"]
    return found


def print_requirements(root: Path, extras: list[str]) -> None:
    """Print one requirement a line."""
    project = _project(root)
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    print("\n".join(wanted))


def link(root: Path, environment: Path) -> None:
    """Make the checkout importable, and its commands callable, in the environment."""
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "m-store.pth").write_text(f"{root}\n")
    for name, target in _project(root)["scripts"].items():
        module, _, function = target.partition(":")
        script = environment / "bin" / name
        text = COMMAND.format(python=environment / "bin" / "python", module=module, function=function)
        script.write_text(text)
        script.chmod(0o755)


if __name__ == "__main__":
    if sys.argv[1] == "requirements":
        print_requirements(Path(sys.argv[2]), sys.argv[3:])
    else:
        link(Path(sys.argv[2]), Path(sys.argv[3]))
