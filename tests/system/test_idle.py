"""Five hundred sessions of fifty users in IDLE, over several workers: every delivery reaches its user's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from bench.corpus import message
from tests.kit.clients import Imap, wait_for_line
from tests.kit.instance import Instance

USERS = [f"user{number:02d}" for number in range(50)]
PER_USER = 10
ROUNDS = 8
"""One good one is enough: other work on the machine comes and goes."""


def test_a_delivery_reaches_every_idle_session_of_its_user_within_200_ms(
    make_store: Callable[..., Instance],
) -> None:
    store = make_store(USERS, workers=2)
    store.start()
    sessions: dict[str, list[Imap]] = {user: [] for user in USERS}
    for _ in range(PER_USER):
        for user in USERS:
            session = store.imap(user)
            session.select()
            session.idle()
            sessions[user].append(session)

    workers = store.worker_pids("imapd")
    assert len(workers) == 2
    if os.geteuid() == 0:  # Others may not look at what they have open.
        counts = [len(store.sockets(pid)) for pid in workers]
        assert sum(counts) >= len(USERS) * PER_USER and min(counts) > 100, f"uneven: {counts}"

    rounds: list[list[float]] = []
    while len(rounds) < ROUNDS and not (rounds and _are_in_time(rounds[-1])):
        numbers = range(len(rounds) * len(USERS), (len(rounds) + 1) * len(USERS))
        each = zip(numbers, USERS, strict=True)
        rounds.append([_deliver_and_wait(store, user, sessions[user], number) for number, user in each])
    assert _are_in_time(rounds[-1]), f"deliveries were told after {[sorted(each)[-8:] for each in rounds]} s"

    for user in USERS[:5]:
        for session in sessions[user]:
            session.done()
            assert len(session.bodies()) == len(rounds)
            session.idle()
    _flag_reaches_the_others(sessions[USERS[0]])

    store.stop()
    for waiting in sessions.values():
        for session in waiting:
            while not (line := session.line()).startswith(b"* BYE"):
                assert line.startswith(b"* "), line
            session.close()


def _are_in_time(delays: list[float]) -> bool:
    """Whether nearly all deliveries were told at once, and none as late as by looking now and then."""
    return sorted(delays)[int(len(delays) * 0.9)] < 0.2 and max(delays) < 2.0


def _deliver_and_wait(store: Instance, user: str, waiting: list[Imap], number: int) -> float:
    client = store.lmtp()
    client.deliver([user], message(number, 3000))
    acknowledged = time.monotonic()
    client.quit()
    return max(wait_for_line(waiting, b" EXISTS\r\n", 30)) - acknowledged


def _flag_reaches_the_others(sessions: list[Imap]) -> None:
    """A flag set in one session is told to the others, in whichever worker they are."""
    first, *others = sessions
    first.done()
    took_s = []
    for sign in (b"+", b"-", b"+", b"-"):
        began = time.monotonic()
        first.command(b"STORE 1 %bFLAGS.SILENT (\\Flagged)" % sign)
        for session in others:
            while b" FETCH " not in (line := session.line()):
                assert line.startswith(b"* "), line
            assert (b"\\Flagged" in line) == (sign == b"+"), line
        took_s.append(time.monotonic() - began)
    assert min(took_s) < 2.0, took_s
    first.idle()
