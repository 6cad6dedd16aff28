"""What msadm does to accounts is logged, with who did it, whatever audit-log says; passwords are not."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from mstore.accounts import Accounts, LoginRules
from mstore.accounts.administrators import Administrators
from tests.kit import loglines
from tests.unit.cli.conftest import Admin

ME = pwd.getpwuid(os.getuid()).pw_name


def told(admin: Admin) -> list[dict[str, str]]:
    """The lines of the log, without what all have."""
    path = admin.path / "ms" / "log" / "msadm.log"
    lines = loglines.read(path) if path.exists() else []
    for line in lines:
        assert (line.pop("daemon"), line.pop("via"), line.pop("user")) == ("msadm", "msadm", ME)
        for name in ("time", "level", "pid"):
            del line[name]
    return lines


def test_every_act_on_an_account_is_told(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    admin.ok("user", "add", "joe", "--quota", "2M", "--password-stdin", text="secret\n")
    admin.ok("user", "passwd", "joe", "--password-stdin", text="other secret\n")
    admin.ok("user", "app-password", "add", "joe", "phone", "--service", "imap", "--service", "pop3")
    admin.ok("user", "app-password", "add", "joe")
    admin.ok("user", "app-password", "remove", "joe", "phone")
    admin.ok("quota", "set", "joe", "--storage", "none", "--messages", "7")
    admin.ok("user", "disable", "joe")
    admin.ok("user", "enable", "joe")
    admin.ok("user", "move", "joe", "second")
    admin.ok("user", "move", "joe", "second")
    admin.ok("alias", "add", "postmaster", "joe")
    admin.ok("alias", "remove", "postmaster")
    admin.ok("group", "add", "staff")
    admin.ok("group", "join", "staff", "joe")
    admin.ok("group", "leave", "staff", "joe")
    admin.ok("group", "remove", "staff", "--yes")
    admin.ok("user", "remove", "joe", "--yes")
    joe = {"account": "joe"}
    none: dict[str, Any] = {"limit_bytes": "none", "limit_messages": "none"}
    assert told(admin) == [
        {"event": "account-added", **joe, "mailstore": "main", **none, "limit_bytes": str(2 << 20)},
        {"event": "password-set", **joe},
        {"event": "app-password-added", **joe, "label": "phone", "service": "imap pop3"},
        {"event": "app-password-added", **joe, "label": "1"},
        {"event": "app-password-removed", **joe, "label": "phone"},
        {"event": "quota-set", **joe, **none, "limit_messages": "7"},
        {"event": "account-disabled", **joe},
        {"event": "account-enabled", **joe},
        {"event": "account-moved", **joe, "mailstore": "second"},
        {"event": "alias-added", **joe, "alias": "postmaster"},
        {"event": "alias-removed", **joe, "alias": "postmaster"},
        {"event": "group-added", "group": "staff"},
        {"event": "group-joined", **joe, "group": "staff"},
        {"event": "group-left", **joe, "group": "staff"},
        {"event": "group-removed", "group": "staff"},
        {"event": "account-removed", **joe, "mailstore": "second"},
    ]
    assert "secret" not in (admin.path / "ms" / "log" / "msadm.log").read_text()


def test_who_was_there_before_sudo_is_told(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "carol")
    admin.add("joe")
    (line,) = told(admin)
    assert (line["event"], line["by"]) == ("account-added", "carol")


def test_what_is_refused_is_not_told(admin: Admin) -> None:
    admin.add("joe")
    admin.fails("user", "add", "joe", "--password-stdin", text="x\n")
    admin.fails("user", "remove", "ann", "--yes")
    admin.fails("user", "remove", "joe")  # nobody there to be asked
    admin.fails("user", "disable", "ann")
    admin.fails("user", "app-password", "remove", "joe", "phone")
    admin.fails("quota", "set", "ann", "--storage", "1M")
    assert [line["event"] for line in told(admin)] == ["account-added"]


def test_an_account_that_comes_back_from_a_backup_is_told(admin: Admin, tmp_path: Path) -> None:
    admin.add("joe")
    admin.ok("backup", str(tmp_path / "backup"))
    admin.ok("user", "remove", "joe", "--yes")
    admin.ok("restore", str(tmp_path / "backup"), "joe")
    events = [(line["event"], line["account"]) for line in told(admin)]
    assert events == [("account-added", "joe"), ("account-removed", "joe"), ("account-restored", "joe")]


def test_a_disabled_account_cannot_log_in_and_says_so_in_the_list(admin: Admin) -> None:
    admin.add("joe")
    rules = LoginRules.of("example.com", False)
    accounts = Accounts(admin.settings.db_path, rules, Administrators.of((), None, rules))
    assert admin.json("user", "disable", "joe") == {"name": "joe", "enabled": False}
    record = accounts.find("joe")
    assert record is not None and not record.enabled
    assert admin.json("user", "list")[0]["enabled"] is False
    assert admin.ok("user", "enable", "joe") == "joe is enabled\n"
    record = accounts.find("joe")
    assert record is not None and record.enabled
    accounts.close()
