"""msadm top: what the daemons do just now, and for whom.

How much there was comes from the daemons' scoreboards. Their workers bring the bytes of open sessions up to
date when they are asked who is connected, so that is done first.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import click

from mstore.base import clock
from mstore.base.boardfile import read_board
from mstore.base.options import Settings
from mstore.cli.live import PROTOCOLS, ask_all
from mstore.cli.site import Site, as_json, format_size, write_table

RATES = ("commands", "logins", "deliveries", "bytes_in", "bytes_out")


@dataclass(frozen=True)
class Sample:
    """What was known at one moment."""

    taken_s: float
    """On the steady clock."""
    counts: dict[str, dict[str, int]]
    """Of each daemon that runs."""
    sessions: dict[tuple[str, str], dict[str, Any]]
    """By service and name."""


@click.command()
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, metavar="SECONDS",
    help="How often to look.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Show one interval, then end.")
@click.option(
    "--rows", type=click.IntRange(min=0), default=10, show_default=True, metavar="N",
    help="Show so many users and sessions.",
)  # fmt: skip
@as_json
@click.pass_context
def top(ctx: click.Context, interval: float, once: bool, rows: int, as_json: bool) -> None:
    """Show sessions and rates of each daemon, and the busiest users and sessions, until Ctrl-C.

    Rates are of the last interval, per second. With --json each interval is a line.

    Example: msadm top --interval 5
    """
    site = Site(ctx.obj)
    site.become_runtime_user()
    clears = sys.stdout.isatty() and not as_json and not once
    try:
        before = take_sample(site.settings)
        while True:
            time.sleep(interval)
            now = take_sample(site.settings)
            found = compare(before, now, rows)
            before = now
            if as_json:
                click.echo(json.dumps(found, ensure_ascii=False))
            else:
                if clears:
                    click.clear()
                show(found)
            if once:
                return
    except KeyboardInterrupt:
        pass  # That is how one ends it.


def take_sample(settings: Settings) -> Sample:
    """Look at scoreboards and sessions.

    Raises: Unavailable, OSError.
    """
    sessions = {(each["service"], each["session"]): each for each in ask_all(settings, "who", None)}
    counts = {}
    for daemon in PROTOCOLS:
        try:
            board = read_board(settings.scoreboard_path(daemon))
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            continue  # It has never run, or is just being started.
        if board.is_alive:
            counts[daemon] = board.sums
    return Sample(clock.steady(), counts, sessions)


def compare(before: Sample, now: Sample, rows: int) -> dict[str, Any]:
    """What has happened between two moments, each as a number per second."""
    seconds = max(now.taken_s - before.taken_s, 0.001)

    def rate(name: str, old: dict[str, int] | None, new: dict[str, int]) -> float:
        # Who has begun anew counts from nothing.
        change = new[name] - (old[name] if old is not None else 0)
        return round(max(0, change) / seconds, 1)

    daemons = {
        daemon: {
            "sessions": found["sessions"],
            "sessions_idle": found["sessions_idle"],
            **{name: rate(name, before.counts.get(daemon, found), found) for name in RATES},
        }
        for daemon, found in now.counts.items()
    }
    sessions = [
        {
            **each,
            "bytes_in": rate("bytes_in", before.sessions.get(key), each),
            "bytes_out": rate("bytes_out", before.sessions.get(key), each),
        }
        for key, each in now.sessions.items()
    ]
    return {
        "time": round(clock.now(), 3),
        "interval": round(seconds, 3),
        "daemons": daemons,
        "users": _busiest(_by_user(sessions), rows),
        "sessions": _busiest(sessions, rows),
    }


def _by_user(sessions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    count: Counter[str] = Counter()
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in sessions:
        if each["user"] is not None:
            count[each["user"]] += 1
            for name in ("bytes_in", "bytes_out"):
                sums[each["user"]][name] += each[name]
    return [
        {
            "user": user,
            "sessions": count[user],
            "bytes_in": round(sums[user]["bytes_in"], 1),
            "bytes_out": round(sums[user]["bytes_out"], 1),
        }
        for user in count
    ]


def _busiest(lines: list[dict[str, Any]], rows: int) -> list[dict[str, Any]]:
    return sorted(lines, key=lambda line: -(line["bytes_in"] + line["bytes_out"]))[:rows]


def show(found: dict[str, Any]) -> None:
    """Write three tables and an empty line."""
    click.echo(f"{clock.format_timestamp(found['time'])}, per second in the last {found['interval']:.1f} s")
    total: Counter[str] = Counter()
    for each in found["daemons"].values():
        total.update(each)
    daemons = [*found["daemons"].items(), ("all", total)]
    write_table(
        ("SERVICE", "SESSIONS", "IDLE", "COMMANDS", "LOGINS", "DELIVERIES", "IN", "OUT"),
        [
            (
                daemon,
                each["sessions"],
                each["sessions_idle"],
                *(f"{each[name]:.1f}" for name in ("commands", "logins", "deliveries")),
                format_size(round(each["bytes_in"])),
                format_size(round(each["bytes_out"])),
            )
            for daemon, each in daemons
        ],
        right=range(1, 8),
    )
    if found["users"]:
        click.echo()
        write_table(
            ("USER", "SESSIONS", "IN", "OUT"),
            [(each["user"], each["sessions"], *_traffic(each)) for each in found["users"]],
            right=(1, 2, 3),
        )
    if found["sessions"]:
        click.echo()
        write_table(
            ("USER", "SERVICE", "PEER", "MAILBOX", "IN", "OUT", "SESSION"),
            [
                (
                    each["user"] or "-",
                    each["service"],
                    each["peer"],
                    each["mailbox"] or "-",
                    *_traffic(each),
                    each["session"],
                )
                for each in found["sessions"]
            ],
            right=(4, 5),
        )
    click.echo()


def _traffic(line: dict[str, Any]) -> tuple[str, str]:
    return format_size(round(line["bytes_in"])), format_size(round(line["bytes_out"]))
