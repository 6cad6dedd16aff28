"""The mailbox of fifty thousand messages that lines share; filled once, through APPEND, and put aside."""

from __future__ import annotations

from bench.corpus import message
from bench.lines.base import Scale
from bench.servers import Server

USER = "large"
SIZE = 2000
NAME = "large"


def fill(server: Server, scale: Scale) -> None:
    """Fill through the server's own door, set flags as people do, stop, save, start again."""
    if server.has_saved(NAME):
        return
    client = server.imap(USER)
    batch = 500
    for start in range(0, scale.messages, batch):
        size = min(batch, scale.messages - start)
        client.append_all([message(start + i, SIZE) for i in range(size)], server.many_in_one_append)
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


def refresh(server: Server) -> None:
    """The mailbox as it was after it was filled; nothing that reading it has cached since."""
    server.stop()
    server.restore_mail(NAME)
    server.start()
    client = server.imap(USER)
    client.logout()
