"""Names of what is there, as arguments: what completion offers, and what is said when one is missing.

A kind is one of: ``user``; ``shared`` (the word ``shared/``); ``place``, the first word that names a mailbox
(a user, or a mailbox in full); ``mailbox`` (of that user); ``identifier`` of an access control list;
``group``; ``alias``; ``mailstore``; ``directory``. An argument of several words has a kind for each, and
``...`` where the last one repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from mstore.base.errors import MStoreError

_MOST = 2000
"""No more than so many names are offered."""
_SHOWN = 10
_REPEATS = "..."


class Names(click.ParamType[str]):
    """Text that names something; any text will do, the verb looks for it itself."""

    def __init__(self, kinds: str) -> None:
        self.name = kinds

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """The names that begin so; none where they cannot be read, without a word.

        Users choose the names of their mailboxes: what a terminal would obey is left out.
        """
        given = ctx.params.get(param.name or "")
        words = (given,) if isinstance(given, str) else tuple(given or ())
        kind = kind_at(self.name.split(), words if param.nargs == -1 else ())
        if kind == "directory":
            return [CompletionItem(incomplete, type="dir")]
        try:
            found = _find(ctx.find_root().params["config"], kind, words, incomplete)
            fitting = (name for name in found if name.startswith(incomplete) and name.isprintable())
            return [CompletionItem(name) for name in islice(fitting, _MOST)]
        except (MStoreError, OSError):
            return []

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str | None:
        """Which names there are, for who has left one out."""
        kind = self.name.split()[0]
        if ctx is None or kind not in ("user", "group", "alias", "mailstore"):
            return None
        try:
            found = list(_find(ctx.find_root().params["config"], kind, (), ""))
        except (MStoreError, OSError):
            return None
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return f"There are: {', '.join(found[:_SHOWN])}{more}" if found else f"There is no {kind} yet."


USER = Names("user")
USERS = Names("user ...")
USER_OR_SHARED = Names("user|shared")
USERS_OR_SHARED = Names("user|shared ...")
GROUP = Names("group")
ALIAS = Names("alias")
MAILSTORE = Names("mailstore")
MAILBOX = Names("place mailbox")


def kind_at(kinds: Sequence[str], words: Sequence[str]) -> str:
    """The kind of the word behind these; nothing where none is to come."""
    kinds = list(kinds)
    if "place" in kinds and words and "/" in words[kinds.index("place")]:
        kinds.remove("mailbox")  # It was given in full with the first word.
        kinds = ["place" if kind == "mailbox" else kind for kind in kinds]
    repeats = kinds[-1] == _REPEATS
    if repeats:
        kinds.pop()
    if len(words) < len(kinds):
        return kinds[len(words)]
    return kinds[-1] if repeats else ""


def _find(config: Path, kinds: str, words: Sequence[str], begun: str) -> Iterator[str]:
    from mstore.cli.site import Site

    site = Site(config)
    for kind in kinds.split("|"):
        if kind == "user":
            yield from (record.name for record in site.accounts().list())
        elif kind == "shared":
            yield "shared/"
        elif kind == "mailstore":
            yield from site.settings.mailstores
        elif kind == "group":
            yield from (group.name for group in site.accounts().groups.list())
        elif kind == "alias":
            yield from (alias for alias, _ in site.accounts().all_aliases())
        elif kind == "identifier":
            yield from ("anyone", "anonymous")
            yield from (f"group:{group.name}" for group in site.accounts().groups.list())
            yield from (record.name for record in site.accounts().list())
        elif kind in ("place", "mailbox"):
            from mstore.cli.mailboxnames import find_places, mailboxes_of

            yield from find_places(site, begun) if kind == "place" else mailboxes_of(site, words[-1])
