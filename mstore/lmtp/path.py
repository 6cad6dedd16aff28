"""Reverse and forward paths: what follows ``MAIL FROM:`` and ``RCPT TO:``; also in UTF-8 (RFC 6531 §3.3).

Strict in what would change the meaning, lenient in spelling: a space after the colon and a missing pair of
angle brackets are accepted, as the product has always done (``rcpt to: joe+important/March2000@foobar.com``).
Source routes are read and ignored (RFC 5321 §4.1.2). Pure functions; nothing here knows accounts.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

LOCAL_LIMIT_BYTES = 1100
"""More than RFC 5321 §4.5.3.1.1 asks for, because a mailbox name may follow the plus sign."""
DOMAIN_LIMIT_BYTES = 255

_ATOM = rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\xff]+"
_DOT_STRING = rb"%s(?:\.%s)*" % (_ATOM, _ATOM)
_QUOTED = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e])*"'
_LABEL = rb"[A-Za-z0-9_\x80-\xff](?:[A-Za-z0-9_\x80-\xff-]*[A-Za-z0-9_\x80-\xff])?"
_DOMAIN = rb"(?:%s(?:\.%s)*\.?|\[[\x21-\x5a\x5e-\x7e]*\])" % (_LABEL, _LABEL)
_ADDRESS = rb"(?P<local>%s|%s)(?:@(?P<domain>%s))?" % (_DOT_STRING, _QUOTED, _DOMAIN)
_ROUTE = rb"(?:@%s(?:,@%s)*:)?" % (_DOMAIN, _DOMAIN)
_PATH = re.compile(rb"(?P<quoted><)?(?P<address>%s%s)?(?(quoted)>)" % (_ROUTE, _ADDRESS))
_PLAIN = re.compile(_DOT_STRING)


class BadPath(Exception):
    """The address is not one (501 5.1.3 for a recipient, 501 5.1.7 for a sender)."""


@dataclass(slots=True)
class Path:
    """An address as the envelope gives it; the null reverse-path ``<>`` has an empty local part."""

    local: str
    domain: str | None
    text: str = field(init=False, compare=False, repr=False)
    """As it stands between angle brackets."""

    def __post_init__(self) -> None:
        local = self.local
        if local and _PLAIN.fullmatch(local.encode()) is None:
            local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
        self.text = local if self.domain is None else f"{local}@{self.domain}"

    def __str__(self) -> str:
        return self.text

    @property
    def is_ascii(self) -> bool:
        """Whether it may stand where SMTPUTF8 was not asked for."""
        return self.text.isascii()

    def split_plus(self) -> tuple[str, str]:
        """Return the user and what follows the first plus sign, empty when there is none."""
        user, _, detail = self.local.partition("+")
        return user, detail


def parse_path(data: bytes) -> tuple[Path, bytes]:
    """Read one path at the start of the bytes; return it and what follows it.

    RFC 5321 §4.1.2, RFC 6531 §3.3.
    Raises: BadPath.
    """
    data = data.lstrip(b" \t")
    try:
        data.decode()
    except UnicodeDecodeError:
        raise BadPath("address is neither ASCII nor UTF-8") from None
    match = _PATH.match(data)
    if match is None or match.end() == 0:
        raise BadPath("not an address")
    rest = data[match.end() :]
    if rest and rest[:1] not in b" \t":
        raise BadPath("not an address")
    local, domain = match["local"] or b"", match["domain"]
    if len(local) > LOCAL_LIMIT_BYTES or (domain is not None and len(domain) > DOMAIN_LIMIT_BYTES):
        raise BadPath("address is too long")
    if local.startswith(b'"'):
        local = re.sub(rb"\\(.)", rb"\1", local[1:-1])
        if not local:
            raise BadPath("address has an empty local part")
    name = None if domain is None else domain.decode().rstrip(".")
    path = Path(local.decode(), name)
    if not path.text.isprintable() and any(unicodedata.category(c) == "Cc" for c in path.text):
        raise BadPath("address has a control character in it")
    return path, rest.strip(b" \t")
