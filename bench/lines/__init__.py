"""The lines of the table: each module is one kind of work; the table of all of them is here."""

from __future__ import annotations

from bench.lines.append import Append
from bench.lines.base import Line
from bench.lines.bodies import Bodies
from bench.lines.delivery import Delivery, DeliveryMany
from bench.lines.envelope import EnvelopeSweep
from bench.lines.flags import FetchFlags
from bench.lines.idle import Idle
from bench.lines.login import Login
from bench.lines.pop3 import Pop3Session
from bench.lines.store import StoreFlag

LINES: tuple[type[Line], ...] = (
    Delivery,
    DeliveryMany,
    Login,
    Idle,
    FetchFlags,
    EnvelopeSweep,
    Append,
    StoreFlag,
    Bodies,
    Pop3Session,
)
