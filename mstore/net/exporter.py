"""Keying material of a TLS connection (RFC 8446 §7.5), which Python's ssl does not give.

OpenSSL's function for it is reached through ``_ssl``, the library that Python's TLS objects belong to. Where
such an object keeps OpenSSL's is known of CPython; that it is so is seen each time before it is used, by the
context that must stand beside it, and once by a whole conversation (``tls.make_context``).
"""

from __future__ import annotations

import _ssl
import ctypes
from typing import Any

LABEL = b"EXPORTER-Channel-Binding"
SIZE_BYTES = 32
"""RFC 9266 §2."""

_HEAD_BYTES = object.__basicsize__
_WORDS = ctypes.c_void_p * 3
"""The socket, OpenSSL's object, the context."""
_NEEDED_BYTES = _HEAD_BYTES + ctypes.sizeof(_WORDS)


def _find_function() -> Any:
    path = getattr(_ssl, "__file__", None)
    try:
        function: Any = ctypes.CDLL(path).SSL_export_keying_material if path else None
    except (OSError, AttributeError):
        return None
    if function is not None:
        function.restype = ctypes.c_int
        function.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int,
        ]  # fmt: skip
    return function


_EXPORT = _find_function()
_OBJECT: Any = getattr(_ssl, "_SSLSocket", None)


def export(inner: Any) -> bytes | None:
    """The material for channel binding of a TLS 1.3 connection, or None where it cannot be had.

    ``inner`` is the object of ``_ssl`` within an SSLSocket or SSLObject. Before TLS 1.3 the value does not
    always identify the connection (RFC 9266 §4.2).
    """
    if _EXPORT is None or type(inner) is not _OBJECT or type(inner).__basicsize__ < _NEEDED_BYTES:
        return None
    if inner.version() != "TLSv1.3":
        return None
    _, connection, context = _WORDS.from_address(id(inner) + _HEAD_BYTES)
    if not connection or context != id(inner.context):
        return None
    made = ctypes.create_string_buffer(SIZE_BYTES)
    if _EXPORT(connection, made, SIZE_BYTES, LABEL, len(LABEL), b"", 0, 1) != 1:
        return None
    return made.raw
