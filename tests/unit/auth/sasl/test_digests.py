"""Mechanisms that compare digests of the password: CRAM-MD5, DIGEST-MD5, APOP, with the RFCs' examples."""

import hashlib
import hmac
from pathlib import Path

import pytest

from mstore.auth.judge import Grant
from mstore.auth.sasl import crammd5, digestmd5
from mstore.auth.sasl.mechanism import Failed
from tests.kit.exchanging import Site


def code_of(found: object) -> str:
    assert isinstance(found, Failed), found
    return found.code


# CRAM-MD5


def cram(name: bytes, password: bytes) -> object:
    return lambda challenge: name + b" " + hmac.new(password, challenge, "md5").hexdigest().encode()


def test_cram_md5_as_in_rfc_2195(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path, b"tanstaaftanstaaf", ["tim"])
    monkeypatch.setattr(crammd5, "make_stamp", lambda server: b"<1896.697170952@postoffice.reston.mci.net>")
    found = site.carry_on("CRAM-MD5", b"tim b913a602c7eda7a495b4e6e7334d3890")
    assert found == (Grant("tim", "tim"), [b"<1896.697170952@postoffice.reston.mci.net>"])


def test_cram_md5_challenges_anew_and_tells_nothing_of_the_host(site: Site) -> None:
    seen = {site.carry_on("CRAM-MD5", cram(b"joe", b"secret"))[1][0] for _ in range(20)}  # type: ignore[arg-type]
    assert len(seen) == 20
    assert all(challenge.endswith(b"@mail.example.org>") for challenge in seen)


def test_cram_md5_that_is_wrong(site: Site) -> None:
    for name, password in ((b"joe", b"wrong"), (b"nobody", b"secret"), (b"nobody", b"\0"), (b"nobody", b"")):
        found = site.carry_on("CRAM-MD5", cram(name, password))[0]  # type: ignore[arg-type]
        assert code_of(found) == "AUTHENTICATIONFAILED"
    assert len(site.gate.noted) == 4
    for response in (b"", b"joe", b"\xff\xfe 00", b"x" * 2000 + b" 0"):
        assert code_of(site.carry_on("CRAM-MD5", response)[0]) == "MALFORMED"
    assert code_of(site.carry_on("CRAM-MD5", initial=b"joe 0")[0]) == "MALFORMED"


def test_an_account_whose_password_is_not_kept_cannot_use_digests(site: Site) -> None:
    site.authority.site.keys = None
    for password in (b"secret", b"", b"\0"):
        found = site.carry_on("CRAM-MD5", cram(b"joe", password))[0]  # type: ignore[arg-type]
        assert code_of(found) == "AUTHENTICATIONFAILED"


# DIGEST-MD5

CHALLENGE = b'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",charset=utf-8,algorithm=md5-sess'
RESPONSE = (
    b'charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,'
    b'cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",'
    b"response=d388dad90d4bbd760a152321f2143af7,qop=auth"
)


@pytest.fixture
def elwood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(digestmd5.secrets, "token_urlsafe", lambda size: "OA6MG9tEQGm2hh")
    return Site(tmp_path, names=["chris"])


def test_digest_md5_as_in_rfc_2831(elwood: Site) -> None:
    found = elwood.carry_on("DIGEST-MD5", RESPONSE, server="elwood.innosoft.com")
    final = b"rspauth=ea40f60335c427b5527b84dbabcdfffd"
    assert found == (Grant("chris", "chris"), [CHALLENGE, final])


def test_a_client_that_begins_digest_md5_is_challenged_like_any_other(elwood: Site) -> None:
    initial = RESPONSE.replace(b"nc=00000001", b"nc=00000002")
    found = elwood.carry_on("DIGEST-MD5", RESPONSE, initial=initial, server="elwood.innosoft.com")
    assert found[0] == Grant("chris", "chris") and found[1][0] == CHALLENGE


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"d388dad9", b"d388dad8", "AUTHENTICATIONFAILED"),
        (b'"chris"', b'"bob"', "AUTHENTICATIONFAILED"),
        (b"nc=00000001", b"nc=00000002", "MALFORMED"),
        (b'nonce="OA6MG9tEQGm2hh"', b'nonce="OA6MG9tEQGm2hi"', "MALFORMED"),
        (b"qop=auth", b"qop=auth-conf", "MALFORMED"),
        (b'"imap/', b'"pop/', "MALFORMED"),
        (b'realm="elwood.innosoft.com"', b'realm="other.example"', "MALFORMED"),
        (b"qop=auth", b"qop=auth,qop=auth", "MALFORMED"),
        (b"qop=auth", b"qop=auth garbage", "MALFORMED"),
        (b',cnonce="OA6MHXh6VqTrRk"', b"", "MALFORMED"),
        (b"qop=auth", b'x="' + b"y" * 5000 + b'"', "MALFORMED"),
        (b'"chris"', b'"\xff"', "MALFORMED"),
    ],
)
def test_digest_md5_that_is_wrong(elwood: Site, old: bytes, new: bytes, code: str) -> None:
    found = elwood.carry_on("DIGEST-MD5", RESPONSE.replace(old, new), server="elwood.innosoft.com")[0]
    assert code_of(found) == code


