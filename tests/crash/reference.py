"""What a user may expect of an account, in plain dictionaries, and what each operation changes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Messages = dict[int, tuple[bytes, frozenset[bytes]]]
"""UID: content, and the names of flags and keywords."""


@dataclass
class Box:
    """One mailbox."""

    id: str
    uid_validity: int
    messages: Messages = field(default_factory=dict)
    uid_next: int = 1
    retained: Messages = field(default_factory=dict)
    """What was expunged, and not moved elsewhere."""

    def copy(self) -> Box:
        return Box(self.id, self.uid_validity, dict(self.messages), self.uid_next, dict(self.retained))


@dataclass
class Account:
    """All that a user sees."""

    boxes: dict[str, Box] = field(default_factory=dict)
    subscriptions: frozenset[str] = frozenset()
    deleted: dict[str, Box] = field(default_factory=dict)
    """Deleted mailboxes that held messages, by their ids and names."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Anything else by name: rights, limits."""

    def copy(self) -> Account:
        boxes = {name: box.copy() for name, box in self.boxes.items()}
        return Account(boxes, self.subscriptions, dict(self.deleted), dict(self.extra))

    def find(self, box_id: str) -> Box | None:
        return next((box for box in self.boxes.values() if box.id == box_id), None)


@dataclass
class Effect:
    """One atomic change."""

    apply: Callable[[Account], None]
    box: str = ""
    """Id of the mailbox that is changed; empty for the names."""
    soft: bool = False
    """A power cut may take it back until the journal is synced: flags."""
    adds: frozenset[int] = frozenset()
    removes: frozenset[int] = frozenset()
    touches: frozenset[int] = frozenset()
    """Messages whose flags change."""

    def is_seen(self, uids: frozenset[int]) -> bool:
        """Whether a reader who finds these UIDs in the mailbox has seen the change."""
        return not self.soft and (self.adds or self.removes) != frozenset() and (
            self.adds <= uids and not self.removes & uids
        )


@dataclass
class Operation:
    """What a client asked for, and what comes of it."""

    name: str
    effects: list[Effect]
    settles: frozenset[str] = frozenset()
    """Mailboxes whose flags are durable when it is acknowledged."""
    failed: bool = False
    """It was refused: nothing of it, or its first effects, whole."""


def added(box_id: str, messages: Messages) -> Effect:
    """Messages come."""

    def apply(account: Account) -> None:
        box = account.find(box_id)
        if box is not None:
            box.messages.update(messages)
            box.uid_next = max([box.uid_next, *(uid + 1 for uid in messages)])

    return Effect(apply, box_id, adds=frozenset(messages))


def removed(box_id: str, uids: Iterable[int], moved: bool = False) -> Effect:
    """Messages go; ``moved``: to another mailbox."""
    gone = frozenset(uids)

    def apply(account: Account) -> None:
        box = account.find(box_id)
        if box is not None:
            for uid in gone & box.messages.keys():
                message = box.messages.pop(uid)
                if not moved:
                    box.retained[uid] = message

    return Effect(apply, box_id, removes=gone)


def flagged(box_id: str, uids: Iterable[int], add: Iterable[bytes], remove: Iterable[bytes]) -> Effect:
    """Flags of messages change."""
    changed, more, less = frozenset(uids), frozenset(add), frozenset(remove)

    def apply(account: Account) -> None:
        box = account.find(box_id)
        if box is None:
            return
        for uid in changed & box.messages.keys():
            content, flags = box.messages[uid]
            box.messages[uid] = content, flags - less | more

    return Effect(apply, box_id, soft=True, touches=changed)


def changed(change: Callable[[Account], None]) -> Effect:
    """Something about the names changes."""
    return Effect(change)


def alternatives(
    origin: Account,
    done: list[Operation],
    current: Operation | None,
    seen: Mapping[str, frozenset[int]],
    survives: bool = False,
) -> list[Account]:
    """What may be found after a power cut: acknowledged operations whole, but for flags that were not synced
    yet, unless the machine ``survives``; of the one that was under way its first effects, at least those that
    somebody may have ``seen``."""
    found = [origin]
    for place, operation in enumerate(done):
        settled: set[str] = set()
        for later in done[place:]:
            settled |= later.settles
        if operation.failed:
            found = _partly(found, operation, 0)
            continue
        for effect in operation.effects:
            changed = [_with(account, effect) for account in found]
            found = changed + found if effect.soft and not survives and effect.box not in settled else changed
    if current is not None:
        least = 0
        for place, effect in enumerate(current.effects):
            if effect.is_seen(seen.get(effect.box, frozenset())):
                least = place + 1
        found = _partly(found, current, least)
    return found


def _with(account: Account, effect: Effect) -> Account:
    account = account.copy()
    effect.apply(account)
    return account


def _partly(accounts: list[Account], operation: Operation, least: int) -> list[Account]:
    result = []
    for count in range(least, len(operation.effects) + 1):
        some = accounts
        for effect in operation.effects[:count]:
            some = [_with(account, effect) for account in some]
        result += some
    return result or accounts
