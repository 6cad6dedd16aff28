"""A command as a table of verbs: what msadm and rc.m-store have in common.

A verb's module is imported only when the verb is asked for. Here, once for all verbs, is what a person sees
of them: a name that is not known is answered with the nearest one, or with all there are, and the examples at
the end of a docstring stand below each other.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

import click

from mstore.base.errors import MStoreError

_EXAMPLE = "Example: "
_EXAMPLES = "\b\nExamples:\n"
_BETWEEN = re.compile(r";\s+")


class Program(click.Group):
    """A group of verbs that answers a name which is not there with those that are, at any depth."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except click.exceptions.NoSuchCommand as error:
            raise click.UsageError(_unknown(error), error.ctx) from None

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Take a verb in."""
        lay_out_examples(cmd)
        super().add_command(cmd, name)


class Verbs(Program):
    """Finds a verb in a table, and makes one line of whatever goes wrong."""

    def __init__(self, *arguments: Any, table: Mapping[str, tuple[str, str]], **more: Any) -> None:
        """Verbs by name, each with ``module:name`` and what it does in one sentence."""
        super().__init__(*arguments, **more)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb's module."""
        if cmd_name not in self.table:
            return None
        module, _, name = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        lay_out_examples(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs into the help without importing any."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except MStoreError as error:
            raise click.ClickException(str(error)) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from None


def walk(group: click.Group, ctx: click.Context) -> Iterator[tuple[list[str], click.Command, click.Context]]:
    """All commands below a group, each with the words that lead to it; groups come before what they hold."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        inner = click.Context(command, parent=ctx, info_name=name)
        yield [name], command, inner
        if isinstance(command, click.Group):
            for words, below, its in walk(command, inner):
                yield [name, *words], below, its


def examples(command: click.Command) -> list[str]:
    """The command lines at the end of a command's help, once it was found in a table."""
    return [line.strip() for line in (command.help or "").partition(_EXAMPLES)[2].splitlines()]


def about(command: click.Command) -> str:
    """A command's help without the examples."""
    return inspect.cleandoc(command.help or "").partition(_EXAMPLES)[0].rstrip()


def nearest(name: str, known: list[str]) -> str:
    """What to say behind a name that is not known: the nearest one, or else all there are."""
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"


def _unknown(error: click.exceptions.NoSuchCommand) -> str:
    ctx = error.ctx
    assert ctx is not None and isinstance(ctx.command, click.Group)
    known = ctx.command.list_commands(ctx)
    return f"{ctx.command_path} has no {error.command_name}; {nearest(error.command_name, known)}"


def lay_out_examples(command: click.Command) -> None:
    """Put the examples of a command, and of all below it, on lines of their own."""
    before, found, after = inspect.cleandoc(command.help or "").partition(_EXAMPLE)
    if found:
        lines = _BETWEEN.split(" ".join(after.split()))
        command.help = before + _EXAMPLES + "\n".join(f"  {line}" for line in lines)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        lay_out_examples(below)
