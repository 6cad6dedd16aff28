"""Content-Type, Content-Disposition and their parameters (RFC 2045 §5.1, RFC 2183 §2, RFC 2231).

Names come in upper case, values as written without their quotes. Continued values are joined, as RFC 2231 §6
wants of IMAP servers; if a piece of one is percent-encoded, the whole is, and its name ends in ``*``.
"""

import re
from itertools import islice
from urllib.parse import unquote_to_bytes

from mstore.mail.header import strip_comments, unescape

Params = tuple[tuple[bytes, bytes], ...]

PARAM_LIMIT = 1000
"""Parameters of one field beyond this number are ignored."""

_TOKEN = rb"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]++"
_MEDIA = re.compile(rb"\s*+(" + _TOKEN + rb")\s*+(?:/\s*+(" + _TOKEN + rb"))?").match
_WORD = re.compile(rb'\s*+"?(' + _TOKEN + rb")").match
_PARAM = re.compile(rb';\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]++|\\[\s\S])*+)"?|([^;"]*+))')
# A single parameter with nothing odd about it, which is what most fields have.
_ONE_PARAM = re.compile(rb';\s*+([A-Za-z-]++)=(?:"([^"\\]*+)"|([^\s;"]++))').fullmatch
_PIECE = re.compile(rb"(.+?)(?:\*(\d{1,4}))?(\*)?", re.DOTALL).fullmatch
_UNSAFE = re.compile(rb"[^!#$&+.0-9A-Z^_`a-z{|}~-]")


def parse_content_type(value: bytes) -> tuple[bytes, bytes, Params] | None:
    """Type and subtype in upper case, and parameters; ``None`` when there is no type to be seen."""
    if b"(" in value:
        value = strip_comments(value)
    found = _MEDIA(value)
    if found is None:
        return None
    kind, subtype = found[1].upper(), found[2]
    if subtype is None:
        if kind != b"TEXT":
            return None
        subtype = b"PLAIN"
    return kind, subtype.upper(), _parse_params(value, found.end())


def parse_disposition(value: bytes) -> tuple[bytes, Params] | None:
    """The disposition in upper case and its parameters (RFC 2183 §2)."""
    if b"(" in value:
        value = strip_comments(value)
    found = _WORD(value)
    if found is None:
        return None
    return found[1].upper(), _parse_params(value, found.end())


def parse_word(value: bytes) -> bytes | None:
    """The first token of a field such as Content-Transfer-Encoding, in upper case."""
    if value.isalnum():
        return value.upper()
    found = _WORD(strip_comments(value))
    return found[1].upper() if found else None


def parse_words(value: bytes) -> tuple[bytes, ...]:
    """The comma-separated tags of Content-Language."""
    tags = (tag.strip() for tag in strip_comments(value).split(b",", PARAM_LIMIT)[:PARAM_LIMIT])
    return tuple(tag for tag in tags if tag)


def find_param(params: Params, name: bytes) -> bytes | None:
    """The value of the first parameter of this (upper-case) name."""
    for key, value in params:
        if key == name:
            return value
    return None


def find_charset(params: Params) -> bytes | None:
    """The charset, also where it is written as an extended value, which is decoded (RFC 2231 §4)."""
    value = find_param(params, b"CHARSET")
    if value is None:
        value = find_param(params, b"CHARSET*")
        if value is not None:
            value = unquote_to_bytes(value.split(b"'", 2)[-1])
    return value


def _parse_params(value: bytes, position: int) -> Params:
    one = _ONE_PARAM(value, position)
    if one is not None:
        name, quoted, plain = one.groups()
        return ((name.upper(), plain if quoted is None else quoted),)
    if value.find(b";", position) < 0:
        return ()
    params = []
    pieces = False
    for found in islice(_PARAM.finditer(value, position), PARAM_LIMIT):
        name, quoted, plain = found.groups()
        if quoted is None:
            text = plain.rstrip()
        else:
            text = unescape(quoted)
        pieces = pieces or b"*" in name
        params.append((name.upper(), text))
    return _join_pieces(params) if pieces else tuple(params)


def _join_pieces(params: list[tuple[bytes, bytes]]) -> Params:
    """Join ``NAME*0``, ``NAME*1*`` … where the first of them stood (RFC 2231 §3, §4.1)."""
    pieces: dict[bytes, dict[int, tuple[bytes, bool]]] = {}
    order: list[tuple[bytes, bytes | None]] = []
    for name, value in params:
        found = _PIECE(name)
        if found is None or found[2] is None:
            order.append((name, value))
            continue
        base = found[1]
        if base not in pieces:
            pieces[base] = {}
            order.append((base, None))
        pieces[base].setdefault(int(found[2]), (value, found[3] is not None))
    joined = []
    for name, plain in order:
        if plain is not None:
            joined.append((name, plain))
            continue
        numbered = pieces[name]
        run: list[tuple[bytes, bool]] = []
        while len(run) in numbered:
            run.append(numbered[len(run)])
        if not run:  # piece 0 is missing: the lowest ones still say something
            run = [numbered[number] for number in sorted(numbered)]
        if any(encoded for _, encoded in run):
            value = b"".join([text if encoded else _UNSAFE.sub(_percent, text) for text, encoded in run])
            joined.append((name + b"*", value))
        else:
            joined.append((name, b"".join([text for text, _ in run])))
    return tuple(joined)


def _percent(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]
