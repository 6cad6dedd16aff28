"""msadm trace: what is said in the sessions of a user, as it is said."""

from __future__ import annotations

import json
import re
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from mstore.base.options import Settings
from mstore.cli.live import connect, control_sockets, invoker, service_of
from mstore.cli.names import USER
from mstore.cli.site import Site, as_json, find

RESCAN_S = 0.2
"""How often to look for workers that are new."""
RECEIVE_BYTES = 65536
DIRECTIONS = {"client": "C:", "server": "S:", "note": "--"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@click.command()
@click.argument("name", type=USER)
@click.option(
    "--for", "seconds", type=click.FloatRange(min=0), metavar="SECONDS", help="How long; else until Ctrl-C."
)
@click.option(
    "--bytes",
    "content_bytes",
    type=click.IntRange(0, 1 << 20),
    default=200,
    show_default=True,
    metavar="N",
    help="Show so much of each message and literal.",
)
@click.option("--whole", is_flag=True, help="Show messages and literals whole.")
@as_json
@click.pass_context
def trace(
    ctx: click.Context, name: str, seconds: float | None, content_bytes: int, whole: bool, as_json: bool
) -> None:
    """Show what is said in the sessions of NAME, live: IMAP, POP3, and deliveries by LMTP.

    Passwords and all else that logs in is masked. With --json each line of output is a JSON object.

    Example: msadm trace joe --for 60
    """
    site = Site(ctx.obj)
    user = find(site.accounts(), name).name
    by = invoker()
    site.become_runtime_user()
    request = {"do": "trace", "user": user, "by": by, "bytes": content_bytes, "whole": whole}
    deadline_s = None if seconds is None else time.monotonic() + seconds
    try:
        for entry in follow(site.settings, request, deadline_s, lambda text: click.echo(text, err=True)):
            click.echo(json.dumps(entry, ensure_ascii=False) if as_json else format_entry(entry))
    except KeyboardInterrupt:
        pass  # That is how one ends it.


class _Asked:
    """One worker that has been asked."""

    def __init__(self, path: Path, sock: socket.socket) -> None:
        self.path = path
        self.socket = sock
        self.buffer = b""
        self.has_begun = False


def follow(
    settings: Settings, request: dict[str, Any], deadline_s: float | None, tell: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """What all workers send, those that begin later too; each entry has its ``service`` added.

    ``deadline_s`` is on the steady clock. ``tell`` is given a text when the trace has begun.
    Raises: OSError when a worker may not be asked.
    """
    asked: dict[Path, _Asked] = {}
    is_told = False
    with selectors.DefaultSelector() as selector:
        rescan_s = 0.0
        while deadline_s is None or time.monotonic() < deadline_s:
            if time.monotonic() >= rescan_s:
                _ask_new(settings, request, asked, selector)
                rescan_s = time.monotonic() + RESCAN_S
            for key, _ in selector.select(RESCAN_S):
                worker = key.data
                entries = _receive(worker)
                if entries is None:
                    selector.unregister(worker.socket)
                    worker.socket.close()
                    del asked[worker.path]
                else:
                    yield from entries
            if not is_told and all(worker.has_begun for worker in asked.values()):
                is_told = True
                count = len(asked)
                tell(f"tracing {request['user']} in {count} worker{'' if count == 1 else 's'}")


def _ask_new(
    settings: Settings,
    request: dict[str, Any],
    asked: dict[Path, _Asked],
    selector: selectors.BaseSelector,
) -> None:
    for path in control_sockets(settings):
        if path not in asked and (sock := connect(path, request)) is not None:
            sock.setblocking(False)
            asked[path] = _Asked(path, sock)
            selector.register(sock, selectors.EVENT_READ, asked[path])


def _receive(worker: _Asked) -> list[dict[str, Any]] | None:
    """What a worker has sent; None when it has ended."""
    try:
        data = worker.socket.recv(RECEIVE_BYTES)
    except BlockingIOError:
        return []
    except OSError:
        return None
    if not data:
        return None
    *lines, worker.buffer = (worker.buffer + data).split(b"\n")
    entries = [{"service": service_of(worker.path), **json.loads(line)} for line in lines]
    worker.has_begun = worker.has_begun or bool(entries)
    return [entry for entry in entries if "tracing" not in entry]


def format_entry(entry: dict[str, Any]) -> str:
    """An entry as one line that does nothing to a terminal."""
    seconds, milliseconds = divmod(int(entry["time"] * 1000), 1000)
    when = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{milliseconds:03}"
    if "lost" in entry:
        return f"{when} {entry['service']} {entry['lost']} lines lost"
    text = escape(entry["text"])
    if entry.get("content"):
        text = f'"{text}"'
    if "more" in entry:
        text += " …"
    elif "bytes" in entry:
        text = f"({entry['bytes']} bytes) {text}"
    return f"{when} {entry['service']} {entry['session']} {DIRECTIONS[entry['direction']]} {text}"


def escape(text: str) -> str:
    """The text without control characters: ``\\r``, ``\\n``, ``\\x1b``."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
