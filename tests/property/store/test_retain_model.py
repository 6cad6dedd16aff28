"""Messages come, go, are packed and brought back while time passes: what is live is right, what is retained
can be brought back, and when its time is over all its space is given back."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mstore.files import raw
from mstore.files.segment import HEADER_BYTES, every_segment, segment_name
from mstore.store import compact, frames, recovery
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.copy import move
from mstore.store.mailbox import Mailbox
from mstore.store.undelete import open_expunged
from tests.kit.mail import make_content, make_message
from tests.property.store.test_mailbox_model import Quick

SEGMENT_BYTES = 3000
HOUR_S = 3600
RETAIN_S = 48 * HOUR_S
PICK = st.lists(st.integers(0, 400), min_size=1, max_size=8)
WHICH = st.integers(0, 1)


@dataclass
class Gone:
    """A message that was expunged."""

    number: int
    flags: int
    time_s: float


class RetainMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.passed_s = 0.0
        now, now_ns = time.time, time.time_ns
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(time, "time", lambda: now() + self.passed_s)
        self.patch.setattr(time, "time_ns", lambda: now_ns() + int(self.passed_s * 1e9))
        for module in (frames, compact):
            self.patch.setattr(module, "ROLL_BYTES", SEGMENT_BYTES)
        self.before = raw.install(Quick())
        self.root = Path(tempfile.mkdtemp())
        self.path = self.root / "0123456789abcdef"
        Mailbox.create(self.path, 7).close()
        self.boxes = [self.opened(), self.opened()]
        self.other = Mailbox.create(self.root / "0123456789abcdff", 8)
        self.live: dict[int, tuple[int, int]] = {}
        """UID: the number of its content, and its flags."""
        self.gone: dict[int, Gone] = {}
        self.uid_next = self.number = 1

    def opened(self) -> Mailbox:
        return Mailbox(self.path, retain_s=RETAIN_S)

    def teardown(self) -> None:
        if not hasattr(self, "boxes"):
            return
        assert check_mailbox(self.path) == []
        self.passed_s += RETAIN_S + HOUR_S
        box = self.boxes[0]
        box.compact(thorough=True)
        box.checkpoint()
        held = sum((self.path / segment_name(number)).stat().st_size for number in every_segment(self.path))
        live = box.index.size_bytes + HEADER_BYTES * box.index.messages
        assert held - live <= HEADER_BYTES * len(every_segment(self.path)), "nothing leaks"
        assert box.index.dead_bytes == 0
        self.gone.clear()
        self.is_right()
        assert check_mailbox(self.path) == []
        for each in (*self.boxes, self.other):
            each.close()
        raw.install(self.before)
        self.patch.undo()
        shutil.rmtree(self.root)

    def chosen(self, pick: list[int]) -> list[int]:
        uids = sorted(self.live)
        return sorted({uids[place % len(uids)] for place in pick}) if uids else []

    def rows(self, box: Mailbox, uids: list[int]) -> list[int]:
        box.refresh()
        return [box.index.row_of(uid) for uid in uids]

    @rule(which=WHICH, count=st.integers(1, 5), flags=st.sampled_from([0, 1, 4]))
    def comes(self, which: int, count: int, flags: int) -> None:
        messages = [make_message(self.number + place, flags=flags) for place in range(count)]
        assert append(self.boxes[which], messages) == list(range(self.uid_next, self.uid_next + count))
        for place in range(count):
            self.live[self.uid_next + place] = self.number + place, flags
        self.uid_next += count
        self.number += count

    @rule(which=WHICH, pick=PICK, bits=st.sampled_from([1, 2, 8]))
    def is_flagged(self, which: int, pick: list[int], bits: int) -> None:
        uids, box = self.chosen(pick), self.boxes[which]
        with box.transaction() as tx:
            tx.flags(self.rows(box, uids), "add", bits)
        for uid in uids:
            self.live[uid] = self.live[uid][0], self.live[uid][1] | bits

    @rule(which=WHICH, pick=PICK)
    def is_expunged(self, which: int, pick: list[int]) -> None:
        uids, box = self.chosen(pick), self.boxes[which]
        with box.transaction() as tx:
            tx.expunge(self.rows(box, uids))
        for uid in uids:
            self.gone[uid] = Gone(*self.live.pop(uid), time.time())

    @rule(which=WHICH, pick=PICK)
    def is_moved(self, which: int, pick: list[int]) -> None:
        uids, box = self.chosen(pick), self.boxes[which]
        move(np.array(self.rows(box, uids)), box, self.other)
        for uid in uids:
            del self.live[uid]

    @rule(which=WHICH, pick=PICK)
    def is_brought_back(self, which: int, pick: list[int]) -> None:
        box = self.boxes[which]
        box.refresh()
        with open_expunged(box) as found:
            there = found.entries["uid"].tolist()
            rows = sorted({place % len(there) for place in pick}) if there else []
            told: list[tuple[int, int]] = []
            found.bring_back(rows, box, told.extend)
        assert told == [(there[row], self.uid_next + place) for place, row in enumerate(rows)]
        for uid, new in told:
            lost = self.gone.get(uid)
            assert lost is not None, "it was never expunged"
            self.live[new] = lost.number, lost.flags & ~8
        self.uid_next += len(told)

    @rule(hours=st.sampled_from([1, 5, 20, 50]))
    def time_passes(self, hours: int) -> None:
        self.passed_s += hours * HOUR_S

    @rule(which=WHICH, thorough=st.booleans())
    def is_compacted(self, which: int, thorough: bool) -> None:
        box = self.boxes[which]
        box.compact(thorough)
        box.refresh()
        if thorough:
            over = {uid for uid, lost in self.gone.items() if lost.time_s < time.time() - RETAIN_S}
            with open_expunged(box) as found:
                assert not over & set(found.entries["uid"].tolist()), "its time is over"

    @rule(which=WHICH)
    def is_checkpointed(self, which: int) -> None:
        self.boxes[which].checkpoint()

    @rule(from_segments=st.booleans())
    def is_rebuilt(self, from_segments: bool) -> None:
        if from_segments and any(lost.time_s < time.time() - RETAIN_S for lost in self.gone.values()):
            return  # what is not retained any more comes back, as always
        if from_segments and self.other.index.uid_next > 1:
            return  # and so does what was moved
        for box in self.boxes:
            box.close()
        recovery.rebuild(self.path, from_segments, retains=True)
        self.boxes = [self.opened(), self.opened()]
        if from_segments:
            arrival = {
                uid: (number, flags & self.boxes[0].columns.flags.item(self.boxes[0].index.row_of(uid)))
                for uid, (number, flags) in self.live.items()
            }
            assert {uid: number for uid, (number, _) in arrival.items()} == {
                uid: number for uid, (number, _) in self.live.items()
            }
            self.live = arrival

    @rule(which=WHICH)
    def is_opened_again(self, which: int) -> None:
        self.boxes[which].close()
        self.boxes[which] = self.opened()

    @precondition(lambda self: hasattr(self, "boxes"))
    @invariant()
    def is_right(self) -> None:
        for box in self.boxes:
            box.refresh()
            full = box.index.columns.full
            found = {
                full.uid.item(row): (box.read(row), full.flags.item(row))
                for row in box.index.live_rows().tolist()
            }
            assert found == {
                uid: (make_content(number), flags) for uid, (number, flags) in self.live.items()
            }
        with open_expunged(self.boxes[0]) as there:
            retained = {int(entry["uid"]): int(entry["flags"]) for entry in there.entries}
        for uid, lost in self.gone.items():
            if lost.time_s >= time.time() - RETAIN_S:
                assert retained.get(uid) == lost.flags, f"UID {uid} cannot be brought back"
        assert retained.keys() <= self.gone.keys()


TestRetain = RetainMachine.TestCase
TestRetain.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
