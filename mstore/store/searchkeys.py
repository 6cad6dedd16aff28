"""What can be asked of messages in a search, as a tree of small values (RFC 3501 §6.4.4, without its syntax).

Protocols build the tree, ``mstore.store.search`` evaluates it. Ranges are half-open; ``None`` leaves a side
open. Texts are case-mapped (``mstore.mail.casemap``) by who builds the tree, once, so that the evaluator
compares like with like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mstore.base.numset import NumSet


@dataclass(frozen=True, slots=True)
class All:
    """Every message."""


@dataclass(frozen=True, slots=True)
class Seqs:
    """Messages with these sequence numbers in the searcher's view."""

    numbers: NumSet


@dataclass(frozen=True, slots=True)
class Uids:
    """Messages with these UIDs."""

    numbers: NumSet


@dataclass(frozen=True, slots=True, eq=False)
class Among:
    """Messages with one of these UIDs, which ascend."""

    uids: np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Flag:
    """Messages that have all system flags of the mask."""

    mask: int


@dataclass(frozen=True, slots=True)
class Keyword:
    """Messages that have the keyword, whatever the case of its letters."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Recent:
    """Messages that are \\Recent for the searcher."""


@dataclass(frozen=True, slots=True)
class InternalDate:
    """Messages whose internal date, in seconds, is in the range."""

    low_s: int | None
    high_s: int | None


@dataclass(frozen=True, slots=True)
class SentDay:
    """Messages whose Date field names a day in the range, in days since 1970, whatever its zone."""

    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Size:
    """Messages whose size in octets is in the range."""

    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Column:
    """Messages with a number in this column of the index that is in the range."""

    name: str
    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class Header:
    """Messages with a field of this (lower case) name whose decoded value contains the text.

    The empty text asks for the field alone.
    """

    name: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """Messages whose decoded body, or body and header, contain the text."""

    text: str
    with_header: bool


@dataclass(frozen=True, slots=True)
class Not:
    """Messages that do not match."""

    key: SearchKey


@dataclass(frozen=True, slots=True)
class And:
    """Messages that match every key."""

    keys: tuple[SearchKey, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Messages that match any key."""

    keys: tuple[SearchKey, ...]


SearchKey = (
    All
    | Seqs
    | Uids
    | Among
    | Flag
    | Keyword
    | Recent
    | InternalDate
    | SentDay
    | Size
    | Column
    | Header
    | Text
    | Not
    | And
    | Or
)


def asks_modseq(key: SearchKey) -> bool:
    """Whether a MODSEQ is asked for anywhere in the tree (RFC 7162 §3.1.5)."""
    if isinstance(key, Not):
        return asks_modseq(key.key)
    if isinstance(key, And | Or):
        return any(map(asks_modseq, key.keys))
    return isinstance(key, Column) and key.name == "modseq"


def asks_numbers(key: SearchKey) -> bool:
    """Whether message numbers stand anywhere in the tree (RFC 7162 §3.2.10); ``$`` has become UIDs."""
    if isinstance(key, Not):
        return asks_numbers(key.key)
    if isinstance(key, And | Or):
        return any(map(asks_numbers, key.keys))
    return isinstance(key, Seqs)


def replace_keys(key: SearchKey, replace: Callable[[SearchKey], SearchKey]) -> SearchKey:
    """The tree with each of its leaves replaced."""
    if isinstance(key, Not):
        return Not(replace_keys(key.key, replace))
    if isinstance(key, And):
        return And(tuple(replace_keys(inner, replace) for inner in key.keys))
    if isinstance(key, Or):
        return Or(tuple(replace_keys(inner, replace) for inner in key.keys))
    return replace(key)