def digest(site: Site, name: str, password: str, charset: bytes, authzid: bytes = b"") -> object:
    """A client of its own make (RFC 2831 §2.1.2.1)."""

    def respond(challenge: bytes) -> bytes:
        nonce = challenge.split(b'nonce="')[1].split(b'"')[0]
        realm = challenge.split(b'realm="')[1].split(b'"')[0]
        wire = name.encode("utf-8" if charset else "latin-1")
        user, word = name.encode("latin-1"), password.encode("latin-1")
        a1 = hashlib.md5(user + b":" + realm + b":" + word).digest() + b":" + nonce + b":c"
        a1 += b":" + authzid if authzid else b""
        ha1 = hashlib.md5(a1).hexdigest().encode()
        ha2 = hashlib.md5(b"AUTHENTICATE:imap/x").hexdigest().encode()
        value = hashlib.md5(ha1 + b":" + nonce + b":00000001:c:auth:" + ha2).hexdigest().encode()
        more = b',authzid="' + authzid + b'"' if authzid else b""
        return (
            b'username="%b",realm="%b",nonce="%b",cnonce="c",nc=00000001,qop=auth,digest-uri="imap/x",response=%b'
            % (wire, realm, nonce, value)
        ) + (b"," + charset if charset else b"") + more

    return respond


@pytest.mark.parametrize("charset", [b"charset=utf-8", b""])
def test_names_and_passwords_beyond_ascii_are_hashed_as_latin_1(tmp_path: Path, charset: bytes) -> None:
    site = Site(tmp_path, "grüße".encode(), ["zoë"])
    found = site.carry_on("DIGEST-MD5", digest(site, "zoë", "grüße", charset))[0]  # type: ignore[arg-type]
    assert found == Grant("zoë", "zoë")


def test_the_realm_is_the_default_domain(site: Site) -> None:
    site.authority.site.realm = "example.org"
    found, challenges = site.carry_on("DIGEST-MD5", digest(site, "joe", "secret", b"charset=utf-8"))  # type: ignore[arg-type]
    assert found == Grant("joe", "joe") and challenges[0].startswith(b'realm="example.org"')


def test_digest_md5_for_an_administrator_as_somebody(site: Site) -> None:
    found = site.carry_on("DIGEST-MD5", digest(site, "root", "secret", b"", b"ann"))[0]  # type: ignore[arg-type]
    assert found == Grant("ann", "root")
    found = site.carry_on("DIGEST-MD5", digest(site, "joe", "secret", b"", b"ann"))[0]  # type: ignore[arg-type]
    assert code_of(found) == "AUTHORIZATIONFAILED"


# APOP


def test_apop_as_in_rfc_1939(tmp_path: Path) -> None:
    site = Site(tmp_path, b"tanstaaf", ["mrose"])
    message = b"<1896.697170952@dbc.mtview.ca.us>\0mrose\0c4c9334bac560ecc979e58001b3e22fb"
    assert site.carry_on("APOP", initial=message, service="pop3") == (Grant("mrose", "mrose"), [])


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"<a@b>\0joe\0" + b"0" * 32, "AUTHENTICATIONFAILED"),
        (b"<a@b>\0nobody\0" + hashlib.md5(b"<a@b>").hexdigest().encode(), "AUTHENTICATIONFAILED"),
        (b"\0joe\0" + hashlib.md5(b"secret").hexdigest().encode(), "MALFORMED"),
        (b"<a@b>\0joe\0" + b"0" * 31, "MALFORMED"),
        (b"<a@b>\0joe", "MALFORMED"),
    ],
)
def test_apop_that_is_wrong(site: Site, message: bytes, code: str) -> None:
    assert code_of(site.carry_on("APOP", initial=message)[0]) == code
