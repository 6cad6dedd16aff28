"""What a SASL mechanism is: an exchange that yields challenges, is sent responses, and returns who it is.

The same interface is a plugin's (``docs/authproxyd.md``). An exchange is a generator:

    def exchange(judge):
        response = yield b"challenge"
        judge.check_password(login, password)
        return Identity(login, authzid)

It raises ``Failed`` for everything that is not right. Names, passwords and tokens are given to the judge, who
lets nobody be asked about too often; whether somebody may act as ``authzid`` is the judge's business too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mstore.auth.offers import Offer

if TYPE_CHECKING:
    from mstore.auth.judge import Judge

AUTHENTICATIONFAILED = "AUTHENTICATIONFAILED"
AUTHORIZATIONFAILED = "AUTHORIZATIONFAILED"
UNAVAILABLE = "UNAVAILABLE"
MALFORMED = "MALFORMED"
"""The client's message is none of this mechanism: an error of syntax, not a wrong login."""

MAX_NAME_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has proved to be who.

    ``login`` is the name given; None is nobody in particular (ANONYMOUS). ``authzid`` is whom he wants to act
    as, empty for himself. ``final`` is what the client is told at success (RFC 4422 §3.6).
    """

    login: str | None
    authzid: str = ""
    final: bytes | None = None


class Failed(Exception):
    """The exchange has failed; ``data`` is a last challenge that tells the client why."""

    def __init__(
        self,
        code: str = AUTHENTICATIONFAILED,
        text: str = "login or password is wrong",
        data: bytes | None = None,
        end: bool = False,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.data = data
        self.end = end


Exchange = Generator[bytes, bytes, Identity]


@dataclass(frozen=True, slots=True)
class Question:
    """What a daemon says of the client who wants to prove who he is."""

    mechanism: str
    service: str
    """``imap``, ``pop3``, ``lmtp``."""
    peer: str
    server: str
    """The name by which the server presents itself."""
    tls: bool = False
    bindings: Mapping[str, bytes] = field(default_factory=dict)
    """Channel binding data by type (RFC 5929, RFC 9266)."""
    common_name: str | None = None
    """Of the certificate by which the client has presented itself, verified by TLS."""
    emails: tuple[str, ...] = ()
    initial: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One mechanism: what is said of it, and how it is carried on."""

    offer: Offer
    exchange: Callable[[Judge], Exchange]


def malformed(text: str = "the response is not one of this mechanism") -> Failed:
    """A message that is none."""
    return Failed(MALFORMED, text)


def take_first(judge: Judge) -> Generator[bytes, bytes, bytes]:
    """The first message where the client begins; asked for where it did not come along."""
    initial = judge.question.initial
    return (yield b"") if initial is None else initial


def refuse_initial(judge: Judge) -> None:
    """Have no initial response where the server begins.

    Raises: Failed (RFC 4959 §3, RFC 5034 §4)
    """
    if judge.question.initial is not None:
        raise malformed("this mechanism begins with the server")


def read_name(data: bytes) -> str:
    """A name of a client's message, which may be empty.

    Raises: Failed
    """
    if len(data) > MAX_NAME_BYTES:
        raise malformed("a name is too long")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise malformed("a name is not in UTF-8") from None
    if "\0" in text:
        raise malformed("a name contains NUL")
    return text
