"""What is told to a client that comes back to a mailbox it knows (RFC 7162 §3.2.5, §3.2.6).

First what has vanished, then what has changed, each only since the MODSEQ that the client names.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mstore.base.numset import NumSet
from mstore.imap.grammar.modifiers import Resync
from mstore.imap.selected import Array, Selected
from mstore.store.missed import vanished
from mstore.store.view import View

Send = Callable[[bytes], None]
RANGES_IN_A_LINE = 1000
_FEW = 8


def tell_vanished(selected: Selected, since: int, known: NumSet | None, send: Send, above: int = 0) -> None:
    """Send VANISHED (EARLIER) for what was expunged since, in lines of bounded length."""
    pairs = vanished(selected.view, since, known, above).tolist()
    for start in range(0, len(pairs), RANGES_IN_A_LINE):
        ranges = [
            b"%d" % first if first == last else b"%d:%d" % (first, last)
            for first, last in pairs[start : start + RANGES_IN_A_LINE]
        ]
        send(b"* VANISHED (EARLIER) " + b",".join(ranges) + b"\r\n")


def tell_missed(selected: Selected, resync: Resync, send: Send) -> None:
    """Send what has happened to a mailbox just selected since the client knew it."""
    mailbox, view = selected.mailbox, selected.view
    if mailbox.uid_validity != resync.uid_validity:
        return
    above = 0
    if resync.seqs is not None and resync.uids_of_seqs is not None:
        above = last_match(view, resync.seqs, resync.uids_of_seqs)
    tell_vanished(selected, resync.modseq, resync.uids, send, above)
    rows = view.rows if resync.uids is None else view.rows_of_uids(resync.uids)
    rows = changed_since(selected, rows, resync.modseq)
    for piece in selected.lines(view.seqs_of_rows(rows), rows, *selected.news_items(True)):
        send(piece)


def changed_since(selected: Selected, rows: Array, modseq: int) -> Array:
    """Those of ascending rows with a MODSEQ above this one (RFC 7162 §3.1.4.1)."""
    modseqs = selected.mailbox.columns.full.modseq
    if len(rows) > _FEW:
        # A look at neighbours costs a tenth of one at chosen places, and what has changed is little.
        found = (modseqs[rows[0] : rows[-1] + 1] > np.uint64(modseq)).nonzero()[0].astype(rows.dtype)
        if len(found) < len(rows) // _FEW:
            found += rows[0]
            chosen: Array = found[rows[rows.searchsorted(found)] == found]
            return chosen
    changed: Array = rows[modseqs[rows] > np.uint64(modseq)]
    return changed


def last_match(view: View, seqs: NumSet, uids: NumSet) -> int:
    """The last UID that the client knows with the number it has now: up to it nothing has vanished.

    RFC 7162 §3.2.5.2. Gives 0 when no pair is right.
    """
    numbers, expected = (
        np.concatenate([np.arange(first, last + 1) for first, last in known.ranges]) for known in (seqs, uids)
    )
    there = numbers <= view.count
    numbers, expected = numbers[there], expected[there]
    right = np.flatnonzero(view.uids[numbers - 1] == expected)
    return int(expected[right[-1]]) if len(right) else 0
