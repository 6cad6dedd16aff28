"""Changes that other processes make, as a worker hands them on."""

from tests.unit.workers.test_cooperative import run

PRELUDE = """
import workers.service as service
class Notifier:
    def __init__(self):
        self.read, self.write = os.pipe()
        self.handled = self.polled = 0
    def fileno(self):
        return self.read
    def handle(self):
        self.handled += len(os.read(self.read, 4096))
    def poll_all(self):
        self.polled += 1
        gevent.sleep(self.polling_s)
class Store:
    notifier = Notifier()
notifier = Store.notifier
def follow():
    gevent.spawn(service.follow_changes, Store, log)
    fault = lambda error: log.exception("notification-failed", error)
    gevent.spawn(service.often, 0.1, notifier.poll_all, fault)
"""


def test_what_is_not_told_is_looked_for_however_much_is_told() -> None:
    out = run(
        PRELUDE
        + """
notifier.polling_s = 0
follow()
def chatter():
    while True:
        os.write(notifier.write, b"x")
        gevent.sleep(0.01)
gevent.spawn(chatter)
until(lambda: notifier.polled > 2)
print(notifier.polled > 2, notifier.handled > 2)
"""
    )
    assert out == "True True\n"


def test_what_is_told_does_not_wait_for_the_looking() -> None:
    out = run(
        PRELUDE
        + """
notifier.polling_s = 60
follow()
until(lambda: notifier.polled)
os.write(notifier.write, b"x")
until(lambda: notifier.handled)
print(notifier.polled, notifier.handled)
"""
    )
    assert out == "1 1\n"


def test_a_fault_is_told_and_the_following_goes_on() -> None:
    out = run(
        PRELUDE
        + """
def fail():
    notifier.polled += 1
    if notifier.polled == 1:
        raise ValueError("once")
notifier.poll_all = fail
follow()
until(lambda: notifier.polled > 1)
print(notifier.polled > 1)
"""
    )
    assert "True\n" in out and out.count("event=notification-failed") == 1 and "once" in out
