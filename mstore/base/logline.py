"""The forms of a line of the log: ``key=value …`` (logfmt) and JSON.

Whatever a client has sent, a value stays one value of one line: what could end it is quoted and escaped, so
that a program which takes the line apart finds the fields that were put in.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from functools import lru_cache

_PLAIN = re.compile(r"[!#-<>-~]+\Z")
# Control characters of both kinds, the separators of Unicode and lone halves of pairs; then what quotes.
_ESCAPED = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"\\\\]')
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
LONGEST_VALUE = 2000


def format_stamp(seconds: float) -> str:
    """A time in UTC with milliseconds: ``2026-01-31T12:00:00.250Z``."""
    return f"{_format_second(int(seconds // 1))}.{int(seconds * 1000) % 1000:03d}Z"


@lru_cache(maxsize=4)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def to_text(value: object) -> str:
    """A value as text, cut where it is too long."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, bytes | bytearray):
        text = bytes(value).decode("utf-8", "backslashreplace")
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, float):
        text = f"{value:.3f}"
    else:
        text = str(value)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"


def format_value(value: object) -> str:
    """One value of a logfmt line: quoted where it must be, and always on one line."""
    if type(value) is int:
        return str(value)
    text = to_text(value)
    if _PLAIN.match(text):
        return text
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    code = ord(char)
    return _SHORT.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def format_logfmt(pairs: Mapping[str, object]) -> str:
    """The pairs as ``key=value …``; those that are None are left out."""
    return " ".join([f"{key}={format_value(value)}" for key, value in pairs.items() if value is not None])


def format_json(pairs: Mapping[str, object]) -> str:
    """The pairs as one object, in ASCII; numbers and truth values stay what they are."""
    return json.dumps(
        {
            key: value if isinstance(value, bool | int | float) else to_text(value)
            for key, value in pairs.items()
            if value is not None
        },
        separators=(",", ":"),
    )


FORMATS = {"logfmt": format_logfmt, "json": format_json}
