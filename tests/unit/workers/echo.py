"""A daemon with a tiny protocol, to test the machinery of processes: `python -m tests.unit.workers.echo`."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import gevent

from mstore.base import blocking
from mstore.base.log import Log
from mstore.base.options import Settings
from mstore.net.service import Service
from mstore.net.stream import Stream
from workers import daemon
from workers.scoreboard import Slot
from workers.worker import Kind


class EchoSession:
    """Answers lines; some of them make it misbehave."""

    def __init__(self, stream: Stream, service: Service) -> None:
        self.stream = stream
        self.service = service
        self.idle = False
        self.user: str | None = None
        self.on_login: Any = None
        self.stopped = False

    def run(self) -> None:
        self.stream.write(b"hello %d\n" % os.getpid())
        while not self.stopped:
            self.stream.flush()
            self.idle = True
            line = self.stream.read_line()
            self.idle = False
            if not line or not self.obey(line.strip()):
                break
        self.stream.flush()

    def stop(self) -> None:
        self.stopped = True
        if self.idle:
            self.stream.write(b"bye\n")
            self.stream.flush()
            self.stream.interrupt()

    def obey(self, word: bytes) -> bool:
        self.service.counters.add("commands")
        if word in (b"slow", b"stuck", b"penalty"):
            self.stream.write(b"begun\n")
            self.stream.flush()
        if word == b"fail":
            raise ValueError("as asked")
        if word == b"hang":
            time.sleep(3600)
        if word == b"slow":
            gevent.sleep(1.0)
        if word == b"stuck":
            gevent.sleep(3600)
        if word == b"penalty":
            blocking.sleep(3600)
        if word == b"tls":
            self.stream.write(b"go\n")
            self.stream.start_tls(self.service.tls)
            return True
        if word == b"user":
            self.stream.write(b"%d %s\n" % (os.getuid(), str(self.stream.tls).encode()))
            return True
        self.stream.write(word + b"\n")
        return word != b"quit"


def make_service(settings: Settings, context: Any, slot: Slot, log: Log) -> Service:
    nothing: Any = None
    return Service(settings, nothing, nothing, nothing, context, slot, log=log)


def sockets(settings: Settings) -> tuple[str, ...]:
    return ("lmtpd",) if settings.lmtp_shared_name == "withsocket" else ()


ECHO = Kind("imapd", "Echo.", EchoSession, make_service, unix_sockets=sockets)

if __name__ == "__main__":
    sys.exit(daemon.main(ECHO))
