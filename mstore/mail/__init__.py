"""Messages as bytes: pure functions from bytes to values; no I/O, no session, no store."""
