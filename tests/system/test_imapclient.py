"""IMAPClient, a library that reads answers by the grammar: mailboxes, flags, SORT, THREAD, quotas, IDLE."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from tests.kit.instance import PASSWORD, Instance
from tests.kit.programs import CERTIFICATE, with_attachment, with_tls

imapclient = pytest.importorskip("imapclient", reason="IMAPClient is not installed")

CHAIN = [
    ("<1@x>", "", "Plans for Sunday", "zoe"),
    ("<2@x>", "<1@x>", "Re: Plans for Sunday", "ann"),
    ("<3@x>", "<1@x> <2@x>", "Re: Plans for Sunday", "zoe"),
    ("<4@x>", "", "Bills", "bob"),
]


def connect(store: Instance, tls: bool = False) -> Any:
    client = imapclient.IMAPClient("localhost", store.imap_address[1], ssl=False, timeout=30)
    if tls:
        client.starttls(ssl.create_default_context(cafile=str(CERTIFICATE)))
    client.login("joe", PASSWORD)
    return client


def letter(number: int, identity: str, references: str, subject: str, sender: str) -> bytes:
    return (
        f"From: {sender}@test.example\r\nTo: joe@test.example\r\nSubject: {subject}\r\n"
        f"Date: {number + 1:02} Mar 2024 12:00:00 +0000\r\nMessage-ID: {identity}\r\n"
        + (f"References: {references}\r\n" if references else "")
        + f"\r\nLetter {number} speaks of Käse.\r\n"
    ).encode()


def test_mailboxes_messages_and_flags(make_store: Callable[..., Instance]) -> None:
    store = with_tls(make_store)
    client = connect(store, tls=True)
    assert client.has_capability("MOVE") and client.namespace().personal == (("", "/"),)
    assert client.id_({"name": "tester", "version": "1"})[0][0] == b"name"
    assert 'user=joe client="name=tester version=1"' in store.log_text()
    for name in ("Entwürfe & mehr", "日本語/ひらがな", "Archive"):
        client.create_folder(name)
    assert {name for _, _, name in client.list_folders()} == {
        "INBOX",
        "Archive",
        "Entwürfe & mehr",
        "日本語",
        "日本語/ひらがな",
    }
    client.subscribe_folder("Entwürfe & mehr")
    assert [name for _, _, name in client.list_sub_folders()] == ["Entwürfe & mehr"]
    client.rename_folder("日本語", "中文")
    assert client.folder_exists("中文/ひらがな") and not client.folder_exists("日本語")
    client.delete_folder("中文/ひらがな")

    when = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)
    for number in range(6):
        client.append("Entwürfe & mehr", with_attachment(number), flags=[b"\\Seen", "$Work"], msg_time=when)
    status = client.folder_status("Entwürfe & mehr", ["MESSAGES", "UIDNEXT", "UNSEEN"])
    assert status == {b"MESSAGES": 6, b"UIDNEXT": 7, b"UNSEEN": 0}
    opened = client.select_folder("Entwürfe & mehr")
    assert opened[b"EXISTS"] == 6 and b"$Work" in opened[b"FLAGS"]
    fetched = client.fetch([1, 2], ["ENVELOPE", "BODYSTRUCTURE", "RFC822.SIZE", "BODY[]"])
    assert fetched[1][b"BODY[]"] == with_attachment(0)
    assert fetched[2][b"RFC822.SIZE"] == len(with_attachment(1))
    envelope = fetched[2][b"ENVELOPE"]
    assert envelope.subject == b"attachment 1" and str(envelope.from_[0]) == "Zoe <zoe@test.example>"
    structure = fetched[1][b"BODYSTRUCTURE"]
    assert structure.is_multipart and b"data0.bin" in structure[0][1][8][1]
    client.normalise_times = False
    assert client.fetch(1, "INTERNALDATE")[1][b"INTERNALDATE"] == when
    flags = client.add_flags([1, 2], [b"\\Flagged"])
    assert set(flags[1]) == {b"\\Seen", b"\\Flagged", b"$Work", b"\\Recent"}
    assert set(client.remove_flags(2, [b"\\Seen", b"$Work"])[2]) == {b"\\Flagged", b"\\Recent"}
    assert client.set_flags(3, [b"\\Answered"], silent=True) is None
    assert set(client.get_flags(3)[3]) == {b"\\Answered", b"\\Recent"}
    assert client.search(["FLAGGED"]) == [1, 2] and client.search("UNSEEN KEYWORD $Work") == []
    client.copy([1], "Archive")
    client.move([2, 3], "Archive")
    client.delete_messages(4)
    client.uid_expunge(4)
    assert client.search() == [1, 5, 6]
    client.close_folder()
    assert client.folder_status("Archive")[b"MESSAGES"] == 3
    client.select_folder("Archive", readonly=True)
    with pytest.raises(imapclient.exceptions.IMAPClientError, match="read-only"):
        client.delete_messages(1)
    client.unselect_folder()
    client.logout()
    store.stop()


def test_search_sort_thread_and_quota(make_store: Callable[..., Instance]) -> None:
    store = make_store(options=["quota-visible-to-owner yes"])
    store.start()
    store.msadm("quota", "set", "joe", "--storage", "10M", "--messages", "1000")
    client = connect(store)
    for number, row in enumerate(CHAIN):
        client.append("INBOX", letter(number, *row))
    client.select_folder("INBOX")
    assert client.search(["FROM", "zoe"]) == [1, 3]
    assert client.search(["OR", ["FROM", "ann"], ["SUBJECT", "bill"]]) == [2, 4]
    assert client.search(["BODY", "Käse"], "UTF-8") == [1, 2, 3, 4]
    assert client.search(["NOT", "SENTBEFORE", date(2024, 3, 3)]) == [3, 4]
    assert client.sort("REVERSE DATE") == [4, 3, 2, 1]
    assert client.sort(["SUBJECT", "REVERSE DATE"]) == [4, 3, 2, 1]
    assert client.sort("FROM", ["SUBJECT", "plans"]) == [2, 1, 3]
    assert client.thread("REFERENCES") == ((1, 2, 3), (4,))
    assert client.thread("ORDEREDSUBJECT", ["FROM", "zoe"]) == ((1, 3),)
    quotas = {quota.resource: (quota.usage, quota.limit) for quota in client.get_quota("INBOX")}
    assert quotas["MESSAGE"] == (4, 1000) and quotas["STORAGE"][1] == 10240
    client.logout()
    store.stop()


def test_idle_and_condstore_between_two_clients(store: Instance) -> None:
    watcher, worker = connect(store), connect(store)
    worker.append("INBOX", with_attachment(1))
    assert watcher.enable("CONDSTORE") == [b"CONDSTORE"]
    modseq = watcher.select_folder("INBOX")[b"HIGHESTMODSEQ"]
    worker.select_folder("INBOX")
    watcher.idle()
    heard = list[Any]()

    def hear(*wanted: Any) -> None:
        """Wait for a response that begins with these values and has what follows them somewhere in it."""
        for _ in range(40):
            rows = (str(row) for row in heard if row[:2] == wanted[:2])
            if any(all(str(value) in row for value in wanted) for row in rows):
                return
            heard.extend(watcher.idle_check(timeout=0.5))
        raise AssertionError(f"{wanted} did not come, but {heard}")

    worker.append("INBOX", with_attachment(2))
    hear(2, b"EXISTS")
    worker.add_flags(1, [b"\\Flagged"])
    hear(1, b"FETCH", b"\\Flagged", b"MODSEQ")
    worker.delete_messages(2)
    worker.expunge()
    hear(2, b"EXPUNGE")
    assert watcher.idle_done()[0].startswith(b"IDLE")
    changed = watcher.fetch([1], ["FLAGS"], [f"CHANGEDSINCE {modseq}"])
    assert set(changed) == {1} and changed[1][b"MODSEQ"][0] > modseq
    assert watcher.search(["MODSEQ", str(modseq + 1)]) == [1]
    assert watcher.fetch([1], ["FLAGS"], [f"CHANGEDSINCE {changed[1][b'MODSEQ'][0]}"]) == {}
    watcher.logout()
    worker.logout()
