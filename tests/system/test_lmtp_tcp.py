"""lmtpd over TCP with the clients that others wrote: swaks, Cyrus' lmtptest, the standard library."""

from __future__ import annotations

import re
import shutil
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.certificates import make_pair, needs_openssl
from tests.kit.instance import PASSWORD, Instance, free_port

pytestmark = [pytest.mark.system, needs_openssl]
LMTPTEST = Path("/usr/lib/cyrus/bin/lmtptest")
FROM, TO = "sender@example.net", "joe@test.example"
needs_swaks = pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed")
needs_lmtptest = pytest.mark.skipif(not LMTPTEST.exists(), reason="lmtptest is not installed")


class Site:
    """An instance with a door for other machines."""

    def __init__(self, path: Path, *options: str) -> None:
        pair = make_pair(path, "mail.test.example", days=365)
        self.port = free_port()
        self.instance = Instance(
            ["joe", "relay"],
            [
                f"lmtpd-listen 127.0.0.1:{self.port}",
                "admin-users relay",
                f"tls-certificate {pair.certificate}",
                f"tls-key {pair.key}",
                *options,
            ],
        )

    def client(self) -> smtplib.LMTP:
        return smtplib.LMTP("127.0.0.1", self.port, local_hostname="client.example")

    def inbox(self) -> list[bytes]:
        """What joe has received, which is taken away."""
        client = self.instance.imap("joe")
        client.command(b"SELECT INBOX")
        found = client.bodies()
        if found:
            client.command(b"STORE 1:* +FLAGS.SILENT (\\Deleted)")
            client.command(b"EXPUNGE")
        client.logout()
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    path = tmp_path_factory.mktemp("lmtp")
    path.chmod(0o755)
    site = Site(path)
    with site.instance:
        yield site


def run(*command: object, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], input=text, capture_output=True, text=True, timeout=200
    )


def swaks(*options: object) -> subprocess.CompletedProcess[str]:
    return run("swaks", "--protocol", "LMTP", "--from", FROM, "--to", TO, *options)


def credentials(mechanism: str, user: str = "relay", password: str = PASSWORD) -> list[str]:
    return ["--auth", mechanism, "--auth-user", user, "--auth-password", password]


@needs_swaks
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_swaks_logs_in_and_delivers(site: Site, mechanism: str, tls: bool) -> None:
    more = ["--tls"] if tls else []
    done = swaks("--server", "127.0.0.1", "--port", site.port, *credentials(mechanism), *more)
    assert done.returncode == 0 and "250 2.1.5 <joe@test.example> delivered" in done.stdout, done.stdout
    assert ("TLS started with cipher TLSv1.3" in done.stdout) == tls
    [message] = site.inbox()
    assert b"This is a test mailing" in message
    trace, _, _ = message.partition(b";")
    assert b" ([127.0.0.1])\r\n" in trace and (b" with LMTPSA id " if tls else b" with LMTPA id ") in trace


@needs_swaks
def test_swaks_is_turned_away(site: Site) -> None:
    server = ["--server", "127.0.0.1", "--port", site.port]
    for more, answer in (
        ([], "530 5.7.0 authentication is required"),
        (["--tls"], "530 5.7.0 authentication is required"),
        (credentials("PLAIN", "joe"), "535 5.7.1 you may not hand in mail here"),
        (["--tls", *credentials("CRAM-MD5", password="wrong")], "535 5.7.8 authentication failed"),
    ):
        done = swaks(*server, *more)
        assert done.returncode != 0 and answer in done.stdout, done.stdout
    assert site.inbox() == []
    failed = r"event=login-failed .* name=joe mechanism=PLAIN code=NOT-PERMITTED peer=127\.0\.0\.1"
    assert re.search(failed, site.instance.log_text())


@needs_swaks
def test_swaks_delivers_at_the_unix_socket(site: Site) -> None:
    done = swaks("--socket", site.instance.lmtp_path)
    assert done.returncode == 0 and "250 2.1.5 <joe@test.example> delivered" in done.stdout, done.stdout
    assert "STARTTLS" not in done.stdout and "AUTH" not in done.stdout
    [message] = site.inbox()
    assert b" with LMTP id " in message


