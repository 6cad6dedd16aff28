"""Moving in from a running dovecot: over IMAP, and from its files; interrupted, and again; out, and in again.

``MOVING_MESSAGES=10000 MOVING_BYTES=8192 … --timeout 0 -s`` does it with more, and says what it costs.
"""

import imaplib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from bench.corpus import message
from tests.kit.dovecot import Dovecot, dovecot, needs_dovecot
from tests.kit.instance import PASSWORD, Instance

pytestmark = needs_dovecot
FLAGS = ("", r"(\Seen)", r"(\Answered \Flagged)", "(urgent $Label1)", r"(\Seen \Draft)")
COUNT = int(os.environ.get("MOVING_MESSAGES", "120"))
SIZE = int(os.environ.get("MOVING_BYTES", "0"))
LIMIT_S = 240 + COUNT / 20


def fill(remote: Dovecot) -> None:
    """Messages with flags, keywords and dates of their own in three mailboxes, some expunged."""
    client = imaplib.IMAP4("127.0.0.1", remote.port)
    client.login("joe", "secret")
    for name in ("Sent", '"Entw&APw-rfe"', "Work.2024"):
        client.create(name)
    client.subscribe("Work.2024")
    for number in range(COUNT):
        where = ("INBOX", "Sent", "Work.2024")[number % 3]
        flags = FLAGS[number % 5]
        content = f"From: a@example.org\r\nSubject: {number}\r\n\r\n{'text ' * (number % 50)}\r\n".encode()
        content = message(number, SIZE) if SIZE else content
        date = imaplib.Time2Internaldate(1_000_000_000 + number)
        assert client.append(where, flags, date, content)[0] == "OK"
    client.select("Sent")
    client.store("2:5", "+FLAGS", r"(\Deleted)")
    client.expunge()
    client.logout()


def account(address: tuple[str, int], password: str, separator: str, user: str = "joe") -> dict[str, Any]:
    """What an IMAP client sees of a user's mail."""
    client = imaplib.IMAP4(*address)
    client.login(user, password)
    found: dict[str, Any] = {}
    for name in ("INBOX", "Sent", f"Work{separator}2024"):
        client.select(name, readonly=True)
        validity = client.response("UIDVALIDITY")[1]
        told = client.fetch("1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")[1]
        messages = []
        for item in told:
            if isinstance(item, tuple):
                words = item[0].split(b" ", 1)[1]
                flags = sorted(set(imaplib.ParseFlags(words)) - {rb"\Recent"})
                uid = words.split(b"UID ")[1].split()[0]
                date = time.mktime(imaplib.Internaldate2tuple(words) or time.gmtime(0))
                messages.append((uid, flags, date, item[1]))
        found[name.replace(separator, "/")] = (validity, messages)
    client.logout()
    return found


def timed(
    what: str, command: list[str], store: Instance, password: str | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run an import or an export, and say what it cost."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    text = None if password is None else f"{password}\n".encode()
    done = subprocess.run(
        command, input=text, env=store.environment(), check=True, capture_output=True, timeout=LIMIT_S
    )
    took_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{what}: {COUNT / took_s:.0f} messages/s, {cpu_s / COUNT * 1e6:.0f} µs CPU each, {took_s:.1f} s")
    return done


def msadm(store: Instance, *words: str) -> list[str]:
    return [sys.executable, "-m", "mstore.cli.msadm", "-f", str(store.config), *words]


def test_everything_of_a_running_dovecot_over_imap_and_again() -> None:
    with dovecot({"joe": "secret"}, ssl="yes") as remote, Instance(["joe"]) as store:
        fill(remote)
        theirs = account(("127.0.0.1", remote.port), "secret", ".")
        where = (f"localhost:{remote.tls_port}", "--ca", str(remote.path / "cert.pem"))
        command = msadm(store, "import", "imap", "joe", *where, "--password-stdin")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=store.environment())
        assert process.stdin is not None
        process.stdin.write(b"secret\n")
        process.stdin.close()
        time.sleep(0.7)  # Somewhere, before the beginning or behind the end too.
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        timed("import imap, TLS, what was left", command, store, "secret")
        assert account(store.imap_address, PASSWORD, "/") == theirs
        again = timed("import imap, again", [*command, "--json"], store, "secret")
        assert b'"messages": 0' in again.stdout and b'"messages": 1' not in again.stdout
        assert account(store.imap_address, PASSWORD, "/") == theirs


def test_the_same_from_its_maildir_and_from_files_of_ours() -> None:
    with dovecot({"joe": "secret"}) as remote, Instance(["joe", "ann", "bob"]) as store:
        fill(remote)
        theirs = account(("127.0.0.1", remote.port), "secret", ".")
        maildir = remote.path / "mail" / "joe"
        for path in (maildir, *maildir.rglob("*")):
            with suppress(FileNotFoundError):  # A session that has just ended may still remove its lock.
                path.chmod(0o755 if path.is_dir() else 0o644)
        timed("import maildir", msadm(store, "import", "maildir", "joe", str(maildir)), store)
        assert account(store.imap_address, PASSWORD, "/") == theirs
        for kind, user in (("maildir", "ann"), ("mbox", "bob")):
            out = store.path / kind
            out.mkdir()
            shutil.chown(out, store.mail_path.owner())
            timed(f"export {kind}", msadm(store, "export", kind, "joe", str(out)), store)
            timed(f"import {kind} of ours", msadm(store, "import", kind, user, str(out)), store)
            assert account(store.imap_address, PASSWORD, "/", user) == theirs


def test_a_wrong_password_and_nobody_there() -> None:
    with dovecot({"joe": "secret"}) as remote, Instance(["joe"]) as store:
        command = ("import", "imap", "joe", "--security", "none", "--password-stdin")
        here, nowhere = f"localhost:{remote.port}", "localhost:1"
        refused = store.msadm(*command, here, text="wrong\n", check=False)
        assert refused.returncode == 1 and "does not let joe in" in refused.stderr
        nobody = store.msadm(*command, nowhere, text="x\n", check=False)
        assert nobody.returncode == 1 and "localhost:1" in nobody.stderr
        assert "Traceback" not in refused.stderr + nobody.stderr
