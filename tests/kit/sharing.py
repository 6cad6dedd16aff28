"""A site where mailboxes are shared: two users and an administrator, each behind a gate of their own."""

from __future__ import annotations

from pathlib import Path

from mstore.store.access import Access
from mstore.store.rights import parse_rights
from tests.kit.mailhost import MailHost


class Site:
    """A site with joe, ann, and the administrator boss."""

    def __init__(self, path: Path) -> None:
        self.host = MailHost(path, admin_users=("boss",))
        for name in ("joe", "ann", "boss"):
            self.host.add(name)

    def __getattr__(self, name: str) -> Access:
        if name == "nobody":
            return Access(self.host.store, self.host.accounts, None)
        return Access(self.host.store, self.host.accounts, self.host.accounts.find(name))

    def share(self, name: str, identifier: str, rights: str) -> None:
        """Give rights to a mailbox of joe's, or a shared one."""
        access = self.boss if name.startswith("shared/") else self.joe
        access.set_acl(name, identifier, "=", parse_rights(rights))


def names(access: Access, prefix: str = "") -> list[str]:
    return list(access.listing(prefix))


def shown(access: Access, name: str) -> dict[str, str]:
    return {identifier: "".join(sorted(rights)) for identifier, rights in access.acl(name)}
