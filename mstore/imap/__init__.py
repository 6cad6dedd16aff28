"""IMAP4rev1 (RFC 3501): sessions, grammar, commands and responses."""
