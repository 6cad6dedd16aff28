"""Writes an account's mail as a Maildir or as mbox files, which others read, and ``msadm import`` does.

What is written already is left as it is, so that an interrupted export is begun again. Nothing of the account
is changed, and nobody is kept waiting.
"""

from __future__ import annotations

import calendar
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mstore.base.errors import Expunged
from mstore.base.flags import FIRST_KEYWORD_BIT, SYSTEM_FLAGS
from mstore.files import raw
from mstore.moving import maildir, mbox
from mstore.moving.foreign import encode_level
from mstore.store.account import Account
from mstore.store.mailbox import Mailbox

_FROM = re.compile(rb"^(>*From )", re.MULTILINE)
_FILE_MODE = 0o600
_SYNC_MESSAGES = 1000
_SYNC_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Leaving:
    """One message on its way out."""

    uid: int
    flags: tuple[bytes, ...]
    date: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of one mailbox."""

    name: str
    messages: int
    lost_keywords: int
    """So many keywords have no place in the form chosen."""
    already: int = 0
    """So many messages were there before, and were left."""
    problems: tuple[str, ...] = ()
    """What could not be brought there, and why."""


Show = Callable[[str, int], Callable[[int], None]]


class Target(Protocol):
    """A form that an account's mail is written in."""

    def write(self, name: str, mailbox: Mailbox, advance: Callable[[int], None]) -> Written: ...
    def subscribe(self, names: list[str]) -> None: ...


def leave(
    account: Account, target: Target, show: Callable[[str, int], Callable[[int], None]]
) -> Iterator[Written]:
    """Write all mailboxes, one by one; ``show`` begins to show the progress of each.

    Raises: OSError; StorageFailed, Corrupt for what cannot be read here.
    """
    for name, entry in sorted(account.mailboxes().items()):
        if entry.no_select:
            continue
        mailbox = account.open_entry(entry)
        try:
            yield target.write(name, mailbox, show(name, mailbox.index.messages))
        finally:
            mailbox.release()
    target.subscribe(sorted(account.subscriptions()))


def messages_of(mailbox: Mailbox) -> Iterator[Leaving]:
    """All messages by UID; one that is expunged meanwhile, and whose bytes are gone, is left out."""
    full = mailbox.columns.full
    for row in mailbox.index.live_rows().tolist():
        try:
            content = mailbox.read(row)
        except Expunged:
            continue
        bits = full.flags.item(row)
        flags = [flag for bit, flag in enumerate(SYSTEM_FLAGS) if bits >> bit & 1]
        flags += [word for bit, word in enumerate(mailbox.keywords, FIRST_KEYWORD_BIT) if bits >> bit & 1]
        yield Leaving(full.uid.item(row), tuple(flags), full.internal_date.item(row), content)


def with_lf(content: bytes) -> bytes:
    """A message with the line ends of files, if nothing else in it looks like one."""
    ends = content.count(b"\r\n")
    if content.count(b"\r") != ends or content.count(b"\n") != ends:
        return content
    return content.replace(b"\r\n", b"\n")


