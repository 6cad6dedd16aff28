"""Our own certificates, as read from PEM: names, dates, and the hash for channel binding."""

import hashlib
import time
from pathlib import Path

import pytest

from mstore.base.errors import Invalid
from mstore.net.certificate import Certificate, parse_pem
from tests.kit.certificates import make_pair, needs_openssl, run

pytestmark = needs_openssl

DAY_S = 86400


def read(path: Path, *options: str, **more: str) -> Certificate:
    return parse_pem(make_pair(path, "mail.example", *options, **more).certificate.read_bytes())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "options", "hash_name", "binding"),
    [
        ("ec", (), "sha256", "sha256"), ("ec", ("-sha384",), "sha384", "sha384"),
        ("rsa", ("-sha512",), "sha512", "sha512"), ("rsa", ("-sha1",), "sha1", "sha256"),
        ("rsa-pss", ("-sha384",), "sha384", "sha384"), ("ed25519", (), None, None),
    ],
)  # fmt: skip
def test_the_hash_is_that_of_the_signature_and_never_a_weak_one(
    tmp_path: Path, key: str, options: tuple[str, ...], hash_name: str | None, binding: str | None
) -> None:
    found = read(tmp_path, *options, key=key)
    assert found.hash_name == hash_name
    assert found.end_point() == (hashlib.new(binding, found.der).digest() if binding else None)


def test_names_and_dates(tmp_path: Path) -> None:
    found = parse_pem(make_pair(tmp_path, "mail.example", days=10).certificate.read_bytes())
    assert found.names == ("mail.example",)
    assert abs(found.ends_s - found.begins_s - 10 * DAY_S) < 2 and abs(found.begins_s - time.time()) < 300
    assert found.complaint(found.begins_s + 5, 9 * DAY_S) == ""
    assert found.complaint(found.begins_s + 2 * DAY_S, 9 * DAY_S).startswith("expires on ")
    assert found.complaint(found.ends_s + 1, 0).startswith("has expired on ")
    assert found.complaint(found.begins_s - 1, 0).startswith("is not valid before ")


def test_far_dates_and_many_names(tmp_path: Path) -> None:
    names = "subjectAltName=DNS:A.Example,DNS:*.b.example,IP:127.0.0.1,email:x@y"
    pair = make_pair(tmp_path, "plain.example", days=40000)
    out = tmp_path / "named.pem"
    run(
        "req", "-x509", "-key", pair.key, "-subj", "/CN=not.this", "-days", "40000", "-addext", names,
        "-out", out,
    )  # fmt: skip
    found = parse_pem(out.read_bytes())
    assert found.names == ("a.example", "*.b.example")
    assert found.ends_s - time.time() > 39000 * DAY_S
    assert found.covers("a.example") and found.covers("x.b.example") and found.covers("*.b.example")
    assert not found.covers("b.example") and not found.covers("x.y.b.example") and not found.covers("a")


@pytest.mark.parametrize(
    "text", [b"", b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----",
             b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"],
)  # fmt: skip
def test_what_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(Invalid):
        parse_pem(text)


def test_a_certificate_cut_anywhere_is_refused_in_words(tmp_path: Path) -> None:
    der = read(tmp_path).der
    for size in range(0, len(der), 7):
        text = b"-----BEGIN CERTIFICATE-----\n" + _base64(der[:size]) + b"-----END CERTIFICATE-----\n"
        with pytest.raises(Invalid):
            parse_pem(text)


def _base64(data: bytes) -> bytes:
    import base64

    return base64.encodebytes(data)
