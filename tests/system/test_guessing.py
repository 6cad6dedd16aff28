"""Wrong passwords come to imapd from one address: logins from others do not become slower by it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from tests.kit.clients import raw
from tests.kit.instance import PASSWORD, Instance

GUESSES = int(os.environ.get("MSTORE_GUESSES", "200"))
"""1000 take half a minute, and show the same."""
CONNECTIONS = 50
MOST_SLOWER = 1.10
LEAST_LOGINS = 15
ROUNDS = 10
PAUSE_S = 0.05
OPTIONS = ["trusted-networks none", "authproxy-cache-time 0"]
"""Every login costs a hash, as the first one of a client does."""


class Others:
    """Two users who log in in turn, each time from an address that the store has never seen."""

    def __init__(self, store: Instance, *users: str) -> None:
        self._store = store
        self._users = users
        self._source = IPv4Address("127.1.0.1")

    def medians_s(self, has_ended: Callable[[], bool] = lambda: True) -> list[float]:
        """What their logins take: of at least so many, and until the end."""
        times: list[list[float]] = [[] for _ in self._users]
        while len(times[-1]) < LEAST_LOGINS or not has_ended():
            for user, of_user in zip(self._users, times, strict=True):
                of_user.append(self._login_s(user))
                time.sleep(PAUSE_S)
        return [statistics.median(of_user) for of_user in times]

    def _login_s(self, user: str) -> float:
        self._source += 1
        began_s = time.perf_counter()
        with raw(self._store.imap_address, source=str(self._source)) as connection:
            connection.sendall(b"a LOGIN %b %b\r\n" % (user.encode(), PASSWORD.encode()))
            said = b""
            while b"\na " not in said:
                data = connection.recv(4096)
                assert data, said
                said += data
        assert b"\na OK" in said, said
        return time.perf_counter() - began_s


@pytest.mark.timeout(900)
def test_guesses_from_one_address_do_not_slow_down_the_logins_of_others(
    make_store: Callable[..., Instance],
) -> None:
    """Somebody's password is guessed, while he and somebody else log in from elsewhere. One good round is
    enough: other work on the machine comes and goes, the guesses are in all of them, and behind all of them
    is what they leave."""
    guessed = [f"joe{number}" for number in range(ROUNDS)]
    store = make_store([*guessed, "ann"], OPTIONS)
    store.start()
    rounds = []
    for number, user in enumerate(guessed):
        others = Others(store, user, "ann")
        words = (store.imap_address[1], f"127.0.0.{number + 2}", user, GUESSES, CONNECTIONS)
        before_s = others.medians_s()
        guesses = subprocess.Popen(
            [sys.executable, "-m", "tests.kit.guesses", *map(str, words)],
            stdout=subprocess.PIPE, text=True, env=store.environment(),
        )  # fmt: skip
        try:
            attacked_s = others.medians_s(lambda process=guesses: process.poll() is not None)  # type: ignore[misc]
            told, _ = guesses.communicate()
        finally:
            guesses.kill()
            guesses.wait()
        assert guesses.returncode == 0 and "'a NO [AUTHENTICATIONFAILED]'" in told, told
        after_s = others.medians_s()
        rounds.append((before_s, attacked_s, after_s, told))
        quiet_s = [max(pair) for pair in zip(before_s, after_s, strict=True)]
        waits_for_nothing = max(after_s) < 5 * min(before_s)  # What is left behind makes nobody wait either.
        as_before = all(slow <= MOST_SLOWER * quiet for slow, quiet in zip(attacked_s, quiet_s, strict=True))
        if waits_for_nothing and as_before:
            store.assert_log_clean()
            return  # Stopping would wait for the guesses that still wait.
    pytest.fail(f"medians in seconds before, under and after the guesses: {rounds}")
