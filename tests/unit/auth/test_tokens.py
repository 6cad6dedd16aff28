"""Access tokens, signed ones and those that are asked about."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mstore.auth import introspection
from mstore.auth.introspection import Introspection, TokenRefused
from mstore.auth.tokens import Tokens, load_keys
from mstore.base.errors import Invalid, Unavailable
from mstore.base.options import Settings
from mstore.net.tls import make_client_context
from tests.kit.certificates import Pair, make_pair, needs_openssl
from tests.kit.issuer import Issuer, issuing
from tests.kit.programs import CERTIFICATE, TLS

ISSUER, AUDIENCE = "https://login.example.org/", "mail.example.org"
SECRET = b"k" * 32
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
SIGNING: dict[str, Any] = {"RS256": RSA, "ES256": EC, "EdDSA": ED, "HS256": SECRET}


def pem(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    text: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return text


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(**more: Any) -> dict[str, Any]:
    plain = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, "email": "joe@example.org"}
    return {key: value for key, value in {**plain, **more}.items() if value is not None}


def signed(algorithm: str = "ES256", key: Any = None, head: dict[str, Any] | None = None, **more: Any) -> str:
    return jwt.encode(claims(**more), key or SIGNING[algorithm], algorithm, headers=head)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    (tmp_path / "keys.pem").write_bytes(b"a comment\n" + pem(RSA) + pem(EC) + pem(ED))
    secret = {"kty": "oct", "k": encoded(SECRET), "kid": "one"}
    (tmp_path / "keys.jwks").write_text(json.dumps({"keys": [secret]}))
    keys = load_keys(tmp_path / "keys.pem") + load_keys(tmp_path / "keys.jwks")
    return Tokens(keys, ISSUER, AUDIENCE)


@pytest.mark.parametrize("algorithm", list(SIGNING))
def test_a_signed_token_is_its_owners(tokens: Tokens, algorithm: str) -> None:
    assert tokens.verify(signed(algorithm)) == "joe@example.org"


@pytest.mark.parametrize(
    "more",
    [
        {"exp": time.time() - 120},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": time.time() + 86_400},
        {"iss": "https://other.example/"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"email": None},
        {"email": 5},
        {"email": ""},
        {"email": "a\0b"},
        {"email_verified": False},
    ],
)
def test_tokens_whose_claims_are_not_right_are_refused(tokens: Tokens, more: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused):
        tokens.verify(signed(**more))


def test_one_of_several_audiences_is_enough(tokens: Tokens) -> None:
    assert tokens.verify(signed(aud=["other", AUDIENCE])) == "joe@example.org"


def test_tokens_of_another_key_or_algorithm_are_refused(tokens: Tokens) -> None:
    others = [
        signed("ES256", ec.generate_private_key(ec.SECP256R1())),
        signed("HS256", b"o" * 32),
        signed("HS512", SECRET + SECRET),
        signed("RS512", RSA),
        jwt.encode(claims(), None, "none"),
        signed() + "x",
        "a.b.c",
        "..",
        "not a token",
        encoded(b'{"alg":"ES256"}') + ".e30.AAAA",
        encoded(b"[" * 5000) + ".e30.AAAA",
    ]
    for token in others:
        with pytest.raises(TokenRefused):
            tokens.verify(token)


def test_a_public_key_is_no_secret(tokens: Tokens) -> None:
    """The old trick: a token signed by HMAC with the text of the public key."""
    import hashlib
    import hmac

    head, body = encoded(b'{"alg":"HS256","typ":"JWT"}'), encoded(json.dumps(claims()).encode())
    text = f"{head}.{body}"
    mac = hmac.digest(pem(RSA), text.encode(), hashlib.sha256)
    with pytest.raises(TokenRefused):
        tokens.verify(f"{text}.{encoded(mac)}")


def test_a_key_is_found_by_its_name(tokens: Tokens) -> None:
    assert tokens.verify(signed("HS256", head={"kid": "one"})) == "joe@example.org"
    with pytest.raises(TokenRefused):
        tokens.verify(signed("HS256", head={"kid": "two"}))
    assert tokens.verify(signed("ES256", head={"kid": "unknown here"})) == "joe@example.org"


def test_a_scope_may_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "keys.pem").write_bytes(pem(EC))
    tokens = Tokens(load_keys(tmp_path / "keys.pem"), ISSUER, AUDIENCE, scope="mail")
    assert tokens.verify(signed(scope="openid mail")) and tokens.verify(signed(scp=["mail"]))
    for more in ({}, {"scope": "mails"}, {"scope": 5}):
        with pytest.raises(TokenRefused):
            tokens.verify(signed(**more))


PRIVATE = RSA.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys": []}',
        b'{"keys": [5]}',
        b'{"keys": 5}',
        b"[" * 100_000,
        b'{"kty": "oct", "k": "c2hvcnQ"}',
        b'{"kty": "EC", "crv": "P-384"}',
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        PRIVATE,
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
    ],
)
def test_files_without_good_keys_are_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(data)
    with pytest.raises(Invalid, match=str(path)):
        load_keys(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="No such file"):
        load_keys(tmp_path / "gone")


# introspection


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing(claims()) as server:
        yield server


def asking(server: Issuer, issuer: str | None = None, audience: str | None = None) -> Tokens:
    return Tokens([], issuer, audience, introspection=Introspection(server.url, b"me:pass"))


def test_an_active_token_is_its_owners(issuer: Issuer) -> None:
    assert asking(issuer).verify("a/b+c==") == "joe@example.org"
    [(path, authorization, body)] = issuer.asked
    assert path == "/introspect?x=1" and body == b"token=a%2Fb%2Bc%3D%3D"
    assert authorization == "Basic " + base64.b64encode(b"me:pass").decode()
    assert asking(issuer, issuer=ISSUER, audience=AUDIENCE).verify("x") == "joe@example.org"


@pytest.mark.parametrize("answer", [{"active": False}, {}, [], {"active": "true"}, {"active": True, "exp": 1}, {"active": True}])  # fmt: skip  # noqa: E501
def test_what_is_not_active_is_refused(issuer: Issuer, answer: object) -> None:
    issuer.answer = json.dumps(answer).encode()
    with pytest.raises(TokenRefused):
        asking(issuer).verify("x")


def test_another_issuer_or_audience_is_refused(issuer: Issuer) -> None:
    for more in ({"issuer": "other"}, {"audience": "other"}):
        with pytest.raises(TokenRefused):
            asking(issuer, **more).verify("x")


def test_an_issuer_that_does_not_answer_well_is_unavailable(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = ((500, b"{}"), (302, b""), (200, b"<html>"), (200, b"[" * 60_000), (200, b" " * 70_000))
    for status, answer in bad:
        issuer.status, issuer.answer = status, answer
        with pytest.raises(Unavailable):
            asking(issuer).verify("x")
    monkeypatch.setattr(introspection, "TIMEOUT_S", 0.05)
    issuer.delay_s = 0.3
    with pytest.raises(Unavailable):
        asking(issuer).verify("x")
    with pytest.raises(Unavailable):
        Introspection("http://127.0.0.1:1/").ask("x")


def test_only_so_many_questions_are_asked_at_once(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(introspection, "PATIENCE_S", 0.05)
    busy = Introspection(issuer.url)
    busy._under_way = introspection.MOST_AT_ONCE
    with pytest.raises(Unavailable, match="too many"):
        busy.ask("x")
    assert issuer.asked == []


def test_a_name_and_a_secret_come_from_a_file(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("my name:p:w d\nmore\n")
    Introspection.of(issuer.url, path).ask("x")
    assert base64.b64decode(issuer.asked[0][1].split()[1]) == b"my+name:p%3Aw+d"
    path.write_text("nothing")
    with pytest.raises(Invalid):
        Introspection.of(issuer.url, path)


# over TLS


@pytest.fixture
def secure_issuer() -> Iterator[Issuer]:
    with issuing(claims(), Pair(CERTIFICATE, TLS / "key.pem")) as server:
        yield server


def test_an_issuer_is_asked_over_tls(secure_issuer: Issuer) -> None:
    asked = Introspection(secure_issuer.url, tls=make_client_context(True, CERTIFICATE))
    assert Tokens([], None, None, introspection=asked).verify("x") == "joe@example.org"
    assert len(secure_issuer.asked) == 1
    with pytest.raises(Invalid):
        Introspection(secure_issuer.url)


def test_the_authorities_are_the_systems_where_none_are_named(
    secure_issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        Introspection(secure_issuer.url, tls=make_client_context(True, None)).ask("x")
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    assert Introspection(secure_issuer.url, tls=make_client_context(True, None)).ask("x")
    assert len(secure_issuer.asked) == 1


@needs_openssl
def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "other.example")
    with issuing(claims(), pair) as server:
        asked = Introspection(server.url, tls=make_client_context(True, pair.certificate))
        with pytest.raises(Unavailable, match="Hostname mismatch"):
            asked.ask("x")
        assert server.asked == []


def test_signed_tokens_are_not_asked_about_where_there_are_keys(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "keys.pem").write_bytes(pem(EC))
    settings = Settings(
        oauth_keys=(tmp_path / "keys.pem",), oauth_issuer=ISSUER, oauth_audience=AUDIENCE,
        oauth_introspection_url=issuer.url,
    )  # fmt: skip
    tokens = Tokens.of(settings)
    assert tokens is not None
    assert tokens.verify(signed()) == "joe@example.org" and issuer.asked == []
    assert tokens.verify("opaque") == "joe@example.org" and len(issuer.asked) == 1
    assert Tokens.of(Settings()) is None
