"""What is kept of passwords, and the secret of the site."""

from pathlib import Path

import pytest

from mstore.accounts.database import PASSWORDS, create_database
from mstore.accounts.keys import Keys, ScramKeys
from mstore.accounts.passwords import Passwords
from mstore.base.ids import AccountId

JOE, ANN = AccountId("1" * 16), AccountId("2" * 16)
ALL = Keys("$verifier", {"SHA-256": ScramKeys(b"salt", 4096, b"\0stored", b"server\xff")}, b"se:cret\0")


@pytest.fixture
def passwords(tmp_path: Path) -> Passwords:
    create_database(tmp_path, PASSWORDS, 0o600)
    return Passwords(tmp_path)


def test_all_keys_of_a_password_are_kept(passwords: Passwords) -> None:
    assert passwords.keys(JOE) is None
    passwords.set_keys(JOE, ALL)
    assert passwords.keys(JOE) == ALL and passwords.verifier(JOE) == "$verifier"
    assert passwords.keys(ANN) is None and passwords.count() == 1


def test_nothing_of_an_older_password_remains(passwords: Passwords) -> None:
    passwords.set_keys(JOE, ALL)
    passwords.set_verifier(JOE, "$new")
    assert passwords.keys(JOE) == Keys("$new")
    passwords.remove(JOE)
    assert passwords.keys(JOE) is None


def test_the_secret_of_a_site_is_made_once(passwords: Passwords, tmp_path: Path) -> None:
    key = passwords.site_key()
    assert len(key) == 32 and passwords.site_key() == key == Passwords(tmp_path).site_key()
    assert passwords.count() == 0
