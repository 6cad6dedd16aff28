"""NOTIFY: the client says which events it wants to be told of (RFC 5465)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.imap.errors import No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.notify import parse_notify
from mstore.imap.notifying import Notifying
from mstore.store.watching import TooMuch

if TYPE_CHECKING:
    from mstore.imap.session import Session


def run_notify(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 5465 §3.1.

    SET tells first what has happened in the selected mailbox so far, whatever is wanted of it afterwards.
    """
    if not session.offers(b"NOTIFY"):
        raise No("NOTIFY is switched off", b"CANNOT")
    request = parse_notify(cursor, session.offers(b"METADATA"))
    if request is not None and any(item.name == b"MODSEQ" for item in request.selected.items):
        session.enable(b"CONDSTORE")
    notifying = session.notifying
    if notifying is None:
        notifying = Notifying(session)
    try:
        notifying.set(request)
    except TooMuch as error:
        raise No(str(error), b"NOTIFICATIONOVERFLOW") from None
    session.notifying = notifying
