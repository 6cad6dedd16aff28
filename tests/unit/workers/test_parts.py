"""The small parts of the processes: scoreboard, pipes between parent and child, listeners, statistics."""

import errno
import os
import pwd
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mstore.base.config import load
from mstore.base.values import Address
from tests.unit.workers.running import ROOT, free_port
from workers.arguments import read_arguments
from workers.checks import describe_denial, refuse_missing
from workers.inherited import Inherited, lent_fds, show_bound
from workers.listeners import bind_unix, close_unix, open_tcp, share_out
from workers.parent import EX_REFUSED, Lines, Parent, Refused, refuse
from workers.places import TcpPlace
from workers.privileges import Identity, open_log, prepare_directories
from workers.scoreboard import COUNTERS, FIELDS, Scoreboard
from workers.statistics import append_block, format_block


def test_scoreboard_is_shared_over_a_fork() -> None:
    board = Scoreboard(3)
    pid = os.fork()
    if pid == 0:
        board.slots[1].add("logins", 2)
        board.slots[1].set("sessions", 5)
        board.slots[1].beat()
        os._exit(0)
    os.waitpid(pid, 0)
    board.slots[2].add("logins")
    assert board.total("logins") == 3 and board.total("sessions") == 5
    assert board.slots[1].heartbeat_s > 0 and board.slots[0].heartbeat_s == 0


def test_taking_a_slot_keeps_counters_and_resets_gauges() -> None:
    slot = Scoreboard(1).slots[0]
    for name in FIELDS:
        slot.set(name, 9)
    slot.take()
    assert all(slot.get(name) == 9 for name in COUNTERS)
    assert slot.get("sessions") == slot.get("sessions_idle") == 0 and slot.heartbeat_s > 1


def test_unknown_counters_are_errors() -> None:
    with pytest.raises(KeyError):
        Scoreboard(1).slots[0].add("no-such-thing")


def test_lines_arrive_whole() -> None:
    read, write = os.pipe()
    heard: list[str] = []
    lines = Lines(read, heard.append)
    os.write(write, b"ready\nref")
    assert lines.read() and heard == ["ready"]
    os.write(write, b"used because\n")
    assert lines.read() and heard == ["ready", "refused because"]
    assert lines.read()
    os.close(write)
    assert not lines.read()
    lines.close()
    assert lines.closed


def test_parent_is_told_in_one_line_and_may_be_gone() -> None:
    read, write = os.pipe()
    parent = Parent.parse(f",{write}")
    assert parent.liveness is None
    parent.tell("refused one\ntwo")
    assert os.read(read, 100) == b"refused one; two\n"
    os.close(read)
    parent.tell("ready")
    parent.tell("ready")
    Parent.parse(None).tell("nobody listens")


def test_refusing_tells_everybody(capsys: pytest.CaptureFixture[str]) -> None:
    assert refuse("imapd", Parent(), "one\ntwo") == EX_REFUSED
    assert capsys.readouterr().err == "imapd: one\nimapd: two\n"


def place(host: str, port: int, wanted: int = 1) -> TcpPlace:
    return TcpPlace("imapd-listen", Address(host, port), wanted)


def test_several_sockets_share_one_tcp_port() -> None:
    port = free_port()
    [sockets] = open_tcp(place("127.0.0.1", port, 2), Inherited())
    assert [show_bound(sock) for sock in sockets] == [f"127.0.0.1:{port}"] * 2
    assert all(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in sockets)
    assert share_out(sockets, 2) == [[sockets[0]], [sockets[1]]]
    for sock in sockets:
        sock.close()


def test_sockets_that_are_there_are_used_and_completed() -> None:
    port = free_port()
    [had] = open_tcp(place("127.0.0.1", port, 2), Inherited())
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    inherited = Inherited([*had, other])
    [found] = open_tcp(place("127.0.0.1", port, 3), inherited)
    assert found[:2] == had and len(found) == 3
    assert share_out(found, 2) == [[found[0], found[2]], [found[1]]]
    assert open_tcp(place("127.0.0.1", other.getsockname()[1], 4), inherited) == [[other]]
    assert share_out([other], 3) == [[other]] * 3
    for sock in (*found, other):
        sock.close()


