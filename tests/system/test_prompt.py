"""Scripts of msadm on a store that runs."""

from __future__ import annotations

import imaplib
import json
import subprocess
import sys

import pytest

from tests.kit.instance import PASSWORD, Instance


def test_a_script_reaches_those_who_are_connected(store: Instance) -> None:
    imap = imaplib.IMAP4(*store.imap_address)
    imap.login("joe", PASSWORD)
    script = (
        "# one line after the other, each with the rights it needs\n"
        "who joe --json\nuser add ann --password-stdin\nsecret of ann\nmailbox create ann 'Sent Items'\n"
        "kick joe --yes\nuser remove nobody --yes\nkick ann --yes\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mstore.cli.msadm", "-f", str(store.config)],
        input=script, capture_output=True, text=True, timeout=240, env=store.environment(), cwd=store.path,
    )  # fmt: skip
    assert done.returncode == 1 and "this line has failed: user remove nobody --yes" in done.stderr
    sessions, end = json.JSONDecoder().raw_decode(done.stdout)
    assert [each["service"] for each in sessions] == ["imapd"]
    assert done.stdout[end:].split("\n")[1:-1] == [
        "added ann in mailstore main", "created Sent Items", "told to end: 1",
    ]  # fmt: skip
    with pytest.raises(imaplib.IMAP4.abort):
        imap.noop()
    again = imaplib.IMAP4(*store.imap_address)
    again.login("ann", "secret of ann")
    assert again.select('"Sent Items"')[0] == "OK"
    again.logout()
