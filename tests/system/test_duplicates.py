"""A delivery that an MTA repeats, because it has not heard our answer, comes once."""

from collections.abc import Callable

from tests.kit.instance import Instance

MESSAGE = b"From: ann@example.org\r\nMessage-ID: <1@example.org>\r\nSubject: once\r\n\r\nbody\r\n"


def test_what_is_delivered_again_comes_once(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe", "bob"], ["lmtp-duplicate-window 1h"])
    store.start()
    for _ in range(3):
        client = store.lmtp()
        client.deliver(["joe", "bob"], MESSAGE)
        client.quit()
    for user in ("joe", "bob"):
        client = store.imap(user)
        assert client.select() == 1
        client.close()
    store.stop()
