"""What an account does while the power may go: one thing at a time, and mixes of all by chance."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from typing import NamedTuple
from unittest import mock

from mstore.store import compact, compactderived, frames
from mstore.store import copy as copying
from tests.crash.explore import Script
from tests.crash.world import RETAIN_S, World

ROLL_BYTES = 2500
"""Segments are short here, so that they end often."""


class Workload(NamedTuple):
    """Something to do, to an account that was made in some way before."""

    name: str
    script: Script
    origin: Script | None
    retains: bool = False
    """What is expunged can be brought back."""


@contextlib.contextmanager
def short_segments() -> Iterator[None]:
    """Segments of a few messages."""
    with (
        mock.patch.object(frames, "ROLL_BYTES", ROLL_BYTES),
        mock.patch.object(copying, "ROLL_BYTES", ROLL_BYTES),
        mock.patch.object(compact, "ROLL_BYTES", ROLL_BYTES),
        mock.patch.object(compactderived, "LEAST_BYTES", 1000),
    ):
        yield


def filled(world: World) -> None:
    """INBOX with messages, flags, keywords, an expunge and a generation behind it; another mailbox."""
    world.create("work")
    for number in range(3):
        world.append("INBOX", 1, 200, number & 1, (b"first",) if number else ())
    world.checkpoint("INBOX")
    world.append("INBOX", 2, 150)
    world.flags("INBOX", [1, 4], "add", b"flagged", b"second")
    world.expunge("INBOX", [2])


def empty(world: World) -> None:
    """Nothing but an INBOX."""


def _appends(world: World) -> None:
    world.append("INBOX")
    world.append("INBOX", 1, 300, 5, (b"third",))
    world.append("work")


def _many(world: World) -> None:
    world.append("INBOX", 4, 200)
    world.append("INBOX", 2, 900)


def _large(world: World) -> None:
    world.append("INBOX", 1, 20_000)
    world.append("work", 3, 5_000)


def _rolls(world: World) -> None:
    world.append("INBOX", 3, 900)
    world.append("INBOX", 2, 1200)


def _flags(world: World) -> None:
    world.flags("INBOX", [1, 3], "add", b"answered")
    world.flags("INBOX", [3, 4, 5], "set", b"seen", b"novel")
    world.flags("INBOX", [1], "remove", b"flagged")
    world.upkeep()
    world.flags("INBOX", [4], "add", b"deleted")


def _flags_between(world: World) -> None:
    """Flags that are not synced, of messages old and new, with appends and an expunge between them."""
    world.flags("INBOX", [1], "add", b"answered")
    world.append("INBOX")
    world.flags("INBOX", [1, 6], "add", b"draft")
    world.append("INBOX")
    world.flags("INBOX", [6, 7], "add", b"deleted")
    world.expunge("INBOX", [3, 6])
    world.flags("INBOX", [7], "add", b"seen")


def _expunge(world: World) -> None:
    world.expunge("INBOX", [1, 4])
    world.append("INBOX")
    world.expunge("INBOX", [6])
    world.expunge("INBOX", [3, 5])


def _copy(world: World) -> None:
    world.copy("INBOX", [1, 3, 4], "work")
    world.copy("INBOX", [1, 5], "INBOX")


def _move(world: World) -> None:
    world.copy("INBOX", [1, 4], "work", move=True)
    world.copy("INBOX", [3], "INBOX", move=True)
    world.copy("work", [1, 2], "INBOX", move=True)


def _reader(world: World) -> None:
    """Somebody else reads, posts and copies; what he has seen is his own, and kept by a checkpoint."""
    world.read("INBOX", [1, 3])
    world.post("INBOX")
    world.flags("INBOX", [1, 4], "add", b"seen")
    world.checkpoint("INBOX")
    world.read("INBOX", [1], False)
    world.read("INBOX", [5])
    world.copy_as_reader("INBOX", [1, 3, 4, 6], "work")
    world.expunge("INBOX", [4])
    world.upkeep()


def _checkpoint(world: World) -> None:
    world.checkpoint("INBOX")
    world.append("INBOX")
    world.checkpoint("INBOX")


def _checkpoint_between(world: World) -> None:
    """Flags before a checkpoint are in it; those behind it are not on disk yet."""
    world.flags("INBOX", [1], "add", b"answered")
    world.append("INBOX")
    world.checkpoint("INBOX")
    world.flags("INBOX", [6], "add", b"draft")
    world.expunge("INBOX", [3])
    world.checkpoint("INBOX")


def _compact(world: World) -> None:
    world.compact("INBOX")
    world.append("INBOX", 2, 150)
    world.expunge("INBOX", [1, 6])
    world.compact("INBOX")


def _compact_much(world: World) -> None:
    """Several passes; a segment that nothing is left of; flags that are not synced; all of ``derived``."""
    world.append("INBOX", 3, 900)
    world.append("INBOX", 2, 1200)
    world.expunge("INBOX", [3, 7, 9])
    world.flags("INBOX", [4, 8], "add", b"answered")
    world.compact("INBOX")
    world.append("INBOX")
    world.expunge("INBOX", [1, 4, 5, 6, 8, 10])
    world.compact("INBOX")


def _compact_again(world: World) -> None:
    """Segments emptied, half emptied, packed, and packed again; flags that are not synced meanwhile."""
    world.append("INBOX", 3, 900)
    world.flags("INBOX", [1, 7], "add", b"answered")
    world.expunge("INBOX", [3, 6])
    world.compact("INBOX")
    world.append("INBOX", 2, 900)
    world.expunge("INBOX", [4, 7, 9])
    world.compact("INBOX")


def _compact_all(world: World) -> None:
    """Nothing is left; what comes then must not get a UID that was used."""
    world.append("INBOX", 2, 1200)
    world.expunge("INBOX", sorted(world.reference.boxes["INBOX"].messages))
    world.compact("INBOX")
    world.append("INBOX")


def _compact_between(world: World) -> None:
    """Compaction, checkpoint and copies of what was packed."""
    world.append("INBOX", 2, 900)
    world.expunge("INBOX", [1, 5])
    world.compact("INBOX")
    world.checkpoint("INBOX")
    world.copy("INBOX", [3, 6], "work")
    world.copy("INBOX", [6], "work", move=True)
    world.compact("INBOX")


def _beside_a_checkpoint(world: World) -> None:
    """What comes while the table is written is carried into the next journal."""

    def others() -> None:
        world.append("INBOX", 1, 100, 1, (b"carried",))
        world.expunge("INBOX", [3])
        world.flags("INBOX", [1], "add", b"draft")

    world.flags("INBOX", [4], "add", b"answered")
    world.beside("INBOX", "checkpoint", others)
    world.append("INBOX")
    world.expunge("INBOX", [6])


def _beside_a_compaction(world: World) -> None:
    """What is expunged while it is copied stays expunged."""

    def others() -> None:
        world.expunge("INBOX", [4])
        world.append("INBOX", 1, 900)
        world.flags("INBOX", [3], "add", b"draft")

    world.append("INBOX", 2, 900)
    world.expunge("INBOX", [1, 6])
    world.beside("INBOX", "compaction", others)
    world.append("INBOX")


def _keep(world: World) -> None:
    """UIDs from elsewhere, with gaps, over a segment's end; UIDNEXT goes up."""
    world.keep("INBOX", 7, 9, 30)
    world.append("INBOX", 1, 900)
    world.keep("INBOX", *range(40, 60, 2))
    world.raise_uid_next("INBOX", 100)
    world.append("INBOX")
    world.raise_uid_next("work", 50)
    world.append("work")


