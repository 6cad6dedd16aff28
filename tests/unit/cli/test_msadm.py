import shlex
import subprocess
import sys

import click
import pytest

import mstore
from mstore.cli.generate import PROGRAMS
from mstore.cli.verbs import examples, walk
from tests.unit.cli.conftest import Admin


def test_version_and_help(bare: Admin) -> None:
    assert bare.ok("-v") == f"M-Store msadm {mstore.__version__}\n"
    help_text = bare.ok("--help")
    for verb in ("init", "user", "mailbox", "check", "dump"):
        assert f"  {verb} " in help_text


def leaves() -> list[tuple[str, click.Command]]:
    """Every command of msadm and rc.m-store that does something, with its name in full."""
    return [
        (" ".join([program, *words]), command)
        for program, group in PROGRAMS.items()
        for words, command, _ in walk(group, click.Context(group, info_name=program))
        if not isinstance(command, click.Group)
    ]


def test_every_verb_has_json_and_examples() -> None:
    found = leaves()
    assert len(found) > 45
    for name, command in found:
        if name != "msadm talk":  # It speaks a protocol, and says nothing of its own.
            assert any("--json" in param.opts for param in command.params), f"{name} has no --json"
        assert examples(command), f"{name}: no paragraph of its docstring begins with Example:"


def test_examples_are_command_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read as if it were given, but for files that need not be here."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)
    for name, command in [*leaves(), ("msadm", PROGRAMS["msadm"])]:
        shown = set()
        for line in examples(command):
            words = shlex.split(line.removeprefix("source <(").removesuffix(")").partition(" < ")[0])
            ctx = PROGRAMS[words[0]].make_context(words[0], words[1:])
            while isinstance(ctx.command, click.Group) and ctx._protected_args:
                word, below, rest = ctx.command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
                assert below is not None and word is not None
                ctx = below.make_context(word, rest, parent=ctx)
            shown.add(ctx.command_path)
        assert name in shown


def test_names_that_are_not_known_are_answered_with_those_that_are(bare: Admin) -> None:
    said = bare.run("usr")
    assert said.exit_code == 2 and "msadm has no usr; did you mean user?" in said.output
    assert "msadm user has no lsit; did you mean list?" in bare.fails("user", "lsit")
    assert "there are: add, join, leave, list, remove" in bare.fails("group", "frobnicate")
    assert "  app-password " in bare.fails("user")


def test_who_is_not_there_is_answered_with_who_is(admin: Admin) -> None:
    assert "There is no user yet." in admin.fails("user", "remove")
    for name in ("ann", "joe"):
        admin.add(name)
    assert "there is no user jo; did you mean joe?" in admin.fails("user", "remove", "jo")
    assert "There are: ann, joe" in admin.fails("user", "remove")
    assert admin.fails("user", "remove", "xyz").endswith("there is no user xyz\n")


def test_a_missing_configuration_is_one_clear_line(bare: Admin) -> None:
    bare.config.unlink()
    output = bare.fails("user", "list")
    assert output.startswith("Error: ")
    assert str(bare.config) in output


def test_without_databases_every_verb_says_which_file_is_missing(bare: Admin) -> None:
    for verb in (("user", "list"), ("user", "add", "joe"), ("mailbox", "list", "joe"), ("check",)):
        output = bare.fails(*verb)
        assert "accounts.db" in output
        assert "backup" in output


def test_help_imports_neither_numpy_nor_the_hash() -> None:
    code = (
        "import sys; from mstore.cli.msadm import msadm\n"
        "try: msadm(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'passlib', 'sqlite3', 'gevent'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
