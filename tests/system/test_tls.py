"""TLS with the clients that others wrote: names, both ways in, renewal, refusals; and nothing smuggled in."""

import errno
import re
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.kit.certificates import Pair, make_authority, make_pair, make_signed, needs_openssl
from tests.kit.instance import PASSWORD, Instance, free_port, wait_for

pytestmark = [pytest.mark.system, needs_openssl]
needs_gnutls = pytest.mark.skipif(shutil.which("gnutls-cli") is None, reason="there is no gnutls-cli")


class Site:
    """Certificates, ports and the instance that uses them."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = path
        self.default = make_pair(path, "mail.example")
        self.other = make_pair(path, "other.example", "-sha384", key="rsa")
        self.imaps, self.pop3s = free_port(), free_port()
        self.instance = Instance(
            ["joe"],
            [
                f"tls-certificate {self.default.certificate}",
                f"tls-key {self.default.key}",
                f"tls-sni *.example.org {self.other.certificate} {self.other.key}",
                f"imapd-tls-listen 127.0.0.1:{self.imaps}",
                f"pop3d-tls-listen 127.0.0.1:{self.pop3s}",
                *options,
            ],
        )


def s_client(port: int, *options: str | Path, text: bytes = b"") -> str:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options],
        input=text, capture_output=True, timeout=200,
    )  # fmt: skip
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def connect(port: int, name: str | None = None) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", port), 20)
    return context().wrap_socket(sock, server_hostname=name)


def shown(port: int) -> bytes:
    with connect(port) as client:
        return client.getpeercert(True) or b""


def of(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())


def ask(client: socket.socket, line: bytes, until: bytes) -> bytes:
    client.sendall(line)
    heard = b""
    while until not in heard:
        data = client.recv(65536)
        assert data, heard
        heard += data
    return heard


def test_both_protocols_both_ways_in_by_name(tmp_path: Path) -> None:
    site = Site(tmp_path, "cleartext-login-enable loopback")
    with site.instance as instance:
        ways: list[tuple[int, list[str]]] = [
            (site.imaps, ["-alpn", "imap"]),
            (site.pop3s, ["-alpn", "pop3"]),
            (instance.imap_address[1], ["-starttls", "imap", "-alpn", "imap"]),
            (instance.pop3_address[1], ["-starttls", "pop3", "-alpn", "pop3"]),
        ]
        for port, options in ways:
            for name, subject in (("mx.example.org", "other.example"), ("mail.example", "mail.example")):
                said = s_client(port, *options, "-servername", name)
                assert re.search(rf"^subject=CN ?= ?{subject}$", said, re.MULTILINE), said
                assert f"ALPN protocol: {options[-1]}" in said
                assert "New, TLSv1.3, " in said
        said = s_client(site.imaps, "-tls1_2", "-alpn", "http/1.1")
        assert "No ALPN negotiated" in said and "New, TLSv1.2, " in said
        assert "New, (NONE), Cipher is (NONE)" in s_client(site.imaps, "-tls1_1", "-cipher", "ALL@SECLEVEL=0")
        instance.imap("joe").logout()  # In clear text, from this host.


@needs_gnutls
def test_gnutls_finds_its_way_in(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.instance as instance:
        # Its own STARTTLS for IMAP knows only lists of capabilities that are shorter than ours.
        for options, port, text in (
            ([], site.imaps, b"a LOGIN joe secret\r\nb LOGOUT\r\n"),
            (["--starttls-proto=pop3"], instance.pop3_address[1], b"USER joe\r\nPASS secret\r\nQUIT\r\n"),
        ):
            command = ["gnutls-cli", "--no-ca-verification", *options, f"--port={port}", "localhost"]
            done = subprocess.run(command, input=text, capture_output=True, timeout=200)
            said = done.stdout.decode("utf-8", "replace")
            assert done.returncode == 0 and "TLS1.3" in said
            assert "b OK" in said or "+OK maildrop has" in said


def test_clients_show_certificates(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    joe = make_signed(tmp_path, authority, "/CN=joe", "joe@example.org")
    options = [f"tls-client-ca {authority.certificate}", "tls-client-certificate require"]
    site = Site(tmp_path, *options)
    with site.instance as instance:
        text = b"a LOGIN joe secret\r\nb LOGOUT\r\n"
        given = ["-cert", joe.certificate, "-key", joe.key, "-ign_eof"]
        assert "b OK" in s_client(site.imaps, *given, text=text)
        assert "b OK" not in s_client(site.imaps, "-ign_eof", text=text)
        wait_for(lambda: "event=tls-failed" in instance.log_text(), 30, instance.log_text)


def test_nothing_said_before_tls_is_obeyed_under_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.instance as instance:
        for address, start, smuggled, refused in (
            (instance.imap_address, b"a STARTTLS\r\n", b"b LOGIN joe secret\r\n", b"a BAD "),
            (instance.pop3_address, b"STLS\r\n", b"USER joe\r\nPASS secret\r\n", b"-ERR nothing may follow"),
        ):
            with socket.create_connection(address, 20) as client:
                client.recv(4096)
                said = ask(client, start + smuggled, b"\r\n")
                assert said.startswith(refused)
                # The session goes on in clear text, and what was smuggled is gone.
                said = ask(client, b"c NOOP\r\n" if b"a" in start else b"NOOP\r\n", b"\r\n")
                assert b"b OK" not in said and b"maildrop" not in said
            with socket.create_connection(address, 20) as client:
                client.recv(4096)
                ask(client, start, b"\r\n")
                client.sendall(smuggled)  # To the TLS engine this is noise, which ends the connection.
                heard = b""
                try:
                    while data := client.recv(4096):
                        heard += data
                except ConnectionResetError:
                    pass
                assert b"OK" not in heard


def test_failed_handshakes_are_a_line_each(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.instance as instance:
        noises = {
            "http request": b"GET / HTTP/1.0\r\n\r\n",
            "excessive message size": b"\x16\x03\x01\x02\x00\x01" + b"\xff" * 600,
            "unexpected eof while reading": b"a",
        }
        for noise in noises.values():
            with socket.create_connection(("127.0.0.1", site.imaps), 20) as client:
                client.sendall(noise)
                try:
                    client.shutdown(socket.SHUT_WR)
                except OSError as error:
                    assert error.errno == errno.ENOTCONN, "it may have been closed already"
                try:
                    while client.recv(4096):
                        pass
                except ConnectionResetError:
                    pass
        said = s_client(site.imaps, "-servername", "m\u00fcll.example")
        assert "CONNECTED" in said
        wait_for(lambda: instance.log_text().count("event=tls-failed") >= 4, 30, instance.log_text)
        lines = [line for line in instance.log_text().splitlines() if "event=tls-failed" in line]
        # The workers write when they come to it, in any order.
        reasons = sorted(line.partition(' peer=127.0.0.1 reason="')[2].rstrip('"') for line in lines)
        by_older_python = "TLS/SSL connection has been closed (EOF)"
        eof = "unexpected eof while reading"
        reasons = sorted(eof if reason.startswith(by_older_python) else reason for reason in reasons)
        assert reasons == sorted([*noises, "callback failed"])
        assert s_client(site.imaps).count("BEGIN CERTIFICATE") == 1


def install(live: Path, archive: Path, number: int) -> Pair:
    """As certbot does it: new files under new names, then the links put over to them."""
    (archive / str(number)).mkdir()
    made = make_pair(archive / str(number), "mail.example")
    for name, target in (("cert.pem", made.certificate), ("key.pem", made.key)):
        link = live / f"{name}.new"
        link.symlink_to(target)
        link.rename(live / name)
    return made


def test_renewed_certificates_are_taken_up_and_no_session_ends(tmp_path: Path) -> None:
    """Only who starts the daemons can read the keys; they have given that up by then."""
    live, archive = tmp_path / "live", tmp_path / "archive"
    for path in (live, archive):
        path.mkdir(mode=0o700)
    first = install(live, archive, 1)
    port = free_port()
    files = [f"tls-certificate {live}/cert.pem", f"tls-key {live}/key.pem"]
    with Instance(["joe"], [*files, f"imapd-tls-listen 127.0.0.1:{port}"]) as instance:
        sessions = [connect(port) for _ in range(8)]
        for client in sessions:
            assert client.getpeercert(True) == of(first)
            ask(client, b"a LOGIN joe %b\r\nb SELECT INBOX\r\n" % PASSWORD.encode(), b"b OK")
        second = install(live, archive, 2)
        wait_for(lambda: shown(port) == of(second), 60, instance.log_text)
        for client in sessions:
            assert b"c OK" in ask(client, b"c NOOP\r\n", b"c OK")

        # A reload reads the configuration as well, and finds keys that only storemgr can read.
        third = make_pair(tmp_path, "third.example")
        text = instance.config.read_text()
        instance.config.write_text(text + f"tls-sni third.example {third.certificate} {third.key}\n")
        third.key.chmod(0o600)
        instance.rc("reload")

        def shows_third() -> bool:
            with connect(port, "third.example") as client:
                return client.getpeercert(True) == of(third)

        wait_for(shows_third, 60, instance.log_text)
        for client in sessions:
            assert b"d OK" in ask(client, b"d NOOP\r\n", b"d OK")

        # A key that does not fit is complained of, and nothing changes.
        instance.tolerated.append("event=not-renewed")
        shutil.copy(third.key, live / "wrong.pem")
        (live / "wrong.pem").rename(live / "key.pem")
        wait_for(lambda: "event=not-renewed" in instance.log_text(), 60, instance.log_text)
        assert shown(port) == of(second)
        for client in sessions:
            client.close()
