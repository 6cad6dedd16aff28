"""What guessing costs, by a clock that the tests move."""

from ipaddress import ip_network

import pytest

from mstore.accounts.login import LoginRules
from mstore.auth.defence import (
    FAILURES_UNTIL_UNKNOWN,
    FREE_FOR_ACCOUNT,
    FREE_FOR_ADDRESS,
    HALF_LIFE_S,
    KNOWN_S,
    LONGEST_FOR_ACCOUNT_S,
    LONGEST_FOR_ADDRESS_S,
    LONGEST_WAIT_S,
    Defence,
)
from mstore.auth.gate import Turned

EVIL, HOME, CAFE = "192.0.2.1", "198.51.100.7", "203.0.113.9"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def defence(clock: Clock) -> Defence:
    return Defence([ip_network("127.0.0.0/8"), ip_network("::1")], LoginRules("example.com"), clock)


def fail(defence: Defence, peer: str, times: int, login: str = "") -> None:
    for number in range(times):
        defence.note(peer, login or f"user{number}", False)


def test_some_failures_are_free_then_each_doubles_the_wait(defence: Defence) -> None:
    fail(defence, EVIL, int(FREE_FOR_ADDRESS))
    assert defence.wait_for_address(EVIL) == 0
    waits = []
    for number in range(10):
        defence.note(EVIL, f"other{number}", False)
        waits.append(defence.wait_for_address(EVIL))
    assert waits == [0.5, 1, 2, 4, 8, 15, 15, 15, 15, 15]
    assert waits[-1] == LONGEST_FOR_ADDRESS_S
    assert defence.admit(HOME, "joe") == 0


def test_waits_shrink_again(defence: Defence, clock: Clock) -> None:
    fail(defence, EVIL, 16)
    assert defence.admit(EVIL, "joe") == LONGEST_FOR_ADDRESS_S
    clock.now_s += HALF_LIFE_S
    assert defence.admit(EVIL, "joe") == 0
    defence.note(EVIL, "joe", False)
    assert defence.admit(EVIL, "joe") == 0.5


def test_failures_for_an_account_count_from_wherever_they_come(defence: Defence) -> None:
    for number in range(int(FREE_FOR_ACCOUNT) + 1):
        defence.note(f"192.0.2.{number}", "joe", False)
    assert defence.admit(CAFE, "JOE@Example.com") == 0.5
    assert defence.admit(CAFE, "ann") == 0
    for number in range(100):
        defence.note(f"192.0.2.{number}", "joe", False)
    assert defence.admit(CAFE, "joe") == LONGEST_FOR_ACCOUNT_S
    assert defence.admit("", "joe") == LONGEST_FOR_ACCOUNT_S


def test_one_address_alone_makes_nobody_else_wait_for_an_account(defence: Defence, clock: Clock) -> None:
    for _ in range(20):
        fail(defence, EVIL, 50, "joe")
        clock.now_s += HALF_LIFE_S / 5
    assert defence.admit(EVIL, "joe") == LONGEST_FOR_ADDRESS_S
    assert defence.admit(CAFE, "joe") == 0
    for peer in ("192.0.2.2", "192.0.2.3"):
        fail(defence, peer, 50, "joe")
    assert defence.admit(CAFE, "joe") == LONGEST_FOR_ACCOUNT_S


def test_who_is_known_at_an_address_waits_for_nobodys_failures(defence: Defence) -> None:
    defence.note(HOME, "joe", True)
    for number in range(200):
        defence.note(f"192.0.2.{number}", "joe", False)
    fail(defence, HOME, 50)
    assert defence.admit(HOME, "joe") == 0
    assert defence.admit(HOME, "ann") == LONGEST_FOR_ADDRESS_S
    assert defence.admit(CAFE, "joe") == LONGEST_FOR_ACCOUNT_S


def test_what_is_known_is_lost_by_failures_in_a_row(defence: Defence, clock: Clock) -> None:
    fail(defence, HOME, 30, "ann")
    defence.note(HOME, "joe", True)
    fail(defence, HOME, FAILURES_UNTIL_UNKNOWN - 1, "joe")
    assert defence.admit(HOME, "joe") == 0
    defence.note(HOME, "joe", True)
    fail(defence, HOME, FAILURES_UNTIL_UNKNOWN - 1, "joe")
    assert defence.admit(HOME, "joe") == 0
    defence.note(HOME, "joe", False)
    assert defence.admit(HOME, "joe") == LONGEST_FOR_ADDRESS_S
    defence.note(HOME, "joe", True)
    clock.now_s += KNOWN_S + 1
    assert not defence.knows(HOME, "joe")


def test_a_network_of_ipv6_is_one_address(defence: Defence) -> None:
    for number in range(20):
        defence.note(f"2001:db8:1:2::{number:x}", f"user{number}", False)
    assert defence.admit("2001:db8:1:2:ffff::1", "joe") == LONGEST_FOR_ADDRESS_S
    assert defence.admit("2001:db8:1:3::1", "joe") == 0


