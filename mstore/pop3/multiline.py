"""Multi-line responses: byte-stuffing, the termination line, and the first lines of a body.

Everything works on chunks cut anywhere, in bounded memory, with no Python statement per line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def stuff(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks with each line that begins with a dot given another, then the termination line.

    RFC 1939 §3. A line counts as begun behind a bare LF too, so that a client which splits there never takes
    a line of the message for the end of it. Content that does not end with CRLF gets one.
    """
    tail = b"\r\n"
    for chunk in chunks:
        if not chunk:
            continue
        stuffed = chunk.replace(b"\n.", b"\n..")
        yield b"." + stuffed if chunk[0] == 0x2E and tail.endswith(b"\n") else stuffed
        tail = chunk[-2:] if len(chunk) > 1 else tail[-1:] + chunk
    yield b".\r\n" if tail == b"\r\n" else b"\r\n.\r\n"


def first_lines(chunks: Iterable[bytes], lines: int) -> Iterator[bytes]:
    """So much of the chunks as makes the first so many lines (RFC 1939 §7, TOP)."""
    if lines <= 0:
        return
    for chunk in chunks:
        count = chunk.count(b"\n")
        if count >= lines:
            yield b"\n".join(chunk.split(b"\n", lines)[:lines]) + b"\n"
            return
        lines -= count
        yield chunk
