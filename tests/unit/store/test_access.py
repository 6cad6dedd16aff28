from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mstore.accounts.database import Database
from mstore.base.errors import Denied, NotFound
from mstore.store.access import Access
from mstore.store.rights import ALL, parse_rights
from tests.kit.mailhost import MAILSTORE
from tests.kit.sharing import Site, names


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    found.host.close()


# -- names and listings ----------------------------------------------------------------------------------


def test_ones_own_mailboxes_are_there_without_any_list(site: Site) -> None:
    site.joe.create("a/b")
    assert names(site.joe) == ["INBOX", "a", "a/b"]
    assert site.joe.listing() is site.joe.account.mailboxes()
    assert site.joe.rights("a") == ALL
    opened = site.joe.open("a", *ALL)
    assert (opened.name, opened.personal, opened.rights, opened.mailbox.reader) == ("a", True, ALL, None)
    opened.mailbox.release()


def test_ones_own_full_name_leads_to_the_same_mailbox_and_is_not_listed(site: Site) -> None:
    site.joe.create("user/JOE/a")
    assert names(site.joe, "user/") == ["INBOX", "a"]
    short, full = site.joe.open("a"), site.joe.open("user/Joe/a")
    assert short.mailbox is full.mailbox
    assert (full.name, full.personal) == ("a", True)
    short.mailbox.release()
    full.mailbox.release()
    site.joe.rename("user/joe/a", "b")
    assert names(site.joe) == ["INBOX", "b"]


def test_what_somebody_may_see_is_listed_behind_his_own(site: Site) -> None:
    site.joe.create("a/b")
    site.joe.create("c")
    site.boss.create("shared/bugs")
    assert names(site.ann) == ["INBOX"]
    site.share("a/b", "ann", "l")
    site.share("c", "ann", "r")  # not l: not listed
    site.share("INBOX", "ann", "lr")
    site.share("shared/bugs", "anyone", "l")
    assert names(site.ann) == ["INBOX", "user/joe/INBOX", "user/joe/a/b", "shared/bugs"]
    assert names(site.joe) == ["INBOX", "a", "a/b", "c", "shared/bugs"]
    assert names(site.nobody) == ["shared/bugs"]
    assert "shared/INBOX" not in names(site.boss)


