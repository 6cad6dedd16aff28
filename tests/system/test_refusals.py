"""etc/nologin, and wrong configurations: every error at once, with file, line and the nearest name."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.corpus import message
from tests.kit.clients import closed, raw
from tests.kit.instance import Instance, wait_for


def test_nologin_shuts_the_doors_of_imap_and_pop3(store: Instance) -> None:
    nologin = store.ms_path / "etc" / "nologin"
    nologin.parent.mkdir(exist_ok=True)
    nologin.write_text("Down for a new disk until noon\nnot this line\n")
    said = closed(raw(store.imap_address))
    assert b"* BYE" in said and b"[ALERT] Down for a new disk until noon" in said
    assert b"not this" not in said and b"* OK" not in said
    said = closed(raw(store.pop3_address))
    assert said.startswith(b"-ERR") and b"Down for a new disk until noon" in said
    store.deliver("joe", message(1, 2000))
    nologin.unlink()
    client = store.imap("joe")
    assert client.select() == 1
    client.logout()


def test_configtest_shows_every_error_with_its_line_and_the_nearest_name(
    make_store: Callable[..., Instance],
) -> None:
    store = make_store()
    good = store.rc("configtest")
    assert good.returncode == 0
    lines = store.config.read_text().splitlines()
    lines += ["imapd-lisen *:143", "cleartext-login-enable maybe", "mailstore", "imapd-workers many"]
    store.config.write_text("\n".join(lines) + "\n")
    done = store.rc("configtest", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    first = len(lines) - 3
    for number, words in enumerate(
        (("imapd-lisen", "imapd-listen"), ("cleartext-login-enable",), ("mailstore",), ("imapd-workers",))
    ):
        line = next(
            (
                line
                for line in said.splitlines()
                if f"ms.conf:{first + number}" in line or f"line {first + number}" in line
            ),
            "",
        )
        assert line, f"nothing about line {first + number}:\n{said}"
        assert all(word in line for word in words), line
    assert "Traceback" not in said
    process = store.spawn("storemgr")
    assert process.wait(60) != 0
    assert "imapd-lisen" in store.log_text() and "Traceback" not in store.log_text()
    assert not store.pids()


def test_a_log_that_cannot_be_opened_is_named_at_once(make_store: Callable[..., Instance]) -> None:
    store = make_store()
    log = store.ms_path / "log" / "imapd.log"
    log.mkdir(parents=True)
    started = time.monotonic()
    done = store.rc("start", check=False)
    assert done.returncode == 1 and time.monotonic() - started < 50, "it was waited for"
    assert f"imapd: {log}: Is a directory" in done.stderr
    wait_for(lambda: not store.pids(), 30, lambda: f"left: {store.describe(store.pids())}")
    log.rmdir()


def test_a_socket_that_somebody_removed_does_not_disturb_the_end(make_store: Callable[..., Instance]) -> None:
    store = make_store()
    store.rc("start")
    (store.ms_path / "ipc" / "authproxyd").unlink()
    store.rc("stop")
    assert "Traceback" not in (store.ms_path / "log" / "authproxyd.log").read_text()


def test_what_runs_is_seen_and_stopped_whatever_its_configuration_says_by_now(
    make_store: Callable[..., Instance],
) -> None:
    store = make_store()
    store.start()
    with store.config.open("a") as config:
        config.write("nonsense on\n")
    for verb, status in (("reload", 6), ("status", 0), ("stop", 0)):
        done = store.rc(verb, check=False)
        assert done.returncode == status, done
        assert "nonsense: unknown option" in done.stderr
    store.assert_gone()
