"""A worker's connections: waiting, time limits, and being closed by somebody else."""

import textwrap
from pathlib import Path

from tests.kit.certificates import make_pair
from tests.unit.workers.test_cooperative import run as run_cooperative

PRELUDE = """
import errno, socket, time, gevent
from workers.transport import Transport, connect_unix
from mstore.net.stream import Stream, Disconnected, TimedOut
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    made = socket.SocketType(ours.family, ours.type, ours.proto, ours.detach())
    return Transport(made), theirs
def outcome(function, *args):
    try:
        return function(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
ours, theirs = pair()
gevent.sleep(0)  # The loop's clock stood still while all that was imported.
"""


def run(body: str) -> list[str]:
    return run_cooperative(textwrap.dedent(PRELUDE) + textwrap.dedent(body)).split("\n")[:-1]


def test_reading_waits_and_lets_the_others_run() -> None:
    out = run("""
        def after(act, *words):
            gevent.spawn_later(0.05, act, *words)
            return ours
        print(after(theirs.send, b"one").recv(10), after(theirs.send, b"two").recv(2), ours.recv(10),
              after(theirs.close).recv(10))
        ours.close()
        ours.close()
        print(ours.fileno(), outcome(ours.recv, 1))
    """)
    assert out == ["b'one' b'tw' b'o' b''", "-1 EBADF"]


def test_a_read_ends_in_time_however_often_it_was_waited_before() -> None:
    out = run("""
        ours.settimeout(2)
        began = time.monotonic()
        for number in range(4):
            gevent.spawn_later(0.6, theirs.send, b"x")
            ours.recv(1)
        print(outcome(ours.recv, 1))
        print(4.3 < time.monotonic() - began < 60)
        ours.settimeout(0.05)
        began = time.monotonic()
        print(outcome(ours.recv, 1), 0.04 < time.monotonic() - began < 30)
    """)
    assert out == ["TimeoutError", "True", "TimeoutError True"]


def test_a_limit_made_shorter_holds_at_once_and_one_made_longer_too() -> None:
    out = run("""
        def wait(seconds):
            ours.settimeout(seconds)
            began = time.monotonic()
            found = outcome(ours.recv, 1)
            took = time.monotonic() - began
            return found, seconds is None or found != "TimeoutError" or seconds - 0.02 < took < seconds + 40
        gevent.spawn_later(0.05, theirs.send, b"x")
        print(wait(120)[0], wait(0.1))
        print(wait(0.2))
        gevent.spawn_later(0.3, theirs.send, b"y")
        print(wait(60), wait(0.0)[0])
        gevent.spawn_later(0.05, theirs.send, b"w")
        print(wait(1)[0])
        gevent.spawn_later(1.2, theirs.send, b"z")
        print(wait(None)[0])
    """)
    assert out == [
        "b'x' ('TimeoutError', True)", "('TimeoutError', True)", "(b'y', True) EAGAIN", "b'w'", "b'z'",
    ]  # fmt: skip


def test_much_is_sent_as_it_is_taken_in_time() -> None:
    out = run("""
        data = bytes(range(256)) * 20000
        got = []
        def take():
            theirs.setblocking(False)
            while sum(map(len, got)) < len(data):
                try:
                    got.append(theirs.recv(300000))
                except BlockingIOError:
                    gevent.sleep(0.001)
        taking = gevent.spawn(take)
        ours.settimeout(40)
        ours.sendall(data)
        taking.join(40)
        print(b"".join(got) == data)
        ours.settimeout(0.1)
        began = time.monotonic()
        print(outcome(ours.sendall, data), 0.05 < time.monotonic() - began < 30)
        theirs.close()
        print(outcome(ours.sendall, data))
    """)
    assert out == ["True", "TimeoutError True", "EPIPE"]


STALL = """
from mstore.net.stream import Stalled
def stall(stream, before=0):
    taken = []
    def take():
        theirs.setblocking(False)
        while len(taken) < before:
            gevent.sleep(0.1)
            try:
                taken.append(theirs.recv(200000))
            except BlockingIOError:
                pass
    gevent.spawn(take)
    began = time.monotonic()
    try:
        while True:
            stream.write(b"x" * 400000)
            stream.flush()
    except Stalled as error:
        return str(error), stream.is_stalled, time.monotonic() - began
"""


