"""DIGEST-MD5 (RFC 2831), as authentication only (``qop=auth``), each time anew.

The mechanism is historic (RFC 6331) and off unless switched on. The host in ``digest-uri`` is not compared: a
server has more names than it knows of.
"""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import md5

from mstore.auth.judge import Judge
from mstore.auth.sasl.mechanism import Exchange, Failed, Identity, malformed

MAX_RESPONSE_BYTES = 4096
"""RFC 2831 §2.1.2."""
SERVICES = {"imap": (b"imap",), "pop3": (b"pop", b"pop3"), "lmtp": (b"smtp", b"lmtp")}
_PAIR = re.compile(
    rb"[ \t,]*([a-z-]+)[ \t]*=[ \t]*"
    rb'(?:"((?:[^"\\]|\\.)*)"|([^\x00-\x20()<>@,;:\\"/\[\]?={}]+))[ \t]*(?=,|\Z)',
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(.)", re.S)


def exchange(judge: Judge) -> Exchange:
    """Challenge, check the digest, and prove to know the password as well.

    A client that begins (subsequent authentication, RFC 2831 §2.2) is challenged like any other.
    """
    question = judge.question
    realm = (judge.site.realm or question.server).encode()
    nonce = secrets.token_urlsafe(24).encode()
    response = yield b'realm="%b",nonce="%b",qop="auth",charset=utf-8,algorithm=md5-sess' % (realm, nonce)
    given = parse_response(response)
    utf8 = given.get(b"charset", b"").lower() == b"utf-8"
    encoding = "utf-8" if utf8 else "latin-1"
    try:
        login, authzid = given[b"username"].decode(encoding), given.get(b"authzid", b"").decode()
        cnonce, uri, digest = given[b"cnonce"], given[b"digest-uri"], given[b"response"]
    except (KeyError, UnicodeDecodeError):
        raise malformed() from None
    fits = given.get(b"nonce") == nonce and given.get(b"nc") == b"00000001"
    fits = fits and given.get(b"qop", b"auth") == b"auth" and given.get(b"realm", b"") in (realm, b"")
    fits = fits and uri.split(b"/")[0].lower() in SERVICES.get(question.service, ())
    if not fits or not login or "\0" in login + authzid or not cnonce:
        raise malformed("the response does not fit the challenge")
    user = _narrow(given[b"username"]) if utf8 else given[b"username"]
    realm = _narrow(given.get(b"realm", b""))

    def answer(secret: bytes, second: bytes) -> bytes:
        first = b"%b:%b:%b" % (md5(b"%b:%b:%b" % (user, realm, _narrow(secret))).digest(), nonce, cnonce)
        if b"authzid" in given:
            first += b":" + given[b"authzid"]
        return compute(first, nonce, cnonce, second + b":" + uri)

    secret = judge.find_secret(login, lambda each: hmac.compare_digest(answer(each, b"AUTHENTICATE"), digest))
    if secret is None:
        raise Failed
    return Identity(login, authzid, b"rspauth=" + answer(secret, b""))


def compute(first: bytes, nonce: bytes, cnonce: bytes, second: bytes) -> bytes:
    """The response value for A1 and A2 (RFC 2831 §2.1.2.1)."""
    text = b"%b:%b:00000001:%b:auth:%b" % (_hex(first), nonce, cnonce, _hex(second))
    return _hex(text)


def parse_response(response: bytes) -> dict[bytes, bytes]:
    """The directives of a response.

    Raises: Failed
    """
    if len(response) > MAX_RESPONSE_BYTES:
        raise malformed("the response is too long")
    given: dict[bytes, bytes] = {}
    at = 0
    while at < len(response.rstrip(b" \t,")):
        found = _PAIR.match(response, at)
        if found is None or found[1] in given:
            raise malformed()
        given[found[1]] = _ESCAPE.sub(rb"\1", found[2]) if found[2] is not None else found[3]
        at = found.end()
    return given


def _hex(data: bytes) -> bytes:
    return md5(data).hexdigest().encode()


def _narrow(text: bytes) -> bytes:
    """UTF-8 text in ISO 8859-1 where it fits, as it is hashed (RFC 2831 §2.1.2.1)."""
    try:
        return text.decode().encode("latin-1")
    except UnicodeError:
        return text
