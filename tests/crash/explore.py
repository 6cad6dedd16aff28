"""Runs an account, cuts the power after every step in every way, and looks at what is left."""

from __future__ import annotations

import contextvars
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mstore.files import raw
from tests.crash import reference
from tests.crash.observe import SeenAccount, SeenMailbox, booted, look_into_account, look_into_mailbox
from tests.crash.reference import Account, Messages
from tests.crash.world import ACCOUNT_PATH, World, check, deferring
from tests.kit.dying import Died, close_files_under
from tests.kit.powercut import Event, Recorder, State, build, choices

FIRST_BOOT = b"boot...........1"
Script = Callable[[World], None]
Mutant = Callable[[list[Event]], list[Event]]
"""Makes of a log what it would be, were something forgotten."""


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
    unsure: frozenset[tuple[str, int]] = frozenset()
    """Mailbox and UID of messages whose flags were changed by one who died before they were synced."""


def next_boot(boot: bytes) -> bytes:
    """The id of the boot that follows."""
    return b"boot%12d" % (int(boot[4:].lstrip(b". ")) + 1)


def scratch() -> Path:
    """A directory of one's own, in memory where there is such a place."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="m-store-power-", dir=place))


def make_origin(root: Path, script: Script | None, retains: bool = False) -> None:
    """An account as it is before anything is recorded; all of it on disk."""
    root.mkdir()
    if script is not None:
        with booted(FIRST_BOOT), deferring() as waiting:
            world = World(root, None, waiting, retains=retains)
            script(world)
            world.upkeep()
            check(not world.errors, f"cannot begin: {world.errors}")
            world.close()


def run(
    name: str, root: Path, script: Script, recorder: Recorder | None = None, retains: bool = False
) -> Run:
    """Let an account work under a recorder; the first thing it does may be to recover."""
    recorder = recorder or Recorder(root, FIRST_BOOT)
    before = raw.install(recorder)
    try:
        with deferring() as waiting:
            world = World(root, recorder, waiting, retains=retains)
            script(world)
            world.close()
    finally:
        raw.install(before)
    close_files_under(root)
    return Run(name, recorder, world)


def run_and_die(
    name: str,
    root: Path,
    script: Script,
    then: Script,
    last: int,
    recovering: bytes = b"",
    retains: bool = False,
) -> Run | None:
    """One process dies at a call, another goes on; None when the first lived to its end.

    ``recovering`` is the boot after a power cut: calls are counted from the first, so that it may die amid
    its recovery."""
    recorder = Recorder(root, recovering or FIRST_BOOT)
    worlds: list[World] = []

    def live() -> None:
        if recovering:
            recorder.last = last
        world = World(root, recorder, waiting, begun=worlds, retains=retains)
        if not recovering:
            recorder.last = recorder.calls + last
        script(world)

    before = raw.install(recorder)
    try:
        with deferring() as waiting:
            try:
                contextvars.copy_context().run(live)
                return None
            except Died:
                recorder.revive()
            first = worlds[0]
            first.store.notifier.close()
            waiting.waiting.clear()
            second = World(root, recorder, waiting, settles=True, retains=retains)
            recorder.mark("revived")
            then(second)
            second.close()
    finally:
        recorder.last = None
        raw.install(before)
        close_files_under(root)
    soft = [effect for operation in first.done for effect in operation.effects if effect.soft]
    unsure = frozenset((effect.box, uid) for effect in soft for uid in effect.touches)
    return Run(f"{name}, killed at call {last}", recorder, second, unsure)


@dataclass
class Explorer:
    """Counts distinct states and collects what is wrong with any."""

    place: Path
    exhaustive: int = 6
    """So many uncertain pieces are tried in all combinations."""
    samples: int = 6
    seed: int = 1
    most_states: int | None = None
    wanted: int | None = None
    """So many of the states of a run are tried, about."""
    stops_early: bool = False
    """One violation is enough."""
    states: set[bytes] = field(default_factory=set)
    looked: int = 0
    """Mailboxes and accounts that were opened and put to work."""
    violations: list[Violation] = field(default_factory=list)
    kept: list[State] = field(default_factory=list)
    """Some of the states after a power cut, by chance, when ``keeping`` is above 0."""
    keeping: int = 0
    _mailboxes: dict[tuple[str, bytes, bytes], SeenMailbox] = field(default_factory=dict)
    _accounts: dict[tuple[bytes, ...], SeenAccount] = field(default_factory=dict)
    _judged: set[tuple[bytes, bytes, int]] = field(default_factory=set)
    _met: int = 0
    _retains: bool = False

    def explore(self, done: Run, mutant: Mutant | None = None) -> None:
        """Every state of one run, or as many as are ``wanted``, taken by chance from all of its steps."""
        self._judged.clear()
        self._accounts.clear()
        log = mutant(done.recorder.log) if mutant else done.recorder.log
        loose = _loose_names(log)
        share = 1.0
        if self.wanted is not None:
            share = self.wanted / max(1, sum(1 for _ in self._states(done, log)))
            self._judged.clear()
        taken = random.Random(self.seed)
        for step, state, boot, rebooted, story in self._states(done, log):
            if taken.random() >= share:
                continue
            self.states.add(state.key + boot)
            if rebooted:
                self._keep(state, taken)
            self._retains = done.world.retain_s > 0
            for text in self._judge(state, boot, rebooted, story, story.allowed(not rebooted), loose):
                what = " ".join(str(part)[:40] for part in log[step])
                self.violations.append(Violation(done.name, step, what, text))
            if self.is_full or (self.stops_early and self.violations):
                return

    def _states(self, done: Run, log: list[Event]) -> Iterator[tuple[int, State, bytes, bool, _Story]]:
        """Each step, a state that is possible after it, the boot in which it is found, whether that is
        another one, and what was promised."""
        chance = random.Random(self.seed)
        first, second = done.recorder.boot, next_boot(done.recorder.boot)
        disk = done.recorder.disk()
        story = _Story(done)
        for step, event in enumerate(log):
            disk.apply(event)
            if event[0] == "mark":
                story.follow(event)
            if event[0] in ("sync", "sync_directory") or event[:2] == ("mark", "begin") or not story.is_told:
                continue  # less is possible than before, and no more is promised
            for boot in (first, second):
                pieces = disk.pieces()
                sets: Iterable[set[int]] = [{piece.number for piece in pieces}]
                if boot == second:
                    sets = choices(pieces, self.exhaustive, self.samples, chance)
                for chosen in sets:
                    state = disk.state(chosen)
                    if (state.key, boot, story.chapter) not in self._judged:
                        self._judged.add((state.key, boot, story.chapter))
                        yield step, state, boot, boot == second, story

    @property
    def is_full(self) -> bool:
        """As many states were tried as were asked for."""
        return self.most_states is not None and len(self.states) >= self.most_states

    def _keep(self, state: State, chance: random.Random) -> None:
        self._met += 1
        if len(self.kept) < self.keeping:
            self.kept.append(state)
        elif self.keeping and chance.random() < self.keeping / self._met:
            self.kept[chance.randrange(self.keeping)] = state

    def _judge(
        self,
        state: State,
        boot: bytes,
        rebooted: bool,
        story: _Story,
        allowed: list[Account],
        loose: set[str],
    ) -> list[str]:
        account = self._account(state, boot, rebooted, loose)
        problems = list(account.problems)
        found = Account(subscriptions=account.subscriptions)
        settled = Account(subscriptions=account.subscriptions)
        for each in (found, settled):
            each.deleted = {key: reference.Box(key, 0, {}, 1, lost) for key, lost in account.deleted.items()}
        for name, (box_id, uid_validity, has_messages) in account.names.items():
            if has_messages and f"{ACCOUNT_PATH}/{box_id}" not in state.files:
                continue  # there was no account, and now there is: this is its first INBOX
            box = found.boxes[name] = reference.Box(box_id, uid_validity)
            later = settled.boxes[name] = reference.Box(box_id, uid_validity)
            if not has_messages:
                continue
            seen = self._mailbox(state, boot, rebooted, box_id)
            problems += [f"{name}: {problem}" for problem in seen.problems]
            box.messages, later.messages = seen.messages, seen.settled
            box.retained, later.retained = seen.retained, seen.settled_retained
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
            matching = [other for other in allowed if _agree(what, other, story.unsure)]
            if matching and self._retains and all(_not_retained(what, other) for other in matching):
                problems.append(_not_retained(what, matching[0]))
            if not problems and not matching:
                problems.append("; ".join(min((_differences(what, other) for other in allowed), key=len)))
        return problems

    def _mailbox(self, state: State, boot: bytes, rebooted: bool, box_id: str) -> SeenMailbox:
        below = f"{ACCOUNT_PATH}/{box_id}"
        key = box_id, state.part_of.get(below, b""), boot
        seen = self._mailboxes.get(key)
        if seen is None:
            self.looked += 1
            path = self.place / box_id
            build(state, path, below)
            with booted(boot):
                seen = self._mailboxes[key] = look_into_mailbox(path, rebooted)
            self._clear(path, bool(seen.problems))
        return seen

    def _account(self, state: State, boot: bytes, rebooted: bool, loose: set[str]) -> SeenAccount:
        parts = [state.part_of.get(path, b"") for path in ("", ACCOUNT_PATH.split("/")[0], ACCOUNT_PATH)]
        parts += [state.part_of.get(f"{ACCOUNT_PATH}/{name}", b"") for name in sorted(loose)]
        key = (boot, *parts)
        seen = self._accounts.get(key)
        if seen is None:
            self.looked += 1
            path = self.place / "root"
            build(state, path)
            with booted(boot):
                seen = self._accounts[key] = look_into_account(path, rebooted, self._retains)
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
        self.unsure = run.unsure
        self.is_told = not any(event[:2] == ("mark", "revived") for event in run.recorder.log)
        """What is promised is known: by the first process, or by the one that came after it."""
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
        elif event[1] == "revived":
            self._begun = self._ended = 0
            self.is_told = True
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


def _agree(found: Account, other: Account, unsure: frozenset[tuple[str, int]]) -> bool:
    return (
        found.boxes.keys() == other.boxes.keys()
        and found.subscriptions == other.subscriptions
        and all(_same(box, other.boxes[name], unsure) for name, box in found.boxes.items())
    )


def _same(box: reference.Box, other: reference.Box, unsure: frozenset[tuple[str, int]]) -> bool:
    if (box.id, box.uid_validity, box.messages) == (other.id, other.uid_validity, other.messages):
        return True
    return bool(
        unsure
        and (box.id, box.uid_validity, box.messages.keys())
        == (other.id, other.uid_validity, other.messages.keys())
        and all(
            what == other.messages[uid]
            or ((box.id, uid) in unsure and what[0] == other.messages[uid][0])
            for uid, what in box.messages.items()
        )
    )


def _not_retained(found: Account, other: Account) -> str:
    """What cannot be brought back, with its content, though it should; flags may have been lost before."""
    lost: list[str] = []

    def compare(name: str, there: Messages, wanted: Messages) -> None:
        for uid, (content, _) in wanted.items():
            if uid not in there or there[uid][0] != content:
                lost.append(f"{uid} of {name}")

    for name, box in other.boxes.items():
        compare(name, found.boxes[name].retained, box.retained)
    for key, box in other.deleted.items():
        there = found.deleted[key].retained if key in found.deleted else {}
        compare(f"the deleted mailbox {key}", there, box.messages)
    return f"cannot be brought back: {', '.join(lost)}" if lost else ""


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
