"""What is large on the way in: a message, a list of recipients, a crowd that says nothing.

Nobody starves, and memory stays small."""

from __future__ import annotations

import os
import socket
import statistics
import threading
import time
from collections.abc import Callable

from tests.kit.clients import Lmtp
from tests.kit.instance import Instance

MIB = 1 << 20
LARGE_BYTES = 100 * MIB
SMALL = b"LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ann@x>\r\nDATA\r\nA: b\r\n\r\n.\r\n"


def _connect(store: Instance) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(120)
    client.connect(str(store.lmtp_path))
    return client


def _converse(client: socket.socket, commands: bytes, finals: int) -> list[bytes]:
    """Send commands and read so many final replies; the codes."""
    sender = threading.Thread(target=client.sendall, args=(commands,))
    sender.start()
    codes: list[bytes] = []
    with client.makefile("rb") as file:
        while len(codes) < finals:
            line = file.readline()
            assert line, codes
            if line[3:4] == b" ":
                codes.append(line[:3])
    sender.join()
    return codes


def _deliver_small(store: Instance) -> float:
    """Deliver a small message; gives how long it took, in seconds."""
    began = time.monotonic()
    client = _connect(store)
    codes = _converse(client, SMALL, 6)
    client.close()
    assert codes[-1] == b"250"
    return time.monotonic() - began


def _sync_s(store: Instance) -> float:
    """How long the disk takes just now to keep a little, in seconds."""
    began = time.monotonic()
    with (store.path / "probe").open("wb") as file:
        file.write(SMALL)
        file.flush()
        os.fsync(file.fileno())
    return time.monotonic() - began


def test_a_message_of_100_megabytes_beside_others(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe", "ann"], options=["message-size-limit 128M"], workers=1)
    store.start()
    workers = store.worker_pids("lmtpd")
    before = store.private_bytes(workers)
    line = b"x" * 98 + b"\r\n"
    body = line * (LARGE_BYTES // len(line))
    peak = 0
    done = threading.Event()

    def deliver() -> None:
        client = _connect(store)
        envelope = b"LHLO x\r\nMAIL FROM:<a@b> SIZE=%d\r\n" % len(body)
        envelope += b"RCPT TO:<joe@x>\r\nRCPT TO:<ann@x>\r\nDATA\r\n"
        _converse(client, envelope + b"Subject: large\r\n\r\n" + body + b".\r\n", 8)
        client.close()
        done.set()

    thread = threading.Thread(target=deliver)
    thread.start()
    waits: list[float] = []
    # By how much longer than twice what the disk takes just then to keep a little: it has much to write.
    beyond_s: list[float] = []
    while not done.wait(0.05):
        peak = max(peak, store.private_bytes(workers))
        disk_s = _sync_s(store)
        took_s = _deliver_small(store)
        waits.append(took_s)
        beyond_s.append(took_s - 2 * disk_s)
    thread.join()
    assert peak - before < 64 * MIB, f"{(peak - before) / MIB:.0f} MiB more"
    assert statistics.median(beyond_s) < 1.0, (waits, beyond_s)
    client = store.imap("joe")
    assert client.select() == 1
    client.logout()
    store.stop()


def test_ten_thousand_recipients_in_one_transaction(make_store: Callable[..., Instance]) -> None:
    names = [f"u{number}" for number in range(500)]
    store = make_store(names, workers=1)
    store.start()
    workers = store.worker_pids("lmtpd")
    before = store.private_bytes(workers)
    addresses = [f"{name}{tag}@x" for tag in ("", *[f"+t{n}" for n in range(19)]) for name in names]
    assert len(addresses) == 10_000
    client = _connect(store)
    recipients = [b"RCPT TO:<%b>\r\n" % address.encode() for address in addresses]
    envelope = b"LHLO x\r\nMAIL FROM:<a@b>\r\n" + b"".join(recipients)
    codes = _converse(client, envelope + b"DATA\r\nSubject: to all\r\n\r\nall\r\n.\r\n", 4 + 20_000)
    assert codes[3:] == [b"250"] * 10_000 + [b"354"] + [b"250"] * 10_000
    client.close()
    assert store.private_bytes(workers) - before < 64 * MIB
    for name in (names[0], names[250], names[-1]):
        imap = store.imap(name)
        assert imap.select() == 1
        imap.logout()
    store.stop()


def test_two_hundred_idle_connections_keep_nobody_out(make_store: Callable[..., Instance]) -> None:
    store = make_store(["ann"], workers=1)
    store.start()
    workers = store.worker_pids("lmtpd")
    before_s = sum(_deliver_small(store) for _ in range(20))
    before = store.private_bytes(workers)
    idle = [Lmtp(store.lmtp_path) for _ in range(200)]
    assert store.private_bytes(workers) - before < 200 * 64 * 1024
    beside_s = sum(_deliver_small(store) for _ in range(20))
    for other in idle:
        other.close()
    after_s = sum(_deliver_small(store) for _ in range(20))
    # What they take of themselves is the disk's affair.
    assert beside_s < 20 + 3 * max(before_s, after_s), (before_s, beside_s, after_s)
    store.stop()
