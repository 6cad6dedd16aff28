"""Programs that fetch or look at mail: getmail over IMAP and POP3, curl with imap://, Cyrus' test clients."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.instance import PASSWORD, Instance, runtime_user
from tests.kit.programs import (
    CERTIFICATE,
    flags_by_subject,
    mailboxes_of,
    maildir_messages,
    needs,
    parsed,
    run,
    secret_file,
    unix,
    with_attachment,
    with_tls,
    without_header,
)

IMTEST = Path("/usr/lib/cyrus/bin/imtest")


@needs("getmail")
@pytest.mark.parametrize("protocol", ["IMAP", "POP3"])
def test_getmail_takes_each_message_once(store: Instance, protocol: str) -> None:
    texts = [with_attachment(number) for number in range(12)]
    client = store.imap("joe")
    client.append_all(texts, False)
    taken = store.path / "taken"
    # As the superuser getmail delivers only as somebody else.
    owner = runtime_user() if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    for path in (taken, taken / "cur", taken / "new", taken / "tmp"):
        path.mkdir()
        os.chown(path, owner.pw_uid, owner.pw_gid)
    address = store.imap_address if protocol == "IMAP" else store.pop3_address
    secret_file(
        store.path / "getmailrc",
        f"[retriever]\ntype = Simple{protocol}Retriever\nserver = 127.0.0.1\nport = {address[1]}\n"
        f"username = joe\npassword = {PASSWORD}\n"
        + ('mailboxes = ("INBOX", "Archive")\n' if protocol == "IMAP" else "")
        + f"\n[destination]\ntype = Maildir\npath = {taken}/\nuser = {owner.pw_name}\n\n"
        "[options]\nread_all = false\ndelete = {}\n".format("true" if protocol == "POP3" else "false"),
    )
    client.command(b"CREATE Archive")
    if protocol == "IMAP":
        client.append(with_attachment(20), "Archive")
        texts.append(with_attachment(20))

    def getmail() -> list[bytes]:
        run("getmail", f"--getmaildir={store.path}", "--rcfile=getmailrc", "--quiet", home=store.path)
        return [file.read_bytes() for file in maildir_messages(taken)]

    added = (b"return-path:", b"delivered-to:", b"received:", b"x-getmail-")
    assert sorted(without_header(text, *added) for text in getmail()) == sorted(map(unix, texts))
    client.append(with_attachment(30))
    assert len(getmail()) == len(texts) + 1
    assert len(getmail()) == len(texts) + 1
    assert client.select() == (0 if protocol == "POP3" else 13)
    client.logout()


@needs("curl")
def test_curl_appends_searches_fetches_and_commands(make_store: Callable[..., Instance]) -> None:
    store = with_tls(make_store)
    base = f"imap://localhost:{store.imap_address[1]}"
    options = ["-sS", "--user", f"joe:{PASSWORD}", "--ssl-reqd", "--cacert", str(CERTIFICATE)]

    def curl(*arguments: str) -> bytes:
        return run("curl", *options, *arguments)

    curl("-X", "CREATE Entw&APw-rfe", base)
    assert b'"/" INBOX' in curl(base) and b"Entw&APw-rfe" in curl(base)
    for number in range(3):
        upload = store.path / "upload"
        upload.write_bytes(with_attachment(number))
        curl("-T", str(upload), f"{base}/Entw%26APw-rfe")
    box = f"{base}/Entw%26APw-rfe"
    assert curl(f"{box};UID=2") == with_attachment(1)
    assert curl(f"{box};MAILINDEX=3") == with_attachment(2)
    assert curl(f"{box};UID=2;SECTION=TEXT") == with_attachment(1).partition(b"\r\n\r\n")[2]
    header = parsed(curl(f"{box};UID=1;SECTION=HEADER"))
    assert header["Subject"] == "attachment 0"
    assert curl(f"{box}?SUBJECT%20%22attachment%201%22") == b"* SEARCH 2\r\n"
    assert curl("-X", "UID SEARCH OR SUBJECT 0 SUBJECT 2", box) == b"* SEARCH 1 3\r\n"
    assert b"\\Flagged" in curl("-X", "STORE 1 +FLAGS (\\Flagged)", box)
    assert b"* 1 FETCH" in curl("-X", "FETCH 1:* (UID FLAGS)", box)
    assert b"MESSAGES 3" in curl("-X", "STATUS Entw&APw-rfe (MESSAGES)", base)
    curl("-X", "UID MOVE 3 INBOX", box)
    curl("-X", "STORE 2 +FLAGS (\\Deleted)", box)
    curl("-X", "EXPUNGE", box)
    assert set(flags_by_subject(store, "INBOX")) == {"attachment 2"}
    assert flags_by_subject(store, "Entw&APw-rfe")["attachment 0"] >= {"\\Flagged"}
    assert len(flags_by_subject(store, "Entw&APw-rfe")) == 1
    curl("-X", "DELETE Entw&APw-rfe", base)
    assert mailboxes_of(store) == {"INBOX"}
    store.stop()


@pytest.mark.skipif(not IMTEST.exists(), reason="cyrus-clients is not installed")
def test_cyrus_imtest_and_pop3test_log_in_through_tls_and_compression(
    make_store: Callable[..., Instance],
) -> None:
    store = with_tls(make_store)
    store.deliver("joe", with_attachment(1))

    login = ("-u", "joe", "-a", "joe", "-w", PASSWORD)

    def talk(program: str, port: int, *layers: str, text: str) -> str:
        done = subprocess.run(
            [IMTEST.parent / program, *layers, *login, "-p", str(port), "localhost"],
            input=text.replace("\n", "\r\n"),
            capture_output=True,
            timeout=200,
            text=True,
        )
        assert "Authenticated." in done.stdout, done.stdout + done.stderr
        return done.stdout

    tls, compression = ("-t", ""), ("-q",)
    for layers in ((), tls, compression, (*tls, *compression)):
        for mechanism in ("login", "plain"):
            told = talk(
                "imtest",
                store.imap_address[1],
                "-m",
                mechanism,
                *layers,
                text="a SELECT INBOX\nb FETCH 1 BODY.PEEK[]\n. LOGOUT\n",
            )
            assert "* 1 EXISTS" in told and "Subject: attachment 1" in told and "b OK FETCH" in told
            assert ("TLS connection established" in told) == ("-t" in layers)
            assert ("DEFLATE active" in told) == ("-q" in layers)
    told = talk("pop3test", store.pop3_address[1], "-m", "user", *tls, text="LIST\nQUIT\n")
    assert "TLS connection established" in told and "+OK 1 message" in told
    store.stop()
