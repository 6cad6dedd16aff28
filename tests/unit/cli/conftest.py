"""A message store in a temporary directory, and msadm run on it in this process."""

import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mstore.accounts import Accounts
from mstore.base.config import load
from mstore.base.options import Settings
from mstore.cli.msadm import msadm
from mstore.store.account import Account
from mstore.store.store import Store


class Admin:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._stores: list[Store] = []
        self.config = path / "ms.conf"
        user = pwd.getpwuid(os.geteuid()).pw_name
        self.config.write_text(
            f"ms-path {path}/ms\nmailstore main {path}/mail\nmailstore second {path}/mail2\n"
            f"default-domain example.com\nruntime-user {user}\nscram-iterations 4096\n"
        )

    @property
    def settings(self) -> Settings:
        return load(self.config)

    def account(self, user: str = "joe") -> Account:
        """An account's mail as a daemon of its own would have it open, until the test ends."""
        record = Accounts(self.settings.db_path).find(user)
        assert record is not None
        self._stores.append(Store.of(self.settings))
        return self._stores[-1].account(record)

    def close(self) -> None:
        for store in self._stores:
            store.close()

    def run(self, *words: str, text: str = "") -> Result:
        result = CliRunner().invoke(msadm, ["-f", str(self.config), *words], input=text, prog_name="msadm")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    def ok(self, *words: str, text: str = "") -> str:
        result = self.run(*words, text=text)
        assert result.exit_code == 0, result.output
        return result.output

    def json(self, *words: str, text: str = "") -> Any:
        return json.loads(self.ok(*words, "--json", text=text))

    def fails(self, *words: str, text: str = "") -> str:
        result = self.run(*words, text=text)
        assert result.exit_code in (1, 2), result.output
        return result.output

    def add(self, name: str) -> Any:
        return self.json("user", "add", name, "--password-stdin", text="secret\n")


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Admin]:
    umask = os.umask(0o022)
    admin = Admin(tmp_path)
    yield admin
    admin.close()
    os.umask(umask)


@pytest.fixture
def admin(bare: Admin) -> Admin:
    bare.ok("init")
    return bare
