"""The gate before every judgement: who may be judged now, who waits, who is told to come back later.

Of one address only a few logins are judged at a time, and of one account only a few, whether they come from
where its user is known or from elsewhere; the others wait for their turn, and wait it with the delay that
the failures so far ask for (``defence``). So the threads that hash are never full of one address's guesses,
and guesses come ever slower while other people's logins take what they always take.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from mstore.auth.defence import Defence
from mstore.auth.turns import Turns
from mstore.auth.verdict import BUSY, UNAVAILABLE, Verdict
from mstore.base import blocking
from mstore.base.errors import Busy

OF_AN_ADDRESS = 2
OF_AN_ACCOUNT = 4
OF_A_KNOWN_PLACE = 2
MOST_WAITING = 256
LONGEST_WAIT_S = 20.0
"""Those who ask authproxyd give up after half a minute."""


class Gate:
    """One for all questions to a process."""

    def __init__(self, defence: Defence) -> None:
        self.defence = defence
        self._of_addresses = Turns(OF_AN_ADDRESS, MOST_WAITING, LONGEST_WAIT_S)
        self._of_accounts = Turns(OF_AN_ACCOUNT, 4 * MOST_WAITING, LONGEST_WAIT_S)
        self._of_places = Turns(OF_A_KNOWN_PLACE, MOST_WAITING, LONGEST_WAIT_S)

    def admit(self, peer: str, login: str) -> float:
        """How many seconds to wait; for who judges by himself, and then says so to ``note``."""
        return self.defence.admit(peer, login)

    def note(self, peer: str, login: str, ok: bool) -> None:
        """Keep how a login was judged."""
        self.defence.note(peer, login, ok)

    def judge(
        self,
        peer: str,
        login: str,
        ask: Callable[[], Verdict],
        is_recalled: Callable[[], bool] = lambda: False,
    ) -> Verdict:
        """Have a login judged when its turn comes, and keep how; ``BUSY`` when it does not come in time.

        ``is_recalled`` tells whether the password was right a short while ago, which costs nothing to find
        out: then the guesses of others for the account do not matter. It is asked at the address's turn, so
        it is no way to guess faster.
        Raises: what ``ask`` and ``is_recalled`` raise; then nothing is kept.
        """
        defence = self.defence
        origin, account = defence.origin(peer), defence.account(login)
        try:
            if defence.knows(peer, login):
                with self._of_places.take(f"{origin} {account}"):
                    return self._finish(peer, login, ask)
            with _turn(self._of_addresses, origin):
                _pause(defence.wait_for_address(peer))
                if is_recalled():
                    return self._finish(peer, login, ask)
                with self._of_accounts.take(account):
                    _pause(defence.wait_for_account(login))
                    return self._finish(peer, login, ask)
        except Busy:
            return BUSY

    def _finish(self, peer: str, login: str, ask: Callable[[], Verdict]) -> Verdict:
        verdict = ask()
        if verdict is not UNAVAILABLE:
            self.defence.note(peer, login, verdict.ok)
        return verdict


def _turn(turns: Turns, name: str | None) -> AbstractContextManager[None]:
    return nullcontext() if name is None else turns.take(name)


def _pause(seconds: float) -> None:
    if seconds > 0:
        blocking.sleep(seconds)
