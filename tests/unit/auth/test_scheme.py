"""Verifiers of all schemes: made here, and made elsewhere."""

import pytest

from mstore.accounts.verifier import how_made
from mstore.auth import crypt
from mstore.auth.scheme import _BY_CRYPT, ARGON2ID, Scheme, _Crypt
from mstore.base.errors import Invalid
from mstore.base.loginoptions import SCHEMES

WORD = b"Hello world!"
ELSEWHERE = {
    "openssl passwd -6": "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLi"
    "BFdcbYEdFCoEOfaS35inz1",
    "openssl passwd -5": "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
    "openssl passwd -1": "$1$saltstri$YMyguxXMBpd2TEZ.vS/3q1",
    "perl, Digest::SHA": "{SSHA}0MMC3EHhgcxfdHGpFzhd3gvYDe5zYWx6",
    "perl, Digest::SHA 512": "{SSHA512}0mqnnEmmRIyPlDOgSwxSaOm8zlTHgXDCPzEPJHtU1UPLnBNDImDqD7XbY+3jdodKT+"
    "uTSTZUeTxznb2Dsd5kmHNhbHo=",
    "bcrypt": "$2b$05$abcdefghijklmnopqrstuu7nFISH/8YdwlXD3lw69A4iBUf6fvWAW",
    "yescrypt": "$y$j75$abcdefghijklmnopqrstu.$qLgwbek6p1dxwznGdWTDFWYKrR3hhRvPKG13haoB.62",
    "$7$": "$7$7U..../....abcdefghi$WVR/OGeg8wtzE6egqxvPiHo9Zv8Vah4VPY5g8Cu/CL5",
    "PBKDF2": "$pbkdf2-sha512$1000$c2FsdHNhbHQ$aYuru5.hvSv9KXGrVo5Op8TNHwMKJddzixJEY6cmmVsWqRBMRdWuFO"
    "lNDqZrfwCNgZOqA0Sa0XWe4fjL5UwmsQ",
    "scrypt": "$scrypt$ln=10,r=8,p=1$c2FsdHNhbHQ$ARmY+U2grjVdm0UKnkQkr1qBtl/nObTOqbEevOPx3R0",
    "argon2": "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$u+r/IeD+QxQbpyYvP2S9ucJkL/wT9lB4UImOwhQ21hE",
}  # fmt: skip