def test_who_takes_nothing_is_given_up_long_before_who_says_nothing() -> None:
    out = run(
        STALL
        + textwrap.dedent("""
        ours.send_timeout_s = 0.3
        stream = Stream(ours, timeout_s=3600)
        silent = gevent.spawn(stream.read_line)
        *said, took_s = stall(stream)
        print(said, 0.25 < took_s < 40, silent.ready())
    """)
    )
    assert out == ["['the client takes no data', True] True False"]


def test_who_takes_something_now_and_then_is_not() -> None:
    out = run(
        STALL
        + textwrap.dedent("""
        ours.send_timeout_s = 2
        text, stalled, took_s = stall(Stream(ours, timeout_s=3600), before=25)
        print(stalled, took_s >= 4.4)
    """)
    )
    assert out == ["True True"]


def test_the_same_under_tls(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "mail.example")
    out = run(
        STALL
        + textwrap.dedent(f"""
        import ssl, threading
        from pathlib import Path
        from mstore.base.options import Settings
        from mstore.net.tls import make_context
        from workers.connections import start_tls
        context = make_context(Settings(tls_certificate=Path({str(pair.certificate)!r}),
                                        tls_key=Path({str(pair.key)!r})))
        client = ssl.create_default_context()
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        thread = threading.Thread(target=lambda: kept.append(client.wrap_socket(theirs)))
        kept = []
        thread.start()
        ours.send_timeout_s = 0.3
        secured = start_tls(ours, context)
        stream = Stream(secured, tls=True, timeout_s=3600, wrap_tls=start_tls)
        stream.timeout_s = 3600
        thread.join()
        theirs = kept[0]
        *said, took_s = stall(stream)
        print(said, 0.25 < took_s < 40)
    """)
    )
    assert out == ["['the client takes no data', True] True"]


def test_a_session_whose_client_takes_nothing_is_ended_and_logged() -> None:
    out = run("""
        import os
        from mstore.base.log import Log
        from workers.connections import Connections
        from workers.listeners import Listener
        from workers.scoreboard import Scoreboard
        class Talker:
            idle, user, id = False, "joe", "4711"
            def __init__(self, stream):
                self.stream = stream
            def run(self):
                try:
                    self.stream.write(b"x" * 9000000)
                except Exception as error:
                    print(type(error).__name__)
            def stop(self):
                pass
        def make(sock, peer, listener):
            stream = Stream(sock, peer, timeout_s=3600)
            return stream, Talker(stream)
        door = socket.create_server(("127.0.0.1", 0))
        read, write = os.pipe()
        slot = Scoreboard(1).slots[0]
        connections = Connections([Listener(door)], make, None, slot, Log(write), None, 0.3)
        connections.start()
        client = socket.create_connection(door.getsockname())
        deadline = time.monotonic() + 40
        while not slot.get("connections") or (len(connections) and time.monotonic() < deadline):
            gevent.sleep(0.05)
        line = os.read(read, 4096).decode()
        print(len(connections), line[line.index("event="):].replace(f" pid={os.getpid()}", ""), end="")
    """)
    assert out == ["Stalled", "0 event=session-stalled session=4711 user=joe peer=127.0.0.1"]


def test_one_reads_while_another_writes() -> None:
    out = run("""
        data = b"x" * 5000000
        reader = gevent.spawn(ours.recv, 10)
        writer = gevent.spawn(ours.sendall, data)
        gevent.sleep(0.05)
        print(outcome(ours.recv, 1), outcome(ours.sendall, data))
        theirs.send(b"hello")
        print(reader.get(), writer.ready())
        left = len(data)
        while left:
            theirs.setblocking(False)
            try:
                left -= len(theirs.recv(1000000))
            except BlockingIOError:
                gevent.sleep(0.001)
        print(writer.get(), writer.ready())
    """)
    assert out == ["EALREADY EALREADY", "b'hello' False", "None True"]


def test_who_waits_for_a_connection_that_is_closed_is_told() -> None:
    out = run("""
        reader = gevent.spawn(outcome, ours.recv, 10)
        writer = gevent.spawn(outcome, ours.sendall, b"x" * 5000000)
        gevent.sleep(0.05)
        ours.close()
        print(reader.get(timeout=30), writer.get(timeout=30))
        ours, theirs = pair()
        print(theirs.send(b"next"), ours.recv(10))
    """)
    assert out == ["EBADF EBADF", "4 b'next'"]


