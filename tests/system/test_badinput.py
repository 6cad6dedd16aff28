"""Bad input against the real daemons: a proper error, a clean end, the same workers, bounded memory.

Each case is a function of a connection; afterwards the same worker processes must be there, others must be
served, and the log must be clean.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.corpus import message
from tests.kit.clients import LIMIT_S, Address, WrongAnswer, closed, raw
from tests.kit.instance import SERVICES, Instance, wait_for

GROWTH_BYTES = 100_000_000
LONG = 20_000_000
ROUNDS = 4
"""One good one is enough: the flood goes on in all of them, other work on the machine comes and goes."""


@contextmanager
def unharmed(store: Instance) -> Iterator[None]:
    """What happens inside kills no worker and makes none grow."""
    store.deliver("joe", message(1, 2000))
    before = {service: store.worker_pids(service) for service in SERVICES}
    held = {service: store.memory_bytes(pids) for service, pids in before.items()}
    yield
    for service, pids in before.items():
        assert store.worker_pids(service) == pids, f"workers of {service} were replaced"
        grown = store.memory_bytes(pids) - held[service]
        assert grown < GROWTH_BYTES, f"{service} grew by {grown / 1e6:.0f} MB"
    store.deliver("joe", message(2, 2000))
    client = store.imap("joe")
    assert client.select() == 2
    client.logout()

    def has_both() -> bool:
        """A session that was broken off may have the maildrop for a moment yet."""
        try:
            pop = store.pop3("joe")
        except WrongAnswer:
            return False
        assert pop.command(b"STAT").startswith(b"+OK 2 ")
        pop.close()
        return True

    wait_for(has_both, 60, lambda: "the maildrop stays locked")


def test_lines_without_end(store: Instance) -> None:
    with unharmed(store):
        for address in addresses(store):
            connection = raw(address)
            _greeting(connection)
            said = _send_and_listen(connection, b"x" * LONG)
            assert len(said) < 100_000
            connection.close()


def test_overlong_lines_get_an_error(store: Instance) -> None:
    with unharmed(store):
        for address, error in zip(addresses(store), (b"BAD", b"-ERR", b"500"), strict=True):
            connection = raw(address)
            _greeting(connection)
            said = _send_and_listen(connection, b"a " + b"x" * 300_000 + b"\r\n", error, b"BYE")
            assert error in said or b"BYE" in said, said[:200]
            connection.close()


def test_bad_literals(store: Instance) -> None:
    bad = (
        b"a LOGIN {99999999999999999999}\r\n",
        b"a LOGIN {-1}\r\n",
        b"a LOGIN {abc}\r\n",
        b"a LOGIN {4294967296+}\r\n",
        b"a LOGIN {1000000000}\r\n",
        b"a LOGIN {}\r\n",
        b"a {5}\r\n",
        b"{5}\r\n",
    )
    with unharmed(store):
        for line in bad:
            connection = raw(store.imap_address)
            _greeting(connection)
            said = _send_and_listen(connection, line, b" BAD", b" NO", b"* BYE")
            assert b" BAD" in said or b" NO" in said or b"* BYE" in said, (line, said)
            assert not said.startswith(b"+ "), (line, said)
            connection.close()
        for line in (
            b"b APPEND INBOX {99999999999}\r\n",
            b"b APPEND INBOX {9999999999+}\r\n",
        ):
            client = store.imap("joe")
            said = _send_and_listen(client.socket, line, b"b BAD", b"b NO", b"* BYE")
            assert b"b BAD" in said or b"b NO" in said or b"* BYE" in said, (line, said)
            client.close()


def test_binary_noise(store: Instance) -> None:
    chance = random.Random(7)
    with unharmed(store):
        for address in addresses(store):
            for size in (1, 100, 10_000, 1_000_000):
                connection = raw(address)
                _send_and_listen(connection, chance.randbytes(size) + b"\r\n")
                connection.close()
            connection = raw(address)
            _send_and_listen(connection, b"\0" * 100_000 + b"\r\n" + b"\xff" * 1000 + b"\r\n")
            connection.close()
            connection = raw(address)
            _send_and_listen(
                connection, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(506)
            )
            connection.close()


def test_wrong_states(store: Instance) -> None:
    with unharmed(store):
        connection = raw(store.imap_address)
        _greeting(connection)
        for command in (b"SELECT INBOX", b"FETCH 1 FLAGS", b"IDLE", b"APPEND INBOX {3+}\r\nabc", b"CLOSE"):
            said = _ask(connection, b"t " + command + b"\r\n")
            assert b"t BAD" in said or b"t NO" in said, (command, said)
        assert b"t OK" in _ask(connection, b"t LOGIN joe secret\r\n")
        for command in (
            b"LOGIN joe secret",
            b"FETCH 1 FLAGS",
            b"EXPUNGE",
            b"NOSUCH",
            b"UID NOSUCH",
            b"DONE",
            b"",
        ):
            said = _ask(connection, b"t " + command + b"\r\n")
            assert b"t BAD" in said or b"t NO" in said or b"* BAD" in said, (command, said)
        connection.close()

        connection = raw(store.pop3_address)
        _greeting(connection)
        for command in (b"STAT", b"RETR 1", b"PASS secret", b"DELE 1", b"NOSUCH", b"", b"USER"):
            assert _ask(connection, command + b"\r\n").startswith(b"-ERR"), command
        connection.close()

        connection = raw(store.lmtp_path)
        _greeting(connection)
        for command in (b"MAIL FROM:<a@b.example>", b"RCPT TO:<joe>", b"DATA", b"EHLO x", b"NOSUCH", b""):
            assert _ask(connection, command + b"\r\n")[:1] in (b"5",), command
        assert _ask(connection, b"LHLO x\r\n").startswith(b"250")
        for command in (b"RCPT TO:<joe>", b"DATA", b"MAIL FROM:<a@b.example", b"MAIL TO:<a>", b"RCPT"):
            assert _ask(connection, command + b"\r\n")[:1] == b"5", command
        assert _ask(connection, b"MAIL FROM:<>\r\n").startswith(b"250")
        assert _ask(connection, b"RCPT TO:<nobody-here>\r\n").startswith(b"550 5.1.1")
        assert _ask(connection, b"DATA\r\n")[:1] == b"5"
        connection.close()


def test_half_open_and_broken_connections(store: Instance) -> None:
    """Clients that connect and say nothing, or break off in the middle, or reset."""
    halves = {
        0: (
            b"",
            b"a LOGIN jo",
            b"a LOGIN {3}\r\njo",
            b"a LOGIN joe secret\r\nb APPEND INBOX {100000+}\r\nhalf",
        ),
        1: (b"", b"USER joe\r\nPA", b"USER joe\r\nPASS secret\r\nRETR"),
        2: (
            b"",
            b"LHLO x\r\nMAIL FR",
            b"LHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<joe>\r\nDATA\r\nSubject: half\r\n",
        ),
    }
    with unharmed(store):
        waiting = []
        for number, address in enumerate(addresses(store)):
            for text in halves[number]:
                for reset in (False, True):
                    connection = raw(address)
                    connection.sendall(text)
                    if reset:
                        if not isinstance(address, Path):
                            connection.setsockopt(
                                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                            )
                    else:
                        connection.shutdown(socket.SHUT_WR)
                        closed(connection)
                    connection.close()
            waiting += [raw(address) for _ in range(100)]
        client = store.imap("joe")
        assert client.select() == 1
        client.logout()
        for connection in waiting:
            connection.close()


def test_a_client_that_does_not_read(store: Instance) -> None:
    """Whoever asks for much and takes nothing is not served from memory, and delays nobody."""
    with unharmed(store):
        setup = store.imap("joe")
        setup.command(b"CREATE big")
        for number in range(20):
            setup.append(message(number, 1_000_000), "big")
        setup.logout()
        greedy = store.imap("joe")
        greedy.select("big")
        greedy.socket.settimeout(2)
        try:
            for number in range(2000):
                greedy.send(b"g%d FETCH 1:* (BODY.PEEK[])\r\n" % number)
        except TimeoutError:
            pass
        others = store.imap("joe")
        for _ in range(20):
            others.command(b"NOOP")
        others.logout()
        greedy.close()


def test_a_message_beyond_the_limit_is_refused(make_store: Callable[..., Instance]) -> None:
    store = make_store(options=["message-size-limit 1M"])
    store.start()
    with unharmed(store):
        connection = raw(store.lmtp_path)
        _greeting(connection)
        for line in (b"LHLO x", b"MAIL FROM:<a@b.example>", b"RCPT TO:<joe>"):
            assert _ask(connection, line + b"\r\n").startswith(b"250"), line
        assert _ask(connection, b"DATA\r\n").startswith(b"354")
        large = b"Subject: large\r\n\r\n" + (b"y" * 998 + b"\r\n") * 5000
        said = _send_and_listen(connection, large + b".\r\n", b"\r\n")
        assert said[:3] in (b"552", b"554"), said
        connection.close()
        client = store.imap("joe")
        said = _send_and_listen(client.socket, b"b APPEND INBOX {2000000}\r\n", b"b NO", b"b BAD")
        assert b"b NO" in said or b"b BAD" in said, said
        client.close()
    store.stop()


def test_many_sessions_of_noise_at_once(store: Instance) -> None:
    chance = random.Random(11)
    with unharmed(store):
        noise = [chance.randbytes(20_000) for _ in range(8)]

        def make_noise(number: int) -> None:
            for address in addresses(store):
                with raw(address) as connection:
                    _send_and_listen(connection, noise[number])

        threads = [threading.Thread(target=make_noise, args=(number,)) for number in range(len(noise))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


def addresses(store: Instance) -> tuple[Address, Address, Address]:
    """The three doors."""
    return store.imap_address, store.pop3_address, store.lmtp_path


def _greeting(connection: socket.socket) -> bytes:
    return connection.recv(4096)


def _ask(connection: socket.socket, line: bytes) -> bytes:
    """Send one command; gives the answer up to a line that is not a continued or untagged one."""
    connection.sendall(line)
    said = b""
    while True:
        said += connection.recv(65536)
        last = said.rstrip(b"\r\n").rsplit(b"\n", 1)[-1]
        done = said.endswith(b"\n") and not last.startswith((b"* OK", b"* CAP", b"+ ")) and last[3:4] != b"-"
        if done:
            return said


def _send_and_listen(connection: socket.socket, data: bytes, *awaited: bytes) -> bytes:
    """Send as much as the other side takes, and gather what it says until it has no more to say; where one
    of some texts is awaited, not before it has come."""
    said, view = bytearray(), memoryview(data)
    connection.settimeout(LIMIT_S if awaited else 1.0)
    while view:
        try:
            view = view[connection.send(view[:65536]) :]
        except TimeoutError:
            break
        except (BrokenPipeError, ConnectionResetError):
            break
    try:
        while len(said) < 10_000_000 and (more := connection.recv(65536)):
            said += more
            if not awaited or any(text in said for text in awaited):
                connection.settimeout(0.3)
    except (TimeoutError, ConnectionResetError):
        pass
    return bytes(said)


def test_commands_without_a_pause_keep_nobody_waiting(make_store: Callable[..., Instance]) -> None:
    store = make_store(workers=1)
    store.start()
    other = store.imap("joe")
    rounds: list[list[float]] = []
    with flooding(store):
        while len(rounds) < ROUNDS and not (rounds and _is_served(rounds[-1])):
            rounds.append([])
            for _ in range(40):
                began = time.monotonic()
                other.command(b"NOOP")
                rounds[-1].append(time.monotonic() - began)
    assert _is_served(rounds[-1]), f"a session waited {rounds} s for another's commands"
    other.logout()
    store.stop()


def _is_served(delays: list[float]) -> bool:
    """Whether nobody waits for the flood, which delays all or none; what else the machine does, some."""
    return sorted(delays)[10] < 0.1


@contextmanager
def flooding(store: Instance) -> Iterator[None]:
    """Another client sends commands as fast as the server takes them, and reads all answers."""
    client = store.imap("joe")
    client.socket.settimeout(0.1)
    ended = threading.Event()

    def repeat(act: Callable[[], object]) -> None:
        while not ended.is_set():
            try:
                act()
            except TimeoutError:
                continue

    send = threading.Thread(target=repeat, args=(lambda: client.socket.send(b"x NOOP\r\n" * 8000),))
    read = threading.Thread(target=repeat, args=(lambda: client.socket.recv(1 << 20),))
    try:
        send.start()
        read.start()
        time.sleep(0.3)
        yield
    finally:
        ended.set()
        send.join()
        read.join()
        client.socket.close()
