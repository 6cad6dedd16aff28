import subprocess
import sys

import mstore
from tests.unit.cli.conftest import Admin

VERBS = (
    ("init",),
    ("user", "list"),
    ("user", "add"),
    ("user", "passwd"),
    ("user", "remove"),
    ("mailbox", "list"),
    ("mailbox", "create"),
    ("mailbox", "delete"),
    ("mailbox", "rename"),
    ("check",),
    ("dump",),
)


def test_version_and_help(bare: Admin) -> None:
    assert bare.ok("-v") == f"M-Store msadm {mstore.__version__}\n"
    help_text = bare.ok("--help")
    for verb in ("init", "user", "mailbox", "check", "dump"):
        assert f"  {verb} " in help_text


def test_every_verb_has_help_and_json(bare: Admin) -> None:
    for verb in VERBS:
        assert "--json" in bare.ok(*verb, "--help"), verb


def test_unknown_verbs_are_usage_errors(bare: Admin) -> None:
    assert bare.run("frobnicate").exit_code == 2
    assert bare.run("user", "frobnicate").exit_code == 2


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
