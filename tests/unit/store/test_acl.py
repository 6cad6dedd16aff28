import pytest

from mstore.base.errors import Corrupt, LimitReached
from mstore.base.ids import AccountId, MailboxId
from mstore.files import cataloglayout as layout
from mstore.store import namestate
from mstore.store.acl import EMPTY, MAX_ENTRIES, Acl, Who, all_grantees, effective, parse_acl
from mstore.store.namestate import MailboxEntry, NameState
from mstore.store.rights import ALL, NONE

JOE, ANN = AccountId("0a" * 8), AccountId("0b" * 8)
TEAM = "0c" * 8


def acl(**entries: str) -> Acl:
    """Entries by short names: ``joe``, ``team``, ``anyone``; ``not_joe`` for a negative one."""
    ids = {"joe": f"user:{JOE}", "ann": f"user:{ANN}", "team": f"group:{TEAM}"}
    found = {}
    for word, rights in entries.items():
        positive = word.removeprefix("not_")
        found[("-" if positive != word else "") + ids.get(positive, positive)] = frozenset(rights)
    return Acl(found)


def rights(entries: Acl, who: Who, owner: AccountId | None = JOE) -> str:
    return "".join(sorted(effective(entries, who, owner)))


def test_what_several_entries_give_is_added_up() -> None:
    entries = acl(anyone="lr", ann="s", team="w", anonymous="i")
    assert rights(entries, Who(ANN, frozenset([TEAM]))) == "lrsw"
    assert rights(entries, Who(ANN)) == "lrs"
    assert rights(entries, Who(None)) == "ilr"


def test_negative_rights_are_taken_away_at_the_end() -> None:
    entries = acl(anyone="lrs", team="wi", not_ann="rw", not_team="s")
    assert rights(entries, Who(ANN, frozenset([TEAM]))) == "il"
    assert rights(entries, Who(AccountId("0d" * 8))) == "lrs"


def test_an_owner_has_all_rights_unless_his_own_entry_says_less() -> None:
    assert effective(EMPTY, Who(JOE), JOE) == ALL
    assert rights(acl(joe="r"), Who(JOE)) == "alr"
    assert rights(acl(joe=""), Who(JOE)) == "al"
    assert effective(acl(not_joe="lax"), Who(JOE), JOE) == ALL - {"x"}
    assert rights(acl(joe="", anyone="w"), Who(JOE)) == "alw"
    everything = "lrswipkxtea"
    assert effective(acl(not_anyone=everything, not_team=everything), Who(JOE, frozenset([TEAM])), JOE) == ALL


def test_somebody_elses_mailbox_gives_nothing_by_itself() -> None:
    assert effective(EMPTY, Who(ANN), JOE) == NONE
    assert effective(EMPTY, Who(ANN), None) == NONE
    assert effective(acl(joe="lr"), Who(ANN), JOE) == NONE


def test_administrators_can_see_share_and_clear_away_and_nothing_else() -> None:
    boss = Who(ANN, is_administrator=True)
    assert rights(EMPTY, boss) == "aklx"
    assert rights(EMPTY, boss, None) == "aklx"
    assert rights(acl(ann="r", not_ann="lakx"), boss) == "aklrx"


def test_nobody_anonymous_has_anything_to_keep_seen_in() -> None:
    assert rights(acl(anyone="lrs", anonymous="s"), Who(None)) == "lr"


def test_a_list_reads_as_it_was_written() -> None:
    entries = acl(anyone="lr", anonymous="l", ann="lrswipkxtea", team="", not_ann="k")
    assert parse_acl(entries.encoded) == entries
    assert dict(parse_acl(entries.encoded)) == dict(entries)
    assert parse_acl(entries.encoded) is parse_acl(bytes(bytearray(entries.encoded)))
    assert not EMPTY
    assert EMPTY.encoded == b""


@pytest.mark.parametrize("change", ["cut", "kind", "negative"])
def test_a_damaged_list_makes_the_catalog_unreadable_and_gives_nothing(change: str) -> None:
    encoded = bytearray(acl(anyone="lr").encoded)
    if change == "cut":
        encoded.pop()
    else:
        encoded[0 if change == "kind" else 1] = 9
    with pytest.raises(IndexError):
        parse_acl(bytes(encoded))
    entry = MailboxEntry("a", MailboxId("1" * 16), 1, attributes=((layout.ATTRIBUTE_ACL, bytes(encoded)),))
    with pytest.raises(Corrupt):
        NameState().apply([namestate.name_set(entry)])


def test_a_list_stays_with_its_name_in_the_catalog() -> None:
    entry = MailboxEntry("a", MailboxId("1" * 16), 1, special_use="\\Sent", acl=acl(ann="lr"))
    state = NameState()
    state.apply([namestate.name_set(entry)])
    assert state.entries["a"] == entry
    again = NameState()
    again.apply(state.records())
    assert again.entries["a"].acl == entry.acl


def test_a_list_has_a_largest_size_that_fits_into_its_attribute() -> None:
    full = Acl({f"user:{number:016x}": ALL for number in range(MAX_ENTRIES)})
    assert parse_acl(full.encoded) == full
    assert len(full.encoded) < 1 << 16
    with pytest.raises(LimitReached):
        full.put("anyone", ALL)
    assert full.put(f"user:{0:016x}", NONE).get(f"user:{0:016x}") == NONE
    with pytest.raises(IndexError):
        parse_acl(full.encoded + acl(anyone="l").encoded)


def test_an_attribute_too_long_for_its_length_is_refused_before_it_is_written() -> None:
    entry = MailboxEntry("a", MailboxId("1" * 16), 1, attributes=((77, b"x" * 65536),))
    with pytest.raises(LimitReached):
        namestate.name_set(entry)


def test_grantees_are_those_who_get_something() -> None:
    assert acl(ann="lr", team="", not_joe="l").grantees() == {f"user:{ANN}"}
    assert all_grantees([acl(ann="lr"), acl(anyone="p"), EMPTY]) == {f"user:{ANN}", "anyone"}
