import os
import re
import socket
import struct
from pathlib import Path

import pytest

from mstore.base.logsink import Descriptor, Journal, Syslog


@pytest.fixture
def door(tmp_path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    bound.bind(str(tmp_path / "socket"))
    return bound


def test_the_syslog_gets_priority_time_and_name(door: socket.socket) -> None:
    sink = Syslog(door.getsockname())
    sink.write("warning", {"event": "odd", "daemon": "imapd", "user": "a\nb"})
    text = door.recv(9000).decode()
    head = rf"<20>[A-Z][a-z]{{2}} [ 0-9]{{2}} \d\d:\d\d:\d\d imapd\[{os.getpid()}\]: "
    assert re.fullmatch(head + r'level=warning event=odd daemon=imapd user="a\\nb"', text)


def parse_journal(data: bytes) -> dict[str, str]:
    """As systemd's own reader takes it apart."""
    found = {}
    while data:
        name, _, data = data.partition(b"\n")
        (length,) = struct.unpack_from("<Q", data)
        found[name.decode()] = data[8 : 8 + length].decode()
        assert data[8 + length : 9 + length] == b"\n"
        data = data[9 + length :]
    return found


def test_the_journal_gets_a_field_for_each_pair(door: socket.socket) -> None:
    sink = Journal(door.getsockname())
    sink.write("error", {"event": "odd", "daemon": "pop3d", "user": "a\nPRIORITY=0", "none": None})
    assert parse_journal(door.recv(9000)) == {
        "MESSAGE": 'event=odd daemon=pop3d user="a\\nPRIORITY=0"',
        "PRIORITY": "3",
        "SYSLOG_FACILITY": "2",
        "SYSLOG_IDENTIFIER": "pop3d",
        "SYSLOG_PID": str(os.getpid()),
        "MSTORE_EVENT": "odd",
        "MSTORE_DAEMON": "pop3d",
        "MSTORE_USER": "a\nPRIORITY=0",
    }


def take_all(door: socket.socket, sink: Syslog) -> list[str]:
    taken = []
    while True:
        try:
            taken.append(door.recv(9000).decode())
        except BlockingIOError:
            return taken
        sink.flush()


def test_who_does_not_listen_keeps_nobody_waiting_and_hears_of_it_later(door: socket.socket) -> None:
    sink = Syslog(door.getsockname())
    for number in range(3000):
        sink.write("info", {"event": "many", "daemon": "imapd", "count": number})
    lost = sink.lost
    assert 0 < lost < 2000
    taken = take_all(door, sink)
    assert [int(line.rpartition("=")[2]) for line in taken] == list(range(3000 - lost))
    sink.write("info", {"event": "after", "daemon": "imapd"})
    told, after = take_all(door, sink)
    assert f"event=log-lost daemon=imapd pid={os.getpid()} lines={lost}" in told and "event=after" in after
    assert sink.lost == 0


def test_a_syslog_that_comes_back_is_found_again(door: socket.socket) -> None:
    path = door.getsockname()
    sink = Syslog(path)
    door.close()
    os.unlink(path)
    sink.write("info", {"event": "gone"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(path)
        sink.write("info", {"event": "back"})
        assert "event=gone" in again.recv(9000).decode()
        assert "event=back" in again.recv(9000).decode()


def test_a_pipe_that_nobody_reads_is_not_waited_for() -> None:
    read, write = os.pipe()
    sink = Descriptor(write)
    for _ in range(3000):
        sink.write("info", {"event": "many", "text": "x" * 100})
    assert 0 < sink.lost < 2000
    taken = b""
    while taken.count(b"\n") + sink.lost < 3000:
        taken += os.read(read, 1 << 20)
        sink.flush()
    assert taken.endswith(b"x\n")
    sink.write("info", {"event": "after", "text": "x" * 1999, "at": "y" * 1999, "error": "z" * 1999})
    lines = os.read(read, 1 << 20).splitlines()
    assert b"event=log-lost" in lines[0] and b"event=after" in lines[1] and len(lines) == 2
    assert len(lines[1]) == 4095, "longer ones could mix with others"
    for fd in (read, write):
        os.close(fd)
