"""The verdict: what the ledger says against what is in the store, after a stop, a check and a fresh start."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.clients import Imap, WrongAnswer
from bench.corpus import message
from bench.soak.ledger import GONE, HELD, Ledger
from bench.soak.load import MAILBOXES, Client
from tests.kit.instance import Instance, wait_for

_WINDOW = 200
_ITEM = re.compile(rb"FETCH \(UID (\d+) FLAGS \(([^)]*)\) BODY\[\] \{(\d+)\}\r\n")
_NUMBER = re.compile(rb"<(\d+)\.(\d+)@bench")


@dataclass
class Verdict:
    """What came out."""

    kills: dict[str, int]
    counts: dict[str, int]
    refusals: dict[str, int]
    longest_silence_s: float
    present: int = 0
    twice: int = 0
    """Messages in two mailboxes: a move whose process was killed between its two commits."""
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Nothing was lost, nothing came back, nothing is wrong."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {**asdict(self), "passed": self.passed}

    def __str__(self) -> str:
        killed = ", ".join(f"{n} {what}" for what, n in self.kills.items())
        rows = [
            f"killed: {sum(self.kills.values())} ({killed})",
            f"acknowledged: {', '.join(f'{n} {what}' for what, n in self.counts.items())}",
            f"clients were refused or cut off: {self.refusals}",
            f"longest time without any acknowledgement: {self.longest_silence_s:.1f} s",
            f"messages in the end: {self.present}, {self.twice} of them in two mailboxes",
            *(f"WRONG: {problem}" for problem in self.problems[:40]),
            f"{len(self.problems)} problems" if self.problems else "nothing was lost",
        ]
        return "\n".join(rows)


def judge(
    store: Instance, ledger: Ledger, users: list[str], kills: dict[str, int], clients: Sequence[Client]
) -> Verdict:
    """Stop, check, start again, read everything, stop and check again."""
    verdict = Verdict(kills, dict(ledger.counts), dict(ledger.refusals), ledger.longest_silence_s)
    wrong = verdict.problems
    for client in clients:
        if client.failed or client.is_alive():
            wrong.append(f"{client.name}: {client.failed!r}" if client.failed else f"{client.name} hangs")

    def read() -> None:
        store.start()
        for user in users:
            _judge_user(store, ledger, user, verdict)
        _judge_names(store, ledger, users[0], wrong)

    for step in (store.stop, read, store.stop):
        try:
            step()
        except (AssertionError, OSError, WrongAnswer) as error:
            wrong.append(f"{type(error).__name__}: {error}"[:1500])
            if step == store.stop and store.running:
                store.kill()
                wait_for(lambda: not store.pids(), 30, lambda: f"left: {store.describe(store.pids())}")
    wrong += ledger.wrong
    return verdict


def _judge_user(store: Instance, ledger: Ledger, user: str, verdict: Verdict) -> None:
    found: Counter[int] = Counter()
    wrong = verdict.problems
    client = store.imap(user)
    for mailbox in MAILBOXES:
        seen: dict[int, int] = {}
        for uid, flags, body in _messages(client, mailbox):
            match = _NUMBER.search(body)
            if match is None or not body.endswith(message(number := int(match[1]), int(match[2]))):
                wrong.append(f"UID {uid} of {user} {mailbox} is no message that was ever sent")
                continue
            if seen and uid <= max(seen):
                wrong.append(f"UIDs of {user} {mailbox} do not ascend at {uid}")
            seen[uid] = number
            found[number] += 1
            flagged = None if (user, number) in ledger.moved else ledger.flagged.get((user, number), False)
            if flagged is not None and flagged != (b"\\Flagged" in flags):
                wrong.append(f"message {number} of {user} {mailbox}: acknowledged flags are lost")
        ledger.saw(user, mailbox, ledger.validity.get((user, mailbox), 0), seen)
    client.logout()
    for (owner, number), state in ledger.state.items():
        if owner == user and state == HELD and not found[number]:
            wrong.append(f"message {number} of {user} was acknowledged and is lost")
        if owner == user and state == GONE and found[number] and (user, number) not in ledger.moved:
            wrong.append(f"message {number} of {user} was removed and is there again")
        if found[number] and owner == user and state not in (HELD, GONE):
            verdict.counts["unanswered, done"] = verdict.counts.get("unanswered, done", 0) + 1
    verdict.present += len(found)
    verdict.twice += sum(count == 2 for count in found.values())
    for number, count in found.items():
        if count > 1 and (user, number) not in ledger.moved:
            wrong.append(f"message {number} of {user} is there {count} times")


def _messages(client: Imap, mailbox: str) -> Iterator[tuple[int, bytes, bytes]]:
    count = client.select(mailbox)
    for first in range(1, count + 1, _WINDOW):
        last = min(count, first + _WINDOW - 1)
        answer = client.command(b"FETCH %d:%d (UID FLAGS BODY.PEEK[])" % (first, last))
        at = 0
        while item := _ITEM.search(answer, at):
            at = item.end() + int(item[3])
            yield int(item[1]), item[2], answer[item.end() : at]


def _judge_names(store: Instance, ledger: Ledger, user: str, wrong: list[str]) -> None:
    client = store.imap(user)
    listed = {name.decode() for name in re.findall(rb'"/" "?([^"\r]+)"?\r\n', client.command(b'LIST "" *'))}
    client.logout()
    for (owner, name), there in ledger.names.items():
        if owner == user and there is not None and there != (name in listed):
            wrong.append(f"mailbox {name} of {user} is {'lost' if there else 'there again'}")
