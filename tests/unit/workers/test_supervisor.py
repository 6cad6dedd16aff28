"""The supervisor with children that are tiny programs."""

import itertools
import os
import re
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
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole, beside what others say
def child(name, life, **more):
    def start():
        say("start", name, time.monotonic() - began)
        return fork(life, boss.signals)
    return boss.add(Child(name, start, **more))
say("ready")
"""


def run(body: str, *send: tuple[str, int], after_s: float = 0.0) -> tuple[list[str], str, int]:
    """Run a supervisor: the lines it printed, its log, its exit status.

    Each signal is sent when a line that begins so has come after the one before; the first so
    long afterwards.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + body],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, cwd=ROOT,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        lines = list[str]()
        for beginning, number in send:
            while True:
                line = process.stdout.readline().decode()
                assert line, f"it ended before {beginning!r}: {lines}"
                lines.append(line.removesuffix("\n"))
                if line.startswith(beginning):
                    break
            time.sleep(after_s)
            after_s = 0.0
            process.send_signal(number)
        out, log = (data.decode() for data in process.communicate(timeout=60))
    finally:
        process.kill()
    assert "Traceback" not in log, log
    return [*lines, *out.splitlines()], log, process.returncode


def starts(lines: list[str], name: str) -> list[float]:
    return [float(line.split()[2]) for line in lines if line.startswith(f"start {name} ")]


def test_first_restart_is_immediate_then_it_backs_off() -> None:
    lines, log, status = run(
        """
from workers import resting
resting.BEAT_S = 60.0  # no tick helps it
child("short", lambda: 1, died=lambda child, status: say("pause", child.pause_s()))
sys.exit(boss.run())
""",
        *[("start short ", 0)] * 4,
        ("start short ", signal.SIGTERM),
    )
    times, pauses_s = starts(lines, "short"), [0, 0, 1, 2]
    assert status == 0 and len(times) == 5
    assert [float(line.split()[1]) for line in lines if line.startswith("pause ")][:4] == pauses_s
    for (before, after), pause_s in zip(itertools.pairwise(times), pauses_s, strict=True):
        assert pause_s <= after - before < pause_s + 20
    assert log.count("event=crash-loop ") == 1 and 'how="exit 1"' in log
    assert len(re.findall("event=child-ended .*child=short", log)) == len(times)


def test_a_crash_loop_is_described_and_ends_with_a_steady_life() -> None:
    lines, log, _ = run(
        """
module.STEADY_S = 600
lives = [0] * 6
def life():
    if len(lives) > 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)
def start():
    tick()
    if lives:
        lives.pop()
    if len(lives) == 1:
        module.STEADY_S = 2  # for the one that stays; none before is to seem steady
    return fork(life, boss.signals)
weak = boss.add(Child("weak", start, last_words=lambda pid, status: "all [is]; lost\\nindeed"))
weak.died = lambda child, status: tick()
told = []
def tick():
    text = boss.describe_crashing()
    if text not in told[-1:]:
        told.append(text)
        say(f"now {text}")
boss._tick = tick
sys.exit(boss.run())
""",
        ("now crashing: 4 deaths in the last minute, last: ", 0),
        ("now \n", signal.SIGTERM),
    )
    assert any(
        line.startswith("now crashing: 4 deaths in the last minute, next start in ")
        and line.endswith(" s, last: killed by SIGSEGV: all (is), lost indeed")
        for line in lines
    ), lines
    assert (
        "now crashing: 4 deaths in the last minute, last: killed by SIGSEGV: all (is), lost indeed" in lines
    )
    assert lines[-1] == "now "
    assert log.count("event=crash-loop ") == log.count("event=crash-loop-ended ") == 1


def test_a_child_that_is_told_to_come_anew_does_not_crash() -> None:
    lines, _, _ = run(
        """
weak = child("weak", lambda: time.sleep(60) or 0)
boss.on[signal.SIGUSR1] = lambda: boss.restart(weak, signal.SIGTERM)
boss.on[signal.SIGHUP] = lambda: say(boss.crashes, boss.restarts)
sys.exit(boss.run())
""",
        *[("start weak ", signal.SIGUSR1)] * 5,
        ("start weak ", signal.SIGHUP),
        ("0 ", signal.SIGTERM),
    )
    assert len(starts(lines, "weak")) == 6 and lines[-1] == "0 5"


