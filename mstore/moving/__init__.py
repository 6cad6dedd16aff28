"""Moving mail in from elsewhere and out again: Maildir, mbox, other IMAP servers."""
