"""Debian's exim4 hands mail to lmtpd over the Unix socket: what it was given is read back.

exim4 and postfix exclude each other as packages, so it is run from where it was unpacked: a directory named
by MSTORE_EXIM4, or /opt/exim4.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.instance import Instance
from tests.system.test_clients import with_attachment

ROOTS = (os.environ.get("MSTORE_EXIM4", "/opt/exim4"), "/")
EXIM = next((path for root in ROOTS if (path := Path(root, "usr/sbin/exim4")).exists()), None)


def _has_user() -> bool:
    try:
        pwd.getpwnam("Debian-exim")
    except KeyError:
        return False
    return True


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="exim4 takes a configuration of ours from root alone"),
    pytest.mark.skipif(EXIM is None, reason="exim4 is neither installed nor unpacked in /opt/exim4"),
    pytest.mark.skipif(not _has_user(), reason="there is no user Debian-exim"),
]

_CONFIG = """\
primary_hostname = mta.test.example
exim_path = {exim}
qualify_domain = test.example
domainlist local_domains = test.example
spool_directory = {path}/spool
log_file_path = {path}/log/%slog
keep_environment =
local_interfaces = <; 127.0.0.1

begin routers
store:
  driver = accept
  domains = +local_domains
  transport = store

begin transports
store:
  driver = lmtp
  socket = {socket}
  batch_max = 100
  user = Debian-exim
  group = Debian-exim

begin retry
* * F,1h,1m
"""


class Exim:
    """An exim with a configuration, a spool and logs of its own; it delivers while it is handed a message."""

    def __init__(self, path: Path, socket: Path) -> None:
        self.path = path
        for name in ("spool", "log"):
            (path / name).mkdir(parents=True)
            shutil.chown(path / name, "Debian-exim", "Debian-exim")
        self.config = path / "exim.conf"
        self.config.write_text(_CONFIG.format(path=path, socket=socket, exim=EXIM))

    def send(self, sender: str, recipients: list[str], text: bytes) -> None:
        done = subprocess.run(
            [str(EXIM), "-C", str(self.config), "-odf", "-oi", "-f", sender, *recipients],
            input=text,
            capture_output=True,
            timeout=200,
        )
        assert done.returncode == 0, f"{done.stderr!r}\n{self.log_text()}"

    def log_text(self) -> str:
        return "".join(path.read_text(errors="replace") for path in (self.path / "log").iterdir())


@pytest.fixture
def exim(make_store: Callable[..., Instance]) -> tuple[Exim, Instance]:
    store = make_store(["joe", "ann"], options=["lmtp-socket-group Debian-exim"])
    store.start()
    return Exim(store.path / "exim", store.lmtp_path), store


def _bodies(store: Instance, user: str, mailbox: str = "INBOX") -> list[bytes]:
    client = store.imap(user)
    client.select(mailbox)
    bodies = client.bodies()
    client.logout()
    return bodies


def test_one_message_for_several_recipients(exim: tuple[Exim, Instance]) -> None:
    mta, store = exim
    text = with_attachment(1)
    mta.send("zoe@test.example", ["joe@test.example", "ann@test.example"], text.replace(b"\r\n", b"\n"))
    for user in ("joe", "ann"):
        (body,) = _bodies(store, user)
        assert body.startswith(b"Return-Path: <zoe@test.example>\r\n"), mta.log_text()
        assert body.endswith(text.split(b"\r\n\r\n", 1)[1])
    store.stop()


def test_a_mailbox_is_addressed_and_dots_arrive(exim: tuple[Exim, Instance]) -> None:
    mta, store = exim
    client = store.imap("joe")
    client.command(b"CREATE important/March2000")
    client.logout()
    mta.send("ann@test.example", ["joe+important/March2000@test.example"], b"Subject: plus\n\n.\n..\nend\n")
    (body,) = _bodies(store, "joe", "important/March2000")
    assert body.endswith(b"\r\n\r\n.\r\n..\r\nend\r\n")
    store.stop()


def test_an_unknown_recipient_is_bounced(exim: tuple[Exim, Instance]) -> None:
    mta, store = exim
    mta.send("ann@test.example", ["nobody-here@test.example"], b"Subject: lost\n\nto nobody\n")
    assert "550 5.1.1" in mta.log_text()
    (bounce,) = _bodies(store, "ann")
    assert b"nobody-here@test.example" in bounce
    assert bounce.startswith(b"Return-Path: <>\r\n")
    store.stop()
