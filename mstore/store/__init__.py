"""Accounts, mailboxes and messages: what the protocols call."""
