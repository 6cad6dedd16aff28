"""Transfer encodings piece by piece: the same as at once, wherever the pieces are cut."""

import base64
import random

from mstore.mail.decode import decode_base64, decode_quoted_printable
from mstore.mail.mime import parse
from mstore.mail.parts import BASE64, IDENTITY, QUOTED_PRINTABLE
from mstore.mail.transfer import decode_pieces, encode_binary


def cut(data: bytes, chance: random.Random) -> list[bytes]:
    pieces = []
    while data:
        size = chance.randint(1, 20)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def test_pieces_are_decoded_as_the_whole_is() -> None:
    chance = random.Random(1)
    for _ in range(300):
        plain = chance.randbytes(chance.randint(0, 200))
        odd = bytes(chance.choice(b"QUJDRA==+/\r\n !") for _ in range(chance.randint(0, 80)))
        for data in (base64.encodebytes(plain), base64.b64encode(plain), base64.b64encode(plain) * 2, odd):
            assert b"".join(decode_pieces(cut(data, chance), BASE64)) == decode_base64(data)
        text = bytes(chance.choice(b"ab=3DC \t\r\n\x80") for _ in range(chance.randint(0, 80)))
        quoted = text.replace(b"\n", b"=\r\n", 2)
        assert b"".join(decode_pieces(cut(quoted, chance), QUOTED_PRINTABLE)) == decode_quoted_printable(
            quoted
        )
        assert b"".join(decode_pieces(cut(plain, chance), IDENTITY)) == plain


def test_a_line_without_end_is_not_kept() -> None:
    data = b"=41b" * 60_000
    pieces = [data[at : at + 1001] for at in range(0, len(data), 1001)]
    decoded = list(decode_pieces(pieces, QUOTED_PRINTABLE))
    assert b"".join(decoded) == b"Ab" * 60_000
    assert max(map(len, decoded)) < 70_000


def test_binary_parts_are_put_into_base64_and_nothing_else_changes() -> None:
    content = bytes(range(256)) * 3
    inner = b"Content-Type: image/png\r\nContent-transfer-encoding: binary (x)\r\nX: y\r\n\r\n" + content
    message = (
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        b"--b\r\n\r\nplain\n\r\n--b\r\n" + inner + b"\r\n--b--\r\n"
    )
    encoded = b"".join(encode_binary(message))
    assert b"\0" not in encoded
    assert b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--b\r\n\r\nplain\n\r\n--b\r\n" in encoded
    part = parse(encoded).parts[1]
    assert part.encoding == b"BASE64"
    body = encoded[part.body_start : part.end]
    assert base64.b64decode(body) == content
    assert max(map(len, body.split(b"\r\n"))) <= 76
    assert encoded.endswith(b"\r\n--b--\r\n") and b"\r\nX: y\r\n" in encoded
    plain = b"Subject: x\r\n\r\nbinary is not said\r\n"
    assert b"".join(encode_binary(plain)) == plain


def test_a_large_binary_part_keeps_its_lines() -> None:
    content = random.Random(2).randbytes(200_000)
    encoded = b"".join(encode_binary(b"Content-Transfer-Encoding: binary\r\n\r\n" + content))
    body = encoded.partition(b"\r\n\r\n")[2]
    assert base64.b64decode(body) == content
    assert {len(line) for line in body.split(b"\r\n")[:-1]} == {76}
