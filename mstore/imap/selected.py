"""The selected mailbox as one client sees it, and the news it has not been told yet.

Untagged responses are computed here, and only here, as the difference between what this session was told
and what is (RFC 3501 §5.2, §7.3, §7.4.1). A session that waits holds this object and its view, no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mstore.base.errors import Denied, Moved, ReadOnly
from mstore.base.flags import FIRST_KEYWORD_BIT, MOST_KEYWORDS, SYSTEM_FLAGS
from mstore.base.numset import format_numset
from mstore.imap.arrivals import Arrivals
from mstore.imap.errors import Bye
from mstore.imap.render.lines import Lines, format_lines
from mstore.store.rights import flag_mask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mstore.imap.contexts import Contexts
    from mstore.imap.grammar.notify import SelectedEvents
    from mstore.net.stream import Stream
    from mstore.store.mailbox import Mailbox
    from mstore.store.place import Opened
    from mstore.store.view import View

Array = np.ndarray[Any, np.dtype[Any]]
NO_UIDS = np.empty(0, np.uint32)
NOBODY: frozenset[int] = frozenset()

_AT_ONCE = 4096
"""So many removals are written by one operation."""


class Selected:
    """A mailbox, the view that the client has of it, and what the client may do with it."""

    __slots__ = (
        "_keywords_told",
        "_opened",
        "aware",
        "contexts",
        "events",
        "mailbox",
        "mask",
        "must_tell",
        "own_uids",
        "personal",
        "read_only",
        "rev2",
        "rights",
        "saved",
        "uid_only",
        "uids_vanish",
        "view",
    )

    def __init__(self, opened: Opened, view: View, read_only: bool, rev2: bool = False) -> None:
        self._opened = opened
        self.mailbox: Mailbox = opened.mailbox
        self.view = view
        self.personal = opened.personal
        """The client's own. Rights are looked up when something is to be changed, in others' always."""
        self.read_only = read_only
        """Opened by EXAMINE: nothing is changed, whatever the rights."""
        self.rev2 = rev2
        """The client speaks IMAP4rev2: nothing is recent, news carry UIDs (RFC 9051 §7.5.2, Appendix E)."""
        self.rights = opened.rights
        self.mask = flag_mask(self.rights)
        """The flag bits that the client may change, unless it is read-only."""
        self._keywords_told = 0
        self.aware = self.uids_vanish = self.uid_only = False
        self.saved: Array = NO_UIDS
        """The UIDs, ascending, of what a search has saved as ``$`` (RFC 5182 §2.1)."""
        self.contexts: Contexts | None = None
        """The searches whose results are followed (RFC 5267 §4.3)."""
        self.events: SelectedEvents | None = None
        """What NOTIFY has asked for (RFC 5465 §6.1); None: it was not used."""
        self.must_tell = False
        """A command under way removes messages, and tells so whatever is asked for."""
        self.own_uids: frozenset[int] = NOBODY
        """Messages that this client has added and not been told of."""

    def adapt(self, aware: bool, uids_vanish: bool, uid_only: bool = False) -> None:
        """Tell news in the way that the client has asked for.

        An ``aware`` client is told the MODSEQ of what changes (RFC 7162 §3.1); with ``uids_vanish`` what is
        expunged is told by UID (RFC 7162 §3.2.10), and with ``uid_only`` everything is (RFC 9586 §3).
        """
        self.aware, self.uids_vanish, self.uid_only = aware, uids_vanish or uid_only, uid_only
        if uid_only and self.contexts is not None:
            self.contexts.tell_by_uid()
        self.view.tells_modseq = aware

    def news_items(self, uid: bool) -> tuple[bytes, ...]:
        """What a FETCH response that was not asked for carries (RFC 7162 §3.2.4)."""
        if self.uid_only:
            return (b"MODSEQ", b"FLAGS") if self.aware else (b"FLAGS",)
        if self.aware:
            return (b"UID", b"MODSEQ", b"FLAGS")
        return (b"UID", b"FLAGS") if uid or self.rev2 else (b"FLAGS",)

    @property
    def name(self) -> str:
        """The full name of the mailbox when it was selected."""
        return self._opened.name

    def follow_rights(self, stream: Stream) -> None:
        """Go by the rights as they are now; tell the client which flags it may set, when that has changed.

        RFC 4314 §5.1.1.
        Raises: Bye when the mailbox may not be read any more, or is no more; Moved.
        """
        rights = self._opened.current_rights()
        if rights == self.rights:
            return
        if "r" not in rights:
            self.mailbox.refresh()
            self._check_is_there()
            raise Bye("The selected mailbox may not be read any more")
        self.rights = rights
        mask = flag_mask(rights)
        if mask != self.mask:
            self.mask = mask
            stream.write(self.flags_lines())

    def _check_is_there(self) -> None:
        """Pass a mailbox that has not been deleted.

        Raises: Bye, Moved.
        """
        if self.mailbox.deleted:
            error = self.mailbox.gone()
            if isinstance(error, Moved):
                raise error
            raise Bye("The selected mailbox has been deleted")

    def check_may_expunge(self, stream: Stream) -> None:
        """Pass a client that may remove messages (RFC 4314 §4).

        Raises: ReadOnly, Denied.
        """
        self.check_may_change(stream)
        if "e" not in self.rights:
            raise Denied("you have no right to remove messages here")
        self.must_tell = True

    def check_may_change(self, stream: Stream) -> None:
        """Pass a client that has not opened the mailbox for reading alone; its rights are those of now then.

        Raises: ReadOnly.
        """
        if self.read_only:
            raise ReadOnly("The mailbox is open read-only")
        if self.personal:
            self.follow_rights(stream)

    def report(
        self,
        stream: Stream,
        expunges: bool,
        uid: bool = False,
        pushed: bool = False,
        complete: bool = False,
    ) -> None:
        """Tell the client what has changed: EXPUNGE or VANISHED, EXISTS, RECENT, FLAGS, FETCH, in this order.

        Without ``expunges`` removals stay hidden, and sequence numbers as they are; a client that resumes
        by MODSEQ is then told one from which it learns of them (RFC 7162 §3.2). With ``uid`` every FETCH
        carries the UID. ``pushed`` is what no command has brought about, ``complete`` what is told whatever
        NOTIFY has asked for.
        Raises: Bye when the mailbox is no more (RFC 2180 §3.3) or not to be read any more, Moved.
        """
        mailbox = self.mailbox
        if not self.personal:
            self.follow_rights(stream)
        mailbox.refresh()
        if mailbox.deleted:
            self._check_is_there()
        events = None if complete else self.events
        if events is not None:
            if not events.messages and not self.must_tell:
                return
            self.must_tell = False
        before = self.view.count
        changes = self.view.pending(expunges)
        contexts = self.contexts
        if contexts is not None and changes.expunged_seqs:
            contexts.tell_removed(stream, changes)
        if changes.expunged_seqs and self.uids_vanish:
            stream.write(b"* VANISHED " + format_numset(changes.expunged_uids[::-1]) + b"\r\n")
        elif changes.expunged_seqs:
            for at in range(0, len(changes.expunged_seqs), _AT_ONCE):
                part = changes.expunged_seqs[at : at + _AT_ONCE]
                stream.write(b"* %d EXPUNGE\r\n" * len(part) % tuple(part))
        if changes.exists is not None:
            stream.write(b"* %d EXISTS\r\n" % changes.exists)
        if changes.recent is not None and not self.rev2:
            stream.write(b"* %d RECENT\r\n" % changes.recent)
        if changes.keywords_changed:
            self.announce_keywords(stream)
        if len(changes.fetch_rows) and (events is None or events.flags):
            items = self.news_items(uid or events is not None)
            for piece in self.lines(changes.fetch_seqs, changes.fetch_rows, *items):
                stream.write(piece)
        self._tell_results(stream, events, before - len(changes.expunged_seqs))
        if self.aware and not expunges and not (pushed and not changes):
            held_back = self.view.held_back()
            if held_back:
                stream.write(b"* OK [HIGHESTMODSEQ %d] Removals are yet to be told\r\n" % (held_back - 1))

    def _tell_results(self, stream: Stream, events: SelectedEvents | None, known: int) -> None:
        """Changes of the searches that are followed, and what is to be sent of new messages unasked.

        ``known`` messages are not new. What a search asks for is sent before its result is told
        (RFC 5465 §7), what NOTIFY alone asks for behind (§5.2), each message once.
        """
        contexts, items = self.contexts, () if events is None else events.items
        if contexts is None and not items:
            return
        own, self.own_uids = self.own_uids, NOBODY
        arrivals = Arrivals(self, known, own) if self.view.count > known else None
        results = contexts.find_changed(self) if contexts is not None else []
        if arrivals is not None:
            arrivals.tell_for(results, items, stream.write)
        for result in results:
            stream.writelines(result.lines)
        if arrivals is not None and items:
            arrivals.tell_rest(items, stream.write)

    def note_own(self, uids: Iterable[int]) -> None:
        """This client has added these messages."""
        if self.contexts is not None or (self.events is not None and self.events.items):
            self.own_uids |= frozenset(map(int, uids))

    def is_told(self) -> bool:
        """Whether the client has been told of all changes."""
        return self.view.modseq == self.mailbox.highest_modseq and not self.view.held_back()

    def line(self, seq: int, row: int, *items: bytes) -> bytes:
        """One FETCH response with these items."""
        return Lines(items, self.mailbox, self.view, self.uid_only).one(seq, row) + b")\r\n"

    def lines(self, seqs: Array, rows: Array, *items: bytes) -> Iterator[bytes]:
        """FETCH responses with these items, as the client wants its messages called."""
        return format_lines(self.mailbox, self.view, seqs, rows, *items, uid_only=self.uid_only)

    def each_line(self, rows: Array, *items: bytes) -> list[bytes]:
        """The same of each row by itself, for rows in any order."""
        order = rows.argsort()
        rows = rows[order]
        lines = Lines(items, self.mailbox, self.view, self.uid_only)
        texts = lines.beginnings(self.view.seqs_of_rows(rows), rows)
        told = [b""] * len(texts)
        for place, text in zip(order.tolist(), texts, strict=True):
            told[place] = text + b")\r\n"
        return told

    def format_modseq(self) -> bytes:
        """The HIGHESTMODSEQ up to which the client knows all changes (RFC 7162 §3.1.2.1)."""
        modseq, held_back = self.view.modseq, self.view.held_back()
        if held_back:
            modseq = min(modseq, held_back - 1)
        return b"HIGHESTMODSEQ %d" % modseq

    def announce_keywords(self, stream: Stream) -> None:
        """Tell of keywords that are new to the client; before any message is said to have one of them."""
        if len(self.mailbox.keywords) > self._keywords_told:
            stream.write(self.flags_lines())

    def recent_count(self) -> int:
        """How many messages are \\Recent in this session."""
        return self.view.recent_count

    def flags_lines(self) -> bytes:
        """FLAGS and PERMANENTFLAGS: which flags there are, and which can be set (RFC 3501 §7.2.6, §7.1).

        Where no keyword can be made any more, ``\\*`` is not among them.
        """
        keywords = self.mailbox.keywords
        names = b" ".join((*SYSTEM_FLAGS, *keywords))
        self._keywords_told = len(keywords)
        mask = 0 if self.read_only else self.mask
        if not mask:
            return b"* FLAGS (%s)\r\n* OK [PERMANENTFLAGS ()] Nothing can be changed\r\n" % names
        permanent = [name for bit, name in enumerate(SYSTEM_FLAGS) if mask >> bit & 1]
        if mask >> FIRST_KEYWORD_BIT:
            permanent += keywords
            if len(keywords) < MOST_KEYWORDS:
                permanent.append(b"\\*")
        return b"* FLAGS (%s)\r\n* OK [PERMANENTFLAGS (%s)] Flags are permanent\r\n" % (
            names,
            b" ".join(permanent),
        )

    def close(self) -> None:
        """Let go of the mailbox."""
        self.mailbox.release()
