import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mstore.accounts import Accounts
from mstore.base.errors import Denied, Exists, Invalid, LimitReached, MStoreError, NotFound, Unavailable
from mstore.store.access import Access
from mstore.store.acl import MAX_ENTRIES, Acl
from mstore.store.append import NewMessage, append
from mstore.store.rights import ALL
from mstore.store.store import Store
from tests.kit.mailhost import MAILSTORE
from tests.kit.sharing import Site, names, shown


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    found.host.close()


# -- changing ------------------------------------------------------------------------------------------


def test_new_mailboxes_take_the_list_of_the_nearest_level_above(site: Site) -> None:
    site.joe.create("a")
    site.share("a", "ann", "lrk")
    site.ann.create("user/joe/a/b/c")
    for name in ("a/b", "a/b/c"):
        assert shown(site.joe, name)["ann"] == "klr"
    site.joe.create("d")
    assert "ann" not in shown(site.joe, "d")
    site.share("a", "ann", "")
    assert shown(site.joe, "a/b")["ann"] == "klr"
    assert names(site.ann) == ["INBOX", "user/joe/a/b", "user/joe/a/b/c"]
    with pytest.raises(Denied):
        site.ann.create("user/joe/a/x")
    site.ann.create("user/joe/a/b/x")


def test_creating_needs_k_above_and_the_top_belongs_to_owner_and_administrators(site: Site) -> None:
    site.joe.create("a")
    site.share("a", "ann", "lrswiptea")
    for name in ("user/joe/a/b", "user/joe/new", "shared/new"):
        with pytest.raises(Denied):
            site.ann.create(name)
    site.boss.create("user/joe/new")
    site.boss.create("shared/new/x")
    assert site.boss.may_create("shared/new")  # whether there is one or not
    with pytest.raises(Exists):
        site.boss.create("shared/new")
    site.share("shared/new", "ann", "k")
    site.ann.create("shared/new/mine")
    assert "".join(sorted(site.ann.rights("shared/new/mine"))) == "k"
    with pytest.raises(NotFound, match="user/jim"):
        site.boss.create("user/jim/x")
    for level in ("shared", "user", "user/joe", "user/joe/"):
        with pytest.raises(Invalid):
            site.boss.create(level)


def test_an_owner_may_bind_himself_and_undo_it(site: Site) -> None:
    site.joe.create("a")
    site.joe.set_acl("a", "joe", "-", frozenset("xk"))
    with pytest.raises(Denied):
        site.joe.delete("a")
    with pytest.raises(Denied):
        site.joe.create("a/b")
    site.joe.set_acl("a", "joe", "=", frozenset())
    assert site.joe.rights("a") == frozenset("la")
    with pytest.raises(Denied):
        site.joe.open("a", "r")
    site.joe.delete_acl("a", "joe")
    assert site.joe.rights("a") == ALL
    site.joe.set_acl("a", "joe", "-", frozenset("x"))
    site.joe.set_acl("a", "joe", "+", frozenset("x"))
    assert not site.joe.account.entry("a").acl
    site.joe.delete("a")


def test_nobody_has_a_mailbox_called_like_another_namespace(site: Site) -> None:
    for access, name in ((site.joe, "user/joe/user/x"), (site.boss, "user/joe/shared")):
        with pytest.raises(Invalid):
            access.create(name)
    site.joe.create("a")
    for new in ("user/joe/shared", "user/joe/user/a"):
        with pytest.raises(Invalid):
            site.joe.rename("a", new)
    site.boss.create("shared/user/shared")
    assert "shared/user/shared" in names(site.boss)


def test_deleting_needs_x_and_takes_the_list_along(site: Site) -> None:
    site.joe.create("a/b")
    site.share("a", "ann", "lrswipktea")
    with pytest.raises(Denied):
        site.ann.delete("user/joe/a")
    site.share("a", "ann", "lx")
    site.ann.delete("user/joe/a")
    assert site.joe.account.entry("a").no_select
    assert not site.joe.account.entry("a").acl
    assert site.host.accounts.grantors(frozenset([f"user:{site.ann.person.id}"])) == []
    assert names(site.ann) == ["INBOX"]
    site.joe.create("a")
    assert "ann" not in shown(site.joe, "a")


