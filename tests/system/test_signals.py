"""Signals as the manual has them, daemons that run alone, and what happens at the second start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest

from bench.corpus import message
from tests.kit.instance import DAEMONS, SERVICES, Instance, title, wait_for


def is_titled(pid: int, daemon: str) -> bool:
    """Whether a process shows what it is."""
    return title(pid).startswith(f"m-store: {daemon}")


def test_sighup_appends_the_statistics_of_all_workers(store: Instance) -> None:
    for _ in range(10):
        store.imap("joe").logout()
    store.deliver("joe", message(1, 3000))
    for daemon in SERVICES:
        stats = store.ms_path / "log" / f"{daemon}.stats"
        before = stats.stat().st_size if stats.exists() else 0
        os.kill(store.daemon_pid(daemon), signal.SIGHUP)
        wait_for(
            lambda s=stats, b=before: s.exists() and s.stat().st_size > b,
            30,
            lambda d=daemon: f"no {d}.stats",
        )
    text = (store.ms_path / "log" / "imapd.stats").read_text()
    assert re.search(r"\blogins\s+10\b", text), text
    assert re.search(r"\bdeliveries\s+1\b", (store.ms_path / "log" / "lmtpd.stats").read_text())
    size = (store.ms_path / "log" / "imapd.stats").stat().st_size
    os.kill(store.daemon_pid("imapd"), signal.SIGHUP)
    wait_for(
        lambda: (store.ms_path / "log" / "imapd.stats").stat().st_size >= 2 * size - 100,
        30,
        lambda: "not appended",
    )
    store.imap("joe").logout()


@pytest.mark.parametrize("daemon", DAEMONS)
def test_sigterm_of_a_managed_daemon_has_it_restarted(store: Instance, daemon: str) -> None:
    before = store.daemon_pid(daemon)
    idle = store.imap("joe")
    idle.select()
    idle.idle()
    os.kill(before, signal.SIGTERM)
    wait_for(
        lambda: store.daemon_pid(daemon) not in (0, before) and store.is_ready(),
        60,
        lambda: f"{daemon} is not back",
    )
    if daemon == "imapd":
        assert idle.line().startswith(b"* BYE")
    else:
        idle.done()
    store.deliver("joe", message(1, 3000))
    client = store.imap("joe")
    assert client.select() == 1
    client.logout()


def test_every_daemon_runs_alone(make_store: Callable[..., Instance]) -> None:
    store = make_store()
    alone = {daemon: store.spawn(daemon) for daemon in DAEMONS}
    store.wait_ready()
    store.deliver("joe", message(1, 3000))
    client = store.imap("joe")
    assert client.select() == 1
    client.logout()
    for daemon, process in alone.items():
        assert store.daemon_pid(daemon) == process.pid
        # It has its title when all of its workers are ready, of which one was enough to answer.
        wait_for(partial(is_titled, process.pid, daemon), 60, partial(title, process.pid))
        process.terminate()
        assert process.wait(60) == 0, daemon
    store.assert_gone()
    store.assert_log_clean()
    store.assert_sound()


def test_a_second_instance_is_refused_by_the_lock_file(store: Instance) -> None:
    for daemon in ("storemgr", "imapd", "lmtpd", "authproxyd"):
        second = store.spawn(daemon)
        assert second.wait(60) not in (0, None), f"a second {daemon} runs"
    assert str(store.daemon_pid("storemgr")) in store.log_text()
    store.imap("joe").logout()
    store.tolerated.append(r"lock|already|runs")


@pytest.mark.parametrize("database", ["accounts.db", "passwords/passwords.db"])
def test_daemons_refuse_to_run_when_a_database_is_missing(
    make_store: Callable[..., Instance], database: str
) -> None:
    store = make_store()
    (store.ms_path / "db" / database).rename(store.path / "away")
    for daemon in (*DAEMONS, "storemgr"):
        log = store.log_text()
        process = store.spawn(daemon)
        try:
            assert process.wait(60) not in (0, None), f"{daemon} runs without {database}"
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{daemon} runs without {database}") from None
        said = store.log_text()[len(log) :]
        assert database in store.log_text() and "backup" in store.log_text(), f"{daemon} said {said}"
        assert "Traceback" not in said
    wait_for(lambda: not store.pids(), 30, lambda: f"left: {store.describe(store.pids())}")
    (store.path / "away").rename(store.ms_path / "db" / database)
    store.tolerated.append(r"backup|exit 78")
    store.start()
    store.imap("joe").logout()
    store.stop()


@pytest.mark.parametrize("daemon", [*DAEMONS, "storemgr"])
def test_version_and_help(make_store: Callable[..., Instance], daemon: str) -> None:
    store = make_store([])
    for argument in ("-v", "--help"):
        done = subprocess.run(
            [sys.executable, "-m", f"workers.{daemon}", argument],
            capture_output=True,
            text=True,
            timeout=200,
            env=store.environment(),
        )
        assert done.returncode == 0, done.stderr
        assert (
            re.search(r"\d+\.\d+", done.stderr + done.stdout) if argument == "-v" else daemon in done.stdout
        )
        if argument == "-v" and daemon == "authproxyd":
            assert "authdb" in done.stderr
