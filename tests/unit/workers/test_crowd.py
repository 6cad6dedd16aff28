"""Counting connections over the workers of a daemon."""

import os
from ipaddress import ip_network
from typing import Any

from mstore.base.options import Settings
from workers.crowd import Crowd

ONE, OTHER = "192.0.2.1", "198.51.100.7"
KEY = bytes(16)
"""By a random one, two of the addresses here would fall into the same bucket now and then."""


def settings(**limits: Any) -> Settings:
    nothing = dict.fromkeys(
        ("connections_per_address", "unauthenticated_per_address", "unauthenticated_limit"), 0
    )
    return Settings(**{**nothing, **limits})


def test_an_address_has_so_many_connections_over_all_workers() -> None:
    crowd = Crowd(3, KEY)
    doors = [crowd.door(row, settings(connections_per_address=4)) for row in range(3)]
    assert [doors[number % 3].enter(number, ONE) for number in range(4)] == [None] * 4
    for door in doors:
        assert door.enter(9, ONE) == "too many connections from your address"
        door.leave(9)
    assert doors[0].enter(10, OTHER) is None
    doors[1].leave(1)
    assert doors[2].enter(11, ONE) is None and doors[0].enter(12, ONE) is not None


def test_who_has_logged_in_is_a_stranger_no_more() -> None:
    door = Crowd(1, KEY).door(0, settings(unauthenticated_per_address=2))
    assert [door.enter(number, ONE) for number in range(2)] == [None] * 2
    assert door.enter(2, ONE) == "too many connections from your address, not logged in"
    door.recognise(0)
    assert door.enter(3, ONE) is None and door.strangers == {1, 3}
    for number in range(5):
        door.leave(number)
    assert not door.strangers and not door._buckets
    assert not any(door._cells)


def test_there_are_limits_for_all_together() -> None:
    door = Crowd(1, KEY).door(0, settings(unauthenticated_limit=2, connections_limit=3))
    assert [door.enter(number, f"192.0.2.{number}") for number in range(2)] == [None] * 2
    assert door.enter(2, OTHER) == "too many connections not logged in"
    door.recognise(0)
    assert door.enter(3, OTHER) is None
    door.recognise(1)
    assert door.enter(4, OTHER) == "too many connections"


def test_trusted_addresses_count_only_for_all_together() -> None:
    limits = settings(connections_per_address=1, connections_limit=3, trusted_networks=(ip_network(ONE),))
    door = Crowd(1, KEY).door(0, limits)
    assert [door.enter(number, ONE) for number in range(3)] == [None] * 3
    assert door.enter(3, ONE) == "too many connections"
    door.leave(0)
    assert door.enter(4, OTHER) is None


def test_a_network_of_ipv6_is_one_address_and_ipv4_is_the_same_in_both() -> None:
    door = Crowd(1, KEY).door(0, settings(connections_per_address=2))
    for number in range(2):
        assert door.enter(number, f"2001:db8::{number}") is None
    assert door.enter(2, "2001:db8::ffff:1") is not None and door.enter(3, "2001:db8:0:1::1") is None
    assert door.enter(4, ONE) is None and door.enter(5, f"::ffff:{ONE}") is None
    assert door.enter(6, ONE) is not None


def test_the_connections_of_a_worker_that_died_count_no_more() -> None:
    crowd = Crowd(2, KEY)
    limits = settings(connections_per_address=1)
    door = crowd.door(1, limits)
    pid = os.fork()
    if pid == 0:
        crowd.door(0, limits).enter(1, ONE)
        os._exit(0)
    os.waitpid(pid, 0)
    assert door.enter(1, ONE) is not None
    crowd.clear(0)
    assert door.enter(1, ONE) is None
    assert crowd.door(0, limits).enter(1, ONE) is not None


def test_a_user_has_so_many_sessions_over_all_workers() -> None:
    crowd = Crowd(3, KEY)
    doors = [crowd.door(row, settings(imapd_connections_per_user=4)) for row in range(3)]
    assert [doors[number % 3].admit("joe") for number in range(6)] == [True] * 4 + [False] * 2
    assert all(door.admit("ann") for door in doors)
    doors[1].dismiss("joe")
    assert doors[2].admit("joe") and not doors[0].admit("joe")
    crowd.clear(2)
    assert doors[0].admit("joe") and doors[0].admit("joe") and not doors[0].admit("joe")


def test_many_other_users_do_not_count_as_one() -> None:
    door = Crowd(1, KEY).door(0, settings(imapd_connections_per_user=3))
    assert sum(not door.admit(str(number)) for number in range(2000)) == 0


def test_without_a_limit_users_are_counted_all_the_same() -> None:
    """A reload may bring a limit."""
    crowd = Crowd(2, KEY)
    before, after = crowd.door(0, settings(imapd_connections_per_user=0)), None
    assert all(before.admit("joe") for _ in range(5))
    after = crowd.door(1, settings(imapd_connections_per_user=5))
    assert not after.admit("joe")
    before.dismiss("joe")
    assert after.admit("joe")
