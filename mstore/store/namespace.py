"""What CREATE, DELETE and RENAME mean for an account's names: rules, no files.

Kept true throughout: every superior of a name is a name too, INBOX is always there and can be selected, and
a ``\\Noselect`` name has something beneath it. Each function looks at the names as they are and gives the
changes, or raises without any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mstore.base.errors import Exists, HasInferiors, Invalid, LimitReached, NotFound
from mstore.store import names
from mstore.store.acl import EMPTY, Acl
from mstore.store.names import INBOX
from mstore.store.namestate import NO_MAILBOX, MailboxEntry

MAX_MAILBOXES = 20_000
MAX_SUBSCRIPTIONS = 20_000
MOST_KEPT_UID_VALIDITY = (1 << 32) - (1 << 24)
"""Above a UIDVALIDITY that is kept from elsewhere there is room for the mailboxes that come later."""

Entries = Mapping[str, MailboxEntry]


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a DELETE does: the name becomes ``\\Noselect``, or goes with superiors kept only for it."""

    entry: MailboxEntry
    kept: MailboxEntry | None
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Renaming:
    """What a RENAME does: names to make first, then the old names and what they become."""

    made: tuple[str, ...]
    moved: tuple[tuple[str, MailboxEntry], ...]
    removed: tuple[str, ...]


def names_to_create(entries: Entries, name: str) -> list[str]:
    """The names that CREATE makes mailboxes of, superiors first.

    RFC 3501 §6.3.3: superiors that are missing are created, as mailboxes; a ``\\Noselect`` name becomes one.
    Raises: Exists, LimitReached.
    """
    entry = entries.get(name)
    if entry is not None and not entry.no_select:
        raise Exists(f"mailbox {name} exists already")
    missing = [superior for superior in names.superiors(name) if superior not in entries]
    missing.append(name)
    if len(entries) + len(missing) > MAX_MAILBOXES:
        raise LimitReached(f"an account cannot have more than {MAX_MAILBOXES} mailboxes")
    return missing


def find_uid_validity(entries: Entries, name: str, uid_validity: int) -> MailboxEntry | None:
    """The mailbox that has the UIDVALIDITY which another one, of this name, is to have.

    No two mailboxes of an account have the same, so that a client never takes one for another after a RENAME.
    Raises: Invalid where it cannot be kept.
    """
    if not 0 < uid_validity <= MOST_KEPT_UID_VALIDITY:
        raise Invalid(f"UIDVALIDITY {uid_validity} cannot be kept: it leaves no room for later ones")
    for entry in entries.values():
        if entry.uid_validity == uid_validity and not entry.no_select and entry.name != name:
            return entry
    return None


def plan_delete(entries: Entries, name: str) -> Deletion:
    """What DELETE does to the names.

    RFC 3501 §6.3.4: with children the name stays, as ``\\Noselect``; such a name cannot be deleted again.
    Raises: NotFound, Invalid, HasInferiors.
    """
    if name == INBOX:
        raise Invalid("INBOX cannot be deleted")
    entry = _existing(entries, name)
    if has_children(entries, name):
        if entry.no_select:
            raise HasInferiors(f"{name} has mailboxes beneath it")
        return Deletion(entry, no_select_entry(name), ())
    return Deletion(entry, None, (name, *_left_alone(entries, {name})))


def plan_rename(entries: Entries, old: str, new: str) -> Renaming:
    """What RENAME does to the names, of everything but INBOX.

    RFC 3501 §6.3.5: inferiors go along, superiors of the new name that are missing are created.
    Raises: NotFound, Exists, Invalid, LimitReached.
    """
    entry = _existing(entries, old)
    if new in entries:
        raise Exists(f"mailbox {new} exists already")
    if names.is_inferior(new, old):
        raise Invalid("a mailbox cannot be moved beneath itself")
    made = [superior for superior in names.superiors(new) if superior not in entries]
    if len(entries) + len(made) > MAX_MAILBOXES:
        raise LimitReached(f"an account cannot have more than {MAX_MAILBOXES} mailboxes")
    moved = [(old, replace(entry, name=new))]
    for name, inferior in entries.items():
        if names.is_inferior(name, old):
            target = new + name[len(old) :]
            names.check(target)
            moved.append((name, replace(inferior, name=target)))
    gone = {name for name, _ in moved}
    kept = {superior for superior in names.superiors(new) if superior in entries}
    return Renaming(tuple(made), tuple(moved), _left_alone(entries, gone, kept))


def inherited_acl(entries: Entries, name: str) -> Acl:
    """The access control list of a new mailbox: its own if it was a ``\\Noselect`` name that has one,
    otherwise that of the nearest level above it.

    RFC 4314 §4 "it SHOULD inherit the ACL from the parent mailbox".
    """
    entry = entries.get(name)
    if entry is not None and entry.acl:
        return entry.acl
    for superior in reversed(names.superiors(name)):
        if superior in entries:
            return entries[superior].acl
    return EMPTY


def no_select_entry(name: str) -> MailboxEntry:
    """The entry of a name that is kept only for its children."""
    return MailboxEntry(name, NO_MAILBOX, 0, no_select=True)


def has_children(entries: Entries, name: str) -> bool:
    """Whether anything lies beneath a name."""
    prefix = name + names.SEPARATOR
    return any(other.startswith(prefix) for other in entries)


def _existing(entries: Entries, name: str) -> MailboxEntry:
    entry = entries.get(name)
    if entry is None:
        raise NotFound(f"there is no mailbox {name}")
    return entry


def _left_alone(entries: Entries, gone: set[str], kept: set[str] | None = None) -> tuple[str, ...]:
    """The ``\\Noselect`` superiors that nothing is left beneath once ``gone`` is gone, the lowest first."""
    top = min(gone, key=len)
    found: list[str] = []
    for superior in reversed(names.superiors(top)):
        entry = entries.get(superior)
        if entry is None or not entry.no_select or (kept and superior in kept):
            break
        without = gone.union(found)
        if any(names.is_inferior(name, superior) for name in entries if name not in without):
            break
        found.append(superior)
    return tuple(found)
