"""The base subject of a message, by which SORT and THREAD compare subjects (RFC 5256 §2.1)."""

import re
from typing import NamedTuple

from mstore.mail.decode import decode_words
from mstore.mail.header import unfold

_SPACES = re.compile(r"[ \t\r\n]+")
# For Python before 3.11.5 the groups are not possessive (see address.py).
_BLOBS = re.compile(r"(?:\[[^\[\]]*+\] *+)*")
_REFWD = re.compile(r"(?:re|fwd?) *+(?:\[[^\[\]]*+\] *+)?:", re.IGNORECASE)
_ODD = re.compile(r"[\[:\])]").search
_FORWARDED = "(fwd)"
_FORWARD_HEAD = "[fwd:"


class BaseSubject(NamedTuple):
    """What is left of a subject, and whether what was taken away marks a reply or a forwarded message."""

    text: str
    is_reply: bool


def base_subject(value: bytes) -> BaseSubject:
    """The base subject of a raw Subject field; takes linear time (RFC 5256 §2.1, steps in parentheses)."""
    text = decode_words(unfold(value)).replace("\0", "")
    if "  " in text or not text.isprintable():
        text = _SPACES.sub(" ", text)  # (1)
    if _ODD(text) is None:
        return BaseSubject(text.strip(" "), False)
    start, end = 0, len(text)
    is_reply = False
    while True:
        end, found = _trailer(text, start, end)  # (2)
        is_reply |= found
        start, found = _leaders(text, start, end)  # (3) to (5)
        is_reply |= found
        if not (text[end - 1 : end] == "]" and text[start : start + 5].lower() == _FORWARD_HEAD):  # (6)
            return BaseSubject(text[start:end], is_reply)
        start, end, is_reply = start + 5, end - 1, True


def _trailer(text: str, start: int, end: int) -> tuple[int, bool]:
    """Where the text ends without its trailers (subj-trailer), and whether there was a ``(fwd)``."""
    found = False
    while end > start:
        if text[end - 1] == " ":
            end -= 1
        elif end - start >= len(_FORWARDED) and text[end - len(_FORWARDED) : end].lower() == _FORWARDED:
            end -= len(_FORWARDED)
            found = True
        else:
            break
    return end, found


def _leaders(text: str, start: int, end: int) -> tuple[int, bool]:
    """Where the text begins without subj-leader and subj-blob, and whether there was a subj-refwd."""
    found = False
    while start < end:
        if text[start] == " ":
            start += 1
            continue
        blobs = _BLOBS.match(text, start, end)
        assert blobs is not None
        refwd = _REFWD.match(text, blobs.end(), end)
        if refwd is not None:
            start, found = refwd.end(), True
            continue
        if blobs.end() < end:
            # No leader behind these blobs, so there is none behind the last of them either.
            start = blobs.end()
        else:
            # A blob that would leave nothing stays: the last one is the subject.
            start = text.rfind("[", start, end) if blobs.end() > start else start
        break
    return start, found
