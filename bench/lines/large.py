"""The mailbox of fifty thousand messages that lines share; filled once, through APPEND, and put aside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bench.corpus import message
from bench.lines.base import Scale
from bench.servers import Server

USER = "large"
SIZE = 2000
NAME = "large"
LANES = 8
BATCH = 500


def fill(server: Server, scale: Scale) -> None:
    """Fill through the server's own door, set flags as people do, stop, save, start again."""
    if server.has_saved(NAME):
        return
    lanes = range(1 if server.many_in_one_append else LANES)
    with ThreadPoolExecutor(len(lanes)) as pool:
        list(pool.map(lambda lane: _fill_lane(server, range(lane, scale.messages, len(lanes))), lanes))
    client = server.imap(USER)
    count = client.select()
    if count != scale.messages:
        raise AssertionError(f"{count} messages instead of {scale.messages}")
    client.command(b"UID STORE 1:%d +FLAGS.SILENT (\\Seen)" % (scale.messages * 8 // 10))
    every = b",".join(b"%d" % uid for uid in range(1, scale.messages + 1, 23))
    client.command(b"UID STORE %s +FLAGS.SILENT (\\Answered)" % every)
    every = b",".join(b"%d" % uid for uid in range(1, scale.messages + 1, 61))
    client.command(b"UID STORE %s +FLAGS.SILENT (\\Flagged $Label1)" % every)
    client.logout()
    server.stop()
    server.save_mail(NAME)
    server.start()


def _fill_lane(server: Server, numbers: range) -> None:
    client = server.imap(USER)
    for start in range(0, len(numbers), BATCH):
        texts = [message(number, SIZE) for number in numbers[start : start + BATCH]]
        client.append_all(texts, server.many_in_one_append)
    client.logout()


def refresh(server: Server) -> None:
    """The mailbox as it was after it was filled; nothing that reading it has cached since."""
    server.stop()
    server.restore_mail(NAME)
    server.start()
    client = server.imap(USER)
    client.logout()
