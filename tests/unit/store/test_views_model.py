"""Sessions in two processes against a naive model: what each is told is what is, whatever
it missed meanwhile.

A client here believes what it is told and nothing else: it removes, counts and updates as RFC 3501 §7 says.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstore.files import index as indexes
from mstore.files import raw
from mstore.store.append import NewMessage, append
from mstore.store.check import check_mailbox
from mstore.store.mailbox import Mailbox
from mstore.store.view import View
from tests.kit.dying import Quick, close_files_under

_LATER = 1 << 40


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    before = raw.install(Quick())
    yield
    raw.install(before)


class Client:
    """What the client of one session believes: UIDs in order, and the flags of each."""

    def __init__(self, mailbox: Mailbox, recent: bool) -> None:
        self.mailbox = mailbox
        self.claims = recent
        self.view: View = mailbox.view(recent)
        self.uids: list[int] = self.view.uids.tolist()
        self.flags: list[int] = self._flags_of(self.view.rows)

    def _flags_of(self, rows: Any) -> list[int]:
        return [bits & ~0x80 for bits in self.mailbox.columns.full.flags[rows].tolist()]

    def listen(self, expunges: bool) -> None:
        view = self.view
        changes = view.pending(expunges)
        assert expunges or not changes.expunged_seqs
        assert changes.expunged_seqs == sorted(changes.expunged_seqs, reverse=True)
        for seq, uid in zip(changes.expunged_seqs, changes.expunged_uids, strict=True):
            assert self.uids.pop(seq - 1) == uid
            self.flags.pop(seq - 1)
        if changes.exists is not None:
            assert changes.exists > len(self.uids)
            new = slice(len(self.uids), changes.exists)
            self.uids += view.uids[new].tolist()
            self.flags += self._flags_of(view.rows[new])
            assert changes.recent == view.recent_count
        assert view.count == len(self.uids)
        assert view.uids.tolist() == self.uids
        seqs = changes.fetch_seqs.tolist()
        assert seqs == sorted(set(seqs))
        assert view.rows[changes.fetch_seqs - 1].tolist() == changes.fetch_rows.tolist()
        for seq, bits in zip(seqs, self._flags_of(changes.fetch_rows), strict=True):
            self.flags[seq - 1] = bits
        assert not view.pending(expunges)

    def store_silently(self, places: list[int], op: str, bits: int) -> None:
        rows = np.unique(self.view.rows[places])
        with self.mailbox.transaction() as tx:
            changed = tx.flags(rows, op, bits)
        self.view.silence(changed, tx.modseq)
        for seq in self.view.seqs_of_rows(changed).tolist():
            before = self.flags[seq - 1]
            self.flags[seq - 1] = {"set": bits, "add": before | bits, "remove": before & ~bits}[op]


class World:
    """Two processes with one mailbox open, their sessions, and the truth."""

    def __init__(self, path: Path) -> None:
        self.mailboxes = [Mailbox.create(path, 1), Mailbox(path)]
        self.clients: list[Client] = []
        self.truth: dict[int, int] = {}
        self.reread(0)

    def reread(self, number: int) -> None:
        """The truth is what a process that opens the mailbox now finds; the model says what it must be."""
        fresh = Mailbox(self.mailboxes[number].path)
        live = fresh.index.live_rows()
        assert dict(
            zip(fresh.columns.uid[live].tolist(), fresh.columns.flags[live].tolist(), strict=True)
        ) == (self.truth)
        fresh.close()

    def append(self, number: int, count: int, bits: int) -> None:
        mailbox = self.mailboxes[number]
        uids = append(mailbox, [NewMessage(b"Subject: x\r\n\r\n", 0, bits & 31) for _ in range(count)])
        assert uids[0] > max(self.truth, default=0)
        self.truth.update(dict.fromkeys(uids, bits & 31))

    def flags(self, number: int, places: list[int], op: str, bits: int) -> None:
        mailbox = self.mailboxes[number]
        with mailbox.transaction() as tx:
            rows = mailbox.index.live_rows()
            if not len(rows):
                return
            rows = rows[np.unique(np.array(places) % len(rows))]
            if bits & 0xFF00:
                bits = tx.keyword_bits([b"k%d" % (bits >> 8 & 3)])
            tx.flags(rows, op, bits)
        for uid in mailbox.columns.uid[rows].tolist():
            old = self.truth[uid]
            self.truth[uid] = {"set": bits, "add": old | bits, "remove": old & ~bits}[op]

    def expunge(self, number: int, places: list[int]) -> None:
        mailbox = self.mailboxes[number]
        with mailbox.transaction() as tx:
            rows = mailbox.index.live_rows()
            if not len(rows):
                return
            for uid in tx.expunge(rows[np.unique(np.array(places) % len(rows))]).tolist():
                del self.truth[uid]

    def silent(self, which: int, places: list[int], op: str, bits: int) -> None:
        if not self.clients:
            return
        client = self.clients[which % len(self.clients)]
        if not client.uids:
            return
        chosen = [place % len(client.uids) for place in places]
        client.store_silently(chosen, op, bits & 31)
        for uid in {client.uids[place] for place in chosen} & self.truth.keys():
            old = self.truth[uid]
            self.truth[uid] = {"set": bits & 31, "add": old | bits & 31, "remove": old & ~(bits & 31)}[op]

    def listen(self, which: int, expunges: bool) -> None:
        if not self.clients:
            return
        client = self.clients[which % len(self.clients)]
        client.mailbox.refresh()
        client.listen(expunges)
        uids = client.uids
        if expunges:
            assert uids == list(self.truth)
        assert set(self.truth) <= set(uids)
        for uid, bits in zip(uids, client.flags, strict=True):
            assert bits == self.truth.get(uid, bits), f"UID {uid}"
        mailbox = client.mailbox
        for row in client.view.rows.tolist():
            assert mailbox.read(row) == b"Subject: x\r\n\r\n"
        assert mailbox.status().messages == len(self.truth)
        assert mailbox.status().unseen == sum(not bits & 1 for bits in self.truth.values())

    def check(self) -> None:
        self.reread(0)
        for which in range(len(self.clients)):
            self.listen(which, True)
        claimed: list[int] = []
        for client in self.clients:
            if client.claims:
                for first, last in client.view.recent_ranges:
                    claimed += range(first, last + 1)
        assert len(claimed) == len(set(claimed))
        for mailbox in self.mailboxes:
            mailbox.close()
        assert check_mailbox(self.mailboxes[0].path) == []


_places = st.lists(st.integers(0, 30), min_size=1, max_size=6)
_ops = st.sampled_from(["add", "add", "remove", "set"])
_bits = st.sampled_from([1, 2, 4, 8, 9, 0x100, 0x200, 0x300])
_process = st.integers(0, 1)
_steps = st.one_of(
    st.tuples(st.just("append"), _process, st.integers(1, 4), _bits),
    st.tuples(st.just("flags"), _process, _places, _ops, _bits),
    st.tuples(st.just("expunge"), _process, _places),
    st.tuples(st.just("silent"), st.integers(0, 5), _places, _ops, _bits),
    st.tuples(st.just("listen"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("open"), _process, st.booleans()),
    st.tuples(st.just("checkpoint"), _process),
    st.tuples(st.just("rest"), _process),
)


def play(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory) / "00000000000000aa")
        world.append(0, 5, 0)
        for name, *arguments in steps:
            if name == "open":
                world.clients.append(Client(world.mailboxes[arguments[0]], arguments[1]))
            elif name in ("checkpoint", "rest"):
                getattr(world.mailboxes[arguments[0]], name)()
            else:
                getattr(world, name)(*arguments)
        world.check()
        close_files_under(Path(directory))


@pytest.mark.parametrize("remembered", [512, 3], ids=["all remembered", "little remembered"])
def test_sessions_are_told_what_is(remembered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "_LOG_MOST", remembered)

    @settings(
        max_examples=120,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(_steps, min_size=5, max_size=40))
    def run(steps: list[Any]) -> None:
        play(steps)

    run()
