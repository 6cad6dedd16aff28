"""What may stand in parentheses beside the arguments of SELECT, FETCH, STORE (RFC 4466 §2, 7162, 9394)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mstore.base.numset import LAST_RESULT, STAR, NumSet
from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.returnoptions import PartialRange, parse_partial_range

MAX_MATCHES = 100_000
"""So many messages a client may name to say what it knows."""


@dataclass(frozen=True, slots=True)
class Resync:
    """What a client knows of a mailbox that it selects again (RFC 7162 §3.2.5)."""

    uid_validity: int
    modseq: int
    uids: NumSet | None = None
    seqs: NumSet | None = None
    uids_of_seqs: NumSet | None = None


@dataclass(frozen=True, slots=True)
class SelectParameters:
    """What SELECT and EXAMINE may be told besides the name."""

    condstore: bool = False
    resync: Resync | None = None


@dataclass(frozen=True, slots=True)
class FetchModifiers:
    """What FETCH may be told besides set and items."""

    changed_since: int | None = None
    vanished: bool = False
    partial: PartialRange | None = None


def parse_select_parameters(cursor: Cursor) -> SelectParameters:
    """Read the parameters of SELECT, if there are any, up to the end of the command."""
    if cursor.at_end():
        return SelectParameters()
    cursor.space()
    condstore, resync = False, None
    for word in _each(cursor):
        if word == b"CONDSTORE":
            condstore = True
        elif word == b"QRESYNC" and resync is None:
            cursor.space()
            resync = _parse_resync(cursor)
        else:
            raise Bad("Unknown parameter")
    cursor.end()
    return SelectParameters(condstore, resync)


def parse_fetch_modifiers(cursor: Cursor) -> FetchModifiers:
    """Read the modifiers of FETCH, if there are any, up to the end of the command."""
    if cursor.at_end():
        return FetchModifiers()
    cursor.space()
    changed_since, vanished, partial = None, False, None
    for word in _each(cursor):
        if word == b"PARTIAL" and partial is None:
            cursor.space()
            partial = parse_partial_range(cursor)
        elif word == b"CHANGEDSINCE" and changed_since is None:
            cursor.space()
            changed_since = cursor.number64()
        elif word == b"VANISHED":
            vanished = True
        else:
            raise Bad("Unknown FETCH modifier")
    if vanished and changed_since is None:
        raise Bad("VANISHED needs CHANGEDSINCE")
    cursor.end()
    return FetchModifiers(changed_since, vanished, partial)


def parse_store_modifiers(cursor: Cursor) -> int | None:
    """Read the modifiers of STORE and the space behind them, if there are any: UNCHANGEDSINCE."""
    if cursor.peek() != 40:
        return None
    unchanged_since = None
    for word in _each(cursor):
        if word != b"UNCHANGEDSINCE" or unchanged_since is not None:
            raise Bad("Unknown STORE modifier")
        cursor.space()
        unchanged_since = cursor.number64()
    cursor.space()
    return unchanged_since


def _each(cursor: Cursor) -> Iterator[bytes]:
    """The names in a parenthesized list, each read when the one before, with its arguments, has been."""
    if not cursor.take(b"("):
        raise Bad("too many arguments")
    yield cursor.word()
    while not cursor.take(b")"):
        cursor.space()
        yield cursor.word()


def _parse_resync(cursor: Cursor) -> Resync:
    cursor.expect(b"(")
    uid_validity = cursor.nz_number()
    cursor.space()
    modseq = cursor.number64()
    uids = seqs = uids_of_seqs = None
    if not cursor.take(b")"):
        cursor.space()
        if cursor.peek() != 40:
            uids = _parse_known(cursor)
            if cursor.take(b")"):
                return Resync(uid_validity, modseq, uids)
            cursor.space()
        cursor.expect(b"(")
        seqs = _parse_known(cursor)
        cursor.space()
        uids_of_seqs = _parse_known(cursor)
        cursor.expect(b")")
        cursor.expect(b")")
        _check_matches(seqs, uids_of_seqs)
    return Resync(uid_validity, modseq, uids, seqs, uids_of_seqs)


def _parse_known(cursor: Cursor) -> NumSet:
    numbers = cursor.sequence_set()
    if numbers is LAST_RESULT:
        raise Bad("known messages expected")
    if any(STAR in pair for pair in numbers.ranges):
        raise Bad("* is not known beforehand")
    return numbers


def _check_matches(seqs: NumSet, uids: NumSet) -> None:
    """Pass two sets of as many numbers, in ascending order."""
    counts = []
    for numbers in (seqs, uids):
        ends = np.array(numbers.ranges, np.int64).ravel()
        if (ends[1::2] < ends[::2]).any() or (ends[2::2] <= ends[1:-1:2]).any():
            raise Bad("Known messages must be in ascending order")
        counts.append(int((ends[1::2] - ends[::2] + 1).sum()))
    if counts[0] != counts[1]:
        raise Bad("As many UIDs as message numbers expected")
    if counts[0] > MAX_MATCHES:
        raise Bad("Too many known messages")
