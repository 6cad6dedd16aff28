import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mstore.accounts import Accounts
from mstore.base.ids import AccountId
from mstore.store.account import Account
from mstore.store.store import Store
from tests.unit.cli.conftest import Admin
from tests.unit.cli.test_mailbox import deliver


@pytest.fixture
def account(admin: Admin) -> Account:
    admin.add("joe")
    admin.ok("mailbox", "create", "joe", "bü/c")
    for _ in range(3):
        deliver(admin, "joe", "bü")
    record = Accounts(admin.settings.db_path).find("joe")
    assert record is not None
    account = Store(admin.settings.mailstores).account(record)
    mailbox = account.open("bü")
    mailbox.derived(mailbox.view().rows, [0])
    with mailbox.transaction() as tx:
        tx.flags([0], "add", tx.keyword_bits([b"$Forwarded", b"\\Seen"], True))
    with mailbox.transaction() as tx:
        tx.expunge([1])
    mailbox.release()
    return account


def dump(admin: Admin, path: Path) -> list[dict[str, Any]]:
    assert admin.ok("dump", str(path))
    return [json.loads(line) for line in admin.ok("dump", str(path), "--json").splitlines()]


def of(lines: list[dict[str, Any]], structure: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["structure"] == structure]


def test_a_catalog_shows_its_names(admin: Admin, account: Account) -> None:
    lines = dump(admin, account.path / "catalog")
    assert lines[0]["structure"] == "CatalogHeader"
    assert lines[0]["account_id"] == account.id
    found = {line["name"]: line["mailbox_id"] for line in of(lines, "NameSet")}
    assert found == {entry.name: entry.id for entry in account.mailboxes().values()}


def test_a_segment_shows_its_frames(admin: Admin, account: Account) -> None:
    lines = dump(admin, account.path / account.entry("bü").id / "messages.1")
    assert [frame["uid"] for frame in of(lines, "FrameHeader")] == [1, 2, 3]
    assert {frame["length"] for frame in of(lines, "FrameHeader")} == {20}
    assert lines[0]["mailbox_id"] == account.entry("bü").id


def test_a_journal_shows_what_happened(admin: Admin, account: Account) -> None:
    lines = dump(admin, account.path / account.entry("bü").id / "journal.1")
    assert [line["uid"] for line in of(lines, "Appended")] == [[1], [2], [3]]
    assert of(lines, "KeywordDefined")[0]["name"] == "$Forwarded"
    assert of(lines, "Expunged")[0]["uids"] == "2"


def test_a_journal_shows_where_blobs_were_put(admin: Admin, account: Account) -> None:
    mailbox = account.open("bü")
    with mailbox.transaction() as tx:
        tx.place_derived(np.array([1, 3, 4], np.uint32), np.array([64, 1 << 40, 128], np.uint64))
    mailbox.release()
    lines = dump(admin, account.path / account.entry("bü").id / "journal.1")
    found = of(lines, "DerivedAt")[-1]
    assert (found["uids"], found["offsets"]) == ([1, 3, 4], [64, 1 << 40, 128])
    assert of(lines, "Flagged")[-1]["uids"] == "1"
    assert not of(lines, "damage")


def test_an_index_shows_its_rows_and_keywords(admin: Admin, account: Account) -> None:
    mailbox = account.open("bü")
    mailbox.checkpoint()
    mailbox.release()
    lines = dump(admin, account.path / account.entry("bü").id / "index.2")
    assert [row["uid"] for row in of(lines, "Row")] == [1, 3]
    assert of(lines, "Keyword")[0]["name"] == "$Forwarded"
    assert {line["name"] for line in of(lines, "ColumnEntry")} >= {"uid", "flags", "modseq"}


def test_a_catalog_shows_who_may_do_what(admin: Admin, account: Account) -> None:
    admin.ok("acl", "set", "joe", "bü", "-anyone", "lrx")
    entries = of(dump(admin, account.path / "catalog"), "NameSet")
    assert [entry.get("acl") for entry in entries if entry["name"] == "bü"][-1] == {"-anyone": "lrxc"}
    assert "acl" not in entries[0]


def test_derived_shows_its_blobs(admin: Admin, account: Account) -> None:
    lines = dump(admin, account.path / account.entry("bü").id / "derived")
    assert sorted(blob["uid"] for blob in of(lines, "BlobHeader")) == [1, 2, 3]


def test_damage_is_shown_and_the_rest_too(admin: Admin, account: Account) -> None:
    path = account.path / account.entry("bü").id / "messages.1"
    data = path.read_bytes()
    path.write_bytes(data[:64] + b"\0" * 10 + data[64:-5])
    lines = dump(admin, path)
    assert len(of(lines, "FrameHeader")) == 3
    assert len(of(lines, "damage")) == 2
    catalog = account.path / "catalog"
    catalog.write_bytes(catalog.read_bytes()[:-9])
    assert of(dump(admin, catalog), "damage")


@pytest.mark.parametrize(
    "content",
    [b"", b"xy", b"not one of ours at all", b"MSct", b"MSix" + b"\0" * 500, b"MSix" + b"\xff" * 500],
)
def test_what_is_none_of_ours_is_one_clear_line(admin: Admin, content: bytes) -> None:
    path = admin.path / "file"
    path.write_bytes(content)
    result = admin.run("dump", str(path))
    assert result.exit_code == 1 or "Header" in result.output
    assert admin.fails("dump", str(admin.path / "nowhere"))


def test_an_index_shows_what_its_readers_have_seen(admin: Admin, account: Account) -> None:
    reader = AccountId("00000000000000ab")
    mailbox = account.open("bü", reader)
    with mailbox.transaction() as tx:
        tx.flags([2], "add", 1)
    mailbox.checkpoint()
    path, generation = mailbox.path, mailbox.journal.info.generation
    mailbox.release()
    (seen,) = of(dump(admin, path / f"journal.{generation - 1}"), "SeenBy")
    assert (seen["reader"], seen["uids"]) == (reader, "3")
    (entry,) = of(dump(admin, path / f"index.{generation}"), "ReaderEntry")
    assert entry["reader"] == reader
    assert entry["rows"] == [1]  # the second was expunged


def test_the_usage_shows_what_each_mailbox_holds(admin: Admin, account: Account) -> None:
    slots = of(dump(admin, account.path / "quota"), "UsageSlot")
    found = {slot["mailbox_id"]: (slot["size_bytes"], slot["messages"]) for slot in slots}
    assert found[account.entry("bü").id] == (40, 2)
