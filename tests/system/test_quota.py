"""Quotas as the daemons keep them: many deliveries at once, and the socket that obeys none."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kit.clients import raw
from tests.kit.instance import Instance

LIMIT = 60_000
BODY = b"Subject: quota\r\n\r\n" + b"x" * 500 + b"\r\n"


def deliver(path: Path, user: str, times: int) -> list[bytes]:
    """Deliver over one connection; the replies behind the messages."""
    found = []
    with raw(path) as client, client.makefile("rb") as lines:
        client.sendall(b"LHLO x\r\n")
        for _ in range(times):
            to = b"RCPT TO:<%b@test.example>\r\n" % user.encode()
            client.sendall(b"MAIL FROM:<a@b.example>\r\n" + to + b"DATA\r\n")
            while not (line := lines.readline()).startswith(b"354 "):
                assert line, "closed"
            client.sendall(BODY + b".\r\n")
            found.append(b" ".join(lines.readline().split(b" ")[:2]))
    return found


def quota(store: Instance, *words: str) -> dict[str, Any]:
    (found,) = json.loads(store.msadm("quota", *words, "--json").stdout)
    assert isinstance(found, dict)
    return found


def test_many_connections_fill_a_mailbox_to_the_last_message(make_store: Callable[..., Instance]) -> None:
    with make_store(options=["lmtp-enable-overquota-delivery on"]) as store:
        assert quota(store, "set", "joe", "--storage", str(LIMIT))["limit_bytes"] == LIMIT
        found: list[bytes] = []

        def fill() -> None:
            found.extend(deliver(store.lmtp_path, "joe", 25))

        clients = [threading.Thread(target=fill) for _ in range(6)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert set(found) == {b"250 2.1.5", b"452 4.2.2"}
        held = quota(store, "show", "joe")
        assert held["used_messages"] == found.count(b"250 2.1.5")
        size = held["used_bytes"] // held["used_messages"]
        assert LIMIT - size - 10 <= held["used_bytes"] <= LIMIT
        over = store.lmtp_path.with_name("lmtpd-oq")
        assert deliver(over, "joe", 3) == [b"250 2.1.5"] * 3
        assert deliver(store.lmtp_path, "joe", 1) == [b"452 4.2.2"]
        after = quota(store, "recompute", "joe")
        assert after["used_messages"] == held["used_messages"] + 3
        assert after["used_bytes"] > LIMIT
        quota(store, "set", "joe", "--storage", "none")
        assert deliver(store.lmtp_path, "joe", 1) == [b"250 2.1.5"]
