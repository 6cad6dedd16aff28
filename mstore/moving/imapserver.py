"""Reads another IMAP server (RFC 3501) with IMAPClient; nothing there is changed.

A connection that breaks is made again, some times, and what has come is not asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from mstore.moving.fetching import Fetch, Fetched, list_uids
from mstore.moving.foreign import ForeignMailbox, ForeignMessage, Unreadable, Wanted
from mstore.moving.remote import Connection, Remote

_USES = (b"\\Archive", b"\\Drafts", b"\\Junk", b"\\Sent", b"\\Trash")
_NOT_SELECTABLE = (b"\\noselect", b"\\nonexistent")
_KEPT = (b"\\seen", b"\\answered", b"\\flagged", b"\\deleted", b"\\draft")


class ImapServer(Connection):
    """The mail of one user on another server."""

    def __init__(self, remote: Remote) -> None:
        """Raises: Unavailable, Denied."""
        super().__init__(remote)
        self._count = 0
        """How many messages are in the mailbox that is selected."""
        self.identity = f"imap {remote.authorization or remote.user}@{remote.host}:{remote.port}"

    def mailboxes(self) -> Iterator[ForeignMailbox]:
        """Those of the user's own. Raises: Unavailable, Unreadable."""
        for attributes, _, theirs in self._try(lambda: self._client.list_folders("", self._prefix + "*")):
            flags = [flag.lower() for flag in attributes]
            if not any(flag in _NOT_SELECTABLE for flag in flags):
                use = next((use.decode() for use in _USES if use.lower() in flags), None)
                yield self._describe(theirs, use)
        if self._prefix.rstrip(self._separator).upper() == "INBOX":
            yield self._describe("INBOX", None)

    def subscriptions(self) -> list[str]:
        """The names subscribed to, in our form. Raises: Unavailable."""
        listed = self._try(lambda: self._client.list_sub_folders("", self._prefix + "*"))
        return [self._our_name(theirs) for _, _, theirs in listed]

    def _describe(self, theirs: str, use: str | None) -> ForeignMailbox:
        asked = ["MESSAGES", "UIDNEXT", "UIDVALIDITY"]
        status = self._try(lambda: self._client.folder_status(theirs, asked))
        return ForeignMailbox(
            self._our_name(theirs),
            status.get(b"UIDVALIDITY"),
            status.get(b"UIDNEXT"),
            partial(self._messages, theirs, status.get(b"UIDVALIDITY")),
            status.get(b"MESSAGES", 0),
            use,
        )

    def _messages(self, theirs: str, uid_validity: int | None, wanted: Wanted) -> Iterator[ForeignMessage]:
        there = self._try(lambda: self._uids(theirs, uid_validity))
        fetch = Fetch(uid for uid in there if wanted(str(uid), uid))
        tries, left = 0, len(fetch.left)
        while fetch.left:
            try:
                client = self._in(theirs, uid_validity)
                self._is_reading = True
                for fetched in fetch.run(client):
                    yield _describe(theirs, fetched)
                self._is_reading = False
            except (IMAPClientAbortError, OSError) as error:
                tries = tries + 1 if len(fetch.left) == left else 1
                left = len(fetch.left)
                self._reconnect(tries, error)
            except IMAPClientError as error:
                raise Unreadable(f"{self._remote.host}: {error}") from error

    def _uids(self, theirs: str, uid_validity: int | None) -> list[int]:
        client = self._in(theirs, uid_validity)
        return list_uids(client) if self._count else []

    def _in(self, theirs: str, uid_validity: int | None) -> IMAPClient:
        """A connection with that mailbox selected. Raises: Unreadable."""
        client = self._ready()
        if self._selected != theirs:
            told = client.select_folder(theirs, readonly=True)
            self._selected, self._count = theirs, told.get(b"EXISTS", 0)
            if uid_validity is not None and told.get(b"UIDVALIDITY", uid_validity) != uid_validity:
                self._selected = None
                raise Unreadable(f"{theirs}: was made anew meanwhile")
        return client


def _describe(theirs: str, fetched: Fetched) -> ForeignMessage:
    flags = tuple(flag for flag in fetched.flags if _is_kept(flag))
    return ForeignMessage(str(fetched.uid), fetched.uid, flags, fetched.date, partial(_read, theirs, fetched))


def _read(theirs: str, fetched: Fetched) -> bytes:
    if fetched.refusal is not None:
        raise Unreadable(f"{theirs}: message {fetched.uid} is refused: {fetched.refusal}")
    return fetched.content


def _is_kept(flag: bytes) -> bool:
    return not flag.startswith(b"\\") or flag.lower() in _KEPT
