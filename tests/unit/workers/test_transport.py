"""A worker's connections: waiting, time limits, and being closed by somebody else."""

import textwrap

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
        gevent.spawn_later(0.05, theirs.send, b"one")
        gevent.spawn_later(0.10, theirs.send, b"two")
        gevent.spawn_later(0.15, theirs.close)
        print(ours.recv(10), ours.recv(2), ours.recv(10), ours.recv(10))
        ours.close()
        ours.close()
        print(ours.fileno(), outcome(ours.recv, 1))
    """)
    assert out == ["b'one' b'tw' b'o' b''", "-1 EBADF"]


def test_a_read_ends_in_time_however_often_it_was_waited_before() -> None:
    out = run("""
        ours.settimeout(0.2)
        began = time.monotonic()
        for number in range(5):
            gevent.spawn_later(0.1, theirs.send, b"x")
            ours.recv(1)
        print(outcome(ours.recv, 1))
        print(0.65 < time.monotonic() - began < 1.2)
        ours.settimeout(0.05)
        print(outcome(ours.recv, 1), 0.7 < time.monotonic() - began < 1.3)
    """)
    assert out == ["TimeoutError", "True", "TimeoutError True"]


def test_a_limit_made_shorter_holds_at_once_and_one_made_longer_too() -> None:
    out = run("""
        def wait(seconds):
            ours.settimeout(seconds)
            began = time.monotonic()
            found = outcome(ours.recv, 1)
            return found, round(time.monotonic() - began, 1)
        gevent.spawn_later(0.05, theirs.send, b"x")
        print(wait(60)[0], wait(0.1))
        gevent.spawn_later(0.3, theirs.send, b"y")
        print(wait(0.2), wait(1), wait(0.0)[0])
        ours.settimeout(0.1)
        gevent.spawn_later(0.05, theirs.send, b"w")
        ours.recv(1)
        gevent.spawn_later(0.3, theirs.send, b"z")
        print(wait(None)[0])
    """)
    assert out == ["b'x' ('TimeoutError', 0.1)", "('TimeoutError', 0.2) (b'y', 0.1) EAGAIN", "b'z'"]


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
        gevent.spawn(take)
        ours.settimeout(10)
        ours.sendall(data)
        gevent.sleep(0.1)
        print(b"".join(got) == data)
        ours.settimeout(0.1)
        began = time.monotonic()
        print(outcome(ours.sendall, data), 0.05 < time.monotonic() - began < 0.5)
        theirs.close()
        print(outcome(ours.sendall, data))
    """)
    assert out == ["True", "TimeoutError True", "EPIPE"]


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
        print(reader.get(timeout=5), writer.get(timeout=5))
        ours, theirs = pair()
        print(theirs.send(b"next"), ours.recv(10))
    """)
    assert out == ["EBADF EBADF", "4 b'next'"]


def test_what_comes_while_nobody_reads_waits_without_a_loop_spinning() -> None:
    out = run("""
        gevent.spawn_later(0.01, theirs.send, b"one")
        print(ours.recv(10))
        theirs.send(b"two")
        before = time.process_time()
        gevent.sleep(0.3)
        print(time.process_time() - before < 0.1)
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


def test_under_a_stream() -> None:
    out = run("""
        stream = Stream(ours, timeout_s=0.1)
        gevent.spawn_later(0.05, theirs.send, b"a line\\r\\n")
        print(stream.read_line())
        try:
            stream.read_line()
        except TimedOut as error:
            print(error)
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
        print(outcome(connect_unix, path, 0.2), 0.15 < time.monotonic() - began < 1)
        gevent.spawn_later(0.1, listener.accept)
        second = connect_unix(path, 5)
        print(second.fileno() > 0)
    """)
    assert out == ["ENOENT", "ECONNREFUSED", "EAGAIN True", "True"]