@needs_lmtptest
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
def test_cyrus_logs_in_and_delivers(site: Site, mechanism: str, tls: bool) -> None:
    said = f"MAIL FROM:<{FROM}>\nRCPT TO:<{TO}>\nDATA\nSubject: by Cyrus\n\ntext\n.\nQUIT\n".replace(
        "\n", "\r\n"
    )
    options = ["-m", mechanism, "-a", "relay", "-u", "relay", "-w", PASSWORD, *(["-t", ""] if tls else [])]
    done = run(LMTPTEST, *options, "-p", site.port, "127.0.0.1", text=said)
    assert "Authenticated." in done.stdout, done.stdout + done.stderr
    assert "250 2.1.5 <joe@test.example> delivered" in done.stdout
    [message] = site.inbox()
    assert message.endswith(b"Subject: by Cyrus\r\n\r\ntext\r\n")


def test_the_standard_library_logs_in_and_delivers(site: Site) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with site.client() as client:
        client.starttls(context=context)
        with pytest.raises(smtplib.SMTPSenderRefused, match="authentication is required"):
            client.sendmail(FROM, [TO], b"Subject: x\r\n\r\nx\r\n")
        assert client.login("relay", PASSWORD)[0] == 235
        assert client.sendmail(FROM, [TO], b"Subject: x\r\n\r\nx\r\n", ["SMTPUTF8"]) == {}
        assert client.mail(FROM, ["AUTH=<>"])[0] == 250
    [message] = site.inbox()
    assert b" with UTF8LMTPSA id " in message
    logged = site.instance.log_text()
    assert re.search(r"event=login .* user=relay mechanism=\S+ peer=127\.0\.0\.1", logged)
    assert re.search(r"event=delivery .* to=joe@test\.example by=relay ", logged)


def test_nothing_said_before_tls_is_obeyed_under_it(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), 20) as client, client.makefile("rb") as lines:
        assert lines.readline().startswith(b"220 ")
        client.sendall(b"STARTTLS\r\nMAIL FROM:<a@b.example>\r\n")
        assert lines.readline().startswith(b"503 5.5.1 nothing may follow STARTTLS")
        client.sendall(b"NOOP\r\n")
        assert lines.readline().startswith(b"250 2.0.0")
    with socket.create_connection(("127.0.0.1", site.port), 20) as client, client.makefile("rb") as lines:
        assert lines.readline().startswith(b"220 ")
        client.sendall(b"STARTTLS\r\n")
        assert lines.readline().startswith(b"220 2.0.0")
        client.sendall(b"NOOP\r\nNOOP\r\n")  # To the TLS engine this is noise, which ends the connection.
        try:
            assert b"250" not in lines.read()
        except ConnectionResetError:
            pass


def test_the_boot_script_asks_at_every_door(site: Site) -> None:
    instance = site.instance
    assert instance.rc("status").returncode == 0
    assert "already running" in instance.rc("start").stdout
    assert instance.rc("configtest").stderr == ""
    text = instance.config.read_text()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))  # It does not listen.
        place = f"127.0.0.1:{other.getsockname()[1]}"
        try:
            instance.config.write_text(text.replace(f"127.0.0.1:{site.port}", place))
            done = instance.rc("start", check=False)
        finally:
            instance.config.write_text(text)
    assert done.returncode != 0
    assert f"lmtpd does not answer on {place}: Connection refused" in done.stderr


def test_one_address_has_its_limit(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    site = Site(tmp_path, "trusted-networks none", "unauthenticated-per-address 2")
    with site.instance as instance:
        both = [socket.create_connection(("127.0.0.1", site.port), 20) for _ in range(2)]
        for client in both:
            assert client.recv(1000).startswith(b"220 ")
        with socket.create_connection(("127.0.0.1", site.port), 20) as third:
            assert third.recv(1000).startswith(b"421 4.3.2 too many connections from your address")
        instance.deliver("joe", b"Subject: x\r\n\r\nx\r\n")  # At the Unix socket nobody is counted.
        for client in both:
            client.close()
