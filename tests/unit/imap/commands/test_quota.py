"""SETQUOTA in the log; the command itself is tested by dialogues."""

from __future__ import annotations

import os
from pathlib import Path

from mstore.base.log import Log
from mstore.imap.session import Session
from mstore.net.stream import Stream
from tests.kit import loglines
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport


def test_an_administrators_setquota_is_logged_and_anybody_elses_not(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    host = MailHost(tmp_path / "site", admin_users=("root",))
    fd = os.open(tmp_path / "lines", os.O_CREAT | os.O_WRONLY)
    for name in ("root", "joe"):
        host.add(name)
    for name in (b"root", b"joe"):
        script = b"a LOGIN %b secret\r\nb SETQUOTA user/joe (STORAGE 10)\r\n" % name
        Session(Stream(ScriptedTransport([script]), "192.0.2.1"), host.service(log=Log(fd))).run()
    os.close(fd)
    host.close()
    lines = map(loglines.parse, (tmp_path / "lines").read_text().splitlines())
    (line,) = [line for line in lines if line["event"] == "quota-set"]
    assert (line["user"], line["peer"], line["account"]) == ("root", "192.0.2.1", "joe")
    assert (line["limit_bytes"], line["limit_messages"]) == ("10240", "none")