def test_renaming_needs_x_on_all_that_moves_and_k_at_the_new_place(site: Site) -> None:
    for name in ("a/b/c", "d"):
        site.joe.create(name)
    site.share("a/b", "ann", "lx")
    site.share("a/b/c", "ann", "lr")
    with pytest.raises(Denied, match="user/joe/d/b"):
        site.ann.rename("user/joe/a/b", "user/joe/d/b")
    site.share("d", "ann", "k")
    with pytest.raises(Denied, match="beneath user/joe/a/b"):
        site.ann.rename("user/joe/a/b", "user/joe/d/b")
    site.share("a/b/c", "ann", "lrx")
    site.ann.rename("user/joe/a/b", "user/joe/d/b")
    assert names(site.joe) == ["INBOX", "a", "d", "d/b", "d/b/c"]
    assert shown(site.joe, "d/b")["ann"] == "lx"
    assert shown(site.joe, "d/b/c")["ann"] == "lrx"
    with pytest.raises(Denied):
        site.ann.rename("user/joe/d/b/c", "user/joe/c")


def test_nothing_is_renamed_into_another_account(site: Site) -> None:
    site.joe.create("a")
    site.share("a", "ann", "lrswipkxtea")
    site.boss.create("shared/x")
    site.share("shared/x", "joe", "lkx")
    for access, old, new in (
        (site.ann, "user/joe/a", "a"),
        (site.joe, "a", "shared/x/a"),
        (site.joe, "shared/x", "x"),
        (site.boss, "user/joe/a", "shared/a"),
        (site.boss, "user/joe/a", "user/ann/a"),
    ):
        with pytest.raises(Invalid, match="another user's"):
            access.rename(old, new)
    with pytest.raises(Denied):  # not told whether there is such a user
        site.ann.rename("user/joe/a", "user/jim/a")
    assert names(site.joe) == ["INBOX", "a", "shared/x"]


def test_only_its_owner_empties_an_inbox_by_renaming_it(site: Site) -> None:
    opened = site.joe.open("INBOX")
    append(opened.mailbox, [NewMessage(b"Subject: x\r\n\r\n", 1_700_000_000)])
    opened.mailbox.release()
    site.share("INBOX", "ann", "lrswipkxtea")
    for access in (site.ann, site.boss):
        with pytest.raises(Denied, match="INBOX"):
            access.rename("user/joe/INBOX", "user/joe/INBOX/old")
        with pytest.raises(Invalid):
            access.delete("user/joe/INBOX")
    site.joe.rename("user/joe/INBOX", "old")
    assert len(site.host.messages("joe", "old")) == 1


def test_rights_are_looked_at_again_when_the_account_is_locked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.joe.create("a")
    site.joe.create("secret")
    site.share("a", "ann", "lxka")
    account = site.joe.account
    for change in ("delete", "rename", "create", "change_acl"):
        real = getattr(type(account), change)

        def late(self: Any, *arguments: Any, real: Any = real, **more: Any) -> Any:
            monkeypatch.undo()  # only once
            site.joe.rename("a", "b")
            site.joe.rename("secret", "a")
            try:
                return real(self, *arguments, **more)
            finally:
                site.joe.rename("a", "secret")
                site.joe.rename("b", "a")

        monkeypatch.setattr(type(account), change, late)
        with pytest.raises((Denied, NotFound)):
            if change == "delete":
                site.ann.delete("user/joe/a")
            elif change == "rename":
                site.ann.rename("user/joe/a", "user/joe/a2")
            elif change == "create":
                site.ann.create("user/joe/a/b")
            else:
                site.ann.set_acl("user/joe/a", "ann", "=", ALL)
    assert names(site.joe) == ["INBOX", "a", "secret"]
    assert not account.entry("secret").acl


