"""Who is asked about a login: authdb, the legacy mechanism, or nobody; and when accounts are made."""

import threading
from pathlib import Path

import pytest

from mstore.accounts import Accounts, LoginRules
from mstore.accounts.database import ACCOUNTS, PASSWORDS, create_database
from mstore.accounts.keys import Keys
from mstore.accounts.passwords import Passwords
from mstore.auth.admission import Admission
from mstore.auth.authdb import AuthDb
from mstore.auth.keying import Keymaker
from mstore.auth.migration import Migration
from mstore.auth.pace import Paced
from mstore.auth.scheme import Scheme
from mstore.auth.verdict import REFUSED, Verdict
from mstore.base.errors import Unavailable
from tests.kit.loglines import logged


class Fast(Scheme):
    """Costs nothing."""

    def hash(self, password: bytes) -> str:
        return f"fast {password.hex()}"

    def verify(self, password: bytes, verifier: str) -> bool:
        return verifier == f"fast {password.hex()}"


class Elsewhere:
    """Knows some passwords, and what it was asked."""

    def __init__(self, **passwords: str) -> None:
        self.passwords = passwords
        self.asked: list[str] = []
        self.peers: list[str] = []
        self.closed = False
        self.meanwhile = lambda: None

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        self.asked.append(login)
        self.peers.append(peer)
        self.meanwhile()
        if login == "broken":
            raise Unavailable("gone")
        return Verdict(True) if self.passwords.get(login) == password.decode() else REFUSED

    def close(self) -> None:
        self.closed = True


class Site:
    def __init__(self, path: Path, rules: LoginRules | None = None) -> None:
        create_database(path, ACCOUNTS, 0o600)
        create_database(path, PASSWORDS, 0o600)
        self.mail = path / "mail"
        self.mail.mkdir()
        self.accounts = Accounts(path, rules or LoginRules(), None, {"main": self.mail})
        self.passwords = Passwords(path)
        self.authdb = AuthDb(Passwords(path), self.accounts, Keymaker(scheme=Fast()))
        self.elsewhere = Elsewhere(ann="old", joe="old", nobody="")
        self.migration = Migration(self.authdb, self.elsewhere, self.accounts)

    def add(self, name: str, password: str | None = None) -> None:
        record = self.accounts.add(name, "main")
        if password is not None:
            self.passwords.set_keys(record.id, Keys(Fast().hash(password.encode())))

    def names(self) -> list[str]:
        return [record.name for record in self.accounts.list()]


