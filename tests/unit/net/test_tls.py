"""TLS contexts, and what is asked of connections: names, channel bindings, certificates of clients."""

import hashlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mstore.base.errors import Unavailable
from mstore.base.options import Settings
from mstore.base.values import NamedCertificate
from mstore.net import exporter
from mstore.net.peer import ClientCertificate, is_loopback
from mstore.net.stream import Disconnected, Stream
from mstore.net.tls import make_context
from tests.kit.certificates import Pair, make_authority, make_pair, make_signed, needs_openssl

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def pairs(path: Path) -> dict[str, Pair]:
    return {
        "default": make_pair(path, "mail.example"),
        "other": make_pair(path, "other.example", "-sha384"),
        "wild": make_pair(path, "wild.example", "-sha512", key="rsa"),
    }


@pytest.fixture(scope="module")
def settings(pairs: dict[str, Pair]) -> Callable[..., Settings]:
    def make(**options: Any) -> Settings:
        sni = tuple(
            NamedCertificate(name, *pairs[pair])
            for name, pair in (("other.example", "other"), ("*.wild.example", "wild"))
        )
        given = {"tls_certificate": pairs["default"][0], "tls_key": pairs["default"][1], "tls_sni": sni}
        return Settings(**{**given, **options})

    return make


@dataclass
class Met:
    """What both sides know of a connection."""

    stream: Stream
    client: ssl.SSLSocket | None
    failure: Exception | None
    """The client's."""
    refusal: Disconnected | None = None
    """Ours."""


