"""Reloads and upgrades under load: nothing acknowledged is lost, nobody is refused or cut off in a command.

MSTORE_LOAD_SESSIONS, MSTORE_LOAD_RATE (deliveries per second) and MSTORE_LOAD_SECONDS make it longer.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from bench.clients import Lmtp
from bench.corpus import message
from tests.kit.clients import WrongAnswer
from tests.kit.instance import PASSWORD, Instance, title, wait_for

SESSIONS = int(os.environ.get("MSTORE_LOAD_SESSIONS", "60"))
RATE = int(os.environ.get("MSTORE_LOAD_RATE", "10"))
SECONDS = float(os.environ.get("MSTORE_LOAD_SECONDS", "15"))
USERS = [f"joe{number}" for number in range(10)]
PAUSE_S = max(0.5, SESSIONS / 100)
"""How long a client waits between two commands, in the mean: a hundred a second of all of them."""
LONGEST_ANSWER_S = 60.0


class Client:
    """One IMAP session that goes on for ever: a command, its answer, a pause; told BYE, it comes again."""

    def __init__(self, store: Instance, user: str, seen: Counter[str], wrong: list[str]) -> None:
        self.store, self.user, self.seen, self.wrong = store, user, seen, wrong
        self.number = 0
        self.stored: list[bytes] = []
        """The subjects of the messages that the server has acknowledged."""
        self.connect()

    def connect(self) -> None:
        self.sock = socket.create_connection(self.store.imap_address, LONGEST_ANSWER_S)
        self.got, self.due_s = b"", 0.0
        self.bye = self.begun = False
        self.todo = [b"LOGIN %s %s" % (self.user.encode(), PASSWORD.encode()), b"SELECT INBOX"]
        self.tag, self.command = b"*", b"connect"  # The greeting is the first answer.
        self.asked_s = time.monotonic()

    def ask(self) -> None:
        """Send the next command."""
        self.number += 1
        if self.todo:
            self.command = self.todo.pop(0)
        elif self.number % 5 == 0:
            name = b"k%d-%d" % (id(self) % 100_000, self.number)
            text = b"Subject: %s\r\n\r\n" % name
            self.command = b"APPEND INBOX {%d+}\r\n%s" % (len(text), text)
        else:
            self.command = (b"NOOP", b"UID FETCH 1:3 (FLAGS)", b"STATUS INBOX (MESSAGES)")[self.number % 3]
        self.tag = b"a%d" % self.number
        try:
            self.sock.sendall(self.tag + b" " + self.command + b"\r\n")
        except OSError:
            pass  # The server has said BYE, which is still to be read.
        self.asked_s = time.monotonic()

    def read(self) -> None:
        """Take what has come."""
        try:
            piece = self.sock.recv(65_536)
        except OSError as error:
            piece = b""
            if not self.bye:
                self.wrong.append(f"{self.user}: {error} after {self.command[:30]!r}")
        *lines, self.got = (self.got + piece).split(b"\r\n")
        for line in lines:
            self.take(line)
        if not piece:
            self.end()

    def take(self, line: bytes) -> None:
        """Judge a line."""
        if line.startswith(b"* BYE"):
            self.bye = True
        elif not line.startswith(self.tag + b" ") or not self.asked_s:
            self.begun = self.begun or bool(self.asked_s)
        elif self.command.startswith(b"LOGIN") and line.startswith(self.tag + b" NO [UNAVAILABLE]"):
            # Hundreds that come at once may be more than authproxyd can take: they try again.
            self.seen["logins put off"] += 1
            self.todo.insert(0, self.command)
            self.asked_s, self.begun, self.due_s = 0.0, False, time.monotonic() + 1
        elif not line.startswith(self.tag + b" OK"):
            self.wrong.append(f"{self.command[:30]!r}: {line!r}")
        else:
            if self.command.startswith(b"APPEND"):
                self.stored.append(self.command.split(b"Subject: ")[1].strip())
            took_ms = int(1000 * (time.monotonic() - self.asked_s))
            self.seen["commands"] += 1
            self.seen["slowest ms"] = max(self.seen["slowest ms"], took_ms)
            self.asked_s, self.begun = 0.0, False
            self.due_s = time.monotonic() + (0 if self.todo else PAUSE_S * (0.5 + self.number % 7 / 6))

    def end(self) -> None:
        """The connection is closed: well only with BYE, and not before the answer to what was begun."""
        self.sock.close()
        self.seen["byes"] += 1
        if not self.bye:
            self.wrong.append(f"{self.user}: closed without BYE after {self.command[:30]!r}")
        elif self.begun:
            self.wrong.append(f"{self.user}: cut off in {self.command[:30]!r}")
        self.connect()


class Load:
    """All clients in one thread, and deliveries in another."""

    def __init__(self, store: Instance) -> None:
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.delivered: dict[str, list[int]] = {user: [] for user in USERS}
        self.end = threading.Event()
        self._store = store
        self.clients = [Client(store, USERS[n % len(USERS)], self.seen, self.wrong) for n in range(SESSIONS)]
        self.threads = [
            threading.Thread(target=self._guard, args=(run,)) for run in (self._talk, self._deliver)
        ]
        self._number = 0

    def _guard(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception as error:
            self.wrong.append(f"{run.__name__}: {type(error).__name__}: {error}")

    def _talk(self) -> None:
        while not self.end.is_set():
            now = time.monotonic()
            for client in self.clients:
                if not client.asked_s and client.due_s <= now:
                    client.ask()
                elif client.asked_s and now - client.asked_s > LONGEST_ANSWER_S:
                    self.wrong.append(f"no answer to {client.command[:30]!r}")
                    client.asked_s = now
            with selectors.PollSelector() as selector:
                for client in self.clients:
                    selector.register(client.sock, selectors.EVENT_READ, client)
                for key, _ in selector.select(0.02):
                    key.data.read()

    def _deliver(self) -> None:
        lmtp: Lmtp | None = None
        began, number = time.monotonic(), 0
        while not self.end.is_set():
            user = USERS[number % len(USERS)]
            number += 1
            if lmtp is None:
                lmtp = self._store.lmtp()  # Refused, this ends the test.
            try:
                lmtp.deliver([user], message(number, 1500))
                self.delivered[user].append(number)
                self.seen["deliveries"] += 1
            except (OSError, WrongAnswer) as error:
                # The session is told 421 between two messages when its worker ends; the message is not taken.
                if "421" not in str(error) and not isinstance(error, ConnectionError):
                    self.wrong.append(f"delivery: {type(error).__name__}: {error}")
                self.seen["deliveries put off"] += 1
                lmtp.close()
                lmtp = None
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))


@pytest.mark.timeout(300 + 3 * SECONDS)
def test_reloads_and_upgrades_under_load(make_store: Callable[..., Instance]) -> None:
    store = make_store(USERS, ["connections-per-address 0", "unauthenticated-per-address 0"])
    store.start()
    for user in USERS:
        store.deliver(user, message(1_000_000, 1500))
    load = Load(store)
    for thread in load.threads:
        thread.start()
    took: dict[str, list[float]] = {"reload": [], "upgrade": []}
    try:
        wait_for(lambda: load.seen["commands"] > 3 * SESSIONS, 120, lambda: f"not all are in: {load.seen}")
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline or len(took["upgrade"]) < 3:
            for verb in ("reload", "upgrade"):
                began = time.monotonic()
                done = store.rc(verb)
                assert done.returncode == 0, done.stderr
                took[verb].append(time.monotonic() - began)
                time.sleep(1.0)
        # Those that leave, and the one that accepts, are told to end: all sessions are drained.
        for pid in store.pids():
            if title(pid).startswith("m-store: imapd ["):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        wait_for(lambda: load.seen["byes"] >= SESSIONS, 60, lambda: f"{load.seen['byes']} sessions drained")
        time.sleep(1.0)
    finally:
        load.end.set()
        for thread in load.threads:
            thread.join(90)
    print(f"{SESSIONS} sessions, {RATE} deliveries/s: {dict(load.seen)}")
    print({verb: [round(each, 1) for each in found] for verb, found in took.items()})
    assert not load.wrong, load.wrong[:20]
    assert load.seen["commands"] > 5 * SESSIONS and load.seen["deliveries"] > 10
    for user in USERS:
        assert_all_there(store, user, load)
    for client in load.clients:
        client.sock.close()
    store.stop()


def assert_all_there(store: Instance, user: str, load: Load) -> None:
    """Every delivery and every APPEND that was acknowledged is in the mailbox."""
    client = store.imap(user)
    client.select()
    ids = client.command(b"UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    found = {int(number) for number in re.findall(rb"<(\d+)\.1500@bench", ids)}
    lost = set(load.delivered[user]) - found
    assert not lost, f"deliveries to {user} acknowledged and lost: {sorted(lost)}"
    headers = client.command(b"UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    subjects = set(re.findall(rb"\bk\d+-\d+\b", headers))
    stored = {subject for one in load.clients if one.user == user for subject in one.stored}
    assert not stored - subjects, f"appended by {user} and lost: {stored - subjects}"
    client.logout()
