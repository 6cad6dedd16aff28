"""From the encodings of mail to text: encoded words, transfer encodings, charsets. For searching, so lenient.

Nothing here raises, whatever the input, and what is decoded is hardly longer than what it was (twice, in some
charsets). Unknown charsets are guessed: UTF-8 if it is, else Windows-1252.
"""

import binascii
import codecs
import re

_ENCODED_WORD = re.compile(rb"=\?([^?\s*]{1,64}+)(?:\*[^?\s]*+)?\?([BbQq])\?([^?\r\n]*+)\?=")
_BETWEEN_WORDS = re.compile(rb"(\?=)\s+(?==\?[^?\s]{1,64}\?[BbQq]\?)")
_BASE64_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64_ALPHABET + b"="))
# What mail calls them, and who reads what is really meant: supersets, as browsers do it too.
_ALIASES = {
    "us-ascii": "", "ascii": "", "ansi_x3.4-1968": "", "unknown-8bit": "", "x-unknown": "", "default": "",
    "iso-8859-1": "cp1252", "latin1": "cp1252", "iso8859-1": "cp1252", "iso_8859-1": "cp1252",
    "iso-8859-8-i": "iso-8859-8", "iso-8859-8-e": "iso-8859-8", "iso-8859-11": "cp874", "tis-620": "cp874",
    "windows-874": "cp874", "x-windows-874": "cp874", "iso-8859-9": "cp1254",
    "gb2312": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "cp936": "gb18030", "gb_2312-80": "gb18030",
    "big5": "cp950", "x-big5": "cp950", "big5-hkscs": "big5hkscs",
    "ks_c_5601-1987": "cp949", "ks_c_5601": "cp949", "euc-kr": "cp949", "ksc5601": "cp949",
    "x-windows-949": "cp949",
    "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "x-sjis": "cp932", "windows-31j": "cp932",
    "iso-2022-jp": "iso2022_jp_2", "x-euc-jp": "euc_jp", "cp-850": "cp850", "utf8mb4": "utf-8",
    "unicode-1-1-utf-7": "utf-7", "unicode-1-1-utf-8": "utf-8", "x-mac-roman": "mac_roman",
    "macintosh": "mac_roman", "x-mac-cyrillic": "mac_cyrillic", "visual": "iso-8859-8", "x-user-defined": "",
}  # fmt: skip
# Text codecs of Python that are no charsets of mail; some of them take quadratic time.
_NO_CHARSETS = frozenset(
    ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem")
)


def is_charset(name: str) -> bool:
    """Whether text in this charset can be decoded (for SEARCH CHARSET)."""
    name = name.strip().lower()
    return name in _ALIASES or _codec(name) is not None


def decode_text(data: bytes, charset: bytes | str | None = None) -> str:
    """``data`` as text; bytes that are none in this charset become U+FFFD."""
    if isinstance(charset, bytes):
        charset = charset.decode("latin-1")
    name = (charset or "").strip().strip("'\"").lower()
    if name == "utf-8":
        return data.decode("utf-8", "replace")
    name = _ALIASES.get(name, name)
    info = _codec(name) if name else None
    if info is None or info.name == "ascii":
        return _guess(data)
    try:
        return info.decode(data, "replace")[0]
    except (ValueError, LookupError, OverflowError):
        return _guess(data)


def _codec(name: str) -> codecs.CodecInfo | None:
    if not name or len(name) > 40 or not name.isascii() or not name.isprintable():
        return None
    try:
        info = codecs.lookup(_ALIASES.get(name, name))
    except (LookupError, ValueError, ImportError):
        return None
    if not getattr(info, "_is_text_encoding", True) or info.name.replace("-", "_") in _NO_CHARSETS:
        return None
    return info


def _guess(data: bytes) -> str:
    """Undeclared text: ASCII and UTF-8 say so themselves; else what Western clients of old sent."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def decode_words(value: bytes) -> str:
    """A header value with its encoded words decoded (RFC 2047), raw 8-bit text guessed."""
    if b"=?" not in value:
        return _guess(value)
    value = _BETWEEN_WORDS.sub(rb"\1", value)
    pieces: list[str] = []
    position = 0
    run: list[bytes] = []  # characters are sometimes split over neighbouring words of one charset
    charset = b""
    for found in _ENCODED_WORD.finditer(value):
        between = value[position : found.start()]
        if run and (between or found[1].lower() != charset):
            pieces.append(decode_text(b"".join(run), charset))
            run = []
        if between:
            pieces.append(_guess(between))
        charset = found[1].lower()
        run.append(decode_base64(found[3]) if found[2] in b"Bb" else _decode_q(found[3]))
        position = found.end()
    if run:
        pieces.append(decode_text(b"".join(run), charset))
    pieces.append(_guess(value[position:]))
    return "".join(pieces)


def _decode_q(data: bytes) -> bytes:
    return binascii.a2b_qp(data, header=True)


def decode_base64(data: bytes) -> bytes:
    """Whatever can be made of ``data``: strange characters, missing and stray padding do not matter."""
    data = data.translate(None, _NOT_BASE64)
    if b"=" in data:
        head, _, tail = data.partition(b"=")
        tail = tail.lstrip(b"=")
        if tail:  # several encoded pieces in a row, each with its own padding
            return b"".join([_decode_run(run) for run in (head + b"=" + tail).split(b"=") if run])
        data = head
    return _decode_run(data)


def _decode_run(data: bytes) -> bytes:
    excess = len(data) % 4
    if excess == 1:
        data = data[:-1]
    elif excess:
        data += b"=" * (4 - excess)
    return binascii.a2b_base64(data)


def decode_quoted_printable(data: bytes) -> bytes:
    """``data`` without its quoted-printable encoding; malformed escapes stay as they are.

    Blanks at the end of a line were added on the way (RFC 2045 §6.7 "MUST be deleted"), behind a soft line
    break as well.
    """
    if any(blank in data for blank in (b" \r\n", b"\t\r\n", b" \n", b"\t\n")):
        *lines, rest = data.split(b"\n")
        data = b"".join([_without_blanks(line) for line in lines]) + rest
    return binascii.a2b_qp(data)


def _without_blanks(line: bytes) -> bytes:
    """A line, its LF taken off, without the blanks before its end; with its LF again."""
    if line.endswith(b"\r"):
        return line[:-1].rstrip(b" \t") + b"\r\n"
    return line.rstrip(b" \t") + b"\n"


def decode_body(data: bytes, encoding: bytes) -> bytes:
    """A body without its transfer encoding; unknown encodings leave it as it is."""
    encoding = encoding.upper()
    if encoding == b"BASE64":
        return decode_base64(data)
    if encoding == b"QUOTED-PRINTABLE":
        return decode_quoted_printable(data)
    return data
