"""A program that measures logins while somebody guesses, in a process like authproxyd: prints its figures.

``python -m tests.unit.workers.guessing DIRECTORY`` prints a line of JSON for each round: the median of
somebody's logins before, under and after an attack in seconds, the slowest under it, and how many of the
guesses were judged.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

import gevent

from mstore.accounts import Accounts
from mstore.accounts.database import ACCOUNTS, PASSWORDS, create_database
from mstore.accounts.keys import Keys
from mstore.accounts.passwords import Passwords
from mstore.auth.authdb import AuthDb
from mstore.auth.defence import Defence
from mstore.auth.gate import Gate, OpenGate, Turned
from mstore.auth.keying import Keymaker
from mstore.auth.verdict import Verdict
from mstore.base import blocking
from mstore.base.log import Log
from workers.cooperative import Cooperative

GUESSES = 1000
LOGINS = 30
PAUSE_S = 0.1
ROUNDS = 8


def make_authdb(path: Path) -> AuthDb:
    """Two accounts, and nothing remembered, so that each login costs a hash."""
    for schema in (ACCOUNTS, PASSWORDS):
        create_database(path, schema, 0o600)
    accounts, passwords, maker = Accounts(path), Passwords(path), Keymaker()
    for name in ("joe", "ann"):
        passwords.set_keys(accounts.add(name, "main").id, Keys(maker.scheme.hash(b"secret")))
    return AuthDb(passwords, accounts, maker, remembered_s=0)


def judge(gate: Gate, authdb: AuthDb, peer: str, login: str, password: bytes) -> Verdict | None:
    """What a question of a worker goes through; None for one that is turned away."""
    admission = gate.admit(peer, login)
    if isinstance(admission, Turned):
        return None
    if admission:
        blocking.sleep(admission)
    verdict = authdb.verify(login, password, peer)
    gate.note(peer, login, verdict.ok)
    return verdict


def time_logins(gate: Gate, authdb: AuthDb) -> tuple[float, float]:
    """What a login of somebody takes, who has nothing to do with it: the median and the slowest."""
    times = []
    for _ in range(LOGINS):
        began_s = time.perf_counter()
        verdict = judge(gate, authdb, "198.51.100.7", "joe", b"secret")
        times.append(time.perf_counter() - began_s)
        assert verdict is not None and verdict.ok
        gevent.sleep(PAUSE_S)
    return statistics.median(times), max(times)


def measure(gate: Gate, authdb: AuthDb) -> tuple[float, float, float, float, int]:
    """One round."""
    before_s, _ = time_logins(gate, authdb)
    judged: list[bool] = []

    def guess(number: int) -> None:
        judged.append(judge(gate, authdb, "192.0.2.1", "ann", b"guess %d" % number) is not None)

    attack = [gevent.spawn(guess, number) for number in range(GUESSES)]
    gevent.sleep(0)
    attacked_s, slowest_s = time_logins(gate, authdb)
    gevent.killall(attack)
    after_s, _ = time_logins(gate, authdb)
    return before_s, attacked_s, after_s, slowest_s, sum(judged)


def main() -> None:
    """Measure some rounds, each with a gate that knows nothing yet; ``open`` takes one that lets all in."""
    blocking.install(Cooperative(Log(), threads=len(os.sched_getaffinity(0))))
    authdb = make_authdb(Path(sys.argv[1]))
    for _ in range(ROUNDS):
        gate: Gate = OpenGate() if sys.argv[2:] == ["open"] else Defence()
        print(json.dumps(measure(gate, authdb)), flush=True)


if __name__ == "__main__":
    main()
