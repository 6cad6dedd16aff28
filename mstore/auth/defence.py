"""What guessing passwords costs: waits that grow with the failures of an address and of an account.

Each failure is a point for the address it came from (the /64 network, in IPv6) and one for the account it
was meant for; points halve in five minutes. Some points are free, because people mistype and programs go on
with a password that was changed; each one beyond doubles the wait before the next login is judged.

An address from which an account's right password has come is known for that account: neither the points of
others at the same address nor those that were collected elsewhere for the account make it wait. So nobody is
locked out because somebody else guesses. What is known is lost by some failures in a row. The waits for an
account stay short in any case: a new place to log in from has to wait them out too.

All of it is in memory, in tables that forget what was not touched for longest.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, TypeVar

from mstore.accounts.login import LoginRules, fold
from mstore.base.values import Network

K = TypeVar("K")
V = TypeVar("V")

HALF_LIFE_S = 300.0
FREE_FOR_ADDRESS = 8.0
FREE_FOR_ACCOUNT = 12.0
FIRST_WAIT_S = 0.5
LONGEST_FOR_ADDRESS_S = 15.0
LONGEST_FOR_ACCOUNT_S = 4.0
FAILURES_UNTIL_UNKNOWN = 5
KNOWN_S = 14 * 86_400.0
MOST_KEPT = 50_000
MAX_LOGIN = 255


class _Points(NamedTuple):
    points: float
    at_s: float

    def now(self, now_s: float) -> float:
        return self.points * math.exp2((self.at_s - now_s) / HALF_LIFE_S)


class _Known(NamedTuple):
    failures: int
    until_s: float


@lru_cache(maxsize=4096)
def _origin(peer: str, trusted: tuple[Network, ...]) -> str | None:
    """What counts as one address, or None for what is none, or trusted."""
    try:
        address: IPv4Address | IPv6Address = ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in trusted):
        return None
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64)) + "/64"
    return str(address)


class Defence:
    """Keeps the points; ``clock`` is there for tests."""

    def __init__(
        self,
        trusted: Sequence[Network] = (),
        rules: LoginRules | None = None,
        clock: Callable[[], float] = time.monotonic,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self._trusted = tuple(trusted)
        self._rules = rules or LoginRules()
        self._clock = clock
        self._most_kept = most_kept
        self._of_addresses: OrderedDict[str, _Points] = OrderedDict()
        self._of_accounts: OrderedDict[str, _Points] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()

    def origin(self, peer: str) -> str | None:
        """The address or network under which a peer is counted; None where it is not known or trusted."""
        return _origin(peer, self._trusted) if peer else None

    def account(self, login: str) -> str:
        """The name under which a login is counted: one for all its spellings."""
        name = login[:MAX_LOGIN]
        return self._rules.key(name) if name else fold(name)

    def admit(self, peer: str, login: str) -> float:
        """How many seconds the login has to wait before it is judged."""
        if self.knows(peer, login):
            return 0.0
        return max(self.wait_for_address(peer), self.wait_for_account(login))

    def note(self, peer: str, login: str, ok: bool) -> None:
        """Keep how a login was judged."""
        now_s = self._clock()
        origin, account = self.origin(peer), self.account(login)
        place = (origin or "", account)
        if ok:
            self._put(self._known, place, _Known(0, now_s + KNOWN_S))
            return
        known = self._known.get(place)
        if known is not None:
            if known.failures + 1 >= FAILURES_UNTIL_UNKNOWN:
                del self._known[place]
            else:
                self._put(self._known, place, known._replace(failures=known.failures + 1))
        if origin is not None:
            self._add(self._of_addresses, origin, now_s)
        self._add(self._of_accounts, account, now_s)

    def knows(self, peer: str, login: str) -> bool:
        """Whether this account's right password has come from there, and few wrong ones since.

        Where the peer is trusted, or not known at all, nothing is known of the places behind it.
        """
        origin = self.origin(peer)
        if origin is None:
            return False
        known = self._known.get((origin, self.account(login)))
        return known is not None and known.until_s > self._clock()

    def wait_for_address(self, peer: str) -> float:
        """The wait that the failures of an address ask for."""
        origin = self.origin(peer)
        if origin is None:
            return 0.0
        points = self._points(self._of_addresses, origin)
        return _wait(points - FREE_FOR_ADDRESS, LONGEST_FOR_ADDRESS_S)

    def wait_for_account(self, login: str) -> float:
        """The wait that the failures for an account ask for, wherever they came from."""
        points = self._points(self._of_accounts, self.account(login))
        return _wait(points - FREE_FOR_ACCOUNT, LONGEST_FOR_ACCOUNT_S)

    def __len__(self) -> int:
        return len(self._of_addresses) + len(self._of_accounts) + len(self._known)

    def _points(self, table: OrderedDict[str, _Points], name: str) -> float:
        kept = table.get(name)
        return 0.0 if kept is None else kept.now(self._clock())

    def _add(self, table: OrderedDict[str, _Points], name: str, now_s: float) -> None:
        kept = table.get(name)
        self._put(table, name, _Points((0.0 if kept is None else kept.now(now_s)) + 1.0, now_s))

    def _put(self, table: OrderedDict[K, V], key: K, value: V) -> None:
        table[key] = value
        table.move_to_end(key)
        while len(table) > self._most_kept:
            table.popitem(last=False)


def _wait(beyond: float, longest_s: float) -> float:
    """Nothing for free points, then twice as much for each."""
    if beyond <= 0:
        return 0.0
    return min(longest_s, FIRST_WAIT_S * 2.0 ** (math.ceil(beyond) - 1)) if beyond < 64 else longest_s
