"""The search evaluator agrees with a plain reading of every key over messages whose texts are known."""

import base64
import quopri
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from email.header import Header as EncodedHeader
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstore.base.numset import NumSet
from mstore.mail.casemap import casemap
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox
from mstore.store.search import cost, find
from mstore.store.searchkeys import (
    All,
    And,
    Flag,
    Header,
    InternalDate,
    Keyword,
    Not,
    Or,
    Recent,
    SearchKey,
    SentDay,
    Seqs,
    Size,
    Text,
    Uids,
)
from mstore.store.view import View

DAY_S = 86_400
WORDS = ["alpha", "Beta", "GAMMA", "Grüße", "Straße", "ПРИВЕТ", "žluťoučký", "日本語", "=?x", "100%"]
KEYWORDS = (b"$Junk", b"work")
ZONES = ["+0000", "-0800", "+1400"]


@dataclass
class Known:
    """A message, and what a reader would see in it."""

    uid: int = 0
    flags: int = 0
    keywords: tuple[bytes, ...] = ()
    internal_date: int = 0
    sent: date | None = None
    size: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    bodies: list[str] = field(default_factory=list)
    recent: bool = False
    gone: bool = False


def encode_field(text: str, number: int) -> str:
    if text.isascii() and "=?" not in text:
        return text
    return (
        EncodedHeader(text, "utf-8", maxlinelen=200).encode()
        if number % 2
        else "".join(f"=?utf-8?b?{base64.b64encode(text.encode()).decode()}?=")
    )


def encode_body(text: str, number: int) -> tuple[str, bytes]:
    charset = "utf-8" if number % 2 else "utf-16"
    data = text.encode(charset)
    if number % 3 == 0 or charset == "utf-16":
        return f"text/plain; charset={charset}\r\nContent-Transfer-Encoding: base64", base64.encodebytes(data)
    if number % 3 == 1:
        encoded = quopri.encodestring(data).replace(b"\n", b"\r\n")
        return "text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable", encoded
    return "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit", data


def make(number: int) -> tuple[bytes, Known]:
    words = [WORDS[(number * step + step) % len(WORDS)] for step in (1, 3, 7)]
    known = Known(flags=number * 7 % 32, internal_date=number * 40_000 + 500)
    known.keywords = tuple(word for bit, word in enumerate(KEYWORDS) if number >> bit & 1)
    known.fields = {"from": f"{words[0]} <u{number % 5}@example.org>"}
    known.fields["subject"] = f"{words[1]} about {words[2]}"
    if number % 4 == 0:
        known.fields["to"] = "team@example.org"
    if number % 5 == 0:
        known.fields["x-note"] = words[2]
    lines = [f"{name.title()}: {encode_field(text, number)}" for name, text in known.fields.items()]
    if number % 6:
        known.sent = date(1970, 1, 1 + number % 12)
        lines.append(f"Date: {known.sent.day} Jan 1970 {number % 24:02}:59:59 {ZONES[number % 3]}")
    known.bodies = [f"{words[2]} wrote {words[0]}\r\n", f"then {words[1]} left\r\n"][: 1 + number % 2]
    parts = [encode_body(text, number + place) for place, text in enumerate(known.bodies)]
    if len(parts) == 1:
        content = f"Content-Type: {parts[0][0]}\r\n\r\n".encode() + parts[0][1]
    else:
        content = b'Content-Type: multipart/mixed; boundary="=_b"\r\n\r\n'
        for kind, data in parts:
            content += f"--=_b\r\nContent-Type: {kind}\r\n\r\n".encode() + data + b"\r\n"
        content += b"--=_b--\r\n"
    message = "\r\n".join(["MIME-Version: 1.0", *lines, ""]).encode() + content
    known.size = len(message)
    return message, known


@pytest.fixture(scope="module")
def known_mailbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[View, list[Known]]]:
    path: Path = tmp_path_factory.mktemp("search") / "box"
    mailbox = Mailbox.create(path, 7)
    all_known = []
    for number in range(120):
        message, known = make(number)
        known.uid = append(mailbox, [NewMessage(message, known.internal_date, known.flags, known.keywords)])[
            0
        ]
        all_known.append(known)
        if number == 29:
            mailbox.view(recent=True)
    for known in all_known[30:]:
        known.recent = True
    with mailbox.transaction() as tx:
        tx.expunge([3, 40, 41, 119])
    view = mailbox.view(recent=True)
    all_known = [known for row, known in enumerate(all_known) if row not in (3, 40, 41, 119)]
    with mailbox.transaction() as tx:  # not told to the view: keeps its number, is not found
        tx.expunge(view.rows[[5, 50]])
    all_known[5].gone = all_known[50].gone = True
    yield view, all_known
    mailbox.close()


