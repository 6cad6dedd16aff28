"""Another IMAP server whose connections break, or are left in the midst of an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mstore.base.errors import Unavailable
from mstore.moving.foreign import ForeignMailbox, Unreadable
from mstore.moving.imapserver import ImapServer
from mstore.moving.remote import TRIES, Remote
from tests.unit.moving.test_fetching import Server, told

UIDS = [1, 2, 3, 4, 5]


class Client:
    """A connection of IMAPClient's that breaks after some messages, if it is told to."""

    def __init__(self, breaks_after: int | None = None, validity: int = 77, refuses: int = 0) -> None:
        self.validity = validity
        self.is_shut = False
        self.server = Server(self._answer)
        self._left = breaks_after
        self._refuses = refuses

    @property
    def _imap(self) -> Server:
        return self.server

    def _answer(self, tag: bytes, uids: list[int]) -> bytes:
        if self._left is not None:
            return b"".join(map(told, uids[: self._left]))
        came = b"".join(told(uid) for uid in uids if uid != self._refuses)
        return came + tag + (b" NO damaged\r\n" if self._refuses in uids else b" OK\r\n")

    def select_folder(self, name: str, readonly: bool) -> dict[bytes, int]:
        assert readonly
        return {b"EXISTS": len(UIDS), b"UIDVALIDITY": self.validity}

    def namespace(self) -> Any:
        return type("Found", (), {"personal": ()})

    def folder_status(self, name: str, asked: list[str]) -> dict[bytes, int]:
        assert not self.is_shut
        return {b"UIDVALIDITY": 77, b"UIDNEXT": 6, b"MESSAGES": 5}

    def list_folders(self, reference: str, pattern: str) -> list[tuple[Any, ...]]:
        return [((), b"/", "INBOX"), ((), b"/", "Sent")]

    def shutdown(self) -> None:
        self.is_shut = True


def everything(key: str, uid: int | None) -> bool:
    return True


def make(monkeypatch: pytest.MonkeyPatch, *clients: Client) -> ImapServer:
    """A server whose connections are these, one after the other."""
    waiting = list(clients)

    def connect(self: Any) -> Client:
        self._selected, self._is_reading = None, False
        return waiting.pop(0)

    monkeypatch.setattr(ImapServer, "_connect", connect)
    monkeypatch.setattr("mstore.moving.imapserver.list_uids", lambda client: list(UIDS))
    return ImapServer(Remote("there", 143, "none", "joe", "secret"))


def inbox(server: ImapServer) -> ForeignMailbox:
    return next(server.mailboxes())


def test_after_a_break_only_what_is_missing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Client(breaks_after=2), Client()
    found = inbox(make(monkeypatch, first, second))
    uids = [message.uid for message in found.messages(lambda key, uid: uid != 2)]
    assert uids == [1, 3, 4, 5] and first.is_shut
    assert first.server.asked == [[1, 3, 4, 5]] and second.server.asked == [[4, 5]]


def test_it_is_given_up_when_nothing_comes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = [Client(breaks_after=1), *(Client(breaks_after=0) for _ in range(TRIES - 1)), Client()]
    messages = inbox(make(monkeypatch, *clients)).messages(everything)
    assert next(messages).uid == 1
    with pytest.raises(Unavailable, match="there: "):
        next(messages)


def test_each_break_after_some_messages_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = [Client(breaks_after=1) for _ in UIDS]
    messages = inbox(make(monkeypatch, *clients, Client())).messages(everything)
    assert [message.uid for message in messages] == UIDS


def test_a_mailbox_that_was_made_anew_meanwhile_is_not_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = inbox(make(monkeypatch, Client(breaks_after=1), Client(validity=78))).messages(everything)
    assert next(messages).uid == 1
    with pytest.raises(Unreadable, match="made anew"):
        next(messages)


def test_a_message_that_is_refused_is_told_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = list(inbox(make(monkeypatch, Client(refuses=3))).messages(everything))
    assert sorted(message.uid or 0 for message in messages) == UIDS
    [refused] = [message for message in messages if message.uid == 3]
    with pytest.raises(Unreadable, match="message 3 is refused: NO damaged"):
        refused.read()


@pytest.mark.parametrize("leave", [lambda messages: messages.close(), lambda messages: None])
def test_who_leaves_off_gets_a_new_connection_for_the_next_mailbox(
    monkeypatch: pytest.MonkeyPatch, leave: Callable[[Any], None]
) -> None:
    first, second = Client(), Client()
    mailboxes = make(monkeypatch, first, second).mailboxes()
    messages = next(mailboxes).messages(everything)
    assert next(messages).uid == 1
    leave(messages)
    assert next(mailboxes).name == "Sent" and first.is_shut
