"""Messages that have been in a mailbox for longer than a rule lets them are expunged, in small steps.

Sessions are told as of any expunge. How long a message has been there its save date says (RFC 8514).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.base.flags import TOMBSTONE
from mstore.store.lifetimes import DAY_S

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

LOOK_S = 3600.0
"""A mailbox that is opened again and again is looked after so often."""
_STEP_ROWS = 1000
_TOMB = np.uint64(TOMBSTONE)


def expire(mailbox: Mailbox, days: int) -> int:
    """Expunge what came into a mailbox more than so many days ago; gives how many.

    Locks: takes the mailbox lock for each step. Durable: the expunges.
    Raises: Busy, NotFound, StorageFailed.
    """
    count = 0
    mailbox.refresh()
    while (mailbox.index.columns.save_date < _before(days)).any():  # else no lock is taken
        with mailbox.transaction() as tx:
            columns = mailbox.index.columns
            old = (columns.save_date < _before(days)) & (columns.flags & _TOMB == 0)
            rows = np.flatnonzero(old)[:_STEP_ROWS]
            count += len(tx.expunge(rows))
        if len(rows) < _STEP_ROWS:
            break
        blocking.breathe()
    return count


def _before(days: int) -> int:
    return int(time.time()) - days * DAY_S


def expire_beside(mailbox: Mailbox, days: int | None) -> None:
    """The same beside the sessions, when it was not done lately; what fails is done another time."""
    now = time.monotonic()
    if days is not None and now - mailbox.expired_at >= LOOK_S:
        mailbox.expired_at = now
        mailbox.retain()
        blocking.spawn(_expire, mailbox, days)


def _expire(mailbox: Mailbox, days: int) -> None:
    try:
        expire(mailbox, days)
    except MStoreError:
        pass
    finally:
        mailbox.release()
