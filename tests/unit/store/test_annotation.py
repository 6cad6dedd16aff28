"""Annotations: their limits, the special use that is one, and that they outlive a catalog written anew."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mstore.base.errors import Denied, NotFound, UseRefused
from mstore.store import annotation
from mstore.store.access import Access
from mstore.store.account import Account
from mstore.store.annotation import MAX_ENTRIES, MAX_VALUE_BYTES, Subject, TooLong, TooMany, read, write
from mstore.store.append import append
from mstore.store.mailbox import Mailbox
from mstore.store.rights import parse_rights
from tests.kit.mail import make_messages
from tests.kit.mailhost import MailHost


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    host = MailHost(tmp_path)
    yield host
    host.close()


@pytest.fixture
def joe(host: MailHost) -> Access:
    return Access(host.store, host.accounts, host.add("joe"))


def test_all_or_none_are_set(joe: Access) -> None:
    write(joe, "INBOX", {"/private/a": b"1", "/shared/b": b""})
    assert read(joe, "INBOX") == {"/private/a": b"1", "/shared/b": b""}
    with pytest.raises(TooLong):
        write(joe, "INBOX", {"/private/a": None, "/shared/b": b"x" * (MAX_VALUE_BYTES + 1)})
    with pytest.raises(UseRefused):
        write(joe, "INBOX", {"/private/a": None, "/private/specialuse": b"\\All"})
    assert read(joe, "INBOX") == {"/private/a": b"1", "/shared/b": b""}
    write(joe, "INBOX", {"/private/a": None, "/shared/b": None, "/shared/c": None})
    assert read(joe, "INBOX") == {}


def test_they_raise_the_highest_modseq_of_the_mailbox_and_change_no_message(
    host: MailHost, joe: Access
) -> None:
    box = joe.account.open("INBOX")
    other = Mailbox(box.path)
    append(box, make_messages(3))
    other.refresh()
    view, columns = other.view(), other.columns.modseq.tolist()
    view.tells_modseq = True
    before = box.highest_modseq
    told: list[Mailbox] = []
    write(joe, "INBOX", {"/private/a": b"1", "/shared/b": b"2"}, told.append)
    assert told == [box] and box.highest_modseq == before + 1
    assert other.refresh() and other.highest_modseq == before + 1 and other.columns.modseq.tolist() == columns
    changes = view.pending(expunges=True)
    assert not len(changes.fetch_rows) and changes.exists is None and not changes.keywords_changed
    assert view.modseq == before + 1
    assert joe.status("INBOX")[1].highest_modseq == before + 1
    box.checkpoint()
    write(joe, "INBOX", {"/shared/b": None})
    again = Mailbox(box.path)
    assert again.highest_modseq == before + 2 and again.columns.modseq.tolist() == columns
    write(joe, "", {"/private/a": b"1"}, told.append)
    with pytest.raises(TooLong):
        write(joe, "INBOX", {"/private/a": b"x" * (MAX_VALUE_BYTES + 1)}, told.append)
    assert box.highest_modseq == before + 2 and told == [box]
    again.close()
    other.close()
    box.release()


def test_a_readers_own_ones_raise_it_too(host: MailHost, joe: Access) -> None:
    ann = Access(host.store, host.accounts, host.add("ann"))
    joe.create("open")
    joe.set_acl("open", "ann", "=", parse_rights("lr"))
    before = joe.status("open")[1].highest_modseq
    write(ann, "user/joe/open", {"/private/a": b"1"})
    with pytest.raises(Denied):
        write(ann, "user/joe/open", {"/shared/a": b"1"})
    status = joe.status("open")[1]
    assert status.highest_modseq == before + 1
    assert ann.status("user/joe/open")[1].highest_modseq == before + 1


def test_a_mailbox_deleted_just_then_is_no_error(joe: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    joe.create("brief")
    annotate, told = Account.annotate, []

    def delete_then(account: Account, *arguments: Any) -> None:
        annotate(account, *arguments)
        account.delete("brief")

    monkeypatch.setattr(Account, "annotate", delete_then)
    write(joe, "brief", {"/private/a": b"1"}, told.append)
    assert told == [] and "brief" not in joe.account.mailboxes()


def test_there_is_a_limit_on_their_number_and_on_their_sum(
    joe: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(joe, "INBOX", {f"/private/{number}": b"x" for number in range(MAX_ENTRIES)})
    write(joe, "INBOX", {f"/shared/{number}": b"x" for number in range(MAX_ENTRIES)})
    with pytest.raises(TooMany):
        write(joe, "INBOX", {"/private/more": b"x"})
    write(joe, "INBOX", {"/private/more": b"x", "/private/0": None})
    joe.create("other")
    monkeypatch.setattr(annotation, "MAX_ACCOUNT_BYTES", 300)
    write(joe, "other", {"/private/0": b"x" * 100})
    with pytest.raises(TooMany):
        write(joe, "other", {"/private/1": b"x"})
    write(joe, "INBOX", {"/private/more": None})
    write(joe, "other", {"/private/1": b"x"})


def test_they_outlive_a_catalog_written_anew(host: MailHost, joe: Access) -> None:
    write(joe, "INBOX", {"/private/a": b"\0bytes\xff", "/shared/b": b"x" * 5000})
    for number in range(200):
        joe.subscribe(f"{number:03d}" + "x" * 900)
        joe.unsubscribe(f"{number:03d}" + "x" * 900)
    record = host.accounts.find("joe")
    other = Access(type(host.store)(host.settings.mailstores), host.accounts, record)
    assert read(other, "INBOX") == {"/private/a": b"\0bytes\xff", "/shared/b": b"x" * 5000}


def test_a_mailbox_that_was_deleted_meanwhile_is_not_annotated(joe: Access) -> None:
    entry = joe.create("gone")
    joe.delete("gone")
    with pytest.raises(NotFound):
        joe.account.annotate(Subject(0, int(entry.id, 16)), {"/shared/x": b"y"}, entry)


def test_a_special_use_moves(joe: Access) -> None:
    joe.create("a", "\\Drafts \\Sent")
    joe.create("b")
    write(joe, "b", {"/private/specialuse": b"\\sent"})
    assert read(joe, "a") == {"/private/specialuse": b"\\Drafts"}
    assert read(joe, "b") == {"/private/specialuse": b"\\Sent"}
