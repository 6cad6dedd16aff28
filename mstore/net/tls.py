"""The only user of ssl: the server's TLS contexts, what can be asked of a connection under TLS, and a
client's contexts for asking other servers.

Contexts are made while the private keys can still be read, before rights are dropped and before workers are
forked; sessions only wrap sockets with them. As all workers have theirs from one daemon, they share its keys
for tickets, and a session that began with one worker is resumed with another. A certificate is renewed by
making new contexts, whose keys for tickets are new as well.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mstore.base.errors import Invalid, Unavailable
from mstore.base.options import Settings
from mstore.base.values import NamedCertificate
from mstore.net import exporter
from mstore.net.certificate import Certificate, Read, parse_pem, read_file
from mstore.net.peer import ClientCertificate

END_POINT, EXPORTER, UNIQUE = "tls-server-end-point", "tls-exporter", "tls-unique"
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENTS = {"none": ssl.CERT_NONE, "request": ssl.CERT_OPTIONAL, "require": ssl.CERT_REQUIRED}


class Context(ssl.SSLContext):
    """A server's context, which knows its certificate."""

    certificate: Certificate
    others: Mapping[str, Context] = MappingProxyType({})
    """Those for clients that ask for other names."""

    def certificates(self) -> list[tuple[str, Certificate]]:
        """All certificates by the name that they are for; that of the default one is empty."""
        return [("", self.certificate), *((name, other.certificate) for name, other in self.others.items())]


def make_context(settings: Settings, protocol: str | None = None, read: Read = read_file) -> Context | None:
    """The context that connections begin with; None where there is no certificate.

    It goes over to that of another certificate when the client asks for another name (RFC 6066 §3).
    ``protocol`` is what ALPN calls us (RFC 7301); a client that names only others is served all the same.
    Raises: Unavailable, naming the file that cannot be read or does not fit.
    """
    made = {pair.name: _make(settings, protocol, pair, read) for pair in settings.tls_pairs()}
    if not made:
        return None
    default = made.pop("")
    default.others = made
    if made:

        def choose(sock: Any, name: str | None, context: object) -> None:
            found = _find(made, (name or "").lower())
            if found is not None:
                # A cooperative socket's inner one, which is what comes here, refers to the whole one weakly.
                outer = getattr(sock, "_sslsock", None)
                (sock if outer is None else outer()).context = found

        default.sni_callback = choose
    return default


def _find(made: Mapping[str, Context], name: str) -> Context | None:
    name = name.rstrip(".")
    return made.get(name) or made.get("*." + name.partition(".")[2])


def _make(settings: Settings, protocol: str | None, pair: NamedCertificate, read: Read) -> Context:
    context = Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.tls_minimum_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    # One ticket is enough for a client that resumes; each costs memory and bytes in every handshake.
    context.num_tickets = 1
    if settings.tls_ciphers is not None:
        try:
            context.set_ciphers(settings.tls_ciphers)
        except ssl.SSLError:
            raise Unavailable(f"no ciphers are named by tls-ciphers {settings.tls_ciphers}") from None
    if protocol is not None:
        context.set_alpn_protocols([protocol])
    context.certificate = _load_pair(context, pair, read)
    if settings.tls_client_certificate != "none" and settings.tls_client_ca is not None:
        _load_authorities(context, settings.tls_client_ca, read)
        context.verify_mode = _CLIENTS[settings.tls_client_certificate]
    return context


def _load_pair(context: ssl.SSLContext, pair: NamedCertificate, read: Read) -> Certificate:
    certificate, key = pair.certificate, pair.key
    texts = [read(certificate), read(key)]
    try:
        found = parse_pem(texts[0])
    except Invalid as error:
        raise Unavailable(f"no certificate in {certificate}: it {error}") from None

    def ask() -> str:
        raise Unavailable(f"the key in {key} is encrypted; nobody is there to give its passphrase")

    try:
        with _named(texts[0]) as chain, _named(texts[1]) as private:
            context.load_cert_chain(chain, private, ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Unavailable(f"the key in {key} is not that of the certificate in {certificate}") from None
        text = describe_failure(error)
        raise Unavailable(f"no certificate with its key in {certificate} and {key}: {text}") from None
    return found


@contextmanager
def _named(data: bytes) -> Iterator[str]:
    """A name, for as long as it is needed, under which the library can read what is in memory."""
    fd = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _load_authorities(context: ssl.SSLContext, path: Path, read: Read) -> None:
    try:
        context.load_verify_locations(cadata=read(path).decode("ascii", "replace"))
    except (ssl.SSLError, ValueError) as error:
        text = describe_failure(error) if isinstance(error, ssl.SSLError) else str(error)
        raise Unavailable(f"no certificates of authorities in {path}: {text}") from None


def describe_failure(error: BaseException) -> str:
    """Why something failed, in a few words, for the log."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate of the client: {error.verify_message}"
    reason = getattr(error, "reason", None)
    if isinstance(error, ssl.SSLError) and reason:
        return str(reason).replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# -- what can be asked of a connection ---------------------------------------------------------------------


def client_certificate(sock: Any) -> ClientCertificate | None:
    """Whom the client has proved to be by its certificate; None where it has not."""
    ask = getattr(sock, "getpeercert", None)
    try:
        found = ask() if ask is not None else None
    except (OSError, ValueError):
        return None
    if not found:
        return None
    names = [value for relative in found.get("subject", ()) for key, value in relative if key == "commonName"]
    emails = tuple(value for key, value in found.get("subjectAltName", ()) if key == "email")
    return ClientCertificate(names[0] if len(names) == 1 else None, emails)


def channel_bindings(sock: Any) -> dict[str, bytes]:
    """What binds an authentication to this connection, by type of channel binding; empty without TLS.

    tls-server-end-point (RFC 5929 §4) is of the certificate that was shown to this client. tls-exporter
    (RFC 9266) is there with TLS 1.3, where its value is unique without conditions, if it can be had.
    tls-unique (RFC 5929 §3) is what clients of Cyrus SASL bind to; it is there with TLS 1.3, whose Finished
    covers the whole handshake, and not with TLS 1.2, where two connections may share it (RFC 7627 §1).
    """
    found = {}
    context = getattr(sock, "context", None)
    if isinstance(context, Context):
        end_point = context.certificate.end_point()
        if end_point is not None:
            found[END_POINT] = end_point
        if sock.version() == "TLSv1.3":
            unique = sock.get_channel_binding(UNIQUE)
            if unique is not None:
                found[UNIQUE] = unique
            material = exporter.export(sock, exporter.CHANNEL_BINDING, 32)
            if material is not None:
                found[EXPORTER] = material
    return found


# -- asking other servers ----------------------------------------------------------------------------------


def make_client_context(verify: bool, authorities: Path | None) -> ssl.SSLContext:
    """A client's context; without ``verify`` any certificate will do, otherwise one by these authorities.

    Raises: Unavailable when the file of authorities cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (ssl.SSLError, OSError) as error:
        raise Unavailable(f"no certificates in {authorities}: {error}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def start_client_tls(context: ssl.SSLContext, sock: socket.socket, host: str) -> ssl.SSLSocket:
    """Put a client's blocking connection under TLS; the time limit of the socket holds.

    Raises: OSError (ssl.SSLError is one), also for a certificate that is not the host's.
    """
    return context.wrap_socket(sock, server_hostname=host)
