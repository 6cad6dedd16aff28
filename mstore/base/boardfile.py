"""The file of a daemon's scoreboard, as those read it who show what it counts (``workers/scoreboard.py``)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mstore.base import clock

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The upper ends of a histogram's buckets; one more takes what is longer."""
HISTOGRAM_CELLS = len(BOUNDS_S) + 2
"""A count for each bucket, and the sum in nanoseconds."""
HEARTBEAT = "heartbeat"
ALIVE_S = 10.0
"""A daemon beats every four seconds at least; one that has been silent for longer is gone."""


class BoardFile(NamedTuple):
    """What a file says."""

    header: dict[str, Any]
    totals: list[int]
    """Each cell of a slot, summed over all slots: the fields, then the histograms."""
    is_alive: bool
    slots: list[Sequence[int]]
    """The cells of each slot: those of processes, then those of mailstores, then the daemon's own."""

    @property
    def sums(self) -> dict[str, int]:
        """The fields by name."""
        return dict(zip(self.header["fields"], self.totals, strict=False))

    def fields_of(self, slot: Sequence[int]) -> dict[str, int]:
        """The fields of one slot by name."""
        return dict(zip(self.header["fields"], slot, strict=False))

    @property
    def mailstores(self) -> dict[str, Sequence[int]]:
        """The slots of mailstores by their names; only one daemon has such."""
        names = self.header.get("mailstores", ())
        found = zip(names, self.slots[-1 - len(names) : -1], strict=False)
        return {name: slot for name, slot in found if name}


def read_board(path: Path) -> BoardFile:
    """What a daemon has counted.

    Raises: OSError; ValueError, LookupError, TypeError where it is no scoreboard, or is just being made.
    """
    data = path.read_bytes()
    line = data.partition(b"\n")[0]
    header = json.loads(line)
    fields = header["fields"]
    width = len(fields) + len(header["histograms"]) * HISTOGRAM_CELLS
    cells = memoryview(data)[int(header["header_bytes"]) :].cast("Q")
    if not cells or len(cells) % width:
        raise ValueError("not made of whole slots")
    own = cells[len(cells) - width + fields.index(HEARTBEAT)] / 1000
    is_alive = own > 0 and 0 <= clock.steady() - own < ALIVE_S
    slots: list[Sequence[int]] = [cells[at : at + width] for at in range(0, len(cells), width)]
    return BoardFile(header, [sum(cells[place::width]) for place in range(width)], is_alive, slots)
