"""msadm: the administrator's command, a table of verbs.

Each verb's module is imported only when it is asked for, so that a command costs what it does. Whatever
goes wrong is one line on standard error and a status that is not 0; nothing shows a traceback.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

import mstore
from mstore.base.errors import MStoreError
from mstore.base.options import DEFAULT_CONFIG

VERBS = {
    "init": ("mstore.cli.init:init", "Make the databases and directories of a new message store."),
    "user": ("mstore.cli.user:user", "Add, list and remove users, and set their passwords."),
    "mailbox": ("mstore.cli.mailbox:mailbox", "List, create, delete and rename mailboxes."),
    "acl": ("mstore.cli.acl:acl", "Show and change who may do what with a mailbox."),
    "group": ("mstore.cli.group:group", "Make groups of users, which lists of rights can name."),
    "alias": ("mstore.cli.alias:alias", "Give users more addresses."),
    "quota": ("mstore.cli.quota:quota", "Show and set how much mail users may have."),
    "check": ("mstore.cli.checks:check", "Check that everything on disk is as it should be."),
    "compact": ("mstore.cli.upkeep:compact", "Give the bytes of expunged messages back."),
    "rebuild": ("mstore.cli.upkeep:rebuild", "Make the index of a mailbox anew."),
    "dump": ("mstore.cli.dump:dump", "Show what one of the store's files says."),
}


class Verbs(click.Group):
    """Finds a verb in the table, and makes one line of whatever goes wrong."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb's module."""
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs into the help without importing any."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

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


@click.command(cls=Verbs, context_settings={"help_option_names": ["--help", "-h"]})
@click.option(
    "-f",
    "config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The configuration file.",
)
@click.version_option(mstore.__version__, "-v", "--version", message="M-Store msadm %(version)s")
@click.pass_context
def msadm(ctx: click.Context, config: Path) -> None:
    """Administer a message store.

    Every verb takes --json for output that programs read, and --help.
    """
    ctx.obj = config


def main() -> None:
    """The console script."""
    msadm.main(prog_name="msadm")


if __name__ == "__main__":
    main()
