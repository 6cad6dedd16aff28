"""kerberos5 with a library that is made up; the real one and a real realm are in tests/system."""

from types import SimpleNamespace
from typing import Any

import pytest

from mstore.auth.mechanisms.kerberos import Kerberos, to_principal
from mstore.base.errors import Invalid, Unavailable

_BASE = -1765328384


class GSSError(Exception):
    def __init__(self, code: int) -> None:
        self.min_code = code

    def gen_message(self) -> str:
        return f"Major: x\n  Minor: {self.min_code}"


class Context:
    def __init__(self, library: "Library", usage: str) -> None:
        self._library, self._usage = library, usage
        self.complete = False
        self.initiator_name: Any = None

    def step(self, token: bytes | None = None) -> bytes | None:
        library = self._library
        if self._usage == "initiate":
            self.complete = token is not None
            return b"request" if token is None else None
        if library.accept_code:
            raise GSSError(library.accept_code)
        if not library.endless:
            self.complete, self.initiator_name = True, library.initiator
        return b"reply"


class Library:
    """Lets everybody in with ``secret``, unless it is told otherwise."""

    exceptions = SimpleNamespace(GSSError=GSSError)
    NameType = SimpleNamespace(kerberos_principal="principal")
    RequirementFlag = SimpleNamespace(mutual_authentication=2)

    def __init__(self, code: int = 0, accept_code: int = 0, keytab_code: int = 0) -> None:
        self.code, self.accept_code, self.keytab_code = code, accept_code, keytab_code
        self.endless = False
        self.initiator: Any = ("joe", "principal")
        self.stores: list[dict[str, str]] = []
        self.raw = SimpleNamespace(acquire_cred_with_password=self._acquire)

    def Name(self, text: str, kind: str) -> tuple[str, str]:
        return text, kind

    def Credentials(self, name: object, usage: str, store: dict[str, str]) -> str:
        self.stores.append(store)
        if self.keytab_code:
            raise GSSError(self.keytab_code)
        return "acceptor"

    def SecurityContext(self, usage: str, **_: object) -> Context:
        return Context(self, usage)

    def _acquire(self, name: tuple[str, str], password: bytes, usage: str) -> Any:
        if self.code or password != b"secret":
            raise GSSError(self.code or _BASE + 31)
        return SimpleNamespace(creds="tickets")


def test_a_password_that_gets_a_ticket_for_our_key_is_right() -> None:
    library = Library()
    mechanism = Kerberos(library, "imap/h", "FILE:/k")
    assert mechanism.verify("joe", b"secret").ok
    assert not mechanism.verify("joe", b"wrong").ok and not mechanism.verify("joe", b"secret\0").ok
    assert library.stores[0] == {"rcache": "none:", "keytab": "FILE:/k"}
    mechanism.check()
    mechanism.close()


@pytest.mark.parametrize("code", [1, 6, 12, 18, 21, 23, 24, 31])
def test_the_realms_refusals_also_as_unsigned_numbers(code: int) -> None:
    assert not Kerberos(Library(_BASE + code), "imap/h", None).verify("joe", b"secret").ok
    assert not Kerberos(Library(_BASE + code + (1 << 32)), "imap/h", None).verify("joe", b"secret").ok


@pytest.mark.parametrize("code", [0xFFFF, _BASE + 60, _BASE + 156, _BASE + 14, 100001])
def test_a_realm_that_cannot_judge_is_no_refusal(code: int) -> None:
    with pytest.raises(Unavailable, match="kerberos5: Major: x Minor"):
        Kerberos(Library(code), "imap/h", None).verify("joe", b"secret")


def test_a_ticket_that_is_not_for_our_key_lets_nobody_in() -> None:
    with pytest.raises(Unavailable, match="the ticket is not for our key"):
        Kerberos(Library(accept_code=_BASE + 31), "imap/h", None).verify("joe", b"secret")
    library = Library()
    library.endless = True
    with pytest.raises(Unavailable, match="does not end"):
        Kerberos(library, "imap/h", None).verify("joe", b"secret")
    library = Library()
    library.initiator = ("ann", "principal")
    assert not Kerberos(library, "imap/h", None).verify("joe", b"secret").ok


def test_a_keytab_without_our_key() -> None:
    with pytest.raises(Invalid, match="no key of imap/h in FILE:/k"):
        Kerberos(Library(keytab_code=1), "imap/h", "FILE:/k").check()
    with pytest.raises(Invalid, match="no key of imap/h in the system's keytab"):
        Kerberos(Library(keytab_code=1), "imap/h", None).check()
    with pytest.raises(Unavailable):
        Kerberos(Library(keytab_code=1), "imap/h", None).verify("joe", b"secret")


def test_a_domain_is_a_realm_in_upper_case() -> None:
    assert to_principal("joe") == "joe"
    assert to_principal("joe@test.example") == "joe@TEST.EXAMPLE"
