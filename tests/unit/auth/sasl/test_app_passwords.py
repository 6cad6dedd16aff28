"""App passwords with mechanisms that do not send a password."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import pytest
import scramp

from mstore.accounts.apppasswords import AppKeys, AppPassword
from mstore.auth.apppassword import are_current, make_app_keys
from mstore.auth.judge import Grant
from mstore.auth.keying import Keeping, Keymaker
from mstore.auth.sasl.mechanism import Failed
from tests.kit.exchanging import Site

SHOWN = b"k7mv-2xqp-abcd-efgh"
LETTERS = SHOWN.replace(b"-", b"")
KEEPING = Keeping(scram={"SHA-256": 4096}, secret=True)


@pytest.fixture(autouse=True)
def apps(site: Site) -> None:
    """joe has two app passwords: one for all services, one for POP3 alone."""
    record = site.accounts.find("joe")
    assert record is not None
    own = site.authority.keys(record.id)
    made = []
    for label, letters, services in (("phone", LETTERS, ()), ("poller", LETTERS[::-1], ("pop3",))):
        made.append(AppPassword(label, b"", services, 0, None, make_app_keys(letters, KEEPING, own)))
    site.authority.app_passwords[record.id] = made


def cram(password: bytes) -> Callable[[bytes], bytes]:
    return lambda challenge: b"joe " + hmac.new(password, challenge, "md5").hexdigest().encode()


def scram(site: Site, password: bytes, **facts: str) -> object:
    client = scramp.ScramClient(["SCRAM-SHA-256"], "joe", password.decode())

    def answer(challenge: bytes) -> bytes:
        client.set_server_first(challenge.decode())
        return client.get_client_final().encode()

    first = client.get_client_first().encode()
    found, challenges = site.carry_on("SCRAM-SHA-256", answer, initial=first, **facts)
    if isinstance(found, Grant):
        client.set_server_final(challenges[-1].decode())  # It has proved to know the password as well.
    return found


@pytest.mark.parametrize("password", [SHOWN, LETTERS, b"secret"])
def test_those_that_compare_digests_know_them_with_hyphens_and_without(site: Site, password: bytes) -> None:
    assert site.carry_on("CRAM-MD5", cram(password))[0] == Grant("joe", "joe")
    message = b"<a@b>\0joe\0" + hashlib.md5(b"<a@b>" + password).hexdigest().encode()
    assert site.carry_on("APOP", initial=message, service="pop3")[0] == Grant("joe", "joe")
    assert site.authority.used == (["phone"] * 2 if password != b"secret" else [])


@pytest.mark.parametrize("password", [SHOWN, b"secret"])
def test_scram_knows_them_as_they_are_shown(site: Site, password: bytes) -> None:
    assert scram(site, password) == Grant("joe", "joe")
    assert site.authority.used == (["phone"] if password == SHOWN else [])


def test_one_for_another_service_is_refused(site: Site) -> None:
    limited = make_app_keys(LETTERS[::-1], KEEPING, None).secret
    assert limited is not None
    for refused in (site.carry_on("CRAM-MD5", cram(limited))[0], scram(site, limited)):
        assert isinstance(refused, Failed) and refused.code == "AUTHENTICATIONFAILED"
    assert site.carry_on("CRAM-MD5", cram(limited), service="pop3")[0] == Grant("joe", "joe")
    assert scram(site, limited, service="pop3") == Grant("joe", "joe")


def test_wrong_ones_are_refused_and_cost_as_much_as_one(site: Site) -> None:
    for refused in (site.carry_on("CRAM-MD5", cram(b"wrong"))[0], scram(site, b"wrong")):
        assert isinstance(refused, Failed) and refused.code == "AUTHENTICATIONFAILED"
    assert [ok for _, _, ok in site.gate.noted] == [False, False]
    assert site.authority.used == []


def test_keys_go_by_salt_and_iterations_of_the_accounts_own() -> None:
    maker = Keymaker(KEEPING)
    own = maker.make(b"secret")
    keys = make_app_keys(LETTERS, KEEPING, own)
    assert (keys.scram["SHA-256"].salt, keys.secret) == (own.scram["SHA-256"].salt, SHOWN)
    assert are_current(keys, KEEPING, own)
    changed = maker.make(b"changed", own)
    assert changed.scram["SHA-256"].stored_key != own.scram["SHA-256"].stored_key
    assert are_current(keys, KEEPING, changed), "a new password leaves app passwords as good as they were"
    more = Keymaker(Keeping(scram={"SHA-256": 5000}, secret=True)).make(b"secret", own)
    assert not are_current(keys, KEEPING, more)
    assert not are_current(keys, Keeping(scram={"SHA-256": 4096}), own)
    assert not are_current(AppKeys(), KEEPING, own)
    assert make_app_keys(LETTERS, Keeping(), own) == AppKeys()
