"""The record of an account, for tests that have no account database."""

from __future__ import annotations

from typing import NamedTuple

from mstore.base.ids import AccountId


class Record(NamedTuple):
    """What a store needs to know of an account."""

    id: AccountId
    mailstore: str = "main"
    quota_bytes: int | None = None
    quota_messages: int | None = None