def client_context(**limits: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in limits.items():
        setattr(context, name, value)
    return context


def meet(server: Any, name: str | None = None, context: ssl.SSLContext | None = None, **more: Any) -> Met:
    """A handshake between a stream of ours and Python's client."""
    near, far = socket.socketpair()
    met = Met(Stream(far), None, None)
    context = context or client_context()

    def connect() -> None:
        near.settimeout(40)
        try:
            met.client = context.wrap_socket(near, server_hostname=name, **more)
            met.client.recv(1)
        except OSError as error:
            met.failure = error

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        met.stream.start_tls(server)
        met.stream.write(b"x")
        met.stream.flush()
    except Disconnected as error:
        met.refusal = error
        met.stream.close()
    thread.join()
    return met


def shown(met: Met) -> bytes:
    assert met.client is not None, met.failure
    der = met.client.getpeercert(True)
    assert der is not None
    return der


def of(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())


@pytest.mark.parametrize(
    ("name", "pair", "hash_name"),
    [
        (None, "default", "sha256"), ("mail.example", "default", "sha256"), ("nobody", "default", "sha256"),
        ("other.example", "other", "sha384"), ("OTHER.Example", "other", "sha384"),
        ("a.wild.example", "wild", "sha512"), ("wild.example", "default", "sha256"),
        ("a.b.wild.example", "default", "sha256"),
    ],
)  # fmt: skip
def test_the_name_asked_for_decides_the_certificate_and_its_binding(
    settings: Callable[..., Settings], pairs: dict[str, Pair], name: str | None, pair: str, hash_name: str
) -> None:
    met = meet(make_context(settings()), name)
    assert shown(met) == of(pairs[pair])
    bindings = met.stream.channel_bindings()
    assert bindings["tls-server-end-point"] == hashlib.new(hash_name, shown(met)).digest()


def test_the_exporter_gives_both_sides_the_same(settings: Callable[..., Settings]) -> None:
    met = meet(make_context(settings()), "other.example")
    theirs = exporter.export(met.client, exporter.CHANNEL_BINDING, 32)
    assert theirs is not None and len(theirs) == 32
    assert met.stream.channel_bindings()["tls-exporter"] == theirs
    assert met.client is not None
    assert met.stream.channel_bindings()["tls-unique"] == met.client.get_channel_binding("tls-unique")
    again = meet(make_context(settings()), "other.example")
    assert again.stream.channel_bindings()["tls-exporter"] != theirs
    old = meet(make_context(settings()), context=client_context(maximum_version=ssl.TLSVersion.TLSv1_2))
    assert list(old.stream.channel_bindings()) == ["tls-server-end-point"]


def test_the_exporter_touches_nothing_that_it_does_not_know() -> None:
    class Pretender:
        _sslobj = object()

    for sock in (Pretender(), object(), socket.socket):
        assert exporter.export(sock, exporter.CHANNEL_BINDING, 32) is None


def test_without_tls_there_is_nothing_to_bind_to() -> None:
    near, far = socket.socketpair()
    stream = Stream(far)
    assert stream.channel_bindings() == {} and stream.client_certificate() is None
    stream.close()
    near.close()


def test_bindings_and_identity_are_there_under_compression(settings: Callable[..., Settings]) -> None:
    met = meet(make_context(settings()))
    before = met.stream.channel_bindings()
    met.stream.start_deflate()
    assert met.stream.channel_bindings() == before != {}
    assert met.stream.client_certificate() is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_clients_prove_who_they_are(
    path: Path, settings: Callable[..., Settings], version: ssl.TLSVersion
) -> None:
    authority, stranger = make_authority(path), make_authority(path, "stranger")
    joe = make_signed(path, authority, "/O=x/CN=joe", "joe@example.org", "j@example.net")
    two = make_signed(path, authority, "/CN=first/CN=second")
    mallory = make_signed(path, stranger, "/CN=mallory", "joe@example.org")

    def come(with_pair: Pair | None, how: str) -> Met:
        context = client_context(maximum_version=version)
        if with_pair is not None:
            context.load_cert_chain(*with_pair)
        server = settings(tls_client_ca=authority.certificate, tls_client_certificate=how)
        return meet(make_context(server), "other.example", context)

    for how in ("request", "require"):
        known = come(joe, how).stream.client_certificate()
        assert known == ClientCertificate("joe", ("joe@example.org", "j@example.net"))
        assert come(two, how).stream.client_certificate() == ClientCertificate(None, ())
        refused = come(mallory, how)
        assert "handshake failed: certificate of the client: " in str(refused.refusal)
    assert come(None, "request").stream.client_certificate() is None
    assert "peer did not return a certificate" in str(come(None, "require").refusal)
    ignored = come(joe, "none")
    assert ignored.refusal is None and ignored.stream.client_certificate() is None


def test_the_oldest_version_can_be_raised(settings: Callable[..., Settings]) -> None:
    old = client_context(maximum_version=ssl.TLSVersion.TLSv1_2)
    assert meet(make_context(settings()), context=old).client is not None
    met = meet(make_context(settings(tls_minimum_version="1.3")), context=old)
    assert met.client is None and str(met.refusal) == "TLS handshake failed: unsupported protocol"
    made = make_context(settings())
    assert made is not None and made.minimum_version == ssl.TLSVersion.TLSv1_2


def test_ciphers_can_be_named(settings: Callable[..., Settings]) -> None:
    server = make_context(settings(tls_ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"))
    met = meet(server, context=client_context(maximum_version=ssl.TLSVersion.TLSv1_2))
    assert met.client is not None
    assert met.client.cipher()[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"  # type: ignore[index]
    with pytest.raises(Unavailable, match="tls-ciphers NONSENSE"):
        make_context(settings(tls_ciphers="NONSENSE"))


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["imap"], "imap"), (["x", "imap"], "imap"), (["http/1.1"], None), ([], None)]
)
def test_the_protocol_is_agreed_upon_where_the_client_names_it(
    settings: Callable[..., Settings], offered: list[str], chosen: str | None
) -> None:
    context = client_context()
    if offered:
        context.set_alpn_protocols(offered)
    for name in ("mail.example", "other.example"):
        met = meet(make_context(settings(), "imap"), name, context)
        assert met.client is not None and met.client.selected_alpn_protocol() == chosen


def test_sessions_are_resumed_by_name_and_with_identity(
    path: Path, settings: Callable[..., Settings]
) -> None:
    authority = make_authority(path, "resuming")
    joe = make_signed(path, authority, "/CN=joe")
    server = make_context(settings(tls_client_ca=authority.certificate, tls_client_certificate="request"))
    context = client_context()
    context.load_cert_chain(*joe)
    first = meet(server, "other.example", context)
    assert first.client is not None
    second = meet(server, "other.example", context, session=first.client.session)
    assert second.client is not None and second.client.session_reused
    assert second.stream.client_certificate() == ClientCertificate("joe")
    assert second.stream.channel_bindings()["tls-server-end-point"] == hashlib.sha384(shown(first)).digest()


def test_what_does_not_fit_is_named(
    path: Path, settings: Callable[..., Settings], pairs: dict[str, Pair]
) -> None:
    default, other = pairs["default"], pairs["other"]
    wrong = NamedCertificate("x.example", other.certificate, default.key)
    with pytest.raises(Unavailable) as caught:
        make_context(settings(tls_sni=(wrong,)))
    text = f"the key in {default.key} is not that of the certificate in {other.certificate}"
    assert text in str(caught.value)
    with pytest.raises(Unavailable, match=f"cannot read {path}/none: No such file"):
        make_context(settings(tls_certificate=path / "none"))
    with pytest.raises(Unavailable, match=f"no certificate in {default.key}"):
        make_context(settings(tls_certificate=default.key))
    sealed = path / "sealed.key"
    subprocess.run(
        ["openssl", "ec", "-in", default.key, "-aes128", "-passout", "pass:x", "-out", sealed],
        check=True, capture_output=True,
    )  # fmt: skip
    with pytest.raises(Unavailable, match="is encrypted"):
        make_context(settings(tls_key=sealed))
    (path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(Unavailable, match="larger than"):
        make_context(settings(tls_key=path / "large"))
    with pytest.raises(Unavailable, match="no certificates of authorities"):
        make_context(settings(tls_client_ca=default.key, tls_client_certificate="request"))
    assert make_context(Settings()) is None


def test_addresses_of_this_host() -> None:
    local = ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "::1%lo", "local")
    assert all(map(is_loopback, local))
    others = ("10.0.0.1", "::", "::ffff:10.0.0.1", "fe80::1%eth0", "", "localhost.example")
    assert not any(map(is_loopback, others))
