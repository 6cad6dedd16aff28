"""Limits on mail as the command line has them."""

from __future__ import annotations

from mstore.accounts.accounts import AccountRecord
from mstore.base.errors import Invalid
from mstore.base.values import parse_size

NO_LIMIT = "none"


def parse_storage(text: str, option: str = "--storage") -> int | None:
    """A limit on bytes as the command line has it; None for none.

    Raises: Invalid.
    """
    if text.casefold() == NO_LIMIT:
        return None
    try:
        return parse_size([text])
    except ValueError as error:
        raise Invalid(f"{option}: {error}") from None


def parse_messages(text: str, option: str = "--messages") -> int | None:
    """A limit on messages as the command line has it; None for none.

    Raises: Invalid.
    """
    if text.casefold() == NO_LIMIT:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Invalid(f"{option}: {text} is not a number of messages")
    return int(text)


def describe_limits(record: AccountRecord) -> dict[str, object]:
    """The limits of an account, for the log."""
    return {
        "limit_bytes": NO_LIMIT if record.quota_bytes is None else record.quota_bytes,
        "limit_messages": NO_LIMIT if record.quota_messages is None else record.quota_messages,
    }
