"""Every structure on disk as a table of fields: what is written, read, dumped and documented comes from here.

All integers are little-endian. A reader accepts a file when magic and checksum are right and the version is
one it knows; reserved bytes are written as zero and ignored. ``python -m mstore.files.document FILE`` writes
the tables between the markers of a document; a test says when they are out of date.
"""

from __future__ import annotations

import struct
from collections import namedtuple
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

VERSION = 1


class Field(NamedTuple):
    """One field of a structure: its name, its ``struct`` code and what it means."""

    name: str
    code: str
    meaning: str


class Layout:
    """A structure of fixed size: packs, unpacks, and describes itself."""

    def __init__(self, name: str, title: str, fields: list[Field]) -> None:
        self.name = name
        self.title = title
        self.fields = fields
        self.struct = struct.Struct("<" + "".join(field.code for field in fields))
        self.size = self.struct.size
        named = [field.name for field in fields if "x" not in field.code]
        self._tuple: Any = namedtuple(name, named)  # type: ignore[misc]
        self.pack = self.struct.pack
        self.unpack_from = self.struct.unpack_from

    def read(self, buffer: Any, offset: int = 0) -> Any:
        """The fields at ``offset`` by name; ``struct.error`` when the buffer is too short."""
        return self._tuple._make(self.struct.unpack_from(buffer, offset))

    def write(self, **values: Any) -> bytes:
        """The bytes of a structure given by name."""
        return self.struct.pack(*self._tuple(**values))

    def offset_of(self, name: str) -> int:
        """Where a field begins within the structure."""
        at = 0
        for field in self.fields:
            if field.name == name:
                return at
            at += struct.calcsize("<" + field.code)
        raise KeyError(name)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The same structure for numpy, to read or write many at once."""
        import numpy as np  # Who only reads catalogs, as completion does, is spared it.

        numpy_codes = {"H": "<u2", "I": "<u4", "i": "<i4", "Q": "<u8", "q": "<i8"}
        columns: list[tuple[str, str]] = []
        for number, field in enumerate(self.fields):
            width = struct.calcsize("<" + field.code)
            code = numpy_codes.get(field.code, f"V{width}")
            columns.append((field.name if "x" not in field.code else f"reserved{number}", code))
        return np.dtype(columns)

    def describe(self) -> str:
        """A table for the documentation."""
        lines = [
            f"**{self.name}** ({self.size} bytes): {self.title}",
            "",
            "| at | size | field | meaning |",
            "|---:|---:|---|---|",
        ]
        at = 0
        for field in self.fields:
            width = struct.calcsize("<" + field.code)
            lines.append(f"| {at} | {width} | {field.name} | {field.meaning} |")
            at += width
        return "\n".join(lines) + "\n"


def magic(text: bytes) -> int:
    """Four letters as the number that opens a structure."""
    return int.from_bytes(text, "little")


SEGMENT_MAGIC = magic(b"MSsg")
FRAME_MAGIC = magic(b"MSfr")
JOURNAL_MAGIC = magic(b"MSjl")
GROUP_MAGIC = magic(b"MSgr")
PENDING_MAGIC = magic(b"wait")
INDEX_MAGIC = magic(b"MSix")
DERIVED_MAGIC = magic(b"MSdv")
BLOB_MAGIC = magic(b"MSbl")
RETAINED_MAGIC = magic(b"MSrt")
EXPUNGE_GUARD = magic(b"gone")

SEGMENT = Layout(
    "SegmentHeader",
    "opens each `messages.<n>` and each `packed.<m>`",
    [
        Field("magic", "I", "`MSsg`"),
        Field("crc", "I", "CRC-32 of the rest of this header"),
        Field("version", "H", "of the format"),
        Field("reserved_a", "2x", ""),
        Field("number", "I", "`<n>` of the file's name; 2**31 + `<m>` of a packed one"),
        Field("uid_validity", "I", "UIDVALIDITY of the mailbox"),
        Field("uid_floor", "I", "no UID below this was free when the segment was begun"),
        Field("mailbox_id", "Q", "id of the mailbox"),
        Field("created", "q", "seconds since 1970"),
        Field("reserved_b", "24x", ""),
    ],
)

FRAME = Layout(
    "FrameHeader",
    "stands before each message's bytes in a segment",
    [
        Field("magic", "I", "`MSfr`"),
        Field("crc", "I", "CRC-32 of the rest of this header"),
        Field("length", "Q", "bytes of the message, which follow"),
        Field("flags", "Q", "flags and keywords at arrival, as in the index"),
        Field("internal_date", "q", "INTERNALDATE, seconds since 1970"),
        Field("email_id", "Q", "id of the content, kept by copies"),
        Field("message_crc", "I", "CRC-32 of the message"),
        Field("uid", "I", "UID"),
        Field("header_length", "I", "offset of the body within the message"),
        Field("place", "H", "number of this frame in its group, modulo 65536"),
        Field("mark", "H", "1: first of its group, 2: last of its group"),
        Field("save_date", "q", "when it came into this mailbox, seconds since 1970"),
    ],
)
FIRST_IN_GROUP, LAST_IN_GROUP = 1, 2

JOURNAL = Layout(
    "JournalHeader",
    "opens each `journal.<g>`",
    [
        Field("magic", "I", "`MSjl`"),
        Field("crc", "I", "CRC-32 of the rest of this header"),
        Field("version", "H", "of the format"),
        Field("reserved_a", "2x", ""),
        Field("uid_validity", "I", "UIDVALIDITY of the mailbox"),
        Field("generation", "Q", "`<g>` of the file's name"),
        Field("modseq", "Q", "HIGHESTMODSEQ when it was begun"),
        Field("boot", "16s", "boot id of the machine that writes it; all ones: the name may not be on disk"),
        Field("created", "q", "seconds since 1970"),
        Field(
            "base",
            "Q",
            "end of the last group of the journal before that the index has; those behind open this one;"
            " 0: there are none",
        ),
    ],
)

GROUP = Layout(
    "GroupHeader",
    "opens each group of a journal; one transaction is one group",
    [
        Field("magic", "I", "`MSgr`; `wait` while it is not yet to be applied (an expunge before its sync)"),
        Field("length", "I", "bytes of the group, this header included; a multiple of 8"),
        Field("crc", "I", "CRC-32 of generation, position, length and all that follows this field"),
        Field("records", "I", "number of records"),
        Field("modseq", "Q", "HIGHESTMODSEQ after the group; rows it changes get this MODSEQ"),
        Field("time", "q", "milliseconds since 1970"),
    ],
)

RECORD = Layout(
    "RecordHeader",
    "opens each record of a group; payloads are padded to 8 bytes",
    [
        Field("type", "H", "what it says: see below"),
        Field(
            "flags",
            "H",
            "1: a reader that does not know the type may skip it; 2: of an expunge, the messages were moved"
            " elsewhere and are not retained",
        ),
        Field("length", "I", "bytes of the payload, padding not counted"),
    ],
)
MAY_SKIP, MOVED = 1, 2

RANGES = Layout(
    "Ranges",
    "a count and then pairs of first and last UID, u32 each",
    [
        Field("count", "I", "number of pairs"),
        Field("reserved", "4x", ""),
    ],
)
APPENDED = Layout(
    "Appended",
    "then each column but modseq in the order of the index, `count` values each",
    [
        Field("count", "I", "number of rows"),
        Field("reserved", "4x", ""),
    ],
)
FLAGGED = Layout(
    "Flagged",
    "flags := flags & ~clear | set for every row in the ranges; without any, only HIGHESTMODSEQ moves on",
    [
        Field("set", "Q", "bits to set"),
        Field("clear", "Q", "bits to clear first"),
        Field("count", "I", "number of UID ranges"),
        Field("reserved", "4x", ""),
    ],
)
EXPUNGED = Layout(
    "Expunged",
    "the rows in the ranges are gone",
    [
        Field("guard", "I", "`gone`: damage elsewhere never becomes an expunge"),
        Field("count", "I", "number of UID ranges"),
    ],
)
KEYWORD = Layout(
    "KeywordDefined",
    "then the name of the keyword",
    [
        Field("bit", "I", "bit of the flags column, 8 to 63"),
        Field("reserved", "4x", ""),
    ],
)
RECENT = Layout(
    "RecentMoved",
    "messages below this UID are no longer \\Recent to anybody",
    [
        Field("first_recent", "I", "UID"),
        Field("reserved", "4x", ""),
    ],
)
SEALED = Layout(
    "Sealed",
    "the last record of a journal: the story goes on in the next generation",
    [
        Field("next", "Q", "generation"),
        Field("position", "Q", "where in its journal: behind the groups carried over from this one"),
    ],
)
DERIVED_AT = Layout(
    "DerivedAt",
    "then `count` UIDs, u32 each, and `count` offsets into `derived`, u64 each",
    [
        Field("count", "I", "number of rows, even or padded with a zero UID"),
        Field("reserved", "4x", ""),
    ],
)
UID_NEXT = Layout(
    "UidNextMoved",
    "UIDs below this are used up, though no message may carry them",
    [
        Field("uid_next", "I", "UID"),
        Field("reserved", "4x", ""),
    ],
)
RELOCATED = Layout(
    "Relocated",
    "then `count` UIDs, u32 each, and `count` offsets, u64 each: these rows lie in another segment now",
    [
        Field("segment", "I", "number of the segment"),
        Field("count", "I", "number of rows; the UIDs are padded to an even number with a zero"),
        Field("dead_bytes", "Q", "dead bytes in all segments from now on"),
    ],
)
TAIL_MOVED = Layout(
    "TailMoved",
    "the segment that was written to is closed; another one is begun",
    [
        Field("segment", "I", "number of the segment that is written to from now on"),
        Field("reserved", "4x", ""),
        Field("offset", "Q", "where its next frame goes"),
    ],
)
SWEPT = Layout(
    "Swept",
    "segments that no row refers to were removed",
    [
        Field("dead_bytes", "Q", "dead bytes in the segments that are left"),
    ],
)

SEEN_BY = Layout(
    "SeenBy",
    "a reader who is not the owner has seen the messages in the ranges, or not; then the ranges",
    [
        Field("reader", "Q", "id of the reader's account"),
        Field("seen", "I", "1: \\Seen is set, 0: it is cleared"),
        Field("count", "I", "number of UID ranges"),
    ],
)

TYPE_APPENDED, TYPE_FLAGGED, TYPE_EXPUNGED, TYPE_KEYWORD = 1, 2, 3, 4
TYPE_RECENT, TYPE_SEALED, TYPE_DERIVED_AT, TYPE_UID_NEXT = 5, 6, 7, 8
TYPE_SEEN_BY, TYPE_RELOCATED, TYPE_TAIL_MOVED, TYPE_SWEPT = 9, 10, 11, 12
RECORDS: dict[int, Layout] = {
    TYPE_APPENDED: APPENDED,
    TYPE_FLAGGED: FLAGGED,
    TYPE_EXPUNGED: EXPUNGED,
    TYPE_KEYWORD: KEYWORD,
    TYPE_RECENT: RECENT,
    TYPE_SEALED: SEALED,
    TYPE_DERIVED_AT: DERIVED_AT,
    TYPE_UID_NEXT: UID_NEXT,
    TYPE_SEEN_BY: SEEN_BY,
    TYPE_RELOCATED: RELOCATED,
    TYPE_TAIL_MOVED: TAIL_MOVED,
    TYPE_SWEPT: SWEPT,
}

INDEX = Layout(
    "IndexHeader",
    "opens each `index.<g>`; column table, keywords, columns, readers' sets, and the records of expunges and"
    " of retained messages follow",
    [
        Field("magic", "I", "`MSix`"),
        Field("crc", "I", "CRC-32 of the rest of the header area"),
        Field("version", "H", "of the format"),
        Field("columns", "H", "entries of the column table"),
        Field("header_bytes", "I", "of the header area: this, the column table, the keywords, padding"),
        Field("generation", "Q", "`<g>` of the file's name"),
        Field("uid_validity", "I", "UIDVALIDITY of the mailbox"),
        Field("uid_next", "I", "UIDNEXT"),
        Field("highest_modseq", "Q", "HIGHESTMODSEQ"),
        Field("first_recent", "I", "lowest UID that is \\Recent to the next SELECT"),
        Field("keywords", "I", "number of keywords: name n has bit 8 + n; u16 length and bytes each"),
        Field("rows", "Q", "rows in use; all of them live"),
        Field("capacity", "Q", "rows there is room for"),
        Field("unseen", "Q", "rows without \\Seen"),
        Field("deleted", "Q", "rows with \\Deleted"),
        Field("size_bytes", "Q", "sum of the messages' sizes"),
        Field("dead_bytes", "Q", "bytes in the segments that no row refers to, their headers not counted"),
        Field("tail_segment", "I", "segment that is written to"),
        Field("packed_next", "I", "no packed segment of this number or above was ever in use"),
        Field("tail_offset", "Q", "where its next frame goes"),
        Field("created", "q", "seconds since 1970"),
        Field("readers_at", "Q", "offset of the table of readers, behind the columns"),
        Field("readers", "I", "number of readers who have a \\Seen of their own"),
        Field("expunges", "I", "number of entries of the record of expunges"),
        Field("expunges_at", "Q", "offset of that record, behind the table of readers"),
        Field("expunges_crc", "I", "CRC-32 of it"),
        Field("retained", "I", "1: the record of retained messages follows it, at a multiple of 8"),
        Field("forgotten", "Q", "of expunges up to this MODSEQ some may not be in the record"),
    ],
)
COLUMN_ENTRY = Layout(
    "ColumnEntry",
    "one column of an index",
    [
        Field("name", "16s", "of the column, padded with zeros"),
        Field("offset", "Q", "of its first value in the file, a multiple of 64"),
        Field("width", "I", "bytes of a value"),
        Field("crc", "I", "CRC-32 of the values in use"),
    ],
)
EXPUNGE_ENTRY = Layout(
    "ExpungeEntry",
    "an expunge that is remembered for clients that come back; the oldest ones are dropped",
    [
        Field("modseq", "Q", "MODSEQ of the expunge"),
        Field("first", "I", "UID of the first of a run of messages"),
        Field("last", "I", "UID of the last"),
    ],
)
RETAINED = Layout(
    "RetainedHeader",
    "opens the record of retained messages in an index; days and entries follow",
    [
        Field("magic", "I", "`MSrt`"),
        Field("crc", "I", "CRC-32 of the rest of this header and of the days"),
        Field("count", "I", "number of entries"),
        Field("days", "I", "number of days"),
        Field("entries_crc", "I", "CRC-32 of the entries"),
        Field("reserved", "4x", ""),
    ],
)
RETAINED_DAY = Layout(
    "RetainedDay",
    "how much was expunged on one day, of what the entries tell",
    [
        Field("day", "Q", "days since 1970, UTC"),
        Field("bytes", "Q", "bytes of the messages, frame headers included"),
    ],
)
RETAINED_ENTRY = Layout(
    "RetainedEntry",
    "a message that was expunged, as its row was then; in the order of UIDs",
    [
        Field("expunged", "q", "when it was expunged, milliseconds since 1970"),
        Field("modseq", "Q", "MODSEQ of the expunge"),
        Field("flags", "Q", "flags and keywords"),
        Field("internal_date", "q", "INTERNALDATE, seconds since 1970"),
        Field("save_date", "q", "when it came into this mailbox, seconds since 1970"),
        Field("sent_date", "q", "the Date field, as in the index"),
        Field("offset", "Q", "of the message's first byte in its segment"),
        Field("email_id", "Q", "id of the content, kept by copies"),
        Field("uid", "I", "UID"),
        Field("size", "I", "bytes of the message"),
        Field("segment", "I", "number of its segment"),
        Field("header_length", "I", "offset of the body within the message"),
        Field("sent_zone", "i", "what to add to sent_date for the time as written"),
        Field("reserved", "4x", ""),
    ],
)
READER_ENTRY = Layout(
    "ReaderEntry",
    "what one reader has seen: a bit for each row, then for each retained message, lowest first, in whole "
    "bytes, deflated (zlib)",
    [
        Field("reader", "Q", "id of the reader's account"),
        Field("offset", "Q", "of the deflated bits in the file"),
        Field("length", "I", "bytes of them"),
        Field("crc", "I", "CRC-32 of the fields before this one, and of the deflated bits"),
    ],
)


class Column(NamedTuple):
    """One column of the index: name, struct code and meaning."""

    name: str
    code: str
    meaning: str


COLUMNS = (
    Column("modseq", "Q", "MODSEQ of the last change"),
    Column(
        "flags",
        "Q",
        "bit 0 \\Seen, 1 \\Answered, 2 \\Flagged, 3 \\Deleted, 4 \\Draft, 7 expunged (in memory"
        " only), 8 to 63 keywords",
    ),
    Column("internal_date", "q", "INTERNALDATE, seconds since 1970"),
    Column("save_date", "q", "when it came into this mailbox, seconds since 1970"),
    Column("sent_date", "q", "the Date field, seconds UTC since 1970; -2**63: none"),
    Column("offset", "Q", "of the message's first byte in its segment"),
    Column("email_id", "Q", "id of the content, kept by copies"),
    Column("derived", "Q", "offset of its blob in `derived`; 0: none"),
    Column("thread_id", "Q", "reserved"),
    Column("uid", "I", "UID, ascending"),
    Column("size", "I", "bytes of the message"),
    Column("segment", "I", "number of its segment; 2**31 + `<m>` if that is `packed.<m>`"),
    Column("header_length", "I", "offset of the body within the message"),
    Column("sent_zone", "i", "what to add to sent_date for the time as written"),
)
JOURNALED = COLUMNS[1:]
ROW = struct.Struct("<" + "".join(column.code for column in JOURNALED))

DERIVED = Layout(
    "DerivedHeader",
    "opens `derived`",
    [
        Field("magic", "I", "`MSdv`"),
        Field("version", "H", "of the format"),
        Field("reserved", "58x", ""),
    ],
)
SLOTS = 12
BLOB = Layout(
    "BlobHeader",
    "opens each blob of `derived`; the slots follow, then padding to 8 bytes",
    [
        Field("magic", "I", "`MSbl`"),
        Field("uid", "I", "UID of the message it was computed from"),
        Field("sum", "I", "makes the sum of all u32 words of the blob, this one included, zero"),
        Field("version", "H", "of what computed it"),
        Field("slots", "H", "number of slots in use"),
        *[Field(f"length{slot}", "I", f"bytes of slot {slot}") for slot in range(SLOTS)],
    ],
)

USAGE_MAGIC = magic(b"MSqu")
USAGE = Layout(
    "UsageHeader",
    "opens `quota` of an account; slots follow",
    [
        Field("magic", "I", "`MSqu`"),
        Field("crc", "I", "CRC-32 of the rest of this header"),
        Field("version", "H", "of the format"),
        Field("flags", "H", "1: complete, a mailbox without a slot is empty"),
        Field("reserved_a", "4x", ""),
        Field("boot", "16s", "boot id of the machine that writes it; of another boot it says nothing"),
        Field("account_id", "Q", "id of the account"),
        Field("created", "q", "seconds since 1970"),
        Field("reserved_b", "16x", ""),
    ],
)
COMPLETE = 1
USAGE_SLOT = Layout(
    "UsageSlot",
    "what one mailbox holds; all zeros: free",
    [
        Field("mailbox_id", "Q", "id of the mailbox"),
        Field("size_bytes", "Q", "sum of its messages' sizes"),
        Field("messages", "I", "number of its messages"),
        Field("state", "I", "1: exact; 2: not less than what it holds; 3: deleted, counts for nothing"),
        Field("check", "Q", "makes the exclusive or of the slot's four u64 words zero"),
    ],
)
SLOT_EXACT, SLOT_MOST, SLOT_GONE = 1, 2, 3

LAYOUTS = (
    SEGMENT,
    FRAME,
    JOURNAL,
    GROUP,
    RECORD,
    APPENDED,
    FLAGGED,
    EXPUNGED,
    KEYWORD,
    RECENT,
    SEALED,
    DERIVED_AT,
    UID_NEXT,
    SEEN_BY,
    RELOCATED,
    TAIL_MOVED,
    SWEPT,
    RANGES,
    INDEX,
    COLUMN_ENTRY,
    READER_ENTRY,
    EXPUNGE_ENTRY,
    RETAINED,
    RETAINED_DAY,
    RETAINED_ENTRY,
    DERIVED,
    BLOB,
)
USAGE_LAYOUTS = (USAGE, USAGE_SLOT)
