"""A mailbox that somebody else keeps locked: every client is told so at the deadline, nobody else waits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.corpus import message
from mstore.files.lock import RANK_MAILBOX, Lock
from tests.kit.instance import DAEMONS, Instance
from tests.system.test_disk import answer, append, lmtp_answer, numbers_in

DEADLINE_S = 10.0
"""Long enough for all that the others do meanwhile, also on a machine that is busy."""
SHORTER = f"""
from mstore.files.lock import Lock
from mstore.store.mailbox import Mailbox
for function in (Lock.acquire, Mailbox.transaction):
    assert function.__defaults__[-1] == 30.0
    function.__defaults__ = (*function.__defaults__[:-1], {DEADLINE_S})
"""


def test_a_mailbox_that_stays_locked(
    make_store: Callable[..., Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(["joe", "ann"], workers=1)
    (tmp_path / "sitecustomize.py").write_text(SHORTER)
    tmp_path.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{store.environment()['PYTHONPATH']}"
    monkeypatch.setattr(store, "environment", lambda: {**os.environ, "PYTHONPATH": path})
    store.tolerated.append("event=maildrop-failed .*step=update .*in use by another process")
    daemons = [
        store.spawn(daemon) for daemon in DAEMONS
    ]  # each by itself, since the storemgr gives them an environment of its own
    store.wait_ready()
    for number in (1, 2):
        store.deliver("joe", message(number, 3000))
    client, other, ann = store.imap("joe"), store.imap("joe"), store.imap("ann")
    client.select()
    client.command(b"CREATE box")
    inbox = next(path for path in store.mail_path.glob("*/*/*/messages.1")).parent
    with Lock(inbox / "lock", RANK_MAILBOX, inbox.name).hold():
        began = time.monotonic()
        tag = client.start(b"STORE 1 +FLAGS (\\Flagged)")
        # all others go on meanwhile, in the same worker
        assert append(other, message(3, 3000), b"box").startswith(b"OK")
        assert other.select() == 2
        assert b"BODY[]" in other.command(b"FETCH 2 BODY.PEEK[]")
        assert append(ann, message(4, 3000)).startswith(b"OK")
        assert time.monotonic() - began < DEADLINE_S
        assert b"NO [INUSE]" in client.until(tag + b" ")
        assert DEADLINE_S * 0.9 < time.monotonic() - began < DEADLINE_S * 2
        assert append(client, message(5, 3000)).startswith(b"NO [INUSE]")
        assert lmtp_answer(store, "joe", message(6, 3000)).startswith(b"450 4.2.0")
        pop = store.pop3("joe")
        pop.send(b"DELE 1\r\nQUIT\r\n")
        assert pop.line().startswith(b"+OK")
        assert pop.line().startswith(b"-ERR [SYS/TEMP]")
    assert answer(client, b"STORE 1 +FLAGS (\\Flagged)").startswith(b"OK")
    assert lmtp_answer(store, "joe", message(7, 3000)).startswith(b"250")
    assert numbers_in(store, "joe") == [1, 2, 7]
    for each in (client, other, ann):
        each.logout()
    for process in daemons:
        process.terminate()
    for process in daemons:
        assert process.wait(20) == 0
    store.assert_gone()
    store.assert_log_clean()
    store.assert_sound()