def test_what_comes_while_nobody_reads_waits_without_a_loop_spinning() -> None:
    out = run("""
        gevent.spawn_later(0.01, theirs.send, b"one")
        print(ours.recv(10))
        theirs.send(b"two")
        loop = gevent.get_hub().loop
        before = loop.iteration
        gevent.sleep(0.3)
        print(loop.iteration - before < 20)
        print(ours.recv(10))
        gevent.spawn_later(0.05, theirs.send, b"three")
        print(ours.recv(10))
    """)
    assert out == ["b'one'", "True", "b'two'", "b'three'"]


def test_a_descriptor_used_again_is_watched_again() -> None:
    out = run("""
        for number in range(50):
            ours, theirs = pair()
            gevent.spawn_later(0.001, theirs.send, b"%d" % number)
            assert ours.recv(10) == b"%d" % number
            gevent.spawn(ours.close)
            gevent.sleep(0.001 if number % 2 else 0)
        print("done")
    """)
    assert out == ["done"]


HELD_UP = """
import subprocess, sys
def beside(code):
    # What another process does to the other end while this one as a whole gets no further.
    code = "import socket, sys, time\\ntheirs = socket.socket(fileno=int(sys.argv[1]))\\n" + code
    command = [sys.executable, "-c", code, str(theirs.fileno())]
    return subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE)
def held_up(peer):
    # Until that is done and the limit of who waits is over as well.
    peer.wait(40)
    time.sleep(0.5)
"""


def test_who_spoke_in_time_is_heard_though_this_process_was_held_up_beyond_the_limit() -> None:
    out = run(
        HELD_UP
        + textwrap.dedent("""
        ours.settimeout(0.4)
        reader = gevent.spawn(outcome, ours.recv, 10)
        gevent.sleep(0)
        held_up(beside("theirs.sendall(b'in time')"))
        print(reader.get())
        reader = gevent.spawn(outcome, ours.recv, 10)
        gevent.sleep(0)
        held_up(beside("theirs.shutdown(socket.SHUT_WR)"))
        print(reader.get())
        """)
    )
    assert out == ["b'in time'", "b''"]


def test_who_took_something_in_time_is_sent_the_rest_though_this_process_was_held_up() -> None:
    out = run(
        HELD_UP
        + textwrap.dedent("""
        ours.send_timeout_s = 0.4
        writer = gevent.spawn(outcome, ours.sendall, b"x" * 300000)
        gevent.sleep(0)
        peer = beside("left = 300000\\nwhile left > 100000:\\n left -= len(theirs.recv(100000))")
        held_up(peer)
        theirs.setblocking(False)
        def take():
            while not writer.ready():
                try:
                    theirs.recv(100000)
                except BlockingIOError:
                    gevent.sleep(0.001)
        gevent.spawn(take)
        print(writer.get(timeout=40))
        """)
    )
    assert out == ["None"]


def test_under_a_stream() -> None:
    out = run("""
        stream = Stream(ours, timeout_s=60)
        gevent.spawn_later(0.05, theirs.send, b"a line\\r\\n")
        print(stream.read_line())
        stream.timeout_s = 0.1
        try:
            stream.read_line()
        except TimedOut as error:
            print(error)
        stream.timeout_s = 60
        gevent.spawn_later(0.05, stream.interrupt)
        print(stream.read_line())
    """)
    assert out == ["b'a line\\r\\n'", "the client is silent", "b''"]


def test_connecting_where_nobody_is_and_where_the_queue_is_full(tmp_path: object) -> None:
    out = run(f"""
        path = {str(tmp_path)!r} + "/socket"
        print(outcome(connect_unix, path, 1))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        print(outcome(connect_unix, path, 1))
        listener.listen(0)
        first = connect_unix(path, 1)
        began = time.monotonic()
        print(outcome(connect_unix, path, 0.2), 0.15 < time.monotonic() - began < 30)
        gevent.spawn_later(0.1, listener.accept)
        second = connect_unix(path, 40)
        print(second.fileno() > 0)
    """)
    assert out == ["ENOENT", "ECONNREFUSED", "EAGAIN True", "True"]
