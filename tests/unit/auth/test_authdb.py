import time
from pathlib import Path

import pytest

from mstore.accounts import Accounts
from mstore.accounts.database import ACCOUNTS, PASSWORDS, create_database
from mstore.accounts.keys import Keys
from mstore.accounts.passwords import Passwords
from mstore.auth.authdb import AuthDb
from mstore.auth.keying import Keymaker
from mstore.auth.mechanism import make_mechanism
from mstore.auth.scheme import Scheme
from mstore.base.errors import Invalid, Unavailable


class Counting(Scheme):
    """Counts what it checks."""

    def __init__(self) -> None:
        super().__init__()
        self.checked: list[str] = []

    def verify(self, password: bytes, verifier: str) -> bool:
        self.checked.append(verifier)
        return super().verify(password, verifier)


class Site:
    def __init__(self, path: Path, remembered_s: float = 600) -> None:
        create_database(path, ACCOUNTS, 0o600)
        create_database(path, PASSWORDS, 0o600)
        self.accounts = Accounts(path)
        self.passwords = Passwords(path)
        self.scheme = Counting()
        self.record = self.accounts.add("joe", "main")
        self.set_password(b"secret")
        self.authdb = AuthDb(Passwords(path), self.accounts, Keymaker(scheme=self.scheme), remembered_s)

    def set_password(self, password: bytes) -> None:
        self.passwords.set_keys(self.record.id, Keys(self.scheme.hash(password)))

    def ok(self, login: str, password: bytes) -> bool:
        return self.authdb.verify(login, password).ok


def test_right_and_wrong_passwords(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.ok("Joe", b"secret")
    for password in (b"Secret", b"secret ", b"", b"x" * 4000, b"sec\0ret", b"\xff\xfe"):
        assert not site.ok("joe", password)


def test_who_is_wrong_is_not_told_what_was(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.authdb.verify("joe", b"wrong") == site.authdb.verify("nobody", b"wrong")


def test_an_unknown_name_costs_a_hash_with_the_same_parameters(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.ok("nobody", b"x")
    site.ok("joe", b"wrong")
    unknown, wrong = site.scheme.checked
    assert unknown.split("$")[:4] == wrong.split("$")[:4]
    assert unknown.startswith("$argon2id$")


def test_a_right_password_is_hashed_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for _ in range(3):
        assert site.ok("joe", b"secret")
    assert len(site.scheme.checked) == 1
    assert not site.ok("joe", b"other")
    assert len(site.scheme.checked) == 2
    assert site.ok("joe", b"secret")
    assert len(site.scheme.checked) == 2


def test_a_new_password_ends_what_was_remembered(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.ok("joe", b"secret")
    site.set_password(b"changed")
    assert not site.ok("joe", b"secret")
    assert site.ok("joe", b"changed")


def test_what_is_remembered_ends_by_itself(tmp_path: Path) -> None:
    site = Site(tmp_path, remembered_s=0.05)
    assert site.ok("joe", b"secret")
    time.sleep(0.06)
    assert site.ok("joe", b"secret")
    assert len(site.scheme.checked) == 2


def test_a_disabled_account_cannot_log_in_with_what_is_remembered(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.ok("joe", b"secret")
    Accounts(tmp_path).set_enabled(site.record, False)
    assert not site.ok("joe", b"secret")


def test_an_account_without_a_password_cannot_log_in(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.passwords.remove(site.record.id)
    assert not site.ok("joe", b"secret")
    assert not site.ok("joe", b"")


def test_the_password_itself_is_nowhere_in_memory_of_the_mechanism(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.set_password(b"correcthorse")
    assert site.ok("joe", b"correcthorse")
    assert b"correcthorse" not in repr(site.authdb._remembered).encode()
    assert b"correcthorse" not in (tmp_path / "passwords" / "passwords.db").read_bytes()


@pytest.mark.parametrize("verifier", ["", "x", "$argon2id$", "{PLAIN}secret", "$2b$12$" + "x" * 53])
def test_a_verifier_that_cannot_be_read_fits_nothing(verifier: str) -> None:
    assert not Scheme().verify(b"secret", verifier)


def test_the_mechanism_of_the_configuration_is_made(tmp_path: Path) -> None:
    site = Site(tmp_path)
    mechanism = make_mechanism("authdb", tmp_path, site.accounts)
    assert mechanism.verify("joe", b"secret").ok
    mechanism.close()


def test_a_mechanism_that_is_not_there_is_refused_naming_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no authentication mechanism pam; there are: authdb"):
        make_mechanism("pam", tmp_path, Accounts(tmp_path))


def test_a_missing_database_is_told_when_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"passwords\.db"):
        make_mechanism("authdb", tmp_path, Accounts(tmp_path))
