"""Other people's programs in tests: whether they are there, how they are run, and messages for them."""

from __future__ import annotations

import base64
import os
import pty
import random
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.kit.instance import PASSWORD, Instance

TLS = Path(__file__).parent / "tls"
CERTIFICATE = TLS / "cert.pem"


def needs(program: str) -> pytest.MarkDecorator:
    """Skips a test where the program is not installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def run(*command: str, home: Path | None = None, limit_s: float = 200, also: Sequence[int] = ()) -> bytes:
    """What a program writes; it must succeed, or end with one of the ``also`` allowed statuses."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=limit_s,
        env=_environment(home, {}),
    )
    assert done.returncode in (0, *also), (command, done.returncode, (done.stdout + done.stderr)[-3000:])
    return done.stdout


def run_in_terminal(*command: str, home: Path, limit_s: float = 200) -> str:
    """What a program shows that wants a terminal of 80 columns; it must end by itself, and well."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env=_environment(home, {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}),
    )
    os.close(slave)
    screen = select.poll()
    screen.register(master, select.POLLIN)
    shown, end = b"", time.monotonic() + limit_s
    try:
        while process.poll() is None:
            assert time.monotonic() < end, f"{command} does not end:\n{shown[-3000:]!r}"
            if screen.poll(100):
                try:
                    shown += os.read(master, 65536)
                except OSError:  # nobody has the other side open any more
                    process.wait(30)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    text = re.sub(rb"\x1b(\[[0-9;?]*[A-Za-z]|\([A-Z0-9]|[=>])", b"", shown).decode(errors="replace")
    assert process.returncode == 0, text[-3000:]
    return text


def with_tls(
    make_store: Callable[..., Instance], users: Sequence[str] = ("joe",), options: Sequence[str] = ()
) -> Instance:
    """A running store that offers STARTTLS, with a certificate for localhost."""
    tls = [f"tls-certificate {CERTIFICATE}", f"tls-key {TLS}/key.pem"]
    store = make_store(users, options=[*tls, *options])
    store.start()
    return store


def secret_file(path: Path, text: str) -> Path:
    """A file with a password in it, for programs that look at its mode."""
    path.write_text(text)
    path.chmod(0o600)
    return path


def with_attachment(number: int) -> bytes:
    """A message with a binary attachment, CRLF line ends."""
    chance = random.Random(number)
    encoded = base64.encodebytes(chance.randbytes(chance.randint(100, 20_000))).replace(b"\n", b"\r\n")
    head = (
        f"From: Zoe <zoe@test.example>\r\nTo: joe@test.example\r\nSubject: attachment {number}\r\n"
        f"Date: Mon, 0{number % 9 + 1} Jan 2024 10:00:00 +0100\r\nMessage-ID: <att{number}@test.example>\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b=_1"\r\n\r\n'
        f"--b=_1\r\nContent-Type: text/plain\r\n\r\nHere it is, number {number}.\r\n"
        "--b=_1\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: attachment; filename="data{number}.bin"\r\n\r\n'
    )
    return head.encode() + encoded + b"--b=_1--\r\n"


def unix(text: bytes) -> bytes:
    """With the line ends of local files."""
    return text.replace(b"\r\n", b"\n")


def without_header(text: bytes, *names: bytes) -> bytes:
    """A message without header fields that programs add to know their copies by."""
    head, blank, body = text.partition(b"\n\n")
    kept, keeps = b"", True
    for line in head.splitlines(keepends=True):
        if line[:1] not in (b" ", b"\t"):
            keeps = not line.lower().startswith(tuple(names))
        kept += line if keeps else b""
    return kept.rstrip(b"\n") + blank + body


def maildir_messages(path: Path) -> list[Path]:
    """The files of all messages in a tree of Maildirs."""
    return sorted(file for file in path.rglob("*") if file.parent.name in ("cur", "new"))


def parsed(text: bytes) -> EmailMessage:
    """A message as the standard library reads it."""
    message = message_from_bytes(text, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def flags_by_subject(store: Instance, mailbox: str, user: str = "joe") -> dict[str, set[str]]:
    """The flags of each message, \\Recent left out."""
    client = store.imap(user)
    found = dict[str, set[str]]()
    if client.select(mailbox):
        answer = client.command(b"FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        for flags, subject in re.findall(rb"FLAGS \(([^)]*)\).*?Subject: ([^\r]*)\r", answer, re.DOTALL):
            found[subject.decode()] = set(flags.decode().split()) - {"\\Recent"}
    client.logout()
    return found


def mailboxes_of(store: Instance, user: str = "joe") -> set[str]:
    """The names of a user's mailboxes, as they stand on the wire."""
    client = store.imap(user)
    names = re.findall(rb'\* LIST \([^)]*\) "/" "?([^"\r]*)"?\r', client.command(b'LIST "" *'))
    client.logout()
    return {name.decode() for name in names}


def _environment(home: Path | None, more: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin:/usr/sbin:/usr/lib/cyrus/bin",
        "HOME": str(home or "/nonexistent"),
        "LANG": "C.UTF-8",
        "PASSWORD": PASSWORD,
        **more,
    }
