"""What dies again and again is shown, slowed down and counted; and an end that waits for no penalty."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

from tests.kit.clients import Imap
from tests.kit.instance import Instance, title, wait_for
from workers.metrics import read_scoreboard

LOOP = r"crashing: \d deaths in the last minute,( next start in \d+ s,)? last: killed by SIGSEGV"


def crash(find: Callable[[], int], times: int) -> None:
    """Kill what is found, and what comes in its place."""
    last = 0
    for _ in range(times):
        wait_for(lambda last=last: find() not in (0, last), 30, lambda: "nothing comes in its place")
        last = find()
        os.kill(last, signal.SIGSEGV)
    wait_for(lambda: find() != last, 30, lambda: "it does not die")


def test_crash_loops_are_shown_by_status_and_titles(make_store: Callable[..., Instance]) -> None:
    store = make_store(workers=1)
    store.tolerated.append(r"SIGSEGV|event=crash-loop")
    store.start()
    assert store.rc("status").returncode == 0

    crash(lambda: next(iter(store.worker_pids("lmtpd")), 0), 4)
    log = store.ms_path / "log" / "lmtpd.log"
    wait_for(lambda: log.read_text().count("event=child-ended") == 4, 30, log.read_text)
    wait_for(lambda: "crashing" in title(store.daemon_pid("lmtpd")), 30, lambda: "not in the title")
    assert re.search(rf"^m-store: lmtpd \[.*, {LOOP}\]$", title(store.daemon_pid("lmtpd")))
    done = store.rc("status", check=False)
    assert done.returncode == 1
    assert re.search(rf"^lmtpd .*{LOOP}$", done.stdout, re.MULTILINE), done.stdout
    said = log.read_text()
    assert said.count("event=crash-loop ") == 1 and said.count("event=child-ended") == 4

    def counted() -> tuple[int, int]:
        sums = read_scoreboard(store.ms_path / "run" / "lmtpd.scoreboard").sums
        return sums["worker_crashes"], sums["workers_crashing"]

    wait_for(lambda: counted() == (4, 1), 30, lambda: f"not counted: {counted()}")

    crash(lambda: store.daemon_pid("pop3d"), 4)
    wait_for(lambda: "pop3d crashing" in title(store.daemon_pid("storemgr")), 30, lambda: "not in the title")
    assert re.search(rf"; pop3d {LOOP}\]$", title(store.daemon_pid("storemgr")))
    done = store.rc("status", check=False)
    assert done.returncode == 1
    assert re.search(rf"^pop3d .*{LOOP}$", done.stdout, re.MULTILINE), done.stdout
    # A reload tries at once what waits for its next start.
    assert store.rc("reload").stdout == "reloaded\n"
    assert store.is_ready()
    store.stop()


def test_stopping_does_not_wait_for_penalties(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], ["shutdown-grace 60", "trusted-networks none"])
    store.start()
    clients = [Imap(store.imap_address) for _ in range(8)]
    for client in clients:
        client.send(b"".join(b"a%d LOGIN joe wrong\r\n" % attempt for attempt in range(5)))
    time.sleep(5)
    wait_for(lambda: "login-failed" in store.log_text(), 30, store.log_text)
    storemgr = store.daemon_pid("storemgr")
    os.kill(storemgr, signal.SIGTERM)
    # One that has ended has no title.
    took_s = wait_for(lambda: title(storemgr) == "", 60, lambda: store.describe(store.pids()))
    assert took_s < 12, f"stopping took {took_s:.1f} s"
    store.stop()
