"""IMAP over TLS against the running daemons: STARTTLS, the TLS port, IDLE, and an end that clients accept."""

import imaplib
import shutil
import socket
import ssl
from pathlib import Path

import pytest

from tests.kit.instance import PASSWORD, Instance, free_port

pytestmark = pytest.mark.system
TLS = Path(__file__).parents[1] / "kit" / "tls"


def idle(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    """A client that idles in INBOX."""
    client = context.wrap_socket(socket.create_connection(("localhost", port)), server_hostname="localhost")
    client.settimeout(20)
    client.sendall(b"a LOGIN joe %b\r\nb SELECT INBOX\r\nc IDLE\r\n" % PASSWORD.encode())
    heard = b""
    while b"+ idling" not in heard:
        heard += client.recv(65536)
    return client


def test_tls_from_the_greeting_to_the_servers_end(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        shutil.copy(TLS / name, tmp_path / name)
    port = free_port()
    options = [
        f"tls-certificate {tmp_path}/cert.pem",
        f"tls-key {tmp_path}/key.pem",
        f"imapd-tls-listen 127.0.0.1:{port}",
        "cleartext-login-enable off",
    ]
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with Instance(["joe"], options) as instance:
        upgraded = imaplib.IMAP4("localhost", instance.imap_address[1])
        assert "X-LOGIN-COMMAND-DISABLED" in upgraded.capabilities
        with pytest.raises(imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
            upgraded.login("joe", PASSWORD)
        upgraded.starttls(context)
        upgraded.login("joe", PASSWORD)
        upgraded.select()
        message = b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 50000
        upgraded.append("INBOX", None, None, message)

        direct = imaplib.IMAP4_SSL("localhost", port, ssl_context=context)
        direct.login("joe", PASSWORD)
        direct.select()
        assert direct.fetch("1", "(BODY.PEEK[])")[1][0][1] == message
        direct.logout()

        idlers = [idle(context, port) for _ in range(20)]
        upgraded.append("INBOX", None, None, b"Subject: y\r\n\r\n")
        for client in idlers:
            assert b"* 2 EXISTS" in client.recv(1000)
        upgraded.logout()
        instance.stop()
        for client in idlers:
            heard = b""
            while data := client.recv(1000):  # ends with close_notify, not with an alert or a reset
                heard += data
            assert b"* BYE [UNAVAILABLE] " in heard
            client.close()
