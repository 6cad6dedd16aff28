"""Kinds of configuration values: how each is written, read and shown.

A kind turns the words behind an option's name into a value or raises ``ValueError`` with a text that says
what would be right; it knows neither files nor options.
"""

from __future__ import annotations

import difflib
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

from mstore.base.networks import Network


class Address(NamedTuple):
    """Where to listen: a host name, an IP address or ``*`` for all addresses, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class RemoteHost(NamedTuple):
    """A server elsewhere: a host name or address, and a TCP port where it is not the usual one."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}/{self.port}"


class AssignmentRule(NamedTuple):
    """One line of ``ms-assignment-policy``: a rule, the names it is for, and where these accounts go."""

    rule: str
    glob: str
    mailstores: tuple[str, ...]


class ExpiryRule(NamedTuple):
    """One line of ``auto-expunge``: the name or the special use of a mailbox, and how many days messages
    stay."""

    mailbox: str
    days: int

    def __str__(self) -> str:
        return f"{self.mailbox} {self.days}"


class NamedCertificate(NamedTuple):
    """One ``tls-sni`` line: a host name or ``*.DOMAIN``, in lower case, and the files for it."""

    name: str
    certificate: Path
    key: Path


class Where(Enum):
    """A yes that holds only for some. It counts as no wherever it has not been looked into."""

    LOOPBACK = "loopback"

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True)
class Kind:
    """How values of one kind are written (``syntax``), read and shown."""

    syntax: str
    parse: Callable[[Sequence[str]], Any]
    show: Callable[[Any], str] = str


def one(words: Sequence[str]) -> str:
    """The only word; anything else is an error."""
    if len(words) != 1:
        raise ValueError("needs a value" if not words else f"takes one value, not {len(words)}")
    return words[0]


def _parse_local_name(words: Sequence[str]) -> str:
    name = one(words)
    if not name or not {"+", "@", "/"}.isdisjoint(name):
        raise ValueError("is what stands before the + of an address, and has none of + @ /")
    return name


TRUE = ("yes", "on", "t", "1")
FALSE = ("no", "off", "f", "0")


def _parse_boolean(words: Sequence[str]) -> bool:
    word = one(words).lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError(f"{word!r} is neither on ({' '.join(TRUE)}) nor off ({' '.join(FALSE)})")


def _parse_8bit(words: Sequence[str]) -> str:
    if list(words) == ["utf8"]:
        return "utf8"
    try:
        return "on" if not words or _parse_boolean(words) else "off"
    except ValueError:
        raise ValueError(f"{' '.join(words)!r} is none of on, off, utf8") from None


def _show_boolean(value: bool) -> str:
    return "on" if value else "off"


def _parse_cleartext(words: Sequence[str]) -> bool | Where:
    if [word.lower() for word in words] == [Where.LOOPBACK.value]:
        return Where.LOOPBACK
    try:
        return _parse_boolean(words)
    except ValueError as error:
        raise ValueError(f"{error}, nor loopback" if words else str(error)) from None


def _show_cleartext(value: bool | Where) -> str:
    return value.value if isinstance(value, Where) else _show_boolean(value)


def _parse_path(words: Sequence[str]) -> Path:
    word = one(words)
    if not word.startswith("/"):
        raise ValueError(f"{word!r} is not an absolute path")
    return Path(word)


def _parse_words(words: Sequence[str]) -> tuple[str, ...]:
    if not words:
        raise ValueError("needs at least one value")
    return tuple(words)


def _show_words(values: Sequence[object]) -> str:
    return " ".join(str(value) for value in values)


_BRACKETED = re.compile(r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]\Z")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\Z")


def parse_address(word: str) -> Address:
    """Read ``ADDRESS:PORT``: a name, an IPv4 address, an IPv6 address in brackets, or ``*``.

    Raises: ValueError
    """
    host, colon, digits = word.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{word!r} is not ADDRESS:PORT, as in *:143 or [::1]:143")
    if _BRACKETED.match(host):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{word!r}: an IPv6 address stands in brackets, as in [::1]:143")
    elif host != "*" and not _HOST.match(host):
        raise ValueError(f"{host!r} is not a host name or address")
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits) < 65536):
        raise ValueError(f"{digits!r} is not a port (1 to 65535)")
    return Address(host, int(digits))


_IMAP_PORTS = {"imap": 143, "imap2": 143, "imaps": 993}
"""For systems whose /etc/services is missing."""


