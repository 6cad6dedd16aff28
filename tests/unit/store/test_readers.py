"""\\Seen of one's own: what each user of a mailbox that is not his sees, changes and keeps."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mstore.base.flags import ANSWERED, FLAGGED, SEEN
from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.files.checkpoint import read_index
from mstore.store.append import append
from mstore.store.check import check_mailbox
from mstore.store.copy import copy, move
from mstore.store.mailbox import Mailbox
from mstore.store.pool import Pool
from tests.kit.mail import make_message, make_messages

ANN, BOB = AccountId("00000000000000a1"), AccountId("ffffffffffffffb2")


def seen(mailbox: Mailbox) -> list[int]:
    """The UIDs that have \\Seen in this table; its total must agree."""
    mailbox.refresh()
    rows = mailbox.index.live_rows()
    flags = mailbox.columns.full.flags[rows]
    found = mailbox.columns.full.uid[rows][flags & np.uint64(SEEN) != 0].tolist()
    assert mailbox.status().unseen == mailbox.status().messages - len(found)
    return found


def change(mailbox: Mailbox, rows: list[int], op: str, bits: int) -> list[int]:
    with mailbox.transaction() as tx:
        return tx.flags(rows, op, bits).tolist()


@pytest.fixture
def three(mailbox: Mailbox) -> tuple[Mailbox, Mailbox, Mailbox]:
    """The owner's table of five messages, 1 of them seen, Ann's and Bob's."""
    append(mailbox, make_messages(5))
    change(mailbox, [0], "add", SEEN)
    return mailbox, Mailbox(mailbox.path, None, ANN), Mailbox(mailbox.path, None, BOB)


def test_each_sees_what_he_has_seen(three: tuple[Mailbox, Mailbox, Mailbox]) -> None:
    owner, ann, bob = three
    assert change(ann, [1, 2], "add", SEEN) == [1, 2]
    assert change(bob, [2, 3, 4], "add", SEEN) == [2, 3, 4]
    assert change(bob, [3], "remove", SEEN) == [3]
    assert change(bob, [3], "remove", SEEN) == []
    assert change(owner, [4], "add", SEEN) == [4]
    assert [seen(table) for table in three] == [[1, 5], [2, 3], [3, 5]]
    fresh = [Mailbox(owner.path), Mailbox(owner.path, None, ANN), Mailbox(owner.path, None, BOB)]
    assert [seen(table) for table in fresh] == [[1, 5], [2, 3], [3, 5]]
    modseqs = [table.columns.modseq.tolist() for table in (*three, *fresh)]
    assert modseqs == [modseqs[0]] * 6
    assert modseqs[0] == [3, 4, 5, 6, 7]
    assert {table.highest_modseq for table in (*three, *fresh)} == {7}


def test_other_flags_are_everybodys(three: tuple[Mailbox, Mailbox, Mailbox]) -> None:
    owner, ann, bob = three
    assert change(ann, [0, 1], "set", SEEN | FLAGGED) == [0, 1]
    assert change(bob, [1], "set", ANSWERED) == [1]
    assert [seen(table) for table in three] == [[1], [1, 2], []]
    for table in three:
        assert (table.columns.flags & ~np.uint64(SEEN)).tolist() == [FLAGGED, ANSWERED, 0, 0, 0]
    assert change(ann, [0, 1, 2], "set", SEEN) == [0, 1, 2]
    assert [seen(table) for table in three] == [[1], [1, 2, 3], []]
    assert change(owner, [0], "set", 0) == [0]
    assert [seen(table) for table in three] == [[], [1, 2, 3], []]
    assert not owner.columns.flags.any()


def test_twice_in_one_transaction(three: tuple[Mailbox, Mailbox, Mailbox]) -> None:
    _, ann, bob = three
    with ann.transaction() as tx:
        tx.flags([1, 2, 3], "add", SEEN | FLAGGED)
        tx.flags([2], "remove", SEEN)
        tx.flags([3], "set", 0)
    assert [seen(table) for table in three] == [[1], [2], []]
    assert (bob.columns.flags & np.uint64(FLAGGED) != 0).tolist() == [False, True, True, False, False]


