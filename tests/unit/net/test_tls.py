"""What authentication may be bound to on a TLS connection, and who its client is."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from mstore.net import exporter
from mstore.net.stream import Stream
from mstore.net.tls import (  # fmt: skip
    ClientCertificate,
    ServerContext,
    channel_bindings,
    client_certificate,
    hash_certificate,
    make_context,
)
from tests.kit.scripted import ScriptedTransport

TLS = Path(__file__).parents[2] / "kit" / "tls"
DER = ssl.PEM_cert_to_DER_cert((TLS / "cert.pem").read_text())


def connect(context: ssl.SSLContext, asking: ssl.SSLContext | None = None) -> tuple[Any, Any]:
    """The client's and the server's side of a TLS connection."""
    near, far = socket.socketpair()
    made: list[Any] = []
    accept = threading.Thread(target=lambda: made.append(context.wrap_socket(far, server_side=True)))
    accept.start()
    asking = asking or ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    client = asking.wrap_socket(near, server_hostname="mail.example.org")
    accept.join()
    return client, made[0]


def test_both_sides_bind_to_the_same() -> None:
    client, server = connect(make_context(TLS / "cert.pem", TLS / "key.pem"))
    other, another = connect(make_context(TLS / "cert.pem", TLS / "key.pem"))
    bound = Stream(server, tls=True).channel_bindings()
    assert bound["tls-server-end-point"] == hashlib.sha256(DER).digest()
    assert bound["tls-exporter"] == exporter.export(client._sslobj)
    assert len(bound["tls-exporter"]) == 32
    assert channel_bindings(another)["tls-exporter"] != bound["tls-exporter"]
    for sock in (client, server, other, another):
        sock.close()


def test_before_tls_1_3_there_is_no_exporter() -> None:
    asking = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    asking.maximum_version = ssl.TLSVersion.TLSv1_2
    client, server = connect(make_context(TLS / "cert.pem", TLS / "key.pem"), asking)
    assert set(channel_bindings(server)) == {"tls-server-end-point"}
    client.close()
    server.close()


def test_nothing_is_bound_without_tls_or_by_other_contexts() -> None:
    stream = Stream(ScriptedTransport([]))
    assert stream.channel_bindings() == {} and stream.client_certificate() is None
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    plain.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    client, server = connect(plain)
    assert channel_bindings(server) == {}
    client.close()
    server.close()


def test_compression_does_not_hide_the_channel() -> None:
    client, server = connect(make_context(TLS / "cert.pem", TLS / "key.pem"))
    stream = Stream(server, tls=True)
    before = dict(stream.channel_bindings())
    stream.start_deflate()
    assert stream.channel_bindings() == before != {}
    client.close()
    server.close()


def test_what_is_no_object_of_ssl_exports_nothing() -> None:
    for other in (None, object(), socket.socket, b"x" * 64):
        assert exporter.export(other) is None


def _make(tmp_path: Path, *arguments: str) -> Path:
    path = tmp_path / "made.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-keyout", str(tmp_path / "key.pem"), "-out", str(path)]
    subprocess.run([*command, "-subj", "/CN=joe", *arguments], check=True, capture_output=True)
    return path


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-sha384"), "sha384"),
        (("-newkey", "rsa:2048", "-sha1"), "sha256"),
        (("-newkey", "rsa:2048", "-sha512", "-sigopt", "rsa_padding_mode:pss"), "sha512"),
        (("-newkey", "ed25519"), None),
    ],
)
def test_a_certificate_is_hashed_as_its_signature_was(
    tmp_path: Path, arguments: tuple[str, ...], name: str | None
) -> None:
    pem = _make(tmp_path, *arguments).read_bytes()
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    assert hash_certificate(pem + b"\n" + (TLS / "cert.pem").read_bytes()) == (
        None if name is None else hashlib.new(name, der).digest()
    )


def test_a_verified_client_certificate_tells_name_and_addresses(tmp_path: Path) -> None:
    arguments = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    path = _make(tmp_path, *arguments, "-addext", "subjectAltName=email:joe@example.org,email:j@x.example")
    context = make_context(TLS / "cert.pem", TLS / "key.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(path)
    asking = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    asking.load_cert_chain(path, tmp_path / "key.pem")
    client, server = connect(context, asking)
    stream = Stream(server, tls=True)
    assert stream.client_certificate() == ClientCertificate("joe", ("joe@example.org", "j@x.example"))
    client.close()
    server.close()
    client, server = connect(context)
    assert client_certificate(server) is None
    client.close()
    server.close()


def test_a_context_knows_what_it_offers() -> None:
    context = make_context(TLS / "cert.pem", TLS / "key.pem")
    assert isinstance(context, ServerContext) and context.exports and context.end_point
