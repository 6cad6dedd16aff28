"""Runs an account, cuts the power after every step in every way, and looks at what is left."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mstore.files import raw
from tests.crash import reference
from tests.crash.observe import SeenAccount, SeenMailbox, booted, look_into_account, look_into_mailbox
from tests.crash.reference import Account
from tests.crash.world import ACCOUNT_PATH, World, check, deferring
from tests.kit.dying import close_files_under
from tests.kit.powercut import Event, Recorder, State, build, choices

FIRST_BOOT, SECOND_BOOT = b"first boot......", b"second boot....."
Script = Callable[[World], None]


class Violation(NamedTuple):
    """A state in which something that was promised does not hold."""

    workload: str
    step: int
    event: str
    text: str

    def __str__(self) -> str:
        return f"{self.workload}, cut after step {self.step} ({self.event}): {self.text}"


@dataclass
class Run:
    """What was done to a disk, and what was known outside meanwhile."""

    name: str
    recorder: Recorder
    world: World


def scratch() -> Path:
    """A directory of one's own, in memory where there is such a place."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="m-store-power-", dir=place))


def make_origin(root: Path, script: Script | None) -> None:
    """An account as it is before anything is recorded; all of it on disk."""
    root.mkdir()
    if script is not None:
        with booted(FIRST_BOOT), deferring() as waiting:
            world = World(root, None, waiting)
            script(world)
            world.upkeep()
            check(not world.errors, f"cannot begin: {world.errors}")
            world.close()


def run(name: str, root: Path, script: Script, recorder: Recorder | None = None) -> Run:
    """Let an account work under a recorder."""
    recorder = recorder or Recorder(root, FIRST_BOOT)
    before = raw.install(recorder)
    try:
        with deferring() as waiting:
            world = World(root, recorder, waiting)
            script(world)
            world.close()
    finally:
        raw.install(before)
    close_files_under(root)
    return Run(name, recorder, world)


@dataclass
class Explorer:
    """Counts distinct states and collects what is wrong with any."""

    place: Path
    exhaustive: int = 6
    """So many uncertain pieces are tried in all combinations."""
    samples: int = 6
    seed: int = 1
    most_states: int | None = None
    states: set[bytes] = field(default_factory=set)
    looked: int = 0
    """Mailboxes and accounts that were opened and put to work."""
    violations: list[Violation] = field(default_factory=list)
    _mailboxes: dict[tuple[str, bytes, bytes], SeenMailbox] = field(default_factory=dict)
    _accounts: dict[tuple[bytes, ...], SeenAccount] = field(default_factory=dict)
    _judged: set[tuple[bytes, bytes, int]] = field(default_factory=set)

    def explore(self, done: Run, keep: Callable[[Event], bool] | None = None) -> None:
        """Every state of one run; ``keep`` leaves steps out, as if a mutant had forgotten them."""
        self._judged.clear()
        self._accounts.clear()
        chance = random.Random(self.seed)
        log = [event for event in done.recorder.log if keep is None or keep(event)]
        disk = done.recorder.disk()
        story = _Story(done)
        loose = _loose_names(log)
        for step, event in enumerate(log):
            disk.apply(event)
            if event[0] == "mark":
                story.follow(event)
            if event[0] in ("sync", "sync_directory") or event[:2] == ("mark", "begin"):
                continue  # less is possible than before, and no more is promised
            for boot in (FIRST_BOOT, SECOND_BOOT):
                allowed = story.allowed(boot == FIRST_BOOT)
                pieces = disk.pieces()
                sets: Iterable[set[int]] = [{piece.number for piece in pieces}]
                if boot == SECOND_BOOT:
                    sets = choices(pieces, self.exhaustive, self.samples, chance)
                for chosen in sets:
                    state = disk.state(chosen)
                    if (state.key, boot, story.chapter) in self._judged:
                        continue
                    self._judged.add((state.key, boot, story.chapter))
                    self.states.add(state.key + boot)
                    for text in self._judge(state, boot, story, allowed, loose):
                        what = " ".join(str(part)[:40] for part in event)
                        self.violations.append(Violation(done.name, step, what, text))
                    if self.most_states is not None and len(self.states) >= self.most_states:
                        return

    def _judge(
        self, state: State, boot: bytes, story: _Story, allowed: list[Account], loose: set[str]
    ) -> list[str]:
        account = self._account(state, boot, loose)
        problems = list(account.problems)
        found = Account(subscriptions=account.subscriptions)
        settled = Account(subscriptions=account.subscriptions)
        for name, (box_id, uid_validity, has_messages) in account.names.items():
            if has_messages and f"{ACCOUNT_PATH}/{box_id}" not in state.files:
                continue  # there was no account, and now there is: this is its first INBOX
            box = found.boxes[name] = reference.Box(box_id, uid_validity)
            later = settled.boxes[name] = reference.Box(box_id, uid_validity)
            if not has_messages:
                continue
            seen = self._mailbox(state, boot, box_id)
            problems += [f"{name}: {problem}" for problem in seen.problems]
            box.messages, later.messages = seen.messages, seen.settled
            modseq, uid_next = story.shown.get(box_id, (0, 0))
            if seen.problems:
                continue
            if seen.uid_validity != uid_validity:
                problems.append(f"{name}: UIDVALIDITY {seen.uid_validity} is not {uid_validity}")
            if seen.modseq < modseq:
                problems.append(f"{name}: HIGHESTMODSEQ {seen.modseq} after {modseq} was shown")
            if seen.uid_next < uid_next:
                problems.append(f"{name}: UIDNEXT {seen.uid_next} after {uid_next} was shown")
        for what in (found, settled):
            if not problems and not any(_agree(what, other) for other in allowed):
                problems.append("; ".join(min((_differences(what, other) for other in allowed), key=len)))
        return problems

    def _mailbox(self, state: State, boot: bytes, box_id: str) -> SeenMailbox:
        below = f"{ACCOUNT_PATH}/{box_id}"
        key = box_id, state.part_of.get(below, b""), boot
        seen = self._mailboxes.get(key)
        if seen is None:
            self.looked += 1
            path = self.place / box_id
            build(state, path, below)
            with booted(boot):
                seen = self._mailboxes[key] = look_into_mailbox(path, boot == SECOND_BOOT)
            self._clear(path, bool(seen.problems))
        return seen

    def _account(self, state: State, boot: bytes, loose: set[str]) -> SeenAccount:
        parts = [state.part_of.get(path, b"") for path in ("", ACCOUNT_PATH.split("/")[0], ACCOUNT_PATH)]
        parts += [state.part_of.get(f"{ACCOUNT_PATH}/{name}", b"") for name in sorted(loose)]
        key = (boot, *parts)
        seen = self._accounts.get(key)
        if seen is None:
            self.looked += 1
            path = self.place / "root"
            build(state, path)
            with booted(boot):
                seen = self._accounts[key] = look_into_account(path, boot == SECOND_BOOT)
            self._clear(path, bool(seen.problems))
        return seen

    def _clear(self, path: Path, failed: bool) -> None:
        if failed:
            close_files_under(path)
        shutil.rmtree(path)


