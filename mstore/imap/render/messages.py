"""FETCH responses for any items of any messages: compiled once per command, sent window by window.

Three ways, by what is asked and of how many: lines of columns alone are whole vectors; with structures and
fields of the header beside them, the columns of a window are joined by one pass over all their rows; with
message bodies, message after message, a large body in pieces. Nothing is parsed, and memory stays bounded
whatever is asked: a window is closed when enough bytes are in it.

Other sessions run between two windows. A response tells each message as it is when its window is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any, Protocol

import numpy as np

from mstore.base import blocking
from mstore.base.errors import Corrupt, Expunged, MStoreError, StorageFailed, UnknownEncoding
from mstore.imap.grammar.fetchitems import FetchItem
from mstore.imap.render.binary import BinaryItem, Pieces, Rendered
from mstore.imap.render.lines import COLUMN_ITEMS, Lines, View
from mstore.imap.render.section import MANY_END, Range, SectionItem, legal_bytes, legal_view
from mstore.imap.respond import format_string
from mstore.mail.mime import parse
from mstore.mail.parts import PartOffsets, decode_parts
from mstore.mail.preview import make_preview
from mstore.mail.structure import format_structure, has_global
from mstore.mail.summary import BODY, BODYSTRUCTURE, ENVELOPE, PARTS
from mstore.net.stream import StreamFailed

Array = np.ndarray[Any, np.dtype[Any]]
Send = Callable[[bytes | memoryview], None]
"""Takes what it is given, or a copy: a view may be of a buffer that is used again."""
SLOTS = {b"ENVELOPE": ENVELOPE, b"BODY": BODY, b"BODYSTRUCTURE": BODYSTRUCTURE}
SWEEP_ROWS = 2000
FEW_ROWS = 6
"""Of no more messages, headers are sooner read one by one."""
MANY_ROWS = 50
"""Of fewer messages, header fields are sooner picked from the headers than cut from what is kept of them."""
MESSAGE_ROWS = 256
WINDOW_BYTES = 32 << 20
LARGEST_STRUCTURE = 1 << 20
PIECE_BYTES = 256 << 10
END = b")\r\n"
UNREADABLE = (Corrupt, Expunged, StorageFailed, UnknownEncoding)
"""Why one message may have to be left out, while the others are sent."""


class Fields(Protocol):
    """Fields of many headers, in pieces."""

    @property
    def pieces(self) -> list[list[bytes]]: ...
    @property
    def lengths(self) -> list[int]: ...
    @property
    def absent(self) -> list[int]: ...


class Mailbox(Protocol):
    """What is read of a mailbox."""

    @property
    def columns(self) -> Any: ...
    @property
    def keywords(self) -> Sequence[bytes]: ...
    def derived(self, rows: Array, slots: Sequence[int]) -> list[list[bytes]]: ...
    def header_fields(self, rows: Array, marks: bytes) -> Fields: ...
    def read_many(self, rows: Array, header_only: bool) -> Iterable[list[bytes]]: ...
    def read(self, row: int, offset: int = 0, length: int | None = None) -> bytes: ...
    def chunks(self, row: int, offset: int = 0, length: int | None = None) -> Iterable[bytes]: ...
    def views(self, row: int, offset: int = 0, length: int | None = None) -> Iterable[memoryview]: ...


class _Heads(dict[int, bytes]):
    """A label and the head of a literal for a text of each length, written out once per length.

    ``more`` octets of the literal are not in the text; ``ending`` is what is left to send of the line end.
    """

    def __init__(self, label: bytes, more: int = 0, ending: bytes = b"\r\n") -> None:
        super().__init__()
        self._label, self._more, self._ending = label, more, ending

    def __missing__(self, length: int) -> bytes:
        head = self[length] = b"%b {%d}%b" % (self._label, length + self._more, self._ending)
        return head


Body = bytes | Range | Rendered | None
"""What a section sends: its bytes, where they lie if they are many, a value, or nothing."""


class PreviewItem:
    """The item PREVIEW: what a message says, in short (RFC 8970); an item that is made of the message."""

    label = b"PREVIEW"
    fields = None
    needs_parts = True
    is_header = False

    def render(self, root: PartOffsets, pieces: Pieces) -> Rendered:
        """The value for a message of these parts."""
        text = make_preview(root, lambda start, length: b"".join(pieces(start, length)))
        return Rendered(format_string(text.encode("utf-8")))


class Program:
    """What one list of items means, compiled once for any messages of any mailbox."""

    __slots__ = ("columns", "of_headers", "reads", "rev2", "sections", "slots", "structures")

    def __init__(self, items: Sequence[FetchItem], rev2: bool = False) -> None:
        self.rev2 = rev2
        """Structures are told as IMAP4rev2 has them (RFC 9051 §9 "body-type-msg")."""
        self.columns = tuple(item.name for item in items if item.name in COLUMN_ITEMS)
        self.structures = tuple(item.name for item in items if item.name in SLOTS)
        sections: list[SectionItem | BinaryItem | PreviewItem] = [
            (BinaryItem if item.name.startswith(b"BINARY") else SectionItem)(item, item.section)
            for item in items
            if item.section is not None
        ]
        if any(item.name == PreviewItem.label for item in items):
            sections.append(PreviewItem())
        self.sections = tuple(sections)
        needs_parts = any(section.needs_parts for section in self.sections)
        self.slots = tuple(SLOTS[name] for name in self.structures) + ((PARTS,) if needs_parts else ())
        self.of_headers = all(section.is_header for section in self.sections)
        """No section needs more of a message than its header."""
        self.reads = any(item.section is not None and not item.peek for item in items)
        """Sending it sets \\Seen (RFC 3501 §6.4.5)."""


class Messages:
    """The answer to one FETCH, ready to be sent for any messages of a mailbox."""

    __slots__ = ("_lines", "_mailbox", "_sections", "_slots", "_structures", "failure", "program")

    def __init__(
        self, program: Program, mailbox: Mailbox, view: View, uid: bool, uid_only: bool = False
    ) -> None:
        self.program = program
        self._mailbox = mailbox
        # By UID alone, the UID stands among the items for those who ask for it (RFC 9586 §3.3).
        columns = (b"UID", *program.columns) if uid and not uid_only else program.columns
        self._lines = Lines(columns, mailbox, view, uid_only)
        self._structures = program.structures
        self._slots = program.slots
        self._sections = program.sections
        self.failure: MStoreError | None = None
        """Why a message was left out, when one was."""

    def tell(self, *items: bytes) -> None:
        """Send these items, which stand in columns, asked or not."""
        self._lines = self._lines.with_items(*items)

    def send(self, seqs: Array, rows: Array, send: Send) -> None:
        """Send one response per row; ``seqs`` are the sequence numbers of the rows."""
        if not self._slots and not self._sections:
            for piece in self._lines.whole(seqs, rows):
                send(piece)
                blocking.breathe()
        elif self.program.of_headers and (len(rows) > FEW_ROWS or not self._sections):
            for window in self._windows(rows, SWEEP_ROWS):
                self._sweep(seqs[window], rows[window], send)
                blocking.breathe()
        else:
            for window in self._windows(rows, MESSAGE_ROWS):
                self._each(seqs[window], rows[window], send)

    def send_one(self, seq: int, row: int, send: Send) -> None:
        """Send the response for a single row: the same as ``send``, and cheaper."""
        if not self._slots and not self._sections:
            send(self._lines.one(seq, row) + END)
            return
        try:
            texts = [column[0] for column in self._derive(np.array([row]))] if self._slots else []
        except UNREADABLE as error:
            self.failure = error
        else:
            self._send_with(seq, row, texts, send)

    def _windows(self, rows: Array, most: int) -> Iterator[slice]:
        """Runs of rows, each closed by its number of rows or by the bytes that must be held for it."""
        arrays = self._mailbox.columns.full
        start = 0
        while start < len(rows):
            stop = min(start + most, len(rows))
            window = rows[start:stop]
            largest = int(arrays.size[window].max()) * (len(self._sections) + 1)
            if largest * len(window) > WINDOW_BYTES and len(window) > 1:
                weights = arrays.header_length[window].astype(np.int64) * len(self._sections)
                if self._slots:
                    weights += np.minimum(arrays.size[window], LARGEST_STRUCTURE)
                held = weights.cumsum()
                if held[-1] > WINDOW_BYTES:
                    stop = start + max(1, int(held.searchsorted(WINDOW_BYTES)))
            yield slice(start, stop)
            start = stop

    # -- many messages, without their bodies -------------------------------------------------------------

    def _sweep(self, seqs: Array, rows: Array, send: Send) -> None:
        try:
            columns = self._gather(rows)
        except UNREADABLE:
            self._each(seqs, rows, send)
            return
        beginnings = self._lines.beginnings(seqs, rows)
        send(b"".join(chain.from_iterable(zip(beginnings, *columns, repeat(END)))))

    def _gather(self, rows: Array) -> list[Iterable[bytes]]:
        """For each piece of a line behind its beginning, a column with that piece of every row."""
        columns: list[Iterable[bytes]] = []
        gap = b"" if self._lines.empty else b" "
        if self._slots:
            for name, texts in zip(self._structures, self._derive(rows), strict=False):
                columns += (repeat(gap + name + b" "), texts)
                gap = b" "
        headers: list[bytes] = []
        for section in self._sections:
            assert isinstance(section, SectionItem)
            if section.marks is not None and len(rows) >= MANY_ROWS:
                columns += self._kept_column(gap + section.label, section, section.marks, rows)
            else:
                headers = headers or self._read_headers(rows)
                columns += self._header_column(gap + section.label, section, headers)
            gap = b" "
        return columns

    def _read_headers(self, rows: Array) -> list[bytes]:
        return list(chain.from_iterable(self._mailbox.read_many(rows, header_only=True)))

    def _kept_column(
        self, label: bytes, section: SectionItem, marks: bytes, rows: Array
    ) -> list[Iterable[bytes]]:
        """The pieces of a section of fields that are kept beside the messages."""
        found = self._mailbox.header_fields(rows, marks)
        lengths, pieces = found.lengths, found.pieces
        endings: Iterable[bytes] = repeat(b"\r\n")
        if found.absent:
            assert section.fields is not None
            endings = [b"\r\n"] * len(rows)
            pieces = pieces or [[b""] * len(rows)]
            headers = self._read_headers(rows[found.absent])
            for place, header in zip(found.absent, headers, strict=True):
                pieces[0][place] = text = legal_bytes(section.fields.pick(header))
                lengths[place] = len(text) - 2
                endings[place] = b""
        return [map(_Heads(label, 2).__getitem__, lengths), *pieces, endings]

    @staticmethod
    def _header_column(label: bytes, section: SectionItem, headers: list[bytes]) -> list[Iterable[bytes]]:
        """The pieces of a section that is made of the header."""
        texts = headers
        if section.fields is not None:
            many = section.fields.pick_many(headers) if section.partial is None else None
            if many is not None:
                # Each begins with a line feed, the one that ends the head of its literal.
                heads = _Heads(label, len(MANY_END) - 1, b"\r")
                return [map(heads.__getitem__, map(len, many)), many, repeat(MANY_END)]
            texts = list(map(section.fields.pick, headers))
        if section.partial is not None:
            texts = [text[slice(*section.cut(0, len(text)))] for text in texts]
        heads = _Heads(label)
        return [map(heads.__getitem__, map(len, texts)), map(legal_bytes, texts)]

    # -- message after message ---------------------------------------------------------------------------

    def _each(self, seqs: Array, rows: Array, send: Send) -> None:
        slots = self._read_slots(rows)
        for index, (seq, row) in enumerate(zip(seqs.tolist(), rows.tolist(), strict=True)):
            if slots is None:
                self.send_one(seq, row, send)
            else:
                self._send_with(seq, row, [column[index] for column in slots], send)
            blocking.breathe()

    def _read_slots(self, rows: Array) -> list[list[bytes]] | None:
        """The derived texts of a window; None where one of its messages cannot be read."""
        if not self._slots:
            return []
        try:
            return self._derive(rows)
        except UNREADABLE:
            return None

    def _derive(self, rows: Array) -> list[list[bytes]]:
        """The derived texts of the rows, a list for each slot.

        Raises: Corrupt, Expunged, StorageFailed.
        """
        columns = self._mailbox.derived(rows, self._slots)
        if self.program.rev2:
            for slot, texts in zip(self._slots, columns, strict=True):
                if slot in (BODY, BODYSTRUCTURE):
                    for place, text in enumerate(texts):
                        if has_global(text):
                            full, short = format_structure(parse(self._mailbox.read(int(rows[place]))), True)
                            texts[place] = short if slot == BODY else full
        return columns

    def _read_bodies(self, row: int, texts: Sequence[bytes]) -> list[Body]:
        """What each section sends: its bytes, where they lie if they are many, or None if there is none."""
        arrays = self._mailbox.columns.full
        header_length, size = arrays.header_length.item(row), arrays.size.item(row)
        parts = texts[-1] if texts else b""
        bodies: list[Body] = []
        for section in self._sections:
            if not isinstance(section, SectionItem):
                bodies.append(section.render(decode_parts(parts), partial(self._mailbox.chunks, row)))
                continue
            place = section.find(header_length, size, parts)
            if place is None:
                bodies.append(None)
            elif section.fields is not None:
                start, end = place
                text = section.fields.pick(self._mailbox.read(row, start, end - start))
                bodies.append(legal_bytes(text[slice(*section.cut(0, len(text)))]))
            else:
                start, end = section.cut(*place)
                if end - start > PIECE_BYTES:
                    bodies.append((start, end))
                else:
                    bodies.append(legal_bytes(self._mailbox.read(row, start, end - start)))
        return bodies

    def _send_with(self, seq: int, row: int, texts: Sequence[bytes], send: Send) -> None:
        """Send the response for a row whose derived texts are there; its bodies are read now."""
        try:
            bodies = self._read_bodies(row, texts)
        except UNREADABLE as error:
            self.failure = error
            return
        pieces = [self._lines.one(seq, row)]
        gap = b"" if self._lines.empty else b" "
        for name, text in zip(self._structures, texts, strict=False):
            pieces += (gap, name, b" ", text)
            gap = b" "
        for section, body in zip(self._sections, bodies, strict=True):
            if body is None:
                pieces += (gap, section.label, b" NIL")
            elif isinstance(body, Rendered):
                pieces += (gap, section.label, b" ", body.text)
                if body.size_bytes:
                    send(b"".join(pieces))
                    pieces = []
                    self._send_rest(body, send)
            elif isinstance(body, bytes):
                pieces += (gap, section.label, b" {%d}\r\n" % len(body), body)
            else:
                pieces += (gap, section.label, b" {%d}\r\n" % (body[1] - body[0]))
                send(b"".join(pieces))
                pieces = []
                self._stream(row, body, send)
            gap = b" "
        pieces.append(END)
        send(b"".join(pieces))

    @staticmethod
    def _send_rest(body: Rendered, send: Send) -> None:
        """A large value, as ``_stream`` a large body."""
        left = body.size_bytes
        try:
            for piece in body.rest:
                send(piece)
                left -= len(piece)
                blocking.breathe()
        except UNREADABLE as error:
            raise StreamFailed("a message could not be read to its end") from error
        if left:
            raise StreamFailed("a message is not what it was")

    def _stream(self, row: int, place: Range, send: Send) -> None:
        """A large body; once its length is promised, only the end of the connection can excuse a gap."""
        start, end = place
        left = end - start
        try:
            for piece in self._mailbox.views(row, start, left):
                send(legal_view(piece))
                left -= len(piece)
                blocking.breathe()
        except UNREADABLE as error:
            raise StreamFailed("a message could not be read to its end") from error
        if left:
            raise StreamFailed("a message is shorter than its index says")
