"""How far long work has come, as a bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress(label: str, length: int, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Gives what is to be told of each step; nothing is shown when standard error is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda count: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update
