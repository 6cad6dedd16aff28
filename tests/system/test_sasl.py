"""SASL with real daemons: other people's clients, channel bindings, access tokens, plugins."""

from __future__ import annotations

import base64
import imaplib
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mstore.auth.frames import HELLO, NO, OK, START, Frames, pack
from tests.kit.clients import Pop3, closed, raw
from tests.kit.instance import PASSWORD, ROOT, Instance

TLS = ROOT / "tests" / "kit" / "tls"
CYRUS = Path("/usr/lib/cyrus/bin")
ALL_ON = [
    f"tls-certificate {TLS / 'cert.pem'}",
    f"tls-key {TLS / 'key.pem'}",
    "sasl-enable-digest-md5 on",
    "sasl-enable-scram-sha-1 on",
    "sasl-enable-scram-sha-512 on",
]
LIMIT_S = 200


def needs(program: str) -> pytest.MarkDecorator:
    """Skips a test where the program is not installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.fixture(scope="module")
def generous() -> Iterator[Instance]:
    """Everything is switched on; root is an administrator."""
    with Instance(["joe", "root"], [*ALL_ON, "admin-users root"]) as instance:
        yield instance


def run(*command: object, text: str = "") -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, input=text, capture_output=True, text=True, timeout=LIMIT_S)


# Cyrus SASL


@pytest.mark.skipif(not (CYRUS / "imtest").exists(), reason="imtest is not installed")
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "mechanism",
    ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"],
)
def test_cyrus_sasl(generous: Instance, mechanism: str, tls: bool) -> None:
    for program, address in (("imtest", generous.imap_address), ("pop3test", generous.pop3_address)):
        command = [CYRUS / program, "-m", mechanism, "-a", "joe", "-u", "joe", "-p", address[1]]
        more = ["-t", ""] if tls else []
        quit_text = "Q LOGOUT\r\n" if program == "imtest" else "QUIT\r\n"
        done = run(*command, "-w", PASSWORD, *more, "127.0.0.1", text=quit_text)
        assert "Authenticated." in done.stdout, done.stdout + done.stderr
        if mechanism == "CRAM-MD5":
            continue
        as_joe = run(*command[:3], "-a", "root", "-u", "joe", *command[7:], "-w", PASSWORD, *more, "127.0.0.1", text=quit_text)  # fmt: skip  # noqa: E501
        assert mechanism == "LOGIN" or "Authenticated." in as_joe.stdout, as_joe.stdout
    assert "user=joe by=root" in generous.log_text() or mechanism in ("LOGIN", "CRAM-MD5")


@pytest.mark.skipif(not (CYRUS / "imtest").exists(), reason="imtest is not installed")
@pytest.mark.parametrize("mechanism", ["CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256"])
def test_cyrus_sasl_with_a_wrong_password(generous: Instance, mechanism: str) -> None:
    command = (CYRUS / "imtest", "-m", mechanism, "-a", "joe", "-p", generous.imap_address[1], "127.0.0.1")
    done = run(*command, "-w", "wrong", text="Q LOGOUT\r\n")
    assert "Authentication failed" in done.stdout and "Authenticated." not in done.stdout
    assert "NO [AUTHENTICATIONFAILED]" in done.stdout


# GNU SASL, which binds itself to the channel


@needs("gsasl")
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_gnu_sasl_binds_itself_to_the_channel(generous: Instance, mechanism: str, password: str) -> None:
    done = run(
        "gsasl", "--client", "--imap", "--mechanism", mechanism, "--authentication-id", "joe",
        "--authorization-id", "joe", "--password", password, "--starttls",
        f"--x509-ca-file={TLS / 'cert.pem'}", "--service=imap", "--hostname=mail.example.org",
        "127.0.0.1", generous.imap_address[1], text="Q LOGOUT\r\n",
    )  # fmt: skip
    assert ("Client authentication finished (server trusted)" in done.stderr) == (password == PASSWORD)
    first = next(line for line in done.stdout.splitlines() if line.startswith("cD"))
    assert base64.b64decode(first).startswith(b"p=tls-exporter,a=joe,n=joe,")


# mpop, curl


@needs("mpop")
@pytest.mark.parametrize(
    "method", ["user", "apop", "plain", "login", "cram-md5", "digest-md5", "scram-sha-1", "scram-sha-256"]
)
def test_mpop(generous: Instance, tmp_path: Path, method: str) -> None:
    command = (
        "mpop", "--host=127.0.0.1", f"--port={generous.pop3_address[1]}", "--user=joe", f"--auth={method}",
        "--tls=off", f"--deliver=mbox,{tmp_path / 'mbox'}", f"--uidls-file={tmp_path / 'uidls'}",
    )  # fmt: skip
    done = run(*command, f"--passwordeval=echo {PASSWORD}")
    assert done.returncode == 0 and "no messages" in done.stdout, done.stderr
    done = run(*command, "--passwordeval=echo wrong")
    assert done.returncode == 77 and "authentication failed" in done.stderr  # EX_NOPERM


@needs("curl")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5"])
def test_curl(generous: Instance, mechanism: str) -> None:
    for address in (generous.imap_address, generous.pop3_address):
        url = f"{'imap' if address == generous.imap_address else 'pop3'}://127.0.0.1:{address[1]}/"
        command = ("curl", "-s", "--login-options", f"AUTH={mechanism}", url)
        assert run(*command, "--user", f"joe:{PASSWORD}").returncode == 0
        assert run(*command, "--user", "joe:wrong").returncode == 67


@needs("curl")
def test_access_tokens_with_curl(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    keys = tmp_path / "keys.pem"
    keys.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    options = [
        f"oauth-key {keys}",
        "oauth-issuer https://login.test.example/",
        "oauth-audience mail.test.example",
        "oauth-configuration-url https://login.test.example/.well-known/openid-configuration",
    ]
    claims = {"iss": "https://login.test.example/", "aud": "mail.test.example", "email": "joe@test.example"}
    token = jwt.encode({**claims, "exp": time.time() + 600}, key, "ES256")
    old = jwt.encode({**claims, "exp": time.time() - 600}, key, "ES256")
    with Instance(["joe"], options) as store:
        for mechanism in ("OAUTHBEARER", "XOAUTH2"):
            for scheme, address in (("imap", store.imap_address), ("pop3", store.pop3_address)):
                url = f"{scheme}://127.0.0.1:{address[1]}/"
                command = ("curl", "-sv", "--user", "joe:", "--login-options", f"AUTH={mechanism}", url)
                done = run(*command, "--oauth2-bearer", token)
                assert done.returncode == 0, done.stderr
                done = run(*command, "--oauth2-bearer", old)
                assert done.returncode == 67, done.stderr
        client = imaplib.IMAP4(*store.imap_address)
        seen = []
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            answers = [f"n,,\1auth=Bearer {old}\1\1".encode(), b"\1"]
            client.authenticate("OAUTHBEARER", lambda challenge: (seen.append(challenge), answers.pop(0))[1])
        assert json.loads(seen[1])["status"] == "invalid_token"
        client.logout()


# plugins


def capabilities(store: Instance) -> tuple[str, ...]:
    client = imaplib.IMAP4(*store.imap_address)
    client.logout()
    return client.capabilities


def connect_where(store: Instance, capability: str) -> imaplib.IMAP4:
    """A connection where this is announced, which is waited for."""
    until_s = time.monotonic() + 30
    while capability not in (client := imaplib.IMAP4(*store.imap_address)).capabilities:
        client.logout()
        assert time.monotonic() < until_s, f"{capability} is not announced"
    return client


def connect_by_pop3_where(store: Instance, capability: bytes) -> Pop3:
    """The same by POP3."""
    until_s = time.monotonic() + 30
    while capability not in (client := store.pop3()).many(b"CAPA"):
        client.close()
        assert time.monotonic() < until_s, f"{capability!r} is not offered"
    return client


def test_a_plugin_is_announced_and_used_by_imapd_and_pop3d(tmp_path: Path) -> None:
    base = Path("/tmp") / f"ms-plugins-{os.getpid()}"
    plugins = base / "lib" / "plugins"
    plugins.mkdir(parents=True)
    try:
        for step in (base, base / "lib", plugins):
            step.chmod(0o755)
        shutil.copy(ROOT / "conf" / "plugins" / "x-ticket.py", plugins)
        (plugins / "x-ticket.py").chmod(0o644)
        (base / "lib" / "tickets").write_text("joe opensesame\n")
        (base / "lib" / "tickets").chmod(0o600)
        with Instance(["joe"], [f"executable-base-path {base}"]) as store:
            ticket = base64.b64encode(b"joe opensesame")
            # Each worker learns of it by itself: one may know it before another.
            imap = connect_where(store, "AUTH=X-TICKET")
            assert imap.authenticate("X-TICKET", lambda challenge: b"joe opensesame")[0] == "OK"
            imap.logout()
            pop3 = connect_by_pop3_where(store, b"X-TICKET")
            pop3.command(b"AUTH X-TICKET " + ticket)
            pop3.close()
            assert "mechanism=X-TICKET" in store.log_text()
        with Instance(["joe"], [f"executable-base-path {base}", "sasl-enable-x-ticket off"]) as store:
            assert "AUTH=X-TICKET" not in capabilities(store)
        plugins.chmod(0o777)
        store = Instance(["joe"], [f"executable-base-path {base}"])
        process = store.spawn("authproxyd")
        assert process.wait(60) != 0
        assert f"{plugins}: plugins are not read, because others may write it" in store.log_text()
        store.destroy()
    finally:
        shutil.rmtree(base)


# the socket itself


def test_both_sockets_belong_to_the_daemons_alone(generous: Instance) -> None:
    for name in ("authproxyd", "authproxyd-sasl"):
        status = (generous.ms_path / "ipc" / name).stat()
        assert status.st_mode & 0o777 == 0o600


def test_the_one_command_protocol_is_as_it_was(generous: Instance) -> None:
    path = generous.ms_path / "ipc" / "authproxyd"
    for sent, answer in ((f"AUTHENTICATE joe {PASSWORD}\r\n", b"OK"), ("AUTHENTICATE joe x\r\n", b"NO ")):
        client = raw(path)
        client.sendall(sent.encode())
        assert closed(client).startswith(answer)


def test_exchanges_under_way_do_not_hold_up_the_end() -> None:
    with Instance(["joe"], ["shutdown-grace 100"]) as store:
        hello = pack(HELLO, [(b"version", b"1")])
        fields = {b"service": b"imap", b"peer": b"x", b"server": b"x", b"tls": b"0"}
        fields[b"mechanism"] = b"CRAM-MD5"
        open_ones = []
        for _ in range(20):
            client = raw(store.ms_path / "ipc" / "authproxyd-sasl")
            client.sendall(hello + pack(START, fields.items()))
            frames = Frames(client)
            assert frames.read(10) is not None and frames.read(10) is not None
            open_ones.append(client)
        store.stop()  # It allows less time than that.
        assert all(closed(client) == b"" for client in open_ones)


def test_garbage_and_many_connections_do_not_disturb_logins(generous: Instance) -> None:
    path = generous.ms_path / "ipc" / "authproxyd-sasl"
    before = generous.memory_bytes([generous.daemon_pid("authproxyd")])
    crowd: list[socket.socket] = []
    for number in range(300):
        client = raw(path)
        if number % 3:
            client.sendall(os.urandom(200) if number % 3 == 1 else b"S\x00\x7f\xff" + b"x" * 30_000)
        crowd.append(client)
    imap = generous.imap("joe")
    imap.logout()
    after = generous.memory_bytes([generous.daemon_pid("authproxyd")])
    assert after - before < 32 << 20
    for client in crowd:
        client.close()


def test_an_exchange_by_hand(generous: Instance) -> None:
    """docs/authproxyd.md, as another program would do it."""
    for password, kind in ((PASSWORD, OK), ("wrong", NO)):
        client = raw(generous.ms_path / "ipc" / "authproxyd-sasl")
        fields = {b"service": b"lmtp", b"peer": b"local", b"server": b"mail", b"tls": b"1"}
        fields |= {b"mechanism": b"PLAIN", b"initial": f"\0joe\0{password}".encode()}
        client.sendall(pack(HELLO, [(b"version", b"1")]) + pack(START, fields.items()))
        frames = Frames(client)
        hello, answer = frames.read(10), frames.read(10)
        assert hello is not None and hello.kind == HELLO and answer is not None and answer.kind == kind
        client.close()


def test_a_client_certificate_is_not_asked_for_where_none_is_wanted(generous: Instance) -> None:
    """EXTERNAL is announced to nobody who has shown no certificate."""
    client = imaplib.IMAP4(*generous.imap_address)
    client.starttls(_trusting())
    assert "AUTH=EXTERNAL" not in client.capabilities and "AUTH=SCRAM-SHA-256-PLUS" in client.capabilities
    client.logout()


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    context.check_hostname = False
    return context
