"""Whatever clients send: a line of the log is one line, and gives the pairs back that were put in."""

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from mstore.base.logline import format_json, format_logfmt, to_text
from mstore.base.logsink import Syslog
from tests.kit.loglines import parse

NAMES = st.sampled_from(["user", "peer", "name", "event", "level", "mailbox", "error"])
TEXTS = st.text(st.characters(), max_size=60)
NASTY = st.lists(
    st.sampled_from(['"', "\\", " ", "=", "\n", "\r", "\x85", "\u2028", "\x00", "level=error", "peer=::1"])
).map("".join)
VALUES = st.one_of(TEXTS, NASTY, st.binary(max_size=60), st.integers(), st.booleans())
PAIRS = st.dictionaries(NAMES, VALUES, max_size=7)


@given(PAIRS)
def test_logfmt_gives_back_what_was_put_in(pairs: dict[str, object]) -> None:
    line = format_logfmt(pairs)
    assert len(line.splitlines()) <= 1 and not any(ord(char) < 32 for char in line)
    assert line.encode("utf-8").decode() == line
    assert parse(line) == {key: to_text(value) for key, value in pairs.items()}


def joined(text: str) -> str:
    """With the halves of a character that are side by side as that character, which JSON makes of them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@given(PAIRS)
def test_json_gives_back_what_was_put_in(pairs: dict[str, object]) -> None:
    line = format_json(pairs)
    assert line.isascii() and line.isprintable()
    expected = {k: v if isinstance(v, bool | int) else to_text(v) for k, v in pairs.items()}
    assert json.loads(line) == {k: joined(v) if isinstance(v, str) else v for k, v in expected.items()}


@given(PAIRS)
def test_the_syslog_gets_one_line(pairs: dict[str, object]) -> None:
    text = Syslog()._format("info", pairs).decode()
    head, _, rest = text.partition(f"[{os.getpid()}]: ")
    assert "\n" not in head
    assert parse(rest) == {"level": "info", **{key: to_text(value) for key, value in pairs.items()}}
