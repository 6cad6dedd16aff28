"""A delivery that is killed at any system call: who was acknowledged has the message exactly once, the others
at most once; and where duplicates are looked for, who tries again leaves everybody with exactly one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.files import raw
from mstore.lmtp.session import Session
from mstore.net.stream import Stream
from mstore.store.check import check_mailbox
from mstore.store.store import Store
from tests.kit.dying import Quick, close_files_under, run_and_die
from tests.kit.mailhost import MAILSTORE, MailHost
from tests.kit.scripted import ScriptedTransport

NAMES = ("joe", "ann", "pat")
MESSAGE = b"Message-ID: <1@example.net>\r\nSubject: once\r\n\r\n" + b"text\r\n" * 50
_ACKNOWLEDGED = re.compile(rb"250 2\.1\.5 <(\w+)@example\.org> delivered\r\n")


def script(by_chunks: bool) -> bytes:
    recipients = [b"RCPT TO:<%b@example.org>\r\n" % name.encode() for name in NAMES]
    envelope = b"LHLO x\r\nMAIL FROM:<a@b>\r\n" + b"".join(recipients)
    if by_chunks:
        return envelope + b"BDAT 20\r\n%bBDAT %d LAST\r\n%b" % (MESSAGE[:20], len(MESSAGE) - 20, MESSAGE[20:])
    return envelope + b"DATA\r\n" + MESSAGE + b".\r\n"


class At(MailHost):
    """The host again, as another process opens it: with nothing in memory."""

    def reopen(self) -> None:
        self.store = Store(self.settings.mailstores)


def count(host: At) -> dict[str, int]:
    return {name: sum(MESSAGE in stored for stored in host.messages(name)) for name in NAMES}


def deaths(host: At, origin: Path, by_chunks: bool) -> Iterator[set[str]]:
    """Who was acknowledged before each death; the host is as its writer left it."""
    mail = host.settings.mailstores[MAILSTORE]
    for last in range(1000):
        shutil.rmtree(mail)
        shutil.copytree(origin, mail)
        host.reopen()
        transport = ScriptedTransport([script(by_chunks)])
        system = run_and_die(lambda sock=transport: Session(Stream(sock), host.service()).run(), last)  # type: ignore[misc]
        said = b"".join(transport.sent)
        close_files_under(mail)
        host.reopen()
        yield {name.decode() for name in _ACKNOWLEDGED.findall(said)}
        host.store.close()
        close_files_under(mail)
        if not system.is_dead:
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("by_chunks", [False, True], ids=["data", "bdat"])
@pytest.mark.parametrize("window_s", [0, 3600], ids=["plain", "once"])
def test_a_delivery_killed_anywhere(
    tmp_path: Path, window_s: int, by_chunks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mstore.lmtp.commands.REPLY_PATIENCE_S", 0.0)
    (tmp_path / "host").mkdir()
    host = At(tmp_path / "host", lmtp_duplicate_window=window_s)
    before = raw.install(Quick())
    try:
        for name in NAMES:
            host.add(name)
            host.account(name).open("INBOX").release()
        host.store.close()
        origin = tmp_path / "origin"
        shutil.copytree(host.settings.mailstores[MAILSTORE], origin)
        partly = 0
        for acknowledged in deaths(host, origin, by_chunks):
            found = count(host)
            partly += 0 < len(acknowledged) < len(NAMES)
            for name in NAMES:
                assert found[name] == 1 if name in acknowledged else found[name] <= 1, (found, acknowledged)
            retry = ScriptedTransport([script(by_chunks)])
            Session(Stream(retry), host.service()).run()
            assert len(_ACKNOWLEDGED.findall(b"".join(retry.sent))) == len(NAMES)
            for name, copies in count(host).items():
                # What died just before it was published is adopted by the next writer.
                most = 1 if window_s else 2
                least = 1 if window_s else found[name] + 1
                assert least <= copies <= most, name
            for path in host.settings.mailstores[MAILSTORE].glob("*/*/*/"):
                if (path / "lock").exists():
                    assert check_mailbox(path) == []
        assert partly, "some deaths come between two recipients"
    finally:
        raw.install(before)
        host.close()
