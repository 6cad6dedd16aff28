"""``python -m bench.soak --kills 200 --minutes 10``: kills under a mixed load, and the verdict.

Workers, daemons and now and then the storemgr are killed with SIGKILL, by chance from a seed, while clients
deliver, append, flag, move, expunge, fetch and rename. In the end all that the ledger says must be so: every
acknowledged message is there, byte by byte, every acknowledged removal holds, flags and names are as they
were acknowledged, no UID ever named two messages; and ``msadm check`` finds nothing, before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from bench.soak.ledger import Ledger
from bench.soak.load import MAILBOXES, Client, make_clients
from bench.soak.verdict import Verdict, judge
from tests.kit.instance import DAEMONS, SERVICES, Instance, wait_for


class Killer:
    """Kills processes of an instance, about evenly over the time."""

    def __init__(self, store: Instance, seed: int) -> None:
        self._store = store
        self._random = random.Random(seed)
        self.kills: Counter[str] = Counter()

    def run(self, kills: int, seconds: float, clients: list[Client]) -> None:
        """Kill so many within the time; ends early when a client has failed in an unforeseen way."""
        began, said = time.monotonic(), 0.0
        while (number := sum(self.kills.values())) < kills and not any(client.failed for client in clients):
            due = began + seconds * (number + self._random.uniform(0.3, 0.7)) / kills
            time.sleep(max(0.0, due - time.monotonic()))
            self._kill()
            if time.monotonic() - said > 20:
                said = time.monotonic()
                say(f"{said - began:.0f} s: {number + 1} killed")
        time.sleep(max(0.0, min(began + seconds - time.monotonic(), seconds / kills)))

    def _kill(self) -> None:
        chance = self._random.random()
        if chance < 0.03:
            self._kill_storemgr()
        elif chance < 0.2:
            daemon = self._random.choice(DAEMONS)
            self._kill_one(daemon, [self._store.daemon_pid(daemon)])
        else:
            service = self._random.choice(SERVICES)
            self._kill_one(f"{service} worker", self._store.worker_pids(service))

    def _kill_one(self, what: str, pids: list[int]) -> None:
        pids = [pid for pid in pids if pid]
        if pids:
            try:
                os.kill(self._random.choice(pids), signal.SIGKILL)
                self.kills[what] += 1
            except ProcessLookupError:
                pass
        time.sleep(0.02)

    def _kill_storemgr(self) -> None:
        store = self._store
        store.kill()
        self.kills["storemgr"] += 1
        wait_for(lambda: not store.pids(), 30, lambda: f"left: {store.describe(store.pids())}")
        store.start()


def say(text: str) -> None:
    """Tell what goes on."""
    print(text, file=sys.stderr, flush=True)


def soak(options: argparse.Namespace) -> Verdict:
    """The whole run."""
    users = [f"u{number}" for number in range(options.users)]
    store = Instance(users, workers=options.workers, options=["shutdown-grace 10"])
    store.tolerated.append(
        r"SIGKILL|signal 9|killed|parent|storemgr|authentication service cannot be reached"
    )
    say(f"the instance is in {store.path}, the ledger in {options.ledger}")
    ledger = Ledger(Path(options.ledger))
    try:
        store.start()
        for user in users:
            maker = store.imap(user)
            for mailbox in MAILBOXES[1:]:
                maker.command(b"CREATE " + mailbox.encode())
            maker.logout()
        clients = make_clients(store, ledger, users, options.seed)
        for client in clients:
            client.start()
        killer = Killer(store, options.seed)
        killer.run(options.kills, options.minutes * 60, clients)
        wait_for(
            lambda: ledger.counts["held"] >= options.held or any(client.failed for client in clients), 200,
            lambda: f"{ledger.counts}",
        )  # fmt: skip
        for client in clients:
            client.ending.set()
        for client in clients:
            client.join(90)
        verdict = judge(store, ledger, users, dict(killer.kills), clients)
        if verdict.passed and not options.keep:
            store.destroy()
        else:
            say(f"kept: {store.path}")
        return verdict
    finally:
        ledger.close()
        for pid in store.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; the exit status is 0 when nothing was lost."""
    parser = argparse.ArgumentParser(prog="bench.soak", description="Kills under a mixed load.")
    parser.add_argument("--kills", type=int, default=200, help="how many processes [200]")
    parser.add_argument("--minutes", type=float, default=10.0, help="within what time [10]")
    parser.add_argument("--users", type=int, default=4, help="accounts in use [4]")
    parser.add_argument("--workers", type=int, default=2, help="workers of each daemon [2]")
    parser.add_argument("--held", type=int, default=0, help="go on until so many messages are held [0]")
    parser.add_argument("--seed", type=int, default=1, help="of what is done and killed [1]")
    parser.add_argument("--ledger", default="/tmp/soak.ledger", help="the file of it [/tmp/soak.ledger]")
    parser.add_argument("--output", help="a file for the verdict as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the instance's directory")
    options = parser.parse_args(arguments)
    verdict = soak(options)
    print(verdict)
    if options.output:
        Path(options.output).write_text(json.dumps(verdict.as_json(), indent=1) + "\n")
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main())
