"""Reads mbox files: mboxo, mboxrd, mboxcl and mboxcl2, with what c-client and Dovecot note in the headers.

A message begins with a ``From`` line behind an empty one; where ``Content-Length`` leads exactly to the next
such line, or to the end, it is believed, and nothing in the body is unquoted (RFC 4155, appendix A).
"""

from __future__ import annotations

import calendar
import mmap
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_tz
from functools import partial
from hashlib import sha256
from pathlib import Path

from mstore.base.errors import Invalid
from mstore.mail.crlf import normalise
from mstore.moving.foreign import ForeignMailbox, ForeignMessage, Wanted, decode_level

_BEGIN = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]*\d\d:\d\d[^\n]*\n")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
# What begins with a line feed is searched for at C speed; ^ is tried at each byte.
_NOTES = re.compile(
    rb"\n(Status|X-Status|X-Keywords|X-UID|X-IMAP|X-IMAPbase|Content-Length):[ \t]*"
    rb"([^\n]*(?:\n[ \t][^\n]*)*)(?=\n)",
    re.IGNORECASE,
)
_LENGTH = re.compile(rb"\nContent-Length:[ \t]*(\d{1,18})[ \t]*(?=\n)", re.IGNORECASE)
_WHEN = re.compile(
    r"(\w{3}) +(\d+) +(\d\d:\d\d(?::\d\d)?)(?: +([A-Za-z]+|[+-]\d{4}))? +(\d{4})(?: +([+-]\d{4}))?"
)
LETTERS = {b"R": rb"\Seen", b"A": rb"\Answered", b"F": rb"\Flagged", b"D": rb"\Deleted", b"T": rb"\Draft"}
_PSEUDO = re.compile(rb"^Subject: DON'T DELETE THIS MESSAGE", re.MULTILINE)
_MOST_HEADER = 1 << 20
SUFFIX = ".mbox"
"""Some give it to their files; it is no part of the mailbox's name."""
SUBSCRIPTIONS = ".subscriptions"


@dataclass(slots=True)
class _Notes:
    """What the headers of a message say that is not the message's own."""

    uid: int | None = None
    flags: list[bytes] = field(default_factory=list)
    base: tuple[int, int] | None = None
    """UIDVALIDITY and the last UID."""


