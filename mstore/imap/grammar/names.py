"""Mailbox names on the wire: modified UTF-7 (RFC 3501 §5.1.3), INBOX, LIST patterns.

Decoding is strict: each name has one spelling, and what is not that spelling is refused. A client that has
enabled UTF-8 writes and reads names as they are (RFC 6855 §3, RFC 9051 §5.1).
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Callable
from functools import lru_cache

from mstore.base.errors import Invalid

SEPARATOR = "/"
_UTF16 = codecs.lookup("utf-16-be")
_PLAIN = re.compile(rb"[\x20-\x25\x27-\x7e]*")
_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")
_OTHERS = re.compile(r"[^\x20-\x7e]+|&")
INBOX = "INBOX"
_MARKS = "".join(map(chr, range(0xD800, 0xD800 + len(INBOX))))
"""Stands for INBOX where any spelling of it is looked for: half surrogates, which no pattern holds."""
_SPELLINGS = {
    letter: f"[{letter}{mark}]"
    for mark, capital in zip(_MARKS, INBOX, strict=True)
    for letter in (capital, capital.lower())
}
_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]&]+")


def parse_name(name: bytes, utf8: bool) -> str:
    """A name as a client writes it to text: UTF-8, or modified UTF-7.

    Raises: Invalid.
    """
    if not utf8:
        return parse_utf7(name)
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("mailbox name is not correct UTF-8") from None


def parse_utf7(name: bytes) -> str:
    """Modified UTF-7 to text.

    Raises: Invalid when it is not in the one correct form.
    """
    if _PLAIN.fullmatch(name):
        return name.decode("ascii")
    text, at = [], 0
    for match in _SHIFTED.finditer(name):
        text.append(_parse_plain(name[at : match.start()]))
        text.append(_parse_shifted(match[1]))
        at = match.end()
    text.append(_parse_plain(name[at:]))
    result = "".join(text)
    # One spelling only: no superfluous shift, no printable ASCII in base64, no stray bits.
    if format_utf7(result) != name:
        raise Invalid("mailbox name is not correct modified UTF-7")
    return result


def format_utf7(name: str) -> bytes:
    """Text to modified UTF-7."""
    if name.isascii() and name.isprintable() and "&" not in name:
        return name.encode("ascii")
    return _OTHERS.sub(_format_shifted, name).encode("ascii")


def fold_inbox(name: str) -> str:
    """The name with INBOX, alone or as first level, in capitals (RFC 3501 §5.1)."""
    if name[:5].upper() == "INBOX" and (len(name) == 5 or name[5] == SEPARATOR):
        return "INBOX" + name[5:]
    return name


@lru_cache(maxsize=8192)
def format_mailbox(name: str, utf8: bool) -> bytes:
    """A mailbox name as a response shows it: an atom where it can be, otherwise quoted."""
    wire = name.encode("utf-8") if utf8 else format_utf7(name)
    if _ATOM.fullmatch(wire) and wire.upper() != b"NIL":
        return wire
    return b'"' + wire.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A predicate for names, from a LIST pattern with ``%`` and ``*`` (RFC 3501 §6.3.8).

    INBOX, alone or as first level, matches where any spelling of it does (RFC 3501 §5.1). A pattern that has
    no wildcard, or one behind the whole word, is expected with INBOX in capitals.
    """
    if pattern == "*":
        return lambda name: True
    if "*" not in pattern and "%" not in pattern:
        return pattern.__eq__
    match = re.compile(_pattern_source(pattern, re.escape)).fullmatch
    head = re.split("[*%]", pattern, maxsplit=1)[0]
    if not INBOX.startswith(head.upper()) or not any(letter in pattern for letter in "inbox"):
        return lambda name: match(name) is not None
    match_marked = re.compile(_pattern_source(pattern, _any_spelling)).fullmatch

    def matches(name: str) -> bool:
        if name[:5] == INBOX and name[5:6] in ("", SEPARATOR):
            return match_marked(_MARKS + name[5:]) is not None
        return match(name) is not None

    return matches


def _any_spelling(text: str) -> str:
    """A regular expression for a text in which letters may be those of INBOX, marked."""
    return "".join([_SPELLINGS.get(letter) or re.escape(letter) for letter in text])


def _pattern_source(pattern: str, quote: Callable[[str], str]) -> str:
    """A regular expression without backtracking over wildcards, whatever the pattern.

    The text behind a wildcard is taken where it comes first, for good (atomic groups): a later wildcard of
    the same width can always make up for it. Only the text behind the last one is tied to the end.
    """
    heads = re.split(r"\*[*%]*|%[*%]*\*[*%]*", pattern)
    stars: list[str] = []
    for head in heads:
        first, *others = re.split("%+", head)
        stars.append(quote(first) + "".join(f"(?>[^/]*?{quote(other)}" + ")" for other in others))
    if len(stars) == 1:
        return _anchor(stars[0])
    middle = "".join(f"(?>.*?{step})" for step in stars[1:-1])
    return f"(?s:{stars[0]}{middle}(?>.*?{_anchor(stars[-1])}))"


def _anchor(source: str) -> str:
    """Tie a step to the end of the name, inside its last group."""
    return source[:-1] + r"\Z)" if source.endswith(")") and "(?>" in source else source + r"\Z"


def _parse_plain(part: bytes) -> str:
    if not _PLAIN.fullmatch(part):
        raise Invalid("mailbox name is not correct modified UTF-7")
    return part.decode("ascii")


def _parse_shifted(part: bytes) -> str:
    if not part:
        return "&"
    try:
        data = base64.b64decode(part.replace(b",", b"/") + b"=" * (-len(part) % 4), validate=True)
        return _UTF16.decode(data)[0]
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Invalid("mailbox name is not correct modified UTF-7") from error


def _format_shifted(match: re.Match[str]) -> str:
    run = match[0]
    if run == "&":
        return "&-"
    data = base64.b64encode(_UTF16.encode(run, "surrogatepass")[0])
    return "&" + data.rstrip(b"=").replace(b"/", b",").decode("ascii") + "-"