# -- lists ---------------------------------------------------------------------------------------------


def test_a_list_is_shown_with_its_owner_first(site: Site) -> None:
    site.host.accounts.groups.add("Team")
    site.share("INBOX", "-ann", "w")
    site.share("INBOX", "GROUP:team", "lr")
    site.share("INBOX", "Anyone", "l")
    assert [identifier for identifier, _ in site.joe.acl("INBOX")] == ["joe", "-ann", "anyone", "group:Team"]
    assert shown(site.joe, "INBOX")["joe"] == "".join(sorted(ALL))
    site.boss.create("shared/x")
    assert site.boss.acl("shared/x") == []


def test_lists_need_the_right_a_and_name_only_whom_there_is(site: Site) -> None:
    site.share("INBOX", "ann", "lrswipkxte")
    with pytest.raises(Denied):
        site.ann.set_acl("user/joe/INBOX", "ann", "=", ALL)
    with pytest.raises(Denied):
        site.ann.delete_acl("user/joe/INBOX", "joe")
    with pytest.raises(Denied):
        site.ann.list_rights("user/joe/INBOX", "joe")
    for identifier in ("jim", "group:none", "", "-", "user:" + site.ann.person.id):
        with pytest.raises(Invalid):
            site.joe.set_acl("INBOX", identifier, "=", ALL)
    site.boss.set_acl("user/joe/INBOX", "ann", "+", frozenset("a"))
    site.ann.delete_acl("user/joe/INBOX", "ann")
    assert shown(site.joe, "INBOX") == {"joe": "".join(sorted(ALL))}


def test_what_can_be_granted_depends_on_whom(site: Site) -> None:
    assert site.joe.list_rights("INBOX", "ann") == ("", tuple("lrswipkxteacd"))
    assert site.joe.list_rights("INBOX", "joe") == ("la", tuple("rswipkxtecd"))
    assert site.joe.list_rights("INBOX", "-joe") == ("", tuple("lrswipkxteacd"))
    assert site.joe.list_rights("INBOX", "boss") == ("lkxac", tuple("rswipted"))
    assert site.joe.list_rights("INBOX", "anonymous") == ("", tuple("lrwipkxteacd"))


def test_who_is_removed_and_made_again_inherits_nothing(site: Site) -> None:
    accounts = site.host.accounts
    team = accounts.groups.add("team")
    for identifier in ("ann", "-ann", "group:team"):
        site.share("INBOX", identifier, "lr")
    ann = accounts.find("ann")
    assert ann is not None
    accounts.remove(ann)
    accounts.groups.remove(team)
    assert shown(site.joe, "INBOX") == {"joe": "".join(sorted(ALL))}
    accounts.add("ann", MAILSTORE)
    accounts.groups.join(accounts.groups.add("team"), site.ann.person.id)
    assert names(site.ann) == ["INBOX"]
    assert list(shown(site.joe, "INBOX")) == ["joe"]
    with pytest.raises(NotFound):
        site.ann.rights("user/joe/INBOX")


def test_groups_count_from_the_moment_of_joining(site: Site) -> None:
    groups = site.host.accounts.groups
    team = groups.add("team")
    site.share("INBOX", "group:team", "lrw")
    site.share("INBOX", "-group:team", "w")
    assert names(site.ann) == ["INBOX"]
    groups.join(team, site.ann.person.id)
    assert names(site.ann) == ["INBOX", "user/joe/INBOX"]
    assert site.ann.rights("user/joe/INBOX") == frozenset("lr")
    groups.leave(team, site.ann.person.id)
    assert names(site.ann) == ["INBOX"]