def _remake(world: World) -> None:
    world.remake("INBOX", 1234)
    world.keep("INBOX", 7, 9)
    world.create("other")
    world.remake("other", 1235)
    world.append("other")


def _compact_retaining(world: World) -> None:
    """What is expunged is packed with what is live, and packed again; generations begin between."""
    with elapsed(world):
        world.expunge("INBOX", [1])
    world.expunge("INBOX", [3])
    world.compact("INBOX")
    world.append("INBOX", 2, 900)
    world.checkpoint("INBOX")
    world.expunge("INBOX", [4, 6])
    world.compact("INBOX")
    world.checkpoint("INBOX")


def _beside_a_retaining_compaction(world: World) -> None:
    """What is expunged while it is copied is retained where it lies then."""

    def others() -> None:
        world.expunge("INBOX", [4])
        world.append("INBOX", 1, 900)

    with elapsed(world):
        world.append("INBOX", 2, 900)
        for uid in (1, 6, 7):  # One by one: should the disk refuse some, others are still given back.
            world.expunge("INBOX", [uid])
    world.beside("INBOX", "compaction", others)
    world.checkpoint("INBOX")


def _undelete(world: World) -> None:
    world.flags("INBOX", [3, 5], "add", b"deleted", b"third")
    world.expunge("INBOX", [1, 3, 5])
    world.undelete("INBOX", [1, 3], "INBOX")
    world.checkpoint("INBOX")
    world.undelete("INBOX", [2, 5], "work")
    world.undelete("INBOX", [5], "INBOX")


def _delete_retaining(world: World) -> None:
    world.append("work", 2)
    world.delete("work")
    world.create("work")
    world.append("work")
    world.delete("work")


@contextlib.contextmanager
def elapsed(world: World) -> Iterator[None]:
    """What is expunged within was expunged long ago: its time is over."""
    now_ns = time.time_ns
    world.is_over = True
    with mock.patch("time.time_ns", lambda: now_ns() - (RETAIN_S + 1) * 10**9):
        yield
    world.is_over = False


def _create(world: World) -> None:
    world.create("lists", "lists/python")
    world.append("lists/python")
    world.create("new")


def _delete(world: World) -> None:
    world.append("work")
    world.delete("work")
    world.create("work")
    world.append("work")


