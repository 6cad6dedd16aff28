"""The supervisor with children that are tiny programs."""

import itertools
import os
import signal
import subprocess
import sys
import time

from tests.unit.workers.running import ROOT

PRELUDE = """
import os, signal, sys, time
from mstore.base.log import Log
from mstore.base import clock
from workers import supervisor as module
from workers.signals import fork
from workers.supervisor import Child, Supervisor
boss = Supervisor(Log(), grace_s=2)
began = time.monotonic()
def say(*words):
    print(*words, flush=True)
def child(name, life, **more):
    def start():
        say("start", name, round(time.monotonic() - began, 1))
        return fork(life, boss.signals)
    return boss.add(Child(name, start, **more))
"""


def run(body: str, send: dict[float, int] | None = None) -> tuple[list[str], str, int]:
    """Run a supervisor: the lines it printed, its log, its exit status; signals are sent at these times."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + body],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    began = time.monotonic()
    for at, number in (send or {}).items():
        time.sleep(max(0.0, began + at - time.monotonic()))
        process.send_signal(number)
    out, log = process.communicate(timeout=60)
    assert "Traceback" not in log, log
    return out.splitlines(), log, process.returncode


def starts(lines: list[str], name: str) -> list[float]:
    return [float(line.split()[2]) for line in lines if line.startswith(f"start {name} ")]


def test_first_restart_is_immediate_then_it_backs_off() -> None:
    lines, log, status = run(
        """
child("short", lambda: 1)
sys.exit(boss.run())
""",
        {4.0: signal.SIGTERM},
    )
    times = starts(lines, "short")
    assert status == 0
    assert [round(b - a) for a, b in itertools.pairwise(times)] == [0, 1, 2]
    assert "event=backing-off" in log and 'how="exit 1"' in log


def test_a_silent_child_is_killed_and_replaced() -> None:
    lines, log, _ = run(
        """
module.SILENT_S = 0.5
child("mute", lambda: time.sleep(60) or 0, heartbeat=lambda: 0.0)
child("lively", lambda: time.sleep(60) or 0, heartbeat=clock.steady)
sys.exit(boss.run())
""",
        {2.0: signal.SIGTERM},
    )
    assert len(starts(lines, "mute")) >= 2 and len(starts(lines, "lively")) == 1
    assert "event=silent child=mute" in log and "killed by SIGKILL" in log


def test_children_are_stopped_by_rank() -> None:
    body = """
def life(name):
    def run():
        def end(*_):
            say("end", name)
            time.sleep(0.2)
            say("ended", name)
            os._exit(0)
        signal.signal(signal.SIGTERM, end)
        while True:
            time.sleep(10)
    return run
child("base", life("base"), rank=0)
child("top", life("top"), rank=1)
sys.exit(boss.run())
"""
    lines, _, status = run(body, {1.0: signal.SIGTERM})
    assert lines[2:] == ["end top", "ended top", "end base", "ended base"]
    assert status == 0


def test_who_ignores_sigterm_is_killed_in_the_end() -> None:
    began = time.monotonic()
    _, log, status = run(
        """
def life():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(10)
child("deaf", life)
sys.exit(boss.run())
""",
        {0.7: signal.SIGTERM},
    )
    assert status == 0 and "event=cut-off child=deaf" in log
    assert 2 < time.monotonic() - began < 10


def test_signals_become_calls_in_the_loop() -> None:
    lines, _, status = run(
        """
child("sleeper", lambda: time.sleep(60) or 0)
boss.on[signal.SIGHUP] = lambda: say("hangup")
boss.on[signal.SIGUSR1] = lambda: boss.stop(5)
sys.exit(boss.run())
""",
        {0.7: signal.SIGHUP, 1.0: signal.SIGUSR1},
    )
    assert lines[1:] == ["hangup"] and status == 5


def test_a_forked_child_has_default_signals() -> None:
    lines, _, _ = run(
        """
def life():
    say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, signal.pthread_sigmask(signal.SIG_BLOCK, []))
    return 0
def died(child, status):
    boss.stop()
child("c", life, died=died)
sys.exit(boss.run())
"""
    )
    assert lines[1:] == ["True set()"]


def test_descriptors_are_watched() -> None:
    lines, _, _ = run(
        """
read, write = os.pipe()
def readable():
    say("read", os.read(read, 10))
    boss.stop()
boss.watch(read, readable)
os.write(write, b"x")
sys.exit(boss.run())
"""
    )
    assert lines == ["read b'x'"]


def test_a_start_that_fails_is_tried_again() -> None:
    lines, log, _ = run(
        """
def start():
    say("start")
    raise BlockingIOError(11, "no more processes")
boss.add(Child("unborn", start))
sys.exit(boss.run())
""",
        {1.8: signal.SIGTERM},
    )
    assert len(lines) == 2 and log.count("event=start-failed") == 2


def test_wait_statuses_in_words() -> None:
    from workers.supervisor import describe_status

    pid = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", "exit 3")
    assert describe_status(os.waitpid(pid, 0)[1]) == "exit 3"
    pid = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", "kill -9 $$")
    assert describe_status(os.waitpid(pid, 0)[1]) == "killed by SIGKILL"
