"""The mechanism ``pam``: the Pluggable Authentication Modules, by the service ``authproxy-pam-service``.

The modules say whether the password is right and whether the account may be used; no session is opened and
no credentials are set, so what a module keeps for the user (a Kerberos ticket) is gone with the answer. A
pause that modules ask for after a failure is kept, but no thread waits for it.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

from mstore.auth.bounded import Bounded
from mstore.auth.driver import Driver, Sources
from mstore.auth.verdict import REFUSED, Verdict
from mstore.base import blocking
from mstore.base.errors import Invalid, Unavailable
from mstore.base.options import Settings

LIMIT = 16
LONGEST_PAUSE_S = 8.0

_PAM_FAIL_DELAY = 10
_DISALLOW_NULL_AUTHTOK = 0x1
_SILENT = 0x8000
_SUCCESS = 0
_SYSTEM_ERR = 4
_AUTH_ERR = 7
_REFUSALS = frozenset((6, _AUTH_ERR, 10, 11, 12, 13, 27))
"""Permission denied, wrong password, unknown user, too many tries, password or account run out."""

_SERVICE = re.compile(r"[A-Za-z0-9_.-]+")
_DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d")
_DELAY = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


def load_pam() -> Any:
    """The module pamela.

    Raises: ImportError when it, or PAM itself, is missing.
    """
    try:
        import pamela
    except (OSError, AttributeError, TypeError) as error:  # what it says when there is no libpam
        raise ImportError(f"no libpam: {error}") from None
    return pamela


class Pam:
    """Judges passwords by a PAM service."""

    def __init__(self, pam: Any, service: str) -> None:
        self._pam = pam
        self._service = service
        self._threads = Bounded("pam", LIMIT)

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        """Judge a login.

        Raises: Unavailable when a module fails, or wants to be told more than a password.
        """
        code, pause_s = self._threads.call(self._ask, login, password, peer)
        if pause_s > 0:
            blocking.sleep(min(pause_s, LONGEST_PAUSE_S))
        if code == _SUCCESS:
            return Verdict(True)
        if code in _REFUSALS:
            return REFUSED
        text = self._pam.pam_strerror(self._pam.PamHandle(), code)
        raise Unavailable(f"PAM service {self._service}: {text}")

    def close(self) -> None:
        """Nothing is open."""

    def _ask(self, login: str, password: bytes, peer: str) -> tuple[int, float]:
        """What PAM says, and for how long it wants the user to wait; runs in a thread."""
        pam = self._pam
        if b"\0" in password:
            return _AUTH_ERR, 0.0
        pauses_us: list[int] = []

        def note(code: int, pause_us: int, _: object) -> None:
            if code != _SUCCESS:
                pauses_us.append(pause_us)

        # Both are called from C, and must live until the handle is closed.
        delay = _DELAY(note)
        conversation = pam.new_simple_password_conv((password,), "utf-8")
        try:
            handle = pam.pam_start(self._service, login, conv_func=conversation)
        except pam.PAMError as error:
            return error.errno or _SYSTEM_ERR, 0.0
        code = _SYSTEM_ERR
        try:
            pam.PAM_SET_ITEM(handle, _PAM_FAIL_DELAY, ctypes.cast(delay, ctypes.c_char_p))
            if peer:
                handle.set_item(pam.PAM_RHOST, peer)
            code = pam.PAM_AUTHENTICATE(handle, _SILENT | _DISALLOW_NULL_AUTHTOK)
            if code == _SUCCESS:
                code = pam.PAM_ACCT_MGMT(handle, _SILENT | _DISALLOW_NULL_AUTHTOK)
        finally:
            pam.PAM_END(handle, code)
        return code, sum(pauses_us) / 1e6


def _make(sources: Sources) -> Pam:
    return Pam(load_pam(), sources.settings.authproxy_pam_service)


def _missing() -> str:
    try:
        load_pam()
    except ImportError as error:
        return str(error)
    return ""


def _check(settings: Settings) -> None:
    service = settings.authproxy_pam_service
    if not _SERVICE.fullmatch(service):
        raise Invalid(f"authproxy-pam-service: {service!r} is not the name of a PAM service")
    places = [Path(directory) / name for directory in _DIRECTORIES for name in (service.lower(), "other")]
    if not any(place.exists() for place in (*places, Path("/etc/pam.conf"))):
        raise Invalid(f"authproxy-pam-service: there is no {_DIRECTORIES[0]}/{service}")


DRIVER = Driver(_make, needs_superuser=True, missing=_missing, check=_check)
