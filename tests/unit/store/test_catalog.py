import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.base.errors import Corrupt, NotFound, StorageFailed
from mstore.base.ids import AccountId, MailboxId
from mstore.files import raw
from mstore.files.cataloglayout import CATALOG
from mstore.files.layout import MAY_SKIP
from mstore.store import catalog as catalog_module
from mstore.store import namestate
from mstore.store.catalog import Catalog
from mstore.store.namestate import MailboxEntry, NameState

ID = AccountId("0123456789abcdef")


def make(path: Path) -> Catalog:
    found = Catalog(path, ID)
    found.create([])
    found.refresh()
    return found


def entry(name: str, number: int = 1) -> MailboxEntry:
    return MailboxEntry(name, namestate.format_id(number), 1000 + number)


def reread(path: Path) -> NameState:
    found = Catalog(path, ID)
    found.refresh()
    return found.state


def test_what_is_committed_is_read_by_others(tmp_path: Path) -> None:
    writer = make(tmp_path)
    reader = Catalog(tmp_path, ID)
    assert reader.refresh()
    assert not reader.refresh()
    writer.commit([namestate.name_set(entry("a")), namestate.subscribed("b")])
    assert reader.refresh()
    assert reader.state.entries == {"a": entry("a")}
    assert reader.state.subscriptions == {"b"}
    assert reader.state == writer.state == reread(tmp_path)


def test_a_missing_catalog_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Catalog(tmp_path, ID).refresh()


def test_every_cut_leaves_whole_groups(tmp_path: Path) -> None:
    writer = make(tmp_path)
    states = {os.path.getsize(writer.path): writer.state.copy()}
    for number in range(1, 5):
        writer.commit([namestate.name_set(entry(f"m{number}", number)), namestate.subscribed(f"m{number}")])
        states[os.path.getsize(writer.path)] = writer.state.copy()
    whole = Path(writer.path).read_bytes()
    first = min(states)
    for size in range(first, len(whole)):
        Path(writer.path).write_bytes(whole[:size])
        expected = states[max(end for end in states if end <= size)]
        assert reread(tmp_path) == expected, size


def test_a_torn_end_is_cut_by_the_next_writer(tmp_path: Path) -> None:
    writer = make(tmp_path)
    writer.commit([namestate.name_set(entry("kept"))])
    end = os.path.getsize(writer.path)
    writer.commit([namestate.name_set(entry("torn", 2))])
    os.truncate(writer.path, os.path.getsize(writer.path) - 3)
    again = Catalog(tmp_path, ID)
    again.refresh()
    again.commit([namestate.name_set(entry("new", 3))])
    assert set(reread(tmp_path).entries) == {"kept", "new"}
    assert os.path.getsize(writer.path) > end


def test_damage_before_the_end_is_not_taken_for_a_torn_end(tmp_path: Path) -> None:
    writer = make(tmp_path)
    ends = []
    for number in range(1, 4):
        ends.append(os.path.getsize(writer.path))
        writer.commit([namestate.name_set(entry(f"m{number}", number))])
    data = bytearray(Path(writer.path).read_bytes())
    data[ends[1] + 40] ^= 1
    Path(writer.path).write_bytes(data)
    again = Catalog(tmp_path, ID)
    again.refresh()
    assert set(again.state.entries) == {"m1"}
    with pytest.raises(Corrupt):
        again.commit([namestate.name_set(entry("new", 9))])
    assert Path(writer.path).read_bytes() == data


@pytest.mark.parametrize("at", [0, 5, 9, 20, 30, CATALOG.size + 20])
def test_a_damaged_beginning_is_corrupt(tmp_path: Path, at: int) -> None:
    path = Path(make(tmp_path).path)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(Corrupt):
        Catalog(tmp_path, ID).refresh()


def test_the_catalog_of_another_account_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(Corrupt):
        Catalog(tmp_path, AccountId("f" * 16)).refresh()


