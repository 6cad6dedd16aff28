"""How a password becomes a verifier, and how it is checked against one, whatever made it.

New verifiers are made by the scheme that ``password-scheme`` names, with settings that stand in each of
them, so changing these leaves older ones valid. A scheme that cannot hold a password (bcrypt ends after 72
bytes, libcrypt after 511) leaves it to argon2id, which can.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from mstore.accounts.verifier import Made, how_made
from mstore.auth import crypt, salted
from mstore.auth.prepare import MAX_PASSWORD_BYTES
from mstore.base.errors import Invalid

ARGON2_KIB, ARGON2_PASSES, ARGON2_LANES = 19_456, 2, 1
"""The smallest that RFC 9106 and common advice call strong; about 40 ms."""
SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P = 16, 8, 1
PBKDF2_ROUNDS = 210_000
BCRYPT_COST = 12
BCRYPT_BYTES = 72
SHA512_ROUNDS = 400_000
SHA512_DEFAULT = 5000
"""What a verifier means that does not say how many."""
ARGON2ID = "argon2id"
MOST = {"m": 1 << 20, "t": 50, "ln": 20, "r": 32, "p": 16, "rounds": 10_000_000}
"""No verifier may cost more, whoever made it."""

_PASSLIB = ("argon2", "scrypt", "pbkdf2-")
_CRYPT_DIGITS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
YESCRYPT = "j9T"
"""What libcrypt makes unless told otherwise: 16 MiB."""


class _Crypt(NamedTuple):
    """How libcrypt is asked for a verifier, and how long a password may be."""

    prefix: str
    cost: int
    most_bytes: int


_BY_CRYPT = {
    "bcrypt": _Crypt("$2b$", BCRYPT_COST, BCRYPT_BYTES),
    "sha512-crypt": _Crypt("$6$", SHA512_ROUNDS, crypt.MAX_PASSWORD_BYTES),
    "yescrypt": _Crypt("$y$", 0, crypt.MAX_PASSWORD_BYTES),
}
_FOREIGN = frozenset(
    ("CRYPT", "BLF-CRYPT", "ARGON2ID", "ARGON2I", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT")
)
"""Words before a verifier that say no more than the verifier itself."""


class Scheme:
    """Makes verifiers by one scheme, and checks those of all."""

    def __init__(self, name: str = ARGON2ID) -> None:
        from passlib.context import CryptContext  # takes 100 ms, which only who hashes should pay

        self.name = name
        self._context: Any = CryptContext(
            schemes=["argon2", "scrypt", "pbkdf2_sha512", "pbkdf2_sha256", "pbkdf2_sha1"],
            argon2__type="ID",
            argon2__memory_cost=ARGON2_KIB,
            argon2__time_cost=ARGON2_PASSES,
            argon2__parallelism=ARGON2_LANES,
            scrypt__rounds=SCRYPT_LOG_N,
            scrypt__block_size=SCRYPT_R,
            scrypt__parallelism=SCRYPT_P,
            pbkdf2_sha512__rounds=PBKDF2_ROUNDS,
        )

    def scheme_for(self, password: bytes) -> str:
        """The scheme that a verifier of this password is made by."""
        by_crypt = _BY_CRYPT.get(self.name)
        return ARGON2ID if by_crypt is not None and len(password) > by_crypt.most_bytes else self.name

    def check(self) -> None:
        """Pass a scheme that works on this system; costs a hash.

        Raises: Invalid.
        """
        by_crypt = _BY_CRYPT.get(self.name)
        if by_crypt is not None:
            try:
                crypt.make(b"x", by_crypt.prefix, 0)
            except LookupError:
                raise Invalid(f"this system's libcrypt does not make {self.name}") from None

    def hash(self, password: bytes) -> str:
        """A new verifier, with a salt of its own. Costs dozens to hundreds of milliseconds.

        Raises: Invalid when this system does not make such verifiers.
        """
        name = self.scheme_for(password)
        by_crypt = _BY_CRYPT.get(name)
        if by_crypt is not None:
            try:
                return crypt.make(password, by_crypt.prefix, by_crypt.cost)
            except LookupError:
                raise Invalid(f"this system's libcrypt does not make {name}") from None
        of_passlib = {"argon2id": "argon2", "scrypt": "scrypt", "pbkdf2-sha512": "pbkdf2_sha512"}[name]
        verifier: str = self._context.handler(of_passlib).hash(password)
        return verifier

    def verify(self, password: bytes, verifier: str) -> bool:
        """Whether a password is the one behind a verifier; one that cannot be read fits none."""
        made = how_made(verifier)
        if made is None or len(password) > MAX_PASSWORD_BYTES or b"\0" in password or _is_excessive(made):
            return False
        if made.scheme.startswith(_PASSLIB) and made.scheme != "scrypt-crypt":
            try:
                return bool(self._context.verify(password, verifier))
            except (ValueError, TypeError):
                return False
        if verifier.startswith("{"):
            return salted.verify(password, verifier)
        return crypt.verify(password, verifier)

    def is_current(self, verifier: str, password: bytes) -> bool:
        """Whether a verifier is as good as one that would be made of this password now."""
        made = how_made(verifier)
        if made is None or made.scheme != self.scheme_for(password):
            return False
        numbers = [int(number) for number in re.findall(r"(?<=[=$])\d+(?=[,$]|\Z)", made.setting)]
        if made.scheme == "argon2id":
            _, kib, passes, _ = numbers
            return kib >= ARGON2_KIB and passes >= ARGON2_PASSES
        if made.scheme == "scrypt":
            return numbers >= [SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P] and numbers[1] >= SCRYPT_R
        if made.scheme == "pbkdf2-sha512":
            return numbers[-1] >= PBKDF2_ROUNDS
        if made.scheme == "bcrypt":
            return int(made.setting[4:6]) >= BCRYPT_COST
        if made.scheme == "sha512-crypt":
            rounds = re.search(r"rounds=(\d+)", made.setting)
            return (int(rounds[1]) if rounds else SHA512_DEFAULT) >= SHA512_ROUNDS
        flavour, cost = made.setting[3:4], made.setting[4:5]
        return flavour == YESCRYPT[0] and _CRYPT_DIGITS.find(cost) >= _CRYPT_DIGITS.find(YESCRYPT[1])

    def keeps_all_of(self, verifier: str, password: bytes) -> bool:
        """Whether all of the password counts in a verifier: bcrypt looks at the first 72 bytes alone."""
        made = how_made(verifier)
        return made is None or made.scheme != "bcrypt" or len(password) <= BCRYPT_BYTES

    def read(self, text: str) -> str:
        """A verifier that was made elsewhere, as it is kept here.

        Raises: Invalid when nothing here can check passwords by it.
        """
        verifier = text.strip()
        if verifier.startswith("{"):
            word, end, rest = verifier[1:].partition("}")
            name = word.upper()
            verifier = rest if end and name in _FOREIGN else f"{{{name}}}{rest}"
        made = how_made(verifier)
        if made is None:
            raise Invalid(
                "the hash has none of the forms that are read: argon2 ($argon2id$), bcrypt ($2b$), scrypt"
                " ($scrypt$, $7$), PBKDF2 ($pbkdf2-sha512$), yescrypt ($y$), sha512-crypt ($6$), sha256-crypt"
                " ($5$), md5-crypt ($1$), {SSHA}, {SSHA256}, {SSHA512}"
            )
        if _is_excessive(made) or not self._can_read(verifier, made.scheme):
            raise Invalid(f"the hash is none of {made.scheme} that this system can read")
        return verifier

    def _can_read(self, verifier: str, scheme: str) -> bool:
        if verifier.startswith("{"):
            return salted.can_read(verifier)
        if not scheme.startswith(_PASSLIB) or scheme == "scrypt-crypt":
            return crypt.can_read(verifier)
        try:
            self._context.verify(b"x", verifier)
        except (ValueError, TypeError):
            return False
        return True


def _is_excessive(made: Made) -> bool:
    """Whether checking one password would cost what nobody wants to pay at a login."""
    named = re.findall(r"(\w+)=(\d+)", made.setting)
    rounds = re.fullmatch(r"\$pbkdf2[-a-z0-9]*\$(\d+)", made.setting)
    if rounds is not None:
        named = [("rounds", rounds[1])]
    return any(int(number) > MOST.get(name, int(number)) for name, number in named)
