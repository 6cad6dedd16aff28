"""The reference model of a contention run: a dict and a list.

The notes of all sessions of all processes are replayed, mailbox by mailbox, in the order of their MODSEQ.
Every operation must have had exactly the effect that it has on the model: that is to say, that there is one
order in which all sessions did what they did, and that it is the one that the MODSEQs tell.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from mstore.base.flags import FIRST_KEYWORD_BIT, SYSTEM_FLAGS

Note = tuple[Any, ...]
Flags = frozenset[bytes]
_BIRTH, _LOOK, _CHANGE = range(3)


def names_of(keywords: list[bytes], bits: int) -> Flags:
    """The names of flag bits."""
    names = [name for place, name in enumerate(SYSTEM_FLAGS) if bits >> place & 1]
    names += [name for place, name in enumerate(keywords) if bits >> FIRST_KEYWORD_BIT + place & 1]
    return frozenset(names)


class Message:
    """What the model knows of a message; ``flags`` is None when another changed them before we could look."""

    __slots__ = ("flags", "history", "modseq", "number", "size")

    def __init__(self, flags: Flags | None, modseq: int | None) -> None:
        self.flags = flags
        self.modseq = modseq
        self.history: list[tuple[int, Flags | None]] = [(modseq or 0, flags)]
        self.number = self.size = 0


class Box:
    """One mailbox of the model."""

    def __init__(self) -> None:
        self.live: dict[int, Message] = {}
        self.gone: dict[int, tuple[Message, int]] = {}
        """What was expunged, with the MODSEQ of that."""
        self.moved: set[int] = set()
        """What of that was moved elsewhere."""
        self.born: dict[int, tuple[int, Flags, Flags | None]] = {}
        """By UID: MODSEQ and flags seen after the birth, and the flags asked for, where they are known."""
        self.events: list[tuple[int, int, Note]] = []
        self.ends: list[tuple[int, list[tuple[int, Flags]]]] = []
        self.changes: dict[int, set[int]] = defaultdict(set)
        """By UID, the MODSEQs of all changes."""

    def message(self, uid: int) -> Message:
        return self.live[uid] if uid in self.live else self.gone[uid][0]


class Names:
    """What became of the names of an account; every new name is one that nobody had before."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}
        """Names as they were given, with the mailbox that they led to."""
        self.next: dict[str, str | None] = {}
        """What a name was changed to; None when it was deleted."""

    def created(self, name: str, box: str) -> None:
        """A mailbox was made."""
        self.ids[name] = box

    def renamed(self, old: str, new: str) -> None:
        """A mailbox was given another name."""
        assert old not in self.next, f"{old} was renamed or deleted twice"
        self.next[old] = new

    def deleted(self, name: str) -> None:
        """A mailbox was deleted."""
        assert name not in self.next, f"{name} was renamed or deleted twice"
        self.next[name] = None

    def now(self) -> dict[str, str]:
        """The names that there are in the end, and where they lead."""
        found = {}
        for first, box in self.ids.items():
            name: str | None = first
            while name is not None and name in self.next:
                name = self.next[name]
            if name is not None:
                found[name] = box
        return found


