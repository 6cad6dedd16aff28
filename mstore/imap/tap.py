"""What of IMAP may be shown in a trace: no logins, and nothing that might be part of one."""

from __future__ import annotations

import re
from collections import deque

from mstore.imap.commands import COMMANDS
from mstore.net.trace import LOGINS, MASK, Tap, Trace

_COMMAND = re.compile(rb"([^\x00-\x20\x7f-\xff(){%*\"\\+]+) ([A-Za-z0-9\-]+)(?= |\Z)")
MOST_TAGS = 200
"""Commands that came together may be answered together."""
VERBS = frozenset(name.split()[0] for name in COMMANDS)


class ImapTap(Tap):
    """Follows an IMAP session.

    A line that is no command is masked: it may be a response to a challenge, or a login that was mistyped. So
    are the arguments of a command that there is not, and our words about either, which may repeat them.
    """

    has_literals = True

    def __init__(self, trace: Trace, session: str, in_step: bool) -> None:
        super().__init__(trace, session, in_step)
        self._tags: deque[bytes] = deque(maxlen=MOST_TAGS)
        """What answers may begin with, as far as it may be shown; empty before the first command."""

    def judge(self, line: bytes, has_content: bool) -> bytes:
        """A line is a command, the rest of one behind a literal, or the end of IDLE."""
        if has_content:
            return MASK if self.is_secret else line
        self.begin_command()
        if line.upper() == b"DONE":
            return line
        head = _COMMAND.match(line)
        self.is_secret = head is None or head[1].upper() in LOGINS or head[2].upper() not in VERBS - LOGINS
        has_tag = head is not None and head[1].upper() not in LOGINS
        self._tags.append(head[1] if head is not None and has_tag else MASK)
        if not self.is_secret:
            return line
        if head is None:
            return MASK
        return self._mask_rest(line, head[0] if has_tag else head[1])

    def judge_response(self, line: bytes, is_rest: bool) -> bytes:
        """An answer to what is masked is shown without its text, and without a tag that may be a secret."""
        if is_rest:
            return MASK if self.is_secret else line
        first, _, rest = line.partition(b" ")
        if first not in (b"*", b"+") and self._tags and first not in self._tags:
            first = MASK
        if not self.is_secret or first == b"*":
            return first + b" " + rest if rest else first
        return self._mask_rest(line, first + b" " + rest.partition(b" ")[0] if first != b"+" else first)

    @staticmethod
    def _mask_rest(line: bytes, shown: bytes) -> bytes:
        return shown if len(line) <= len(shown) else shown + b" " + MASK
