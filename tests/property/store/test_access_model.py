"""What users, an administrator and nobody in particular do to each other's mailboxes, against a model.

The model is a dict of names for each account, each with a dict of identifiers and letters, and computes
everything anew by the plainest reading of RFC 4314.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mstore.base.errors import Denied, Exists, HasInferiors, Invalid, MStoreError, NotFound
from mstore.store.access import Access
from tests.kit.mailhost import MailHost

EVERYTHING = set("lrswipkxtea")
USERS = ("joe", "ann", "boss")
ACCOUNTS = ("joe", "shared")
INNER = st.sampled_from(["a", "b", "a/a", "a/b", "a/b/a", "INBOX"])
PLACES = st.tuples(st.sampled_from(["joe", "joe", "joe", "shared"]), INNER)
IDENTIFIERS = st.sampled_from([*USERS, "anyone", "anonymous", "group:team"]).flatmap(
    lambda name: st.sampled_from([name, name, "-" + name])
)
RIGHTS = st.sets(st.sampled_from(sorted(EVERYTHING))).map(frozenset)
ACTORS = st.sampled_from([*USERS, None])


def full_name(actor: str | None, place: tuple[str, str]) -> str:
    account, inner = place
    if account == actor:
        return inner
    return f"shared/{inner}" if account == "shared" else f"user/{account}/{inner}"


def above(name: str) -> list[str]:
    """The levels above a name, the nearest first."""
    found = []
    while "/" in name:
        name = name.rpartition("/")[0]
        found.append(name)
    return found


class Name:
    """A name of an account: whether it can be selected, and its list."""

    def __init__(self, acl: dict[str, set[str]], selectable: bool = True) -> None:
        self.acl = {identifier: set(rights) for identifier, rights in acl.items()}
        self.selectable = selectable


class Model:
    def __init__(self) -> None:
        self.names: dict[str, dict[str, Name]] = {"joe": {"INBOX": Name({})}, "shared": {}}
        self.team: set[str] = set()

    def rights(self, actor: str | None, account: str, acl: dict[str, set[str]]) -> set[str]:
        means = ["anyone", "anonymous" if actor is None else actor]
        if actor in self.team:
            means.append("group:team")
        given = {right for who in means for right in acl.get(who, ())}
        taken = {right for who in means for right in acl.get("-" + who, ())}
        if actor == account:
            if actor not in acl:
                given |= EVERYTHING
            taken = acl.get(f"-{actor}", set())
        given -= taken
        if actor == account:
            given |= {"l", "a"}
        if actor == "boss":
            given |= set("lakx")
        if actor is None:
            given.discard("s")
        return given

    def at(self, actor: str | None, place: tuple[str, str]) -> set[str] | None:
        """Somebody's rights at a name, None where there is none."""
        account, inner = place
        name = self.names[account].get(inner)
        return None if name is None else self.rights(actor, account, name.acl)

    def needs(self, actor: str | None, place: tuple[str, str], right: str) -> type[MStoreError] | None:
        rights = self.at(actor, place)
        if rights is None or (right not in rights and "l" not in rights):
            return NotFound
        return None if right in rights else Denied

    def nearest_acl(self, place: tuple[str, str]) -> dict[str, set[str]]:
        names = self.names[place[0]]
        return next((names[level].acl for level in above(place[1]) if level in names), {})

    def may_create(self, actor: str | None, place: tuple[str, str]) -> type[MStoreError] | None:
        if place == ("shared", "INBOX"):
            return Invalid
        if "k" not in self.rights(actor, place[0], self.nearest_acl(place)):
            return Denied
        return None

    def make_levels(self, place: tuple[str, str]) -> None:
        names, acl = self.names[place[0]], self.nearest_acl(place)
        for level in above(place[1]):
            if level not in names:
                names[level] = Name(acl)

    def create(self, actor: str | None, place: tuple[str, str]) -> type[MStoreError] | None:
        refused = self.may_create(actor, place)
        if refused is not None:
            return refused
        names = self.names[place[0]]
        known = names.get(place[1])
        if known is not None and known.selectable:
            return Exists
        acl = known.acl if known is not None and known.acl else self.nearest_acl(place)
        self.make_levels(place)
        names[place[1]] = Name(acl)
        return None

    def delete(self, actor: str | None, place: tuple[str, str]) -> type[MStoreError] | None:
        refused = self.needs(actor, place, "x")
        if refused is not None:
            return refused
        account, inner = place
        names = self.names[account]
        if inner == "INBOX":
            return Invalid
        if any(name.startswith(inner + "/") for name in names):
            if not names[inner].selectable:
                return HasInferiors
            names[inner] = Name({}, selectable=False)
        else:
            del names[inner]
            self.prune(account, inner, set())
        return None

    def prune(self, account: str, gone: str, kept: set[str]) -> None:
        names = self.names[account]
        for level in above(gone):
            known = names.get(level)
            beneath = any(name.startswith(level + "/") for name in names)
            if known is None or known.selectable or beneath or level in kept:
                return
            del names[level]

    def rename(
        self, actor: str | None, old: tuple[str, str], new: tuple[str, str]
    ) -> type[MStoreError] | None:
        refused = self.needs(actor, old, "x") or self.may_create(actor, new)
        if refused is not None:
            return refused
        if old[0] != new[0]:
            return Invalid
        names = self.names[old[0]]
        if old[1] == "INBOX":
            if actor != old[0]:
                return Denied
            return self.create(actor, new)
        beneath = [name for name in names if name.startswith(old[1] + "/")]
        for name in beneath:
            if names[name].selectable and "x" not in self.rights(actor, old[0], names[name].acl):
                return Denied
        if new[1] in names:
            return Exists
        if new[1].startswith(old[1] + "/"):
            return Invalid
        kept = {level for level in above(new[1]) if level in names}
        self.make_levels(new)
        for name in (old[1], *beneath):
            names[new[1] + name[len(old[1]) :]] = names.pop(name)
        self.prune(old[0], old[1], kept)
        return None

    def change_acl(
        self, actor: str | None, place: tuple[str, str], identifier: str, op: str, rights: frozenset[str]
    ) -> type[MStoreError] | None:
        refused = self.needs(actor, place, "a")
        if refused is not None:
            return refused
        acl = self.names[place[0]][place[1]].acl
        if op == "delete":
            acl.pop(identifier, None)
            return None
        old = acl.get(identifier, set(EVERYTHING) if identifier == place[0] else set())
        acl[identifier] = {"+": old | rights, "-": old - rights, "=": set(rights)}[op]
        return None


