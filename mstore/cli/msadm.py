"""msadm: the administrator's command, a table of verbs.

Each verb's module is imported only when it is asked for, so that a command costs what it does. Whatever
goes wrong is one line on standard error and a status that is not 0; nothing shows a traceback.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

import mstore
from mstore.base.options import DEFAULT_CONFIG
from mstore.cli.completing import answer
from mstore.cli.verbs import Verbs, lay_out_examples

VERBS = {
    "init": ("mstore.cli.init:init", "Make the databases and directories of a new message store."),
    "user": ("mstore.cli.user:user", "Add, list, disable and remove users, and set their passwords."),
    "mailbox": ("mstore.cli.mailbox:mailbox", "List, create, delete and rename mailboxes."),
    "acl": ("mstore.cli.acl:acl", "Show and change who may do what with a mailbox."),
    "group": ("mstore.cli.group:group", "Make groups of users, which lists of rights can name."),
    "alias": ("mstore.cli.alias:alias", "Give users more addresses."),
    "quota": ("mstore.cli.quota:quota", "Show and set how much mail users may have."),
    "import": ("mstore.cli.importing:import_mail", "Bring mail in from a Maildir, mbox, an IMAP server."),
    "export": ("mstore.cli.exporting:export_mail", "Write mail out as a Maildir or as mbox files."),
    "who": ("mstore.cli.who:who", "Show who is connected."),
    "kick": ("mstore.cli.kick:kick", "End the sessions of a user."),
    "top": ("mstore.cli.top:top", "Show what the daemons do just now."),
    "trace": ("mstore.cli.trace:trace", "Show what is said in the sessions of a user."),
    "talk": ("mstore.cli.talk:talk", "Speak IMAP, POP3 or LMTP, logged in already."),
    "check": ("mstore.cli.checks:check", "Check that everything on disk is as it should be."),
    "backup": ("mstore.cli.backup:backup", "Back up accounts, and list and verify backups."),
    "restore": ("mstore.cli.restore:restore", "Bring accounts, mailboxes or messages back from a backup."),
    "undelete": ("mstore.cli.undelete:undelete", "Bring back messages that were expunged not long ago."),
    "upkeep": ("mstore.cli.upkeep:upkeep", "Expunge what is old by rule, and give back what is due."),
    "compact": ("mstore.cli.upkeep:compact", "Give the bytes of expunged messages back."),
    "rebuild": ("mstore.cli.upkeep:rebuild", "Make the index of a mailbox anew."),
    "dump": ("mstore.cli.dump:dump", "Show what one of the store's files says."),
    "completion": ("mstore.cli.completion:completion", "Make a shell complete msadm's command lines."),
}


@click.command(
    cls=Verbs,
    table=VERBS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)
@click.option(
    "-f",
    "config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The configuration file.",
)
@click.option("--keep-going", is_flag=True, help="Go on behind a line of a script that has failed.")
@click.version_option(mstore.__version__, "-v", "--version", message="M-Store msadm %(version)s")
@click.pass_context
def msadm(ctx: click.Context, config: Path, keep_going: bool) -> None:
    """Administer a message store.

    Every verb but talk, which is a session, takes --json for output that programs read; each has --help.
    Without a verb, msadm reads command lines: at a terminal it asks for them, with completion; otherwise it
    runs those of standard input, and stops at the first that fails.

    Example: msadm user add joe; msadm; msadm < script; msadm --keep-going < script
    """
    ctx.obj = config
    if ctx.invoked_subcommand is not None:
        if keep_going:
            raise click.UsageError("--keep-going is for scripts: it takes no verb.")
        return
    if sys.stdin.isatty():
        from mstore.cli.prompt import converse

        converse(config)
    else:
        from mstore.cli.script import run_script

        ctx.exit(run_script(config, keep_going))


lay_out_examples(msadm)


def main() -> None:
    """The console script."""
    if not answer("msadm"):
        msadm.main(prog_name="msadm")


if __name__ == "__main__":
    main()