def matches(key: SearchKey, known: Known, seq: int, count: int, last_uid: int) -> bool:
    """What the words of RFC 3501 §6.4.4 say, for one message."""

    def within(value: int, low: int | None, high: int | None) -> bool:
        return (low is None or value >= low) and (high is None or value < high)

    match key:
        case All():
            return True
        case Seqs(numbers):
            return numbers.contains(seq, count)
        case Uids(numbers):
            return numbers.contains(known.uid, last_uid)
        case Flag(mask):
            return known.flags & mask == mask
        case Keyword(name):
            return name.lower() in [word.lower() for word in known.keywords]
        case Recent():
            return known.recent
        case InternalDate(low, high):
            return within(known.internal_date, low, high)
        case SentDay(low, high):
            day = None if known.sent is None else (known.sent - date(1970, 1, 1)).days
            return day is not None and within(day, low, high)
        case Size(low, high):
            return within(known.size, low, high)
        case Header(name, text):
            value = known.fields.get(name.decode())
            return value is not None and text in casemap(value)
        case Text(text, with_header):
            bodies = any(text in casemap(body) for body in known.bodies)
            fields = any(text in casemap(value) for value in known.fields.values())
            return bodies or (with_header and fields)
        case Not(inner):
            return not matches(inner, known, seq, count, last_uid)
        case And(keys):
            return all(matches(inner, known, seq, count, last_uid) for inner in keys)
        case Or(keys):
            return any(matches(inner, known, seq, count, last_uid) for inner in keys)


def reference(key: SearchKey, all_known: list[Known]) -> list[int]:
    count, last_uid = len(all_known), all_known[-1].uid
    return [
        seq - 1
        for seq, known in enumerate(all_known, 1)
        if not known.gone and matches(key, known, seq, count, last_uid)
    ]


NUMBERS = st.lists(st.tuples(st.integers(0, 130), st.integers(0, 130)), min_size=1, max_size=3).map(NumSet)
BOUNDS = st.integers(-2, 15) | st.none()
PHRASES = ["about", "wrote", "team", "u3@example", "nowhere", "straßE", "then GR"]
TEXTS = st.sampled_from([*WORDS, *PHRASES]).map(casemap)
LEAVES = st.one_of(
    st.just(All()),
    NUMBERS.map(Seqs),
    NUMBERS.map(Uids),
    st.integers(0, 31).map(Flag),
    st.sampled_from([b"$junk", b"WORK", b"never"]).map(Keyword),
    st.just(Recent()),
    st.builds(InternalDate, *[BOUNDS.map(lambda day: day and day * DAY_S * 4)] * 2),
    st.builds(SentDay, BOUNDS, BOUNDS),
    st.builds(Size, *[st.integers(100, 600) | st.none()] * 2),
    st.builds(Header, st.sampled_from([b"from", b"to", b"subject", b"x-note"]), TEXTS),
    st.builds(Header, st.sampled_from([b"x-note", b"to"]), st.just("")),
    st.builds(Text, TEXTS, st.booleans()),
)
KEYS: st.SearchStrategy[SearchKey] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=4).map(lambda keys: And(tuple(keys))),
        st.lists(inner, min_size=2, max_size=4).map(lambda keys: Or(tuple(keys))),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=KEYS)
def test_search_agrees_with_the_rfc(known_mailbox: tuple[View, list[Known]], key: SearchKey) -> None:
    view, all_known = known_mailbox
    assert find(view.mailbox, view, key).tolist() == reference(key, all_known)


FLAG_KEYS = st.recursive(
    st.one_of(
        st.sampled_from([1, 2, 4, 8, 16, 5]).map(Flag),
        st.sampled_from([b"$junk", b"WORK", b"never"]).map(Keyword),
    ),
    lambda inner: st.one_of(
        inner.map(Not), st.lists(inner, min_size=1, max_size=3).map(lambda k: And(tuple(k)))
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=FLAG_KEYS)
def test_flags_are_searched_in_pieces(known_mailbox: tuple[View, list[Known]], key: SearchKey) -> None:
    view, all_known = known_mailbox
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mstore.store.search.FLAG_ROWS", 37)
        assert find(view.mailbox, view, key).tolist() == reference(key, all_known)


def test_an_empty_mailbox_has_nothing_to_be_found(tmp_path: Path) -> None:
    mailbox = Mailbox.create(tmp_path / f"{9:016x}", 7)
    assert find(mailbox, mailbox.view(), Not(Flag(1))).tolist() == []
    mailbox.close()


@pytest.mark.parametrize("word", [casemap(word) for word in WORDS])
def test_every_word_is_found_wherever_it_is(known_mailbox: tuple[View, list[Known]], word: str) -> None:
    view, all_known = known_mailbox
    found = 0
    for key in (Header(b"from", word), Header(b"x-note", word), Text(word, True), Text(word, False)):
        expected = reference(key, all_known)
        assert find(view.mailbox, view, key).tolist() == expected
        found += len(expected)
    assert found


def test_dear_keys_are_evaluated_for_the_undecided_only(known_mailbox: tuple[View, list[Known]]) -> None:
    view, _ = known_mailbox
    read: list[int] = []

    class Watched:
        def __getattr__(self, name: str) -> object:
            return getattr(view.mailbox, name)

        def read_many(self, rows: np.ndarray, header_only: bool = False) -> Iterator[list[bytes]]:
            read.extend(rows.tolist())
            return view.mailbox.read_many(rows, header_only)

    one = Seqs(NumSet([(7, 7)]))
    assert cost(And((Text("a", False), one))) > cost(one)
    find(Watched(), view, And((Text("wrote", False), one)))  # type: ignore[arg-type]
    assert read == [view.rows.item(6)]
    find(Watched(), view, Or((Text("wrote", False), All())))  # type: ignore[arg-type]
    assert len(read) == 1
