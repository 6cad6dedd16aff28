"""What reading a message does to it: \\Seen is set (RFC 3501 §6.4.5), where the client may set it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mstore.base.errors import Busy, StorageFailed
from mstore.base.flags import SEEN

if TYPE_CHECKING:
    from mstore.imap.selected import Selected

Array = np.ndarray[Any, np.dtype[Any]]


def set_seen(selected: Selected, rows: Array) -> bool:
    """Set \\Seen where it is missing and the client may set it; whether that changed anything.

    A mailbox that cannot be written just now can still be read.
    Locks: takes the mailbox lock, and lets it go before anything is sent.
    """
    if selected.read_only or not selected.mask & SEEN:
        return False
    mailbox = selected.mailbox
    flags = mailbox.columns.full.flags
    if len(rows) == 1:
        if flags.item(rows.item()) & SEEN:
            return False
    else:
        rows = rows[flags[rows] & np.uint64(SEEN) == 0]
        if not len(rows):
            return False
    try:
        with mailbox.transaction() as tx:
            changed = tx.flags(rows, "add", SEEN)
    except (Busy, StorageFailed):
        return False
    if not len(changed):
        return False
    selected.view.silence(changed, tx.modseq)
    return True
