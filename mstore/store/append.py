"""The one door in: every message of whatever origin is appended here.

``append`` is atomic for its messages and durable on return. Several sessions of a process that append to one
mailbox at once share one lock, one sync and one group of the journal: the first to come leads, those who come
while it waits are taken along, and who comes while it syncs makes up the next round.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mstore.base import blocking
from mstore.base.errors import OverQuota
from mstore.base.ids import Uid
from mstore.files.blob import format_blob, readdress
from mstore.mail.structure import read_message_id
from mstore.mail.summary import ENVELOPE, Summary
from mstore.store.acts import current
from mstore.store.derived import BLOB_VERSION, MOST_BLOB_BYTES, summary_of
from mstore.store.quota import Uncounted, again

if TYPE_CHECKING:
    from mstore.base.blocking import Event
    from mstore.store.mailbox import Mailbox
    from mstore.store.transaction import Transaction
    from mstore.store.view import View

_MOST_ROUND_BYTES = 16 << 20
_SOON_BYTES = 1 << 20
_CHUNK_BYTES = 256 << 10


class Spooled(Protocol):
    """A message too large to be handed over as bytes: ``files.spool.Spool``."""

    @property
    def size(self) -> int: ...
    def buffer(self) -> Any: ...
    def chunks(self) -> Iterator[bytes]: ...


@dataclass(slots=True)
class NewMessage:
    """A message on its way in; what is computed from it is computed once, for all mailboxes it goes to."""

    content: bytes | Spooled
    internal_date: int
    """Seconds since 1970."""
    flags: int = 0
    """System flags, bits 0 to 4."""
    keywords: tuple[bytes, ...] = ()
    email_id: int = field(default_factory=lambda: int.from_bytes(os.urandom(8), "little"))
    uid: Uid | None = None
    """The UID it is to keep, of an import or a restore: not below UIDNEXT, ascending; None: the next."""
    save_date: int | None = None
    """When it came into the mailbox, seconds since 1970; None: now."""
    _summary: Summary | None = None
    _crc: int = -1
    _blob: bytes | None = None

    @property
    def size(self) -> int:
        content = self.content
        return len(content) if isinstance(content, bytes) else content.size

    def buffer(self) -> Any:
        """All of it, as bytes or as a mapping."""
        content = self.content
        return content if isinstance(content, bytes) else content.buffer()

    def chunks(self) -> Iterator[bytes]:
        """All of it in pieces."""
        content = self.content
        if not isinstance(content, bytes):
            return content.chunks()
        return (content[at : at + _CHUNK_BYTES] for at in range(0, len(content), _CHUNK_BYTES))

    def prepare(self) -> None:
        """Compute what the store keeps of it; better done before the lock is taken."""
        if self._summary is None:
            buffer = self.buffer()
            summary = summary_of(buffer)
            self._crc = zlib.crc32(buffer) if self.size <= _SOON_BYTES else blocking.call(zlib.crc32, buffer)
            self._summary = summary

    @property
    def summary(self) -> Summary:
        if self._summary is None:
            self.prepare()
            assert self._summary is not None
        return self._summary

    @property
    def crc(self) -> int:
        self.prepare()
        return self._crc

    @property
    def header_length(self) -> int:
        return self.summary.header_length

    @property
    def message_id(self) -> bytes | None:
        """Its Message-ID, as its envelope has it."""
        return read_message_id(self.summary.slots[ENVELOPE])

    def blob(self, uid: int) -> bytes:
        """What ``derived`` keeps of it under this UID; empty when that is too much."""
        if self._blob is None:
            blob = format_blob(uid, BLOB_VERSION, self.summary.slots)
            self._blob = blob if len(blob) <= MOST_BLOB_BYTES else b""
            return self._blob
        return readdress(self._blob, uid) if self._blob else b""

    @property
    def slots(self) -> Sequence[bytes]:
        return self.summary.slots


def append(
    mailbox: Mailbox,
    messages: Sequence[NewMessage],
    over_quota: bool = False,
    claimant: View | None = None,
) -> list[Uid]:
    """Add messages to a mailbox, all or none; gives their UIDs, ascending.

    ``over_quota`` adds them whatever the account may hold. They are \\Recent to the ``claimant``, a session
    that has the mailbox selected, if it claims such.
    Locks: takes the mailbox lock. Durable: the messages.
    Raises: OverQuota, StorageFailed, Busy, NotFound, LimitReached, Invalid for a keyword or a UID.
    """
    if not messages:
        return []
    for message in messages:
        message.prepare()
    try:
        return mailbox.arrivals.submit(messages, over_quota, claimant)
    except (OverQuota, Uncounted) as refusal:
        return again(mailbox.quota, refusal, lambda: mailbox.arrivals.submit(messages, over_quota, claimant))


class _Request:
    __slots__ = ("actor", "claimant", "error", "event", "messages", "over_quota", "promoted", "size", "uids")

    def __init__(self, messages: Sequence[NewMessage], over_quota: bool, claimant: View | None) -> None:
        self.actor = current()
        """Who asks for it, whoever leads the round."""
        self.messages = messages
        self.over_quota = over_quota
        self.claimant = claimant if claimant is not None and claimant.claims else None
        self.size = sum(message.size for message in messages)
        self.event: Event | None = None
        self.promoted = False
        self.uids: list[Uid] | None = None
        self.error: BaseException | None = None


def _add(tx: Transaction, request: _Request) -> list[Uid] | None:
    """Write one's messages; who is refused by the quota leaves nothing, and the others go on."""
    try:
        return tx.append(request.messages, request.over_quota, request.actor)
    except (OverQuota, Uncounted) as refusal:
        request.error = refusal
        return None


