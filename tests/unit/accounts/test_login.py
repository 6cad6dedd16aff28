import pytest

from mstore.accounts.login import LoginRules, check_account_name, fold
from mstore.base.errors import Invalid, LimitReached


def test_names_are_compared_without_case_and_composed() -> None:
    assert fold("JOE@Example.COM") == "joe@example.com"
    assert fold("Ju\u0308rgen") == fold("J\u00dcRGEN") == "j\u00fcrgen"
    assert fold("STRASSE") == fold("straße")


def test_without_rules_the_domain_counts() -> None:
    rules = LoginRules.of(None, False)
    assert rules.key("joe@a.example") == "joe@a.example"
    assert rules.key("joe") == "joe"


def test_the_default_domain_is_left_out() -> None:
    rules = LoginRules.of("Example.COM", False)
    assert rules.key("Joe@example.com") == "joe"
    assert rules.key("joe@other.example") == "joe@other.example"
    assert rules.keys("joe") == ["joe", "joe@example.com"]
    assert rules.keys("joe@example.com") == ["joe", "joe@example.com"]


def test_with_a_single_domain_every_domain_is() -> None:
    rules = LoginRules.of(None, True)
    assert rules.key("joe@any.example") == "joe"
    assert rules.key("joe") == "joe"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a%", "a*", "@x", "a@", "a@b@c", "-a", ".a", "$a", "a+b", "a..b", "a.", "a.@b", "a\n", "a\0", 'a"', "\ud800", "a\u200bb"])  # fmt: skip  # noqa: E501
def test_what_can_be_no_account_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        check_account_name(name)


def test_names_have_a_limit() -> None:
    check_account_name("ü" * 127)
    with pytest.raises(LimitReached):
        check_account_name("ü" * 128)


@pytest.mark.parametrize("name", ["joe", "joe@example.com", "jöe", "j.o-e_1", "user@bücher.example"])
def test_usual_names_are_names(name: str) -> None:
    check_account_name(name)
