"""UID STORE of one flag, many in flight: what a client does that marks as read while the user scrolls."""

from __future__ import annotations

from collections.abc import Iterator

from bench.clients import WrongAnswer
from bench.corpus import message
from bench.lines.base import CPU, Line, Sample, spending
from bench.servers import Server

USER = "store"
MESSAGES = 500


class StoreFlag(Line):
    """One flag of one message per command, pipelined by fifty."""

    name = "store"
    title = "UID STORE of one flag, pipelined"

    def prepare(self, server: Server) -> None:
        client = server.imap(USER)
        client.append_all([message(i, 2000) for i in range(MESSAGES)])
        client.logout()

    def measure(self, server: Server) -> Iterator[Sample]:
        client = server.imap(USER)
        client.select()
        first = int(client.command(b"UID SEARCH 1").split(b"\r\n")[0].split()[-1])
        client.command(b"UID STORE 1:* -FLAGS.SILENT (\\Seen \\Flagged)")
        server.settle()
        commands = 0
        with spending(server) as spent:
            for name in (b"\\Seen", b"\\Flagged"):
                for start in range(0, MESSAGES, 50):
                    sent = [
                        client.start(b"UID STORE %d +FLAGS (%s)" % (first + start + i, name))
                        for i in range(50)
                    ]
                    for tag in sent:
                        client.finish(tag)
                    commands += len(sent)
        flags = client.command(b"FETCH 1:* (FLAGS)")
        if flags.count(b"\\Seen") != MESSAGES or flags.count(b"\\Flagged") != MESSAGES:
            raise WrongAnswer(repr(flags[:300]))
        client.logout()
        yield Sample("per command", CPU, spent.cpu_s * 1e3 / commands, 0.07)
