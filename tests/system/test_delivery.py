"""lmtpd and pop3d as processes: large messages in little memory, and a maildrop that a dead worker leaves."""

from __future__ import annotations

import os
import poplib
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.kit.clients import raw
from tests.kit.instance import PASSWORD, Instance, wait_for

LINE = b"0123456789" * 7 + b"\r\n"
LARGE = b"Subject: large\r\n\r\n" + LINE * 700_000
LEEWAY_BYTES = 16 << 20
LIMIT_S = 120.0
"""For what is large, on a machine and a disk that are busy."""


@contextmanager
def bounded_memory(store: Instance, daemon: str) -> Iterator[None]:
    """Watches the workers of a daemon: none may grow by more than the leeway."""
    workers = store.worker_pids(daemon)
    before = {pid: store.private_bytes([pid]) for pid in workers}
    most = dict(before)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            for pid in workers:
                most[pid] = max(most[pid], store.private_bytes([pid]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    grown = {pid: most[pid] - before[pid] for pid in workers}
    assert max(grown.values()) < LEEWAY_BYTES, f"{daemon} grew by {grown} bytes"


def log_in(store: Instance) -> poplib.POP3:
    client = poplib.POP3(*store.pop3_address, timeout=30)
    client.user("joe")
    client.pass_(PASSWORD)
    return client


def test_fifty_megabytes_pass_in_bounded_memory(store: Instance) -> None:
    with (
        bounded_memory(store, "lmtpd"),
        raw(store.lmtp_path, LIMIT_S) as client,
        client.makefile("rb") as lines,
    ):
        client.sendall(b"LHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<joe@test.example>\r\nDATA\r\n")
        while not lines.readline().startswith(b"354 "):
            pass
        client.sendall(LARGE + b".\r\n")
        assert lines.readline().startswith(b"250 2.1.5 ")
    with bounded_memory(store, "pop3d"), raw(store.pop3_address, LIMIT_S) as client:
        client.sendall(b"USER joe\r\nPASS " + PASSWORD.encode() + b"\r\nRETR 1\r\nQUIT\r\n")
        parts = []
        while data := client.recv(1 << 20):
            parts.append(data)
    assert LARGE + b".\r\n+OK signing off" in b"".join(parts)


def test_maildrop_of_a_killed_worker_is_free_at_once(store: Instance) -> None:
    store.tolerated.append("event=child-ended .*SIGKILL")
    store.deliver("joe", b"Subject: x\r\n\r\nx\r\n")
    client = log_in(store)
    client.dele(1)
    with pytest.raises(poplib.error_proto, match="IN-USE"):
        log_in(store)
    for pid in store.worker_pids("pop3d"):
        os.kill(pid, signal.SIGKILL)

    def is_free() -> bool:
        try:
            again = log_in(store)
        except (OSError, EOFError, poplib.error_proto):
            return False
        assert again.stat()[0] == 1
        again.quit()
        return True

    wait_for(is_free, 30, lambda: "the maildrop stays locked")


@pytest.mark.parametrize("broken", ["closed", "reset", "reset while it receives"])
def test_maildrop_of_a_broken_connection_is_free_at_once(store: Instance, broken: str) -> None:
    carrier = store.lmtp()
    carrier.socket.settimeout(LIMIT_S)
    carrier.deliver(["joe"], LARGE)
    carrier.quit()
    client = log_in(store)
    client.dele(1)
    client.rset()
    assert client.sock is not None
    if broken != "closed":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if broken == "reset while it receives":
        client.sock.sendall(b"RETR 1\r\n")
        assert client.sock.recv(10)
    with pytest.raises(poplib.error_proto, match="IN-USE"):
        log_in(store)
    client.file.close()
    client.sock.close()  # Without shutdown(), which would end it in order.
    wait_for(lambda: can_log_in(store), 30, lambda: "the maildrop stays locked")


def can_log_in(store: Instance) -> bool:
    try:
        client = log_in(store)
    except poplib.error_proto:
        return False
    assert client.stat()[0] == 1
    client.quit()
    return True


def test_the_manuals_addresses_lead_where_it_says(make_store: Callable[..., Instance]) -> None:
    with make_store(["joe", "root"], ["admin-users root"]) as store:
        root = store.imap("root")
        for name in (b"user/joe/important/March2000", b"shared/bugreports"):
            root.command(b"CREATE " + name)
            root.command(b"SETACL " + name + b" root +r")
        store.msadm("acl", "set", "shared/bugreports", "anyone", "+p")
        with raw(store.lmtp_path) as client, client.makefile("rb") as lines:
            client.sendall(
                b"LHLO x\r\nmail from: <a@b.example>\r\n"
                b"rcpt to: joe+important/March2000@foobar.com\r\n"
                b"rcpt to: shared+bugreports@foobar.com\r\n"
                b"DATA\r\n"
            )
            while not (line := lines.readline()).startswith(b"354 "):
                assert line.startswith(b"2"), line
            client.sendall(b"Subject: x\r\n\r\nx\r\n.\r\n")
            assert [lines.readline()[:9] for _ in range(2)] == [b"250 2.1.5"] * 2
        for name in (b"user/joe/important/March2000", b"shared/bugreports"):
            assert b"(MESSAGES 1)" in root.command(b"STATUS %b (MESSAGES)" % name)
        assert b"(MESSAGES 0)" in store.imap("joe").command(b"STATUS INBOX (MESSAGES)")


def test_the_second_worker_sees_the_first_ones_lock(store: Instance) -> None:
    owner = log_in(store)
    for _ in range(12):  # enough connections for both workers to get some
        with pytest.raises(poplib.error_proto, match="IN-USE"):
            log_in(store)
    owner.quit()
    log_in(store).quit()