class MaildirTarget:
    """Maildir++ with the lists that Dovecot keeps beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, mailbox: Mailbox, advance: Callable[[int], None]) -> Written:
        """Write a mailbox. Raises: OSError."""
        path = (
            self._path if name == "INBOX" else self._path / f".{'.'.join(map(encode_level, name.split('/')))}"
        )
        for each in ("cur", "new", "tmp"):
            (path / each).mkdir(parents=True, exist_ok=True, mode=0o700)
        there = {file.partition(":")[0]: file for file in os.listdir(path / "cur")}
        keywords = mailbox.keywords[: len(maildir.KEYWORD_LETTERS)]
        letters = {flag: letter for letter, flag in maildir.LETTERS.items()}
        letters |= dict(zip(keywords, maildir.KEYWORD_LETTERS, strict=False))
        lines, lost = [f"3 V{mailbox.uid_validity} N{mailbox.uid_next}"], 0
        passing = _Passing(path)
        for message in messages_of(mailbox):
            content = with_lf(message.content)
            base = f"{message.date}.V{mailbox.uid_validity}U{message.uid}.m-store,S={len(content)}"
            marks = "".join(sorted(letters[flag] for flag in message.flags if flag in letters))
            lost += sum(flag not in letters for flag in message.flags)
            passing.put(f"{base}:2,{marks}", there.get(base), content, message.date)
            lines.append(f"{message.uid} :{base}")
            advance(1)
        passing.settle()
        numbered = [f"{number} {word.decode('utf-8', 'replace')}" for number, word in enumerate(keywords)]
        _write(path / "dovecot-keywords", numbered)
        _write(path / "dovecot-uidlist", lines)
        return Written(name, len(lines) - 1, lost)

    def subscribe(self, names: list[str]) -> None:
        """Write the subscriptions. Raises: OSError."""
        lines = ["\t".join(map(encode_level, name.split("/"))) for name in names]
        _write(self._path / "subscriptions", ["V\t2", "", *lines])


class _Passing:
    """Messages on their way into a Maildir, as Maildir wants it: in ``tmp``, and in ``cur`` once on disk.

    One sync of the file system serves many: a sync of each is what an export would mostly consist of.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: list[str] = []
        self._bytes = 0

    def put(self, name: str, there: str | None, content: bytes, date: int) -> None:
        """Write a message's file; the one that is there only gets the flags as they are now.

        Raises: OSError, StorageFailed.
        """
        if there is not None:
            if there != name:
                raw.rename(self._path / "cur" / there, self._path / "cur" / name)
            return
        passing = self._tmp(name)
        with open(passing, "wb", opener=_private) as file:
            file.write(content)
        os.utime(passing, (date, date))
        self._names.append(name)
        self._bytes += len(content)
        if len(self._names) >= _SYNC_MESSAGES or self._bytes >= _SYNC_BYTES:
            self.settle()

    def settle(self) -> None:
        """Give all files their names. Durable: the messages. Raises: OSError, StorageFailed."""
        if self._names:
            raw.sync_filesystem(self._path)
            for name in self._names:
                raw.rename(self._tmp(name), self._path / "cur" / name)
            self._names, self._bytes = [], 0
        raw.sync_directory(self._path / "cur")

    def _tmp(self, name: str) -> Path:
        return self._path / "tmp" / name.partition(":")[0]


class MboxTarget:
    """A file for each mailbox, quoted as mboxrd, with what Dovecot and c-client note in the headers."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, mailbox: Mailbox, advance: Callable[[int], None]) -> Written:
        """Write a mailbox, whole. Raises: OSError."""
        *above, last = map(encode_level, name.split("/"))
        path = self._path.joinpath(*above, last + mbox.SUFFIX)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        passing = path.with_name(f".{path.name}.new")
        count = 0
        with open(passing, "wb", opener=_private) as file:
            for message in messages_of(mailbox):
                base = (mailbox.uid_validity, mailbox.uid_next - 1) if count == 0 else None
                file.write(_format(message, base))
                count += 1
                advance(1)
            file.flush()
            raw.sync(file.fileno())
        raw.rename(passing, path)
        return Written(name, count, 0)

    def subscribe(self, names: list[str]) -> None:
        """Write the subscriptions. Raises: OSError."""
        _write(self._path / mbox.SUBSCRIPTIONS, names)


def _format(message: Leaving, base: tuple[int, int] | None) -> bytes:
    letters = {flag: letter for letter, flag in mbox.LETTERS.items()}
    seen = rb"\Seen" in message.flags
    marks = b"".join(letters[flag] for flag in message.flags if flag in letters and flag != rb"\Seen")
    words = b" ".join(flag for flag in message.flags if flag not in letters)
    head = [b"X-IMAPbase: %d %010d" % base] if base is not None else []
    head += [b"X-UID: %d" % message.uid, b"Status: " + (b"RO" if seen else b"O")]
    head += [b"X-Status: " + marks] if marks else []
    head += [b"X-Keywords: " + words] if words else []
    content = with_lf(message.content)
    if b"From " in content:
        content = _FROM.sub(rb">\1", content)
    when = calendar_line(message.date)
    end = b"\n" if content.endswith(b"\n") else b"\n\n"
    return b"From MAILER-DAEMON %s\n%s\n%s%s" % (when, b"\n".join(head), content, end)


def calendar_line(date: int) -> bytes:
    """A time as a From line has it, in universal time (RFC 4155)."""
    moment = time.gmtime(date)
    day, month = calendar.day_abbr[moment.tm_wday], calendar.month_abbr[moment.tm_mon]
    clock = time.strftime("%H:%M:%S", moment)
    return f"{day} {month} {moment.tm_mday:2d} {clock} {moment.tm_year:04d}".encode("ascii")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, _FILE_MODE)


def _write_bytes(path: Path, content: bytes) -> None:
    with open(path, "wb", opener=_private) as file:
        file.write(content)
        file.flush()
        raw.sync(file.fileno())


def _write(path: Path, lines: list[str]) -> None:
    passing = path.with_name(path.name + ".new")
    _write_bytes(passing, "".join(f"{line}\n" for line in lines).encode("utf-8"))
    raw.rename(passing, path)
