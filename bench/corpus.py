"""Messages as they come: trace headers, references, text with an HTML twin; from a seed, always the same."""

from __future__ import annotations

import base64
import random
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


def message(number: int, size: int) -> bytes:
    """Message number so, of about that size, with CRLF line ends and no line that is only a dot."""
    chance = random.Random(number * 7919 + size)
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    subject = " ".join(chance.choices(_WORDS, k=chance.randint(3, 8))).capitalize()
    if number % 7 == 0:
        subject = "=?utf-8?B?" + base64.b64encode(f"{subject} für Zoë".encode()).decode() + "?="
    if number % 3 == 0:
        subject = "Re: " + subject
    date = formatdate(EPOCH + number * 61, localtime=False)
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
        f"Subject: {subject}",
        f"Date: {date}",
        f"Message-ID: <{number}.{size}@bench.example>",
        f"In-Reply-To: <{number - 1}.{size}@bench.example>",
        f"References: <{max(0, number - 9)}.{size}@bench.example> <{number - 1}.{size}@bench.example>",
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


def _prose(chance: random.Random, size: int) -> str:
    words = chance.choices(_WORDS, k=size // 8 + 12)
    lines = [" ".join(words[at : at + 10]) for at in range(0, len(words), 10)]
    return "\r\n".join(line if number % 6 else line + "\r\n" for number, line in enumerate(lines)) + "\r\n"


def _token(chance: random.Random, size: int) -> str:
    return base64.b64encode(chance.randbytes(size)).decode().rstrip("=")[:size]
