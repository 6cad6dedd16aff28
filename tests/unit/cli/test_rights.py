"""msadm run by the superuser: nothing is imported once rights are given up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mstore.accounts.accounts import AccountRecord
from mstore.base.ids import AccountId
from mstore.store.append import NewMessage, append
from mstore.store.store import Store
from tests.unit.cli.conftest import Admin

ROOT = Path(__file__).resolve().parents[3]

AS_SUPERUSER = """
import os, sys

class Closed:
    def find_spec(self, name, path=None, target=None):
        raise ModuleNotFoundError(f"{name} is out of reach")

def give_up(*ids):
    sys.meta_path.insert(0, Closed())

os.geteuid = lambda: 0
os.chown = os.fchown = os.initgroups = os.setresgid = lambda *arguments, **options: None
os.setresuid = give_up
from mstore.cli.msadm import main
main()
"""


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("user", "add", "ann", "--password-stdin"),
        ("user", "remove", "joe", "--yes"),
        ("mailbox", "list", "joe"),
        ("mailbox", "create", "joe", "p\xe4"),
        ("mailbox", "delete", "joe", "work", "--yes"),
        ("mailbox", "rename", "joe", "INBOX", "old"),
    ],
)
def test_no_verb_imports_anything_after_rights_are_given_up(admin: Admin, words: tuple[str, ...]) -> None:
    if words[0] == "user" and os.geteuid() != 0:
        pytest.skip("needs the superuser, to whom the passwords belong")
    made = admin.add("joe")
    admin.ok("mailbox", "create", "joe", "work")
    store = Store(admin.settings.mailstores)
    record = AccountRecord(AccountId(made["id"]), "joe", made["mailstore"], True, None)
    inbox = store.account(record).open("INBOX")
    content = b"Subject: =?koi8-r?B?8NLJ18XU?=\r\n\r\nhello\r\n"
    append(inbox, [NewMessage(content, 1), NewMessage(content, 2)])
    inbox.release()
    store.close()
    done = subprocess.run(
        [sys.executable, "-c", AS_SUPERUSER, "-f", str(admin.config), *words],
        input="secret\n", text=True, capture_output=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
