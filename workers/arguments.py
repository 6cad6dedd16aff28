"""The command line that all daemons share: ``-f FILE``, ``-v``, ``--help``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mstore
from mstore.base.options import DEFAULT_CONFIG
from workers.parent import Parent


@dataclass(frozen=True)
class Arguments:
    """What a daemon was told on its command line."""

    config: Path
    parent: Parent
    detached: bool = False
    """Whether standard error is to go to a log below ``ms-path``."""


def read_arguments(
    name: str,
    purpose: str,
    argv: Sequence[str] | None,
    version_text: Callable[[], str] | None = None,
    may_detach: bool = False,
) -> Arguments:
    """Read the command line; answers ``-v`` (on standard error) and ``--help`` itself, by SystemExit."""
    parser = argparse.ArgumentParser(prog=name, description=purpose, allow_abbrev=False)
    where = "configuration [%(default)s]"
    parser.add_argument("-f", dest="config", metavar="FILE", type=Path, default=DEFAULT_CONFIG, help=where)
    parser.add_argument("-v", dest="version", action="store_true", help="show the version and exit")
    if may_detach:
        what = "write to log/storemgr.log below ms-path instead of standard error"
        parser.add_argument("-d", dest="detached", action="store_true", help=what)
    parser.add_argument("--managed", help=argparse.SUPPRESS)
    found = parser.parse_args(argv)
    if found.version:
        sys.stderr.write(version_text() if version_text else f"M-Store {name} {mstore.__version__}\n")
        raise SystemExit(0)
    config = Path(os.path.abspath(found.config))
    return Arguments(config, Parent.parse(found.managed), may_detach and found.detached)
