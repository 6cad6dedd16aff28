"""The table of commands: one row for each, and the only way to its function.

A row's function is ``run(session, tag, cursor)``. It parses its arguments from the cursor, which stands
before the space that begins them, up to ``cursor.end()``; does the work; sends untagged responses with
``session.send``; and returns the text of the tagged OK, response code included, or None for
``NAME completed``. It fails by raising ``No``, ``Bad``, ``Bye`` or an error of the store. Untagged news of
the selected mailbox are none of its business: the session reports them between the run and the tagged OK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from mstore.imap.grammar.cursor import Cursor
from mstore.imap.state import ANY

if TYPE_CHECKING:
    from mstore.imap.session import Session

Run = Callable[["Session", bytes, Cursor], bytes | None]
Seqs = Literal["none", "uses", "may-expunge"]
"""What a command means for message sequence numbers.

``uses``: they stand in its arguments or results, so no EXPUNGE may be told during it (RFC 3501 §7.4.1
"an EXPUNGE response MUST NOT be sent"); other news may. ``may-expunge``: all news are told. ``none``: no
news are told.
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One row: name, function, states in which it is valid, rule for sequence numbers, source."""

    name: bytes
    run: Run
    states: int = ANY
    seqs: Seqs = "may-expunge"
    rfc: str = "RFC 3501"
    uid: bool = False
    """Untagged FETCH responses told with it carry the UID (RFC 3501 §6.4.8)."""
    takes_message: bool = False
    """A literal may be as large as a message may be."""
    done: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        object.__setattr__(self, "done", b" OK " + self.name + b" completed\r\n")


def make_table(rows: Iterable[Command]) -> Mapping[bytes, Command]:
    """Rows by name."""
    return MappingProxyType({row.name: row for row in rows})
