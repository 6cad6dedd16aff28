"""Access tokens that say nothing themselves: authproxyd asks their issuer, over TLS."""

from __future__ import annotations

import base64
import imaplib
import json
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.kit.certificates import Pair
from tests.kit.instance import Instance
from tests.kit.issuer import Issuer, issuing
from tests.kit.programs import CERTIFICATE, TLS, needs, secret_file

TOKEN = "an-opaque-token"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing({"email": "joe@test.example"}, Pair(CERTIFICATE, TLS / "key.pem")) as server:
        yield server


def log_in(store: Instance) -> dict[str, int]:
    """curl's status by scheme: 0 for a login that succeeded, 67 for one that was denied."""
    found = {}
    for scheme, port in (("imap", store.imap_address[1]), ("pop3", store.pop3_address[1])):
        command = (
            "curl", "-s", "--user", "joe:", "--login-options", "AUTH=OAUTHBEARER",
            "--oauth2-bearer", TOKEN, f"{scheme}://127.0.0.1:{port}/",
        )  # fmt: skip
        found[scheme] = subprocess.run(command, capture_output=True, timeout=200).returncode
    return found


@needs("curl")
def test_a_token_is_asked_about_over_tls(make_store: Callable[..., Instance], issuer: Issuer) -> None:
    options = [f"oauth-introspection-url {issuer.url}", f"oauth-introspection-ca {CERTIFICATE}"]
    store = make_store(["joe"], options)
    secret = secret_file(store.path / "oauth.secret", "m-store:geheim\n")
    store.config.write_text(f"{store.config.read_text()}oauth-introspection-secret {secret}\n")
    store.start()
    assert log_in(store) == {"imap": 0, "pop3": 0}
    client = imaplib.IMAP4(*store.imap_address)
    client.authenticate("XOAUTH2", lambda _: f"user=joe\1auth=Bearer {TOKEN}\1\1".encode())
    client.logout()
    [(path, authorization, body), *_] = issuer.asked
    assert len(issuer.asked) == 3
    assert (path, body) == ("/introspect?x=1", f"token={TOKEN}".encode())
    assert authorization == "Basic " + base64.b64encode(b"m-store:geheim").decode()
    said = store.log_text()
    assert "mechanism=OAUTHBEARER" in said and "mechanism=XOAUTH2" in said and TOKEN not in said
    issuer.answer = json.dumps({"active": False}).encode()
    assert log_in(store) == {"imap": 67, "pop3": 67}
    store.stop()


@needs("curl")
def test_an_issuer_whose_certificate_nobody_vouches_for_is_not_asked(
    make_store: Callable[..., Instance], issuer: Issuer
) -> None:
    store = make_store(["joe"], [f"oauth-introspection-url {issuer.url}"])
    store.tolerated.append("event=login-unavailable .*oauth-introspection-url: .*CERTIFICATE_VERIFY_FAILED")
    store.tolerated.append("event=login-unavailable .*the authentication service cannot judge just now")
    store.start()
    assert 0 not in log_in(store).values()
    assert issuer.asked == []
    assert "CERTIFICATE_VERIFY_FAILED" in store.log_text()
    store.stop()


def test_authorities_that_cannot_be_read_are_refused_at_the_start(
    make_store: Callable[..., Instance], issuer: Issuer
) -> None:
    options = [f"oauth-introspection-url {issuer.url}", "oauth-introspection-ca /nowhere.pem"]
    store = make_store(["joe"], options)
    assert store.spawn("authproxyd").wait(30) != 0
    assert "no certificates in /nowhere.pem" in store.log_text()
