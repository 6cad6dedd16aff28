"""Mechanisms that carry the password: PLAIN and LOGIN."""

import pytest

from mstore.auth.judge import Grant
from mstore.auth.sasl.mechanism import Failed
from tests.kit.exchanging import Site


def code_of(found: object) -> str:
    assert isinstance(found, Failed), found
    return found.code


def test_plain_takes_all_from_the_initial_response(site: Site) -> None:
    assert site.carry_on("PLAIN", initial=b"\0joe\0secret") == (Grant("joe", "joe"), [])


def test_plain_without_initial_response_asks_with_an_empty_challenge(site: Site) -> None:
    assert site.carry_on("PLAIN", b"\0Joe@Example.org\0secret") == (Grant("joe", "joe"), [b""])


def test_plain_tells_a_wrong_password_and_a_wrong_name_alike(site: Site) -> None:
    wrong = (b"\0joe\0x", b"\0nobody\0secret", b"\0joe\0\xff")
    failures = [site.carry_on("PLAIN", initial=message)[0] for message in wrong]
    assert {(code_of(failure), str(failure)) for failure in failures} == {
        ("AUTHENTICATIONFAILED", "login or password is wrong")
    }


def test_a_password_may_be_of_any_bytes(site: Site) -> None:
    site.authority.passwords[b"joe"] = b"gr\xfc\xdfe \x01"
    assert site.carry_on("PLAIN", initial=b"\0joe\0gr\xfc\xdfe \x01")[0] == Grant("joe", "joe")


@pytest.mark.parametrize("response", [b"", b"joe", b"joe\0x", b"\0\0x", b"\0joe\0", b"a\0b\0c\0d", b"\0j\xff\0x", b"\0joe\0" + b"x" * 1025, b"\0" + b"j" * 1025 + b"\0x"])  # fmt: skip  # noqa: E501
def test_malformed_plain_is_judged_by_nobody(site: Site, response: bytes) -> None:
    assert code_of(site.carry_on("PLAIN", initial=response)[0]) == "MALFORMED"
    assert site.gate.asked == site.gate.noted == []


def test_an_administrator_may_act_as_anybody_and_others_as_themselves(site: Site) -> None:
    assert site.carry_on("PLAIN", initial=b"ann\0root\0secret")[0] == Grant("ann", "root")
    assert site.carry_on("PLAIN", initial=b"JOE@example.org\0joe\0secret")[0] == Grant("joe", "joe")
    for authzid in (b"ann", b"nobody", b"root"):
        found = site.carry_on("PLAIN", initial=authzid + b"\0joe\0secret")[0]
        assert code_of(found) == "AUTHORIZATIONFAILED"
    assert code_of(site.carry_on("PLAIN", initial=b"nobody\0root\0secret")[0]) == "AUTHORIZATIONFAILED"
    assert code_of(site.carry_on("PLAIN", initial=b"ann\0root\0wrong")[0]) == "AUTHENTICATIONFAILED"


def test_who_is_disabled_neither_logs_in_nor_is_acted_as(site: Site) -> None:
    record = site.accounts.find("ann")
    assert record is not None
    site.accounts.set_enabled(record, False)
    assert code_of(site.carry_on("PLAIN", initial=b"\0ann\0secret")[0]) == "AUTHENTICATIONFAILED"
    assert code_of(site.carry_on("PLAIN", initial=b"ann\0root\0secret")[0]) == "AUTHORIZATIONFAILED"


def test_login_asks_for_name_and_password(site: Site) -> None:
    found = site.carry_on("LOGIN", b"joe", b"secret")
    assert found == (Grant("joe", "joe"), [b"Username:", b"Password:"])
    assert site.carry_on("LOGIN", b"secret", initial=b"joe") == (Grant("joe", "joe"), [b"Password:"])
    assert code_of(site.carry_on("LOGIN", b"joe", b"wrong")[0]) == "AUTHENTICATIONFAILED"


@pytest.mark.parametrize("response", [b"", b"a\0b", b"x" * 1025])
def test_malformed_login_is_refused_at_both_steps(site: Site, response: bytes) -> None:
    assert code_of(site.carry_on("LOGIN", response)[0]) == "MALFORMED"
    assert code_of(site.carry_on("LOGIN", b"joe", response)[0]) == "MALFORMED"
    assert code_of(site.carry_on("LOGIN", b"\xff")[0]) == "MALFORMED"


def test_the_gate_is_asked_with_peer_and_name(site: Site) -> None:
    site.carry_on("PLAIN", initial=b"\0joe\0secret")
    site.carry_on("PLAIN", initial=b"\0joe\0wrong")
    assert site.gate.asked == [("192.0.2.1", "joe")] * 2
    assert site.gate.noted == [("192.0.2.1", "joe", True), ("192.0.2.1", "joe", False)]
