"""The control socket: who may ask what, and that no asker keeps the worker from its sessions."""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import subprocess
import textwrap
from pathlib import Path
from typing import cast

import pytest

from mstore.base.log import Log
from mstore.base.options import Settings
from tests.unit.workers.test_cooperative import run as run_cooperative
from workers.control import (
    bind_control,
    is_allowed,
    parse_request,
    remove_control,
    remove_directory,
    remove_stale,
)

PRELUDE = """
import json, os, socket, tempfile
import gevent.socket
from pathlib import Path
from mstore.net.stream import Stream
from mstore.net.trace import QUEUE_BYTES, Tap
from workers.connections import Connections
from workers.control import AT_ONCE, Control
from workers.listeners import bind_unix
from workers.scoreboard import Scoreboard
from workers.tracing import Tracing
class PlainTap(Tap):
    def judge(self, line, has_content):
        self.begin_command()
        return line
class Echo:
    def __init__(self, stream, tracing):
        self.stream, self.tracing = stream, tracing
        self.idle, self.user, self.kicked = False, None, False
    def preauthenticate(self, user):
        self.user = user
        self.tracing.enter(self, user, "begun")
    def run(self):
        self.stream.write(b"hello\\r\\n")
        while not self.kicked:
            self.stream.flush()
            self.idle = True
            line = self.stream.read_line()
            self.idle = False
            if not line:
                return
            self.stream.write(line)
    def kick(self):
        self.kicked = True
        self.stream.write(b"kicked\\r\\n")
        self.stream.flush()
        self.stream.interrupt()
path = Path(tempfile.mkdtemp()) / "imapd.0"
bound = bind_unix(path, 0o600)
bound.listen(64)
bound.setblocking(False)
tracing = Tracing(PlainTap)
def make(sock, peer, listener):
    stream = Stream(sock, peer)
    return stream, Echo(stream, tracing)
connections = Connections([], make, None, Scoreboard(1).slots[0], log)
connections._watchers.append(None)  # As if somebody listened.
tracing.connections = connections
control = Control(bound, connections, tracing.serve, log)
class Asker:
    def __init__(self, request):
        self.socket = gevent.socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        data = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\\n"
        self.socket.sendall(data)
        self.lines = self.socket.makefile("rb")
    def json(self):
        return json.loads(self.lines.readline())
    def read(self):
        try:
            return self.lines.read()
        except ConnectionResetError:
            return b""  # What was sent has not been read.
    def rest(self):
        return [json.loads(line) for line in self.read().splitlines()]
def ask(request):
    return Asker(request).rest()
def talk(user):
    asker = Asker({"do": "talk", "user": user, "by": "root"})
    assert asker.json() == {}
    assert asker.lines.readline() == b"hello\\r\\n"
    return asker
def settled(look, wanted):
    for _ in range(3000):
        if look() == wanted:
            break
        gevent.sleep(0.01)
    return look()
"""


def run(body: str) -> str:
    """What is printed, without the log; that is ``run_cooperative``'s business."""
    out = run_cooperative(textwrap.dedent(PRELUDE) + textwrap.dedent(body))
    assert "level=error" not in out, out
    return "".join(line for line in out.splitlines(keepends=True) if "event=" not in line)


