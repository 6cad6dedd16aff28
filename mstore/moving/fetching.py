"""FETCH of many messages of another server (RFC 9051 §6.4.5), read as they come.

One command asks for many, whose answers the server sends while what has come is put away; no more than one
message is held here. The next command waits for the end of the last: Dovecot answers several in turns, and
messages must come in the order of their UIDs.
"""

from __future__ import annotations

import calendar
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError
from imapclient.response_parser import parse_fetch_response

from mstore.base.numset import format_numset
from mstore.mail.crlf import normalise

_PORTION = 500
_ITEMS = b"(UID FLAGS INTERNALDATE BODY.PEEK[])"
_FETCH = re.compile(rb"\* \d+ FETCH \(", re.IGNORECASE)
_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")
_ITEM = re.compile(
    rb'(?:UID (\d+)|FLAGS \(([^()"{]*)\)|INTERNALDATE "([^"]*)"|(BODY\[\]) \{\d+\}\r\n)(?: |(?=\)))',
    re.IGNORECASE,
)
_DATE = re.compile(rb" ?(\d+)-([A-Z][a-z]{2})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS = {month.encode(): number for number, month in enumerate(calendar.month_abbr) if month}


class Fetched(NamedTuple):
    """One message, or why the server does not give it."""

    uid: int
    flags: tuple[bytes, ...] = ()
    date: int = 0
    """INTERNALDATE, seconds since 1970."""
    content: bytes = b""
    refusal: str | None = None


def list_uids(client: IMAPClient) -> list[int]:
    """The UIDs of the selected mailbox, ascending; SEARCH would tell them in one line of any length.

    Raises: IMAPClientError, IMAPClientAbortError, OSError.
    """
    wire = _Wire(client)
    tag = wire.ask(b"UID FETCH 1:* (UID)")
    uids = set()
    while (response := wire.next()).tag is None:
        if response.uid is not None:
            uids.add(response.uid)
    if response.tag != tag or not response.is_ok:
        raise IMAPClientError(response.text)
    return sorted(uids)


class Fetch:
    """Messages by their UIDs, of a mailbox that is selected, on one connection or several in turn."""

    def __init__(self, uids: Iterable[int]) -> None:
        self.left = dict.fromkeys(uids)
        """Those that have neither come nor are known to have gone."""

    def run(self, client: IMAPClient) -> Iterator[Fetched]:
        """Those that are left, in the order in which the server gives them.

        Where it refuses a portion, each message of it is asked for alone. The connection is good for nothing
        else before the end. Raises: IMAPClientAbortError, IMAPClientError, OSError.
        """
        wire = _Wire(client)
        uids = list(self.left)
        portions = deque(uids[at : at + _PORTION] for at in range(0, len(uids), _PORTION))
        while portions:
            portion = portions.popleft()
            tag = wire.ask(b"UID FETCH %b %b" % (format_numset(portion), _ITEMS))
            while (response := wire.next()).tag is None:
                if response.content is not None and response.uid in self.left:
                    del self.left[response.uid]
                    yield Fetched(response.uid, response.flags, response.date, response.content)
            if response.tag != tag:
                raise IMAPClientAbortError(f"answers {response.tag!r} instead of {tag!r}")
            missing = [uid for uid in portion if uid in self.left]
            if not response.is_ok and len(portion) > 1:
                portions.extendleft([uid] for uid in reversed(missing))
                continue
            for uid in missing:  # Expunged meanwhile, unless it was refused.
                del self.left[uid]
                if not response.is_ok:
                    yield Fetched(uid, refusal=response.text)


class _Response(NamedTuple):
    """One response, tagged or not."""

    tag: bytes | None
    is_ok: bool = True
    text: str = ""
    uid: int | None = None
    flags: tuple[bytes, ...] = ()
    date: int = 0
    content: bytes | None = None


_OTHER = _Response(None)


class _Wire:
    """Commands and responses on a connection of IMAPClient's, past its own reading."""

    def __init__(self, client: IMAPClient) -> None:
        self._imap = client._imap

    def ask(self, command: bytes) -> bytes:
        """Send a command; gives its tag."""
        tag: bytes = self._imap._new_tag()
        self._imap.send(b"%b %b\r\n" % (tag, command))
        return tag

    def next(self) -> _Response:
        """The next response. Raises: IMAPClientAbortError where the server ends the connection, OSError."""
        line = self._line()
        if _FETCH.match(line):
            return self._fetched(line)
        if line[:2] in (b"* ", b"+ "):
            if line[2:5].upper() == b"BYE":
                raise IMAPClientAbortError(line.decode("utf-8", "replace").strip())
            return _OTHER
        tag, _, text = line.partition(b" ")
        return _Response(tag, text[:2].upper() == b"OK", text.decode("utf-8", "replace").strip())

    def _line(self) -> bytes:
        line: bytes = self._imap.readline()
        if not line.endswith(b"\r\n"):
            raise IMAPClientAbortError("the connection was closed")
        return line

    def _fetched(self, line: bytes) -> _Response:
        lines, literals = [line], []
        while (found := _LITERAL.search(line)) is not None:
            size = int(found[1])
            literals.append(self._imap.read(size))
            if len(literals[-1]) != size:
                raise IMAPClientAbortError("the connection was closed")
            line = self._line()
            lines.append(line)
        return _read_items(b"".join(lines), literals) or _read_other(lines, literals)


def _read_items(text: bytes, literals: list[bytes]) -> _Response | None:
    """What a response says that has the items as nearly all servers write them; None for any other."""
    found = _FETCH.match(text)
    at = found.end() if found is not None else 0
    uid, flags, date, content = None, b"", 0, None
    while (item := _ITEM.match(text, at)) is not None:
        at = item.end()
        kind = item.lastindex
        if kind == 1:
            uid = int(item[1])
        elif kind == 2:
            flags = item[2]
        elif kind == 3:
            when = _DATE.fullmatch(item[3])
            if when is None or when[2] not in _MONTHS:
                return None
            date = _seconds(*when.groups())
        else:
            content = literals[0]
    if text[at:] != b")\r\n" or len(literals) > 1:
        return None
    return _Response(None, uid=uid, flags=tuple(flags.split()), date=date, content=_with_crlf(content))


def _read_other(lines: list[bytes], literals: list[bytes]) -> _Response:
    """The same of any response. Raises: IMAPClientError."""
    told: list[Any] = [line.removesuffix(b"\r\n") for line in lines]
    told[0] = told[0].removeprefix(b"* ").replace(b" FETCH ", b" ", 1)
    told = [*zip(told, literals, strict=False), told[-1]]
    [items] = parse_fetch_response(told, normalise_times=False, uid_is_key=False).values()
    date = items.get(b"INTERNALDATE")
    content = items.get(b"BODY[]")
    if b"BODY[]" in items and content is None:
        content = b""  # NIL
    return _Response(
        None,
        uid=items.get(b"UID"),
        flags=tuple(items.get(b"FLAGS", ())),
        date=int(date.timestamp()) if date is not None else 0,
        content=_with_crlf(content),
    )


def _with_crlf(content: bytes | None) -> bytes | None:
    return None if content is None else normalise(content)


def _seconds(*words: bytes) -> int:
    day, month, year, hours, minutes, seconds, sign, zone_hours, zone_minutes = words
    moment = (int(year), _MONTHS[month], int(day), int(hours), int(minutes), int(seconds))
    ahead = int(zone_hours) * 3600 + int(zone_minutes) * 60
    return calendar.timegm(moment) + (ahead if sign == b"-" else -ahead)