@pytest.fixture(scope="module")
def scheme() -> Scheme:
    return Scheme()


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least that each scheme can cost."""
    monkeypatch.setattr("mstore.auth.scheme.PBKDF2_ROUNDS", 1000)
    monkeypatch.setattr("mstore.auth.scheme.SCRYPT_LOG_N", 10)
    monkeypatch.setattr("mstore.auth.scheme.BCRYPT_COST", 5)
    monkeypatch.setattr("mstore.auth.scheme.SHA512_ROUNDS", 5000)
    monkeypatch.setitem(_BY_CRYPT, "bcrypt", _Crypt("$2b$", 5, 72))
    monkeypatch.setitem(_BY_CRYPT, "sha512-crypt", _Crypt("$6$", 5000, 511))


@pytest.mark.parametrize("name", SCHEMES)
def test_what_a_scheme_makes_it_verifies(name: str, cheap: None) -> None:
    scheme = Scheme(name)
    scheme.check()
    verifier, again = scheme.hash(b"pass word"), scheme.hash(b"pass word")
    assert verifier != again
    made = how_made(verifier)
    assert made is not None and made.scheme == name
    assert scheme.verify(b"pass word", verifier) and scheme.verify(b"pass word", again)
    assert not scheme.verify(b"pass worD", verifier)
    assert scheme.is_current(verifier, b"pass word")
    assert scheme.read(verifier) == verifier
    assert Scheme().verify(b"pass word", verifier)


@pytest.mark.parametrize("name", SCHEMES)
def test_long_passwords_count_to_their_last_byte(name: str, cheap: None) -> None:
    scheme = Scheme(name)
    for length in (72, 73, 511, 512, 1024):
        password = b"x" * length
        verifier = scheme.hash(password)
        assert scheme.verify(password, verifier)
        assert not scheme.verify(password[:-1] + b"y", verifier)
        assert not scheme.verify(password[:-1], verifier)
        assert scheme.is_current(verifier, password)
    assert scheme.scheme_for(b"x" * 1024) in (name, ARGON2ID)


@pytest.mark.parametrize("origin", ELSEWHERE)
def test_verifiers_from_elsewhere(origin: str, scheme: Scheme) -> None:
    verifier = scheme.read(f"  {ELSEWHERE[origin]}\n")
    assert verifier == ELSEWHERE[origin]
    assert scheme.verify(WORD, verifier)
    for wrong in (b"Hello world", b"Hello world! ", b"", WORD + b"\0", b"\xff"):
        assert not scheme.verify(wrong, verifier)
    assert not scheme.is_current(verifier, WORD)


def test_words_that_say_no_more_than_the_verifier_are_left_out(scheme: Scheme) -> None:
    sha512, bcrypt = ELSEWHERE["openssl passwd -6"], ELSEWHERE["bcrypt"]
    assert scheme.read("{CRYPT}" + sha512) == scheme.read("{sha512-crypt}" + sha512) == sha512
    assert scheme.read("{BLF-CRYPT}" + bcrypt) == bcrypt
    assert scheme.read("{ssha}" + ELSEWHERE["perl, Digest::SHA"][6:]) == ELSEWHERE["perl, Digest::SHA"]


@pytest.mark.parametrize(
    "text",
    [
        "", "secret", "!", "*", "{PLAIN}secret", "{SSHA}", "{SSHA}c2hvcnQ=", "{SHA}" + "A" * 40,
        "$6$salt$short", "$2b$03$" + "x" * 53, "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ", "$9$" + "x" * 40,
        "$argon2id$v=19$m=9999999,t=2,p=1$c2FsdHNhbHQ$u+r/IeD+QxQbpyYvP2S9ucJkL/wT9lB4UImOwhQ21hE",
        ELSEWHERE["bcrypt"] + "x", ELSEWHERE["bcrypt"] + "\nx", "$6$" + "x" * 5000,
        "$pbkdf2-sha512$99999999$c2FsdHNhbHQ$" + "a" * 86, "$6$rounds=99999999$salt$" + "a" * 86,
        "$2b$18$" + "x" * 53, "$scrypt$ln=63,r=8,p=1$c2FsdHNhbHQ$" + "A" * 43,
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(text: str, scheme: Scheme) -> None:
    with pytest.raises(Invalid, match="the hash"):
        scheme.read(text)
    assert not scheme.verify(b"secret", text)


def test_bcrypt_from_elsewhere_looks_at_72_bytes(scheme: Scheme) -> None:
    verifier = crypt.make(b"x" * 100, "$2b$", 4)
    assert scheme.verify(b"x" * 100, verifier) and scheme.verify(b"x" * 99, verifier)
    assert not scheme.keeps_all_of(verifier, b"x" * 73) and scheme.keeps_all_of(verifier, b"x" * 72)


def test_weaker_settings_are_not_current(cheap: None) -> None:
    weaker = {
        "argon2id": "$argon2id$v=19$m=19455,t=2,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "bcrypt": "$2b$04$" + "x" * 53,
        "scrypt": "$scrypt$ln=9,r=8,p=1$c2FsdHNhbHQ$" + "A" * 43,
        "pbkdf2-sha512": "$pbkdf2-sha512$999$c2FsdHNhbHQ$" + "a" * 86,
        "sha512-crypt": "$6$rounds=4999$salt$" + "a" * 86,
        "yescrypt": "$y$j75$salt$" + "a" * 43,
    }
    for name, verifier in weaker.items():
        assert not Scheme(name).is_current(verifier, b"x"), verifier
        assert not Scheme("argon2id").is_current(verifier, b"x")
    stronger = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$" + "A" * 43
    assert Scheme().is_current(stronger, b"x") and not Scheme("scrypt").is_current(stronger, b"x")


def test_a_system_without_a_scheme_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mstore.auth.crypt._library", lambda: None)
    for name in ("bcrypt", "yescrypt", "sha512-crypt"):
        with pytest.raises(Invalid, match=name):
            Scheme(name).check()
        with pytest.raises(Invalid, match=name):
            Scheme(name).hash(b"x")
    assert not Scheme().verify(WORD, ELSEWHERE["openssl passwd -6"])
    with pytest.raises(Invalid):
        Scheme().read(ELSEWHERE["openssl passwd -6"])
