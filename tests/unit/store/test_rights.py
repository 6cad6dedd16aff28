import pytest

from mstore.base.errors import Invalid
from mstore.base.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, TOMBSTONE
from mstore.store.rights import (
    ADMINISTRATOR,
    ALL,
    NONE,
    OWNER_ALWAYS,
    flag_mask,
    format_choice,
    format_rights,
    is_read_only,
    modify,
    pack_rights,
    parse_rights,
    unpack_rights,
)

KEYWORD = 1 << 8


@pytest.mark.parametrize(
    ("text", "rights"),
    [
        ("", ""),
        ("lrs", "lrs"),
        ("lrswida", "lrswitea"),  # the RFC's example: d is e and t
        ("lrswikda", "lrswiktea"),
        ("cda", "kxtea"),
        ("ddtt", "te"),
        ("lrswipkxteacd", "lrswipkxtea"),
    ],
)
def test_rights_are_read_with_those_of_rfc_2086(text: str, rights: str) -> None:
    assert parse_rights(text) == frozenset(rights)


@pytest.mark.parametrize("text", ["q", "lrQs", "l r", "0", "é", "+l", "l-"])
def test_what_is_no_right_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_rights(text)


@pytest.mark.parametrize(
    ("rights", "shown"),
    [("", ""), ("sl", "ls"), ("k", "kc"), ("x", "xc"), ("t", "td"), ("e", "ed"), ("etkx", "kxtecd")],
)
def test_older_clients_are_shown_c_and_d_when_a_part_of_them_is_given(rights: str, shown: str) -> None:
    assert format_rights(frozenset(rights)) == shown
    assert parse_rights(shown) >= frozenset(rights)


def test_listrights_lists_no_right_twice() -> None:
    assert format_choice(NONE) == ("", tuple("lrswipkxteacd"))
    assert format_choice(OWNER_ALWAYS) == ("la", tuple("rswipkxtecd"))
    assert format_choice(ADMINISTRATOR) == ("lkxac", tuple("rswipted"))
    assert format_choice(NONE, frozenset("s")) == ("", tuple("lrwipkxteacd"))
    for always in (NONE, OWNER_ALWAYS, ADMINISTRATOR, frozenset("t")):
        given, possible = format_choice(always)
        letters = given + "".join(possible)
        assert sorted(letters) == sorted("lrswipkxteacd")


def test_rights_are_added_taken_away_and_replaced() -> None:
    old = frozenset("lrs")
    assert modify(old, "+", frozenset("sw")) == frozenset("lrsw")
    assert modify(old, "-", frozenset("sw")) == frozenset("lr")
    assert modify(old, "=", frozenset("sw")) == frozenset("sw")
    with pytest.raises(Invalid):
        modify(old, "*", NONE)


def test_each_right_has_its_bit() -> None:
    assert len({pack_rights(frozenset(right)) for right in ALL}) == len(ALL)
    for right in ALL:
        assert unpack_rights(pack_rights(frozenset(right))) == {right}
    assert unpack_rights(pack_rights(ALL) | 1 << 15) == ALL


def test_flags_follow_their_rights() -> None:
    others = ANSWERED | FLAGGED | DRAFT | KEYWORD
    everything = SEEN | DELETED | others
    assert flag_mask(NONE) & everything == 0
    assert flag_mask(frozenset("s")) & everything == SEEN
    assert flag_mask(frozenset("t")) & everything == DELETED
    assert flag_mask(frozenset("w")) & everything == others
    assert flag_mask(ALL) & everything == everything
    assert flag_mask(ALL) & TOMBSTONE == 0


@pytest.mark.parametrize(
    ("rights", "personal", "read_only"),
    [
        ("lrs", False, True),  # \Seen is nobody else's there (RFC 4314 §5.2, example 1)
        ("lrs", True, False),
        ("lr", True, True),
        ("rit", False, False),
        ("re", False, False),
        ("rw", False, False),
        ("lrpkxa", False, True),
    ],
)
def test_who_can_change_nothing_others_see_reads_only(rights: str, personal: bool, read_only: bool) -> None:
    assert is_read_only(frozenset(rights), personal) is read_only
