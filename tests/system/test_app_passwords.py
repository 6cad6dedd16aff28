"""App passwords with programs that choose the mechanism themselves: each prefers another."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.instance import PASSWORD, Instance, wait_for
from tests.kit.programs import CERTIFICATE, TLS

CYRUS = Path("/usr/lib/cyrus/bin/pop3test")
OPTIONS = [f"tls-certificate {CERTIFICATE}", f"tls-key {TLS}/key.pem", "sasl-enable-digest-md5 on"]


def logins(store: Instance) -> list[str]:
    """The mechanisms of all logins at pop3d so far."""
    lines = (store.ms_path / "log" / "pop3d.log").read_text().splitlines()
    return [line.partition("mechanism=")[2].split()[0] for line in lines if "event=login " in line]


def cyrus(store: Instance, mechanism: str | None, password: str, *more: str) -> bool:
    """Whether somebody can log in, by Cyrus SASL; which mechanism it likes best where none is named."""
    command = [CYRUS, *(["-m", mechanism] if mechanism else []), *more, "-a", "joe", "-u", "joe"]
    command += ["-w", password, "-p", str(store.pop3_address[1])]
    done = subprocess.run(
        [*map(str, command), "127.0.0.1"], input="QUIT\r\n", capture_output=True, text=True, timeout=200
    )
    return "Authenticated." in done.stdout


@pytest.mark.skipif(not CYRUS.exists(), reason="pop3test is not installed")
def test_an_app_password_serves_every_mechanism(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], OPTIONS)
    store.start()
    app = store.msadm("user", "app-password", "add", "joe", "phone").stdout.strip()
    mechanisms = ["SCRAM-SHA-256", "DIGEST-MD5", "CRAM-MD5", "PLAIN"]
    assert app.encode() in (store.ms_path / "db" / "passwords" / "passwords.db").read_bytes()
    assert [cyrus(store, mechanism, app) for mechanism in mechanisms] == [True] * 4
    assert [cyrus(store, mechanism, PASSWORD) for mechanism in mechanisms] == [True] * 4
    assert logins(store) == mechanisms * 2
    assert not cyrus(store, "CRAM-MD5", app[::-1])

    store.msadm("user", "passwd", "joe", "--password-stdin", text="changed\n")
    assert cyrus(store, "SCRAM-SHA-256", "changed") and cyrus(store, "SCRAM-SHA-256", app)
    store.msadm("user", "app-password", "remove", "joe", "phone")
    assert [cyrus(store, mechanism, app) for mechanism in mechanisms] == [False] * 4
    store.stop()


@pytest.mark.skipif(not CYRUS.exists(), reason="pop3test is not installed")
def test_a_program_that_chooses_for_itself(make_store: Callable[..., Instance]) -> None:
    """Where no passwords are kept there is no CRAM-MD5 and no APOP; SCRAM does without."""
    store = make_store(["joe"], [*OPTIONS[:2], "sasl-enable-cram-md5 off", "sasl-enable-apop off"])
    store.start()
    app = store.msadm("user", "app-password", "add", "joe", "--service", "pop3").stdout.strip()
    assert cyrus(store, None, app, "-t", "")
    assert logins(store)[0].startswith("SCRAM-SHA-256")
    assert re.search("event=app-password-used .*user=joe label=1 ", store.log_text())
    kept = (store.ms_path / "db" / "passwords" / "passwords.db").read_bytes()
    assert app.encode() not in kept
    store.stop()


@pytest.mark.skipif(not CYRUS.exists(), reason="pop3test is not installed")
def test_one_that_was_made_before_a_mechanism_was_enabled_serves_it_after_a_login(
    make_store: Callable[..., Instance],
) -> None:
    without = ["sasl-enable-cram-md5 off", "sasl-enable-apop off"]
    store = make_store(["joe"], without)
    app = store.msadm("user", "app-password", "add", "joe").stdout.strip()
    text = store.config.read_text()
    store.config.write_text("\n".join(line for line in text.splitlines() if line not in without) + "\n")
    store.start()
    assert not cyrus(store, "CRAM-MD5", app)
    assert cyrus(store, "PLAIN", app)
    wait_for(lambda: cyrus(store, "CRAM-MD5", app), 30, lambda: "still not")
    store.stop()
