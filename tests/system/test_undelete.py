"""A user has deleted something: it comes back while he is there; what is old goes by rule."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

from tests.kit.clients import wait_for_line
from tests.kit.instance import Instance, wait_for

OPTIONS = ["retain-expunged 7", r"auto-expunge \Trash 30"]


def message(number: int) -> bytes:
    return (
        f"From: ann@example.org\r\nSubject: letter {number}\r\nMessage-ID: <{number}@example.org>\r\n\r\n"
        f"this is letter {number}\r\n"
    ).encode()


def listed(store: Instance, *words: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(store.msadm("undelete", "joe", "--json", *words).stdout)
    return found


def test_what_was_expunged_comes_back_before_the_users_eyes(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], OPTIONS)
    store.start()
    for number in range(1, 5):
        store.deliver("joe", message(number))
    client, watcher = store.imap("joe"), store.imap("joe")
    assert client.select() == 4
    watcher.select()
    client.command(b"STORE 2:3 +FLAGS (\\Flagged \\Deleted work)")
    client.command(b"EXPUNGE")
    assert [(lost["uid"], lost["subject"]) for lost in listed(store, "--list")] == [
        (2, "letter 2"), (3, "letter 3")
    ]  # fmt: skip
    watcher.command(b"NOOP")
    watcher.idle()
    done = listed(store, "--subject", "letter 3", "--yes")
    assert [(lost["uid"], lost["new_uid"]) for lost in done] == [(3, 5)]
    wait_for_line([watcher], b" 3 EXISTS\r\n", 30.0)
    watcher.done()
    answer = watcher.command(b"UID FETCH 5 (FLAGS BODY.PEEK[])")
    assert b"this is letter 3" in answer
    assert b"\\Flagged" in answer
    assert b" work)" in answer
    assert b"\\Deleted" not in answer
    assert listed(store, "--dry-run", "--mailbox", "INBOX") == listed(store, "--dry-run")
    store.msadm("undelete", "joe", "--yes", "--into", "Recovered")
    assert store.msadm("undelete", "joe", "--yes").stdout == "nothing to bring back\n"
    assert client.select("Recovered") == 1
    for each in (client, watcher):
        each.close()
    store.stop()


def test_a_mailbox_that_a_client_deleted_comes_back(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], OPTIONS)
    store.start()
    client = store.imap("joe")
    client.command(b"CREATE Work/2025")
    client.append(message(1), "Work/2025")
    client.command(b"DELETE Work/2025")
    assert listed(store, "--list")[0]["mailbox_deleted"] is True
    store.msadm("undelete", "joe", "--yes")
    assert client.select("Work/2025") == 1
    assert client.bodies() == [message(1)]
    client.close()
    store.stop()


PUT_OLD = """
import sys, time
from pathlib import Path
from mstore.cli.place import open_site
from mstore.store.append import NewMessage, append
with open_site(Path(sys.argv[1])) as (accounts, access):
    account = access.store.account(accounts.find("joe"))
    account.furnish()
    mailbox = account.open("Trash")
    append(mailbox, [NewMessage(sys.argv[2].encode(), 1, save_date=int(time.time()) - 31 * 86400)])
    mailbox.release()
"""


def test_what_is_old_goes_when_the_mailbox_is_opened(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], OPTIONS)
    command = [sys.executable, "-c", PUT_OLD, str(store.config), message(1).decode()]
    subprocess.run(command, env=store.environment(), check=True)
    store.start()
    watcher = store.imap("joe")
    watcher.select("Trash")
    watcher.append(message(2), "Trash")

    def left() -> list[bytes]:
        watcher.command(b"NOOP")
        return watcher.bodies()

    wait_for(lambda: left() == [message(2)], 30.0, lambda: f"what is old is still there: {left()}")
    assert [lost["subject"] for lost in listed(store, "--list")] == ["letter 1"]
    store.msadm("upkeep")
    watcher.close()
    store.stop()
