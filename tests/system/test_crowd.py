"""Too many connections from one address: a clear answer, over all workers, and nobody else suffers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tests.kit.clients import Imap, closed, raw
from tests.kit.instance import Instance, wait_for

LIMITS = (
    "trusted-networks none", "connections-per-address 6", "unauthenticated-per-address 3",
    "imapd-disable-capability NOTIFY",
)  # fmt: skip


def greeting(address: tuple[str, int]) -> bytes:
    """The first line, of a connection that is then closed."""
    with raw(address) as connection:
        return connection.recv(400)


def test_one_too_many_is_told_so(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], LIMITS)
    store.start()
    wait_for(lambda: greeting(store.imap_address).startswith(b"* OK"), 5, lambda: "nobody gets in")
    quiet = []
    for _ in range(40):
        connection = raw(store.imap_address)
        if connection.recv(400).startswith(b"* OK"):
            quiet.append(connection)
        else:
            connection.close()
    assert len(quiet) == 3, "more strangers than the limit, over two workers"
    with raw(store.imap_address) as connection:
        assert closed(connection) == (
            b"* BYE [UNAVAILABLE] too many connections from your address, not logged in, try again later\r\n"
        )
    assert greeting(store.pop3_address).startswith(b"+OK")
    pops = [raw(store.pop3_address) for _ in range(4)]
    answers = sorted(connection.recv(400) for connection in pops)
    assert answers[-1].startswith(b"-ERR [SYS/TEMP] too many connections"), answers

    for connection in quiet:
        connection.sendall(b"a LOGIN joe secret\r\n")
        answer = b""
        while b"a OK" not in answer:
            answer += connection.recv(2000) or b"a OK, not: the end"
        assert b"the end" not in answer
    more: list[Imap] = []
    for _ in range(3):
        more.append(store.imap("joe"))
    assert b"from your address, try" in greeting(store.imap_address)
    for connection in (*quiet, *pops):
        connection.close()
    wait_for(lambda: greeting(store.imap_address).startswith(b"* OK"), 5, lambda: "places are not given back")
    assert "connections_refused" in statistics(store)
    for client in more:
        client.logout()
    store.stop()


def statistics(store: Instance) -> str:
    """What imapd says of itself."""
    os.kill(store.daemon_pid("imapd"), signal.SIGHUP)
    path = store.ms_path / "log" / "imapd.stats"
    wait_for(path.exists, 5, lambda: "no statistics")
    return path.read_text()


def test_loopback_is_trusted_unless_it_is_said_otherwise(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], ("connections-per-address 1", "unauthenticated-per-address 1"))
    store.start()
    clients = [store.imap("joe") for _ in range(5)]
    assert greeting(store.imap_address).startswith(b"* OK")
    for client in clients:
        client.logout()
    store.stop()
