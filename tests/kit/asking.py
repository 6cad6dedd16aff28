"""Asking authproxyd about a password, as a worker does."""

from __future__ import annotations

from mstore.auth.client import Accepted, AuthClient, Facts
from mstore.auth.verdict import Verdict
from tests.kit.instance import Instance


def ask(store: Instance, login: str, password: str) -> Verdict:
    """Whether somebody may log in with a password.

    Raises: Unavailable.
    """
    client = AuthClient(store.ms_path / "ipc" / "authproxyd-sasl")
    facts = Facts("imap", "127.0.0.1", "mail.test.example")
    return Verdict(isinstance(client.check_password(login.encode(), password.encode(), facts), Accepted))
