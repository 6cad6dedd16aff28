"""Commands gone wrong: the lines of all dialogues, changed a little by chance, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tests.kit.dialogue import parse_dialogue

_INSERTED = (
    b"(", b")", b'"', b"{3}", b"{3+}\r\n", b"\\", b" ", b"*", b"%", b"4294967296", b"0", b"NIL", b"[", b"]",
    b"<", b"\x00", b"&AO-", b"\r\n", b",", b":", b"\xff",
)  # fmt: skip


def lines_of_dialogues(directory: Path) -> list[bytes]:
    """What clients say in the dialogues of a directory."""
    lines = []
    for path in sorted(directory.glob("*.txt")):
        for step in parse_dialogue(path.read_text(encoding="utf-8")).steps:
            if step.verb == "C" and "{{" not in step.text:
                lines.append(step.text.encode() + b"\r\n")
    return lines


def mutate(line: bytes, lines: Sequence[bytes], chance: random.Random) -> bytes:
    """A line with up to four changes: bytes lost, added, flipped, or the end of another line."""
    data = bytearray(line)
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            del data[at : at + chance.randrange(8)]
        elif kind == 1:
            data.insert(at, chance.randrange(256))
        elif kind == 2:
            data[at:at] = chance.choice(_INSERTED)
        elif kind == 3:
            other = chance.choice(lines)
            data[at:] = other[chance.randrange(len(other)) :]
        elif at < len(data):
            data[at] ^= 1 << chance.randrange(8)
    return bytes(data)
