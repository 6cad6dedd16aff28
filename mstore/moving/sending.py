"""Adds an account's mail to another IMAP server (RFC 3501); nothing there is changed or removed.

What is there already is recognised by its INTERNALDATE and the headers that tell messages apart, as often as
it is there, so that an interrupted export is begun again and doubles nothing, whatever server it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b

from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from mstore.base.errors import OverQuota, Unavailable
from mstore.moving.foreign import Unreadable
from mstore.moving.leaving import Leaving, Written, messages_of
from mstore.moving.remote import Connection, Remote
from mstore.store.mailbox import Mailbox

_BATCH = 100
_BATCH_BYTES = 4 << 20
_LISTED = 2000
_TOLD_APART = ("DATE", "FROM", "MESSAGE-ID", "SUBJECT", "TO")
_FIELD = re.compile(
    rb"^(%b)[ \t]*:((?:.|\n[ \t])*)" % "|".join(_TOLD_APART).encode(), re.IGNORECASE | re.MULTILINE
)
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
Key = tuple[int, bytes]


def key_of(date: int, content: bytes) -> Key:
    """What a message is recognised by, given all of it, or of its header at least what counts."""
    end = _END_OF_HEADER.search(content)
    header = content if end is None else content[: end.start() + 1]
    fields = sorted((name.upper(), b" ".join(value.split())) for name, value in _FIELD.findall(header))
    return date, blake2b(b"\0".join(b"\0".join(pair) for pair in fields), digest_size=8).digest()


@dataclass
class _Outgoing:
    """One mailbox on its way."""

    name: str
    theirs: str
    permanent: frozenset[bytes]
    """The flags that can be kept there, in small letters."""
    written: int = 0
    lost_keywords: int = 0
    problems: list[str] = field(default_factory=list)

    def kept(self, message: Leaving) -> list[bytes]:
        """Those flags of a message that have a place there."""
        if rb"\*" in self.permanent or not self.permanent:
            return list(message.flags)
        kept = [flag for flag in message.flags if flag.lower() in self.permanent]
        self.lost_keywords += sum(not flag.startswith(b"\\") for flag in message.flags if flag not in kept)
        return kept


class ImapTarget(Connection):
    """An account on another server that mail is added to."""

    def __init__(self, remote: Remote, uses: Mapping[str, str] | None = None) -> None:
        """``uses`` are special uses (RFC 6154), by our names. Raises: Unavailable, Denied."""
        super().__init__(remote)
        self._uses = uses or {}
        self._there = {self._our_name(name) for _, _, name in self._try(self._list)}
        self._batch = _BATCH if self._client.has_capability("MULTIAPPEND") else 1

    def write(self, name: str, mailbox: Mailbox, advance: Callable[[int], None]) -> Written:
        """Add what of a mailbox is not there. Raises: OverQuota, Unavailable, Unreadable."""
        theirs = self._their_name(name)
        self._create(name, theirs)
        told = self._try(lambda: self._client.select_folder(theirs))
        permanent = frozenset(flag.lower() for flag in told.get(b"PERMANENTFLAGS", ()))
        there = self._keys(theirs) if told[b"EXISTS"] else Counter[Key]()
        out = _Outgoing(name, theirs, permanent)
        already, size = 0, 0
        batch: list[Leaving] = []
        for message in messages_of(mailbox):
            key = key_of(message.date, message.content)
            if there[key]:
                there[key] -= 1
                already += 1
                advance(1)
                continue
            if batch and (len(batch) >= self._batch or size + len(message.content) > _BATCH_BYTES):
                self._send(out, batch, advance)
                batch, size = [], 0
            batch.append(message)
            size += len(message.content)
        if batch:
            self._send(out, batch, advance)
        return Written(name, out.written, out.lost_keywords, already, tuple(out.problems))

    def subscribe(self, names: list[str]) -> None:
        """Subscribe to these, where the server lets one. Raises: Unavailable."""
        for name in names:
            try:
                self._try(partial(self._client.subscribe_folder, self._their_name(name)))
            except Unreadable:
                continue  # A name that is nowhere may be subscribed here, and not everywhere.

    def _list(self) -> list[tuple[object, object, str]]:
        found: list[tuple[object, object, str]] = self._client.list_folders("", self._prefix + "*")
        return found

    def _create(self, name: str, theirs: str) -> None:
        if self._our_name(theirs) in self._there:
            return
        client, use = self._client, self._uses.get(name)
        if use is not None and client.has_capability("CREATE-SPECIAL-USE"):
            words = [client._normalise_folder(theirs), f"(USE ({use}))".encode("ascii")]
            try:
                client._raw_command_untagged(b"CREATE", words, uid=False)
                return
            except IMAPClientAbortError as error:
                raise Unavailable(f"{self._remote.host}: {error}") from error
            except IMAPClientError:
                pass  # Another mailbox there may have that use.
        self._try(lambda: client.create_folder(theirs))

    def _keys(self, theirs: str) -> Counter[Key]:
        """What is there, by what it is recognised by."""
        asked = ["INTERNALDATE", f"BODY.PEEK[HEADER.FIELDS ({' '.join(_TOLD_APART)})]"]
        found = Counter[Key]()
        uids = self._try(lambda: self._client.search("ALL"))
        for at in range(0, len(uids), _LISTED):
            for items in self._try(partial(self._client.fetch, uids[at : at + _LISTED], asked)).values():
                header = next((text for item, text in items.items() if item.startswith(b"BODY[")), b"")
                found[key_of(int(items[b"INTERNALDATE"].timestamp()), header or b"")] += 1
        return found

    def _send(self, out: _Outgoing, batch: list[Leaving], advance: Callable[[int], None]) -> None:
        """Add some messages, all of which arrive or none (RFC 3502); one that is refused goes alone."""
        refusal = self._append(out, batch)
        if refusal is None:
            out.written += len(batch)
        elif len(batch) > 1:
            for message in batch:
                self._send(out, [message], advance)
            return
        else:
            out.problems.append(f"{out.name}: message {batch[0].uid} is refused: {refusal}")
        advance(len(batch))

    def _append(self, out: _Outgoing, batch: list[Leaving]) -> str | None:
        """Why the server would not have them; None when it has them. Raises: Unavailable, OverQuota."""
        messages = [
            {"flags": out.kept(each), "date": datetime.fromtimestamp(each.date, UTC), "msg": each.content}
            for each in batch
        ]
        try:
            status, told = self._client.multiappend(out.theirs, messages)
        except IMAPClientAbortError as error:
            text = str(error)
            if not text.startswith("unexpected response"):
                # Whether they have arrived nobody knows; the next time it is seen.
                raise Unavailable(f"{self._remote.host}: {text}") from error
            self._client = self._connect()
        except IMAPClientError as error:
            text = str(error)
        except OSError as error:
            raise Unavailable(f"{self._remote.host}: {error}") from error
        else:
            if status == "OK":
                return None
            text = " ".join(each.decode("utf-8", "replace") for each in told if isinstance(each, bytes))
        if "OVERQUOTA" in text.upper():
            raise OverQuota(f"{self._remote.host}: {text}")
        return text
