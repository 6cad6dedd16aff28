import pytest

from mstore.base.errors import Invalid, LimitReached
from mstore.store.spaces import Space, check_personal, join, parse


@pytest.mark.parametrize(
    ("name", "space", "owner", "inner", "whole"),
    [
        ("inbox/a", Space.PERSONAL, "", "INBOX/a", "INBOX/a"),
        ("User/joe", Space.PERSONAL, "", "User/joe", "User/joe"),
        ("users", Space.PERSONAL, "", "users", "users"),
        ("user/joe/inbox", Space.OTHERS, "joe", "INBOX", "user/joe/INBOX"),
        ("user/joe/a/b", Space.OTHERS, "joe", "a/b", "user/joe/a/b"),
        ("user/u\u0308/a", Space.OTHERS, "\u00fc", "a", "user/\u00fc/a"),
        ("user/joe", Space.OTHERS, "joe", "", "user/joe"),
        ("user", Space.OTHERS, "", "", "user"),
        ("shared/bugs/new", Space.SHARED, "", "bugs/new", "shared/bugs/new"),
        ("shared/user/x", Space.SHARED, "", "user/x", "shared/user/x"),
        ("shared", Space.SHARED, "", "", "shared"),
    ],
)
def test_full_names_are_taken_apart(name: str, space: Space, owner: str, inner: str, whole: str) -> None:
    full = parse(name)
    assert (full.space, full.owner, full.inner, str(full)) == (space, owner, inner, whole)
    assert parse(whole) == full


@pytest.mark.parametrize(
    "name",
    (
        *("", "a//b", "user//x", "user/joe//x", "user/joe/x/", "user/jo%e/x", "user/joe/*"),
        *("shared//x", "shared/INBOX", "shared/inbox/x", "shared/a\x00"),
    ),
)
def test_what_can_be_no_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        parse(name)


def test_a_new_name_may_end_in_a_separator() -> None:
    assert parse("a/", new=True).inner == "a"
    assert parse("user/joe/a/", new=True).inner == "a"
    assert parse("user/joe/", new=True) == parse("user/joe")
    assert parse("shared/a/", new=True).inner == "a"
    with pytest.raises(Invalid):
        parse("shared/a//", new=True)


def test_limits_hold_for_the_name_within_the_account() -> None:
    deep = "/".join("x" * 32)
    assert parse("user/joe/" + deep).inner == deep
    assert parse("shared/" + "x" * 1000).inner == "x" * 1000
    with pytest.raises(LimitReached):
        parse("shared/" + "x" * 1001)
    with pytest.raises(LimitReached):
        parse("user/joe/x/" + deep)


def test_names_are_put_together() -> None:
    assert join(Space.OTHERS, "joe@x.org", "a/b") == "user/joe@x.org/a/b"
    assert join(Space.SHARED, "whatever", "a") == "shared/a"
    assert join(Space.PERSONAL, "joe", "a") == "a"


def test_nobody_calls_his_own_mailbox_like_another_namespace() -> None:
    check_personal("users/joe")
    check_personal("a/shared")
    for name in ("user", "user/joe", "shared", "shared/x"):
        with pytest.raises(Invalid):
            check_personal(name)
