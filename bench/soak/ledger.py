"""What clients were told, kept outside the store: in memory and, line by line, in a file.

A message is known by its number. It is *sent* before it is handed over, *held* when that was acknowledged;
removal is *begun* before it is asked for and *gone* when that was acknowledged. What was begun and never
acknowledged may have happened or not.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

SENT, HELD, BEGUN, GONE = "sent", "held", "begun", "gone"
Key = tuple[str, int]


class Ledger:
    """All messages of all users; used by many threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = open(path, "w", buffering=1)  # noqa: SIM115
        self._next = 0
        self.state: dict[Key, str] = {}
        self.sizes: dict[int, int] = {}
        self.moved = set[Key]()
        """What was moved: cut off between, or beside another's removal, it may be in both mailboxes."""
        self.flagged: dict[Key, bool | None] = {}
        """Whether \\Flagged was set last, as acknowledged; None when an answer is missing."""
        self.uids: dict[tuple[str, str, int], int] = {}
        """By user, mailbox and UID: the number of the message that was seen there."""
        self.validity: dict[tuple[str, str], int] = {}
        self.names: dict[tuple[str, str], bool | None] = {}
        """Whether a mailbox is there, as acknowledged; None when an answer is missing."""
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.longest_silence_s = 0.0
        self._last_answer_s = 0.0

    def number(self, size: int) -> int:
        """A number for a new message."""
        with self._lock:
            self._next += 1
            self.sizes[self._next] = size
            return self._next

    def note(self, state: str, user: str, *numbers: int) -> None:
        """Messages of a user are in this state from now on."""
        with self._lock:
            for number in numbers:
                before = self.state.get((user, number))
                if state == HELD and before in (BEGUN, GONE):
                    continue  # another client saw it, and removed it, before its sender was answered
                self.state[user, number] = state
                self._file.write(f"{state} {user} {number} {self.sizes[number]}\n")
            if state in (HELD, GONE):
                self._heard(state, len(numbers))

    def _heard(self, what: str, count: int = 1) -> None:
        now = time.monotonic()
        if self._last_answer_s:
            self.longest_silence_s = max(self.longest_silence_s, now - self._last_answer_s)
        self._last_answer_s = now
        self.counts[what] += count

    def note_flag(self, user: str, number: int, value: bool | None) -> None:
        """\\Flagged of a message is to become, or (None) may have become, something else."""
        with self._lock:
            self.flagged[user, number] = value
            if value is not None:
                self._heard("flags")

    def note_name(self, user: str, name: str, there: bool | None) -> None:
        """A mailbox is there, is not there, or (None) one or the other."""
        with self._lock:
            self.names[user, name] = there
            if there is not None:
                self._heard("names")

    def saw(self, user: str, mailbox: str, validity: int, found: dict[int, int]) -> None:
        """UIDs and the numbers of their messages, as a client saw them: for ever the same."""
        with self._lock:
            known = self.validity.setdefault((user, mailbox), validity)
            if known != validity:
                self.wrong.append(f"UIDVALIDITY of {user} {mailbox} was {known} and is {validity}")
            for uid, number in found.items():
                before = self.uids.setdefault((user, mailbox, uid), number)
                if before != number:
                    self.wrong.append(f"UID {uid} of {user} {mailbox} was message {before} and is {number}")

    def refused(self, what: str) -> None:
        """A client was told that something cannot be done, or lost its connection."""
        with self._lock:
            self.refusals[what] += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()
