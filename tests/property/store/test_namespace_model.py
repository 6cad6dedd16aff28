"""CREATE, DELETE and RENAME against an obviously right model, and two readers that follow."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mstore.base.errors import Exists, HasInferiors, Invalid, MStoreError, NotFound
from mstore.base.ids import AccountId
from mstore.store.namestate import MailboxEntry
from mstore.store.store import Store
from tests.kit.record import Record

WORDS = st.sampled_from(["a", "b", "ab", "ü", "INBOX", "inbox"])
NAMES = st.lists(WORDS, min_size=1, max_size=4).map("/".join)


def fold(name: str) -> tuple[str, ...]:
    first, *rest = name.split("/")
    return ("INBOX" if first.lower() == "inbox" else first, *rest)


class Model:
    """Names as tuples; True where one can be selected."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, ...], bool] = {("INBOX",): True}

    def create(self, name: tuple[str, ...]) -> type[MStoreError] | None:
        if self.names.get(name):
            return Exists
        for depth in range(1, len(name)):
            self.names.setdefault(name[:depth], True)
        self.names[name] = True
        return None

    def delete(self, name: tuple[str, ...]) -> type[MStoreError] | None:
        if name == ("INBOX",):
            return Invalid
        if name not in self.names:
            return NotFound
        if self.beneath(name):
            if not self.names[name]:
                return HasInferiors
            self.names[name] = False
        else:
            del self.names[name]
            self.prune()
        return None

    def rename(self, old: tuple[str, ...], new: tuple[str, ...]) -> type[MStoreError] | None:
        if old not in self.names:
            return NotFound
        if new in self.names:
            return Exists
        if new[: len(old)] == old:
            return Invalid
        for depth in range(1, len(new)):
            self.names.setdefault(new[:depth], True)
        for name in [old, *self.beneath(old)]:
            self.names[new + name[len(old) :]] = self.names.pop(name)
        self.prune()
        return None

    def beneath(self, name: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [other for other in self.names if len(other) > len(name) and other[: len(name)] == name]

    def prune(self) -> None:
        for name in sorted(self.names, key=len, reverse=True):
            if not self.names[name] and not self.beneath(name):
                del self.names[name]


class Names(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="ms-names-"))
        self.writers = [Store({"main": self.path}).account(Record(AccountId("ab" * 8))) for _ in range(2)]
        self.model = Model()
        self.content: dict[str, MailboxEntry] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.path)

    @rule(writer=st.integers(0, 1), name=NAMES)
    def create(self, writer: int, name: str) -> None:
        self.compare(self.model.create(fold(name)), self.writers[writer].create, name)

    @rule(writer=st.integers(0, 1), name=NAMES)
    def delete(self, writer: int, name: str) -> None:
        self.compare(self.model.delete(fold(name)), self.writers[writer].delete, name)

    @rule(writer=st.integers(0, 1), old=NAMES, new=NAMES)
    def rename(self, writer: int, old: str, new: str) -> None:
        if fold(old) != ("INBOX",):
            self.compare(self.model.rename(fold(old), fold(new)), self.writers[writer].rename, old, new)

    def compare(self, expected: type[MStoreError] | None, change: object, *names: str) -> None:
        try:
            change(*names)  # type: ignore[operator]
            found = None
        except MStoreError as error:
            found = type(error)
        assert found == expected

    @invariant()
    def names_are_those_of_the_model(self) -> None:
        for writer in self.writers:
            found = {fold(name): not entry.no_select for name, entry in writer.mailboxes().items()}
            assert found == self.model.names

    @invariant()
    def directories_are_those_of_the_names(self) -> None:
        account = self.writers[0]
        entries = account.mailboxes().values()
        named = {entry.id for entry in entries if not entry.no_select}
        assert {path.name for path in account.path.iterdir() if path.is_dir()} == named
        assert len({entry.uid_validity for entry in entries if not entry.no_select}) == len(named)


Names.TestCase.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestNames = Names.TestCase
