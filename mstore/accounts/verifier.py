"""The forms of password verifiers: which scheme made one, and with which settings.

A verifier says in its first part how it was made, and so what checking a password by it costs; the salt and
the hash follow. Only these forms are known here, in the ways they are commonly written; bcrypt of a cost
above 17 is none, for it would take minutes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_C = "[./0-9A-Za-z]"
_B64 = "[A-Za-z0-9+/]"


class Form(NamedTuple):
    """One form: the scheme, the part that says the cost, and the rest."""

    scheme: str
    setting: str
    rest: str


FORMS = (
    Form("argon2id", r"\$argon2id\$v=(?:16|19)\$m=\d{1,8},t=\d{1,4},p=\d{1,3}", rf"\${_B64}+\${_B64}+"),
    Form("argon2i", r"\$argon2i\$v=(?:16|19)\$m=\d{1,8},t=\d{1,4},p=\d{1,3}", rf"\${_B64}+\${_B64}+"),
    Form("argon2d", r"\$argon2d\$v=(?:16|19)\$m=\d{1,8},t=\d{1,4},p=\d{1,3}", rf"\${_B64}+\${_B64}+"),
    Form("scrypt", r"\$scrypt\$ln=\d{1,2},r=\d{1,3},p=\d{1,3}", rf"\${_B64}*\${_B64}{{43}}"),
    Form("pbkdf2-sha512", r"\$pbkdf2-sha512\$\d{1,9}", rf"\${_C}*\${_C}{{86}}"),
    Form("pbkdf2-sha256", r"\$pbkdf2-sha256\$\d{1,9}", rf"\${_C}*\${_C}{{43}}"),
    Form("pbkdf2-sha1", r"\$pbkdf2\$\d{1,9}", rf"\${_C}*\${_C}{{27}}"),
    Form("bcrypt", r"\$2[aby]\$(?:0[4-9]|1[0-7])", rf"\${_C}{{53}}"),
    Form("sha512-crypt", r"\$6\$(?:rounds=\d{4,9}\$)?", rf"{_C}{{0,16}}\${_C}{{86}}"),
    Form("sha256-crypt", r"\$5\$(?:rounds=\d{4,9}\$)?", rf"{_C}{{0,16}}\${_C}{{43}}"),
    Form("md5-crypt", r"\$1\$", rf"{_C}{{0,8}}\${_C}{{22}}"),
    Form("yescrypt", rf"\$y\${_C}{{3,16}}", rf"\${_C}*\${_C}{{43}}"),
    Form("gost-yescrypt", rf"\$gy\${_C}{{3,16}}", rf"\${_C}*\${_C}{{43}}"),
    Form("scrypt-crypt", rf"\$7\${_C}{{11}}", rf"{_C}*\${_C}{{43}}"),
    Form("ssha", r"\{S?SHA\}", rf"{_B64}{{27,}}={{0,2}}"),
    Form("ssha256", r"\{S?SHA256\}", rf"{_B64}{{43,}}={{0,2}}"),
    Form("ssha512", r"\{S?SHA512\}", rf"{_B64}{{86,}}={{0,2}}"),
)
_FORMS = tuple((form.scheme, re.compile(f"({form.setting})({form.rest})")) for form in FORMS)
MAX_VERIFIER_BYTES = 1024


class Made(NamedTuple):
    """How a verifier was made: the scheme, and the setting as it stands in the verifier."""

    scheme: str
    setting: str


def how_made(verifier: str) -> Made | None:
    """How a verifier was made, or None when it has none of the forms known here."""
    if len(verifier) > MAX_VERIFIER_BYTES:
        return None
    for scheme, form in _FORMS:
        found = form.fullmatch(verifier)
        if found is not None:
            return Made(scheme, found[1])
    return None


def setting_of(verifier: str) -> str:
    """What two verifiers have in common that cost the same to check; empty for what nothing can check."""
    made = how_made(verifier)
    return made.setting if made else ""


def scheme_of(setting: str) -> str:
    """The scheme that a setting belongs to; empty for none known here."""
    for form in FORMS:
        if re.fullmatch(form.setting, setting):
            return form.scheme
    return ""
