"""What the commands that search have in common: the results in ``$``, and the answer with those asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mstore.base.errors import MStoreError
from mstore.imap.contexts import Context, Contexts, format_no_update, freeze
from mstore.imap.errors import No
from mstore.imap.grammar.returnoptions import ReturnOptions
from mstore.imap.render.columns import join_decimals
from mstore.imap.render.esearch import format_esearch
from mstore.imap.selected import NO_UIDS, Selected
from mstore.store.searchkeys import SearchKey, asks_modseq, asks_numbers

if TYPE_CHECKING:
    from mstore.imap.grammar.fetchitems import FetchItem
    from mstore.imap.session import Session
    from mstore.store.mailbox import Mailbox
    from mstore.store.view import View

Array = np.ndarray[Any, np.dtype[Any]]


@contextmanager
def saving(selected: Selected | None, options: ReturnOptions | None) -> Iterator[None]:
    """A search in here that was to set ``$`` and ends with NO leaves it empty (RFC 5182 §2.1)."""
    try:
        yield
    except (No, MStoreError):
        if selected is not None and options is not None and options.saves:
            selected.saved = NO_UIDS
        raise


def save(selected: Selected, options: ReturnOptions, found: Array) -> None:
    """Set ``$``, where asked for, to those of the messages found that it stands for."""
    if options.saves:
        selected.saved = np.sort(selected.view.uids[found[options.pick(len(found))]])


def note_modseq(session: Session, key: SearchKey) -> bool:
    """Whether the search asks for a MODSEQ; then the client knows CONDSTORE (RFC 7162 §3.1)."""
    asks = asks_modseq(key)
    if asks:
        session.enable(b"CONDSTORE")
    return asks


def note_numbers(session: Session, key: SearchKey) -> None:
    """Message numbers in a search for UIDs: no VANISHED may be told during it (RFC 7162 §3.2.10)."""
    if session.mailbox.uids_vanish and session.command.seqs != "uses" and asks_numbers(key):
        session.command = replace(session.command, seqs="uses")


def highest_modseq(mailbox: Mailbox, view: View, found: Array) -> int:
    """The highest MODSEQ of the messages found (RFC 7162 §3.1.5), 0 when there is none."""
    rows = view.rows[found]
    return int(mailbox.columns.full.modseq[rows].max()) if len(rows) else 0


def format_numbers(name: bytes, numbers: Array, modseq: int = 0) -> bytes:
    """SEARCH or SORT, also for no message at all (RFC 3501 §7.2.5), with a MODSEQ if there is one."""
    end = b" (MODSEQ %d)\r\n" % modseq if modseq else b"\r\n"
    return b"* " + name + join_decimals(numbers, b" ") + end


def send_results(
    session: Session,
    mailbox: Mailbox,
    view: View,
    options: ReturnOptions,
    found: Array,
    correlator: bytes,
    uid: bool,
    with_modseq: bool,
) -> None:
    """Tell the messages found, whose positions are given in the order of the results.

    The MODSEQ is the highest of those that are told (RFC 4731 §3.2).
    """
    if options.tells:
        numbers = view.uids[found] if uid else found + 1
        told = found[options.pick(len(found))] if with_modseq else found
        modseq = highest_modseq(mailbox, view, told) if with_modseq else 0
        session.send(format_esearch(correlator, uid, options, numbers, modseq))


def completion(session: Session) -> bytes | None:
    """The reply to a search that has answered; by number, it says if there are messages that it left out.

    Those are expunged and yet to be told; the numbers of the others hold (RFC 3501 §7.4.1, RFC 5530 §3).
    Where numbers are neither asked for nor given, the EXPUNGE goes before the reply itself.
    """
    command = session.command
    if command.seqs != "uses" or not session.mailbox.view.held_back():
        return None
    return b"[EXPUNGEISSUED] " + command.name + b" completed for the messages that are left"


def check_tag(selected: Selected | None, options: ReturnOptions | None, tag: bytes) -> None:
    """Pass a command whose tag names no results that are followed already (RFC 5267 §4.3).

    Raises: Bad.
    """
    if options is not None and options.updates and selected is not None and selected.contexts is not None:
        selected.contexts.check_is_new(tag)


def follow(
    session: Session,
    selected: Selected,
    tag: bytes,
    key: SearchKey,
    found: Array,
    correlator: bytes,
    uid: bool,
    modseq: int,
    items: tuple[FetchItem, ...],
) -> None:
    """Tell changes of these results from now on, if there is room for them (RFC 5267 §4.3).

    ``modseq`` is what the client had been told of before the search, ``items`` what is to be sent of new
    messages.
    """
    if selected.contexts is None:
        selected.contexts = Contexts()
    view = selected.view
    context = Context(correlator, uid, freeze(key, view), view.uids[found], modseq, items)
    is_known = not items or session.offers(b"NOTIFY")
    if not is_known or not selected.contexts.add(tag, context):
        refuse_updates(session, tag)


def refuse_updates(session: Session, tag: bytes) -> None:
    """Changes of these results will not be told (RFC 5267 §4.3.1)."""
    session.send(format_no_update(tag))