def test_a_change_is_told_to_its_reader_alone(three: tuple[Mailbox, Mailbox, Mailbox]) -> None:
    owner, ann, bob = three
    views = [table.view() for table in three]
    elsewhere = Mailbox(owner.path, None, ANN)
    views.append(elsewhere.view())
    keeping = bob.view()
    keeping.tells_modseq = True
    heard: list[str] = []
    bob.listen(lambda: heard.append("bob"))
    elsewhere.listen(lambda: heard.append("ann"))
    change(ann, [1, 2], "add", SEEN)
    told = []
    for table, view in zip((*three, elsewhere), views, strict=True):
        table.refresh()
        told.append(view.pending(True).fetch_rows.tolist())
    assert told == [[], [1, 2], [], [1, 2]]
    assert keeping.pending(True).fetch_rows.tolist() == [1, 2]
    assert sorted(heard) == ["ann", "bob"]  # the MODSEQ is everybody's
    change(owner, [3], "add", SEEN)
    change(owner, [4], "add", FLAGGED)
    told = []
    for table, view in zip((*three, elsewhere), views, strict=True):
        table.refresh()
        told.append(view.pending(True).fetch_rows.tolist())
    assert told == [[3, 4], [4], [4], [4]]


def test_conditions_hold_over_all_changes(three: tuple[Mailbox, Mailbox, Mailbox]) -> None:
    owner, ann, bob = three
    before = owner.highest_modseq
    change(ann, [1], "add", SEEN)
    with bob.transaction() as tx:
        assert tx.flags([1, 2], "add", SEEN, unchanged_since=before).tolist() == [2]
    assert seen(bob) == [3]


def test_who_appends_has_seen_it_himself(three: tuple[Mailbox, Mailbox, Mailbox]) -> None:
    owner, ann, bob = three
    messages = make_messages(4, 6)
    for place in (0, 1, 3):
        messages[place].flags = SEEN | FLAGGED
    messages[2].keywords = (rb"\Seen", b"work")
    assert append(ann, messages) == [6, 7, 8, 9]
    own = make_message(10)
    own.flags = SEEN
    append(owner, [own])
    assert [seen(table) for table in three] == [[1, 10], [6, 7, 8, 9], []]
    assert bob.columns.modseq.tolist()[5:] == [4, 4, 4, 4, 5]
    (path,) = owner.path.glob("journal.*")
    path.unlink()
    for index in owner.path.glob("index.*"):
        index.unlink()
    rebuilt = Mailbox(owner.path)
    assert seen(rebuilt) == [10], "no frame says that the owner has seen what somebody else appended"


def test_copies_are_seen_by_who_makes_them(three: tuple[Mailbox, Mailbox, Mailbox], tmp_path: Path) -> None:
    owner, ann, bob = three
    change(ann, [1, 3], "add", SEEN)
    change(bob, [4], "add", SEEN)
    away = Mailbox.create(tmp_path / "00000000000000dd", 9)
    copy(np.arange(5), ann, away)
    assert seen(away) == [2, 4], "in a mailbox of one's own \\Seen is as everywhere"
    copy(np.arange(5), away, bob)
    assert [seen(table) for table in three] == [[1], [2, 4], [5, 7, 9]]
    move(np.array([1]), ann, ann)
    assert [seen(table) for table in three] == [[1], [4, 11], [5, 7, 9]]
    other = Mailbox(away.path, None, ANN)
    move(np.array([3, 4]), ann, other)
    assert seen(other) == [6]
    assert seen(away) == [2, 4]
    for table in (*three, away, other):
        table.close()
    assert check_mailbox(owner.path) + check_mailbox(away.path) == []


def test_sets_survive_checkpoints_and_expunges(three: tuple[Mailbox, Mailbox, Mailbox]) -> None:
    owner, ann, bob = three
    change(ann, [1, 3], "add", SEEN)
    change(bob, [4], "add", SEEN)
    for turn in range(3):
        (ann, owner, bob)[turn].checkpoint()
        append(owner, [make_message(6 + turn)])
        change(ann, [5 + turn], "add", SEEN)
        if turn == 1:
            with owner.transaction() as tx:
                tx.expunge([1, 2])
        wanted = [[1], [2, 4, 6, 7, 8][: 3 + turn], [5]]
        if turn:
            wanted[1].remove(2)
        assert [seen(table) for table in three] == wanted
        fresh = [Mailbox(owner.path), Mailbox(owner.path, None, ANN), Mailbox(owner.path, None, BOB)]
        assert [seen(table) for table in fresh] == wanted
        assert seen(Mailbox(owner.path, None, AccountId("00000000000000c3"))) == []
    assert check_mailbox(owner.path) == []


def test_who_has_seen_nothing_is_kept_no_longer(three: tuple[Mailbox, Mailbox, Mailbox]) -> None:
    owner, ann, bob = three
    change(ann, [1, 3], "add", SEEN)
    change(bob, [4], "add", SEEN)
    owner.checkpoint()
    kept = read_index(owner.path / "index.2", keep=True).kept
    assert kept is not None and kept.readers() == [int(ANN, 16), int(BOB, 16)]
    change(ann, [1, 3], "remove", SEEN)
    with owner.transaction() as tx:
        tx.expunge([4])
    owner.checkpoint()
    kept = read_index(owner.path / "index.3", keep=True).kept
    assert kept is not None and kept.readers() == []


