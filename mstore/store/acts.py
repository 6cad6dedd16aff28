"""Who acts, and what a transaction does to messages: what the audit log is told of (``audit.py``).

Whoever changes something need not know of this. Who acts is what the greenlet was last told (``act_as``);
what runs in nobody's name is the store's own upkeep. A transaction notes what it does, and tells it once that
is committed and the lock is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mstore.base.flags import FIRST_KEYWORD_BIT, SYSTEM_FLAGS

if TYPE_CHECKING:
    from mstore.store.append import NewMessage
    from mstore.store.audit import Auditor
    from mstore.store.mailbox import Mailbox

DELIVERED, APPENDED, COPIED, MOVED, FLAGGED, EXPUNGED = (
    "delivered", "appended", "copied", "moved", "flagged", "expunged"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: pairs that stand in the lines, and what it is called when he adds a message."""

    pairs: Mapping[str, object]
    adding: str = APPENDED


MAINTENANCE = Actor({"via": "maintenance"})
_acting: ContextVar[Actor] = ContextVar("acting", default=MAINTENANCE)


def act_as(actor: Actor) -> None:
    """From now on it is this one who acts in this greenlet."""
    _acting.set(actor)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Meanwhile it is this one."""
    token = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(token)


def current() -> Actor:
    """Who acts in this greenlet."""
    return _acting.get()


@dataclass(slots=True)
class Act:
    """Something done to messages of one mailbox, in a transaction that may yet fail."""

    kind: str
    actor: Actor
    uids: npt.NDArray[Any]
    rows: npt.NDArray[Any] | None = None
    """Where they are, in this mailbox or in the one they were taken from; None for new ones."""
    added: Sequence[NewMessage] = ()
    source: Mailbox | None = None
    source_uids: npt.NDArray[Any] | None = None
    pairs: dict[str, object] = field(default_factory=dict)


class Acts:
    """What one transaction does; told once it is committed."""

    __slots__ = ("_committed", "_list", "_mailbox")

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._list: list[Act] = []
        self._committed = 0

    def added(self, uids: Sequence[int], messages: Sequence[NewMessage], actor: Actor | None) -> None:
        """New messages."""
        actor = actor or current()
        self._list.append(Act(actor.adding, actor, np.array(uids, np.uint32), added=messages))

    def copied(self, uids: npt.NDArray[Any], source: Mailbox, rows: npt.NDArray[Any]) -> None:
        """Copies of another mailbox's messages, or of this one's."""
        old = source.index.columns.full.uid[rows]
        self._list.append(Act(COPIED, current(), uids, rows, source=source, source_uids=old))

    def flagged(self, rows: npt.NDArray[Any], op: str, bits: int) -> None:
        """Flags were given, taken away, or set to these and no others."""
        names = _flag_names(bits, self._mailbox.index.keywords)
        uids = self._mailbox.index.columns.full.uid[rows]
        self._list.append(Act(FLAGGED, current(), uids, rows, pairs={op: names}))

    def expunged(self, rows: npt.NDArray[Any]) -> None:
        """Messages were removed."""
        if len(rows):
            uids = self._mailbox.index.columns.full.uid[rows]
            self._list.append(Act(EXPUNGED, current(), uids, rows))

    def moved_to(self, target: Acts) -> None:
        """The last thing done here removed what the last thing done there has copied."""
        self._list.pop()
        self._committed = min(self._committed, len(self._list))
        target._list[-1].kind = MOVED

    def commit(self) -> None:
        """What was done so far is on disk."""
        self._committed = len(self._list)

    def tell(self, auditor: Auditor) -> None:
        """Log what was committed; called without the lock."""
        told, self._list = self._list[: self._committed], []
        self._committed = 0
        for act in told:
            auditor.tell(self._mailbox, act)


def _flag_names(bits: int, keywords: Sequence[bytes]) -> bytes:
    names = [name for bit, name in enumerate(SYSTEM_FLAGS) if bits >> bit & 1]
    names += [name for bit, name in enumerate(keywords, FIRST_KEYWORD_BIT) if bits >> bit & 1]
    return b" ".join(names)
