"""What guessing passwords costs: waits that grow with the failures of an address and of an account.

Each failure is a point for the address it came from (the /64 network, in IPv6) and one for the account it
was meant for; points halve in five minutes. Some points are free, because people mistype and programs go on
with a password that was changed; each one beyond doubles the wait before the next login is judged.

Logins of one address that come all at once are judged a few at a time, then ever slower, and the slower the
more points it has; who would have to wait longer than clients do is turned away unheard. So one address can
neither fill the threads that hash nor, with a thousand guesses, slow down the logins of others. A right
password gives its place back. The same holds, more generously, for the logins to one account.

A place, that is an address together with an account, from which the right password has come is known:
neither the points of others at the same address nor those that were collected elsewhere for the account make
it wait. So nobody is locked out because somebody else guesses. A place is forgotten after some failures in a
row. An address gives an account no more points than are free for itself, fewer than are free for the
account: only who guesses from several makes others wait. The waits for an account stay short in any case: a
new place to log in from has to wait them out too.

All of it is in memory, in tables that forget what was not touched for longest.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence, Sized
from typing import NamedTuple, TypeVar

from mstore.accounts.login import LoginRules
from mstore.auth.gate import Turned
from mstore.base.networks import Network, remember_origins

K = TypeVar("K")
V = TypeVar("V")

HALF_LIFE_S = 300.0
FREE_FOR_ADDRESS = 8.0
FREE_FOR_ACCOUNT = 12.0
FIRST_WAIT_S = 0.5
LONGEST_FOR_ADDRESS_S = 15.0
LONGEST_FOR_ACCOUNT_S = 4.0
LONGEST_WAIT_S = 20.0
"""Those who ask authproxyd give up after half a minute."""
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


class _Steps(NamedTuple):
    """How far apart logins are judged, by how many came of late that were not right."""

    at_once: int
    quick: int
    quick_s: float
    slow_s: float

    def spacing_s(self, debt: float) -> float:
        if debt < self.at_once:
            return 0.0
        return self.quick_s if debt < self.quick else self.slow_s


OF_AN_ADDRESS = _Steps(4, 12, 0.25, 1.0)
OF_AN_ACCOUNT = _Steps(64, 256, 0.1, 0.1)
OF_A_PLACE = _Steps(16, 64, 0.1, 0.5)


class _Pace(NamedTuple):
    """The logins of late: how many, less those that were right and one for each slow step since; and until
    when the times for judging are given away."""

    debt: float
    at_s: float
    next_s: float


class _Booking(NamedTuple):
    table: OrderedDict[str, _Pace]
    name: str
    pace: _Pace


class Defence:
    """The gate that keeps the points (``gate.Gate``); ``clock`` is there for tests."""

    def __init__(
        self,
        trusted: Sequence[Network] = (),
        rules: LoginRules | None = None,
        clock: Callable[[], float] = time.monotonic,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self._origin_of = remember_origins(tuple(trusted))
        self._rules = rules or LoginRules()
        self._clock = clock
        self._most_kept = most_kept
        self._of_addresses: OrderedDict[str, _Points] = OrderedDict()
        self._of_accounts: OrderedDict[str, _Points] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._at_addresses: OrderedDict[str, _Pace] = OrderedDict()
        self._at_accounts: OrderedDict[str, _Pace] = OrderedDict()
        self._of_places: OrderedDict[str, _Pace] = OrderedDict()

    def origin(self, peer: str) -> str | None:
        """The address or network under which a peer is counted; None where it is not known or trusted."""
        return self._origin_of(peer)

    def account(self, login: str) -> str:
        """The name under which a login is counted: one for all its spellings."""
        return self._rules.key(login[:MAX_LOGIN])

    def admit(self, peer: str, login: str) -> float | Turned:
        """How many seconds the login has to wait before it is judged, or that it is not."""
        origin, account = self.origin(peer), self.account(login)
        if self.knows(peer, login):
            bookings = [self._book(self._of_places, f"{origin or peer} {account}", OF_A_PLACE, 0.0)]
            wait_s = 0.0
        else:
            bookings = []
            wait_s = self.wait_for_account(login) if login else 0.0
            if origin is not None:
                address_s = self.wait_for_address(peer)
                bookings.append(self._book(self._at_addresses, origin, OF_AN_ADDRESS, address_s / 2))
                wait_s = max(wait_s, address_s)
            if login:
                bookings.append(self._book(self._at_accounts, account, OF_AN_ACCOUNT, 0.0))
        now_s = self._clock()
        wait_s = max([wait_s, *(booking.pace.next_s - now_s for booking in bookings)])
        if wait_s > LONGEST_WAIT_S:
            return Turned("too many logins are tried just now, try again later")
        for booking in bookings:
            self._put(booking.table, booking.name, booking.pace)
        return wait_s

    def note(self, peer: str, login: str, ok: bool) -> None:
        """Keep how a login was judged."""
        now_s = self._clock()
        origin, account = self.origin(peer), self.account(login)
        place = (origin or peer, account)
        if ok:
            self._put(self._known, place, _Known(0, now_s + KNOWN_S))
            self._give_back(self._at_addresses, origin or "")
            self._give_back(self._at_accounts, account)
            self._give_back(self._of_places, f"{origin or peer} {account}")
            return
        known = self._known.get(place)
        if known is not None:
            if known.failures + 1 >= FAILURES_UNTIL_UNKNOWN:
                del self._known[place]
            else:
                self._put(self._known, place, known._replace(failures=known.failures + 1))
        # An address that is slowed down for itself need not slow down the account for all others.
        if login and self.wait_for_address(peer) == 0:
            self._add(self._of_accounts, account, now_s)
        if origin is not None:
            self._add(self._of_addresses, origin, now_s)

    def knows(self, peer: str, login: str) -> bool:
        """Whether this account's right password has come from there, and few wrong ones since."""
        known = self._known.get((self.origin(peer) or peer, self.account(login)))
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
        """How much is kept."""
        tables: tuple[Sized, ...] = (
            self._of_addresses, self._of_accounts, self._known,
            self._at_addresses, self._at_accounts, self._of_places,
        )  # fmt: skip
        return sum(len(table) for table in tables)

    def _book(self, table: OrderedDict[str, _Pace], name: str, steps: _Steps, least_s: float) -> _Booking:
        """The next free time to be judged; taken only when the booking is kept."""
        now_s = self._clock()
        kept = table.get(name) or _Pace(0.0, now_s, now_s)
        debt = max(0.0, kept.debt - (now_s - kept.at_s) / steps.slow_s)
        next_s = max(kept.next_s, now_s) + max(steps.spacing_s(debt), least_s)
        return _Booking(table, name, _Pace(debt + 1, now_s, next_s))

    @staticmethod
    def _give_back(table: OrderedDict[str, _Pace], name: str) -> None:
        pace = table.get(name)
        if pace is not None:
            table[name] = _Pace(max(0.0, pace.debt - 1), pace.at_s, pace.next_s)

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
