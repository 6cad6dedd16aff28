"""SCRAM: the RFCs' examples, scramp as an independent client, and everything that is wrong."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scramp

from mstore.accounts.keys import Keys
from mstore.auth.judge import Grant
from mstore.auth.sasl import scram
from mstore.auth.sasl.mechanism import Failed
from tests.kit.authority import make_scram_keys
from tests.kit.exchanging import Site

NAMES = ("SHA-1", "SHA-256", "SHA-512")
PLUS = "SCRAM-SHA-256-PLUS"
END_POINT = {"tls-server-end-point": b"hash of the certificate"}


def fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, salt: str, nonce: str) -> Site:
    """The user of the RFCs' examples, and a server that makes their nonce."""
    site = Site(tmp_path, b"pencil", ["user"])
    keys = Keys("", {name: make_scram_keys(name, b"pencil", base64.b64decode(salt))})
    monkeypatch.setattr(site.authority, "keys", lambda account_id: keys)
    monkeypatch.setattr(scram.secrets, "token_urlsafe", lambda size: nonce)
    return site


def test_scram_sha_1_as_in_rfc_5802(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = fixed(tmp_path, monkeypatch, "SHA-1", "QSXCR+Q6sek8bf92", "3rfcNHYJY1ZVvWVs7j")
    final = b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    found = site.carry_on("SCRAM-SHA-1", final, initial=b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL")
    assert found == (
        Grant("user", "user"),
        [
            b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ],
    )


def test_scram_sha_256_as_in_rfc_7677(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    salt = "W22ZaJ0SNY7soEsUEjb6gQ=="
    site = fixed(tmp_path, monkeypatch, "SHA-256", salt, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    final = b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    found = site.carry_on("SCRAM-SHA-256", b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", final)
    assert found == (
        Grant("user", "user"),
        [
            b"",
            b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ],
    )


def talk(site: Site, name: str, user: str, password: str, **more: Any) -> tuple[Grant | Failed, list[bytes]]:
    """An exchange with scramp's client, which checks the server's last message."""
    plus = name.endswith("-PLUS")
    binding = ("tls-server-end-point", END_POINT["tls-server-end-point"]) if plus else None
    client = scramp.ScramClient([name], user, password, channel_binding=binding)

    def final(challenge: bytes) -> bytes:
        client.set_server_first(challenge.decode())
        return client.get_client_final().encode()

    if plus:
        more = {"tls": True, "bindings": END_POINT, "bound": True, **more}
    found, said = site.carry_on(name, client.get_client_first().encode(), final, **more)
    if isinstance(found, Grant):
        client.set_server_final(said[-1].decode())
    return found, said


@pytest.mark.parametrize("name", [f"SCRAM-{name}{plus}" for name in NAMES for plus in ("", "-PLUS")])
def test_an_independent_client_logs_in(site: Site, name: str) -> None:
    assert talk(site, name, "joe", "secret")[0] == Grant("joe", "joe")
    wrong, _ = talk(site, name, "joe", "wrong")
    assert isinstance(wrong, Failed) and wrong.data is None
    assert site.gate.noted == [("192.0.2.1", "joe", True), ("192.0.2.1", "joe", False)]


def test_names_are_prepared_and_quoted(tmp_path: Path) -> None:
    site = Site(tmp_path, b"secret", ["zoë", "a=b"])
    assert talk(site, "SCRAM-SHA-256", "zoe\u0308", "secret")[0] == Grant("zoë", "zoë")
    assert talk(site, "SCRAM-SHA-256", "z\u00ado\u00eb", "secret")[0] == Grant("zoë", "zoë")
    assert talk(site, "SCRAM-SHA-256", "a=b", "secret")[0] == Grant("a=b", "a=b")


def test_who_does_not_exist_has_a_salt_of_his_own_always_the_same(site: Site) -> None:
    def told(user: str) -> tuple[bytes, bytes]:
        found, said = talk(site, "SCRAM-SHA-256", user, "secret")
        assert isinstance(found, Failed) and found.data is None
        _, salt, iterations = said[1].split(b",")
        return salt, iterations

    assert told("nobody") == told("NoBody@example.org") != told("somebody")
    assert len(told("nobody")[0]) == len(b"s=" + base64.b64encode(b"salt of 16 bytes"))
    other = [talk(site, f"SCRAM-{name}", "nobody", "x")[1][1].split(b",")[1] for name in NAMES]
    assert len(set(other)) == 3


def test_unknown_names_seem_to_have_as_many_iterations_as_known_ones(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys("", {"SHA-256": replace(make_scram_keys("SHA-256", b"secret", b"s" * 16, 9999))})
    monkeypatch.setattr(site.authority, "keys", lambda account_id: keys)
    assert talk(site, "SCRAM-SHA-256", "joe", "secret")[0] == Grant("joe", "joe")
    assert talk(site, "SCRAM-SHA-256", "nobody", "x")[1][1].endswith(b",i=9999")


def test_an_account_without_these_keys_is_like_none(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.authority, "keys", lambda account_id: Keys("verifier"))
    found, _ = talk(site, "SCRAM-SHA-256", "joe", "secret")
    assert isinstance(found, Failed) and found.data is None


@pytest.mark.parametrize(
    ("name", "first", "facts", "error"),
    [
        ("SCRAM-SHA-256", b"y,,n=joe,r=abc", {"bound": True}, b"e=server-does-support-channel-binding"),
        ("SCRAM-SHA-256", b"p=tls-exporter,,n=joe,r=abc", {}, b"e=channel-binding-not-supported"),
        (PLUS, b"p=tls-unique,,n=joe,r=abc", {"bindings": END_POINT}, b"e=unsupported-channel-binding-type"),
        (PLUS, b"n,,n=joe,r=abc", {"bindings": END_POINT}, b"e=channel-bindings-dont-match"),
        ("SCRAM-SHA-256", b"n,,m=x,n=joe,r=abc", {}, b"e=extensions-not-supported"),
        ("SCRAM-SHA-256", b"n,,n=j=2Doe,r=abc", {}, b"e=invalid-username-encoding"),
        ("SCRAM-SHA-256", b"n,,n=j\x07oe,r=abc", {}, b"e=invalid-username-encoding"),
        ("SCRAM-SHA-256", b"n,,n=\xc2\xad,r=abc", {}, b"e=invalid-username-encoding"),
    ],
)  # fmt: skip
def test_first_messages_that_cannot_be(
    site: Site, name: str, first: bytes, facts: dict[str, Any], error: bytes
) -> None:
    found, said = site.carry_on(name, initial=first, **facts)
    assert isinstance(found, Failed) and found.data == error and said == []


def test_a_client_that_knows_of_no_binding_here_is_right_where_there_is_none(site: Site) -> None:
    found, said = site.carry_on("SCRAM-SHA-256", b"c=eSws,r=x,p=AAAA", initial=b"y,,n=joe,r=abc")
    assert said[0].startswith(b"r=abc") and isinstance(found, Failed)


@pytest.mark.parametrize("first", [b"", b"n", b"n,,", b"n,,n=joe", b"x,,n=joe,r=a", b"n,,n=joe,r=", b"n,,r=a,n=joe", b"n,a=,n=joe,r=a", b"n,,n=joe,r=a b", b"n,,n=j\0e,r=a", b"n,,n=joe,r=" + b"a" * 513, b"n,,n=joe,r=a\n", b"p=,,n=joe,r=a", b"n,,n=j\xff,r=a"])  # fmt: skip  # noqa: E501
def test_first_messages_that_are_none(site: Site, first: bytes) -> None:
    found, _ = site.carry_on("SCRAM-SHA-256", initial=first)
    assert isinstance(found, Failed) and found.code == "MALFORMED"
    assert site.gate.asked == []


@pytest.mark.parametrize(
    ("final", "code", "error"),
    [
        (b"", "MALFORMED", None),
        (b"c=biws", "MALFORMED", None),
        (b"c=biws,r=%b", "MALFORMED", None),
        (b"r=%b,c=biws,p=AAAA", "MALFORMED", None),
        (b"c=biws,r=%bx,p=AAAA", "AUTHENTICATIONFAILED", b"e=other-error"),
        (b"c=biw=,r=%b,p=AAA", "AUTHENTICATIONFAILED", b"e=invalid-encoding"),
        (b"c=eSws,r=%b,p=AAAA", "AUTHENTICATIONFAILED", b"e=channel-bindings-dont-match"),
        (b"c=biwsAAAA,r=%b,p=AAAA", "AUTHENTICATIONFAILED", b"e=channel-bindings-dont-match"),
        (b"c=biws,r=%b,p=AAAA", "AUTHENTICATIONFAILED", None),
        (b"c=biws,r=%b,x=1,p=" + base64.b64encode(bytes(32)), "AUTHENTICATIONFAILED", None),
    ],
)
def test_final_messages_that_are_wrong(site: Site, final: bytes, code: str, error: bytes | None) -> None:
    def respond(challenge: bytes) -> bytes:
        nonce = challenge.split(b",")[0].removeprefix(b"r=")
        return final.replace(b"%b", nonce)

    found, _ = site.carry_on("SCRAM-SHA-256", respond, initial=b"n,,n=joe,r=abc")
    assert isinstance(found, Failed) and (found.code, found.data) == (code, error)
    assert site.gate.noted == [("192.0.2.1", "joe", False)]


def test_a_client_may_bind_itself_without_saying_so_in_the_name(site: Site) -> None:
    binding = ("tls-server-end-point", END_POINT["tls-server-end-point"])
    client = scramp.ScramClient(["SCRAM-SHA-256-PLUS"], "joe", "secret", channel_binding=binding)

    def final(challenge: bytes) -> bytes:
        client.set_server_first(challenge.decode())
        return client.get_client_final().encode()

    first = client.get_client_first().encode()
    assert first.startswith(b"p=tls-server-end-point,")
    for bindings, right in ((END_POINT, True), ({"tls-server-end-point": b"other"}, False)):
        found, _ = site.carry_on("SCRAM-SHA-256", final, initial=first, tls=True, bindings=bindings)
        assert isinstance(found, Grant) == right
        client = scramp.ScramClient(["SCRAM-SHA-256-PLUS"], "joe", "secret", channel_binding=binding)
        first = client.get_client_first().encode()


def test_another_channel_is_another_binding(site: Site) -> None:
    found, _ = talk(site, "SCRAM-SHA-256-PLUS", "joe", "secret", bindings={"tls-server-end-point": b"other"})
    assert isinstance(found, Failed) and found.data == b"e=channel-bindings-dont-match"


def test_an_administrator_acts_as_somebody(site: Site) -> None:
    """scramp knows no authorization identity: the header is put in by hand, and bound into its messages."""

    def act(user: str, authzid: bytes) -> Grant | Failed:
        client = scramp.ScramClient(["SCRAM-SHA-256"], user, "secret")
        header = b"n,a=" + authzid + b","
        first = header + client.get_client_first().encode().removeprefix(b"n,,")

        def final(challenge: bytes) -> bytes:
            import hashlib
            import hmac

            keys = site.authority.keys(site.accounts.find(user).id).scram["SHA-256"]  # type: ignore[union-attr]
            nonce = challenge.split(b",")[0]
            unproved = b"c=" + base64.b64encode(header) + b"," + nonce
            message = b",".join((first.removeprefix(header), challenge, unproved))
            salted = hashlib.pbkdf2_hmac("sha256", b"secret", keys.salt, keys.iterations)
            client_key = hmac.digest(salted, b"Client Key", "sha256")
            signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
            proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
            return unproved + b",p=" + base64.b64encode(proof)

        return site.carry_on("SCRAM-SHA-256", final, initial=first)[0]

    assert act("root", b"ann") == Grant("ann", "root")
    assert act("joe", b"joe") == Grant("joe", "joe")
    found = act("joe", b"ann")
    assert isinstance(found, Failed) and found.code == "AUTHORIZATIONFAILED"
