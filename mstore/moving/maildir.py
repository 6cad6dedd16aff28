"""Reads Maildir: Maildir++ as Courier and Dovecot lay it out, and directories within directories.

UIDs and UIDVALIDITY come from ``dovecot-uidlist`` or ``courierimapuiddb``, names of keywords from
``dovecot-keywords``. A message may be renamed by its server while we read: it is then looked for again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mstore.base.errors import Invalid
from mstore.mail.crlf import normalise
from mstore.moving.foreign import ForeignMailbox, ForeignMessage, Unreadable, Wanted, decode_level

LETTERS = {"S": rb"\Seen", "R": rb"\Answered", "F": rb"\Flagged", "T": rb"\Deleted", "D": rb"\Draft",
            "P": b"$Forwarded"}  # fmt: skip
KEYWORD_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DELIVERED = re.compile(r"\d+")
UID_LISTS = ("dovecot-uidlist", "courierimapuiddb")
SUBSCRIPTIONS = ("subscriptions", "courierimapsubscribed")


class Maildir:
    """The mail of one user in a Maildir."""

    identity = "maildir"

    def __init__(self, path: Path) -> None:
        """Raises: Invalid when there is no Maildir there."""
        self.path = path
        if not (path / "cur").is_dir():
            raise Invalid(f"{path} is no Maildir: it has no directory cur")

    def mailboxes(self) -> Iterator[ForeignMailbox]:
        """INBOX, then the others by name. Raises: OSError."""
        yield read_mailbox("INBOX", self.path)
        for name, path in sorted(self._others(self.path, ())):
            yield read_mailbox(name, path)

    def subscriptions(self) -> list[str]:
        """The names subscribed to. Raises: OSError."""
        for file in SUBSCRIPTIONS:
            try:
                lines = (self.path / file).read_text("utf-8", "surrogateescape").splitlines()
            except FileNotFoundError:
                continue
            if lines and lines[0].startswith("V\t"):
                return ["/".join(map(decode_level, line.split("\t"))) for line in lines[1:] if line]
            return [_plain_name(line) for line in lines if line]
        return []

    def _others(self, path: Path, above: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
        for entry in os.scandir(path):
            if not entry.is_dir() or entry.name in ("cur", "new", "tmp"):
                continue
            found = Path(entry.path)
            if entry.name.startswith("."):
                if not above and (found / "cur").is_dir():
                    yield _plain_name(entry.name[1:]), found
                continue
            levels = (*above, decode_level(entry.name))
            if (found / "cur").is_dir():
                yield "/".join(levels), found
            yield from self._others(found, levels)


def _plain_name(text: str) -> str:
    """A name with dots between the levels, as Maildir++ has them; Courier puts INBOX before each."""
    levels = [decode_level(level) for level in re.split(r"[./]", text)]
    if len(levels) > 1 and levels[0] == "INBOX":
        levels = levels[1:]
    return "/".join(levels)


def read_mailbox(name: str, path: Path) -> ForeignMailbox:
    """One directory with ``cur`` and ``new``. Raises: OSError."""
    uid_validity, uid_next, uids = _read_uid_list(path)
    files = [(entry.name, sub) for sub in ("cur", "new") for entry in _files(path / sub)]
    ordered = sorted(files, key=lambda file: _order(uids.get(_base(file[0])), file[0]))
    messages = partial(_messages, str(path), ordered, uids, _read_keywords(path))
    return ForeignMailbox(name, uid_validity, uid_next, messages, len(ordered))


def _files(path: Path | str) -> list[os.DirEntry[str]]:
    try:
        return [entry for entry in os.scandir(path) if not entry.name.startswith(".") and entry.is_file()]
    except FileNotFoundError:
        return []


def _base(file: str) -> str:
    return file.partition(":")[0]


def _order(uid: int | None, file: str) -> tuple[bool, int, str]:
    """By UID, and those that have none yet behind, as they were delivered."""
    if uid is not None:
        return False, uid, ""
    delivered = _DELIVERED.match(file)
    return True, int(delivered[0]) if delivered else 0, file


def _messages(
    path: str,
    files: list[tuple[str, str]],
    uids: dict[str, int],
    keywords: dict[str, bytes],
    wanted: Wanted,
) -> Iterator[ForeignMessage]:
    for file, sub in files:
        base = _base(file)
        if not wanted(base, uids.get(base)):
            continue
        flags = []
        for letter in file.partition(":2,")[2]:
            flag = LETTERS.get(letter) or keywords.get(letter)
            if flag is not None:
                flags.append(flag)
        try:
            date = int(os.stat(_find(path, sub, file)).st_mtime)
        except Unreadable:
            continue  # Expunged since the directory was read.
        yield ForeignMessage(base, uids.get(base), tuple(flags), date, partial(_read, path, sub, file))


def _find(path: str, sub: str, file: str) -> str:
    found = f"{path}/{sub}/{file}"
    if os.path.exists(found):
        return found
    base = _base(file)
    for other in ("cur", "new"):
        for entry in _files(f"{path}/{other}"):
            if _base(entry.name) == base:
                return entry.path
    raise Unreadable(f"{found}: is gone")


def _read(path: str, sub: str, file: str) -> bytes:
    try:
        with open(_find(path, sub, file), "rb", buffering=0) as opened:
            return normalise(opened.readall())
    except OSError as error:
        raise Unreadable(f"{error.filename}: {error.strerror}") from error


def _read_keywords(path: Path) -> dict[str, bytes]:
    """Letters of file names, and the keywords they stand for."""
    try:
        lines = (path / "dovecot-keywords").read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return {}
    found = {}
    for line in lines:
        number, _, keyword = line.partition(" ")
        if number.isdigit() and int(number) < len(KEYWORD_LETTERS) and keyword:
            found[KEYWORD_LETTERS[int(number)]] = keyword.encode()
    return found


def _read_uid_list(path: Path) -> tuple[int | None, int | None, dict[str, int]]:
    """UIDVALIDITY, UIDNEXT, and the UIDs by the file names' first parts; a damaged list counts as none."""
    for file in UID_LISTS:
        try:
            lines = (path / file).read_text("utf-8", "surrogateescape").splitlines()
        except FileNotFoundError:
            continue
        head = lines[0].split() if lines else []
        if head[:1] == ["3"]:
            fields = {field[0]: field[1:] for field in head[1:]}
            validity, following = fields.get("V", ""), fields.get("N", "")
        elif head[:1] == ["1"] and len(head) == 3:
            validity, following = head[1:]
        else:
            return None, None, {}
        if not (validity.isdigit() and following.isdigit()):
            return None, None, {}
        uids = {}
        for line in lines[1:]:
            uid, _, rest = line.partition(" ")
            name = rest.rpartition(" :")[2] if head[0] == "3" else rest
            if uid.isdigit() and name:
                uids[_base(name.removeprefix(":"))] = int(uid)
        return int(validity), int(following), uids
    return None, None, {}
