"""getpwent, shadow and PAM with the libraries' answers made up; the real ones are asked in tests/system."""

import ctypes
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mstore.auth.crypt import run_crypt
from mstore.auth.mechanisms import libcrypt, pam, passwd, shadow
from mstore.auth.mechanisms.shadow import Entry, is_open
from mstore.base import blocking
from mstore.base.errors import Unavailable

# what crypt(3) makes of "secret"
HASHES = {
    "yescrypt": b"$y$j9T$saltsaltsaltsaltsalts1$PLACE",
    "sha512": b"$6$abcdefgh$PLACE",
    "sha256": b"$5$abcdefgh$PLACE",
    "md5": b"$1$abcdefgh$PLACE",
    "des": b"abPLACE",
}


def made(kind: str, password: bytes = b"secret") -> bytes:
    setting = HASHES[kind].removesuffix(b"PLACE")
    return run_crypt(password, setting)


needs_crypt = pytest.mark.skipif(bool(libcrypt.missing_crypt()), reason="there is no libcrypt")


@needs_crypt
@pytest.mark.parametrize("kind", ["yescrypt", "sha512", "sha256", "md5"])
def test_hashes_of_every_method_fit_their_password_alone(kind: str) -> None:
    hashed = made(kind)
    assert hashed.startswith(HASHES[kind][:3])
    assert libcrypt.fits(b"secret", hashed)
    assert not libcrypt.fits(b"Secret", hashed) and not libcrypt.fits(b"secret\0", hashed)
    assert not libcrypt.fits(b"secret", hashed[:-1])
    assert not libcrypt.fits(b"secret", b"!" + hashed) and not libcrypt.fits(b"secret", b"*" + hashed)


@needs_crypt
def test_hashes_that_another_implementation_makes() -> None:
    from passlib.hash import sha256_crypt, sha512_crypt

    for method in (sha512_crypt, sha256_crypt):
        hashed = method.using(rounds=1000).hash("p\u00e4ss word").encode()
        assert libcrypt.fits("p\u00e4ss word".encode(), hashed)
        assert not libcrypt.fits(b"pass word", hashed)


@needs_crypt
@pytest.mark.parametrize("hashed", [b"", b"x", b"*", b"!", b"!!", b"*0", b"*1", b"$", b"$6$", b"$9$what$ever", b"plain text"])  # fmt: skip  # noqa: E501
def test_what_is_no_hash_fits_nothing(hashed: bytes) -> None:
    for password in (b"", b"x", b"*", b"*0", hashed, b"secret"):
        assert not libcrypt.fits(password, hashed)


def test_the_field_of_the_password_file(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"joe": made("sha512").decode(), "shadowed": "x", "locked": "*", "open": ""}

    def getpwnam(name: str) -> Any:
        name.encode("ascii")
        return SimpleNamespace(pw_passwd=fields[name])

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    mechanism = passwd.Passwd()
    assert mechanism.verify("joe", b"secret").ok
    for login, password in (("joe", b"x"), ("shadowed", b"x"), ("locked", b"*"), ("open", b""), ("no", b"x"), ("ü", b"x")):  # fmt: skip  # noqa: E501
        assert not mechanism.verify(login, password).ok, login
    mechanism.close()


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Entry(b""), True),
        (Entry(b"", changed=100), True),
        (Entry(b"", changed=0), False),  # must be changed
        (Entry(b"", changed=900, most_days=100), True),  # the last day
        (Entry(b"", changed=899, most_days=100), False),
        (Entry(b"", changed=1, most_days=99999), True),
        (Entry(b"", changed=2000, most_days=1), True),  # a clock that was wrong
        (Entry(b"", changed=100, expires=1001), True),
        (Entry(b"", changed=100, expires=1000), False),
        (Entry(b"", changed=100, expires=0), False),
    ],
)
def test_the_days_of_shadow_passwords(entry: Entry, expected: bool) -> None:
    assert is_open(entry, 1000) is expected


def test_shadow_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {
        "joe": Entry(made("yescrypt"), 100),
        "old": Entry(made("yescrypt"), 100, expires=200),
        "locked": Entry(b"!" + made("yescrypt"), 100),
    }
    monkeypatch.setattr(shadow, "find_entry", entries.get)
    mechanism = shadow.Shadow()
    assert mechanism.verify("joe", b"secret").ok
    for login, password in (("joe", b"x"), ("old", b"secret"), ("locked", b"secret"), ("nobody", b"secret")):
        assert not mechanism.verify(login, password).ok, login
    mechanism.close()


def test_the_real_library_knows_root_or_says_that_it_may_not() -> None:
    assert shadow.find_entry("no-such-user-at-all") is None
    assert shadow.find_entry("x" * 5000) is None


# PAM