class _Story:
    """What was promised by a step of the log."""

    def __init__(self, run: Run) -> None:
        self._origin, self._operations = run.world.origin, run.world.done
        self._begun = self._ended = 0
        self._seen: dict[str, frozenset[int]] = {}
        self.shown: dict[str, tuple[int, int]] = {}
        """For each mailbox, the highest MODSEQ and the highest UIDNEXT that anybody was told."""
        self.chapter = 0
        self._allowed: dict[tuple[int, bool], list[Account]] = {}

    def follow(self, event: Event) -> None:
        """Take a mark of the log."""
        self.chapter += 1
        if event[1] == "begin":
            self._begun += 1
        elif event[1] == "end":
            self._ended += 1
        else:
            _, _, box_id, uids, modseq, uid_next = event
            self._seen[box_id] = uids
            before = self.shown.get(box_id, (0, 0))
            self.shown[box_id] = max(modseq, before[0]), max(uid_next, before[1])

    def allowed(self, survives: bool) -> list[Account]:
        """What may be found; all that was done, when the machine ``survives``."""
        found = self._allowed.get((self.chapter, survives))
        if found is None:
            current = self._operations[self._ended] if self._begun > self._ended else None
            found = self._allowed[self.chapter, survives] = reference.alternatives(
                self._origin, self._operations[: self._ended], current, self._seen, survives
            )
        return found


def _loose_names(log: list[Event]) -> set[str]:
    """The names of directories that come, go or change their names."""
    made = {event[3] for event in log if event[0] == "mkdir"}
    names = {event[2] for event in log if event[0] in ("mkdir", "unlink")}
    names |= {name for event in log if event[0] == "rename" for name in (event[2], event[5])}
    return {name for name in names if made or len(name) >= 16}


def _agree(found: Account, other: Account) -> bool:
    return (
        found.boxes.keys() == other.boxes.keys()
        and found.subscriptions == other.subscriptions
        and all(
            (box.id, box.uid_validity, box.messages)
            == (other.boxes[name].id, other.boxes[name].uid_validity, other.boxes[name].messages)
            for name, box in found.boxes.items()
        )
    )


def _differences(found: Account, other: Account) -> list[str]:
    result = []
    for name in sorted(found.boxes.keys() | other.boxes.keys()):
        mine, theirs = found.boxes.get(name), other.boxes.get(name)
        if mine is None or theirs is None:
            result.append(f"{name} is {'missing' if mine is None else 'there'}")
            continue
        if (mine.id, mine.uid_validity) != (theirs.id, theirs.uid_validity):
            result.append(f"{name} is another mailbox")
        for uid in sorted(mine.messages.keys() | theirs.messages.keys()):
            one, two = mine.messages.get(uid), theirs.messages.get(uid)
            if one is None or two is None:
                result.append(f"UID {uid} of {name} is {'lost' if one is None else 'back'}")
            elif one[0] != two[0]:
                result.append(f"UID {uid} of {name} has another content")
            elif one[1] != two[1]:
                result.append(f"UID {uid} of {name} has {sorted(one[1])}, not {sorted(two[1])}")
    if found.subscriptions != other.subscriptions:
        result.append(f"subscribed are {sorted(found.subscriptions)}, not {sorted(other.subscriptions)}")
    return result
