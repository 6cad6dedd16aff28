"""What Python would import only when it is first needed, imported while the library can be read.

After rights are given up the library's files may be out of reach, and a worker or msadm must not fail then
because of a character set that nobody has used before. What is loaded before the fork is also shared by all
workers.
"""

from __future__ import annotations

import contextlib
import encodings
import importlib
import pkgutil
from collections.abc import Iterable

LAZY = ("numpy.ma", "numpy.ma.extras")
"""Modules that others import in mid-work."""
COMMAND_LINE = ("shutil", "click._termui_impl", "click._textwrap")
"""What a command line imports to say what is wrong with it, to ask, and to show progress."""
EVENT_LOOP = ("pprint", "gevent.util")
"""What an event loop imports when it is made, and when it has something to tell."""


def load_encodings() -> None:
    """Import every character set that Python has."""
    for module in pkgutil.iter_modules(encodings.__path__):
        load_modules([f"encodings.{module.name}"])


def load_all() -> None:
    """Import all that is known to be imported late."""
    load_encodings()
    load_modules(LAZY)


def load_modules(names: Iterable[str]) -> None:
    """Import modules by name; one that cannot be (another system's) is none that could be missed."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
