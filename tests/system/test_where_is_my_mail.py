"""The walk-through of docs/logging.md: its commands, as they stand there, tell where a message has gone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.kit.instance import Instance, wait_for
from tests.meta.source import ROOT
from tests.system.test_postfix import Postfix

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="postfix must be started by root"),
    pytest.mark.skipif(
        shutil.which("postfix", path="/usr/sbin:/sbin") is None, reason="postfix is not installed"
    ),
]
MESSAGE = b"From: bob@example.org\nTo: ann@test.example\nMessage-ID: <20261129@example.org>\n\nHello\n"


def commands() -> list[str]:
    """What an administrator is told to type."""
    page = (ROOT / "docs" / "logging.md").read_text()
    section = page.partition("## Where is my mail?")[2].partition("\n## ")[0]
    return re.findall(r"(?m)^    # (.*)$", section)


def last_of(pattern: str, text: str) -> str:
    """What the administrator's eye falls on."""
    return (re.findall(pattern, text) or [""])[-1]


def test_where_is_my_mail(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe", "ann"], options=["lmtp-socket-group postfix", "audit-log all"])
    store.start()
    mta = Postfix(store.path / "postfix", f"lmtp:unix:{store.lmtp_path}")
    mta.command("start")
    try:
        mta.send("bob@example.org", ["ann@test.example"], MESSAGE)
        wait_for(lambda: "status=sent" in mta.log_text(), 90, mta.log_text)
    finally:
        mta.command("stop")
    imap = store.imap("ann")
    imap.command(b"CREATE Trash")
    imap.command(b"SELECT INBOX")
    imap.command(b"MOVE 1 Trash")
    imap.command(b"SELECT Trash")
    imap.command(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
    imap.command(b"EXPUNGE")
    imap.logout()

    session = queue_id = ""
    answers = []
    for command in commands():
        command = re.sub(r"session=\w+", f"session={session}", command)
        command = re.sub(r"': \w+: '", f"': {queue_id}: '", command)
        command = command.replace("/var/log/mail.log", f"{mta.path}/maillog")
        command = command.replace("/var/md/store", str(store.ms_path))
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        print(f"# {command}\n{done.stdout}")
        answers.append(done.stdout)
        session = last_of(r"session=(\w+)", done.stdout)
        queue_id = last_of(r"qmgr\[\d+\]: (\w+): ", done.stdout)
    (_, sent, by_id, acts, login) = answers
    assert "message-id=<20261129@example.org>" in sent and "status=sent (250 2.1.5" in sent
    assert re.search(r"event=delivery .* to=ann@test\.example .*message_id=<20261129@example\.org>", by_id)
    assert re.search(r"event=mail-delivered .* owner=ann mailbox=INBOX uids=1 ", by_id)
    # By time, which may be the same.
    moved, expunged = sorted(acts.splitlines(), key=lambda line: "event=mail-expunged" in line)
    there = r"owner=ann mailbox=Trash"
    assert re.search(rf"event=mail-moved .* {there} from_mailbox=INBOX uids=1 from_uids=1 ", moved)
    assert re.search(r"event=mail-expunged .* owner=ann mailbox=Trash uids=1 ", expunged)
    assert re.search(r"event=login .* user=ann .*peer=127\.0\.0\.1", login)
    store.stop()
