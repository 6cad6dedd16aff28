"""The mechanism rimap against Debian's dovecot, run privately on loopback, and against dead ends."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mstore.base.errors import Unavailable
from tests.kit.asking import ask
from tests.kit.dovecot import dovecot, needs_dovecot
from tests.kit.instance import Instance, free_port, wait_for

ODD = {
    "joe": "secret",
    "quote": 'a"b\\c',
    "space": " two  words ",
    "umlaut": "p\u00e4ssw\u00f6rd\u20ac",
    "brace": "x {3}",
    "inject": '" OK',
    "long": "x" * 900,
}


def configure(store: Instance, *lines: str) -> None:
    text = "".join(f"{line}\n" for line in lines)
    store.config.write_text(store.config.read_text() + text)


class TestDovecot:
    pytestmark = needs_dovecot

    def test_whoever_may_log_in_there_may_log_in_here_whatever_his_password_is(
        self, make_store: Callable[..., Instance]
    ) -> None:
        store = make_store(list(ODD))
        with dovecot(ODD) as remote:
            configure(store, "authproxy-authmech rimap", f"authproxy-rimap-host 127.0.0.1/{remote.port}")
            with store:
                for login, password in ODD.items():
                    assert ask(store, login, password).ok, login
                    assert not ask(store, login, password + "x").ok, login
                assert not ask(store, "joe", '" OK').ok
                assert not ask(store, "nobody", "secret").ok
                client = store.imap("joe")
                client.logout()
                wait_for(lambda: "user=<joe>" in remote.log_text(), 30, remote.log_text)
                said = remote.log_text()
                assert "user=<nobody>" not in said, "it was asked about a stranger"

    def test_tls_is_used_where_it_is_offered_and_the_certificate_is_checked(
        self, make_store: Callable[..., Instance]
    ) -> None:
        store = make_store(["joe"])
        store.tolerated.append("event=login-unavailable .*rimap: ")
        with dovecot(ODD, ssl="yes", closed="yes") as remote:
            shutil.copy(remote.path / "cert.pem", store.path / "ca.pem")
            text = store.config.read_text()
            host = f"authproxy-authmech rimap\nauthproxy-rimap-host localhost/{remote.port}\n"
            store.config.write_text(text + host)
            with_ca = f"authproxy-rimap-tls-ca {store.path}/ca.pem\n"
            immediate = host.replace(f"/{remote.port}", f"/{remote.tls_port}")
            immediate += "authproxy-rimap-tls immediate\n"
            # to its own address dovecot allows a plain LOGIN in any case
            elsewhere = host.replace("localhost", "127.0.0.2")
            with store:
                for lines, works in (
                    (host, False),  # nobody we trust has signed it
                    (host + with_ca, True),
                    (host.replace("localhost", "127.0.0.1") + with_ca, False),  # not the name in it
                    (host + "authproxy-rimap-tls-verify off\n", True),
                    (host + with_ca + "authproxy-rimap-tls required\n", True),
                    (elsewhere + "authproxy-rimap-tls off\n", False),  # LOGINDISABLED
                    (immediate + with_ca, True),
                ):
                    store.config.write_text(text + lines)
                    store.rc("reload")
                    # who is restarted again and again is slowed down
                    wait_for((store.ms_path / "ipc" / "authproxyd").exists, 60, store.log_text)
                    if works:
                        assert ask(store, "joe", "secret").ok, lines
                        assert not ask(store, "joe", "wrong").ok, lines
                    else:
                        with pytest.raises(Unavailable):
                            ask(store, "joe", "secret")
                log = store.log_text()
                assert "certificate verify failed" in log and "LOGINDISABLED" in log
                assert "secret" not in log.replace("PASSWORD", "")

    def test_required_tls_that_is_not_offered_means_no_login(
        self, make_store: Callable[..., Instance]
    ) -> None:
        store = make_store(["joe"])
        store.tolerated.append("does not offer STARTTLS")
        with dovecot(ODD) as remote:
            configure(
                store, "authproxy-authmech rimap", f"authproxy-rimap-host 127.0.0.1/{remote.port}",
                "authproxy-rimap-tls required",
            )  # fmt: skip
            with store, pytest.raises(Unavailable):
                ask(store, "joe", "secret")

    def test_accounts_migrate_from_an_old_server(self, make_store: Callable[..., Instance]) -> None:
        store = make_store(["ann"])
        with dovecot(ODD) as remote:
            configure(
                store, "authproxy-legacy-authmech rimap", f"authproxy-rimap-host 127.0.0.1/{remote.port}"
            )
            with store:
                assert not ask(store, "joe", "wrong").ok
                client = store.imap("joe")
                client.logout()
                assert "joe" in store.msadm("user", "list").stdout
                remote.stop()
                assert ask(store, "joe", "secret").ok, "the old server is needed no more"


@contextmanager
def tarpit() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:

        def take() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


def test_a_server_that_does_not_answer_delays_nobody_else(make_store: Callable[..., Instance]) -> None:
    with tarpit() as port:
        store = make_store(
            ["joe"], ["authproxy-legacy-authmech rimap", f"authproxy-rimap-host 127.0.0.1/{port}"]
        )
        store.tolerated.append("event=login-unavailable .*rimap")
        with store:
            ask(store, "joe", "secret")
            waiting = []
            for number in range(80):
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(str(store.ms_path / "ipc" / "authproxyd"))
                connection.sendall(b"AUTHENTICATE stranger%d x\r\n" % number)
                waiting.append(connection)
            time.sleep(0.5)
            took = []
            for _ in range(7):
                began_s = time.monotonic()
                assert ask(store, "joe", "secret").ok
                took.append(time.monotonic() - began_s)
            assert sorted(took)[3] < 2 and max(took) < 14, f"as long as who waits for the other: {took}"
            began_s = time.monotonic()
            assert not ask(store, "joe", "wrong").ok
            assert time.monotonic() - began_s < 14
            answers = set()
            for connection in waiting:
                connection.settimeout(40)
                answers.add(connection.recv(100))
                connection.close()
            assert answers == {b"NO authentication is not possible just now"}


def test_nobody_there_is_told_apart_from_a_wrong_password(make_store: Callable[..., Instance]) -> None:
    port = free_port()
    store = make_store(["joe"], ["authproxy-authmech rimap", f"authproxy-rimap-host 127.0.0.1/{port}"])
    store.tolerated += ["event=login-unavailable "]
    with store:
        with pytest.raises(Unavailable):
            ask(store, "joe", "secret")
        assert f"rimap: 127.0.0.1/{port}: Connection refused" in store.log_text()
        client = store.imap()
        client.send(b"1 LOGIN joe secret\r\n")
        assert b"1 NO [UNAVAILABLE]" in client.until(b"1 ")
        client.close()