def _claims(found: Sequence[tuple[_Request, list[Uid] | None]], first: int) -> list[tuple[View, int, int]]:
    """Which messages are \\Recent to which sessions: to each its own, and those before that nobody has."""
    claims = []
    for request, uids in found:
        if request.claimant is not None and uids:
            claims.append((request.claimant, first, uids[-1] + 1))
            first = uids[-1] + 1
    return claims


class Arrivals:
    """Those who wait to append to one mailbox, in the order of their coming."""

    __slots__ = ("_guard", "_leading", "_mailbox", "_queue")

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._guard = threading.Lock()
        self._queue: list[_Request] = []
        self._leading = False

    def submit(
        self, messages: Sequence[NewMessage], over_quota: bool = False, claimant: View | None = None
    ) -> list[Uid]:
        """Append messages, in a round of one's own or in somebody else's."""
        request = _Request(messages, over_quota, claimant)
        with self._guard:
            follows, self._leading = self._leading, True
            if follows:
                request.event = blocking.make_event()
                self._queue.append(request)
        if request.event is not None:
            try:
                request.event.wait()
            except BaseException:
                self._leave(request)
                raise
        if request.event is None or request.promoted:
            self._lead(request)
        if request.error is not None:
            raise request.error
        assert request.uids is not None
        return request.uids

    def _lead(self, mine: _Request) -> None:
        """Append for all who wait, the leader among them; then wake them, and the next leader."""
        taken: list[_Request] = []
        try:
            try:
                with self._mailbox.transaction() as tx:
                    taken = self._take(mine)
                    found = [(request, _add(tx, request)) for request in taken]
                    claims = _claims(found, self._mailbox.first_recent_uid)
                    if claims:
                        tx.move_recent(claims[-1][2])
                for request, uids in found:
                    request.uids = uids
                for view, start, end in claims:
                    view.take_recent(start, end)
            except Exception as error:
                if taken:
                    self._one_by_one([request for request in taken if request.error is None], error)
                else:
                    taken = self._refuse(mine, error)
        except BaseException:
            # this session alone is being ended: the others go on without it
            with self._guard:
                self._queue[:0] = [
                    request
                    for request in taken
                    if request is not mine and request.uids is None and request.error is None
                ]
            raise
        finally:
            self._end_round(mine, taken)

    def _refuse(self, mine: _Request, error: Exception) -> list[_Request]:
        """The mailbox cannot be written to just now: all who wait are told, having waited long enough."""
        with self._guard:
            refused, self._queue = [mine, *self._queue], []
        for request in refused:
            request.error = error
        return refused

    def _one_by_one(self, requests: list[_Request], error: Exception) -> None:
        """A round failed: what fails one (too large for the disk, a bad keyword) need not fail the others."""
        if len(requests) == 1:
            requests[0].error = error
            return
        for request in requests:
            try:
                with self._mailbox.transaction() as tx:
                    uids = tx.append(request.messages, request.over_quota, request.actor)
                request.uids = uids
            except Exception as own:
                request.error = own

    def _leave(self, request: _Request) -> None:
        """One who waited is being ended: nobody appends for it any more, and it cannot lead."""
        if request.promoted:
            self._end_round(request, [])
            return
        with self._guard:
            if request in self._queue:
                self._queue.remove(request)

    def _take(self, mine: _Request) -> list[_Request]:
        taken, size = [mine], mine.size
        with self._guard:
            while self._queue and size + self._queue[0].size <= _MOST_ROUND_BYTES:
                size += self._queue[0].size
                taken.append(self._queue.pop(0))
        return taken

    def _end_round(self, mine: _Request, taken: list[_Request]) -> None:
        """Wake those who are done, and the next leader, who waits in the queue no more."""
        with self._guard:
            leader = self._queue.pop(0) if self._queue else None
            self._leading = leader is not None
            if leader is not None:
                leader.promoted = True
        if leader is not None and leader.event is not None:
            leader.event.set()
        for request in taken:
            done = request.uids is not None or request.error is not None
            if done and request is not mine and request.event is not None:
                request.event.set()
