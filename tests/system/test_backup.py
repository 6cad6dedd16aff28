"""msadm backup while mail comes in and flags change; what was acknowledged before is in it, whole."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.corpus import message
from tests.kit.instance import Instance

MESSAGE_BYTES = 3000
_MESSAGE = re.compile(rb"UID ([0-9]+) .*?Message-ID: <([0-9]+)", re.S)


def messages_in(store: Instance, user: str) -> dict[int, bytes]:
    """The Message-IDs in INBOX by UID."""
    client = store.imap(user)
    client.command(b"EXAMINE INBOX")
    answer = client.command(b"UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    client.close()
    return {int(uid): number for uid, number in _MESSAGE.findall(answer)}


@contextmanager
def load(store: Instance) -> Iterator[list[int]]:
    """Deliveries, and flags that change, as long as the block lasts."""
    end = threading.Event()
    taken: list[int] = []
    errors: list[BaseException] = []

    def deliver() -> None:
        try:
            client, number = store.lmtp(), 1000
            while not end.is_set():
                client.deliver(["joe"], message(number, MESSAGE_BYTES))
                taken.append(number)
                number += 1
            client.quit()
        except BaseException as error:
            errors.append(error)

    def flag() -> None:
        try:
            client, turn = store.imap("joe"), 0
            client.command(b"SELECT INBOX")
            while not end.is_set():
                sign = b"+" if turn % 2 else b"-"
                client.command(b"UID STORE 1:20 " + sign + b"FLAGS.SILENT (\\Flagged busy)")
                turn += 1
            client.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for work in (deliver, flag)]
    for thread in threads:
        thread.start()
    try:
        yield taken
    finally:
        end.set()
        for thread in threads:
            thread.join(30)
    assert not errors, errors


def test_a_backup_under_load_is_whole(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe", "ann"], workers=2)
    store.start()
    client = store.lmtp()
    for number in range(30):
        client.deliver(["joe"], message(number, MESSAGE_BYTES))
    client.quit()
    acknowledged = messages_in(store, "joe")
    assert len(acknowledged) == 30
    parent = store.path / "saved"
    parent.mkdir()
    backups = str(parent / "backups")
    with load(store) as taken:
        for _ in range(3):
            store.msadm("backup", backups)
    assert taken
    store.msadm("backup", "verify", backups)
    store.stop()

    other = make_store([], workers=1)
    if os.geteuid() == 0:  # the other instance's runtime user is the same
        assert (parent / "backups").stat().st_uid != 0
        assert {path.stat().st_uid for path in parent.glob("backups/*/passwords.db")} == {0}
    other.msadm("restore", backups, "--all", "--yes")
    other.msadm("check")
    other.start()
    came = messages_in(other, "joe")  # and joe's password came along
    assert {uid: came.get(uid) for uid in acknowledged} == acknowledged
    other.deliver("joe", message(99_999, MESSAGE_BYTES))
    assert max(messages_in(other, "joe")) > max(came) + 60_000
    other.stop()
