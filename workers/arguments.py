"""The command line that all daemons share: ``-f FILE``, ``-v``, ``--help``, and what storemgr tells them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    listeners: tuple[int, ...] = ()
    """Descriptors of sockets that storemgr has bound."""
    is_successor: bool = False
    """Whether one that leaves may hold the lock still: it is waited for."""
    plan: int | None = None
    """Of a storemgr that is to say what it would start: where to."""
    resume: int | None = None
    """Of a storemgr that goes on where another left off: the descriptor of what that has left."""


@dataclass(frozen=True)
class Flag:
    """One of the letters that a daemon takes, to the parser and to the manual page."""

    name: str
    attribute: str
    what: str
    metavar: str = ""


def flags(may_detach: bool = False, shows_mechanisms: bool = False) -> list[Flag]:
    """The letters of a daemon."""
    version = "show the version" + (" and the authentication mechanisms there are" * shows_mechanisms)
    found = [
        Flag("-f", "config", f"configuration [{DEFAULT_CONFIG}]", "FILE"),
        Flag("-v", "version", f"{version} on standard error, and exit"),
    ]
    if may_detach:
        what = "write to log/storemgr.log below ms-path instead of standard error"
        found.append(Flag("-d", "detached", what))
    return found


def read_arguments(
    name: str,
    purpose: str,
    argv: Sequence[str] | None,
    version_text: Callable[[], str] | None = None,
    may_detach: bool = False,
) -> Arguments:
    """Read the command line; answers ``-v`` (on standard error) and ``--help`` itself, by SystemExit."""
    parser = argparse.ArgumentParser(prog=name, description=purpose, allow_abbrev=False)
    for flag in flags(may_detach, version_text is not None):
        kind: dict[str, Any] = {"action": "store_true"}
        if flag.metavar:
            kind = {"metavar": flag.metavar, "type": Path, "default": DEFAULT_CONFIG}
        parser.add_argument(flag.name, dest=flag.attribute, help=flag.what, **kind)
    if may_detach:
        parser.add_argument("--plan", type=int, help=argparse.SUPPRESS)
        parser.add_argument("--resume", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--managed", help=argparse.SUPPRESS)
    parser.add_argument("--listeners", default="", help=argparse.SUPPRESS)
    parser.add_argument("--successor", action="store_true", help=argparse.SUPPRESS)
    found = parser.parse_args(argv)
    if found.version:
        sys.stderr.write(version_text() if version_text else f"M-Store {name} {mstore.__version__}\n")
        raise SystemExit(0)
    config = Path(os.path.abspath(found.config))
    return Arguments(
        config,
        Parent.parse(found.managed),
        may_detach and found.detached,
        tuple(int(fd) for fd in found.listeners.split(",") if fd.isdigit()),
        found.successor,
        found.plan if may_detach else None,
        found.resume if may_detach else None,
    )
