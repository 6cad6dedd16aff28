"""Completion of command lines, without importing what the verbs need.

What the commands take is read from ``commands.json``, which ``python -m mstore.cli.generate`` writes from the
commands themselves; what is there now (users, mailboxes) is looked up. The rules of a command line are
click's own. For bash, and for the prompt of msadm, the line is taken apart here: both replace what stands
behind the last character that separates words for them, which need not be a whole argument.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from mstore.base.options import DEFAULT_CONFIG
from mstore.cli.names import Names

COMMANDS = Path(__file__).with_name("commands.json")
SHELLS = ("bash", "zsh", "fish")
_SPECIAL = re.compile(r"([^\w@%+=:,./~^-])")
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
        plain) COMPREPLY+=("$value") ;;
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        esac
    done < <(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" COMP_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """click's, but that names with ``@``, ``:`` or blanks in them come out right."""

    source_template = _BASH

    @staticmethod
    def _check_version() -> None:
        """Say nothing: the script may be for another machine."""

    def complete(self) -> str:
        """The candidates for the line that bash has told, a line each."""
        line = os.environ["COMP_LINE"].encode()[: int(os.environ["COMP_POINT"])].decode(errors="ignore")
        line = line.split(None, 1)[1] if len(line.split(None, 1)) == 2 else ""
        breaks = os.environ["COMP_BREAKS"]
        start = max((line.rfind(character) for character in breaks), default=-1) + 1
        found = complete_line(self.cli, self.prog_name, line, start)
        return "\n".join(f"{item.type},{item.value}" for item in found)


def read_commands(program: str) -> click.Command:
    """msadm or rc.m-store as far as completion goes: all that its commands take, and nothing that they do."""
    described = json.loads(COMMANDS.read_text(encoding="utf-8"))[program]
    return _build(program, described)


def _build(name: str, described: dict[str, Any]) -> click.Command:
    params = [_parameter(each) for each in described["params"]]
    settings = {"help_option_names": described["help_options"], "ignore_unknown_options": True}
    text = described["help"]
    if "commands" not in described:
        return click.Command(name, params=params, help=text, context_settings=settings)
    below = {word: _build(word, each) for word, each in described["commands"].items()}
    return click.Group(name, below, params=params, help=text, context_settings=settings)


def _parameter(described: dict[str, Any]) -> click.Parameter:
    kind: Any = str
    if "choices" in described:
        kind = click.Choice(described["choices"])
    elif "path" in described:
        is_file = described["path"] == "file"
        kind = click.Path(dir_okay=not is_file, file_okay=is_file, path_type=Path)
    elif "names" in described:
        kind = Names(described["names"])
    if "argument" in described:
        return click.Argument([described["argument"]], nargs=described["nargs"], type=kind, required=False)
    if described["flag"]:
        return click.Option(described["option"], is_flag=True, help=described["help"])
    return click.Option(
        described["option"],
        type=kind,
        multiple=described["multiple"],
        help=described["help"],
        default=DEFAULT_CONFIG if "-f" in described["option"] else None,
        hide_input=described["secret"],
    )


def complete_line(
    cli: click.Command, program: str, line: str, start: int, with_paths: bool = False
) -> list[CompletionItem[str]]:
    """What may replace the text from ``start`` to the end of the line, quoted as it has to be there.

    The line begins behind the program's name; ``start`` lies in its last word. Files and directories are
    looked up ``with_paths``; otherwise an item says that they are wanted.
    """
    words = split_arg_string(line)
    raw = _last_word(line)
    incomplete = words.pop() if raw else ""
    found = ShellComplete(cli, {}, program, "").get_completions(words, incomplete)
    if with_paths and any(item.type != "plain" for item in found):
        found = [CompletionItem(path) for item in found for path in _paths(item.value, item.type == "dir")]
    if raw.startswith("--") and "=" in raw:
        found = [_with_option(raw, item) for item in found]
    before = raw[: max(0, start - (len(line) - len(raw)))]
    fitting = []
    for item in found:
        text = item.value if item.type != "plain" else _quote_like(raw, item.value)
        if item.type != "plain":
            fitting.append(item)
        elif text.startswith(before):
            fitting.append(CompletionItem(text.removeprefix(before), help=item.help))
    return fitting


def _paths(begun: str, only_directories: bool) -> list[str]:
    """The names of files and directories that begin so."""
    head, slash, tail = begun.rpartition("/")
    try:
        found = sorted(Path(head + slash or ".").iterdir())
    except OSError:
        return []
    fitting = [path for path in found if path.name.startswith(tail) and (tail or path.name[0] != ".")]
    directories = {path for path in fitting if path.is_dir()}
    return [
        f"{head}{slash}{path.name}{'/' * (path in directories)}"
        for path in fitting
        if path in directories or not only_directories
    ]


def _with_option(raw: str, item: CompletionItem[str]) -> CompletionItem[str]:
    value = raw.partition("=")[0] + "=" + item.value if item.type == "plain" else item.value
    return CompletionItem(value, item.type, item.help)


def _last_word(line: str) -> str:
    """The last word of a line as it is written, quotes and all; nothing when a new one is to begin."""
    at, quote, start = 0, "", 0
    while at < len(line):
        character = line[at]
        if character == "\\" and quote != "'":
            at += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in " \t":
            start = at + 1
        at += 1
    return line[start:]


def _quote_like(raw: str, value: str) -> str:
    """A value in the kind of quotes that the word has begun with, or with backslashes."""
    if raw.startswith("'"):
        return "'" + value.replace("'", "'\\''") + "'"
    if raw.startswith('"'):
        return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'
    return _SPECIAL.sub(r"\\\1", value)


def script(shell: str, program: str) -> str:
    """The script that makes a shell complete a program's command lines."""
    chosen = _Bash if shell == "bash" else get_completion_class(shell)
    assert chosen is not None
    return chosen(click.Command(program), {}, program, variable(program)).source()


def answer(program: str) -> bool:
    """Answer a shell that asks for completion, if one does."""
    if variable(program) not in os.environ:
        return False
    add_completion_class(_Bash, "bash")
    try:
        read_commands(program).main(prog_name=program, complete_var=variable(program))
    except SystemExit:
        sys.stdout.flush()
    return True


def variable(program: str) -> str:
    """The variable of the environment by which a shell asks a program."""
    return "_" + re.sub(r"\W", "_", program).upper() + "_COMPLETE"


def has_secret(cli: click.Command, line: str) -> bool:
    """Whether a command line gives a password, or what is as good as one, as the value of an option."""
    secret = _secret_options(cli)
    return any(word.partition("=")[0] in secret for word in split_arg_string(line))


def _secret_options(command: click.Command) -> set[str]:
    options = [param for param in command.params if isinstance(param, click.Option)]
    found = {opt for option in options if option.hide_input for opt in option.opts}
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        found |= _secret_options(below)
    return found
