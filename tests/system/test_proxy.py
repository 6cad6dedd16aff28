"""Connections that a proxy passes on: by headers written here, and by Debian's haproxy."""

import imaplib
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.kit.instance import PASSWORD, Instance, free_port, wait_for

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


def proxied(*options: str) -> tuple[Instance, tuple[str, int]]:
    """A store with one more listener, for a proxy."""
    port = free_port()
    store = Instance(["joe"], list(options))
    text = store.config.read_text()
    ours = f"imapd-listen 127.0.0.1:{store.imap_address[1]}"
    assert ours in text
    store.config.write_text(
        text.replace(ours, f"{ours} 127.0.0.1:{port}") + f"proxy-listen 127.0.0.1:{port}\n"
    )
    return store, ("127.0.0.1", port)


LOGIN = b"a LOGIN joe secret\r\nb LOGOUT\r\n"


def greeted(address: tuple[str, int], header: bytes, commands: bytes = LOGIN) -> bytes:
    with socket.create_connection(address, 20) as sock:
        sock.sendall(header + commands)
        data = b""
        while more := sock.recv(4096):
            data += more
        return data


def test_the_address_is_the_clients_in_logs_and_limits() -> None:
    store, address = proxied("connections-per-address 2", "trusted-networks 192.0.2.99")
    with store:
        assert b"a OK" in greeted(address, b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 143\r\n")
        assert "user=joe mechanism=LOGIN peer=192.0.2.7" in store.log_text()
        assert b"a OK" in greeted(address, b"PROXY UNKNOWN\r\n")
        with pytest.raises(ConnectionResetError):
            greeted(address, b"")
        assert "event=proxy-header" in store.log_text()
        header = b"PROXY TCP4 192.0.2.8 192.0.2.1 5000 143\r\n"
        held = []
        for _ in range(2):
            held.append(socket.create_connection(address, 20))
            held[-1].sendall(header)
            assert held[-1].recv(100).startswith(b"* OK")
        assert greeted(address, header, b"").startswith(b"* BYE [UNAVAILABLE]")
        assert b"a OK" in greeted(address, b"PROXY TCP4 192.0.2.9 192.0.2.1 5000 143\r\n")
        for sock in held:
            sock.close()
        client = store.imap("joe")  # The other listener is as before.
        client.close()
        assert store.rc("status").returncode == 0


def test_a_listener_that_is_none_is_named_by_configtest() -> None:
    with Instance(["joe"]) as store:
        store.config.write_text(store.config.read_text() + "proxy-listen 127.0.0.1:1\n")
        tested = store.rc("configtest", check=False)
        assert tested.returncode == 1 and "proxy-listen: nobody listens on 127.0.0.1:1" in tested.stderr


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy(tmp_path: Path, version: str) -> None:
    store, address = proxied()
    front = free_port()
    (tmp_path / "haproxy.cfg").write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"
        f"listen imap\n bind 127.0.0.1:{front}\n server one {address[0]}:{address[1]} check {version}\n"
    )
    with store:
        proxy = subprocess.Popen([HAPROXY or "", "-db", "-f", tmp_path / "haproxy.cfg"])
        try:
            wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", front)) == 0, 20, lambda: "no haproxy")
            client = imaplib.IMAP4("127.0.0.1", front, timeout=20)
            assert client.login("joe", PASSWORD)[0] == "OK"
            client.logout()
            # From an address that is not the proxy's own.
            outside = socket.create_connection(("127.0.0.1", front), 20, source_address=("127.0.0.77", 0))
            with outside:
                outside.sendall(b"a LOGIN joe secret\r\nb LOGOUT\r\n")
                while outside.recv(4096):
                    pass
            assert "peer=127.0.0.77" in store.log_text()
        finally:
            proxy.terminate()
            proxy.wait(10)
