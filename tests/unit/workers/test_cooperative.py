"""The gevent way to wait; each test runs in a process of its own, where an event loop may be made."""

import subprocess
import sys
import textwrap

from tests.unit.workers.running import ROOT

PRELUDE = """
import os, time, gevent
from mstore.base import blocking
from mstore.base.log import Log
from workers.cooperative import Cooperative, take_over_errors
log = Log()
take_over_errors(log)
waiting = Cooperative(log, threads=4)
blocking.install(waiting)
def until(come):
    end = time.monotonic() + 30
    while not come() and time.monotonic() < end:
        gevent.sleep(0.002)
"""


def run(body: str) -> str:
    """Run statements after the prelude; what they print."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(body)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def test_call_lets_the_others_run() -> None:
    out = run("""
        ticks = []
        def tick():
            while True:
                ticks.append(1)
                gevent.sleep(0.01)
        gevent.spawn(tick)
        def work():
            end = time.monotonic() + 30
            while len(ticks) <= 10 and time.monotonic() < end:
                time.sleep(0.01)
            return 7
        assert blocking.call(work) == 7
        print("ticks" if len(ticks) > 10 else len(ticks))
    """)
    assert out.strip() == "ticks"


def test_what_is_brief_runs_at_once_for_who_works_alone_and_beside_others_otherwise() -> None:
    out = run("""
        import threading
        from workers import brief
        brief.BRIEF_S = brief.RIVAL_S = 30  # Whatever else this machine does meanwhile.
        def where():
            return threading.current_thread() is threading.main_thread()
        gevent.sleep(0.1)
        def one(seen):
            for _ in range(10):
                seen.append(blocking.call_briefly(where))
                gevent.sleep(0.001)
        alone = []
        gevent.spawn(one, alone).join()
        both = [[], []]
        gevent.joinall([gevent.spawn(one, seen) for seen in both])
        print(all(alone[1:]), sum(both[0] + both[1]) <= 1)
        def fail():
            raise OSError(5, "broken")
        try:
            blocking.call_briefly(fail)
        except OSError as error:
            print(error.errno)
    """)
    assert out.split() == ["True", "True", "5"]


def test_calls_share_a_few_threads_and_come_back_to_those_who_called() -> None:
    out = run("""
        import threading
        seen, most, running = set(), [], []
        all_at_work = threading.Barrier(4)
        def work(number):
            seen.add(threading.get_ident())
            running.append(number)
            most.append(len(running))
            if number < 40:
                all_at_work.wait(30)
            running.remove(number)
            if number % 3 == 0:
                raise ValueError(number)
            return number
        def ask(number):
            try:
                return blocking.call(work, number)
            except ValueError as error:
                return -error.args[0]
        found = [g.get() for g in [gevent.spawn(ask, n) for n in range(40)]]
        print(found == [n if n % 3 else -n for n in range(40)], max(most), len(seen))
        seen.clear()
        for n in range(40, 45):
            ask(n)
        print(threading.get_ident() not in seen, blocking.call(blocking.call, ask, 50))
    """)
    assert out.splitlines() == ["True 4 4", "True 50"]


def test_calls_of_one_turn_go_out_together_at_its_end_and_none_waits_for_a_later_event() -> None:
    out = run("""
        began = []
        def ask():
            blocking.call(began.append, 1)
            asked = time.monotonic()
            blocking.call(began.append, 2)
            return time.monotonic() - asked
        def work():
            time.sleep(0.05)  # a session that computes, whom no thread disturbs
            return list(began)
        asking, working = [gevent.spawn(ask), gevent.spawn(ask)], gevent.spawn(work)
        print(working.get(), max(g.get() for g in asking) < 30, sorted(began))
    """)
    assert out.strip() == "[] True [1, 1, 2, 2]"


def test_who_is_killed_before_his_call_began_leaves_it_undone() -> None:
    out = run("""
        done = []
        def leave():
            gevent.get_hub().loop.run_callback(gevent.getcurrent().throw, gevent.GreenletExit)
            blocking.call(done.append, "gone")
        gone = gevent.spawn(leave)
        staying = gevent.spawn(blocking.call, done.append, "stays")
        gevent.joinall([gone, staying])
        print(done, gone.dead, waiting._threads._under_way)
    """)
    assert out.strip() == "['stays'] True 0"


def test_who_is_killed_while_a_call_is_under_way_is_not_woken_by_it() -> None:
    out = run("""
        import threading
        begun, held = threading.Event(), threading.Event()
        def work():
            begun.set()
            held.wait(30)
        def wait():
            try:
                blocking.call(work)
            finally:
                held.set()
                began = time.monotonic()
                gevent.sleep(0.2)
                print(time.monotonic() - began >= 0.19)
        waiting_one = gevent.spawn(wait)
        until(begun.is_set)
        waiting_one.kill()
        print(blocking.call(lambda: 7))
    """)
    assert out.splitlines() == ["True", "7"]


def test_call_hands_on_errors_silently() -> None:
    out = run("""
        from mstore.base.errors import StorageFailed
        def fail():
            raise StorageFailed("disk full")
        try:
            blocking.call(fail)
        except StorageFailed as error:
            print("caught", error)
    """)
    assert out.strip() == "caught disk full"


def test_call_from_a_thread_of_the_pool_runs_there() -> None:
    out = run("print(blocking.call(lambda: blocking.call(lambda: 5)))")
    assert out.strip() == "5"


def test_no_more_calls_at_once_than_threads() -> None:
    out = run("""
        import threading
        now, most, all_at_work = [], [], threading.Barrier(4)
        def work():
            now.append(1)
            most.append(len(now))
            all_at_work.wait(30)
            time.sleep(0.01)
            now.pop()
        gevent.joinall([gevent.spawn(blocking.call, work) for _ in range(20)])
        print(max(most))
    """)
    assert out.strip() == "4"


def test_breathe_yields_only_after_a_long_turn() -> None:
    out = run("""
        from workers import cooperative
        seen = []
        def other():
            while True:
                seen.append(time.monotonic())
                gevent.sleep(0)
        gevent.sleep(0.01)
        gevent.spawn(other)
        gevent.sleep(0)
        before = len(seen)
        cooperative.LONGEST_TURN_S = 30  # this turn is not long, whatever else this machine does meanwhile
        blocking.breathe()
        assert len(seen) == before
        cooperative.LONGEST_TURN_S = 0.010
        for _ in range(50):
            turn = time.monotonic() + 0.012  # longer than a turn may be
            while time.monotonic() < turn:
                pass
            blocking.breathe()
        print("breathes" if len(seen) >= before + 50 else (before, len(seen)))
    """)
    assert out.strip() == "breathes"


def test_breathe_lets_the_loop_turn() -> None:
    out = run("""
        turns = []
        def by_clock():
            while True:
                gevent.sleep(0.001)
                turns.append(time.monotonic())
        gevent.spawn(by_clock)
        gevent.sleep(0.01)
        loop = gevent.get_hub().loop
        stale = 0
        for _ in range(100):
            work = time.monotonic() + 0.004
            while time.monotonic() < work:
                pass
            blocking.breathe()
            stale += time.time() - loop.now() > 0.1
        print("turns" if len(turns) > 8 and stale < 30 else (len(turns), stale))
    """)
    assert out.strip() == "turns"


def test_mutex_is_fair_and_times_out() -> None:
    out = run("""
        mutex = blocking.make_mutex()
        order = []
        def take(name):
            mutex.acquire()
            order.append(name)
            gevent.sleep(0.01)
            mutex.release()
        mutex.acquire()
        assert not mutex.acquire(blocking=False)
        began = time.monotonic()
        assert not mutex.acquire(timeout=0.05)
        assert 0.04 < time.monotonic() - began < 30
        waiters = []
        for name in "abc":
            waiters.append(gevent.spawn(take, name))
            gevent.sleep(0)
        mutex.release()
        assert not mutex.acquire(blocking=False), "it was handed to a"
        gevent.joinall(waiters)
        assert mutex.acquire(blocking=False)
        print("".join(order))
    """)
    assert out.strip() == "abc"


def test_mutex_survives_a_killed_waiter() -> None:
    out = run("""
        mutex = blocking.make_mutex()
        mutex.acquire()
        first, second = gevent.spawn(mutex.acquire), gevent.spawn(mutex.acquire)
        gevent.sleep(0)
        first.kill(block=False)
        mutex.release()          # handed to the first, which dies before it runs
        gevent.joinall([second], timeout=30)
        print(second.successful(), mutex.locked())
        mutex.release()
        print(mutex.locked())
    """)
    assert out.split() == ["True", "True", "False"]


def test_background_work_that_fails_is_logged() -> None:
    out = run("""
        def fail():
            raise ValueError("oops")
        failed = []
        tell = Log.exception
        Log.exception = lambda *words, **more: (tell(*words, **more), failed.append(1))
        blocking.spawn(fail)
        blocking.later(0.01, fail)
        until(lambda: len(failed) == 2)
    """)
    assert out.count("event=background-failed") == 2 and "ValueError: oops" in out


def test_what_goes_on_in_the_background_is_finished_within_a_limit() -> None:
    out = run("""
        done = []
        def upkeep(seconds):
            blocking.call(time.sleep, seconds)
            done.append(seconds)
        assert waiting.finish(0)
        blocking.spawn(upkeep, 0.2)
        blocking.later(30, upkeep, 0)
        gevent.sleep(0)
        assert waiting.finish(30) and done == [0.2]
        import threading
        held = threading.Event()
        blocking.spawn(blocking.call, held.wait, 60)
        gevent.sleep(0)
        began = time.monotonic()
        assert not waiting.finish(0.1) and time.monotonic() - began < 30
        held.set()
    """)
    assert out == ""


def test_at_the_end_who_begins_to_sleep_only_then_is_woken_too() -> None:
    out = run("""
        from workers.connections import drain
        class Sessions(list):
            stop_accepting = stop = lambda self: None
            def cut(self):
                print("cut")
                self.clear()
        sessions = Sessions(["one whose login is being judged"])
        def refuse():
            gevent.sleep(0.1)
            print(blocking.sleep(60))
            sessions.clear()
        gevent.spawn(refuse)
        drain(sessions, 20, lambda: None, waiting.wake)
    """)
    assert out.split() == ["False"]


def test_errors_of_the_loop_are_logged_in_one_line() -> None:
    out = run("""
        def fail():
            raise ValueError("in a greenlet")
        gevent.spawn(fail)
        gevent.spawn_raw(fail)
        gevent.sleep(0.05)
    """)
    assert out.count("event=loop-error") == 2 and out.count("\n") == 2


def test_event_wakes_its_waiters() -> None:
    out = run("""
        event = blocking.make_event()
        first = event.wait(0.001)
        gevent.spawn_later(0.05, event.set)
        print(first, event.wait(30), event.is_set())
    """)
    assert out.split() == ["False", "True", "True"]


def test_making_it_is_the_first_thing_that_makes_a_loop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import threading, workers.imapd, workers.lmtpd, workers.authproxyd\n"
         "from gevent._hub_local import get_hub_if_exists\n"
         "print(get_hub_if_exists(), threading.active_count())"],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["None", "1"], done.stderr


def test_storemgr_loads_neither_gevent_nor_numpy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, workers.storemgr\n"
         "print(sorted({'gevent', 'numpy', 'greenlet'} & set(sys.modules)))"],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr


def test_what_waits_for_others_has_threads_of_its_kind() -> None:
    out = run("""
        import threading
        held, order = threading.Event(), []
        def hang():
            held.wait(20)
            return "hung"
        hanging = [gevent.spawn(blocking.call_apart, "rimap", 3, hang) for _ in range(10)]
        def names():
            return {thread.name for thread in threading.enumerate()} - {"MainThread"}
        until(lambda: len(names()) == 3)
        print(len(names()))
        for kind in ("pam", "kerberos5"):
            print(blocking.call_apart(kind, 3, lambda: kind))
        print(blocking.call(lambda: "here"))
        held.set()
        print([one.get() for one in hanging].count("hung"))
    """)
    assert out.split() == ["3", "pam", "kerberos5", "here", "10"]
