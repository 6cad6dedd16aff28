"""Keying material exported from a TLS connection (RFC 5705), which Python's ssl does not give.

The function is asked of the very library that ssl is bound to, with the pointer that ssl's object holds.
Where that object lies otherwise in memory than is known here, or the library is another one, there is
nothing: every word that is relied on is compared with what Python itself says before the library is called.
"""

from __future__ import annotations

import _ssl
import ctypes
import sys
from functools import lru_cache
from typing import Any

CHANNEL_BINDING = b"EXPORTER-Channel-Binding"
"""RFC 9266 §4.2: with a context of no bytes, and 32 bytes long."""
_WORD = ctypes.sizeof(ctypes.c_void_p)
_HEAD = object.__basicsize__


@lru_cache(maxsize=1)
def _library() -> Any:
    """The library of ssl with the functions needed, or None."""
    if sys.implementation.name != "cpython":
        return None
    try:
        # Built into the interpreter, ssl has no file: then its library is among those of the program.
        library = ctypes.CDLL(getattr(_ssl, "__file__", None))
        library.SSL_get_SSL_CTX.restype = ctypes.c_void_p
        library.SSL_get_SSL_CTX.argtypes = [ctypes.c_void_p]
        library.SSL_export_keying_material.restype = ctypes.c_int
        library.SSL_export_keying_material.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int,
        ]  # fmt: skip
    except (OSError, AttributeError):
        return None
    return library


def _word(address: int) -> int:
    return ctypes.c_void_p.from_address(address).value or 0


def _pointer(library: Any, sock: Any) -> int:
    """The library's connection behind a TLS socket, 0 where it cannot be told for sure.

    Behind its head, ssl's object holds a weak reference to the socket, the library's connection, the context.
    """
    held: Any = getattr(sock, "_sslobj", None)
    if type(held) is not getattr(_ssl, "_SSLSocket", None) or type(held).__basicsize__ < _HEAD + 3 * _WORD:
        return 0
    at = id(held) + _HEAD
    context = held.context
    if _word(at + 2 * _WORD) != id(context):
        return 0
    connection, expected = _word(at + _WORD), _word(id(context) + _HEAD)
    if not connection or not expected or library.SSL_get_SSL_CTX(connection) != expected:
        return 0
    return connection


def export(sock: Any, label: bytes, size: int) -> bytes | None:
    """So many bytes for this label, with a context of no bytes; None where they cannot be had."""
    library = _library()
    connection = _pointer(library, sock) if library is not None else 0
    if not connection:
        return None
    out = ctypes.create_string_buffer(size)
    if library.SSL_export_keying_material(connection, out, size, label, len(label), b"", 0, 1) != 1:
        return None
    return out.raw
