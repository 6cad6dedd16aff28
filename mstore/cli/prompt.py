"""msadm at a terminal without a verb: a prompt, with history and completion.

Each command runs in a process of its own (``child.py``): its error is its own, and Ctrl-C ends it alone.
Where Python has no readline, lines are read as the terminal gives them.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import termios
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click

import mstore
from mstore.cli import child, history
from mstore.cli.completing import complete_line, has_secret, read_commands
from mstore.cli.msadm import VERBS
from mstore.cli.script import split
from mstore.cli.verbs import nearest

_PROMPT = "msadm> "
_BREAKS = " \t\n"
_LEAVE = ("exit", "quit")
_OWN = {
    "help": "What there is; help VERB for one of them.",
    "exit": "Leave; so does Ctrl-D.",
}


def converse(config: Path) -> None:
    """Ask for command lines and run them, until the user leaves."""
    Prompt(config).run()


class Prompt:
    """One conversation at a terminal."""

    def __init__(self, config: Path) -> None:
        self.config = Path(os.path.abspath(config))
        self.cli = read_commands("msadm")
        assert isinstance(self.cli, click.Group)
        for word, text in _OWN.items():
            self.cli.add_command(click.Command(word, help=text))
        self.history = history.History(history.place())
        self.offered: list[str] = []
        self.readline = _readline()
        if self.readline is not None:
            self._prepare(self.readline)

    def _prepare(self, readline: ModuleType) -> None:
        readline.set_auto_history(False)
        readline.clear_history()
        for line in self.history.lines:
            readline.add_history(line)
        readline.set_completer_delims(_BREAKS)
        readline.set_completer(self._offer)
        is_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")

    def run(self) -> None:
        """Ask and run until the user leaves."""
        click.echo(
            f"M-Store msadm {mstore.__version__}, {self.config}: help tells what there is, exit leaves."
        )
        while True:
            try:
                line = input(_PROMPT)
            except EOFError:
                click.echo()
                return
            except KeyboardInterrupt:
                click.echo()
                continue
            except UnicodeDecodeError:
                click.echo("Error: that was not UTF-8", err=True)
                continue
            self._keep(line)
            try:
                words = split(line)
            except ValueError as error:
                click.echo(f"Error: {error}", err=True)
                continue
            if words and words[0] in _LEAVE:
                return
            if words:
                self._run(words)

    def _run(self, words: list[str]) -> None:
        if words[0] == "help":
            self._help(words[1:])
            return
        with _terminal_kept():
            child.run(self.config, words)

    def _help(self, words: list[str]) -> None:
        if words and words[0] in _OWN:
            click.echo(_OWN[words[0]])
        elif words and words[0] not in VERBS:
            click.echo(f"there is no verb {words[0]}; {nearest(words[0], [*VERBS, *_OWN])}", err=True)
        else:
            child.run(self.config, [*words, "--help"])
            if not words:
                formatter = click.HelpFormatter()
                with formatter.section("At the prompt"):
                    formatter.write_dl(list(_OWN.items()))
                click.echo(formatter.getvalue(), nl=False)

    def _keep(self, line: str) -> None:
        """Put a line into the history: none with a blank in front, and none with a secret in it."""
        if not line.strip() or line[0].isspace() or has_secret(self.cli, line):
            return
        self.history.add(line)
        if self.readline is not None:
            self.readline.add_history(line)

    def _offer(self, text: str, state: int) -> str | None:
        """What readline asks: candidate number ``state`` for the word at the cursor."""
        assert self.readline is not None
        if state == 0:
            line = self.readline.get_line_buffer()[: self.readline.get_endidx()]
            self.offered = self._candidates(line, self.readline.get_begidx())
        return self.offered[state] if state < len(self.offered) else None

    def _candidates(self, line: str, start: int) -> list[str]:
        """What may stand from ``start`` on. A candidate that is complete has a blank behind it."""
        given = f"-f {shlex.quote(str(self.config))} "
        if line.startswith("help ") and start >= 5:
            line, start = line[5:], start - 5  # "help user a" is completed as "user a".

        def look_up() -> str:
            found = complete_line(self.cli, "msadm", given + line, len(given) + start, with_paths=True)
            return "\0".join(item.value if item.value.endswith("/") else item.value + " " for item in found)

        return [each for each in child.ask(look_up).split("\0") if each]


def _readline() -> ModuleType | None:
    try:
        return importlib.import_module("readline")
    except ImportError:
        return None


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    """Give the terminal back as it was, whatever a command that was ended has made of it."""
    try:
        before = termios.tcgetattr(0)
    except termios.error:
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