def test_only_what_can_begin_with_the_pattern_is_looked_at(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.share("INBOX", "ann", "l")
    site.boss.create("shared/bugs")
    site.share("shared/bugs", "anyone", "l")
    for prefix, foreign in (
        ("a", []),
        ("use", ["user/joe/INBOX"]),
        ("user/joe/I", ["user/joe/INBOX"]),
        ("user/ann/", []),
        ("user/nobody/", []),
        ("sh", ["shared/bugs"]),
        ("shared/x", ["shared/bugs"]),
        ("users", []),
    ):
        assert names(site.ann, prefix) == ["INBOX", *foreign], prefix


def test_an_administrator_sees_everything_when_he_asks_for_it(site: Site) -> None:
    site.joe.create("a")
    assert names(site.boss) == ["INBOX"]
    assert names(site.boss, "user/") == ["INBOX", "user/ann/INBOX", "user/joe/INBOX", "user/joe/a"]
    assert names(site.boss, "user/joe/") == ["INBOX", "user/joe/INBOX", "user/joe/a"]
    assert "".join(sorted(site.boss.rights("user/joe/a"))) == "aklx"
    with pytest.raises(Denied):
        site.boss.open("user/joe/a", "r")


def test_a_listing_opens_only_accounts_that_grant_something(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = site.host.accounts
    with accounts._database.write() as connection:
        connection.executemany(
            "INSERT INTO account (id, key, name, mailstore, enabled, created_s) VALUES (?, ?, ?, ?, 1, 0)",
            [(f"{number:016x}", f"u{number}", f"u{number}", MAILSTORE) for number in range(100, 10_100)],
        )
    for number in (100, 5000, 9000):
        owner = Access(site.host.store, accounts, accounts.find(f"u{number}"))
        owner.set_acl("INBOX", "ann", "=", parse_rights("lr"))
    opened: list[str] = []
    real = site.host.store.account

    def account(record: Any) -> Any:
        opened.append(record.name)
        return real(record)

    monkeypatch.setattr(site.host.store, "account", account)
    wanted = [f"user/u{number}/INBOX" for number in (100, 5000, 9000)]
    assert names(site.ann) == ["INBOX", *wanted]
    assert sorted(set(opened)) == ["ann", "u100", "u5000", "u9000"]
    opened.clear()

    def read(*_: object) -> None:
        raise AssertionError("the database has not changed, so the answer is kept")

    monkeypatch.setattr(Database, "read", read)
    assert names(site.ann) == ["INBOX", *wanted]
    assert sorted(opened) == ["ann", "u100", "u5000", "u9000"]


def test_an_account_that_cannot_be_read_spoils_no_listing(site: Site) -> None:
    site.share("INBOX", "ann", "l")
    (site.joe.account.path / "catalog").write_bytes(b"x" * 4096)
    assert names(site.ann) == ["INBOX"]


def test_what_does_not_exist_and_what_is_hidden_are_told_alike(site: Site) -> None:
    site.joe.create("hidden")
    site.boss.create("shared/hidden")
    for name in ("user/joe/hidden", "user/joe/missing", "user/jim/missing", "shared/hidden", "shared/x"):
        asked = (
            lambda access, name=name: access.rights(name),
            lambda access, name=name: access.open(name, "r"),
            lambda access, name=name: access.acl(name),
            lambda access, name=name: access.delete(name),
            lambda access, name=name: access.rename(name, "mine"),
            lambda access, name=name: access.set_acl(name, "ann", "=", ALL),
            lambda access, name=name: access.list_rights(name, "ann"),
            lambda access, name=name: access.account_of(name),
        )
        for ask in asked:
            with pytest.raises(NotFound) as caught:
                ask(site.ann)
            assert str(caught.value) == f"there is no mailbox {name}"
        with pytest.raises(Denied) as refused:
            site.ann.create(name)
        assert str(refused.value) == f"you may not create {name}"
        assert not site.ann.may_create(name)
    for level in ("user", "user/joe", "user/jim", "shared"):
        with pytest.raises(NotFound):
            site.ann.rights(level)


def test_a_mailbox_that_is_seen_is_denied_and_one_that_is_only_known_is_not_there(site: Site) -> None:
    site.share("INBOX", "ann", "lr")
    with pytest.raises(Denied, match="'i'"):
        site.ann.open("user/joe/INBOX", "i")
    with pytest.raises(Denied):
        site.ann.acl("user/joe/INBOX")
    site.share("INBOX", "ann", "r")
    site.ann.open("user/joe/INBOX", "r").mailbox.release()
    with pytest.raises(NotFound):
        site.ann.open("user/joe/INBOX", "i")
    assert site.ann.rights("user/joe/INBOX") == {"r"}
    site.share("INBOX", "ann", "ps")
    with pytest.raises(NotFound):
        site.ann.rights("user/joe/INBOX")


# -- \Seen ---------------------------------------------------------------------------------------------


def test_other_peoples_mailboxes_are_opened_for_a_reader(site: Site) -> None:
    site.share("INBOX", "anyone", "lrs")
    for access, personal, reader in (
        (site.joe, True, None),
        (site.ann, False, site.ann.person.id),
        (site.nobody, False, None),
    ):
        opened = access.open("user/joe/INBOX", "r")
        assert (opened.personal, opened.mailbox.reader) == (personal, reader)
        assert ("s" in opened.rights) is (access._id is not None)
        opened.mailbox.release()


# -- what was opened -----------------------------------------------------------------------------------


def test_an_open_mailbox_tells_its_rights_as_they_are_now(site: Site) -> None:
    site.joe.create("a")
    site.share("a", "ann", "lrs")
    opened = site.ann.open("user/joe/a", "r")
    assert opened.current_rights() == frozenset("lrs")
    site.share("a", "ann", "lr")
    assert opened.current_rights() == frozenset("lr")
    site.joe.rename("a", "b")
    site.joe.create("a")
    assert opened.current_rights() == frozenset("lr")
    site.share("b", "ann", "")
    assert opened.current_rights() == frozenset()
    site.share("b", "ann", "lr")
    assert opened.current_rights() == frozenset("lr")
    site.joe.delete("b")
    assert opened.current_rights() == frozenset()
    opened.mailbox.release()


def test_an_open_mailbox_of_a_removed_user_gives_no_rights(site: Site) -> None:
    site.share("INBOX", "ann", "lr")
    opened = site.ann.open("user/joe/INBOX", "r")
    joe = site.host.accounts.find("joe")
    assert joe is not None
    site.host.accounts.remove(joe)
    assert opened.current_rights() == frozenset()
    assert names(site.ann) == ["INBOX"]
    opened.mailbox.release()


def test_who_is_removed_himself_is_told(site: Site) -> None:
    gate = site.ann
    ann = site.host.accounts.find("ann")
    assert ann is not None
    site.host.accounts.remove(ann)
    with pytest.raises(NotFound, match="account was removed"):
        gate.listing()


# -- subscriptions, and the rest -----------------------------------------------------------------------


def test_subscriptions_hold_one_form_of_each_name(site: Site) -> None:
    for name in ("user/JOE/inbox", "user/joe/INBOX", "user/ann/x", "shared/nothing/", "user/jim/a", "x"):
        site.ann.subscribe(name)
    assert site.ann.subscriptions() == {"user/joe/INBOX", "x", "shared/nothing", "user/jim/a"}
    site.ann.unsubscribe("user/Joe/Inbox")
    assert "user/joe/INBOX" not in site.ann.subscriptions()
    site.ann.unsubscribe("user/joe/INBOX")
    assert site.ann.normalize("user/ANN/a") == "a"
    assert site.ann.normalize("user/JOE/a") == "user/joe/a"


def test_nobody_anonymous_has_anything_of_his_own(site: Site) -> None:
    site.share("INBOX", "anonymous", "lr")
    assert names(site.nobody) == ["user/joe/INBOX"]
    assert site.nobody.subscriptions() == frozenset()
    with pytest.raises(Denied):
        site.nobody.subscribe("x")
    with pytest.raises(NotFound):
        site.nobody.open("INBOX")
    for name in ("x", "user/joe/x", "shared/x"):
        with pytest.raises(Denied):
            site.nobody.create(name)


def test_whose_quota_counts(site: Site) -> None:
    site.share("INBOX", "ann", "l")
    site.boss.create("shared/x")
    site.share("shared/x", "ann", "i")
    assert site.ann.account_of("anything").name == "ann"
    assert site.ann.account_of("user/joe/INBOX").name == "joe"
    assert site.ann.account_of("shared/x").name == "shared"
    assert site.boss.account_of("user/joe/new").name == "joe"
    for name in ("user/joe/new", "user/jim/INBOX", "shared/y"):
        with pytest.raises(NotFound):
            site.ann.account_of(name)


def test_mail_to_a_shared_mailbox_needs_p_for_anyone(site: Site) -> None:
    site.boss.create("shared/bugs")
    with pytest.raises(Denied):
        site.nobody.place_to_post("shared/bugs")
    site.share("shared/bugs", "ann", "p")
    with pytest.raises(Denied):
        site.nobody.place_to_post("shared/bugs")
    site.share("shared/bugs", "anyone", "p")
    assert site.nobody.place_to_post("shared/bugs").inner == "bugs"
    with pytest.raises(NotFound):
        site.nobody.place_to_post("shared/other")


def test_the_superuser_passes_everywhere_and_has_nothing_himself(site: Site) -> None:
    root = Access(site.host.store, site.host.accounts, None, is_superuser=True)
    site.joe.create("a")
    site.joe.set_acl("a", "joe", "=", frozenset())
    assert root.rights("user/joe/a") == ALL
    root.create("shared/x")
    root.delete("user/joe/a")
    root.rename("user/joe/INBOX", "user/joe/old")
    assert names(root, "user/joe/") == ["user/joe/INBOX", "user/joe/old"]
    with pytest.raises(NotFound):
        root.rights("INBOX")
