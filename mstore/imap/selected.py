"""The selected mailbox as one client sees it, and the news it has not been told yet.

Untagged responses are computed here, and only here, as the difference between what this session was told
and what is (RFC 3501 §5.2, §7.3, §7.4.1). A session that waits holds this object and its view, no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.base.errors import Moved
from mstore.base.flags import SYSTEM_FLAGS
from mstore.imap.errors import Bye
from mstore.imap.render.lines import format_flags_lines

if TYPE_CHECKING:
    from mstore.net.stream import Stream
    from mstore.store.mailbox import Mailbox
    from mstore.store.view import View


class Selected:
    """A mailbox, the view that the client has of it, and whether the client may change it."""

    __slots__ = ("_keywords_told", "mailbox", "name", "read_only", "view")

    def __init__(self, name: str, mailbox: Mailbox, view: View, read_only: bool) -> None:
        self.name = name
        self.mailbox = mailbox
        self.view = view
        self.read_only = read_only
        self._keywords_told = 0

    def report(self, stream: Stream, expunges: bool, uid: bool = False) -> None:
        """Tell the client what has changed: EXPUNGE, EXISTS, RECENT, FLAGS, FETCH, in this order.

        Without ``expunges`` removals stay hidden, and sequence numbers as they are. With ``uid`` every
        FETCH carries the UID.
        Raises: Bye when the mailbox is no more (RFC 2180 §3.3), Moved.
        """
        mailbox = self.mailbox
        mailbox.refresh()
        if mailbox.deleted:
            error = mailbox.gone()
            if isinstance(error, Moved):
                raise error
            raise Bye("The selected mailbox has been deleted")
        changes = self.view.pending(expunges)
        if changes.expunged_seqs:
            stream.writelines(b"* %d EXPUNGE\r\n" % seq for seq in changes.expunged_seqs)
        if changes.exists is not None:
            stream.write(b"* %d EXISTS\r\n" % changes.exists)
        if changes.recent is not None:
            stream.write(b"* %d RECENT\r\n" % changes.recent)
        if changes.keywords_changed:
            self.announce_keywords(stream)
        if len(changes.fetch_rows):
            for piece in format_flags_lines(
                self.mailbox, self.view, changes.fetch_seqs, changes.fetch_rows, uid
            ):
                stream.write(piece)

    def announce_keywords(self, stream: Stream) -> None:
        """Tell of keywords that are new to the client; before any message is said to have one of them."""
        if len(self.mailbox.keywords) > self._keywords_told:
            stream.write(self.flags_lines())

    def recent_count(self) -> int:
        """How many messages are \\Recent in this session."""
        return self.view.recent_count

    def flags_lines(self) -> bytes:
        """FLAGS and PERMANENTFLAGS: which flags there are, and which can be set (RFC 3501 §7.2.6, §7.1)."""
        names = b" ".join((*SYSTEM_FLAGS, *self.mailbox.keywords))
        self._keywords_told = len(self.mailbox.keywords)
        if self.read_only:
            return b"* FLAGS (%s)\r\n* OK [PERMANENTFLAGS ()] Nothing can be changed\r\n" % names
        return b"* FLAGS (%s)\r\n* OK [PERMANENTFLAGS (%s \\*)] Flags are permanent\r\n" % (names, names)

    def close(self) -> None:
        """Let go of the mailbox."""
        self.mailbox.release()
