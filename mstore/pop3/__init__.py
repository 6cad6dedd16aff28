"""POP3 (RFC 1939): sessions over one account's INBOX."""
