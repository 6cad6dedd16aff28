"""What grows: lines whose figures are taken at one size after the other, to see how cost follows size."""

from __future__ import annotations

from bench.lines.base import Line
from bench.scaling.mailbox import MailboxSize
from bench.scaling.message import MessageSize
from bench.scaling.sessions import Sessions

SCALES: tuple[type[Line], ...] = (MailboxSize, MessageSize, Sessions)