class Model:
    """All mailboxes of an account, from the notes of all sessions."""

    def __init__(self, notes: list[Note]) -> None:
        self.boxes: dict[str, Box] = defaultdict(Box)
        self.copies: list[tuple[str, str, str, int, int]] = []
        self.numbers: dict[tuple[str, int], tuple[int, int]] = {}
        self.reads: list[tuple[str, int, int]] = []
        self.names = Names()
        for _, kind, *rest in notes:
            if kind in ("created", "renamed", "deleted"):
                getattr(self.names, kind)(*rest)
            else:
                getattr(self, f"_{kind}")(*rest)
        self._origins = {(target, new): (source, old) for _, source, target, old, new in self.copies}
        for name, box in self.boxes.items():
            self._replay(name, box)
        self._check_copies()
        for name, uid, number in self.reads:
            assert self.origin(name, uid)[0] == number, f"UID {uid} of {name} was read as message {number}"

    # -- taking the notes

    def _append(self, box: str, names: Flags, added: list[Any]) -> None:
        for uid, number, size, (modseq, flags) in added:
            self._bear(box, uid, modseq, flags, names)
            self.numbers[box, uid] = number, size

    def _bear(self, box: str, uid: int, modseq: int, flags: Flags, asked: Flags | None) -> None:
        assert uid not in self.boxes[box].born, f"UID {uid} of {box} was given twice"
        self.boxes[box].born[uid] = modseq, flags, asked

    def _flags(
        self, box: str, modseq: int, op: str, names: Flags, asked: list[int], since: int | None,
        changed: list[int],
    ) -> None:  # fmt: skip
        found = self.boxes[box]
        order = _CHANGE if changed else _LOOK
        found.events.append((modseq, order, ("flags", op, names, asked, since, changed)))
        for uid in changed:
            found.changes[uid].add(modseq)

    def _expunge(self, box: str, modseq: int, asked: list[int], gone: list[int]) -> None:
        found = self.boxes[box]
        found.events.append((modseq, _CHANGE if gone else _LOOK, ("expunge", asked, gone)))
        for uid in gone:
            found.changes[uid].add(modseq)

    def _copy(self, source: str, target: str, pairs: list[Any], kind: str = "copy") -> None:
        for old, new, _, (modseq, flags) in pairs:
            self._bear(target, new, modseq, flags, None)
            self.copies.append((kind, source, target, old, new))

    def _move(self, source: str, target: str, pairs: list[Any]) -> None:
        self._copy(source, target, pairs, "move")
        for old, _, left, _ in pairs:
            self.boxes[source].moved.add(old)
            self._expunge(source, left, [old], [old])

    def _read(self, box: str, uid: int, number: int) -> None:
        self.reads.append((box, uid, number))

    def _compacted(self, box: str) -> None:
        """Nothing is to be seen of that."""

    def _end(self, box: str, modseq: int, told: list[tuple[int, Flags]]) -> None:
        self.boxes[box].ends.append((modseq, told))

    # -- replaying

    def _replay(self, name: str, box: Box) -> None:
        for uid, (modseq, flags, asked) in box.born.items():
            changes = box.changes[uid]
            known = modseq not in changes
            assert not known or not changes or modseq < min(changes)
            at = modseq if known else min(changes)
            seen = flags if known else asked
            assert not known or asked is None or flags == asked, f"UID {uid} of {name} came with {flags}"
            box.events.append((at, _BIRTH, ("birth", uid, seen, modseq if known else None)))
        seen_modseqs: dict[int, str] = {}
        for modseq, order, event in sorted(box.events, key=lambda found: found[:2]):
            kind = event[0]
            if order == _CHANGE and kind == "flags":
                assert modseq not in seen_modseqs, f"two changes of {name} have MODSEQ {modseq}"
                seen_modseqs[modseq] = kind
            try:
                getattr(self, f"_apply_{kind}")(box, modseq, *event[1:])
            except AssertionError as error:
                raise AssertionError(f"{name} at {modseq}: {event}: {error}") from error

    def _apply_birth(self, box: Box, _: int, uid: int, flags: Flags | None, modseq: int | None) -> None:
        assert uid not in box.live and uid not in box.gone
        box.live[uid] = Message(flags, modseq)

    def _apply_flags(
        self, box: Box, modseq: int, op: str, names: Flags, asked: list[int], since: int | None,
        changed: list[int],
    ) -> None:  # fmt: skip
        for uid in asked:
            message = box.live.get(uid)
            if message is None:
                assert uid not in changed, f"UID {uid} was changed while it was not there"
                continue
            before = message.flags
            after = {"set": names, "add": (before or frozenset()) | names}.get(op)
            if after is None:
                after = None if before is None else before - names
            if since is not None and message.modseq is None:
                pass  # when it came is not known exactly
            elif since is not None and message.modseq is not None and message.modseq > since:
                assert uid not in changed, f"UID {uid} was changed since {since}"
            elif before is not None:
                assert (uid in changed) == (before != after), f"UID {uid}: {before} to {after}"
            if uid in changed:
                message.flags = after if op == "set" or before is not None else None
                message.modseq = modseq
                message.history.append((modseq, message.flags))
        assert set(changed) <= set(asked)

    def _apply_expunge(self, box: Box, modseq: int, asked: list[int], gone: list[int]) -> None:
        assert set(gone) <= set(asked)
        for uid in asked:
            assert (uid in gone) == (uid in box.live), (
                f"UID {uid}: there {uid in box.live}, taken {uid in gone}"
            )
            if uid in gone:
                box.gone[uid] = box.live.pop(uid), modseq

    # -- across mailboxes

    def _check_copies(self) -> None:
        """A copy has the flags that its source had at some time; a move those at the end."""
        for kind, source, target, old, new in self.copies:
            came = self.boxes[target].message(new).history[0][1]
            history = self.boxes[source].message(old).history
            had = [history[-1][1]] if kind == "move" else [flags for _, flags in history]
            assert came is None or None in had or came in had, f"{kind} {source}:{old} to {target}:{new}"

    def origin(self, box: str, uid: int) -> tuple[int, int]:
        """Number and size of the message that a UID stands for, through all copies."""
        at = (box, uid)
        while at not in self.numbers:
            at = self._origins[at]
        return self.numbers[at]
