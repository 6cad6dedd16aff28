"""Moving out into another IMAP server: a dovecot, and one of ours; interrupted, and again."""

import imaplib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.kit.dovecot import dovecot, needs_dovecot
from tests.kit.instance import PASSWORD, Instance, wait_for

FLAGS = ("", r"(\Seen)", r"(\Answered \Flagged)", "(urgent $Label1)", r"(\Seen \Draft)")
NAMES = ("INBOX", "Sent", "Work/2024")
COUNT = 150


def fill(store: Instance) -> None:
    """Messages with flags, keywords and dates of their own, some of them alike."""
    client = imaplib.IMAP4(*store.imap_address)
    client.login("joe", PASSWORD)
    for name in (r"Sent (USE (\Sent))", "Work/2024", '"Entw&APw-rfe"'):
        told = client.create(name)
        assert told[0] == "OK", told
        client.subscribe(name.split()[0])
    for number in range(COUNT):
        content = f"From: a@example.org\r\nSubject: {number // 9}\r\n\r\n{'x ' * number}\r\n".encode()
        date = imaplib.Time2Internaldate(1_000_000_000 + number // 9)
        told = client.append(NAMES[number % 3], FLAGS[number % 5], date, content)
        assert told[0] == "OK", told
    client.logout()


def account(address: tuple[str, int], password: str, separator: str = "/") -> dict[str, Any]:
    """What an IMAP client sees of joe's mail, without UIDs."""
    client = imaplib.IMAP4(*address)
    client.login("joe", password)
    found: dict[str, Any] = {}
    for name in NAMES:
        client.select(name.replace("/", separator), readonly=True)
        messages = []
        for item in client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]:
            if isinstance(item, tuple):
                words = item[0].split(b" ", 1)[1]
                flags = sorted(set(imaplib.ParseFlags(words)) - {rb"\Recent"})
                date = time.mktime(imaplib.Internaldate2tuple(words) or time.gmtime(0))
                messages.append((flags, date, item[1]))
        found[name] = messages
    subscribed = [line for line in client.lsub()[1] if isinstance(line, bytes)]
    found["subscribed"] = sorted(
        line.split()[-1].strip(b'"').replace(separator.encode(), b"/") for line in subscribed
    )
    listed = [line for line in client.list()[1] if isinstance(line, bytes)]
    found["uses"] = sorted(
        line.split()[-1].strip(b'"') for line in listed if b"\\Sent" in line or b"\\Trash" in line
    )
    client.logout()
    return found


def export_twice(
    store: Instance, server: str, *options: str, is_in: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Export, killed somewhere on the way; then to the end; gives what a third time finds to do.

    ``is_in`` tells whether the server has a session of joe: one whose client is gone may still be at its last
    message.
    """
    command = [
        sys.executable, "-m", "mstore.cli.msadm", "-f", str(store.config), "export", "imap", "joe", server,
        "--password-stdin", *options,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=store.environment())
    assert process.stdin is not None
    process.stdin.write(b"secret\n")
    process.stdin.close()
    time.sleep(1.0)  # Somewhere, before the beginning or behind the end too.
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    wait_for(lambda: not is_in(), 60, lambda: "the session of an export that is gone goes on")
    done = subprocess.run(
        command, input=b"secret\n", env=store.environment(), capture_output=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    again = subprocess.run(
        [*command, "--json"], input=b"secret\n", env=store.environment(), capture_output=True, check=True
    )
    written: list[dict[str, Any]] = json.loads(again.stdout)
    return written


class TestIntoDovecot:
    pytestmark = needs_dovecot

    def test_everything(self) -> None:
        with dovecot({"joe": "secret"}, ssl="yes") as remote, Instance(["joe"]) as store:
            fill(store)
            ours = account(store.imap_address, PASSWORD)
            ca = str(remote.path / "cert.pem")
            again = export_twice(
                store, f"localhost:{remote.tls_port}", "--ca", ca, is_in=lambda: remote.has_session("joe")
            )
            assert sum(each["already"] for each in again) == COUNT
            assert sum(each["messages"] for each in again) == 0
            theirs = account(("127.0.0.1", remote.port), "secret", ".")
            assert {name: theirs[name] for name in NAMES} == {name: ours[name] for name in NAMES}
            assert theirs["subscribed"] == ours["subscribed"]


def test_into_another_of_ours(make_store: Callable[..., Instance]) -> None:
    store, other = make_store(["joe"]), make_store(["joe"])
    store.start()
    other.start()
    fill(store)
    ours = account(store.imap_address, PASSWORD)
    server = f"127.0.0.1:{other.imap_address[1]}"

    def is_in() -> bool:
        return json.loads(other.msadm("who", "joe", "--json").stdout) != []

    again = export_twice(store, server, "--security", "none", is_in=is_in)
    assert sum(each["already"] for each in again) == COUNT and not any(each["messages"] for each in again)
    assert account(other.imap_address, PASSWORD) == ours
    store.stop()
    other.stop()


def test_what_is_refused_is_named_and_the_rest_arrives(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"])
    other = make_store(["joe"], ("message-size-limit 10K",))
    store.start()
    other.start()
    client = imaplib.IMAP4(*store.imap_address)
    client.login("joe", PASSWORD)
    for size in (10, 30_000, 20):
        client.append(
            "INBOX", "", imaplib.Time2Internaldate(1_000_000_000), b"Subject: x\r\n\r\n" + b"x" * size
        )
    client.logout()
    server = f"127.0.0.1:{other.imap_address[1]}"
    command = ("export", "imap", "joe", server, "--security", "none", "--password-stdin")
    done = store.msadm(*command, text="secret\n", check=False)
    assert done.returncode == 1
    assert "INBOX: message 2 is refused" in done.stderr and "Traceback" not in done.stderr
    assert "INBOX: 2 messages" in done.stdout
    wrong = store.msadm(*command, text="wrong\n", check=False)
    assert wrong.returncode == 1 and "does not let joe in" in wrong.stderr
    store.stop()
    other.stop()
