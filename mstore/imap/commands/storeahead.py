"""STORE commands that have come behind the one that runs: changed in its transaction, answered one by one.

Who synchronises a mailbox sends one command for each message and waits for no answer (mbsync). Lock, group,
and report cost far more than the change of a flag, so they are shared by what is there already. Only plain
commands are taken: one message that is there, system flags, nothing that could fail by itself. The first
that is not plain, and all behind it, wait for their turn as ever (RFC 3501 §5.5).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from mstore.base.errors import Invalid
from mstore.base.flags import TOMBSTONE
from mstore.imap.chosen import Array
from mstore.imap.grammar.flags import split_flags
from mstore.store.transaction import Transaction

if TYPE_CHECKING:
    from mstore.imap.selected import Selected
    from mstore.net.stream import Stream

Operation = Literal["set", "add", "remove"]
# What is stored how, and whether the client wants no answer (rule store-att-flags).
ATTRIBUTES: dict[bytes, tuple[Operation, bool]] = {
    b"FLAGS": ("set", False),
    b"FLAGS.SILENT": ("set", True),
    b"+FLAGS": ("add", False),
    b"+FLAGS.SILENT": ("add", True),
    b"-FLAGS": ("remove", False),
    b"-FLAGS.SILENT": ("remove", True),
}
MOST_AHEAD = 100
"""While so many are changed the lock is held, and the worker's other sessions wait: a millisecond or two."""
_PLAIN = re.compile(
    rb"([^\x00-\x20\x7f-\xff(){%*\"\\+]+) (UID )?STORE ([1-9][0-9]{0,8}) ([+-]?FLAGS(?:\.SILENT)?)"
    rb" \((\\[A-Z]+(?: \\[A-Z]+)*)\)\r?\n",
    re.I,
)


class Plain(NamedTuple):
    """One such command."""

    tag: bytes
    number: int
    """The message's UID or sequence number."""
    change: tuple[Operation, int]
    """What is done with which flag bits."""
    size_bytes: int


class Ahead:
    """The commands that are taken, all of different messages; they stay in the stream until ``take``."""

    def __init__(self, commands: list[Plain], rows: Array) -> None:
        self._commands = commands
        self.rows = rows
        """Their messages, in the order of the commands."""

    @property
    def tags(self) -> list[bytes]:
        """In the order in which they came."""
        return [command.tag for command in self._commands]

    def change(self, tx: Transaction) -> list[Array]:
        """Change the flags; gives the rows really changed."""
        changes: dict[tuple[Operation, int], list[int]] = {}
        for place, command in enumerate(self._commands):
            changes.setdefault(command.change, []).append(place)
        return [
            tx.flags(self.rows[places], operation, bits, apart=True)
            for (operation, bits), places in changes.items()
        ]

    def take(self, stream: Stream) -> None:
        """They are done, and not to be read any more."""
        stream.skip(sum(command.size_bytes for command in self._commands))


def look_ahead(stream: Stream, selected: Selected, first: Array, uid: bool, silent: bool) -> Ahead | None:
    """What can be done with a command for the message in row ``first``; None where nothing can."""
    commands = _read(stream.ahead(), uid, silent)
    if not commands:
        return None
    view = selected.view
    numbers = np.array([command.number for command in commands], np.uint32)
    places = view.uids.searchsorted(numbers) if uid else numbers.astype(np.int64) - 1
    there = places < view.count
    places[~there] = 0
    rows = view.rows[places]
    if uid:
        there &= view.uids[places] == numbers
    there &= selected.mailbox.columns.full.flags[rows] & np.uint64(TOMBSTONE) == 0
    seen = set(first.tolist())
    for count, (row, is_there) in enumerate(zip(rows.tolist(), there.tolist(), strict=True)):
        if not is_there or row in seen:
            return Ahead(commands[:count], rows[:count]) if count else None
        seen.add(row)
    return Ahead(commands, rows)


def _read(data: bytes, uid: bool, silent: bool) -> list[Plain]:
    commands: list[Plain] = []
    at = 0
    while len(commands) < MOST_AHEAD:
        match = _PLAIN.match(data, at)
        if match is None or (match[2] is not None) != uid:
            break
        operation, is_silent = ATTRIBUTES[match[4].upper()]
        bits = _bits(match[5])
        if is_silent != silent or not bits:
            break
        commands.append(Plain(match[1], int(match[3]), (operation, bits), match.end() - at))
        at = match.end()
    return commands


@lru_cache(maxsize=64)
def _bits(names: bytes) -> int:
    """The bits of settable flags; 0 where one is not."""
    try:
        return split_flags(names.split())[0]
    except Invalid:
        return 0
