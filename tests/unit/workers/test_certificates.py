"""A daemon and its certificates: sessions resumed by any worker, reloads, handshakes that take too long."""

import os
import signal
import ssl
from pathlib import Path

from tests.kit.certificates import make_pair, needs_openssl
from tests.unit.workers.running import connect, free_port, greet, read_line, started, wait_for
from tests.unit.workers.test_confine import make_site
from tests.unit.workers.test_cooperative import run

pytestmark = needs_openssl

ECHO = "tests.unit.workers.echo"


def client_context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def test_a_session_is_resumed_by_every_worker_and_by_those_that_follow(reachable: Path) -> None:
    site = make_site(reachable)
    pair, port = make_pair(reachable, "mail.example"), free_port()
    lines = [f"tls-certificate {pair.certificate}", f"tls-key {pair.key}"]
    text = site.config.read_text().replace("imapd-workers 1", "imapd-workers 2")
    site.config.write_text("\n".join([text, *lines, f"imapd-tls-listen 127.0.0.1:{port}", ""]))
    context = client_context()

    def come(session: ssl.SSLSession | None) -> tuple[int, bool, ssl.SSLSession]:
        with context.wrap_socket(connect(port), session=session) as client:
            pid = int(read_line(client).split()[1])
            assert client.session is not None
            return pid, bool(client.session_reused), client.session

    with started(site, ECHO) as running:
        wait_for(lambda: "event=ready" in running.text())
        first, reused, session = come(None)
        assert not reused
        pids = set[int]()
        for _ in range(100):
            pid, reused, _ = come(session)
            assert reused
            pids.add(pid)
            if len(pids) == 2:
                break
        assert len(pids) == 2
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: {child.pid for child in running.children()} - pids)
        for _ in range(100):
            pid, reused, _ = come(session)
            assert reused
            if pid not in pids:
                break
        assert pid not in pids
        assert running.stop() == 0


def test_a_reload_without_the_right_to_read_keys_keeps_what_there_is(reachable: Path) -> None:
    site = make_site(reachable)
    pair, other = make_pair(reachable, "mail.example"), make_pair(reachable, "other.example")
    lines = [f"tls-certificate {pair.certificate}", f"tls-key {pair.key}"]
    site.config.write_text("\n".join([site.config.read_text(), *lines, ""]))

    def start_tls() -> bytes | None:
        plain, _ = greet(site.port)
        plain.sendall(b"tls\n")
        assert read_line(plain) == b"go\n"
        with client_context().wrap_socket(plain) as client:
            return client.getpeercert(True)

    with started(site, ECHO) as running:
        wait_for(lambda: "event=ready" in running.text())
        before = start_tls()
        for path in (pair.key, other.key):
            path.chmod(0)
        running.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: "event=retired" in running.text())
        assert "event=certificates-kept" in running.text()
        assert start_tls() == before
        # Other certificates than those that there are cannot be had in this way.
        site.config.write_text(site.config.read_text().replace(str(pair.key), str(other.key)))
        running.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: "event=not-reloaded" in running.text())
        assert f"cannot read {other.key}" in running.text()
        assert start_tls() == before
        assert running.stop() == 0


def test_a_handshake_may_take_so_long_and_no_longer(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "mail.example")
    out = run(f"""
        import socket, time
        from pathlib import Path
        import gevent
        from mstore.base.options import Settings
        from mstore.net.tls import make_context
        from workers import connections
        from workers.transport import Transport
        connections.HANDSHAKE_S = 0.5
        context = make_context(Settings(tls_certificate=Path({str(pair.certificate)!r}),
                                        tls_key=Path({str(pair.key)!r})))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        hello = b"\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03" + bytes(400)

        def drip():
            for byte in hello:
                gevent.sleep(0.2)
                theirs.send(bytes([byte]))

        gevent.spawn(drip)
        sock = socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, ours.detach())
        began = time.monotonic()
        try:
            connections.start_tls(Transport(sock), context)
        except OSError as error:
            print(type(error).__name__, error, time.monotonic() - began < 40)
    """)
    assert out == "TimeoutError timed out True\n"