def test_a_long_catalog_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "REWRITE_BYTES", 2000)
    writer = make(tmp_path)
    reader = Catalog(tmp_path, ID)
    reader.refresh()
    sizes = []
    for number in range(1, 200):
        writer.commit([namestate.name_set(entry("same", number)), namestate.subscribed(f"s{number % 7}")])
        sizes.append(os.path.getsize(writer.path))
        reader.refresh()
        assert reader.state == writer.state
    assert max(sizes) < 4000
    assert reader.serial == writer.serial
    state = reread(tmp_path)
    assert state.entries == {"same": entry("same", 199)}
    assert state.uid_validity == 1199


def test_rewriting_keeps_what_a_newer_version_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = (999, MAY_SKIP, b"from the future")
    marked = MailboxEntry("a", namestate.format_id(7), 7, False, "\\Sent", attributes=((77, b"kept"),))
    writer = make(tmp_path)
    writer.commit([strange, namestate.name_set(marked), namestate.doomed(namestate.format_id(5))])
    monkeypatch.setattr(catalog_module, "REWRITE_BYTES", 0)
    for number in range(1, 30):
        writer.commit([namestate.name_set(entry("b", number))])
    state = reread(tmp_path)
    assert state.strange == [strange]
    assert state.entries["a"] == marked
    assert state.doomed == {namestate.format_id(5)}


def test_a_record_that_must_not_be_skipped_stops_an_older_version(tmp_path: Path) -> None:
    writer = make(tmp_path)
    with pytest.raises(Corrupt, match="newer version"):
        writer.commit([(999, 0, b"")])


def test_the_highest_uid_validity_survives_its_mailbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "REWRITE_BYTES", 0)
    writer = make(tmp_path)
    writer.commit([namestate.name_set(entry("a", 500))])
    writer.commit([namestate.name_removed("a", namestate.format_id(500))])
    for _ in range(10):
        writer.commit([namestate.subscribed("x")])
    state = reread(tmp_path)
    assert (state.entries, state.uid_validity, state.doomed) == ({}, 1500, {MailboxId(f"{500:016x}")})


class Failing(raw.System):
    """Syncs fail while ``broken``."""

    broken = False

    def sync(self, fd: int) -> None:
        if self.broken:
            raise OSError(5, "Input/output error")
        super().sync(fd)


@pytest.fixture
def failing() -> Iterator[Failing]:
    system = Failing()
    before = raw.install(system)
    yield system
    raw.install(before)


def test_a_failed_sync_leaves_nothing_and_readers_recover(tmp_path: Path, failing: Failing) -> None:
    writer = make(tmp_path)
    writer.commit([namestate.name_set(entry("a"))])
    reader = Catalog(tmp_path, ID)
    reader.refresh()
    failing.broken = True
    with pytest.raises(StorageFailed):
        writer.commit([namestate.name_set(entry("b", 2))])
    failing.broken = False
    assert set(reread(tmp_path).entries) == {"a"}
    writer.refresh()
    writer.commit([namestate.name_set(entry("c", 3))])
    reader.refresh()
    assert set(reader.state.entries) == set(writer.state.entries) == {"a", "c"}


def test_a_change_is_seen_by_nobody_before_it_is_on_disk(tmp_path: Path) -> None:
    writer, reader = make(tmp_path), Catalog(tmp_path, ID)
    seen: list[frozenset[str]] = []

    class Watching(raw.System):
        def sync(self, fd: int) -> None:
            reader.refresh()
            seen.append(frozenset(reader.state.subscriptions))
            super().sync(fd)

    before = raw.install(Watching())
    try:
        writer.commit([namestate.subscribed("a")])
    finally:
        raw.install(before)
    assert seen == [frozenset()]
    assert reader.pending
    assert reader.refresh()
    assert reader.state.subscriptions == {"a"}


def test_a_change_whose_release_was_lost_takes_effect(tmp_path: Path) -> None:
    writer = make(tmp_path)
    end = writer.end
    writer.commit([namestate.subscribed("a")])
    with open(writer.path, "r+b") as file:
        file.seek(end)
        file.write(b"wait")
    reader = Catalog(tmp_path, ID)
    reader.refresh()
    assert not reader.state.subscriptions
    reader.settle()
    assert reader.state.subscriptions == {"a"} == reread(tmp_path).subscriptions
    assert not reader.pending
