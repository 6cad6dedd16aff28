"""A client that comes back, and asks what has changed since (RFC 7162 §3.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bench.clients import Imap, WrongAnswer
from bench.corpus import message
from bench.lines import large
from bench.lines.base import CPU, Sample, latencies, spending, timed
from bench.lines.large import InLarge
from bench.servers import Server

EXPUNGED, FLAGGED, NEW = 20, 60, 20
RECONNECTS = 20
_STATE = re.compile(rb"\[UIDVALIDITY (\d+)\].*\[HIGHESTMODSEQ (\d+)\]", re.DOTALL)


class Resync(InLarge):
    """Connect, LOGIN, ENABLE QRESYNC, SELECT with what the client knew before a hundred changes."""

    name = "qresync"
    title = "reconnect with QRESYNC, 100 changes in 50,000"

    def measure(self, server: Server) -> Iterator[Sample]:
        large.refresh(server, self.scale)
        client = server.imap(large.USER)
        select = client.command(b"SELECT INBOX (CONDSTORE)")
        known = _STATE.search(select)
        if known is None:
            raise WrongAnswer(f"no UIDVALIDITY and HIGHESTMODSEQ in {select!r}")
        self._change(client)
        client.logout()
        server.settle()
        times = list[float]()
        with spending(server) as spent:
            for _ in range(RECONNECTS):
                times.append(timed(self._reconnect, server, known[1], known[2]))
        yield Sample("", CPU, spent.cpu_s * 1e3 / RECONNECTS, 2.0, latencies(times))

    def _change(self, client: Imap) -> None:
        step = self.scale.messages // 100
        changed = [b"%d" % uid for uid in range(5, self.scale.messages, step)][: EXPUNGED + FLAGGED]
        gone, flagged = changed[:EXPUNGED], changed[EXPUNGED:]
        client.command(b"UID STORE %s +FLAGS.SILENT (\\Deleted)" % b",".join(gone))
        client.command(b"UID EXPUNGE " + b",".join(gone))
        for uid in flagged:
            client.command(b"UID STORE %s +FLAGS.SILENT (\\Answered $Label2)" % uid)
        client.append_all([message(number, large.SIZE) for number in range(NEW)])

    def _reconnect(self, server: Server, validity: bytes, modseq: bytes) -> None:
        client = server.imap(large.USER)
        client.command(b"ENABLE QRESYNC")
        answer = client.command(
            b"SELECT INBOX (QRESYNC (%s %s 1:%d))" % (validity, modseq, self.scale.messages)
        )
        client.logout()
        gone = re.search(rb"\* VANISHED \(EARLIER\) (\S+)", answer)
        changed = answer.count(b"$Label2)") + answer.count(b"$Label2 ")
        exists = b"* %d EXISTS" % (self.scale.messages - EXPUNGED + NEW)
        if gone is None or gone[1].count(b",") != EXPUNGED - 1 or exists not in answer or changed < FLAGGED:
            raise WrongAnswer(f"{changed} changed: {answer[:2000]!r}")
