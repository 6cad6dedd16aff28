"""Messages as they come: trace headers, references, text with an HTML twin; from a seed, always the same.

Four of ten are by themselves, as news and bills are; the others belong to conversations of seven, of which
several go on at the same time. `sender`, `subject`, `root`, `sent_s` and
`arrived_s` say of each what a search, a sort or a thread must find, so that answers can be checked.
"""

from __future__ import annotations

import base64
import random
import time
from email.utils import formatdate

_WORD_LIST = """
account amount answer archive autumn balance before between budget calendar change client column copy
deliver detail draft early evening every figure follow friday garden group harbour invoice journal
kitchen ledger letter mailbox market meeting minute monday morning notice number offer office order
payment people picture please price project quarter question reader record region reply report request
river season second sender server shipment station storage street subject summer supply table thank their
there ticket today tomorrow travel update village visit water weather winter without worker yesterday
"""
_FIRST_LIST = """
Anna Bruno Clara David Elena Felix Greta Hugo Irene Jonas Karla Liam Marta Nils Olga Paul Rosa Sven Tilda
Ugo
"""
_LAST_LIST = """
Abel Berg Conti Dahl Ek Falk Grimm Hahn Ibsen Jansen Keller Lund Moser Nagy Orth Pohl Quist Roth Stern
Thoma
"""
_WORDS, _FIRST, _LAST = tuple(_WORD_LIST.split()), tuple(_FIRST_LIST.split()), tuple(_LAST_LIST.split())

EPOCH = 1_700_000_000
STEP_S = 61
"""So much later than the one before it each message is sent."""
ABREAST, LENGTH, TALKING = 13, 7, 8
"""Of so many messages in a row so many continue conversations, each of which has so many messages."""


def root(number: int) -> int:
    """The message that began this one's conversation; itself where nobody answered, or it answers nobody."""
    at, lane = divmod(number, ABREAST)
    return number if lane >= TALKING else number - at % LENGTH * ABREAST


def sender(number: int) -> tuple[str, str]:
    """Who wrote it, first and last name."""
    return _FIRST[number * 7 % 11 + number % 9], _LAST[number * 5 % 17 + number % 3]


def subject(number: int) -> str:
    """What it is about, without "Re:" and before it is encoded."""
    first = root(number)
    chance = random.Random(first * 104_729)
    text = " ".join(chance.choices(_WORDS, k=chance.randint(3, 8))).capitalize()
    return f"{text} für Zoë" if first % 7 == 0 else text


def sent_s(number: int) -> int:
    """When its Date says that it was sent, in seconds since 1970: minutes before it came, at times days."""
    return arrived_s(number) - number * 7919 % 997 - (86_400 * (number % 3 + 1) if number % 50 == 7 else 0)


def arrived_s(number: int) -> int:
    """When it arrived, in seconds since 1970."""
    return EPOCH + number * STEP_S


def internal_date(number: int) -> bytes:
    """When it arrived, as IMAP writes it."""
    return time.strftime("%d-%b-%Y %H:%M:%S +0000", time.gmtime(arrived_s(number))).encode()


def _heading(number: int) -> str:
    text = subject(number)
    if not text.isascii():
        text = "=?utf-8?B?" + base64.b64encode(text.encode()).decode() + "?="
    return text if root(number) == number else "Re: " + text


def message(number: int, size: int) -> bytes:
    """Message number so, of about that size, with CRLF line ends and no line that is only a dot."""
    chance = random.Random(number * 7919 + size)
    first, last = sender(number)
    date = formatdate(sent_s(number), localtime=False)
    boundary = f"=_part_{number:08d}"
    head = [
        f"Received: from mx{number % 9}.bench.example (unknown [192.0.2.{number % 250}])",
        f"\tby mail.bench.example (Postfix) with ESMTPS id {chance.getrandbits(40):010X}",
        f"\tfor <user@bench.example>; {date}",
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=bench.example; s=mail;",
        f"\tt={EPOCH + number}; bh={_token(chance, 32)}=;",
        "\th=From:To:Subject:Date:Message-ID;",
        f"\tb={_token(chance, 60)}",
        f"\t {_token(chance, 60)}==",
        f"From: {first} {last} <{first.lower()}.{last.lower()}@bench.example>",
        f'To: "{chance.choice(_FIRST)} {chance.choice(_LAST)}" <user@bench.example>',
        f"Cc: {chance.choice(_FIRST).lower()}@bench.example, {chance.choice(_LAST).lower()}@other.example",
        f"Subject: {_heading(number)}",
        f"Date: {date}",
        f"Message-ID: <{number}.{size}@bench.example>",
        *_references(number, size),
        "MIME-Version: 1.0",
        f'Content-Type: multipart/alternative; boundary="{boundary}"',
        "X-Mailer: bench 1.0",
        "",
        "",
    ]
    top = "\r\n".join(head)
    room = max(200, size - len(top) - 330)
    text = _prose(chance, room // 2)
    html = (
        "<html><body><p>"
        + _prose(chance, room // 2).replace("\r\n\r\n", "</p>\r\n<p>")
        + "</p></body></html>\r\n"
    )
    more = "charset=utf-8\r\nContent-Transfer-Encoding: 7bit"
    parts = (
        f"--{boundary}\r\nContent-Type: text/plain; {more}\r\n\r\n{text}\r\n"
        f"--{boundary}\r\nContent-Type: text/html; {more}\r\n\r\n{html}\r\n"
        f"--{boundary}--\r\n"
    )
    return (top + parts).encode()


def _references(number: int, size: int) -> list[str]:
    before = [f"<{n}.{size}@bench.example>" for n in range(root(number), number, ABREAST)]
    if not before:
        return []
    return [f"In-Reply-To: {before[-1]}", "References: " + "\r\n\t".join(before)]


def _prose(chance: random.Random, size: int) -> str:
    words = chance.choices(_WORDS, k=size // 8 + 12)
    lines = [" ".join(words[at : at + 10]) for at in range(0, len(words), 10)]
    return "\r\n".join(line if number % 6 else line + "\r\n" for number, line in enumerate(lines)) + "\r\n"


def _token(chance: random.Random, size: int) -> str:
    return base64.b64encode(chance.randbytes(size)).decode().rstrip("=")[:size]
