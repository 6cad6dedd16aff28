"""Dialogues with the protocols whose responses are lines: LMTP and POP3.

The language is that of ``tests.kit.dialogue``; each ``S:`` is one line. Two more arrangements:

``@ mailbox NAME MAILBOX``         makes a mailbox
``@ holds NAME MAILBOX COUNT``     the mailbox holds so many messages now
``@ shared NAME IDENTIFIER RIGHTS``  makes a shared mailbox, if there is none, and gives rights to it
``@ sharedholds NAME COUNT``       the shared mailbox holds so many messages now
``@ nologin TEXT``                 closes the doors

``{{$lf}}`` is a bare line feed, ``{{$long}}`` a text of 1,000 bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from mstore.net.service import Service
from mstore.net.stream import Stream
from mstore.store.rights import parse_rights
from tests.kit.dialogue import Cut, Dialogue, Player, site
from tests.kit.mailhost import MailHost
from tests.kit.scripted import RunsSession
from tests.kit.transport import Client, Served

LINE_LIMIT_BYTES = 512
Make = Callable[[Stream, Service], RunsSession]


class LineClient(Client):
    """A client that reads lines, each of which must fit into the protocols' limit."""

    def receive(self) -> bytes:
        """The next line without its end; nothing when the server has closed."""
        while b"\r\n" not in self._buffer:
            if not self._fill():
                assert not self._buffer, f"the server stopped within a line: {self._buffer!r}"
                return b""
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        assert b"\n" not in line, f"bare line feed in {line!r}"
        assert len(line) + 2 <= LINE_LIMIT_BYTES, f"line is too long: {line!r}"
        return line


class LinePlayer(Player):
    """Plays a dialogue with sessions of any such protocol."""

    def __init__(self, make: Make, host: MailHost, cut: Cut, stack: ExitStack) -> None:
        super().__init__(host, cut, stack)
        self._make = make
        self._kept.update(lf="\n", long="x" * 1000)

    def _client(self, number: int) -> Client:
        if number not in self._clients:
            served = Served(lambda stream: self._make(stream, self._host.service()))  # type: ignore[arg-type, return-value]
            self._clients[number] = LineClient(served)
        return self._clients[number]

    def _arrange(self, words: list[str]) -> None:
        verb, *arguments = words
        if verb == "mailbox":
            self._host.account(arguments[0]).create(arguments[1])
        elif verb == "holds":
            name, mailbox_name, count = arguments
            found = len(self._host.messages(name, mailbox_name))
            assert found == int(count), f"{mailbox_name} of {name} holds {found} messages"
        elif verb == "shared":
            access = self._host.superuser()
            if f"shared/{arguments[0]}" not in access.listing("shared/"):
                access.create(f"shared/{arguments[0]}")
            access.set_acl(f"shared/{arguments[0]}", arguments[1], "=", parse_rights("".join(arguments[2:])))
        elif verb == "sharedholds":
            opened = self._host.superuser().open(f"shared/{arguments[0]}")
            opened.mailbox.refresh()
            found = opened.mailbox.status().messages
            opened.mailbox.release()
            assert found == int(arguments[1]), f"shared/{arguments[0]} holds {found} messages"
        elif verb == "nologin":
            self._host.settings.nologin_path.write_text(" ".join(arguments) + "\n")
        else:
            super()._arrange(words)


def play_lines(make: Make, dialogue: Dialogue, root: Path, cut: Cut) -> None:
    """Play a dialogue against a fresh site; fails at the first line that is not so."""
    with ExitStack() as stack:
        host = stack.enter_context(site(root, dialogue.options))
        LinePlayer(make, host, cut, stack).play(dialogue)
