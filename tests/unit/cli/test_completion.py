"""Completion in real shells, with the scripts that msadm prints; and the table it is made from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mstore.cli.completing import complete_line, read_commands, script
from mstore.cli.generate import PROGRAMS
from mstore.cli.names import kind_at
from tests.unit.cli.conftest import Admin

BIN = Path(sys.executable).parent
TYPED = """
complete() { builtin complete "$@"; }
source <(msadm completion bash)
type_line() {
    COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \\t\\n"\\'@><=;|&(:' COMPREPLY=()
    _msadm_completion msadm
    printf '%s\\n' "${COMPREPLY[@]}"
}
"""


@pytest.fixture
def peopled(admin: Admin) -> Admin:
    for name in ("ann", "anton", "joe@example.org"):
        admin.add(name)
    admin.ok("mailbox", "create", "ann", "Sent Items")
    admin.ok("mailbox", "create", "shared/bugs")
    admin.ok("group", "add", "staff")
    return admin


def in_shell(shell: str, text: str) -> list[str]:
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    flags = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *flags, "-c", text], capture_output=True, text=True, env=environment, timeout=100
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(not (BIN / "msadm").exists(), reason="msadm is not installed in this environment")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("user pa", ["passwd"]),
        ("user passwd an", ["ann", "anton"]),
        ("user passwd joe@ex", ["example.org"]),
        ("mailbox delete ann S", ["Sent\\ Items"]),
        ("mailbox delete ann 'S", ["Sent Items'"]),
        ("mailbox delete ann Sent\\ I", ["Items"]),
        ("mailbox delete sh", ["shared/bugs"]),
        ("acl set ann INBOX group:", ["staff"]),
        ("import imap joe host --security=st", ["starttls"]),
        ("user passwd joe -", ["--password-stdin", "--hash", "--json", "--help"]),
        ("dump --frob", []),
    ],
)
def test_bash_completes(peopled: Admin, line: str, found: list[str]) -> None:
    quoted = f"msadm -f {peopled.config} {line}".replace("'", "'\\''")
    said = in_shell("bash", f"{TYPED}\ntype_line '{quoted}'")
    assert [word for word in said if word] == found


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes(peopled: Admin) -> None:
    text = f"msadm completion fish | source; complete -C 'msadm -f {peopled.config} user passwd an'"
    assert in_shell("fish", text) == ["ann", "anton"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_completes(peopled: Admin) -> None:
    text = (
        "autoload -Uz compinit; compinit -u -D; source <(msadm completion zsh)\n"
        "compadd() { print -rl -- $completions; }\n"
        f"words=(msadm -f {peopled.config} user passwd an) CURRENT=6\n_msadm_completion"
    )
    assert in_shell("zsh", text) == ["ann", "anton"]


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_scripts_are_of_the_program(program: str) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert program in script(shell, program)
    subprocess.run(["bash", "-n"], input=script("bash", program), text=True, check=True)


HEAVY = (
    "argon2", "cryptography", "gevent", "imapclient", "jwt", "numpy", "passlib", "prometheus_client",
    "pysasl", "mstore.auth", "mstore.cli.user", "mstore.cli.mailbox", "mstore.files.index",
    "mstore.store.mailbox", "mstore.store.store",
)  # fmt: skip
"""What costs more than completion may: a shell waits for it at every press of the key."""


@pytest.mark.parametrize(
    ("line", "offered", "also"),
    [
        ("user re", ["remove"], ("mstore.store", "mstore.accounts", "sqlite3")),
        ("user passwd an", ["ann", "anton"], ("mstore.store.catalog",)),
        ("mailbox delete ann S", ["Sent\\ Items"], ()),
        ("mailbox delete an", ["ann", "anton"], ()),
        ("mailbox delete shared/", ["shared/bugs"], ()),
        ("acl set ann INBOX group:", ["group:staff"], ()),
    ],
)
def test_what_is_offered_imports_nothing_that_is_heavy(
    peopled: Admin, line: str, offered: list[str], also: tuple[str, ...]
) -> None:
    code = (
        "import sys; from mstore.cli.msadm import main; main()\n"
        f"heavy = {set(HEAVY) | set(also)!r} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    words = f"msadm -f {peopled.config} {line}"
    environment = os.environ | {
        "_MSADM_COMPLETE": "bash_complete", "COMP_LINE": words, "COMP_POINT": str(len(words)),
        "COMP_BREAKS": " ",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.splitlines()) == (0, [f"plain,{each}" for each in offered]), (
        done.stderr
    )


def test_without_a_configuration_nothing_is_offered(tmp_path: Path) -> None:
    cli = read_commands("msadm")
    line = f"-f {tmp_path}/none user passwd "
    assert complete_line(cli, "msadm", line, len(line)) == []


def test_what_a_terminal_would_obey_or_a_shell_run_is_not_offered_as_it_is(
    peopled: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ["a\x1b[2J", "a$(reboot)`x`", "a'b"]
    monkeypatch.setattr("mstore.cli.names._find", lambda *about: iter(found))
    cli, line = read_commands("msadm"), f"-f {peopled.config} mailbox delete ann a"
    values = [item.value for item in complete_line(cli, "msadm", line, len(line) - 1)]
    assert values == ["a\\$\\(reboot\\)\\`x\\`", "a\\'b"]
    assert in_shell("bash", f"printf '%s\\n' {' '.join(values)}") == found[1:]


def test_files_are_left_to_the_shell_or_looked_up(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "ac").touch()
    cli, line = read_commands("msadm"), f"dump {tmp_path}/a"
    assert [item.type for item in complete_line(cli, "msadm", line, len(line))] == ["file"]
    found = complete_line(cli, "msadm", line, 5, with_paths=True)
    assert [item.value for item in found] == [f"{tmp_path}/a\\ b/", f"{tmp_path}/ac"]


@pytest.mark.parametrize(
    ("kinds", "words", "kind"),
    [
        ("user", (), "user"),
        ("user ...", ("a", "b"), "user"),
        ("place mailbox identifier", ("joe",), "mailbox"),
        ("place mailbox identifier", ("shared/x",), "identifier"),
        ("place mailbox identifier", ("joe", "INBOX", "ann"), ""),
        ("place mailbox mailbox", ("shared/x",), "place"),
        ("directory user|shared ...", ("/b",), "user|shared"),
    ],
)
def test_each_word_has_its_kind(kinds: str, words: tuple[str, ...], kind: str) -> None:
    assert kind_at(kinds.split(), words) == kind


def test_the_table_knows_every_verb() -> None:
    def words(command: click.Command, ctx: click.Context) -> set[str]:
        found = {ctx.command_path}
        for name in command.list_commands(ctx) if isinstance(command, click.Group) else ():
            below = command.get_command(ctx, name)
            assert below is not None
            found |= words(below, click.Context(below, parent=ctx, info_name=name))
        return found

    for name, program in PROGRAMS.items():
        table = read_commands(name)
        assert words(table, click.Context(table, info_name=name)) == words(
            program, click.Context(program, info_name=name)
        )