def test_the_first_login_is_judged_by_the_old_mechanism_and_later_ones_by_authdb(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.migration.verify("ann", b"old", "192.0.2.1").ok
    assert site.names() == ["ann"]
    assert site.elsewhere.peers == ["192.0.2.1"]
    site.elsewhere.passwords["ann"] = "changed there"
    assert site.migration.verify("Ann", b"old").ok
    assert not site.migration.verify("ann", b"changed there").ok
    assert site.elsewhere.asked == ["ann"]


def test_a_wrong_password_there_makes_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert not site.migration.verify("ann", b"wrong").ok
    assert not site.migration.verify("stranger", b"old").ok
    assert site.names() == [] and site.passwords.count() == 0


def test_a_password_that_is_wrong_here_is_not_tried_there(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.add("ann", "new")
    assert not site.migration.verify("ann", b"old").ok
    assert site.migration.verify("ann", b"new").ok
    assert site.elsewhere.asked == []


def test_an_account_without_a_password_is_taken_up_unless_it_is_disabled(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.add("Ann")
    site.elsewhere.passwords["Ann"] = "old"
    assert site.migration.verify("ann", b"old").ok
    assert site.elsewhere.asked == ["Ann"], "the account's name, not the spelling of the client"
    assert site.names() == ["Ann"]
    site.add("joe")
    record = site.accounts.find("joe")
    assert record is not None
    site.accounts.set_enabled(record, False)
    assert not site.migration.verify("joe", b"old").ok
    assert site.elsewhere.asked == ["Ann"]


def test_names_that_cannot_have_mail_are_asked_of_nobody(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for login in ("", "a/b", "a:b", "-x", "anyone", "a b", "x" * 300, "\u202e"):
        assert not site.migration.verify(login, b"old").ok
    assert site.elsewhere.asked == []


def test_spellings_of_one_account_are_one_person_there_too(tmp_path: Path) -> None:
    site = Site(tmp_path, LoginRules.of(None, True))
    site.elsewhere.passwords["ann@evil.example"] = "mine"
    assert not site.migration.verify("ann@evil.example", b"mine").ok
    assert site.migration.verify("ANN@evil.example", b"old").ok
    assert site.names() == ["ann"] and set(site.elsewhere.asked) == {"ann"}


def test_whoever_made_the_account_meanwhile_decides(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.elsewhere.meanwhile = lambda: site.add("ann", "new") if not site.names() else None
    assert not site.migration.verify("ann", b"old").ok
    assert site.names() == ["ann"] and site.passwords.count() == 1
    assert site.migration.verify("ann", b"new").ok


def test_first_logins_at_once_make_one_account(tmp_path: Path) -> None:
    site = Site(tmp_path)
    barrier = threading.Barrier(6)
    site.elsewhere.meanwhile = lambda: barrier.wait(60) and None
    verdicts: list[bool] = []

    def log_in() -> None:
        accounts = Accounts(tmp_path, LoginRules(), None, {"main": site.mail})
        authdb = AuthDb(Passwords(tmp_path), accounts, Keymaker(scheme=Fast()))
        verdicts.append(Migration(authdb, site.elsewhere, accounts).verify("ann", b"old").ok)

    threads = [threading.Thread(target=log_in) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [True] * 6
    assert site.names() == ["ann"] and site.passwords.count() == 1


def test_a_name_that_is_an_alias_is_not_migrated(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.add("joe", "x")
    record = site.accounts.find("joe")
    assert record is not None
    site.accounts.add_alias("ann", record)
    with logged() as lines:
        assert not site.migration.verify("ann", b"old").ok
    assert lines == [
        ("warning", {"event": "migration-failed", "user": "ann", "error": "ann is an alias already"})
    ]


def test_an_old_mechanism_that_cannot_be_asked_is_no_refusal(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.add("joe", "x")
    with pytest.raises(Unavailable):
        site.migration.verify("broken", b"old")
    assert site.migration.verify("joe", b"x").ok
    site.mail.rmdir()
    with pytest.raises(Unavailable, match="directory"):
        site.migration.verify("ann", b"old")
    assert site.names() == ["joe"]


def test_closing_closes_both(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.migration.close()
    assert site.elsewhere.closed


# mechanisms that know no accounts


def test_only_enabled_accounts_are_asked_about(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.add("Ann")
    site.elsewhere.passwords["Ann"] = "old"
    admission = Admission(site.elsewhere, site.accounts, may_create=False)
    assert admission.verify("ann", b"old", "192.0.2.1").ok and not admission.verify("ann", b"x").ok
    assert not admission.verify("joe", b"old").ok
    assert site.elsewhere.asked == ["Ann", "Ann"] and site.elsewhere.peers[0] == "192.0.2.1"
    record = site.accounts.find("ann")
    assert record is not None
    site.accounts.set_enabled(record, False)
    assert not admission.verify("ann", b"old").ok
    assert site.elsewhere.asked == ["Ann", "Ann"]
    admission.close()
    assert site.elsewhere.closed


def test_accounts_are_made_for_those_who_are_let_in(tmp_path: Path) -> None:
    site = Site(tmp_path)
    admission = Admission(site.elsewhere, site.accounts, may_create=True)
    assert not admission.verify("joe", b"x").ok and site.names() == []
    assert admission.verify("JOE", b"old").ok and site.names() == ["joe"]
    assert admission.verify("joe", b"old").ok and site.names() == ["joe"]
    assert site.passwords.count() == 0
    record = site.accounts.find("joe")
    assert record is not None and record.mailstore == "main"
    site.accounts.add_alias("ann", record)
    assert not admission.verify("ann", b"old").ok
    assert not admission.verify("a/b", b"old").ok and "a/b" not in site.elsewhere.asked


# the time of refusals


def test_refusals_take_as_long_as_the_slowest_of_late(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now_s = 100.0
        slept: list[float] = []  # noqa: RUF012

        def sleep(self, seconds: float) -> None:
            self.slept.append(round(seconds, 3))
            self.now_s += seconds

    clock = Clock()
    monkeypatch.setattr("mstore.auth.pace.time.monotonic", lambda: clock.now_s)
    monkeypatch.setattr("mstore.auth.pace.blocking.sleep", clock.sleep)
    elsewhere = Elsewhere(ann="old")
    takes_s = 0.1

    def work() -> None:
        clock.now_s += takes_s

    elsewhere.meanwhile = work
    paced = Paced(elsewhere, shortest_s=0.5)
    assert paced.verify("ann", b"old").ok and clock.slept == []
    paced.verify("ann", b"x")
    assert clock.slept == [0.4]
    takes_s = 2.0
    paced.verify("ann", b"x")
    assert clock.slept == [0.4]
    takes_s = 0.1
    paced.verify("nobody", b"x")
    assert clock.slept[-1] == pytest.approx(2.0 * 0.98 - 0.1)
    takes_s = 20.0
    paced.verify("ann", b"x")
    takes_s = 0.1
    paced.verify("ann", b"x")
    assert clock.slept[-1] < 2
    with pytest.raises(Unavailable):
        paced.verify("broken", b"x")
    paced.close()
    assert elsewhere.closed