class Library:
    """pamela, as far as the mechanism uses it: it records what it is told, and answers by a script."""

    PAM_RHOST = 4

    class PAMError(Exception):
        def __init__(self, errno: int | None = None) -> None:
            self.errno = errno

    def __init__(self, authenticate: int = 0, account: int = 0, pause_us: int = 0, start: int = 0) -> None:
        self.answers = authenticate, account
        self.pause_us = pause_us
        self.start = start
        self.told: list[Any] = []
        self.delay: Any = None

    def PamHandle(self) -> Any:
        return SimpleNamespace(set_item=lambda item, value: self.told.append((item, value)))

    def new_simple_password_conv(self, passwords: tuple[bytes, ...], encoding: str) -> Any:
        self.told.append(passwords)
        return object()

    def pam_start(self, service: str, login: str, conv_func: object) -> Any:
        if self.start:
            raise self.PAMError(self.start)
        self.told.append((service, login))
        return self.PamHandle()

    def PAM_SET_ITEM(self, handle: object, item: int, value: Any) -> int:
        assert item == 10
        self.delay = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)(
            ctypes.cast(value, ctypes.c_void_p).value
        )
        return 0

    def PAM_AUTHENTICATE(self, handle: object, flags: int) -> int:
        self.told.append("authenticate")
        assert flags & 1, "an empty password must not be enough"
        self.delay(self.answers[0], self.pause_us, None)
        return self.answers[0]

    def PAM_ACCT_MGMT(self, handle: object, flags: int) -> int:
        self.told.append("account")
        return self.answers[1]

    def PAM_END(self, handle: object, code: int) -> int:
        self.told.append(("end", code))
        return 0

    def pam_strerror(self, handle: object, code: int) -> str:
        return f"error {code}"


def test_pam_is_told_the_password_and_the_peer_and_asked_for_the_account() -> None:
    library = Library()
    assert pam.Pam(library, "imap").verify("joe", b"secret", "192.0.2.7").ok
    assert library.told == [
        (b"secret",), ("imap", "joe"), (4, "192.0.2.7"), "authenticate", "account", ("end", 0),
    ]  # fmt: skip
    library = Library()
    assert pam.Pam(library, "imap").verify("joe", b"secret").ok
    assert (4, "") not in library.told


@pytest.mark.parametrize("code", [6, 7, 10, 11, 12, 13, 27])
def test_pams_refusals(code: int) -> None:
    assert not pam.Pam(Library(authenticate=code), "imap").verify("joe", b"x").ok
    assert not pam.Pam(Library(account=code), "imap").verify("joe", b"x").ok


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 8, 9, 14, 19, 24, 26, 28, 99])
def test_pams_troubles_are_no_refusals(code: int) -> None:
    with pytest.raises(Unavailable, match=f"PAM service imap: error {code}"):
        pam.Pam(Library(authenticate=code), "imap").verify("joe", b"x")
    with pytest.raises(Unavailable, match=f"error {code}"):
        pam.Pam(Library(start=code), "imap").verify("joe", b"x")


def test_a_pause_is_kept_after_a_failure_only_and_outside_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    class Waiting(blocking.Plain):
        slept: list[float] = []  # noqa: RUF012
        is_apart = False

        def call_apart(self, kind, limit, function, *args):  # type: ignore[no-untyped-def]
            self.is_apart = True
            try:
                return function(*args)
            finally:
                self.is_apart = False

        def sleep(self, seconds: float) -> None:
            assert not self.is_apart
            self.slept.append(seconds)

    waiting = Waiting()
    monkeypatch.setattr(blocking, "_waiting", waiting)
    assert pam.Pam(Library(pause_us=2_000_000), "imap").verify("joe", b"x").ok
    assert waiting.slept == []
    assert not pam.Pam(Library(authenticate=7, pause_us=2_000_000), "imap").verify("joe", b"x").ok
    assert not pam.Pam(Library(authenticate=7, pause_us=2_000_000_000), "imap").verify("joe", b"x").ok
    assert waiting.slept == [2.0, pam.LONGEST_PAUSE_S]


def test_a_password_that_c_would_cut_off_is_refused_unasked() -> None:
    library = Library()
    assert not pam.Pam(library, "imap").verify("joe", b"secret\0more").ok
    assert library.told == []


def test_a_service_needs_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pam, "_DIRECTORIES", (str(tmp_path),))
    settings: Any = SimpleNamespace(authproxy_pam_service="IMAP")
    if not Path("/etc/pam.conf").exists():
        with pytest.raises(Exception, match=r"authproxy-pam-service: there is no .*/IMAP"):
            pam._check(settings)
    (tmp_path / "imap").touch()
    pam._check(settings)
    settings.authproxy_pam_service = "a/b"
    with pytest.raises(Exception, match="not the name of a PAM service"):
        pam._check(settings)
