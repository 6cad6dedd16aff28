from __future__ import annotations

from pathlib import Path

from mstore.accounts import Accounts
from mstore.base.errors import MStoreError
from mstore.files.segment import every_segment
from mstore.store.append import append
from mstore.store.mailbox import Mailbox
from mstore.store.store import Store
from tests.kit.mail import make_content, make_messages
from tests.unit.cli.conftest import Admin


def deliver(admin: Admin, user: str, mailbox: str, expunged: int) -> Path:
    """Messages 1 to 5, the first of which are expunged, and the first that is left is seen."""
    record = Accounts(admin.settings.db_path).find(user)
    assert record is not None
    opened = Store(admin.settings.mailstores).account(record).open(mailbox)
    append(opened, make_messages(5))
    if expunged:
        with opened.transaction() as tx:
            tx.expunge(range(expunged))
    with opened.transaction() as tx:
        tx.flags([expunged], "add", 1)
    opened.release()
    return opened.path


def contents(path: Path) -> list[bytes]:
    mailbox = Mailbox(path)
    found = [mailbox.read(row) for row in mailbox.index.live_rows().tolist()]
    mailbox.close()
    return found


def wanted(*numbers: int) -> list[bytes]:
    return [make_content(number) for number in numbers]


def test_what_is_dead_is_given_back(admin: Admin) -> None:
    for user in ("joe", "ann"):
        admin.add(user)
        admin.ok("mailbox", "create", user, "work/new")
    paths = [deliver(admin, user, name, 2) for user in ("joe", "ann") for name in ("INBOX", "work/new")]
    before = [sum(file.stat().st_size for file in path.glob("messages.*")) for path in paths]
    assert admin.json("compact", "joe", "work/new")[0]["given_back_bytes"] > 2 * 300
    assert [len(every_segment(path)) for path in paths] == [1, 2, 1, 1]
    text = admin.ok("compact", "joe")
    assert text.startswith("user/joe/INBOX: ") and text.count("\n") == 1
    names = [mailbox["name"] for mailbox in admin.json("compact")]
    made = ("INBOX", "work", "work/new")
    assert names == [f"user/{user}/{name}" for user in ("ann", "joe") for name in made]
    assert admin.ok("compact") == "nothing to give back\n"
    for path, size in zip(paths, before, strict=True):
        assert sum((path / file).stat().st_size for file in ("packed.0", "messages.2")) < size
        assert contents(path) == wanted(3, 4, 5)
    assert "no problem" in admin.ok("check")
    admin.ok("mailbox", "create", "shared/bugs")
    assert [mailbox["name"] for mailbox in admin.json("compact", "shared/")] == ["shared/bugs"]


def test_what_cannot_be_compacted_is_said(admin: Admin) -> None:
    admin.add("joe")
    assert "no user jim" in admin.fails("compact", "jim")
    assert "no mailbox" in admin.fails("compact", "joe", "nowhere")
    path = deliver(admin, "joe", "INBOX", 1)
    (path / "index.1").write_bytes(b"?")
    (path / "journal.1").write_bytes(b"?")
    (path / "messages.1").write_bytes(b"?")
    assert "user/joe/INBOX: " in admin.fails("compact")


def test_an_index_is_made_anew(admin: Admin) -> None:
    admin.add("joe")
    path = deliver(admin, "joe", "INBOX", 2)
    assert admin.ok("rebuild", "joe", "INBOX") == "INBOX: 3 messages\n"
    assert contents(path) == wanted(3, 4, 5)
    assert [mailbox["unseen"] for mailbox in admin.json("mailbox", "list", "joe")] == [2]
    assert "--yes" in admin.fails("rebuild", "joe", "INBOX", "--from-segments")
    assert admin.json("rebuild", "user/joe/INBOX", "--from-segments", "--yes") == {
        "name": "user/joe/INBOX",
        "messages": 5,
        "uid_next": 6,
    }
    assert contents(path) == wanted(1, 2, 3, 4, 5)
    (found,) = admin.json("mailbox", "list", "joe")
    assert (found["messages"], found["unseen"]) == (5, 5)
    assert "no problem" in admin.ok("check")
    assert "no mailbox" in admin.fails("rebuild", "joe", "nowhere")


def test_segments_alone_with_the_catalog_give_the_mailbox_back(admin: Admin) -> None:
    admin.add("joe")
    path = deliver(admin, "joe", "INBOX", 0)
    uid_validity = Mailbox(path).uid_validity
    for name in ("index.1", "journal.1", "lock"):
        (path / name).unlink()
    with (path / "messages.1").open("r+b") as file:
        file.write(bytes(64))
    try:
        Mailbox(path)
    except MStoreError:
        pass
    else:
        raise AssertionError("nothing tells what this is")
    assert admin.ok("rebuild", "joe", "INBOX") == "INBOX: 5 messages\n"
    assert Mailbox(path).uid_validity == uid_validity
    assert contents(path) == wanted(1, 2, 3, 4, 5)
    assert "no problem" in admin.ok("check")


def test_a_session_is_told_when_what_was_gone_is_back(admin: Admin) -> None:
    admin.add("joe")
    path = deliver(admin, "joe", "INBOX", 2)
    mailbox = Mailbox(path)
    view = mailbox.view()
    admin.ok("rebuild", "joe", "INBOX")
    assert not mailbox.refresh() or not view.pending(True).expunged_seqs
    assert not mailbox.deleted and mailbox.read(2) == make_content(3)
    admin.ok("rebuild", "joe", "INBOX", "--from-segments", "--yes")
    mailbox.refresh()
    assert mailbox.deleted, "there is no way to tell a session that messages are back: it has to select again"
    assert mailbox.index.messages == 3
