"""Mechanisms in which others vouch: EXTERNAL, OAUTHBEARER, XOAUTH2; and ANONYMOUS, where nobody does."""

import json
from typing import Any

import pytest

from mstore.auth.introspection import TokenRefused
from mstore.auth.judge import Grant
from mstore.auth.sasl.mechanism import Failed
from mstore.base.errors import Unavailable
from tests.kit.exchanging import Site
from tests.kit.loglines import logged


def code_of(found: object) -> str:
    assert isinstance(found, Failed), found
    return found.code


# EXTERNAL


def external(site: Site, authzid: bytes = b"", **facts: Any) -> Grant | Failed:
    return site.carry_on("EXTERNAL", initial=authzid, tls=True, **facts)[0]


def test_a_certificate_is_the_account_of_its_address_or_its_name(site: Site) -> None:
    assert external(site, emails=("joe@example.org",), common_name="ann") == Grant("joe", "joe")
    assert external(site, emails=("x@example.net",), common_name="ann") == Grant("ann", "ann")
    assert external(site, common_name="ann") == Grant("ann", "ann")
    assert site.carry_on("EXTERNAL", b"", tls=True, common_name="ann") == (Grant("ann", "ann"), [b""])


def test_of_several_accounts_of_a_certificate_the_client_may_choose(site: Site) -> None:
    emails = ("joe@example.org", "ann@example.org")
    assert external(site, b"ann", emails=emails) == Grant("ann", "ann")
    assert code_of(external(site, b"root", emails=emails)) == "AUTHORIZATIONFAILED"
    assert external(site, b"ann", common_name="root") == Grant("ann", "root")


def test_a_certificate_that_is_nobodys(site: Site) -> None:
    assert code_of(external(site, emails=("x@example.net",))) == "AUTHENTICATIONFAILED"
    assert code_of(external(site)) == "AUTHENTICATIONFAILED"
    found, _ = site.carry_on("EXTERNAL", initial=b"", common_name="joe")
    assert code_of(found) == "AUTHENTICATIONFAILED", "not without TLS"


# ANONYMOUS


def test_anybody_may_be_nobody(site: Site) -> None:
    with logged() as lines:
        assert site.carry_on("ANONYMOUS", initial=b"sirhc") == (Grant(None, "anonymous"), [])
    assert lines == [("info", {"event": "anonymous", "peer": "192.0.2.1", "trace": "sirhc"})]
    for trace in (b"x" * 256, b"a\nb", b"\xff"):
        assert code_of(site.carry_on("ANONYMOUS", initial=trace)[0]) == "MALFORMED"


# access tokens


class Tokens:
    """Knows one token of joe's and one of root's."""

    scope: str | None = "mail"
    configuration_url: str | None = "https://login.example.org/.well-known/openid-configuration"

    def verify(self, token: str) -> str:
        if token == "broken":
            raise Unavailable("nobody answers")
        try:
            return {"dG9r+/~-._==": "joe", "roots": "root", "strangers": "nobody"}[token]
        except KeyError:
            raise TokenRefused("unknown") from None


@pytest.fixture
def tokens(site: Site) -> Site:
    site.authority.site.tokens = Tokens()
    return site


def bearer(site: Site, message: bytes, mechanism: str = "OAUTHBEARER") -> Grant | Failed:
    return site.carry_on(mechanism, initial=message)[0]


@pytest.mark.parametrize(
    "message",
    [
        b"n,a=joe@example.org,\x01host=mail.example.org\x01port=143\x01auth=Bearer dG9r+/~-._==\x01\x01",
        b"n,,\x01auth=bearer dG9r+/~-._==\x01\x01",
        b"n,a=joe=40example.org,\x01auth=Bearer dG9r+/~-._==\x01\x01".replace(b"=40", b"@"),
    ],
)
def test_oauthbearer(tokens: Site, message: bytes) -> None:
    assert bearer(tokens, message) == Grant("joe", "joe")


def test_xoauth2(tokens: Site) -> None:
    message = b"user=joe@example.org\x01auth=Bearer dG9r+/~-._==\x01\x01"
    assert bearer(tokens, message, "XOAUTH2") == Grant("joe", "joe")


def test_a_token_lets_act_as_its_owner_may(tokens: Site) -> None:
    assert bearer(tokens, b"n,a=ann,\x01auth=Bearer roots\x01\x01") == Grant("ann", "root")
    found = bearer(tokens, b"n,a=ann,\x01auth=Bearer dG9r+/~-._==\x01\x01")
    assert code_of(found) == "AUTHORIZATIONFAILED"
    found = bearer(tokens, b"user=ann\x01auth=Bearer dG9r+/~-._==\x01\x01", "XOAUTH2")
    assert code_of(found) == "AUTHORIZATIONFAILED"
    assert code_of(bearer(tokens, b"n,,\x01auth=Bearer strangers\x01\x01")) == "AUTHENTICATIONFAILED"


@pytest.mark.parametrize(
    "auth", [b"Bearer wrong", b"Bearer", b"", b"Basic am9lOng=", b"Bearer a b", b"Bearer \xff"]
)
def test_what_is_wrong_with_a_token_is_told_as_json(tokens: Site, auth: bytes) -> None:
    found = bearer(tokens, b"n,a=joe,\x01auth=" + auth + b"\x01\x01")
    assert isinstance(found, Failed) and found.code == "AUTHENTICATIONFAILED" and found.data is not None
    assert json.loads(found.data) == {
        "status": "invalid_token",
        "scope": "mail",
        "openid-configuration": "https://login.example.org/.well-known/openid-configuration",
    }
    found = bearer(tokens, b"user=joe\x01auth=" + auth + b"\x01\x01", "XOAUTH2")
    assert isinstance(found, Failed) and found.data is not None
    assert json.loads(found.data) == {"status": "401", "schemes": "bearer", "scope": "mail"}
    assert tokens.gate.noted == [("192.0.2.1", "joe", False)] * 2


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,",
        b"n,,\x01\x01auth=Bearer x\x01\x01",
        b"y,,\x01auth=Bearer x\x01\x01",
        b"p=tls-exporter,,\x01auth=Bearer x\x01\x01",
        b"n,,\x01auth=Bearer x\x01",
        b"n,,\x01auth=Bearer x\x01auth=Bearer x\x01\x01",
        b"n,a=\xff,\x01auth=Bearer x\x01\x01",
        b"user=joe\x01auth=Bearer x\x01\x01",
    ],
)
def test_messages_that_are_none(tokens: Site, message: bytes) -> None:
    assert code_of(bearer(tokens, message)) == "MALFORMED"


def test_tokens_that_cannot_be_judged_just_now(tokens: Site) -> None:
    assert code_of(bearer(tokens, b"n,,\x01auth=Bearer broken\x01\x01")) == "UNAVAILABLE"
    assert tokens.gate.noted == []
    tokens.authority.site.tokens = None
    assert code_of(bearer(tokens, b"n,,\x01auth=Bearer x\x01\x01")) == "UNAVAILABLE"
