"""msadm user move under load: nothing acknowledged is lost, clients are told what is temporary, and go on."""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections.abc import Callable

from bench.corpus import message
from tests.kit.clients import WrongAnswer
from tests.kit.instance import Instance, wait_for

MESSAGE_BYTES = 4000
LONGEST_REFUSAL_S = 3.0
"""In the median of the moves: others may have the machine for a while."""
MOVES = ("second", "main", "second", "main", "second", "main", "second")
LEAST_TAKEN = 20


class Hand:
    """A client that hands over messages one after the other, whatever happens, and knows which were taken."""

    def __init__(self, first: int, connect: Callable[[], Callable[[bytes], None]]) -> None:
        self.taken: list[int] = []
        self.tried = 0
        self.refusals: list[str] = []
        self.pauses_s: list[float] = []
        """From each message that was taken to the next."""
        self._first, self._connect = first, connect
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._go)
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(40)
        assert not self._thread.is_alive()

    def _go(self) -> None:
        hand_over: Callable[[bytes], None] | None = None
        last = time.monotonic()
        while not self._end.is_set():
            number = self._first + self.tried
            self.tried += 1
            try:
                hand_over = hand_over or self._connect()
                hand_over(message(number, MESSAGE_BYTES))
                self.taken.append(number)
                now = time.monotonic()
                self.pauses_s.append(now - last)
                last = now
            except (OSError, WrongAnswer) as error:
                self.refusals.append(str(error))
                hand_over = None
                time.sleep(0.02)


def make_site(make_store: Callable[..., Instance]) -> Instance:
    store = make_store(["joe"], workers=2)
    with store.config.open("a") as config:
        config.write(f"mailstore second {store.path}/second\n")
    store.msadm("init")
    return store


def test_an_account_is_moved_back_and_forth_while_mail_comes_in(make_store: Callable[..., Instance]) -> None:
    store = make_site(make_store)
    store.start()

    def by_lmtp() -> Callable[[bytes], None]:
        client = store.lmtp()
        return lambda text: client.deliver(["joe"], text)

    hands = [Hand(1, by_lmtp), Hand(100_001, by_lmtp), Hand(200_001, lambda: store.imap("joe").append)]
    for mailstore in MOVES:
        time.sleep(0.4)
        assert "moved joe" in store.msadm("user", "move", "joe", mailstore).stdout
    time.sleep(0.4)
    wait_for(
        lambda: all(len(hand.taken) > LEAST_TAKEN for hand in hands),
        60,
        lambda: f"taken were {[len(hand.taken) for hand in hands]}",
    )
    for hand in hands:
        hand.stop()

    taken = [number for hand in hands for number in hand.taken]
    client = store.imap("joe")
    count = client.select()
    found = [
        int(number) for number in re.findall(rb"Message-ID: <(\d+)\.4000@bench", b"".join(client.bodies()))
    ]
    assert len(found) == len(set(found)) == count
    assert not set(taken) - set(found), "acknowledged and lost"
    for hand in hands:
        longest_s = sorted(hand.pauses_s)[-len(MOVES) :]
        assert statistics.median(longest_s) < LONGEST_REFUSAL_S, longest_s
    refused = [text for hand in hands[:2] for text in hand.refusals]
    assert all(re.search(r"got b'45[01] 4\.", text) for text in refused), refused
    client.logout()
    store.stop()


def test_sessions_on_the_old_place_end_with_a_temporary_error(make_store: Callable[..., Instance]) -> None:
    store = make_site(make_store)
    store.start()
    for number in (1, 2):
        store.deliver("joe", message(number, MESSAGE_BYTES))
    waiting, reading, browsing = store.imap("joe"), store.imap("joe"), store.imap("joe")
    waiting.select()
    waiting.idle()
    reading.select()
    fetching = store.pop3("joe")
    store.msadm("user", "move", "joe", "second")

    while (line := waiting.line()).startswith(b"* OK"):
        pass
    assert line.startswith(b"* BYE [UNAVAILABLE]"), line
    reading.send(b"a NOOP\r\n")
    assert reading.line().startswith(b"* BYE [UNAVAILABLE]")
    # who has nothing selected goes on in the new place
    assert b"(MESSAGES 2)" in browsing.command(b"STATUS INBOX (MESSAGES)")
    assert browsing.select() == 2
    browsing.logout()
    fetching.send(b"DELE 1\r\n")
    fetching.line()
    fetching.send(b"QUIT\r\n")
    assert fetching.line().startswith(b"-ERR [SYS/TEMP]")

    again = store.imap("joe")
    assert again.select() == 2
    assert all(
        body.endswith(message(n, MESSAGE_BYTES)) for n, body in zip((1, 2), again.bodies(), strict=True)
    )
    again.logout()
    store.tolerated.append(r"moved|another place")
    store.stop()
