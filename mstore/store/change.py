"""What a session has to be told, and what a mailbox says of itself: the nouns between store and protocols."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_NONE: npt.NDArray[Any] = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between what a session was told and what is; in the order in which to tell it."""

    expunged_seqs: list[int] = field(default_factory=list)
    """Sequence numbers gone, descending, so that each is right when it is sent."""
    exists: int | None = None
    """The new number of messages, when some were added."""
    recent: int | None = None
    """The number of \\Recent ones, told with ``exists``."""
    fetch_rows: npt.NDArray[Any] = field(default_factory=lambda: _NONE)
    """Rows whose flags changed, ascending."""
    fetch_seqs: npt.NDArray[Any] = field(default_factory=lambda: _NONE)
    """Their sequence numbers after the expunges."""
    keywords_changed: bool = False
    expunged_uids: list[int] = field(default_factory=list)
    """The UIDs of ``expunged_seqs``, in the same order."""

    def __bool__(self) -> bool:
        return bool(
            self.expunged_seqs or self.exists is not None or len(self.fetch_seqs) or self.keywords_changed
        )


class MailboxStatus(NamedTuple):
    """The totals of a mailbox (RFC 3501 §6.3.10, and then some)."""

    messages: int
    unseen: int
    recent: int
    deleted: int
    size_bytes: int
    uid_next: int
    uid_validity: int
    highest_modseq: int
