"""Our own certificates: their files, validity, names, and the hash that channel binding wants of them.

A reader of DER for as much of X.509 (RFC 5280 §4.1) as that takes. It is given files of the administrator's,
never anything of a client's.
"""

from __future__ import annotations

import binascii
import calendar
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mstore.base.errors import Invalid, Unavailable

Read = Callable[[Path], bytes]
"""How a file with a certificate or a key is read; raises Unavailable."""

LARGEST_BYTES = 1 << 20

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _OID, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x06, 0x17, 0x18
_EXTENSIONS, _DNS_NAME = 0xA3, 0x82
_COMMON_NAME = bytes.fromhex("550403")
_ALTERNATIVE_NAMES = bytes.fromhex("551d11")
_PSS = bytes.fromhex("2a864886f70d01010a")
_HASHES = {
    **{bytes.fromhex("2a864886f70d0101") + bytes([n]): name for n, name in
       ((4, "md5"), (5, "sha1"), (11, "sha256"), (12, "sha384"), (13, "sha512"), (14, "sha224"))},
    bytes.fromhex("2a8648ce3d0401"): "sha1",
    **{bytes.fromhex("2a8648ce3d0403") + bytes([n]): name for n, name in
       ((1, "sha224"), (2, "sha256"), (3, "sha384"), (4, "sha512"))},
    **{bytes.fromhex("6086480165030402") + bytes([n]): name for n, name in
       ((1, "sha256"), (2, "sha384"), (3, "sha512"), (4, "sha224"))},
}  # fmt: skip
"""The hash of each signature algorithm, RSA and ECDSA, and the hashes by themselves, by OID."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate, as far as it is looked into."""

    der: bytes
    names: tuple[str, ...]
    """The host names it is for, in lower case."""
    begins_s: int
    ends_s: int
    hash_name: str | None
    """The hash of its signature; None where the algorithm has none or more than one."""

    def end_point(self) -> bytes | None:
        """Its tls-server-end-point (RFC 5929 §4.1); None where that is not defined for its algorithm."""
        if self.hash_name is None:
            return None
        name = "sha256" if self.hash_name in ("md5", "sha1") else self.hash_name
        return hashlib.new(name, self.der).digest()

    def complaint(self, now: float, soon_s: float) -> str:
        """What is wrong with its dates, or will be so soon; empty when nothing is."""
        if now < self.begins_s:
            return f"is not valid before {_show_day(self.begins_s)}"
        if now > self.ends_s:
            return f"has expired on {_show_day(self.ends_s)}"
        if now > self.ends_s - soon_s:
            return f"expires on {_show_day(self.ends_s)}"
        return ""

    def covers(self, name: str) -> bool:
        """Whether it is for this host name, which may be a wildcard itself (RFC 6125 §6.4)."""
        parent = "*." + name.partition(".")[2]
        return name in self.names or parent in self.names


def read_file(path: Path) -> bytes:
    """The contents of a file with a certificate or a key.

    Raises: Unavailable, naming it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from None
    if len(data) > LARGEST_BYTES:
        raise Unavailable(f"{path} is larger than certificates and keys are")
    return data


def parse_pem(pem: bytes) -> Certificate:
    """The first certificate of a PEM file: that of the server, the others are its chain.

    Raises: Invalid
    """
    found = _PEM.search(pem)
    if found is None:
        raise Invalid("holds no certificate in PEM")
    try:
        return parse_der(binascii.a2b_base64(found[1]))
    except (binascii.Error, ValueError, IndexError):
        raise Invalid("holds a certificate that cannot be read") from None


def parse_der(der: bytes) -> Certificate:
    """Read a certificate.

    Raises: ValueError, IndexError.
    """
    ((_, certificate),) = _walk(der)
    (_, body), (_, algorithm), *_ = _walk(certificate)
    fields = list(_walk(body))
    if fields[0][0] == 0xA0:
        del fields[0]  # The version.
    _serial, _, _issuer, (_, validity), (_, subject), *rest = fields
    (begin, end) = (_parse_time(tag, text) for tag, text in _walk(validity))
    names = [name for tag, value in rest if tag == _EXTENSIONS for name in _dns_names(value)]
    found = tuple(name.lower() for name in names or _common_names(subject))
    return Certificate(der, found, begin, end, _hash_name(algorithm))


def _show_day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements that lie behind one another: tag and contents."""
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + size > len(data):
            raise ValueError("element is longer than what it lies in")
        yield tag, data[at : at + size]
        at += size


def _parse_time(tag: int, text: bytes) -> int:
    form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}[tag]
    return calendar.timegm(time.strptime(text.decode("ascii"), form))


def _dns_names(extensions: bytes) -> Iterator[str]:
    ((_, listed),) = _walk(extensions)
    for _, extension in _walk(listed):
        (_, oid), *_, (_, value) = _walk(extension)
        if oid == _ALTERNATIVE_NAMES:
            ((_, names),) = _walk(value)
            yield from (name.decode("ascii", "replace") for tag, name in _walk(names) if tag == _DNS_NAME)


def _common_names(subject: bytes) -> Iterator[str]:
    for _, relative in _walk(subject):
        for _, attribute in _walk(relative):
            (_, oid), (_, value), *_ = _walk(attribute)
            if oid == _COMMON_NAME:
                yield value.decode("utf-8", "replace")


def _hash_name(algorithm: bytes) -> str | None:
    (_, oid), *parameters = _walk(algorithm)
    if oid != _PSS:
        return _HASHES.get(oid)
    # RFC 4055 §3.1: the hash is the first parameter, tagged 0; without it, SHA-1.
    for _, value in parameters:
        for tag, inner in _walk(value):
            if tag == 0xA0:
                ((_, chosen),) = _walk(inner)
                (_, oid), *_ = _walk(chosen)
                return _HASHES.get(oid)
    return "sha1"
