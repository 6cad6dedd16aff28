"""The lines of the table: each module is one kind of work; the table of all of them is here."""

from __future__ import annotations

from bench.lines.append import Append
from bench.lines.base import Line
from bench.lines.bodies import Bodies
from bench.lines.bulk import CopyMoveExpunge, StoreAll
from bench.lines.delivery import Delivery, DeliveryMany
from bench.lines.flags import FetchFlags
from bench.lines.idle import Idle
from bench.lines.login import Login
from bench.lines.mailboxes import Mailboxes
from bench.lines.mixed import Mixed
from bench.lines.order import Sort, Thread
from bench.lines.pop3 import Pop3Session
from bench.lines.rest import Rest
from bench.lines.resync import Resync
from bench.lines.search import Search, SearchText
from bench.lines.store import StoreFlag
from bench.lines.sweeps import BodyStructure, EnvelopeSweep, HeaderSweep

LINES: tuple[type[Line], ...] = (
    Rest,
    Delivery,
    DeliveryMany,
    Login,
    Idle,
    FetchFlags,
    EnvelopeSweep,
    HeaderSweep,
    BodyStructure,
    Search,
    SearchText,
    Sort,
    Thread,
    StoreAll,
    CopyMoveExpunge,
    Resync,
    Append,
    StoreFlag,
    Bodies,
    Pop3Session,
    Mailboxes,
    Mixed,
)