class Mbox:
    """The mail of one user: one file, or a directory of them."""

    identity = "mbox"

    def __init__(self, path: Path, name: str | None = None) -> None:
        """``name`` is the mailbox that a single file becomes, otherwise INBOX.

        Raises: Invalid when nothing is there, or a name is given for a directory.
        """
        if not path.exists():
            raise Invalid(f"{path}: there is no such file or directory")
        if path.is_dir() and name is not None:
            raise Invalid(f"{path} is a directory: its files have names of their own")
        self.path = path
        self._name = name or "INBOX"

    def mailboxes(self) -> Iterator[ForeignMailbox]:
        """One for each file that is an mbox; in directories, others are passed over. Raises: OSError."""
        if self.path.is_file():
            yield read_mailbox(self._name, self.path)
            return
        for directory, below, files in os.walk(self.path):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for file in sorted(files):
                path = Path(directory, file)
                if not file.startswith(".") and _is_mbox(path):
                    levels = path.relative_to(self.path).parts
                    name = "/".join(map(decode_level, (*levels[:-1], file.removesuffix(SUFFIX))))
                    yield read_mailbox("INBOX" if name.lower() == "inbox" else name, path)

    def subscriptions(self) -> list[str]:
        """Those that stand in a file ``.subscriptions``, a line each."""
        try:
            return (self.path / SUBSCRIPTIONS).read_text("utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []


def _is_mbox(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(5)
    return start in (b"", b"From ")


def read_mailbox(name: str, path: Path) -> ForeignMailbox:
    """One file. Raises: OSError, Invalid when it is no mbox."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return ForeignMailbox(name, None, None, lambda wanted: iter(()), 0)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if not _BEGIN.match(data):
                raise Invalid(f"{path} is no mbox: it does not begin with a From line")
            _, start, end, _ = next(_split(data))
            base = _take_notes(data[start:end])[1].base
            count = sum(1 for _ in _split(data))
    validity, last = base or (None, None)
    return ForeignMailbox(name, validity, last + 1 if last is not None else None, partial(_read, path), count)


def _split(data: mmap.mmap) -> Iterator[tuple[int, int, int, bool]]:
    """For each message: where its From line is, where it begins and ends, whether its body may be quoted."""
    found: re.Match[bytes] | None = _BEGIN.match(data)
    while found is not None:
        start = found.end()
        end, counted = _counted_end(data, start)
        following = _BEGIN.match(data, end) if counted else _next(data, start)
        if not counted:
            end = len(data) if following is None else following.start()
        yield found.start(), start, end, not counted
        found = following


def _next(data: mmap.mmap, start: int) -> re.Match[bytes] | None:
    place = data.find(b"\nFrom ", max(0, start - 1))
    while place >= 0:
        found = _BEGIN.match(data, place + 1)
        if found is not None:
            return found
        place = data.find(b"\nFrom ", place + 1)
    return None


def _counted_end(data: mmap.mmap, start: int) -> tuple[int, bool]:
    """Where the message ends by its Content-Length, and whether that can be believed."""
    header_end = data.find(b"\n\n", start, start + _MOST_HEADER)
    if header_end < 0:
        return 0, False
    length = _LENGTH.search(b"\n" + data[start : header_end + 1])
    if length is None:
        return 0, False
    end = header_end + 2 + int(length[1])
    while data[end : end + 1] == b"\n":
        end += 1
    return end, end == len(data) or (end < len(data) and _BEGIN.match(data, end) is not None)


def _read(path: Path, wanted: Wanted) -> Iterator[ForeignMessage]:
    """The messages. Raises: OSError."""
    seen: Counter[str] = Counter()
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, (line, start, end, quoted) in enumerate(_split(data)):
            content, notes = _take_notes(data[start:end])
            if number == 0 and notes.base is not None and _PSEUDO.search(content[:4096]):
                continue
            if quoted and b">From " in content:
                content = _QUOTED.sub(rb"\1", content)
            content = normalise(_without_last_line(content))
            digest = sha256(content).hexdigest()[:32]
            seen[digest] += 1
            key = f"{digest}.{seen[digest]}"
            if not wanted(key, notes.uid):
                continue
            date = _date_of(data[line:start])
            yield ForeignMessage(key, notes.uid, tuple(notes.flags), date, partial(bytes, content))


def _without_last_line(content: bytes) -> bytes:
    """Without the empty line that stands between a message and the next From line."""
    if content.endswith(b"\r\n\r\n"):
        return content[:-2]
    return content[:-1] if content.endswith(b"\n\n") else content


def _take_notes(content: bytes) -> tuple[bytes, _Notes]:
    """The message without the headers in which mail programs keep what they know of it, and what they say."""
    header, separator, body = content.partition(b"\n\n")
    if not separator:
        header, separator, body = content.partition(b"\r\n\r\n")
    notes = _Notes()
    rest = _NOTES.sub(partial(_note, notes), b"\n" + header + b"\n")
    rest = rest[1:].removesuffix(b"\n")
    if header and not rest:
        separator = separator[len(separator) // 2 :]  # The message has no header of its own.
    return rest + separator + body, notes


def _note(notes: _Notes, found: re.Match[bytes]) -> bytes:
    name, value = found[1].lower(), b" ".join(found[2].split())
    if name in (b"status", b"x-status"):
        notes.flags += [flag for letter, flag in LETTERS.items() if letter in value]
    elif name == b"x-keywords":
        notes.flags += value.split()
    elif name == b"x-uid":
        notes.uid = int(value) if value.isdigit() and 0 < int(value) < 1 << 32 else None
    elif name != b"content-length":
        numbers = value.split()[:2]
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):
            notes.base = int(numbers[0]), int(numbers[1])
    return b""


def _date_of(line: bytes) -> int:
    """When the message came in, by its From line; universal time where it names no zone."""
    found = _WHEN.search(line.decode("ascii", "replace"))
    if found is not None:
        month, day, hours, zone, year, offset = found.groups()
        parsed = parsedate_tz(f"{day} {month} {year} {hours} {offset or zone or '+0000'}")
        if parsed is not None:
            return calendar.timegm((*parsed[:6], 0, 0, 0)) - (parsed[9] or 0)
    return int(time.time())