@pytest.mark.parametrize(
    ("text", "wrong"),
    (
        ("[]", "not known"),
        ("{}", "not known"),
        ('{"do": "run"}', "not known"),
        ('{"do": ["who"]}', "not known"),
        ('{"do": "who", "user": 1}', "are strings"),
        ('{"do": "kick"}', "kick needs a user"),
        ('{"do": "trace", "user": null}', "trace needs a user"),
        ('{"do": "talk"}', "talk needs a user"),
        ('{"do": "trace", "user": "joe", "bytes": -1}', "bytes is"),
        ('{"do": "trace", "user": "joe", "bytes": true}', "bytes is"),
        ('{"do": "trace", "user": "joe", "bytes": 99999999}', "bytes is"),
        ('{"do": "trace", "user": "joe", "whole": 1}', "bytes is"),
        ("[" * 100_000, "nested too deeply"),
        ("nonsense", "Expecting value"),
        ("\udcff", "utf-8"),
    ),
)
def test_what_is_no_request_is_said_to_be_none(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_request(text.encode("utf-8", "surrogateescape"))


def test_requests_are_taken_as_they_are() -> None:
    for request in (
        {"do": "who"},
        {"do": "who", "user": None, "session": None},
        {"do": "kick", "user": "joe", "session": "1a"},
        {"do": "trace", "user": "joe", "by": "root", "bytes": 10, "whole": True},
    ):
        assert parse_request(json.dumps(request).encode()) == request


def test_the_socket_is_its_owners_alone_and_goes_when_the_worker_has(tmp_path: Path) -> None:
    settings = Settings(ms_path=tmp_path, mailstores={"main": tmp_path / "mail"})
    (tmp_path / "ipc").mkdir()
    log = Log(os.open(os.devnull, os.O_WRONLY))
    for _ in range(2):  # Also where a dead one has left its socket.
        bound = bind_control(settings, "imapd", 3, log)
        assert bound is not None
        bound.close()
    path = tmp_path / "ipc" / "control" / "imapd.3"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    remove_directory(settings)
    assert path.exists(), "others may have sockets there"
    remove_control(settings, "imapd", 3)
    remove_control(settings, "imapd", 3)
    remove_directory(settings)
    assert not path.parent.exists()
    path.parent.write_text("in the way")
    assert bind_control(settings, "imapd", 3, log) is None


def test_what_workers_leave_that_died_after_their_daemon_goes(tmp_path: Path) -> None:
    settings = Settings(ms_path=tmp_path, mailstores={"main": tmp_path / "mail"})
    (tmp_path / "ipc").mkdir()
    log = Log(os.open(os.devnull, os.O_WRONLY))
    nobody = subprocess.Popen(["true"])
    os.waitid(os.P_PID, nobody.pid, os.WEXITED | os.WNOWAIT)
    gone = subprocess.run(["sh", "-c", "echo $$"], stdout=subprocess.PIPE, check=True)
    stays, others = f"imapd.{os.getpid()}", f"pop3d.{gone.stdout.decode().strip()}"
    for name in (f"imapd.{nobody.pid}", "imapd." + others[6:], stays, others):
        daemon, pid = name.split(".")
        bound = bind_control(settings, daemon, int(pid), log)
        assert bound is not None
        bound.close()
    remove_stale(settings, "imapd")
    assert {path.name for path in (tmp_path / "ipc" / "control").iterdir()} == {stays, others}
    nobody.wait()


@pytest.mark.parametrize(("uid", "allowed"), ((0, True), (os.geteuid(), True), (4242, False)))
def test_root_and_we_ourselves_may_ask(uid: int, allowed: bool) -> None:
    class Asked:
        def getsockopt(self, *_: int) -> bytes:
            return struct.pack("3i", 1, uid, 0)

    assert is_allowed(cast(socket.socket, Asked())) is allowed


def test_who_and_kick_choose_sessions() -> None:
    out = run("""
        joe, ann = talk("joe"), talk("ann")
        found = ask({"do": "who"})
        assert found[-1] == {} and [each["user"] for each in found[:-1]] == ["joe", "ann"]
        assert found[0]["idle"] and 0 <= found[0]["silent_s"] < 30 and found[0]["mailbox"] is None
        (session, end) = ask({"do": "who", "user": "ann"})
        assert ask({"do": "who", "session": session["session"]})[0]["user"] == "ann"
        assert ask({"do": "kick", "user": "joe", "session": session["session"]}) == [{}]
        assert len(ask({"do": "kick", "user": "joe"})) == 2
        assert joe.lines.read() == b"kicked\\r\\n"
        assert settled(lambda: len(ask({"do": "who"})), 2) == 2
        print("done")
    """)
    assert out == "done\n"


def test_a_long_answer_is_whole() -> None:
    out = run("""
        class Many:
            def answer(self, request):
                for number in range(5000):
                    yield {"session": str(number)}
        control._desk = Many()
        found = ask({"do": "who"})
        print(len(found), found[-2:], ask({"do": "who"}) == found)
    """)
    assert out == "5001 [{'session': '4999'}, {}] True\n"


def test_bad_requests_end_their_connection_and_nothing_else() -> None:
    out = run("""
        for request in (b"nonsense\\n", b"{}\\n", b"x" * 100_000, b'{"do": "who"}'):
            asker = Asker(request)
            if request.endswith(b"}"):
                asker.socket.shutdown(socket.SHUT_WR)
            print(asker.read())
        print(ask({"do": "who"}))
    """)
    assert out.splitlines() == ["b''"] * 4 + ["[{}]"]


def test_silent_askers_do_not_add_up() -> None:
    out = run("""
        from workers import control as module
        module.PATIENCE_S = 10
        silent = [Asker(b"") for _ in range(AT_ONCE)]
        turned_away = Asker({"do": "who"})
        print(turned_away.read())
        for asker in silent:
            asker.read()
        print(ask({"do": "who"}))
    """)
    assert out.splitlines() == ["b''", "[{}]"]


def test_a_trace_is_of_sessions_before_and_after_and_ends_with_its_asker() -> None:
    out = run("""
        before, other = talk("joe"), talk("ann")
        trace = Asker({"do": "trace", "user": "joe", "by": "root"})
        second = Asker({"do": "trace", "user": "joe"})
        assert trace.json() == {"tracing": "joe"}
        assert trace.json()["text"].startswith("connected since ")
        assert second.json() == {"tracing": "joe"}
        second.json()
        for asker in (other, before):
            asker.socket.sendall(b"said\\r\\n")
            asker.lines.readline()
        found = [trace.json() for _ in range(2)]
        print([(each["direction"], each["text"]) for each in found], second.json()["text"])
        after = talk("joe")
        found = [trace.json() for _ in range(2)]
        print([each["text"] for each in found], len({each["session"] for each in found}))
        after.socket.shutdown(socket.SHUT_RDWR)
        print(trace.json()["text"])
        def watched():
            taps = [len(s.stream.taps) for s, _ in connections.sessions_of(None)]
            return len(tracing._traces), taps
        trace.lines.close()
        trace.socket.close()
        print(settled(watched, (1, [1, 0])))
        second.lines.close()
        second.socket.close()
        print(settled(watched, (0, [0, 0])))
    """)
    assert out.splitlines() == [
        "[('client', 'said'), ('server', 'said')] said",
        "['begun, from local', 'hello'] 1",
        "connection closed",
        "(1, [1, 0])",
        "(0, [0, 0])",
    ]


def test_a_trace_that_is_not_read_loses_lines_and_stops_nobody() -> None:
    out = run("""
        speaker = talk("joe")
        trace = Asker({"do": "trace", "user": "joe"})
        trace.json(), trace.json()
        def read():
            while speaker.lines.readline():
                pass
        gevent.spawn(read)
        for _ in range(1000):
            speaker.socket.sendall(b"x" * 1000 + b"\\r\\n")
        for _ in range(3000):
            gevent.sleep(0.01)
            (session, end) = ask({"do": "who", "user": "joe"})
            if session["bytes_out"] > 1_000_000:
                break
        assert session["bytes_out"] > 1_000_000
        for _ in range(3):
            for _ in range(1000):
                speaker.socket.sendall(b"x" * 1000 + b"\\r\\n")
            gevent.sleep(0.2)
        assert tracing._traces[0]._queued_bytes <= QUEUE_BYTES
        lost = lines = 0
        speaker.socket.sendall(b"last\\r\\n")
        try:
            while True:
                entry = trace.json()
                lost += entry.get("lost", 0)
                lines += "lost" not in entry
                if lost + lines == 8002:
                    trace.socket.settimeout(1)  # No more may come.
        except TimeoutError:
            pass
        print(lost > 1000, lines > 500, lost + lines)
    """)
    assert out == "True True 8002\n"


def test_talk_needs_a_worker_that_goes_on() -> None:
    out = run("""
        connections._watchers.clear()
        print(ask({"do": "talk", "user": "joe"}), len(connections))
    """)
    assert out == "[{'error': 'the worker is about to end'}] 0\n"
