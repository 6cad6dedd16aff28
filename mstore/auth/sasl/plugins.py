"""The mechanisms of a site: Python files in ``<executable-base-path>/lib/plugins``, read at start.

``x-ticket.py`` defines ``MECHANISM``, a ``Mechanism`` whose name is ``X-TICKET``. The files run with all that
authproxyd may do, so nobody else may be able to write them, or any directory on the way to them.
"""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from mstore.auth.offers import NAME
from mstore.auth.sasl.mechanism import Mechanism
from mstore.auth.sasl.table import OWN
from mstore.base.errors import Denied, Invalid, MStoreError

SUFFIX = ".py"
MOST = 32


def load_plugins(directory: Path) -> list[Mechanism]:
    """The mechanisms of a directory, in the order of their names; none where it is not there.

    Raises: Denied when somebody else may write there, Invalid for a file that defines no mechanism.
    """
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(SUFFIX))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Denied(f"{directory}: {error.strerror}") from None
    if len(names) > MOST:
        raise Invalid(f"{directory}: holds more than {MOST} plugins")
    paths = [directory / name for name in names]
    if paths:
        _check_way(directory.resolve())
    return [_load(path) for path in paths]


def _load(path: Path) -> Mechanism:
    if path.is_symlink():
        _check_way(path.resolve().parent)
    _check_owner(path.resolve(), is_directory=False)
    name = path.stem.upper()
    module_name = f"mstore_plugin_{path.stem.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if not NAME.match(name) or path.stem != path.stem.lower() or spec is None or spec.loader is None:
        raise Invalid(f"{path}: the file of a mechanism is named like it, in lower case")
    if name in OWN:
        raise Invalid(f"{path}: M-Store has a mechanism {name} of its own")
    module = importlib.util.module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except MStoreError as error:
        raise Invalid(f"{path}: {error}") from error
    except Exception as error:
        raise Invalid(f"{path}: {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = writes
    found = getattr(module, "MECHANISM", None)
    if not isinstance(found, Mechanism) or found.offer.name != name:
        raise Invalid(f"{path}: does not define MECHANISM, a Mechanism with the name {name}")
    return found


def _check_way(directory: Path) -> None:
    """Pass a directory that only root and we can put something into, or in the way of."""
    for step in _steps(directory):
        _check_owner(step, is_directory=True)


def _steps(directory: Path) -> Iterator[Path]:
    yield from reversed(directory.parents)
    yield directory


def _check_owner(path: Path, is_directory: bool) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        raise Denied(f"{path}: {error.strerror}") from None
    if status.st_uid not in (0, os.geteuid()):
        raise Denied(f"{path}: plugins are not read, because it belongs to another user")
    # In a directory like /tmp others may write, and still not touch what is not theirs.
    sticky = is_directory and status.st_mode & stat.S_ISVTX
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        raise Denied(f"{path}: plugins are not read, because others may write it")
