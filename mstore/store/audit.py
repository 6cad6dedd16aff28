"""What was done to mail, written to the log where ``audit-log`` asks for it.

A transaction and an account tell what they have committed, each in one place. A line that cannot be written
is lost, and the change stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mstore.base.errors import MStoreError
from mstore.base.ids import AccountId, MailboxId
from mstore.base.log import Log
from mstore.base.numset import format_numset
from mstore.mail.structure import read_message_id
from mstore.mail.summary import ENVELOPE
from mstore.store import derived
from mstore.store.acts import APPENDED, COPIED, DELIVERED, EXPUNGED, FLAGGED, MOVED, Act, current
from mstore.store.people import show_identifier
from mstore.store.rights import format_rights

if TYPE_CHECKING:
    from mstore.store.acl import Acl
    from mstore.store.mailbox import Mailbox
    from mstore.store.namestate import MailboxEntry
    from mstore.store.people import Opener, People

_EVENTS = {
    DELIVERED: "mail-delivered", APPENDED: "mail-appended", COPIED: "mail-copied", MOVED: "mail-moved",
    FLAGGED: "mail-flagged", EXPUNGED: "mail-expunged",
    "created": "mailbox-created", "deleted": "mailbox-deleted", "renamed": "mailbox-renamed",
    "subscribed": "mailbox-subscribed", "unsubscribed": "mailbox-unsubscribed", "acl": "acl-changed",
}  # fmt: skip
_KEPT_ACCOUNTS = 256


class Auditor:
    """Writes acts to the log: those of the kinds that are wanted."""

    def __init__(
        self, log: Log, store: Opener, people: People, kinds: frozenset[str], each: bool = False
    ) -> None:
        """With ``each`` there is a line for each message."""
        self._log = log
        self._store = store
        self._people = people
        self._kinds = kinds
        self._each = each
        self._names: dict[AccountId, tuple[Mapping[str, MailboxEntry], dict[MailboxId, str]]] = {}

    def tell(self, mailbox: Mailbox, act: Act) -> None:
        """Log what was done to messages."""
        if act.kind not in self._kinds:
            return
        try:
            place = self._place(mailbox)
            source = {} if act.source is None else self._source(place, act.source)
            for pairs in self._lines(mailbox, act):
                self._log.info(_EVENTS[act.kind], **act.actor.pairs, **place, **source, **pairs, **act.pairs)
        except Exception as error:  # What was done is done: who did it is not to be told that it failed.
            self._log.exception("audit-failed", error)

    def tell_names(self, account_id: AccountId, kind: str, name: str, **pairs: object) -> None:
        """Log what was done to a mailbox, or to a name."""
        if kind not in self._kinds and not (kind == "unsubscribed" and "subscribed" in self._kinds):
            return
        owner = self._owner(account_id)
        self._log.info(_EVENTS[kind], **current().pairs, owner=owner, mailbox=name, **pairs)

    def tell_acl(self, account_id: AccountId, name: str, before: Acl, after: Acl) -> None:
        """Log each entry of an access control list that was changed."""
        if "acl" not in self._kinds:
            return
        old, new = dict(before), dict(after)
        for identifier in sorted(old.keys() | new.keys()):
            if old.get(identifier) != new.get(identifier):
                try:
                    shown = show_identifier(self._people, identifier) or identifier
                except MStoreError:
                    shown = identifier
                rights = [format_rights(each.get(identifier) or frozenset()) for each in (new, old)]
                pairs = {"identifier": shown, "rights": rights[0], "before": rights[1]}
                self.tell_names(account_id, "acl", name, **pairs)

    def _lines(self, mailbox: Mailbox, act: Act) -> Iterator[dict[str, object]]:
        """What differs in the lines for one act."""
        if act.added:
            for uid, message in zip(act.uids.tolist(), act.added, strict=True):
                yield {"uids": uid, "message_id": message.message_id, "size": message.size}
            return
        rows = act.rows
        assert rows is not None
        holder = act.source or mailbox
        sizes = holder.index.columns.full.size[rows]
        old = act.source_uids
        if not self._each:
            yield {
                "uids": format_numset(act.uids),
                "from_uids": None if old is None else format_numset(old),
                "messages": len(rows),
                "size": int(sizes.sum(dtype=np.uint64)),
            }
            return
        envelopes = derived.read_sound(holder, rows, ENVELOPE)
        for place, uid in enumerate(act.uids.tolist()):
            yield {
                "uids": uid,
                "from_uids": None if old is None else int(old[place]),
                "message_id": read_message_id(envelopes[place]),
                "size": int(sizes[place]),
            }

    def _source(self, place: dict[str, object], source: Mailbox) -> dict[str, object]:
        found = self._place(source)
        if found.get("owner") == place.get("owner"):
            del found["owner"]
        return {f"from_{key}": value for key, value in found.items()}

    def _place(self, mailbox: Mailbox) -> dict[str, object]:
        """Whose mailbox it is and what it is called now."""
        account_id = AccountId(mailbox.path.parent.name)
        place: dict[str, object] = {"owner": self._owner(account_id)}
        name = self._name(account_id, mailbox.id)
        place["mailbox" if name is not None else "mailbox_id"] = name or mailbox.id
        return place

    def _owner(self, account_id: AccountId) -> str:
        """The name of an account, or its id where there is none any more."""
        try:
            person = self._people.by_id(account_id)
        except MStoreError:
            return account_id
        return account_id if person is None else person.name

    def _name(self, account_id: AccountId, mailbox_id: MailboxId) -> str | None:
        try:
            person = self._people.by_id(account_id)
            entries = {} if person is None else self._store.account(person).mailboxes()
        except MStoreError:
            return None
        known = self._names.get(account_id)
        if known is None or known[0] is not entries:
            if len(self._names) >= _KEPT_ACCOUNTS:
                self._names.clear()
            by_id = {entry.id: name for name, entry in entries.items()}
            known = self._names[account_id] = entries, by_id
        return known[1].get(mailbox_id)