def test_a_child_told_to_end_is_killed_when_it_does_not() -> None:
    _, log, _ = run(
        """
def life():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("deaf now")
    time.sleep(60)
boss._grace_s = 0.5
deaf = child("deaf", life)
boss.on[signal.SIGUSR1] = lambda: boss.end(deaf)
deaf.died = lambda child, status: boss.stop()
sys.exit(boss.run())
""",
        ("deaf now", signal.SIGUSR1),
    )
    assert re.search("event=cut-off .*child=deaf", log) and "killed by SIGKILL" in log


def test_a_silent_child_is_killed_and_replaced() -> None:
    lines, log, _ = run(
        """
module.SILENT_S = 0.5
child("mute", lambda: time.sleep(60) or 0, heartbeat=lambda: 0.0)
child("lively", lambda: time.sleep(60) or 0, heartbeat=clock.steady)
sys.exit(boss.run())
""",
        ("start mute ", 0),
        ("start mute ", signal.SIGTERM),
    )
    assert len(starts(lines, "mute")) >= 2 and len(starts(lines, "lively")) == 1
    assert re.search("event=silent .*child=mute", log) and "killed by SIGKILL" in log


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
        say("up", name)
        while True:
            time.sleep(10)
    return run
boss._grace_s = 60
child("base", life("base"), rank=0)
child("top", life("top"), rank=1)
sys.exit(boss.run())
"""
    lines, _, status = run(body, ("up ", 0), ("up ", signal.SIGTERM))
    assert lines[4:] == ["end top", "ended top", "end base", "ended base"]
    assert status == 0


def test_who_ignores_sigterm_is_killed_in_the_end() -> None:
    began = time.monotonic()
    _, log, status = run(
        """
def life():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("deaf now")
    while True:
        time.sleep(10)
child("deaf", life)
sys.exit(boss.run())
""",
        ("deaf now", signal.SIGTERM),
    )
    assert status == 0 and re.search("event=cut-off .*child=deaf", log)
    assert 2 < time.monotonic() - began < 50


def test_signals_become_calls_in_the_loop() -> None:
    lines, _, status = run(
        """
child("sleeper", lambda: time.sleep(60) or 0)
boss.on[signal.SIGHUP] = lambda: say("hangup")
boss.on[signal.SIGUSR1] = lambda: boss.stop(5)
sys.exit(boss.run())
""",
        ("start sleeper ", signal.SIGHUP),
        ("hangup", signal.SIGUSR1),
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
tries = []
def start():
    say("start")
    tries.append(1)
    if len(tries) == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    raise BlockingIOError(11, "no more processes")
boss.add(Child("unborn", start))
sys.exit(boss.run())
"""
    )
    assert len(lines) == 2 and log.count("event=start-failed") == 2


def test_wait_statuses_in_words() -> None:
    from workers.supervisor import describe_status

    pid = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", "exit 3")
    assert describe_status(os.waitpid(pid, 0)[1]) == "exit 3"
    pid = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", "kill -9 $$")
    assert describe_status(os.waitpid(pid, 0)[1]) == "killed by SIGKILL"


def test_at_rest_it_looks_less_often_and_is_there_at_once_when_something_happens() -> None:
    lines, _, status = run(
        """
from workers import resting
resting.BEAT_S, resting.QUIET_S, resting.REST_S = 0.05, 0.2, 60.0
child("steady", lambda: time.sleep(60) or 0)
ticks, woken = [], []
def tick():
    ticks.append(1)
    if woken:
        say("ticked")
        woken.clear()
boss._tick = lambda: bool(tick())
def wake():
    say("at rest after", len(ticks) < 20)
    woken.append(1)
    boss.resting.note()
boss.on[signal.SIGUSR1] = wake
sys.exit(boss.run())
""",
        ("start steady ", signal.SIGUSR1),
        ("ticked", signal.SIGTERM),
        after_s=3.0,
    )
    assert (lines[1:], status) == (["at rest after True", "ticked"], 0)