def _parse_remote_host(words: Sequence[str]) -> RemoteHost:
    host, slash, port = one(words).partition("/")
    plain = host[1:-1] if _BRACKETED.match(host) else host
    if not (_HOST.match(plain) or _BRACKETED.match(f"[{plain}]")):
        raise ValueError(f"{host!r} is not a host name or address")
    if not slash:
        return RemoteHost(plain)
    if port.isascii() and port.isdigit():
        if not 0 < int(port) < 65536:
            raise ValueError(f"{port!r} is not a port (1 to 65535)")
        return RemoteHost(plain, int(port))
    try:
        return RemoteHost(plain, socket.getservbyname(port.lower(), "tcp"))
    except (OSError, ValueError):
        if port.lower() in _IMAP_PORTS:
            return RemoteHost(plain, _IMAP_PORTS[port.lower()])
        raise ValueError(f"{port!r} is neither a port nor the name of a TCP service") from None


_MECHANISM = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def _parse_mechanism(words: Sequence[str]) -> str:
    word = one(words).lower()
    if not _MECHANISM.fullmatch(word):
        raise ValueError(f"{word!r} is not the name of a mechanism")
    return word


def _parse_addresses(words: Sequence[str]) -> tuple[Address, ...]:
    if not words:
        raise ValueError("needs at least one ADDRESS:PORT, or none")
    if [word.lower() for word in words] == ["none"]:
        return ()
    return tuple(parse_address(word) for word in words)


def _parse_places(words: Sequence[str]) -> tuple[Address | Path, ...]:
    if any(word.startswith("/") for word in words):
        return tuple(Path(word) if word.startswith("/") else parse_address(word) for word in words)
    return _parse_addresses(words)


def _show_addresses(values: Sequence[object]) -> str:
    return _show_words(values) if values else "none"


def _parse_networks(words: Sequence[str]) -> tuple[Network, ...]:
    if not words:
        raise ValueError("needs at least one address or network, or none")
    if [word.lower() for word in words] == ["none"]:
        return ()
    found: list[Network] = []
    for word in words:
        try:
            found.append(ip_network(word.strip("[]")))
        except ValueError as error:
            raise ValueError(f"{word!r} is no address and no network, as in 192.0.2.0/24: {error}") from None
    return tuple(found)


def _units(words: Sequence[str], units: dict[str, int], example: str) -> int:
    text = "".join(words).lower()
    found = re.fullmatch(r"([0-9]{1,15})([a-z]*)", text)
    if found is None or found[2] not in units:
        raise ValueError(f"{' '.join(words)!r} is not {example}" if words else f"needs {example}")
    return int(found[1]) * units[found[2]]


_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _parse_duration(words: Sequence[str]) -> int:
    return _units(words, _SECONDS, "a duration, as in 90, 90s, 30m or 2h")


def parse_size(words: Sequence[str]) -> int:
    """Read a number of bytes, as in ``512K``, ``64M`` or ``2G``.

    Raises: ValueError
    """
    return _units(words, _BYTES, "a size, as in 512K, 64M or 2G")


def _show_duration(value: int) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if value and value % length == 0:
            return f"{value // length}{unit}"
    return f"{value}s"


