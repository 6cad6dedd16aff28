"""What POP3 clients know messages by stays the same, whatever the administrator does to the store."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

from tests.kit.instance import Instance
from tests.kit.mail import make_content


def unique_ids(store: Instance) -> list[bytes]:
    """As UIDL lists them."""
    client = store.pop3("joe")
    lines = client.many(b"UIDL").splitlines()
    client.command(b"QUIT")
    client.close()
    return lines


def test_unique_ids_survive_rebuilding_and_a_copy_of_the_store(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"])
    store.start()
    for number in range(5):
        store.deliver("joe", make_content(number))
    client = store.pop3("joe")
    client.command(b"DELE 2")
    client.command(b"QUIT")
    before = unique_ids(store)
    assert len(set(before)) == 4
    store.stop()

    store.msadm("rebuild", "joe", "INBOX")
    # As a backup is made and restored: other inodes, other times.
    for path in (store.mail_path, store.ms_path):
        copy = path.with_suffix(".copy")
        subprocess.run(["cp", "-R", "--preserve=mode,ownership", path, copy], check=True)
        shutil.rmtree(path)
        copy.rename(path)
    store.start()
    assert unique_ids(store) == before
    store.msadm("compact", "joe")
    assert unique_ids(store) == before
    store.deliver("joe", make_content(9))
    after = unique_ids(store)
    assert after[:4] == before and after[4].split()[1] not in {line.split()[1] for line in before}
    store.stop()
