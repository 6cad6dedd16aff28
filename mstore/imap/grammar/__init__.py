"""The grammar of IMAP commands (RFC 3501 §9): bytes to values."""
