"""What of POP3 may be shown in a trace: no logins, and the contents of messages as such."""

from __future__ import annotations

from mstore.net.trace import LOGINS, MASK, Tap, Trace
from mstore.pop3.commands import COMMANDS

VERB_BYTES = 4
"""Commands are no longer (RFC 1939 §3); what is may be a response to a challenge."""
WITH_CONTENT = (b"RETR", b"TOP")
_END = b"\r\n.\r\n"


class Pop3Tap(Tap):
    """Follows a POP3 session."""

    def __init__(self, trace: Trace, session: str, in_step: bool) -> None:
        super().__init__(trace, session, in_step)
        self._expects_content = self._is_in_content = False
        self._last = b""
        """The last bytes of a content under way."""

    def judge(self, line: bytes, has_content: bool) -> bytes:
        """A line is a command."""
        self.begin_command()
        verb, _, argument = line.partition(b" ")
        word = verb.upper()
        self._expects_content, self._is_in_content = word in WITH_CONTENT, False
        if word in COMMANDS and word not in LOGINS:
            return line
        if len(word) > VERB_BYTES:
            return MASK
        return verb + b" " + MASK if argument else verb

    def take_responses(self, data: bytes) -> None:
        """Behind the first line of an answer to RETR or TOP comes content, up to a line of one dot."""
        if self._expects_content:
            end = data.find(b"\n") + 1
            super().take_responses(data[:end] if end else data)
            if not end:
                return
            self._expects_content = False
            self._is_in_content = data.startswith(b"+OK")
            self._last, data = b"\r\n", data[end:]
        if not self._is_in_content:
            super().take_responses(data)
        elif data:
            self._literal.add(data)
            self._last = (self._last + data[-len(_END) :])[-len(_END) :]
            if self._last == _END:
                self._is_in_content = False
                self._literal.end()
