"""Messages for tests of the store: any number, each different, of a given size."""

from __future__ import annotations

from mstore.store.append import NewMessage


def make_content(number: int, size: int = 300) -> bytes:
    """A message of about ``size`` bytes whose text says which one it is."""
    head = (
        f"From: Ann Smith <ann{number}@example.org>\r\nTo: joe@example.net\r\nSubject: message {number}\r\n"
        f"Date: Mon, 1 Jan 2024 00:00:{number % 60:02d} +0000\r\nMessage-ID: <{number}@example.org>\r\n\r\n"
    ).encode()
    line = f"line of message {number}\r\n".encode()
    return head + line * max(1, (size - len(head)) // len(line))


def make_message(
    number: int, size: int = 300, flags: int = 0, keywords: tuple[bytes, ...] = ()
) -> NewMessage:
    """A message ready to be appended."""
    return NewMessage(make_content(number, size), 1_700_000_000 + number, flags, keywords)


def make_messages(count: int, first: int = 1, size: int = 300) -> list[NewMessage]:
    """So many messages with ascending numbers."""
    return [make_message(number, size) for number in range(first, first + count)]