class Sharing(RuleBasedStateMachine):
    """The model and the gates, side by side."""

    def __init__(self) -> None:
        super().__init__()
        shm = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
        self.host = MailHost(self.root, admin_users=("boss",))
        for user in USERS:
            self.host.add(user)
        self.host.accounts.make_shared("main")
        self.team = self.host.accounts.groups.add("team")
        self.model = Model()

    def teardown(self) -> None:
        self.host.close()
        shutil.rmtree(self.root)

    def gate(self, actor: str | None) -> Access:
        record = None if actor is None else self.host.accounts.find(actor)
        return Access(self.host.store, self.host.accounts, record)

    def compare(self, expected: type[MStoreError] | None, method: object, *arguments: object) -> None:
        assert callable(method)
        try:
            method(*arguments)
        except MStoreError as error:
            assert type(error) is expected, (error, expected)
        else:
            assert expected is None

    @rule(actor=ACTORS, place=PLACES)
    def create(self, actor: str | None, place: tuple[str, str]) -> None:
        self.compare(self.model.create(actor, place), self.gate(actor).create, full_name(actor, place))

    @rule(actor=ACTORS, place=PLACES)
    def delete(self, actor: str | None, place: tuple[str, str]) -> None:
        if place == ("shared", "INBOX"):
            return
        self.compare(self.model.delete(actor, place), self.gate(actor).delete, full_name(actor, place))

    @rule(actor=ACTORS, old=PLACES, new=PLACES)
    def rename(self, actor: str | None, old: tuple[str, str], new: tuple[str, str]) -> None:
        if ("shared", "INBOX") in (old, new):
            return
        expected = self.model.rename(actor, old, new)
        self.compare(expected, self.gate(actor).rename, full_name(actor, old), full_name(actor, new))

    @rule(actor=ACTORS, place=PLACES, identifier=IDENTIFIERS, op=st.sampled_from("+-=="), rights=RIGHTS)
    def set_acl(
        self, actor: str | None, place: tuple[str, str], identifier: str, op: str, rights: frozenset[str]
    ) -> None:
        if place == ("shared", "INBOX"):
            return
        expected = self.model.change_acl(actor, place, identifier, op, rights)
        name = full_name(actor, place)
        self.compare(expected, self.gate(actor).set_acl, name, identifier, op, rights)

    @rule(actor=ACTORS, place=PLACES, identifier=IDENTIFIERS)
    def delete_acl(self, actor: str | None, place: tuple[str, str], identifier: str) -> None:
        if place == ("shared", "INBOX"):
            return
        expected = self.model.change_acl(actor, place, identifier, "delete", frozenset())
        self.compare(expected, self.gate(actor).delete_acl, full_name(actor, place), identifier)

    @initialize(lists=st.lists(st.tuples(IDENTIFIERS, RIGHTS), min_size=5, max_size=5))
    def begin(self, lists: list[tuple[str, frozenset[str]]]) -> None:
        """There is something to begin with, and most of it is shared."""
        for inner, (identifier, rights) in zip(("a/a", "a/b/a", "a", "b", "INBOX"), lists, strict=True):
            if inner not in self.model.names["joe"]:
                self.create("joe", ("joe", inner))
            self.set_acl("joe", ("joe", inner), identifier, "=", rights)
            self.set_acl("joe", ("joe", inner), "ann", "+", frozenset("lx"))
            self.set_acl("joe", ("joe", inner), "group:team", "+", rights)

    @rule(user=st.sampled_from(USERS))
    def join_or_leave(self, user: str) -> None:
        record = self.host.accounts.find(user)
        assert record is not None
        if user in self.model.team:
            self.host.accounts.groups.leave(self.team, record.id)
        else:
            self.host.accounts.groups.join(self.team, record.id)
        self.model.team ^= {user}

    @invariant()
    def everybody_sees_what_he_may(self) -> None:
        for actor in (*USERS, None):
            gate = self.gate(actor)
            visible = set()
            for account in ACCOUNTS:
                for inner in self.model.names[account]:
                    place = (account, inner)
                    rights = self.model.at(actor, place)
                    assert rights is not None
                    name = full_name(actor, place)
                    if rights & set("lrikxa"):
                        assert gate.rights(name) == rights, name
                    else:
                        self.compare(NotFound, gate.rights, name)
                    if "l" in rights:
                        visible.add(name)
            prefix = "user/joe/" if actor == "boss" else ""
            seen = set(gate.listing(prefix)) | set(gate.listing("shared/"))
            assert seen - {"INBOX"} == visible - {"INBOX"}

    @invariant()
    def no_select_names_are_told_apart(self) -> None:
        entries = self.gate("joe").account.mailboxes()
        selectable = {name: not entry.no_select for name, entry in entries.items()}
        assert selectable == {name: known.selectable for name, known in self.model.names["joe"].items()}


Sharing.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSharing = Sharing.TestCase
