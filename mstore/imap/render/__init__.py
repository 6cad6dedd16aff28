"""Messages and mailboxes as the bytes of IMAP responses."""
