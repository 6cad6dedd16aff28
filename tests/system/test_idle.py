"""Five hundred sessions of fifty users in IDLE, over several workers: every delivery reaches its user's."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.corpus import message
from tests.kit.clients import Imap, wait_for_line
from tests.kit.instance import Instance

USERS = [f"user{number:02d}" for number in range(50)]
PER_USER = 10


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
    counts = [len(store.sockets(pid)) for pid in workers]
    assert sum(counts) >= len(USERS) * PER_USER and min(counts) > 100, f"uneven: {counts}"

    delays = [_deliver_and_wait(store, user, sessions[user], number) for number, user in enumerate(USERS)]
    late = sorted(delays)[-3:]
    assert sorted(delays)[int(len(delays) * 0.9)] < 0.2, f"deliveries were told after {late} s"
    assert late[-1] < 2.0, f"a delivery was told after {late[-1]} s"

    for user in USERS[:5]:
        for session in sessions[user]:
            session.done()
            assert len(session.bodies()) == 1
            session.idle()
    _flag_reaches_the_others(sessions[USERS[0]])

    store.stop()
    for waiting in sessions.values():
        for session in waiting:
            while not (line := session.line()).startswith(b"* BYE"):
                assert line.startswith(b"* "), line
            session.close()


def _deliver_and_wait(store: Instance, user: str, waiting: list[Imap], number: int) -> float:
    client = store.lmtp()
    client.deliver([user], message(number, 3000))
    acknowledged = time.monotonic()
    client.quit()
    return max(wait_for_line(waiting, b" EXISTS\r\n", 10)) - acknowledged


def _flag_reaches_the_others(sessions: list[Imap]) -> None:
    """A flag set in one session is told to the others, in whichever worker they are."""
    first, *others = sessions
    first.done()
    began = time.monotonic()
    first.command(b"STORE 1 +FLAGS.SILENT (\\Flagged)")
    for session in others:
        while b"\\Flagged" not in (line := session.line()):
            assert line.startswith(b"* "), line
    assert time.monotonic() - began < 2.0
    first.idle()
