"""Adding a message unless the mailbox has received it lately: an MTA that missed the answer tries again.

What was received is read from the mailbox itself, under its lock, so there is nothing beside it that a crash
could leave different: a message that was added is known, one that was not is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mstore.base.errors import OverQuota
from mstore.base.flags import TOMBSTONE
from mstore.mail.summary import REFERENCES
from mstore.store import derived
from mstore.store.append import NewMessage
from mstore.store.quota import Uncounted, again

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

LOOKED_AT = 1000
"""So many messages that came last are compared."""
_OWN = slice(8, 16)
"""Where the message's own id stands in its REFERENCES slot."""
_NO_ID = bytes(8)


def append_once(mailbox: Mailbox, message: NewMessage, since_s: int, over_quota: bool = False) -> bool:
    """Add a message unless one with its Message-ID has come since ``since_s``; tells whether it was added.

    Messages that were removed meanwhile count, as long as the mailbox remembers them. One that has no
    Message-ID is always added.
    Locks: takes the mailbox lock. Durable: the message.
    Raises: OverQuota, StorageFailed, Busy, NotFound.
    """
    own_id = message.slots[REFERENCES][_OWN]

    def attempt() -> bool:
        with mailbox.transaction() as tx:
            tx.frames()  # adopts what a writer that died has left: it may be this very message
            if own_id != _NO_ID and _has(mailbox, own_id, since_s):
                return False
            tx.append([message], over_quota)
        return True

    try:
        return attempt()
    except (OverQuota, Uncounted) as refusal:
        return again(mailbox.quota, refusal, attempt)


def _has(mailbox: Mailbox, own_id: bytes, since_s: int) -> bool:
    columns = mailbox.index.columns
    full, count = columns.full, columns.count
    first = max(count - LOOKED_AT, 0)
    rows = first + np.flatnonzero(full.internal_date[first:count] >= since_s)
    gone = full.flags[rows] & np.uint64(TOMBSTONE) != 0
    (there,) = derived.read(mailbox, rows[~gone], (REFERENCES,))
    known = derived.read_sound(mailbox, rows[gone], REFERENCES)
    return any(slot[_OWN] == own_id for slot in (*there, *known))
