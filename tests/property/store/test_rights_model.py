"""The rights that lists give, against the plainest reading of RFC 4314 §2."""

from hypothesis import given
from hypothesis import strategies as st

from mstore.base.ids import AccountId
from mstore.store.acl import Acl, Who, effective, parse_acl
from mstore.store.rights import ALL, format_rights, parse_rights

JOE, ANN, JIM = (AccountId(digit * 16) for digit in "123")
TEAM, CREW = "a" * 16, "b" * 16
POSITIVE = ["anyone", "anonymous", f"user:{JOE}", f"user:{ANN}", f"group:{TEAM}", f"group:{CREW}"]
RIGHTS = st.sets(st.sampled_from(sorted(ALL))).map(frozenset)
LISTS = st.dictionaries(st.sampled_from([*POSITIVE, *("-" + name for name in POSITIVE)]), RIGHTS)
OWNERS = st.sampled_from([JOE, ANN, None])
PEOPLE = st.builds(
    Who,
    st.sampled_from([JOE, ANN, JIM, None]),
    st.sets(st.sampled_from([TEAM, CREW])).map(frozenset),
    st.booleans(),
)


def model(entries: dict[str, frozenset[str]], who: Who, owner: AccountId | None) -> set[str]:
    found = set()
    me = "anonymous" if who.account_id is None else f"user:{who.account_id}"
    mine = ["anyone", me, *(f"group:{group}" for group in who.groups)]
    is_owner = owner is not None and who.account_id == owner
    for right in ALL:
        given_ = any(right in entries.get(name, ()) for name in mine)
        if is_owner and me not in entries:
            given_ = True
        against = ["-" + me] if is_owner else ["-" + name for name in mine]
        if given_ and not any(right in entries.get(name, ()) for name in against):
            found.add(right)
        if is_owner and right in "la":
            found.add(right)
        if who.is_administrator and right in "lakx":
            found.add(right)
        if who.account_id is None and right == "s":
            found.discard(right)
    return found


@given(LISTS, PEOPLE, OWNERS)
def test_rights_are_those_of_the_model(
    entries: dict[str, frozenset[str]], who: Who, owner: AccountId | None
) -> None:
    assert effective(Acl(entries), who, owner) == model(entries, who, owner)


@given(LISTS)
def test_lists_read_as_they_were_written(entries: dict[str, frozenset[str]]) -> None:
    assert dict(parse_acl(Acl(entries).encoded)) == entries


@given(LISTS, PEOPLE, OWNERS, st.sampled_from(POSITIVE), RIGHTS)
def test_more_rights_never_take_any_away(
    entries: dict[str, frozenset[str]], who: Who, owner: AccountId | None, name: str, rights: frozenset[str]
) -> None:
    before = Acl(entries)
    if owner is not None and name == f"user:{owner}" and name not in entries:
        rights = ALL  # An owner's first entry says less than none.
    after = before.put(name, (before.get(name) or frozenset()) | rights)
    assert effective(after, who, owner) >= effective(before, who, owner)


@given(RIGHTS)
def test_rights_read_as_they_are_shown_up_to_the_rest_of_c_and_d(rights: frozenset[str]) -> None:
    again = parse_rights(format_rights(rights))
    assert again >= rights
    assert again - rights <= frozenset("kxte")
    assert parse_rights("".join(rights)) == rights
