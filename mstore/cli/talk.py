"""msadm talk: a session of a user on standard input and output, without his password.

The daemon itself serves it, over the control socket of one of its workers, which only who owns the store's
files may reach: so it is a session like any other, and nothing is done here as the superuser.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys

import click

from mstore.base.errors import Unavailable
from mstore.base.options import Settings
from mstore.cli.live import connect, control_sockets, invoker
from mstore.cli.names import USER
from mstore.cli.site import Site, find

PIECE_BYTES = 65536


@click.command()
@click.argument("protocol", type=click.Choice(("imap", "pop3", "lmtp")))
@click.argument("name", type=USER, required=False)
@click.pass_context
def talk(ctx: click.Context, protocol: str, name: str | None) -> None:
    """Speak IMAP or POP3 as the user NAME, who is logged in already, or LMTP as an MTA does.

    What is typed at a terminal may end lines as it likes; what comes from a file or a pipe is sent as it is.

    Example: msadm talk imap joe; msadm talk pop3 joe < commands
    """
    site = Site(ctx.obj)
    if (name is None) != (protocol == "lmtp"):
        text = "LMTP is spoken as nobody." if name else f"Say as whom to speak {protocol.upper()}."
        raise click.UsageError(text)
    user = None if name is None else find(site.accounts(), name).name
    by = invoker()
    site.become_runtime_user()
    sock = open_lmtp(site.settings) if user is None else open_session(site.settings, f"{protocol}d", user, by)
    with sock:
        try:
            converse(sock, sys.stdin.fileno(), sys.stdout.fileno())
        except KeyboardInterrupt:
            pass  # That is how one ends it.


def open_session(settings: Settings, service: str, user: str, by: str) -> socket.socket:
    """A connection to the daemon whose other end is a session of the user's.

    Raises: Unavailable; OSError when it may not be had.
    """
    for path in control_sockets(settings, service):
        sock = connect(path, {"do": "talk", "user": user, "by": by})
        if sock is None:
            continue
        line = b""
        try:
            while not line.endswith(b"\n") and (byte := sock.recv(1)):
                line += byte
            if line and json.loads(line) == {}:
                return sock
        except ConnectionError:
            pass
        sock.close()  # The worker is about to end, or busy with others; the next one may not be.
    raise Unavailable(f"no worker of {service} is there to talk to; is it running?")


def open_lmtp(settings: Settings) -> socket.socket:
    """A connection to the socket to which the MTA delivers.

    Raises: Unavailable; OSError when it may not be had.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(str(settings.ipc_path("lmtpd")))
    except (ConnectionRefusedError, FileNotFoundError):
        sock.close()
        raise Unavailable("lmtpd is not running") from None
    return sock


def converse(sock: socket.socket, source: int, sink: int) -> None:
    """Pass on what comes from either side until the other end closes; at the end of input, tell it so."""
    is_typed = os.isatty(source)
    sock.setblocking(False)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(source, select.POLLIN)
    waiting, is_read = b"", True
    while True:
        events = dict(poll.poll())
        if events.get(sock.fileno(), 0) & ~select.POLLOUT:
            try:
                data = sock.recv(PIECE_BYTES)
            except BlockingIOError:
                pass
            except ConnectionError:
                return
            else:
                if not data:
                    return
                _write_all(sink, data)
        if source in events and not waiting:
            data = os.read(source, PIECE_BYTES)
            if not data:
                poll.unregister(source)
                is_read = False
                sock.shutdown(socket.SHUT_WR)
            waiting = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") if is_typed else data
        if waiting:
            try:
                waiting = waiting[sock.send(waiting) :]
            except BlockingIOError:
                pass
            except ConnectionError:
                waiting = b""  # What is still to be read says why.
            # Nothing more is taken in before this is gone: the other side may be waiting for us to read.
            poll.modify(sock, select.POLLIN | (select.POLLOUT if waiting else 0))
            if waiting and is_read:
                poll.unregister(source)
            elif not waiting and not is_read:
                poll.register(source, select.POLLIN)
            is_read = not waiting


def _write_all(sink: int, data: bytes) -> None:
    while data:
        data = data[os.write(sink, data) :]
