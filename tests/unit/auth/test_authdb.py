import time
from pathlib import Path

import pytest

from mstore.accounts import Accounts, LoginRules
from mstore.accounts.database import ACCOUNTS, PASSWORDS, create_database
from mstore.accounts.passwords import Passwords
from mstore.auth.authdb import AuthDb
from mstore.auth.scheme import Scheme
from mstore.base.errors import Exists, Invalid, LimitReached, Unavailable


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
        self.passwords.set_verifier(self.record.id, self.scheme.hash(b"secret"))
        self.authdb = AuthDb(Passwords(path), self.accounts, self.scheme, remembered_s)

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
    site.passwords.set_verifier(site.record.id, site.scheme.hash(b"changed"))
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
    assert site.ok("joe", b"secret")
    assert b"secret" not in repr(site.authdb._remembered).encode()
    assert b"secret" not in (tmp_path / "passwords.db").read_bytes()


@pytest.mark.parametrize("verifier", ["", "x", "$argon2id$", "{PLAIN}secret", "$2b$12$" + "x" * 53])
def test_a_verifier_that_cannot_be_read_fits_nothing(verifier: str) -> None:
    assert not Scheme().verify(b"secret", verifier)


def test_a_missing_database_is_told_when_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"passwords\.db"):
        AuthDb.open(tmp_path, Accounts(tmp_path))


# accounts made from a login


def enrolling(path: Path) -> Site:
    site = Site(path)
    mail = path / "mail"
    mail.mkdir()
    site.authdb._accounts = site.accounts = Accounts(path, LoginRules.of(None, True), None, {"main": mail})
    return site


def test_who_has_a_password_or_is_disabled_is_known(tmp_path: Path) -> None:
    site = enrolling(tmp_path)
    assert site.authdb.knows("JOE") and not site.authdb.knows("ann")
    site.passwords.remove(site.record.id)
    assert not site.authdb.knows("joe")
    site.accounts.set_enabled(site.record, False)
    assert site.authdb.knows("joe"), "a disabled account is nobody else's to judge"


def test_an_account_is_made_with_its_password(tmp_path: Path) -> None:
    site = enrolling(tmp_path)
    site.authdb.enroll("Ann@elsewhere.example", b"new")
    record = site.accounts.find("ann")
    assert record is not None and (record.name, record.mailstore, record.enabled) == ("ann", "main", True)
    assert site.ok("ann", b"new") and not site.ok("ann", b"secret")


def test_an_account_without_a_password_is_taken_up(tmp_path: Path) -> None:
    site = enrolling(tmp_path)
    site.passwords.remove(site.record.id)
    site.authdb.enroll("joe", b"new")
    assert site.ok("joe", b"new")
    assert [record.id for record in site.accounts.list()] == [site.record.id]


def test_a_password_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    site = enrolling(tmp_path)
    with pytest.raises(Exists):
        site.authdb.enroll("joe", b"other")
    assert site.ok("joe", b"secret") and not site.ok("joe", b"other")


def test_what_cannot_be_made_leaves_no_verifier(tmp_path: Path) -> None:
    site = enrolling(tmp_path)
    site.accounts.add_alias("boss", site.record)
    before = site.passwords.count()
    for login, password, error in (
        ("boss", b"x", Exists),
        ("a/b", b"x", Invalid),
        ("ann", b"x" * 1025, LimitReached),
    ):
        with pytest.raises(error):
            site.authdb.enroll(login, password)
    (tmp_path / "mail").rmdir()
    with pytest.raises(Unavailable, match="the mailstore's directory"):
        site.authdb.enroll("ann", b"x")
    assert site.passwords.count() == before
    assert [record.name for record in site.accounts.list()] == ["joe"]