def test_what_a_service_manager_lends_is_taken_from_the_environment() -> None:
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "HOME": "/"}
    assert lent_fds(environment) == range(3, 5) and environment == {"HOME": "/"}
    for wrong in ({"LISTEN_PID": "1", "LISTEN_FDS": "2"}, {"LISTEN_PID": str(os.getpid())}, {},
                  {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "-2"}):  # fmt: skip
        assert not lent_fds(dict(wrong))


def test_what_is_lent_and_does_not_listen_is_said(tmp_path: Path) -> None:
    with socket.socket() as silent, (tmp_path / "file").open("w") as file:
        silent.bind(("127.0.0.1", 0))
        found = Inherited()
        found._adopt(os.dup(silent.fileno()))
        found._adopt(os.dup(file.fileno()))
    assert "Accept=no is needed" in found.strange[0] and "Socket operation" in found.strange[1]


def test_a_star_is_reached_over_both_families() -> None:
    port = free_port()
    [[sock]] = open_tcp(place("*", port), Inherited())
    sock.listen()
    for host in ("127.0.0.1", "::1"):
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError as error:
            assert host == "::1" and error.errno in (
                errno.EADDRNOTAVAIL,
                errno.EAFNOSUPPORT,
                errno.ECONNREFUSED,
            )
    sock.close()


def test_a_name_that_does_not_resolve_is_refused() -> None:
    with pytest.raises(Refused, match=r"imapd-listen: cannot listen on no\.such\.host\.invalid:1143"):
        open_tcp(place("no.such.host.invalid", 1143), Inherited())


def test_unix_socket_replaces_a_dead_one_but_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    sock = bind_unix(path, 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    sock.close()
    again = bind_unix(path, 0o660)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    close_unix(again)
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(Refused, match="in the way"):
        bind_unix(path, 0o600)
    assert path.read_text() == "precious"
    with pytest.raises(Refused, match="too long"):
        bind_unix(tmp_path / ("x" * 120), 0o600)


def test_logs_are_never_opened_through_links(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("")
    (tmp_path / "symbolic").symlink_to(target)
    (tmp_path / "hard").hardlink_to(target)
    for name in ("symbolic", "hard"):
        with pytest.raises(OSError):
            open_log(tmp_path / name)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError):
        open_log(tmp_path / "pipe")


def test_statistics_block(tmp_path: Path) -> None:
    block = format_block("imapd", 7, 0.0, 90.0, [("sessions", 3), ("bytes_in", 10)])
    assert block == "imapd 1970-01-01T00:01:30Z pid 7 up 1m\n  sessions  3\n  bytes_in  10\n\n"
    path = tmp_path / "imapd.stats"
    append_block(path, block)
    append_block(path, block)
    assert path.read_text() == block * 2


def test_missing_files_are_all_named() -> None:
    refuse_missing([])
    with pytest.raises(Refused, match="a is missing\nb is missing\nrestore"):
        refuse_missing([Path("a"), Path("b")])


def test_what_keeps_us_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ms" / "run" / "imapd.lock"
    path.parent.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda found, mode: found != tmp_path / "ms")
    assert describe_denial(path).startswith(f"{tmp_path}/ms is closed to user ")
    monkeypatch.setattr(os, "access", lambda found, mode: True)
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert describe_denial(path) == f"{path.parent} belongs to user {user}, this is run by {user}"


def test_a_directory_of_somebody_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, *ids: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    config = tmp_path / "ms.conf"
    user = pwd.getpwuid(os.geteuid()).pw_name
    config.write_text(f"ms-path {tmp_path}/ms\nmailstore main {tmp_path}/mail\nruntime-user {user}\n")
    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(Refused, match=rf"ms/run belongs to user {user}\)"):
        prepare_directories(load(config), Identity(user, os.geteuid(), os.getegid(), os.getegid()))


def test_arguments_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_arguments("imapd", "Serve.", ["-f", "ms.conf"]).config == tmp_path / "ms.conf"
    assert read_arguments("imapd", "Serve.", []).config == Path("/etc/md/store/ms.conf")


def test_authproxyd_shows_version_and_mechanisms_on_standard_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workers.authproxyd", "-v"],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == ""
    assert "M-Store authproxyd" in done.stderr and "authdb" in done.stderr
