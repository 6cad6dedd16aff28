import pytest

from mstore.base.errors import Invalid, LimitReached
from mstore.store import names


@pytest.mark.parametrize("spelling", ["inbox", "INBOX", "InBoX"])
def test_inbox_is_one_name_in_any_case(spelling: str) -> None:
    assert names.normalize(spelling) == "INBOX"


def test_inbox_is_folded_as_first_component_only() -> None:
    assert names.normalize("inbox/inbox") == "INBOX/inbox"
    assert names.normalize("inboxes") == "inboxes"
    assert names.normalize("a/inbox") == "a/inbox"


def test_names_are_composed() -> None:
    assert names.normalize("u\u0308ber") == "\u00fcber"


BAD = ["", "/", "/a", "a/", "a//b", "a%", "*", "a\0b", "a\r\nb", "a\x7fb", "a\x85b"]


@pytest.mark.parametrize("name", [*BAD, "\ud800", "a\u2028b", "\uffff"])
def test_what_can_be_no_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        names.normalize(name)


@pytest.mark.parametrize("name", ["a b", "日本語", "&-x", "a.b\\c\"d'", "\u200dx", "~", "..", "x" * 1000])
def test_unusual_names_are_names(name: str) -> None:
    assert names.normalize(name) == name


def test_length_counts_in_bytes() -> None:
    names.normalize("ü" * 500)
    with pytest.raises(LimitReached):
        names.normalize("ü" * 501)
    with pytest.raises(LimitReached):
        names.normalize("x" * 1001)


def test_depth_is_limited() -> None:
    names.normalize("/".join("a" * 32))
    with pytest.raises(LimitReached):
        names.normalize("/".join("a" * 33))


def test_trailing_separator_only_announces_children() -> None:
    assert names.normalize_new("a/b/") == "a/b"
    with pytest.raises(Invalid):
        names.normalize_new("a//")
    with pytest.raises(Invalid):
        names.normalize_new("/")


def test_superiors_and_inferiors() -> None:
    assert names.superiors("a/b/c") == ["a", "a/b"]
    assert names.superiors("a") == []
    assert names.parent("a/b/c") == "a/b"
    assert names.parent("a") is None
    assert names.is_inferior("a/b", "a")
    assert not names.is_inferior("ab", "a")
    assert not names.is_inferior("a", "a")


def test_listing_has_inbox_first_and_children_behind_their_parent() -> None:
    found = names.sorted_names(["a b", "a/b", "Z", "a", "INBOX/x", "INBOX", "A"])
    assert found == ["INBOX", "INBOX/x", "A", "Z", "a", "a/b", "a b"]
