"""A mailbox as processes and sessions of its owner and of readers use it, against dictionaries that are
obviously right."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mstore.base.errors import Expunged
from mstore.base.flags import SEEN, USER_BITS
from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.files.segment import HEADER_BYTES, every_segment, segment_name
from mstore.store import compact, frames
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.copy import copy, move
from mstore.store.mailbox import Mailbox
from mstore.store.view import View
from tests.kit.between import between
from tests.kit.faults import Faults
from tests.kit.mail import make_content, make_message

KEYWORDS = (b"work", b"later", b"$Junk")
BITS = st.sampled_from([1, 2, 4, 8, 16, 9])
READERS = (None, None, AccountId("00000000000000a1"), AccountId("00000000000000a1"), AccountId("f" * 16))
"""Whose each process is: two are the owner's, two one reader's, one another's."""
WHICH = st.integers(0, len(READERS) - 1)
MOMENT = st.integers(1, 2)
OP = st.sampled_from(["set", "add", "remove"])
SEGMENT_BYTES = 3000
PICK = st.lists(st.integers(0, 400), min_size=1, max_size=12)


class Quick(Faults):
    """System calls without the wait for the disk."""

    def sync(self, fd: int) -> None:
        self.calls.append("sync")

    def sync_directory(self, path: object) -> None:
        self.calls.append("sync_directory")


@dataclass
class Client:
    """What a client believes of the mailbox, from what its session told it."""

    owner: int
    view: View
    uids: list[int] = field(default_factory=list)
    flags: dict[int, int] = field(default_factory=dict)
    modseq: int = 0


class MailboxMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.system = Quick()
        self.before = raw.install(self.system)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(frames, "ROLL_BYTES", SEGMENT_BYTES)
        self.patch.setattr(compact, "ROLL_BYTES", SEGMENT_BYTES)
        self.patch.setattr(compact, "LEAST_DEAD_BYTES", SEGMENT_BYTES)
        self.compactions = 0
        self.path = self.root / "0123456789abcdef"
        Mailbox.create(self.path, 7).close()
        self.boxes = [Mailbox(self.path, None, reader) for reader in READERS]
        self.other = Mailbox.create(self.root / "0123456789abcdff", 8)
        self.model: dict[int, tuple[int, int]] = {}
        """By UID the number of the content, and the flags but for \\Seen."""
        self.seen: dict[AccountId | None, set[int]] = {reader: set() for reader in READERS}
        self.keywords: list[bytes] = []
        self.uid_next = 1
        self.modseq = 1
        self.number = 0
        self.clients: list[Client] = []

    # -- changes

    def next_number(self) -> int:
        self.number += 1
        return self.number

    def bits_of(self, names: tuple[bytes, ...]) -> int:
        for name in names:
            if name not in self.keywords:
                self.keywords.append(name)
        return sum(1 << 8 + self.keywords.index(name) for name in names)

    def flags_of(self, reader: AccountId | None, uid: int) -> int:
        return self.model[uid][1] | (SEEN if uid in self.seen[reader] else 0)

    def set_flags(self, reader: AccountId | None, uid: int, bits: int) -> None:
        self.model[uid] = (self.model[uid][0], bits & ~SEEN)
        (self.seen[reader].add if bits & SEEN else self.seen[reader].discard)(uid)

    def forget(self, uid: int) -> int:
        for seen in self.seen.values():
            seen.discard(uid)
        return self.model.pop(uid)[0]

    def rows_of(self, box: Mailbox, picks: list[int]) -> tuple[list[int], list[int]]:
        """Some live messages: their rows in that process, and their UIDs."""
        box.refresh()
        uids = sorted(self.model)
        chosen = sorted({uids[pick % len(uids)] for pick in picks})
        return [box.index.row_of(uid) for uid in chosen], chosen

    @rule(
        which=WHICH,
        count=st.integers(1, 6),
        names=st.sets(st.sampled_from(KEYWORDS)),
        flags=st.sampled_from([0, 1, 8]),
    )
    def append_some(self, which: int, count: int, names: set[bytes], flags: int) -> None:
        ordered = tuple(sorted(names))
        numbers = [self.next_number() for _ in range(count)]
        box = self.boxes[which]
        uids = append(box, [make_message(number, 10, flags, ordered) for number in numbers])
        assert uids == list(range(self.uid_next, self.uid_next + count))
        bits = flags | self.bits_of(ordered)
        for uid, number in zip(uids, numbers, strict=True):
            self.model[uid] = (number, 0)
            self.set_flags(box.reader, uid, bits)
        self.uid_next += count

    @precondition(lambda self: self.model)
    @rule(which=WHICH, picks=PICK, op=OP, bits=BITS, since=st.one_of(st.none(), st.integers(0, 400)))
    def change_flags(
        self, which: int, picks: list[int], op: str, bits: int, since: int | None = None
    ) -> None:
        box = self.boxes[which]
        rows, uids = self.rows_of(box, picks)
        modseqs = box.columns.modseq.tolist()
        limit = None if since is None else modseqs[since % len(modseqs)]
        with box.transaction() as tx:
            changed = tx.flags(rows, op, bits, limit)
        expected = []
        for row, uid in zip(rows, uids, strict=True):
            old = self.flags_of(box.reader, uid)
            new = bits if op == "set" else old | bits if op == "add" else old & ~bits
            if new != old and (limit is None or modseqs[row] <= limit):
                self.set_flags(box.reader, uid, new)
                expected.append(row)
        assert changed.tolist() == expected

    @precondition(lambda self: self.model)
    @rule(which=WHICH, picks=PICK)
    def expunge_some(self, which: int, picks: list[int]) -> None:
        box = self.boxes[which]
        rows, uids = self.rows_of(box, picks)
        with box.transaction() as tx:
            assert tx.expunge(rows).tolist() == uids
        for uid in uids:
            self.forget(uid)

    @precondition(lambda self: self.model)
    @rule(which=WHICH, picks=PICK)
    def copy_onto_itself(self, which: int, picks: list[int]) -> None:
        box = self.boxes[which]
        rows, uids = self.rows_of(box, picks)
        pairs = copy(np.array(rows), box, box)
        assert list(pairs) == [(uid, self.uid_next + place) for place, uid in enumerate(uids)]
        for old, new in pairs:
            self.model[new] = self.model[old]
            self.set_flags(box.reader, new, self.flags_of(box.reader, old))
        self.uid_next += len(uids)

    @precondition(lambda self: self.model)
    @rule(which=WHICH, picks=PICK, to=st.sampled_from(READERS))
    def move_away(self, which: int, picks: list[int], to: AccountId | None) -> None:
        box = self.boxes[which]
        rows, uids = self.rows_of(box, picks)
        other = Mailbox(self.other.path, None, to)
        pairs = move(np.array(rows), box, other)
        assert [old for old, _ in pairs] == uids
        tables = {reader: Mailbox(other.path, None, reader) for reader in READERS}
        for old, new in pairs:
            row = other.index.row_of(new)
            for reader, table in tables.items():
                seen = bool(table.columns.flags.item(row) & SEEN)
                assert seen == (reader == to and old in self.seen[box.reader])
            assert other.read(row) == make_content(self.forget(old), 10)
        for table in (other, *tables.values()):
            table.close()

    # -- upkeep, which must never be noticed

    @rule(which=WHICH)
    def checkpoint(self, which: int) -> None:
        self.boxes[which].checkpoint()

    @precondition(lambda self: self.model)
    @rule(which=WHICH, other=WHICH, moment=MOMENT, picks=PICK, op=OP, bits=BITS, some=st.booleans())
    def checkpoint_beside(
        self, which: int, other: int, moment: int, picks: list[int], op: str, bits: int, some: bool
    ) -> None:
        """Somebody changes something while it is written."""
        if other == which:
            other = (other + 1) % len(READERS)

        def act() -> None:
            self.change_flags(other, picks, op, bits)
            self.append_some(other, 1, set(), bits & 9)
            if some:
                self.expunge_some(other, picks)

        with between(act, moment):
            self.boxes[which].checkpoint()

    @rule(which=WHICH)
    def recover(self, which: int) -> None:
        with self.boxes[which].transaction() as tx:
            tx.recover()

    @rule(which=WHICH, thorough=st.booleans())
    def compact(self, which: int, thorough: bool) -> None:
        self.compactions += 1
        box = self.boxes[which]
        box.compact(thorough)
        held = sum(
            (self.path / segment_name(number)).stat().st_size - HEADER_BYTES
            for number in every_segment(self.path)
        )
        live = box.index.size_bytes + HEADER_BYTES * box.index.messages
        assert held == live if thorough else held <= 2 * live + SEGMENT_BYTES
        assert box.index.dead_bytes == held - live

    @rule(which=WHICH)
    def rest(self, which: int) -> None:
        self.boxes[which].rest()

    @rule(which=WHICH)
    def reopen(self, which: int) -> None:
        self.boxes[which].close()
        self.boxes[which] = Mailbox(self.path, None, READERS[which])
        self.clients = [client for client in self.clients if client.owner != which]

    @rule()
    def lose_the_cache(self) -> None:
        for box in self.boxes:
            box.rest()
        (self.path / "derived").unlink(missing_ok=True)

    @rule()
    def reboot(self) -> None:
        self.system.boot = os.urandom(16)
        before = max(box.highest_modseq for box in self.boxes)
        for which in range(len(READERS)):
            self.reopen(which)
        self.other = Mailbox(self.other.path)
        assert self.boxes[1].highest_modseq > before

    # -- sessions

    @precondition(lambda self: len(self.clients) < 6)
    @rule(which=WHICH, recent=st.booleans())
    def select(self, which: int, recent: bool) -> None:
        view = self.boxes[which].view(recent)
        client = Client(which, view)
        client.uids = view.uids.tolist()
        flags = self.boxes[which].columns.full.flags[view.rows]
        client.flags = dict(zip(client.uids, flags.tolist(), strict=True))
        self.clients.append(client)
        assert client.uids == sorted(self.model)

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, 5), expunges=st.booleans())
    def tell(self, which: int, expunges: bool) -> None:
        client = self.clients[which % len(self.clients)]
        self.update(client, expunges)

    def update(self, client: Client, expunges: bool) -> None:
        box = self.boxes[client.owner]
        box.refresh()
        changes = client.view.pending(expunges)
        assert expunges or not changes.expunged_seqs
        for seq, uid in zip(changes.expunged_seqs, changes.expunged_uids, strict=True):
            assert client.uids.pop(seq - 1) == uid
        told = client.view.uids.tolist()
        if changes.exists is not None:
            assert changes.exists == len(told) > len(client.uids)
            assert changes.recent == client.view.recent_count <= changes.exists
        else:
            assert len(told) == len(client.uids)
        assert told[: len(client.uids)] == client.uids, "numbers stay with their messages"
        flags = (box.columns.full.flags[client.view.rows] & np.uint64(USER_BITS)).tolist()
        for uid, bits in zip(told[len(client.uids) :], flags[len(client.uids) :], strict=True):
            client.flags[uid] = bits
        for seq, row in zip(changes.fetch_seqs.tolist(), changes.fetch_rows.tolist(), strict=True):
            assert client.view.rows[seq - 1] == row
            client.flags[told[seq - 1]] = flags[seq - 1]
        client.uids = told
        assert client.view.modseq >= client.modseq
        client.modseq = client.view.modseq
        for uid in client.uids:
            if uid in self.model:
                assert client.flags[uid] == self.flags_of(box.reader, uid), f"flags of {uid} were not told"
        if expunges:
            assert client.uids == sorted(self.model)
        for uid, row in zip(client.uids[-3:], client.view.rows[-3:].tolist(), strict=True):
            if uid in self.model:
                assert box.read(row) == make_content(self.model[uid][0], 10)
                continue
            try:  # expunged, not told yet: still readable, unless its bytes were given back meanwhile
                assert box.read(row).startswith(b"From: Ann Smith")
            except Expunged:
                assert self.compactions

    # -- the end

    def teardown(self) -> None:
        if not hasattr(self, "boxes"):
            return
        try:
            for client in self.clients:
                self.update(client, True)
            fresh = [Mailbox(self.path, None, reader) for reader in READERS]
            uids = sorted(self.model)
            modseqs = set()
            for box in [*self.boxes, *fresh]:
                box.refresh()
                rows = box.index.live_rows()
                full = box.columns.full
                assert full.uid[rows].tolist() == uids
                flags = (full.flags[rows] & np.uint64(USER_BITS)).tolist()
                assert flags == [self.flags_of(box.reader, uid) for uid in uids]
                modseqs.add((box.highest_modseq, *full.modseq[rows].tolist()))
                status = box.status()
                assert status.messages == len(self.model)
                assert status.unseen == len(uids) - len(self.seen[box.reader])
                assert status.deleted == sum(bool(bits & 8) for _, bits in self.model.values())
                assert status.uid_next == self.uid_next
                envelopes = box.derived(rows, [0])[0]
                for uid, envelope in zip(sorted(self.model), envelopes, strict=True):
                    assert b'"message %d"' % self.model[uid][0] in envelope
                box.close()
            assert len(modseqs) == 1, "all tables agree on every MODSEQ"
            assert check_mailbox(self.path) == []
            assert check_mailbox(self.other.path) == []
        finally:
            raw.install(self.before)
            self.patch.undo()
            shutil.rmtree(self.root)


TestMailbox = MailboxMachine.TestCase
TestMailbox.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
