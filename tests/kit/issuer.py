"""An issuer of access tokens that is asked about them (RFC 7662): a server of HTTP or HTTPS in a thread."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.kit.certificates import Pair


class Issuer(http.server.ThreadingHTTPServer):
    """Answers every question alike, as it is told to; keeps what it was asked."""

    def __init__(self, claims: Mapping[str, object], pair: Pair | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None, bytes]] = []
        """Path, authorization and body of each question."""
        self.status, self.delay_s = 200, 0.0
        self.answer = json.dumps({"active": True, **claims}).encode()
        self.tls: ssl.SSLContext | None = None
        if pair is not None:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*pair)

    @property
    def url(self) -> str:
        """Where to ask, by a name that the certificate has."""
        where = "http://127.0.0.1" if self.tls is None else "https://localhost"
        return f"{where}:{self.server_port}/introspect?x=1"

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection; runs in a thread of its own."""
        with contextlib.suppress(OSError):
            if self.tls is not None:
                request = self.tls.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)


@contextmanager
def issuing(claims: Mapping[str, object], pair: Pair | None = None) -> Iterator[Issuer]:
    """A server that runs, under TLS where there is a certificate."""
    server = Issuer(claims, pair)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Issuer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        time.sleep(self.server.delay_s)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, format: str, *args: object) -> None: ...
