"""Command lines of msadm from standard input, one a line: ``msadm < script``.

A line is written as for a shell: words, in quotes where they have blanks in them. Blank lines, and lines that
begin with ``#``, say nothing. A verb that reads standard input (a password) reads on from the next line.
"""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import click

from mstore.cli import child

LONGEST_BYTES = 64 << 10


def split(line: str) -> list[str]:
    """The words of a command line; none when it says nothing. ``msadm`` in front is left out.

    Raises: ValueError, with what is wrong with its quotes.
    """
    if line.lstrip().startswith("#"):
        return []
    words = shlex.split(line)
    return words[1:] if words[:1] == ["msadm"] else words


def run_script(config: Path, keep_going: bool) -> int:
    """Run the lines of standard input up to the first that fails, or all.

    Returns: the exit status of the last line that has failed, or 0.
    """
    failed = 0
    with io.FileIO(0, closefd=False) as lines:  # Not buffered: see above.
        while data := lines.readline(LONGEST_BYTES + 1):
            text = data.decode("utf-8", "surrogateescape")
            status = 2
            try:
                if len(data) > LONGEST_BYTES:
                    raise ValueError(f"more than {LONGEST_BYTES} bytes")
                words = split(text)
                status = child.run(config, words) if words else 0
            except ValueError as error:
                click.echo(f"Error: {error}", err=True)
            if status:
                failed = status
                click.echo(f"msadm: this line has failed: {_show(text)}", err=True)
                if not keep_going or len(data) > LONGEST_BYTES:
                    break
    return failed


def _show(text: str) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in text.strip())
    return shown if len(shown) <= 80 else shown[:79] + "…"
