"""docs/operations.md, typed as it stands, in a store that has some mail, on a Debian of its own."""

from __future__ import annotations

import pytest

from tests.kit.debian import HOST, Debian, why_not
from tests.kit.installed import RC, add_users, configure, curl, install, start_mta
from tests.kit.pages import blocks

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/md/bin"


def test_every_command_does_what_it_is_for() -> None:
    with install() as layer:
        debian = Debian([layer])
        try:
            configure(debian)
            add_users(debian)
            debian.run(f"{RC} start; mkdir /backup")
            start_mta(debian)
            debian.run("sendmail -f ann@example.org joe@example.org", "Subject: one\n\none\n")
            debian.wait("grep -q status=sent /var/log/mail.log")
            debian.run("echo 1 >/var/md/store/log/imapd.log.1.gz")
            debian.try_to("curl -s --user joe:wrong imap://127.0.0.1/")
            for kind in ("sh", "text"):  # What would undo the rest comes last.
                for commands in blocks("docs/operations.md", kind):
                    print(debian.run(f"set -e\n{commands}", PATH=PATH))
            assert curl(debian, "joe", f"imaps://{HOST}/INBOX;UID=1").endswith("\n\none\n")
        finally:
            print(debian.try_to("tail -n 40 /var/md/store/log/*.log")[1][-6000:])
            debian.remove()
