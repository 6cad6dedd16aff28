"""From passwords to keys."""

import base64

import pytest

from mstore.accounts.keys import Keys
from mstore.auth.keying import SCRAM_HASHES, Keeping, Keymaker, make_keys, make_scram_keys
from mstore.auth.prepare import check_new_password, is_possible, prepare
from mstore.base.errors import Invalid, LimitReached
from mstore.base.options import Settings

OFF = {"cram-md5": False, "digest-md5": False, "apop": False}


def test_keys_are_those_of_the_published_exchanges() -> None:
    """From RFC 5802 §5 and RFC 7677 §3: the signature that the server sends is made by the server key."""
    import hmac

    cases = (
        (
            "SHA-1", "QSXCR+Q6sek8bf92", "n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j", "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (
            "SHA-256", "W22ZaJ0SNY7soEsUEjb6gQ==", "n=user,r=rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    )  # fmt: skip
    for name, salt, *messages, signature in cases:
        keys = make_scram_keys(b"pencil", name, 4096, base64.b64decode(salt))
        made = hmac.digest(keys.server_key, ",".join(messages).encode(), name.replace("-", "").lower())
        assert base64.b64encode(made).decode() == signature
        assert keys.iterations == 4096 and keys.salt == base64.b64decode(salt)


def test_what_no_mechanism_needs_is_not_kept() -> None:
    every = {f"scram-{name.lower()}": True for name in SCRAM_HASHES}
    keys = make_keys(b"secret", Settings(scram_iterations=4096, sasl_enable=every))
    assert keys.secret == b"secret" and set(keys.scram) == {"SHA-1", "SHA-256", "SHA-512"}
    assert {made.iterations for made in keys.scram.values()} == {4096}
    assert len({made.salt for made in keys.scram.values()}) == 3
    some = {**OFF, "scram-sha-1-plus": True}
    keys = make_keys(b"secret", Settings(scram_iterations=4096, sasl_enable=some))
    assert keys.secret is None and set(keys.scram) == {"SHA-1", "SHA-256"}
    for name in OFF:
        assert Keeping.of(Settings(sasl_enable={**OFF, name: True})).secret
    assert Keeping.of(Settings()).scram == {"SHA-256": 50_000}
    assert Keeping.of(Settings(sasl_enable=every)).scram == dict.fromkeys(SCRAM_HASHES, 50_000)


def test_keys_that_lack_something_are_not_current() -> None:
    maker = Keymaker(Keeping(scram={"SHA-256": 4096}, secret=True))
    keys = maker.make(b"secret")
    assert maker.is_current(keys, b"secret")
    assert not maker.is_current(Keys(keys.verifier, keys.scram), b"secret")
    assert not maker.is_current(Keys(keys.verifier, {}, b"secret"), b"secret")
    assert not Keymaker(Keeping(scram={"SHA-256": 5000}, secret=True)).is_current(keys, b"secret")
    assert not Keymaker(Keeping(scram={"SHA-256": 4096})).is_current(keys, b"secret")
    assert Keymaker(Keeping(secret=True)).is_current(keys, b"secret")


def test_two_spellings_are_one_password() -> None:
    assert prepare("e\u0301t\u00e9\u00a0x".encode()) == "\u00e9t\u00e9 x".encode()
    assert prepare("so\u00adft".encode()) == b"soft"
    maker = Keymaker(Keeping(scram={"SHA-1": 4096}))
    keys = maker.make("e\u0301t\u00e9".encode())
    assert maker.verify("\u00e9te\u0301".encode(), keys.verifier)
    scram = keys.scram["SHA-1"]
    assert make_scram_keys("\u00e9t\u00e9".encode(), "SHA-1", 4096, scram.salt) == scram


def test_what_cannot_be_prepared_is_taken_as_it_is() -> None:
    for password in ("\U0001f600".encode(), b"\xff\xfe", "\u06271".encode(), "\u00ad".encode(), b"a\x07"):
        assert prepare(password) == password
        maker = Keymaker()
        assert maker.verify(password, maker.make(password).verifier)


def test_a_verifier_from_elsewhere_may_be_of_what_was_typed() -> None:
    maker = Keymaker()
    typed = "\ufb01sh".encode()
    assert prepare(typed) == b"fish"
    assert maker.verify(typed, maker.scheme.hash(typed))
    assert not maker.verify(b"fish", maker.scheme.hash(typed))


def test_the_rules_for_new_passwords() -> None:
    for good in (b"x", b"x" * 1024, "\u00e9\U0001f600 ".encode()):
        check_new_password(good)
        assert is_possible(good)
    with pytest.raises(LimitReached):
        check_new_password(b"x" * 1025)
    for bad in (b"", b"a\0b", b"a\tb", b"a\x7f", b"\xff", "\x80".encode()):
        with pytest.raises(Invalid):
            check_new_password(bad)
    for impossible in (b"", b"a\0b", b"x" * 1025):
        assert not is_possible(impossible)
