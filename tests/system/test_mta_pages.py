"""docs/postfix.md and docs/exim.md, typed and written as they stand.

Postfix is Debian's, with Debian's configuration below the page's; exim4 is unpacked over it, from where
test_exim.py has it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.debian import HOST, Debian, why_not
from tests.kit.installed import MSADM, PASSWORD, RC, add_users, configure, curl, install
from tests.kit.pages import block, blocks

EXIM = Path(os.environ.get("MSTORE_EXIM4", "/opt/exim4"))
pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]

CLIENT = """
import json, smtplib, ssl, sys
port, sender, recipients, user, password, size, text = json.load(sys.stdin)
answers = []
with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.com", timeout=60) as client:
    client.ehlo()
    if user:
        context = ssl.create_default_context(cafile="/etc/md/store/cert.pem")
        client._host = "mail.example.org"
        client.starttls(context=context)
        client.ehlo()
        try:
            client.login(user, password)
        except smtplib.SMTPAuthenticationError as error:
            answers.append(error.smtp_code)
            recipients = []
    if recipients:
        answers.append(client.mail(sender, ["SIZE=%d" % size] if size else [])[0])
    good = 0
    for recipient in recipients:
        code, words = client.rcpt(recipient)
        answers.append([code, words.decode()])
        good += code < 300
    if good:
        answers.append(client.data(text.encode())[0])
print(json.dumps(answers))
"""
"""What one SMTP session was answered: by MAIL, by each RCPT with its text, and by the message."""


@pytest.fixture(scope="module")
def layer() -> Iterator[Path]:
    with install() as layer:
        yield layer


@pytest.fixture
def debian(layer: Path) -> Iterator[Debian]:
    debian = Debian([layer])
    yield debian
    for command in ("tail -n 60 /var/log/mail.log /var/log/exim4/*log", "tail -n 40 /var/md/store/log/*.log"):
        print(debian.try_to(command)[1][-6000:])
    debian.remove()


class Mta:
    """A mail transport agent set up by its page, in front of a store that runs."""

    def __init__(self, debian: Debian, page: str) -> None:
        self.debian = debian
        configure(debian, text=block(page, "ms.conf"))
        add_users(debian)
        debian.run(f"{MSADM} user add eve@example.net --password-stdin", f"{PASSWORD}\n")
        debian.run(f"{RC} start; rsyslogd")

    def say(
        self, *recipients: str, port: int = 25, user: str = "", password: str = PASSWORD, size: int = 0,
        sender: str = "zoe@example.com",
    ) -> list:  # fmt: skip
        words = [port, sender, recipients, user, password, size, "Subject: by SMTP\r\n\r\nhello\r\n"]
        self.debian.write("/tmp/client.py", CLIENT)
        answers: list = json.loads(self.debian.run("python3 /tmp/client.py", json.dumps(words)))
        return answers

    def has(self, user: str, count: int, mailbox: str = "INBOX") -> None:
        """Wait until a mailbox has so many messages."""
        self.debian.wait(f"{MSADM} mailbox list {user} | grep -Eq '^{mailbox} +{count} '")


def check_what_the_pages_have_in_common(mta: Mta) -> None:
    debian = mta.debian
    debian.run(f"{MSADM} mailbox create joe important")
    answers = mta.say("joe@example.org", "joe+important@example.org", "eve@example.net")
    assert [answers[0], *(code for code, _ in answers[1:4]), answers[4]] == [250] * 5, answers
    mta.has("joe@example.org", 1)
    mta.has("joe@example.org", 1, "important")
    mta.has("eve@example.net", 1)
    assert curl(debian, "joe", f"imaps://{HOST}/INBOX;UID=1").startswith("Return-Path: <zoe@example.com>\n")
    for nobody in ("nobody@example.org", "joe@example.net", '"a\\"> b"@example.org'):
        _, (code, words) = mta.say(nobody)
        assert code == 550 and "5.1.1" in words, words
    debian.run(f"{MSADM} user add new@example.org --password-stdin", f"{PASSWORD}\n")
    assert mta.say("new@example.org")[1][0] == 250
    assert mta.say("new@example.org", size=60_000_000)[0] == 552
    assert mta.say("joe@elsewhere.example", port=587)[1][0] in (530, 550, 554)
    assert mta.say("ann@example.org", port=587, user="joe@example.org", sender="joe@example.org")[1][0] == 250
    assert mta.say("ann@example.org", port=587, user="joe@example.org", password="wrong") == [535]
    mta.has("ann@example.org", 1)
    debian.run(f"{MSADM} quota set eve@example.net --messages 1")
    assert mta.say("eve@example.net")[1][0] in (250, 452)


def test_postfix(debian: Debian) -> None:
    page = "docs/postfix.md"
    mta = Mta(debian, page)
    for path in ("/etc/default/saslauthd", "/etc/postfix/sasl/smtpd.conf"):
        debian.write(path, block(page, path))
    debian.run("cat >>/etc/postfix/main.cf", block(page, "main.cf"))
    for commands in blocks(page, "sh"):
        debian.run(f"set -e\n{commands}")
    check_what_the_pages_have_in_common(mta)
    debian.wait("postqueue -p | grep -q '452 4.2.2'")
    debian.run(f"{MSADM} quota set eve@example.net --messages none; postqueue -f")
    mta.has("eve@example.net", 2)
    debian.run(f"{RC} stop")
    assert mta.say("zoe@example.org")[1][0] == 450


@pytest.mark.skipif(not EXIM.is_dir(), reason="exim4 is not unpacked in /opt/exim4")
def test_exim(debian: Debian) -> None:
    page = "docs/exim.md"
    pack = ["tar", "-C", str(EXIM), "-cf", "-", "usr"]
    files = subprocess.run(pack, check=True, capture_output=True).stdout
    debian.run("tar -C / --keep-directory-symlink -xf -", files)
    debian.run("useradd --system --no-create-home Debian-exim")
    debian.run("install -d -o Debian-exim -m 750 /var/spool/exim4 /var/log/exim4")
    mta = Mta(debian, page)
    for path in ("/etc/exim4/exim4.conf", "/etc/default/saslauthd"):
        debian.write(path, block(page, path))
    for commands in blocks(page, "sh"):
        debian.run(f"set -e\n{commands}")
    debian.run("/usr/sbin/exim4 -bV && /usr/sbin/exim4 -bd -q30m")
    for port in (25, 587):  # The daemon goes into the background before it listens.
        debian.wait(f"""python3 -c 'import socket; socket.create_connection(("127.0.0.1", {port}))'""")
    check_what_the_pages_have_in_common(mta)
    debian.wait("grep -q '452 4.2.2' /var/log/exim4/mainlog")
    debian.run(f"{MSADM} quota set eve@example.net --messages none; exim4 -qff")
    mta.has("eve@example.net", 2)
    debian.run(f"{RC} stop")
    assert mta.say("zoe@example.org")[1][0] == 451