def test_sets_survive_recovery_and_damage(three: tuple[Mailbox, Mailbox, Mailbox]) -> None:
    owner, ann, bob = three
    change(ann, [1, 3], "add", SEEN)
    owner.checkpoint()
    change(bob, [4], "add", SEEN)
    change(ann, [4], "add", SEEN)
    wanted = [[1], [2, 4, 5], [5]]
    for table in three:
        table.close()
    index = owner.path / "index.2"
    data = bytearray(index.read_bytes())
    data[-20] ^= 1
    index.write_bytes(data)
    assert any("reader" in problem.text for problem in check_mailbox(owner.path))
    fresh = [Mailbox(owner.path, None, ANN), Mailbox(owner.path), Mailbox(owner.path, None, BOB)]
    assert [seen(fresh[1]), seen(fresh[0]), seen(fresh[2])] == wanted
    fresh[0].checkpoint()
    fresh[1].checkpoint()
    assert [seen(table) for table in three] == wanted, "who has it open catches up"
    for table in (*three, *fresh):
        table.close()
    assert check_mailbox(owner.path) == []


def test_who_was_away_for_generations_catches_up(three: tuple[Mailbox, Mailbox, Mailbox]) -> None:
    owner, ann, bob = three
    view = ann.view()
    elsewhere = Mailbox(owner.path, None, ANN)
    for _ in range(3):
        change(elsewhere, [1, 2], "add", SEEN)
        change(elsewhere, [2], "remove", SEEN)
        elsewhere.checkpoint()
    change(bob, [0], "add", SEEN)
    change(owner, [4], "add", FLAGGED | SEEN)
    assert [seen(table) for table in three] == [[1, 5], [2], [1]]
    assert {1, 4} <= set(view.pending(True).fetch_rows.tolist())


def test_a_reader_has_an_object_of_his_own(mailbox: Mailbox) -> None:
    pool = Pool()
    owner, ann, bob = (pool.open(mailbox.path, reader) for reader in (None, ANN, BOB))
    assert len({id(owner), id(ann), id(bob)}) == 3
    assert pool.open(str(mailbox.path), ANN) is ann
    append(bob, [make_message(1)])
    change(ann, [0], "add", SEEN)
    assert [seen(table) for table in (owner, ann, bob)] == [[], [1], []]
    pool.forget(mailbox.path)
    assert pool.open(mailbox.path, ANN) is not ann
    pool.close()


def test_after_a_reboot_sets_are_as_before(three: tuple[Mailbox, Mailbox, Mailbox]) -> None:
    class Later(raw.System):
        def boot_id(self) -> bytes:
            return b"another boot...."

    owner, ann, _ = three
    change(ann, [1], "add", SEEN)
    ann.checkpoint()
    change(ann, [2], "add", SEEN)
    for table in three:
        table.close()
    before = raw.install(Later())
    try:
        fresh = [Mailbox(owner.path, None, BOB), Mailbox(owner.path, None, ANN), Mailbox(owner.path)]
        assert [seen(table) for table in fresh] == [[], [2, 3], [1]]
    finally:
        raw.install(before)


def work_as(path: Path, reader: AccountId | None, results: Any) -> None:
    """One user's process: he reads and forgets at random, appends, and looks after the generations."""
    mailbox = Mailbox(path, None, reader)
    chance = random.Random(str(reader))
    expected: set[int] = set()
    for turn in range(120):
        mailbox.checkpoint_at = min(mailbox.checkpoint_at, 4000)
        mailbox.refresh()
        rows = mailbox.index.live_rows()
        chosen = sorted(chance.sample(rows.tolist(), 3))
        op = chance.choice(["add", "remove", "set"])
        bits = SEEN if op != "set" else chance.choice([0, SEEN])
        with mailbox.transaction() as tx:
            tx.flags(chosen, op, bits)
        uids = mailbox.columns.uid[chosen].tolist()
        if op == "remove" or not bits:
            expected.difference_update(uids)
        else:
            expected.update(uids)
        if turn % 20 == 7:
            message = make_message(1000 + turn)
            message.flags = SEEN
            expected.update(append(mailbox, [message]))
        assert set(seen(mailbox)) == expected
    results.put((reader, sorted(expected), mailbox.journal.info.generation))
    mailbox.close()


def test_users_in_processes_of_their_own(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(30))
    mailbox.close()
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    users = (None, ANN, BOB)
    workers = [context.Process(target=work_as, args=(mailbox.path, user, results)) for user in users]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    for reader, expected, generation in found:
        assert seen(Mailbox(mailbox.path, None, reader)) == expected
        assert generation > 3
    assert check_mailbox(mailbox.path) == []
