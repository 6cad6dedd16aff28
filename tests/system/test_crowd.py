"""Too many connections from one address: a clear answer, over all workers, and nobody else suffers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tests.kit.clients import Imap, WrongAnswer, closed, raw
from tests.kit.instance import PASSWORD, Instance, wait_for

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
    wait_for(lambda: greeting(store.imap_address).startswith(b"* OK"), 30, lambda: "nobody gets in")
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
    pops, answers = [], []
    for _ in range(4):  # One after the other: two workers that count at the same time may let one more in.
        pops.append(raw(store.pop3_address))
        answers.append(pops[-1].recv(400))
    assert sorted(answers)[-1].startswith(b"-ERR [SYS/TEMP] too many connections"), answers

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
    wait_for(lambda: greeting(store.imap_address).startswith(b"* OK"), 30, lambda: "places are not free")
    await_statistics(store, "connections_refused")
    for client in more:
        client.logout()
    store.stop()


def test_who_has_logged_in_is_a_stranger_to_no_worker(make_store: Callable[..., Instance]) -> None:
    """The workers count together, so each must know at once whom another has recognised."""
    store = make_store(["joe"], ("trusted-networks none", "unauthenticated-per-address 3"), workers=2)
    store.start()

    def visit() -> bool:
        """As many strangers as there may be, and one more when they have logged in; whether all got in."""
        try:
            clients = [Imap(store.imap_address) for _ in range(3)]
            for client in clients:
                client.login("joe", PASSWORD)
            clients.append(store.imap("joe"))
        except WrongAnswer:
            return False
        for client in clients:
            client.logout()
        return True

    wait_for(visit, 30, lambda: "who came before is a stranger still")
    for _ in range(20):
        assert visit(), store.log_text()
    store.stop()


def await_statistics(store: Instance, wanted: str) -> None:
    """Wait until imapd says this of itself."""
    os.kill(store.daemon_pid("imapd"), signal.SIGHUP)
    path = store.ms_path / "log" / "imapd.stats"
    wait_for(lambda: path.exists() and wanted in path.read_text(), 30, lambda: f"no {wanted}")


def test_loopback_is_trusted_unless_it_is_said_otherwise(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], ("connections-per-address 1", "unauthenticated-per-address 1"))
    store.start()
    clients = [store.imap("joe") for _ in range(5)]
    assert greeting(store.imap_address).startswith(b"* OK")
    for client in clients:
        client.logout()
    store.stop()
