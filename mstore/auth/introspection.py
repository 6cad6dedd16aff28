"""Asking the issuer of an access token about it (RFC 7662): one HTTP request, in a thread, within limits."""

from __future__ import annotations

import base64
import http.client
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from mstore.base import blocking
from mstore.base.errors import Invalid, MStoreError, Unavailable

TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 1 << 16
MOST_AT_ONCE = 8
"""So many threads may wait for the other server; who comes next waits no longer than ``PATIENCE_S``."""
PATIENCE_S = 10.0
PAUSE_S = 0.02


class TokenRefused(MStoreError):
    """The token is no good; ``str()`` is for the log."""


class Introspection:
    """Asks one server. Follows no redirection and uses no proxy.

    ``tls`` is the client's context (``net.tls.make_client_context``) for a URL of https, which has no other.
    """

    def __init__(self, url: str, credentials: bytes | None = None, tls: Any = None) -> None:
        parts = urlsplit(url)
        try:
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            raise Invalid(f"{url}: has no port that can be") from None
        if parts.scheme == "https" and tls is None:
            raise Invalid(f"{url}: TLS is not to be had here")
        self._tls = tls if parts.scheme == "https" else None
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._head = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if credentials is not None:
            self._head["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
        self._under_way = 0

    @classmethod
    def of(cls, url: str, secret: Path | None, tls: Any = None) -> Introspection:
        """For the values of the options; the secret's first line is ``NAME:SECRET``.

        Raises: Invalid
        """
        if secret is None:
            return cls(url, tls=tls)
        try:
            line = secret.read_bytes().split(b"\n", 1)[0].strip()
        except OSError as error:
            raise Invalid(f"{secret}: {error.strerror}") from None
        name, colon, word = line.partition(b":")
        if not colon or not name or not word:
            raise Invalid(f"{secret}: its first line is not NAME:SECRET")
        # RFC 6749 §2.3.1: both are form-encoded first.
        return cls(url, f"{quote_plus(name)}:{quote_plus(word)}".encode(), tls)

    def ask(self, token: str) -> dict[str, Any]:
        """What the issuer says of a token that is active.

        Raises: TokenRefused; Unavailable when it does not say.
        """
        until_s = time.monotonic() + PATIENCE_S
        while self._under_way >= MOST_AT_ONCE:
            if time.monotonic() > until_s:
                raise Unavailable("too many questions about access tokens wait for an answer")
            blocking.sleep(PAUSE_S)
        self._under_way += 1
        try:
            status, answer = blocking.call(self._request, urlencode({"token": token}).encode())
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"oauth-introspection-url: {type(error).__name__}: {error}") from None
        finally:
            self._under_way -= 1
        if status != 200:
            raise Unavailable(f"oauth-introspection-url: answered with status {status}")
        try:
            claims = json.loads(answer)
        except (ValueError, RecursionError):
            raise Unavailable("oauth-introspection-url: the answer is not JSON") from None
        if not isinstance(claims, dict) or claims.get("active") is not True:
            raise TokenRefused("the issuer says that the token is not active")
        expires = claims.get("exp")
        if isinstance(expires, int | float) and expires < time.time():
            raise TokenRefused("the token has expired")
        return claims

    def _request(self, body: bytes) -> tuple[int, bytes]:
        """Ask; runs in a thread."""
        until_s = time.monotonic() + TIMEOUT_S
        connection = self._connect()
        try:
            connection.request("POST", self._target, body, self._head)
            response = connection.getresponse()
            answer = b""
            while data := response.read1(4096):
                answer += data
                if len(answer) > MAX_ANSWER_BYTES or time.monotonic() > until_s:
                    raise TimeoutError("the answer is too long, or takes too long")
            return response.status, answer
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._tls)
