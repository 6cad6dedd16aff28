"""What a client is told since it has used NOTIFY: what, of which mailboxes, and when (RFC 5465).

News of the selected mailbox come from ``selected``, of all others from a watch of the store. Both are told
whenever the session waits (``pushing``), and the others' also before the answer to a command during which
anything may be told. Removals change message numbers, so none is told beside a command that may hold some:
not while part of a command has come, nor to a client that numbers messages (SELECTED-DELAYED) unless by a
command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from mstore.base.errors import Invalid, LimitReached, Moved, MStoreError
from mstore.imap.filters import Filters
from mstore.imap.grammar.notify import NotifyRequest, SelectedEvents
from mstore.imap.pushing import Pusher
from mstore.imap.render.news import format_annotations, format_counts, format_first_counts, format_name
from mstore.net.stream import StreamFailed
from mstore.store.neighbours import is_personal
from mstore.store.news import CountNews, NameNews, News
from mstore.store.watching import TooMuch, Watch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mstore.imap.selected import Selected
    from mstore.imap.session import Session
    from mstore.store.mailbox import Mailbox
    from mstore.store.store import Store

NOTHING = SelectedEvents()
OVERFLOW = b"* OK [NOTIFICATIONOVERFLOW] Too much is to be watched; nothing is from now on\r\n"


class Notifying:
    """What one session is told; made by the first NOTIFY, and as long as the session is logged in."""

    __slots__ = ("_events", "_heard", "_in_idle", "_pusher", "_session", "_watch")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._events = NOTHING
        self._watch: Watch | None = None
        self._pusher: Pusher | None = None
        self._heard: Mailbox | None = None
        """The selected mailbox, when its changes are wanted."""
        self._in_idle = False

    # -- what is wanted

    def set(self, request: NotifyRequest | None) -> None:
        """Want this from now on, and what was wanted before no more; None for nothing.

        Raises: TooMuch, Unavailable, Moved; what was wanted before is wanted still.
        """
        if request is None:
            self._replace(NOTHING, None, None)
            return
        session = self._session
        pusher = Pusher(session, self._tell)
        watch = None
        if request.groups:
            filters = Filters(request.groups, session.mailstore)
            watch = Watch(
                session.mailstore,
                cast("Store", session.service.store).notifier.traces,
                filters.wanted,
                pusher.notify,
                filters.owners,
                filters.with_others,
                filters.with_site,
                self._is_selected,
            )
            try:
                for news in watch.start(request.counts):
                    session.send(self._format_first(news))
            except BaseException:
                watch.close()
                raise
        if session.selected is not None:
            session.selected.report(session.stream, expunges=True, complete=True)
        self._replace(request.selected, watch, pusher)

    def close(self) -> None:
        """Want nothing any more; on return nothing is told."""
        self._replace(NOTHING, None, None)

    def _replace(self, events: SelectedEvents, watch: Watch | None, pusher: Pusher | None) -> None:
        """Only while the session is at a command, or over: nothing is being told then."""
        session = self._session
        before, self._watch = self._watch, watch
        if before is not None:
            before.close()
        self._unlisten()
        if self._pusher is not None and session.pusher is self._pusher:
            self._pusher.end()
            session.pusher = None
        self._events = events
        if pusher is not None:
            session.pusher = pusher
        self._pusher = pusher
        if session.selected is not None:
            self.attach(session.selected)

    # -- the selected mailbox

    def attach(self, selected: Selected) -> None:
        """A mailbox is selected: tell of it what is wanted."""
        selected.events = self._events
        if self._pusher is not None and self._events.messages:
            self._heard = selected.mailbox
            selected.mailbox.listen(self._pusher.notify)
            # What has come since it was opened is told as well.
            self._pusher.notify()

    def leave(self, selected: Selected) -> None:
        """It is left; from now on it is a mailbox as any other."""
        self._unlisten()
        if self._watch is not None:
            mailbox = selected.mailbox
            self._watch.note_told(str(mailbox.path), mailbox.status() if selected.is_told() else None)

    def _unlisten(self) -> None:
        heard, self._heard = self._heard, None
        if heard is not None and self._pusher is not None:
            heard.unlisten(self._pusher.notify)

    def _is_selected(self, path: str) -> bool:
        selected = self._session.selected
        return selected is not None and str(selected.mailbox.path) == path

    # -- what the session does itself

    def note_own(self, *names: str) -> None:
        """It changes these names, or their lists."""
        if self._watch is not None:
            self._watch.note_own(*self._normalize(names))

    def note_own_annotations(self, name: str, entries: Iterable[str]) -> None:
        """It has changed these annotations."""
        if self._watch is not None:
            for full in self._normalize([name]) if name else [""]:
                self._watch.note_own_annotations(full, iter(entries))

    def note_own_messages(self, mailbox: Mailbox, count: int) -> None:
        """It has added so many messages to a mailbox that is not selected."""
        if self._watch is not None:
            self._watch.note_own_messages(str(mailbox.path), mailbox.status(), count)

    def _normalize(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            with suppress(Invalid, LimitReached):
                yield self._session.mailstore.normalize(name)

    # -- telling

    @contextmanager
    def idling(self) -> Iterator[None]:
        """Removals may be told to any client within the block (RFC 5465 §6.1.2)."""
        self._in_idle = True
        try:
            yield
        finally:
            self._in_idle = False

    def tell_others(self) -> None:
        """Tell the news of all mailboxes but the selected one; during a command, or while nobody writes."""
        watch = self._watch
        if watch is None:
            return
        session = self._session
        try:
            for news in watch.look():
                session.send(self._format(news))
        except TooMuch:
            session.send(OVERFLOW)
            self._unlisten()
            self._watch, self._events = None, NOTHING
            watch.close()
            if session.selected is not None:
                session.selected.events = NOTHING
        except (Moved, StreamFailed):
            raise
        except MStoreError as error:
            session.service.log.error("news-failed", session=session.id, user=session.user, error=str(error))

    def _tell(self) -> None:
        session = self._session
        selected, events = session.selected, self._events
        if selected is not None and events.messages:
            expunges = self._in_idle or not events.delayed
            if expunges and session.stream.has_arrived() and not selected.mailbox.deleted:
                # Part of a command is here, which may number messages; what is held back is told behind it.
                expunges = False
                if self._pusher is not None:
                    self._pusher.owe()
            selected.report(session.stream, expunges, pushed=True)
        self.tell_others()

    def _format(self, news: News) -> bytes:
        session = self._session
        if isinstance(news, NameNews):
            shows_uses = is_personal(news.name) and session.offers(b"SPECIAL-USE")
            return format_name(news, shows_uses, session.utf8)
        if isinstance(news, CountNews):
            return format_counts(news, b"CONDSTORE" in session.enabled, session.utf8)
        return format_annotations(news, session.utf8)

    def _format_first(self, news: News) -> bytes:
        if isinstance(news, CountNews):
            session = self._session
            tells_modseq = b"CONDSTORE" in session.enabled or session.offers(b"CONDSTORE")
            return format_first_counts(news, tells_modseq, session.utf8)
        return self._format(news)
