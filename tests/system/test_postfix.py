"""Debian's postfix hands mail to lmtpd: what sendmail(1) was given is read back, byte for byte.

The postfix of the test has a configuration, a queue and a log of its own, and no network listener.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.certificates import make_pair, needs_openssl
from tests.kit.instance import PASSWORD, Instance, free_port, wait_for
from tests.kit.programs import with_attachment

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="postfix must be started by root"),
    pytest.mark.skipif(
        shutil.which("postfix", path="/usr/sbin:/sbin") is None, reason="postfix is not installed"
    ),
]

_MAIN = """\
compatibility_level = 3.6
queue_directory = {path}/queue
data_directory = {path}/data
daemon_directory = {daemons}
command_directory = /usr/sbin
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {path}/maillog
maillog_file_prefixes = /tmp
myhostname = mta.test.example
mydestination = test.example
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
local_transport = {transport}
recipient_delimiter = +
enable_long_queue_ids = yes
bounce_queue_lifetime = 1d
"""

_MASTER = """\
pickup    unix  n - n 1  1 pickup
cleanup   unix  n - n -  0 cleanup
qmgr      unix  n - n 60 1 qmgr
rewrite   unix  - - n -  - trivial-rewrite
bounce    unix  - - n -  0 bounce
defer     unix  - - n -  0 bounce
trace     unix  - - n -  0 bounce
flush     unix  n - n 1000? 0 flush
showq     unix  n - n -  - showq
error     unix  - - n -  - error
retry     unix  - - n -  - error
discard   unix  - - n -  - discard
lmtp      unix  - - n -  - lmtp
anvil     unix  - - n -  1 anvil
scache    unix  - - n -  1 scache
proxymap  unix  - - n -  - proxymap
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A postfix instance below one directory."""

    def __init__(self, path: Path, transport: str, more: str = "") -> None:
        self.path, self.config = path, path / "etc"
        for name in ("etc", "queue", "data"):
            (path / name).mkdir(parents=True)
        shutil.chown(path / "data", "postfix", "postfix")
        daemons = next(p for p in ("/usr/lib/postfix/sbin", "/usr/libexec/postfix") if Path(p).is_dir())
        main = _MAIN.format(path=path, transport=transport, daemons=daemons)
        (self.config / "main.cf").write_text(main + more)
        (self.config / "master.cf").write_text(_MASTER)

    def command(self, *arguments: str) -> None:
        done = subprocess.run(
            ["/usr/sbin/postfix", "-c", str(self.config), *arguments],
            capture_output=True,
            text=True,
            timeout=200,
        )
        log = self.log_text()
        assert done.returncode == 0, f"postfix {arguments}: {done.stdout}{done.stderr}\n{log}"

    def send(self, sender: str, recipients: list[str], text: bytes) -> None:
        subprocess.run(
            ["/usr/sbin/sendmail", "-C", str(self.config), "-i", "-f", sender, *recipients],
            input=text,
            check=True,
            capture_output=True,
            timeout=200,
        )

    def log_text(self) -> str:
        log = self.path / "maillog"
        return log.read_text(errors="replace") if log.exists() else ""


@pytest.fixture
def postfix(make_store: Callable[..., Instance]) -> Iterator[tuple[Postfix, Instance]]:
    store = make_store(["joe", "ann"], options=["lmtp-socket-group postfix"])
    store.start()
    mta = Postfix(store.path / "postfix", f"lmtp:unix:{store.lmtp_path}")
    try:
        mta.command("start")
        yield mta, store
    finally:
        mta.command("stop")
        print(mta.log_text()[-3000:])
    store.stop()


def test_what_sendmail_was_given_is_read_back_byte_for_byte(postfix: tuple[Postfix, Instance]) -> None:
    mta, store = postfix
    dots = (
        b"From: zoe@test.example\nTo: joe@test.example\nSubject: dots\nDate: Mon, 1 Jan 2024 10:00:00 +0100\n"
        b"Message-ID: <dots@test.example>\n\n.\n..\n.leading\n\n  trailing  \n\nend without more\n"
    )
    texts = [with_attachment(1).replace(b"\r\n", b"\n"), dots]
    for text in texts:
        mta.send("zoe@test.example", ["joe@test.example", "ann@test.example"], text)
    for user in ("joe", "ann"):
        _wait_for_messages(mta, store, user, len(texts))
        client = store.imap(user)
        client.select()
        over_imap = client.bodies()
        client.logout()
        pop = store.pop3(user)
        over_pop3 = [_unstuffed(pop.many(b"RETR %d" % n)) for n in range(1, len(texts) + 1)]
        pop.close()
        assert over_pop3 == over_imap
        assert sorted(map(_without_trace, over_imap)) == sorted(t.replace(b"\n", b"\r\n") for t in texts)
        for body in over_imap:
            assert body.startswith(b"Return-Path: <zoe@test.example>\r\n")
            assert re.search(rb"(?m)^Received: .*\r\n(?:[ \t].*\r\n)*", body)


def test_an_unknown_user_is_bounced_and_a_mailbox_is_addressed(postfix: tuple[Postfix, Instance]) -> None:
    mta, store = postfix
    client = store.imap("joe")
    client.command(b"CREATE important")
    mta.send("ann@test.example", ["joe+important@test.example"], b"Subject: plus\n\nto a mailbox\n")
    mta.send("ann@test.example", ["nobody-here@test.example"], b"Subject: lost\n\nto nobody\n")
    _wait_for_messages(mta, store, "joe", 1, "important")
    _wait_for_messages(mta, store, "ann", 1)
    bounce = store.imap("ann")
    bounce.select()
    text = bounce.bodies()[0]
    assert b"5.1.1" in text and b"nobody-here@test.example" in text
    assert text.startswith(b"Return-Path: <>\r\n")
    bounce.logout()
    client.logout()


def _wait_for_messages(mta: Postfix, store: Instance, user: str, count: int, mailbox: str = "INBOX") -> None:
    client = store.imap(user)
    wait_for(
        lambda: client.select(mailbox) >= count,
        90,
        lambda: f"{user} has not got {count} messages:\n{mta.log_text()[-2000:]}",
    )
    client.logout()


def _without_trace(text: bytes) -> bytes:
    """A message without the headers that transport and delivery put on top of it."""
    while True:
        found = re.match(
            rb"(?:Return-Path|Received|Delivered-To|X-Original-To): .*\r\n(?:[ \t].*\r\n)*", text
        )
        if not found:
            return text
        text = text[found.end() :]


def _unstuffed(text: bytes) -> bytes:
    return re.sub(rb"(?m)^\.\.", b".", text)


_OVER_TCP = """\
lmtp_tls_security_level = encrypt
lmtp_sasl_auth_enable = yes
lmtp_sasl_tls_security_options = noanonymous
lmtp_sasl_password_maps = inline:{{ {{ {place} = relay:{password} }} }}
"""
"""As in docs/lmtp.md."""


@needs_openssl
def test_postfix_comes_by_tcp_and_logs_in(make_store: Callable[..., Instance], tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    pair, port = make_pair(tmp_path, "mail.test.example"), free_port()
    store = make_store(
        ["joe", "relay"],
        options=[
            f"lmtpd-listen 127.0.0.1:{port}", "lmtp-users relay", "cleartext-login-enable loopback",
            f"tls-certificate {pair.certificate}", f"tls-key {pair.key}",
        ],
    )  # fmt: skip
    store.start()
    place = f"[127.0.0.1]:{port}"
    more = _OVER_TCP.format(place=place, password=PASSWORD)
    mta = Postfix(store.path / "postfix", f"lmtp:inet:{place}", more)
    try:
        mta.command("start")
        mta.send("zoe@test.example", ["joe@test.example"], b"From: zoe@test.example\nSubject: x\n\nx\n")
        wait_for(lambda: "status=" in mta.log_text(), 90, mta.log_text)
        assert "status=sent (250 2.1.5 <joe@test.example> delivered)" in mta.log_text()
        client = store.imap("joe")
        client.select()
        [message] = client.bodies()
        client.logout()
        assert b"Received: from mta.test.example ([127.0.0.1])\r\n" in message
        assert b" with LMTPSA id " in message
    finally:
        mta.command("stop")
    print(mta.log_text()[-3000:])
    store.stop()