def test_a_list_has_a_limit_and_stays_as_it_is_beyond(site: Site) -> None:
    strangers = {f"user:{number:016x}": frozenset("l") for number in range(MAX_ENTRIES)}
    site.joe.account.change_acl("INBOX", lambda acl: Acl(strangers), lambda *_: None)
    with pytest.raises(LimitReached):
        site.share("INBOX", "ann", "l")
    assert site.joe.account.entry("INBOX").acl == Acl(strangers)
    site.joe.account.change_acl("INBOX", lambda acl: acl.without(f"user:{7:016x}"), lambda *_: None)
    site.share("INBOX", "ann", "l")
    assert names(site.ann) == ["INBOX", "user/joe/INBOX"]


def test_a_no_select_name_has_a_list_too(site: Site) -> None:
    site.joe.create("a/b")
    site.joe.delete("a")
    site.share("a", "ann", "lk")
    assert names(site.ann) == ["INBOX", "user/joe/a"]
    site.ann.create("user/joe/a/c")
    assert shown(site.joe, "a/c")["ann"] == "kl"
    with pytest.raises(NotFound):
        site.joe.open("a")
    site.joe.create("a")  # a mailbox again, with what was said of the name
    assert shown(site.joe, "a")["ann"] == "kl"


def test_grants_are_kept_before_they_hold_and_forgotten_after(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = frozenset([f"user:{site.ann.person.id}"])
    accounts = site.host.accounts

    def fail(*_: object) -> None:
        raise MStoreError("the disk is full")

    catalog = site.joe.account._catalog
    monkeypatch.setattr(catalog, "commit", fail)
    with pytest.raises(MStoreError):
        site.share("INBOX", "ann", "lr")
    assert [record.name for record in accounts.grantors(ann)] == ["joe"]  # superfluous, and harmless
    assert names(site.ann) == ["INBOX"]
    monkeypatch.undo()
    site.share("INBOX", "ann", "lr")
    monkeypatch.setattr(catalog, "commit", fail)
    with pytest.raises(MStoreError):
        site.joe.delete_acl("INBOX", "ann")
    assert names(site.ann) == ["INBOX", "user/joe/INBOX"]
    monkeypatch.undo()
    site.joe.delete_acl("INBOX", "ann")
    assert accounts.grantors(ann) == []


def test_what_cannot_be_forgotten_just_now_fails_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.joe.create("a")
    site.share("a", "ann", "lr")
    site.share("INBOX", "ann", "lr")
    real = Accounts.note_grants

    def note_grants(self: Accounts, account_id: Any, identifiers: Any, only: bool) -> None:
        if only:
            raise Unavailable("the database is busy")
        real(self, account_id, identifiers, only)

    monkeypatch.setattr(Accounts, "note_grants", note_grants)
    site.joe.delete("a")
    site.joe.delete_acl("INBOX", "ann")
    assert names(site.ann) == ["INBOX"]

    def fail(*_: object) -> None:
        raise Unavailable("the database is busy")

    monkeypatch.setattr(Accounts, "note_grants", fail)
    with pytest.raises(Unavailable):
        site.share("INBOX", "ann", "lr")
    assert not site.joe.account.entry("INBOX").acl


def test_another_process_sees_a_change_at_once(site: Site, tmp_path: Path) -> None:
    assert names(site.ann) == ["INBOX"]
    code = f"""
from pathlib import Path
from mstore.accounts import Accounts, LoginRules
from mstore.store.access import Access
from mstore.store.store import Store
accounts = Accounts(Path({str(tmp_path / "db")!r}), LoginRules.of(None, True))
store = Store({{"{MAILSTORE}": Path({str(tmp_path / "mail")!r})}})
joe = Access(store, accounts, accounts.find("joe"))
joe.set_acl("INBOX", "ann", "=", frozenset("lr"))
store.close()
"""
    opened = site.ann
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert names(opened) == ["INBOX", "user/joe/INBOX"]
    other = Access(Store(site.host.settings.mailstores), Accounts(tmp_path / "db"), opened.person)
    assert other.rights("user/joe/INBOX") == frozenset("lr")
    site.joe.delete_acl("INBOX", "ann")
    with pytest.raises(NotFound):
        other.rights("user/joe/INBOX")
