"""Writes what follows from the commands: ``mstore/cli/commands.json``, for completion, and the man pages.

``python -m mstore.cli.generate`` writes them into the source tree; a test compares.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mstore.base.generate import write_all
from mstore.base.options import DEFAULT_CONFIG
from mstore.base.roff import Page
from mstore.cli.completing import COMMANDS
from mstore.cli.install import UNIT
from mstore.cli.msadm import msadm
from mstore.cli.names import Names
from mstore.cli.rc import rc
from mstore.cli.verbs import about, examples, walk

PROGRAMS: dict[str, click.Group] = {"msadm": msadm, "rc.m-store": rc}
MORE = {
    "msadm": {
        "AT A PROMPT": """\
Without a verb at a terminal, msadm asks for command lines, which are written as for a shell, but without
`msadm` in front (it may be there). The tabulator completes verbs, options, users, mailboxes, groups and
files; the arrow keys bring earlier lines back, also those of earlier conversations. `help` tells what there
is, `help` VERB what one takes, `exit` and Ctrl-D leave. An error of a command does not end the prompt, and
Ctrl-C ends the command alone.

A line is not kept when it begins with a blank, or when a hash of a password stands in it. Passwords that are
asked for are never kept.""",
        "SCRIPTS": """\
Where standard input is no terminal, its lines are command lines. Blank ones, and those that begin with `#`,
say nothing. A verb that reads standard input (`--password-stdin`) reads on from the next line. The first line
that fails ends the script, and its exit status is that of msadm; with `--keep-going` all lines are run, and
the exit status is that of the last one that has failed. Verbs that ask before they destroy something need
`--yes`.""",
        "EXIT STATUS": """\
0 when all was done; 1 when something could not be, with one line on standard error that says why; 2 when the
command line was wrong.""",
    },
    "rc.m-store": {
        "EXIT STATUS": """\
0 only when it is so: what was to run runs, what was to stop has stopped. 1 when something failed; 2 when the
command line was wrong; 3 from `status` when nothing runs; 6 when the configuration has errors.""",
    },
}
"""What is to be said besides what the commands say of themselves."""
FILES = {
    "msadm": {"~/.local/state/m-store/msadm-history": "The lines given at the prompt ($XDG_STATE_HOME)."},
    "rc.m-store": {
        "~/.local/share/m-store/last-quickstart": "Where the last quickstart is ($XDG_DATA_HOME).",
        str(UNIT): "The unit that install makes where systemd runs the machine.",
    },
}


def describe(command: click.Command, ctx: click.Context) -> dict[str, Any]:
    """What a command takes, and those below it."""
    described: dict[str, Any] = {
        "help": about(command).partition("\n\n")[0].replace("\n", " "),
        "help_options": ctx.help_option_names,
        "params": [_describe(param) for param in command.params],
    }
    if isinstance(command, click.Group):
        described["commands"] = {}
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            described["commands"][name] = describe(below, click.Context(below, parent=ctx, info_name=name))
    return described


def _describe(param: click.Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {}
    if isinstance(param.type, click.Choice):
        described["choices"] = list(param.type.choices)
    elif isinstance(param.type, click.Path):
        described["path"] = "file" if param.type.file_okay else "dir"
    elif isinstance(param.type, Names):
        described["names"] = param.type.name
    if not isinstance(param, click.Option):
        return {"argument": param.name, "nargs": param.nargs} | described
    return {
        "option": [*param.opts, param.name],
        "flag": param.is_flag,
        "multiple": param.multiple,
        "secret": param.hide_input,
        "help": param.help,
    } | described


def format_commands() -> str:
    """The text of ``commands.json``."""
    described = {
        name: describe(command, click.Context(command, info_name=name)) for name, command in PROGRAMS.items()
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def format_page(name: str) -> Page:
    """The manual page of a program, with all its verbs."""
    command = PROGRAMS[name]
    ctx = click.Context(command, info_name=name)
    page = Page(name, "8", about(command).partition("\n\n")[0])
    forms = ["[-f FILE] VERB [ARGUMENT ...]", "-v | --help"]
    page.synopsis(
        name, ["[-f FILE]", "[-f FILE] [--keep-going] < SCRIPT", *forms] if name == "msadm" else forms
    )
    page.heading("DESCRIPTION")
    page.prose(about(command).partition("\n\n")[2])
    page.heading("OPTIONS")
    _options(page, command, ctx)
    page.heading("VERBS")
    page.prose("Each also takes `--json`, for output that programs read, and `--help`.")
    for words, below, its in walk(command, ctx):
        if not isinstance(below, click.Group):
            usage = [piece for piece in below.collect_usage_pieces(its) if piece != "[OPTIONS]"]
            page.subheading(" ".join([*words, *usage]))
            page.prose(about(below))
            _options(page, below, its)
            page.example(examples(below))
        elif "\n\n" in about(below):
            page.subheading(" ".join([*words, "..."]))
            page.prose(about(below))
    for title, text in MORE[name].items():
        page.heading(title)
        page.prose(text)
    page.heading("FILES")
    page.item(str(DEFAULT_CONFIG), "The configuration, unless -f names another.")
    for path, text in FILES[name].items():
        page.item(path, text)
    page.see_also("ms.conf(5)", "msadm(8)", "rc.m-store(8)", "storemgr(8)", "authproxyd(8)")
    return page


def _options(page: Page, command: click.Command, ctx: click.Context) -> None:
    for param in command.params:
        record = param.get_help_record(ctx)
        if record is not None and isinstance(param, click.Option) and "--json" not in param.opts:
            page.item(*record)


def generated() -> dict[Path, str]:
    """Each generated file with the text that it should hold now."""
    pages = [format_page(name) for name in PROGRAMS]
    return {COMMANDS: format_commands()} | {page.path: page.text for page in pages}


if __name__ == "__main__":
    write_all(generated())