def show_size(value: int) -> str:
    """Write a number of bytes the shortest exact way, as :func:`parse_size` reads it."""
    for unit, length in (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if value and value % length == 0:
            return f"{value // length}{unit}"
    return str(value)


def size_limit(low_bytes: int) -> Kind:
    """A size that is not below a bound, or 0 for no limit."""

    def parse(words: Sequence[str]) -> int:
        value = parse_size(words)
        if 0 < value < low_bytes:
            raise ValueError(f"{one(words)!r} is less than {show_size(low_bytes)}, and not 0 for no limit")
        return value

    return Kind("SIZE", parse, show_size)


def number(low: int, high: int) -> Kind:
    """A whole number within limits."""

    def parse(words: Sequence[str]) -> int:
        word = one(words)
        if not (word.isascii() and word.isdigit() and low <= int(word) <= high):
            raise ValueError(f"{word!r} is not a number from {low} to {high}")
        return int(word)

    return Kind("NUMBER", parse)


def size(low_bytes: int, high_bytes: int) -> Kind:
    """A size within limits."""

    def parse(words: Sequence[str]) -> int:
        value = parse_size(words)
        if not low_bytes <= value <= high_bytes:
            raise ValueError(f"{one(words)} is not within {show_size(low_bytes)} to {show_size(high_bytes)}")
        return value

    return Kind("SIZE", parse, show_size)


def duration(low_s: int, high_s: int, why: str = "") -> Kind:
    """A length of time within limits, held in seconds; ``why`` says who asks for the lower one."""

    def parse(words: Sequence[str]) -> int:
        value = _parse_duration(words)
        if value < low_s and why:
            raise ValueError(f"{' '.join(words)} is too short: {why} {_show_duration(low_s)} at least")
        if not low_s <= value <= high_s:
            limits = f"{_show_duration(low_s)} to {_show_duration(high_s)}"
            raise ValueError(f"{' '.join(words)} is not within {limits}")
        return value

    return Kind("DURATION", parse, _show_duration)


def choice(*names: str) -> Kind:
    """One of a few names."""

    def parse(words: Sequence[str]) -> str:
        word = one(words).lower()
        if word not in names:
            raise ValueError(f"{word!r} is none of {', '.join(names)}")
        return word

    return Kind("|".join(names), parse)


def some(everything: str, *names: str) -> Kind:
    """Some of a few names, or ``everything``, or ``none``; the value is a set."""

    def parse(words: Sequence[str]) -> frozenset[str]:
        if not words:
            raise ValueError("needs at least one value")
        chosen = [word.lower() for word in words]
        if chosen == [everything]:
            return frozenset(names)
        if chosen == ["none"]:
            return frozenset()
        for word in chosen:
            if word not in names:
                near = difflib.get_close_matches(word, names, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(
                    f"{word!r} is none of {', '.join(names)}, {everything} or none, which stand alone{hint}"
                )
        return frozenset(chosen)

    def show(value: frozenset[str]) -> str:
        return " ".join(name for name in names if name in value) or "none"

    return Kind(f"{everything}|none|NAME …", parse, show)


def _parse_mailstore(words: Sequence[str]) -> tuple[str, Path]:
    if len(words) != 2:
        raise ValueError("takes a name and a path, as in: mailstore main /var/md/store/mail")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", words[0]):
        raise ValueError(f"{words[0]!r} is not a mailstore's name (letters, digits, '.', '_', '-')")
    return words[0], _parse_path(words[1:])


MOST_DAYS = 36500
_EXPIRING_USES = {use.lower(): use for use in ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")}


def _parse_expiry(words: Sequence[str]) -> ExpiryRule:
    if len(words) != 2:
        raise ValueError("takes a mailbox or a special use and a number of days, as in: \\Trash 30")
    mailbox, days = words
    if mailbox.startswith("\\"):
        if mailbox.lower() not in _EXPIRING_USES:
            raise ValueError(f"{mailbox!r} is none of {', '.join(_EXPIRING_USES.values())}")
        mailbox = _EXPIRING_USES[mailbox.lower()]
    if not (days.isascii() and days.isdigit() and 0 < int(days[:6]) <= MOST_DAYS):
        raise ValueError(f"{days!r} is not a number of days (1 to {MOST_DAYS})")
    return ExpiryRule(mailbox, int(days))


ASSIGNMENT_RULES = ("match", "round-robin", "most-free", "hash")
_GLOB_MARKS = frozenset("*?[@")


def _parse_assignment(words: Sequence[str]) -> AssignmentRule:
    if not words or words[0].lower() not in ASSIGNMENT_RULES:
        raise ValueError(f"begins with a rule: {', '.join(ASSIGNMENT_RULES)}")
    rule, rest = words[0].lower(), list(words[1:])
    glob = "*"
    # no mailstore has such a character in its name; what follows "match" is a pattern in any case
    if rest and (rule == "match" or not _GLOB_MARKS.isdisjoint(rest[0])):
        glob = rest.pop(0)
    elif rule == "match":
        raise ValueError("match takes a GLOB and mailstores, as in: match *@example.org second")
    if not rest:
        raise ValueError("names no mailstore")
    if len(set(rest)) != len(rest):
        raise ValueError("names a mailstore twice")
    return AssignmentRule(rule, glob, tuple(rest))


_CAPABILITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9+=./-]{0,63}")
_OTHERWISE_SWITCHED = ("IMAP4REV1", "STARTTLS", "LOGINDISABLED", "X-LOGIN-COMMAND-DISABLED")


def _parse_capabilities(words: Sequence[str]) -> frozenset[bytes]:
    if not words:
        raise ValueError("needs at least one capability, as in: COMPRESS=DEFLATE")
    for word in words:
        if not _CAPABILITY.fullmatch(word):
            raise ValueError(f"{word!r} is not a capability's name")
        if word.upper() in _OTHERWISE_SWITCHED or word.upper().startswith("AUTH="):
            raise ValueError(f"{word} cannot be switched off by this option")
    return frozenset(word.upper().encode("ascii") for word in words)


DORMANT_CAPABILITIES = ("UIDONLY",)
"""The capabilities of imapd that are off until they are switched on."""


def _parse_dormant(words: Sequence[str]) -> frozenset[bytes]:
    parsed = _parse_capabilities(words)
    for word in words:
        if word.upper() not in DORMANT_CAPABILITIES:
            names = ", ".join(DORMANT_CAPABILITIES)
            raise ValueError(f"{word} cannot be switched on by this option; there is: {names}")
    return parsed


def _parse_dormant_for(words: Sequence[str]) -> tuple[str, frozenset[bytes]]:
    if len(words) < 2:
        raise ValueError("takes a GLOB and capabilities, as in: *@example.org UIDONLY")
    return words[0].lower(), _parse_dormant(words[1:])


def _show_capabilities(words: frozenset[bytes]) -> str:
    return " ".join(sorted(word.decode("ascii") for word in words))


def _parse_capabilities_for(words: Sequence[str]) -> tuple[str, frozenset[bytes]]:
    if len(words) < 2:
        raise ValueError("takes a GLOB and capabilities, as in: *@example.org COMPRESS=DEFLATE")
    return words[0].lower(), _parse_capabilities(words[1:])


def _show_capabilities_for(value: tuple[str, frozenset[bytes]]) -> str:
    return f"{value[0]} {_show_capabilities(value[1])}"


def _parse_domain(words: Sequence[str]) -> str:
    word = one(words).lower()
    if not _HOST.match(word):
        raise ValueError(f"{word!r} is not a domain name")
    return word


_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(/[!-~]*)?\Z")


def _parse_url(words: Sequence[str]) -> str:
    word = one(words)
    if not _URL.match(word):
        raise ValueError(f"{word!r} is not a URL that begins with https:// or http://")
    return word


def _parse_named_certificate(words: Sequence[str]) -> NamedCertificate:
    if len(words) != 3:
        raise ValueError("takes name, certificate and key, as in: mx.example.org /etc/mx.pem /etc/mx.key")
    name = words[0].lower().rstrip(".")
    if not _HOST.match(name.removeprefix("*.")) or "*" in name[1:]:
        raise ValueError(f"{words[0]!r} is neither a host name nor *.DOMAIN")
    return NamedCertificate(name, _parse_path(words[1:2]), _parse_path(words[2:]))


def _show_named_certificate(value: NamedCertificate) -> str:
    return _show_words(value)


NETWORKS = Kind("ADDRESS[/BITS] …", _parse_networks, _show_addresses)
BOOLEAN = Kind("on|off", _parse_boolean, _show_boolean)
CLEARTEXT = Kind("on|off|loopback", _parse_cleartext, _show_cleartext)
NAMED_CERTIFICATE = Kind("NAME CERTIFICATE KEY", _parse_named_certificate, _show_named_certificate)
EIGHT_BIT = Kind("[on|off|utf8]", _parse_8bit)
PATH = Kind("PATH", _parse_path)
WORD = Kind("NAME", one)
LOCAL_NAME = Kind("NAME", _parse_local_name)
URL = Kind("URL", _parse_url)
WORDS = Kind("NAME …", _parse_words, _show_words)
REMOTE_HOST = Kind("HOST[/PORT]", _parse_remote_host)
MECHANISM = Kind("MECHANISM", _parse_mechanism)
DOMAIN = Kind("DOMAIN", _parse_domain)
SIZE = Kind("SIZE", parse_size, show_size)
ADDRESSES = Kind("ADDRESS:PORT …", _parse_addresses, _show_addresses)
PLACES = Kind("ADDRESS:PORT|PATH …", _parse_places, _show_addresses)
"""Addresses, and paths of Unix sockets."""
MAILSTORE = Kind("NAME PATH", _parse_mailstore)
CAPABILITIES = Kind("WORD …", _parse_capabilities, _show_capabilities)
DORMANT = Kind("WORD …", _parse_dormant, _show_capabilities)
DORMANT_FOR = Kind("GLOB WORD …", _parse_dormant_for, _show_capabilities_for)
CAPABILITIES_FOR = Kind("GLOB WORD …", _parse_capabilities_for, _show_capabilities_for)
EXPIRY = Kind("MAILBOX|\\USE DAYS", _parse_expiry)
ASSIGNMENT = Kind("RULE [GLOB] MAILSTORE…", _parse_assignment)
