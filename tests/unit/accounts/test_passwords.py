"""What is kept of passwords, and the file it is kept in."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mstore.accounts.apppasswords import MAX_APP_PASSWORDS, AppKeys
from mstore.accounts.database import PASSWORDS, create_database
from mstore.accounts.keys import Keys, ScramKeys
from mstore.accounts.passwords import Passwords
from mstore.accounts.verifier import how_made, scheme_of, setting_of
from mstore.base.errors import Corrupt, Exists, LimitReached, NotFound, Unavailable
from mstore.base.ids import AccountId

JOE, ANN = AccountId("a" * 16), AccountId("b" * 16)
ARGON = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$" + "A" * 43
OTHER = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$" + "B" * 43
OLD = "$6$salt$" + "a" * 86
KEYS = Keys(ARGON, {"SHA-1": ScramKeys(b"salt", 4096, b"s" * 20, b"k" * 20)}, b"pass word")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    create_database(tmp_path, PASSWORDS, 0o600)
    return tmp_path


def test_keys_are_kept_replaced_and_removed(db: Path) -> None:
    passwords, reader = Passwords(db), Passwords(db)
    assert reader.keys(JOE) is None
    passwords.set_keys(JOE, KEYS)
    assert reader.keys(JOE) == KEYS == passwords.keys(JOE)
    passwords.set_keys(JOE, Keys(OTHER))
    assert reader.keys(JOE) == Keys(OTHER)
    assert reader.count() == 1
    passwords.remove(JOE)
    assert reader.keys(JOE) is None and passwords.keys(JOE) is None


def test_nothing_secret_is_in_what_keys_show() -> None:
    assert "pass word" not in repr(KEYS) and ARGON not in repr(KEYS)


def test_better_keys_do_not_replace_a_new_password(db: Path) -> None:
    passwords = Passwords(db)
    passwords.set_keys(JOE, Keys(OLD))
    assert passwords.replace_keys(JOE, Keys(OLD), KEYS)
    assert not passwords.replace_keys(JOE, Keys(OLD), Keys(OTHER))
    assert passwords.keys(JOE) == KEYS
    assert not passwords.replace_keys(ANN, Keys(OLD), KEYS)
    assert passwords.keys(ANN) is None


def test_keys_are_added_only_where_there_are_none(db: Path) -> None:
    passwords = Passwords(db)
    assert passwords.add_keys(JOE, KEYS)
    assert not passwords.add_keys(JOE, Keys(OTHER))
    assert passwords.keys(JOE) == KEYS


def test_secrets_are_dropped_and_leave_no_trace(db: Path) -> None:
    passwords = Passwords(db)
    passwords.set_keys(JOE, KEYS)
    passwords.set_keys(ANN, Keys(OTHER))
    assert passwords.drop_secrets() == 1
    assert passwords.drop_secrets() == 0
    assert passwords.keys(JOE) == Keys(ARGON, KEYS.scram)
    for path in (db / "passwords").iterdir():
        assert b"pass word" not in path.read_bytes()


def test_the_site_key_is_made_once(db: Path) -> None:
    first, second = Passwords(db), Passwords(db)
    key = first.site_key()
    assert len(key) == 32 and second.site_key() == key == Passwords(db).site_key()


def test_there_is_a_sample_of_each_setting(db: Path) -> None:
    passwords = Passwords(db)
    for number, verifier in enumerate((ARGON, OTHER, OLD)):
        passwords.set_keys(AccountId(f"{number:016}"), Keys(verifier))
    assert passwords.samples(4) == {"$argon2id$v=19$m=19456,t=2,p=1": ARGON, "$6$": OLD}
    assert list(passwords.samples(1)) == ["$argon2id$v=19$m=19456,t=2,p=1"]


def test_settings_say_what_verifiers_have_in_common() -> None:
    assert setting_of(ARGON) == setting_of(OTHER) != ""
    assert setting_of("$2b$12$" + "x" * 53) == "$2b$12"
    assert setting_of("$6$rounds=5000$salt$" + "a" * 86) == "$6$rounds=5000$"
    assert setting_of("$y$j9T$salt$" + "a" * 43) == "$y$j9T"
    assert scheme_of("$y$j9T") == "yescrypt"
    for wrong in ("", "x", "$6$", ARGON + "\n", "$2b$99$" + "x" * 53, "$argon2id$" + "9" * 2000):
        assert how_made(wrong) is None and setting_of(wrong) == ""


def test_app_passwords_are_kept_with_the_day_of_their_use(db: Path) -> None:
    passwords, reader = Passwords(db), Passwords(db)
    assert reader.apps(JOE) == ()
    passwords.add_app(JOE, "phone", b"d" * 32, ("imap",))
    passwords.add_app(ANN, "phone", b"e" * 32, ())
    with pytest.raises(Exists):
        passwords.add_app(JOE, "phone", b"f" * 32, ())
    (app,) = reader.apps(JOE)
    assert (app.label, app.digest, app.services, app.used_day) == ("phone", b"d" * 32, ("imap",), None)
    passwords.note_app_used(JOE, "phone", 20_000)
    assert reader.apps(JOE)[0].used_day == 20_000
    passwords.remove_app(JOE, "phone")
    with pytest.raises(NotFound):
        passwords.remove_app(JOE, "phone")
    assert reader.apps(JOE) == () and len(reader.apps(ANN)) == 1
    passwords.remove(ANN)
    assert reader.apps(ANN) == ()


def test_keys_of_app_passwords_are_kept_beside_them(db: Path) -> None:
    passwords, reader = Passwords(db), Passwords(db)
    keys = AppKeys({"SHA-256": ScramKeys(b"salt", 4096, b"stored", b"server")}, b"shown")
    passwords.add_app(JOE, "phone", b"d" * 32, (), keys)
    passwords.add_app(ANN, "phone", b"e" * 32, ())
    (app,) = reader.apps(JOE)
    assert app.keys == keys and reader.apps(ANN)[0].keys == AppKeys()
    passwords.replace_app_keys(ANN, reader.apps(ANN)[0], keys)
    assert reader.apps(ANN)[0].keys == keys
    passwords.replace_app_keys(JOE, reader.apps(ANN)[0], AppKeys())  # another one of the same label by now
    assert reader.apps(JOE)[0].keys == keys
    assert passwords.drop_secrets() == 2 and passwords.drop_secrets() == 0
    assert reader.apps(JOE)[0].keys == AppKeys(keys.scram)
    passwords.remove_app(JOE, "phone")
    passwords.add_app(JOE, "phone", b"f" * 32, ())
    assert reader.apps(JOE)[0].keys == AppKeys()


def test_an_account_has_so_many_app_passwords(db: Path) -> None:
    passwords = Passwords(db)
    for number in range(MAX_APP_PASSWORDS):
        passwords.add_app(JOE, str(number), b"d" * 32, ())
    with pytest.raises(LimitReached):
        passwords.add_app(JOE, "more", b"d" * 32, ())


def test_a_change_is_in_the_file_itself_at_once(db: Path) -> None:
    """A copy of the file alone is a backup."""
    passwords = Passwords(db)
    passwords.set_keys(JOE, KEYS)
    assert (db / "passwords" / "passwords.db-wal").stat().st_size == 0
    copy = db / "copy"
    copy.mkdir(0o700)
    (copy / "passwords").mkdir(0o700)
    (copy / "passwords" / "passwords.db").write_bytes((db / "passwords" / "passwords.db").read_bytes())
    assert Passwords(copy).keys(JOE) == KEYS


def test_what_a_killed_process_left_is_taken_over(db: Path) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from mstore.accounts.keys import Keys\nfrom mstore.accounts.passwords import Passwords\n"
        "passwords = Passwords(Path(sys.argv[1]))\npasswords.open()\n"
        "writer = passwords._vault._writer\n"
        "passwords.set_keys('a' * 16, Keys('whole'))\n"
        "writer.execute('BEGIN IMMEDIATE')\n"
        "writer.execute(\"INSERT INTO password VALUES ('log', 'in the log alone', '', NULL, 0)\")\n"
        "writer.execute('COMMIT')\n"
        "writer.execute('BEGIN IMMEDIATE')\n"
        "writer.execute(\"UPDATE password SET verifier = 'half'\")\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(db)], cwd=Path(__file__).parents[3])
    assert done.returncode == -signal.SIGKILL
    assert (db / "passwords" / "passwords.db-wal").stat().st_size > 0
    passwords = Passwords(db)
    assert passwords.keys(JOE) == Keys("whole")
    assert passwords.keys(AccountId("log")) == Keys("in the log alone")
    passwords.set_keys(JOE, KEYS)
    assert Passwords(db).keys(JOE) == KEYS


def test_a_directory_that_others_may_enter_is_refused(db: Path) -> None:
    (db / "passwords").chmod(0o750)
    with pytest.raises(Unavailable, match="with mode 0700"):
        Passwords(db).open()
    (db / "passwords").chmod(0o700)
    Passwords(db).open()
    (db / "passwords").rename(db / "elsewhere")
    os.symlink(db / "elsewhere", db / "passwords")
    with pytest.raises(Unavailable, match="not a directory"):
        Passwords(db).open()


def test_a_file_without_a_log_is_refused(db: Path) -> None:
    connection = sqlite3.connect(db / "passwords" / "passwords.db")
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    with pytest.raises(Corrupt, match="write-ahead log"):
        Passwords(db).open()


def test_a_change_that_fails_is_undone(db: Path) -> None:
    passwords = Passwords(db)

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO password VALUES ('x', 'y', '', NULL, 0)")
        raise KeyError

    with pytest.raises(KeyError):
        passwords._vault.write(fail)
    assert passwords.count() == 0
    passwords.set_keys(JOE, KEYS)
    assert passwords.count() == 1


def test_who_writes_waits_for_another_process(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(db)
    passwords.open()
    other = sqlite3.connect(db / "passwords" / "passwords.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("mstore.accounts.database.blocking.sleep", lambda _: other.execute("COMMIT"))
    passwords.set_keys(JOE, KEYS)
    assert passwords.keys(JOE) == KEYS
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("mstore.accounts.database.blocking.sleep", lambda _: None)
    assert passwords.keys(JOE) == KEYS  # who reads waits for nobody
    with pytest.raises(Unavailable, match="locked"):
        passwords.set_keys(JOE, KEYS)