def test_an_address_is_the_same_in_both_families(defence: Defence) -> None:
    fail(defence, EVIL, 20)
    assert defence.admit(f"::ffff:{EVIL}", "joe") == LONGEST_FOR_ADDRESS_S
    assert defence.origin(f"::ffff:{EVIL}") == EVIL
    assert defence.origin("::ffff:127.0.0.1") is None
    assert defence.origin("fe80::1%eth0") == "fe80::/64"


def test_trusted_addresses_make_nobody_wait_but_accounts_do(defence: Defence) -> None:
    fail(defence, "127.0.0.1", 100)
    assert defence.admit("127.0.0.1", "joe") == 0
    fail(defence, "127.0.0.1", 100, "joe")
    assert defence.admit("127.0.0.1", "joe") == LONGEST_FOR_ACCOUNT_S
    assert defence.admit("local", "ann") == 0
    defence.note("127.0.0.1", "joe", True)
    assert defence.admit("127.0.0.1", "joe") == 0
    assert defence.admit("127.0.0.2", "joe") == LONGEST_FOR_ACCOUNT_S


def test_tables_have_an_end(clock: Clock) -> None:
    defence = Defence(clock=clock, most_kept=100)
    for number in range(1000):
        defence.note(f"10.0.{number // 250}.{number % 250}", "x" * 5000 + str(number), number % 2 == 0)
        defence.note("10.9.9.9", f"user{number}", False)
        defence.admit(f"10.1.{number // 250}.{number % 250}", str(number))
    assert len(defence) <= 600
    assert defence.admit("10.9.9.9", "joe") == LONGEST_FOR_ADDRESS_S
    assert max(len(name) for name in defence._of_accounts) <= 255


def test_a_flood_never_ends_in_an_overflow(defence: Defence) -> None:
    fail(defence, EVIL, 5000, "joe")
    assert defence.admit(EVIL, "joe") == LONGEST_FOR_ADDRESS_S


def admitted(defence: Defence, times: int, peer: str = "", login: str = "") -> list[float]:
    """The waits of so many who come at one moment and are not turned away."""
    found = [defence.admit(peer or f"10.0.0.{number}", login or f"user{number}") for number in range(times)]
    return [wait_s for wait_s in found if not isinstance(wait_s, Turned)]


def test_who_comes_with_many_at_once_is_judged_a_few_at_a_time(defence: Defence) -> None:
    waits = admitted(defence, 1000, EVIL)
    assert waits[:5] == pytest.approx([0, 0, 0, 0, 0.25])
    assert waits == sorted(waits) and waits[-1] <= LONGEST_WAIT_S
    assert len(waits) < 40
    assert isinstance(turned := defence.admit(EVIL, "joe"), Turned) and "later" in turned.text
    assert defence.admit(HOME, "joe") == 0


def test_who_is_turned_away_takes_no_place(defence: Defence, clock: Clock) -> None:
    waits = admitted(defence, 1000, EVIL)
    clock.now_s += 5
    assert len(admitted(defence, 1000, EVIL)) == pytest.approx(5, abs=1)
    clock.now_s += 200
    assert admitted(defence, 1000, EVIL) == pytest.approx(waits)


def test_an_address_with_many_failures_is_judged_seldom(defence: Defence, clock: Clock) -> None:
    fail(defence, EVIL, 40)
    waits = admitted(defence, 1000, EVIL)
    assert waits == [LONGEST_FOR_ADDRESS_S, LONGEST_FOR_ADDRESS_S]
    clock.now_s += 86_400
    assert len(admitted(defence, 1000, EVIL)) > 10


def test_an_office_whose_passwords_are_right_gets_in(defence: Defence, clock: Clock) -> None:
    """Two hundred programs behind one address connect again at one moment, and once more if turned away."""
    left = {f"user{number}" for number in range(200)}
    rounds = 0
    while left:
        rounds += 1
        for login in sorted(left):
            wait_s = defence.admit(HOME, login)
            if not isinstance(wait_s, Turned):
                left.discard(login)
                defence.note(HOME, login, True)
                clock.now_s += 0.02
    assert rounds == 1
    assert [defence.admit(HOME, f"user{number}") for number in range(200)] == [0.0] * 200


def test_of_an_account_many_at_once_come_from_everywhere(defence: Defence) -> None:
    waits = admitted(defence, 1000, login="joe")
    assert waits[:64] == [0.0] * 64 and len(waits) < 300
    assert defence.admit(HOME, "ann") == 0


def test_a_known_place_is_no_way_to_guess_faster(defence: Defence) -> None:
    defence.note(EVIL, "joe", True)
    waits = admitted(defence, 1000, EVIL, "joe")
    assert waits[:16] == [0.0] * 16 and len(waits) < 120
    assert defence.admit(HOME, "joe") == 0
