"""A contention run: several processes with several sessions each, their notes, and the comparison."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

from mstore.files import raw
from mstore.store.check import check_mailbox
from mstore.store.checkaccount import check_account
from mstore.store.mailbox import Mailbox
from mstore.store.undelete import Recoverable
from tests.contention.model import Model, Note, names_of
from tests.contention.work import RETAINING, open_account
from tests.kit.dying import Quick
from tests.kit.instance import ROOT
from tests.kit.mail import make_content

PROCESSES, SESSIONS, TURNS = 3, 4, 60
FINISH_S = 600
"""Only against a hang: the processes themselves tell of sessions that get nowhere."""
BOXES = ("INBOX", "one", "two", "three")


def contend(path: Path, seed: str, processes: int, sessions: int, turns: int) -> list[Note]:
    """Run them all; gives their notes."""
    program = [sys.executable, "-m", "tests.contention.work", str(path), seed]
    running = [
        subprocess.Popen(
            [*program, str(number), str(sessions), str(turns)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for number in range(processes)
    ]  # fmt: skip
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        problems = []
        for process in running:
            _, errors = process.communicate("go\n", timeout=FINISH_S)
            problems += [errors] if errors or process.returncode else []
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert not problems, "\n".join(problems)
    notes: list[Note] = []
    for number in range(processes):
        log = (path / f"log.{number}").read_text()
        assert not log, f"something failed in the background: {log[-3000:]}"
        notes += pickle.loads((path / f"notes.{number}").read_bytes())
    return notes


def compare(model: Model, path: Path, seed: str) -> int:
    """What is on disk is what the model has; gives the number of messages."""
    store, account = open_account(path, seed)
    entries = account.mailboxes()
    assert {name: entry.id for name, entry in entries.items()} == model.names.now()
    messages = 0
    for entry in entries.values():
        messages += _compare_mailbox(model, account.path / entry.id, seed.endswith(RETAINING))
    assert check_account(account.path, account.id) == []
    store.close()
    return messages


def _compare_retained(model: Model, path: Path) -> None:
    box, found = model.boxes[path.name], Recoverable(path)
    uids = set(found.entries["uid"].tolist())
    assert uids == box.gone.keys() - box.moved
    for entry in found.entries:
        number, size = model.origin(path.name, int(entry["uid"]))
        fd = found.segments.fd(int(entry["segment"]))
        assert os.pread(fd, size + 1, int(entry["offset"]))[:size] in (
            make_content(number, 200),
            make_content(number, 3000),
        )
        assert int(entry["size"]) == size
    found.close()


def _compare_mailbox(model: Model, path: Path, retains: bool) -> int:
    box, mailbox = model.boxes[path.name], Mailbox(path)
    full, live = mailbox.columns.full, mailbox.index.live_rows()
    assert full.uid[live].tolist() == sorted(box.live)
    assert mailbox.uid_next > max(box.born, default=0)
    highest = 0
    for row in live.tolist():
        uid = full.uid.item(row)
        message, (number, size) = box.live[uid], model.origin(path.name, uid)
        flags = names_of(mailbox.keywords, full.flags.item(row))
        content = mailbox.read(row)
        assert len(content) == size
        assert content in (make_content(number, 200), make_content(number, 3000))
        assert message.flags is None or message.flags == flags, f"UID {uid}: {message.history}, {flags}"
        assert message.modseq is None or message.modseq == full.modseq.item(row), f"UID {uid}"
        highest = max(highest, full.modseq.item(row))
    assert mailbox.highest_modseq >= max([highest, *(modseq for _, modseq in box.gone.values())])
    for modseq, told in box.ends:
        assert modseq == mailbox.highest_modseq
        assert dict(told) == {
            full.uid.item(row): names_of(mailbox.keywords, full.flags.item(row)) for row in live.tolist()
        }
    mailbox.close()
    assert check_mailbox(path) == []
    if retains:
        _compare_retained(model, path)
    return len(live)


def run(path: Path, seed: str, turns: int = TURNS) -> int:
    """A whole run in an empty directory; gives the number of messages that are left."""
    before = raw.install(Quick())
    try:
        return _run(path, seed, turns)
    finally:
        raw.install(before)


def _run(path: Path, seed: str, turns: int) -> int:
    (path / "mail").mkdir()
    store, account = open_account(path / "mail", seed)
    made: list[Note] = []
    for name in BOXES:
        entry = account.entry(name) if name == "INBOX" else account.create(name)
        made.append(("before", "created", name, entry.id))
    store.close()
    notes = contend(path, seed, PROCESSES, SESSIONS, turns)
    model = Model(made + notes)
    kinds = {kind: sum(1 for note in notes if note[1] == kind) for kind in {note[1] for note in notes}}
    assert {"append", "flags", "expunge", "copy", "move", "read", "renamed", "compacted", "end"} <= set(
        kinds
    ), kinds
    assert sum(len(box.gone) for box in model.boxes.values()) > 50
    return compare(model, path / "mail", seed)