def _rename(world: World) -> None:
    world.append("work")
    world.rename("work", "play")
    world.append("play")
    world.rename("play", "work")


def _rename_inbox(world: World) -> None:
    world.rename_inbox("old")
    world.append("INBOX")


def _subscribe(world: World) -> None:
    world.subscribe("work")
    world.subscribe("elsewhere")
    world.subscribe("work", False)


def _found(world: World) -> None:
    world.append("INBOX")


def goes_on(world: World) -> None:
    """What every account does when it comes up again."""
    for name in sorted(world.reference.boxes):
        world.append(name)
        world.expunge(name, sorted(world.reference.boxes[name].messages)[:1])
    world.subscribe("after")


def goes_on_a_little(world: World) -> None:
    """The least that a recovery must be on disk for."""
    world.expunge("INBOX", sorted(world.reference.boxes["INBOX"].messages)[:1])


WORKLOADS = [
    Workload("append", _appends, filled),
    Workload("append several", _many, filled),
    Workload("append large", _large, filled),
    Workload("append over a segment's end", _rolls, filled),
    Workload("flags", _flags, filled),
    Workload("flags and appends", _flags_between, filled),
    Workload("expunge", _expunge, filled),
    Workload("copy", _copy, filled),
    Workload("move", _move, filled),
    Workload("a reader's own flags", _reader, filled),
    Workload("checkpoint", _checkpoint, filled),
    Workload("checkpoint and flags", _checkpoint_between, filled),
    Workload("beside a checkpoint", _beside_a_checkpoint, filled),
    Workload("beside a compaction", _beside_a_compaction, filled),
    Workload("compaction", _compact, filled),
    Workload("compaction of much", _compact_much, filled),
    Workload("compaction again", _compact_again, filled),
    Workload("compaction of all", _compact_all, filled),
    Workload("compaction and others", _compact_between, filled),
    Workload("compaction and what is retained", _compact_retaining, filled, True),
    Workload("beside a compaction that retains", _beside_a_retaining_compaction, filled, True),
    Workload("undelete", _undelete, filled, True),
    Workload("delete and retain", _delete_retaining, filled, True),
    Workload("kept UIDs", _keep, filled),
    Workload("kept UIDVALIDITY", _remake, empty),
    Workload("create", _create, filled),
    Workload("delete", _delete, filled),
    Workload("rename", _rename, filled),
    Workload("rename INBOX", _rename_inbox, filled),
    Workload("subscribe", _subscribe, filled),
    Workload("a new account", _found, None),
]


def mixed(seed: int, length: int = 12) -> Workload:
    """A mix of everything; the same for the same seed."""
    retains = seed % 2 == 1
    return Workload(f"mix {seed}", lambda world: _mix(world, random.Random(seed), length), filled, retains)


def _mix(world: World, chance: random.Random, length: int) -> None:
    for _ in range(length):
        names = sorted(world.reference.boxes)
        name, other = chance.choice(names), chance.choice(names)
        uids = sorted(world.reference.boxes[name].messages)
        lost = sorted(world.reference.boxes[name].retained)
        if world.retain_s and lost and chance.random() < 0.1:
            world.undelete(name, chance.sample(lost, min(len(lost), 2)), other)
            continue
        some = sorted(chance.sample(uids, min(len(uids), chance.choice((1, 1, 2, 3)))))
        what = chance.choices(
            ("append", "flags", "expunge", "copy", "move", "checkpoint", "compact", "upkeep", "names"),
            (30, 25, 10, 8, 8, 7, 7, 4, 8),
        )[0]
        if what == "append" or not some:
            count = chance.choice((1, 1, 2, 4))
            keywords = (chance.choice((b"first", b"blue", b"red")),) if chance.random() < 0.3 else ()
            world.append(name, count, chance.choice((60, 150, 700, 5000)), chance.randrange(32), keywords)
        elif what == "flags":
            flag = chance.choice((b"seen", b"deleted", b"first", b"blue", b"answered"))
            world.flags(name, some, chance.choice(("add", "add", "remove", "set")), flag)
        elif what == "expunge":
            world.expunge(name, some)
        elif what in ("copy", "move"):
            world.copy(name, some, other, what == "move")
        elif what == "checkpoint":
            world.checkpoint(name)
        elif what == "compact":
            world.compact(name)
        elif what == "upkeep":
            world.upkeep()
        else:
            _mix_names(world, chance)


def _mix_names(world: World, chance: random.Random) -> None:
    names = sorted(set(world.reference.boxes) - {"INBOX"})
    fresh = f"box {world._written} {len(names)} {chance.randrange(1000)}"
    what = chance.choice(("create", "delete", "rename", "subscribe"))
    if what == "subscribe":
        name = chance.choice(["INBOX", *names])
        world.subscribe(name, name not in world.reference.subscriptions)
    elif what == "create" or not names:
        world.create(fresh)
    elif what == "delete":
        world.delete(chance.choice(names))
    else:
        world.rename(chance.choice(names), fresh)
