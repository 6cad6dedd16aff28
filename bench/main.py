"""`bench/run`: which lines, against which servers, how many rounds; the servers take turns in each round."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from bench import report
from bench.dovecot import Dovecot
from bench.lines import LINES
from bench.lines.base import FULL, QUICK, Line
from bench.mstore import MStore
from bench.servers import Failed, Server

_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_USERS = [f"u{number:03d}" for number in range(50)]
_USERS += ["large", "append", "store", "bodies", *(f"pop{number:02d}" for number in range(10))]


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status is 0 when every line gave its figures on every server."""
    options = _options(arguments)
    lines = [kind for kind in LINES if not options.only or kind.name in options.only]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    work = Path(tempfile.mkdtemp(prefix="m-store-bench-", dir=options.work))
    work.chmod(0o755)
    instances = _raise_inotify()
    servers = _servers(work, options)
    failures = 0
    try:
        for server in servers:
            server.path.mkdir()
            _say(f"{server.title}: setting up")
            server.prepare()
            server.start()
        group = servers[0].group
        facts = report.facts(options.rounds, [s.version() for s in servers], group.kind if group else "")
        results = report.Results(facts)
        for kind in lines:
            failures += _run_line(kind(QUICK if options.quick else FULL), servers, options.rounds, results)
            text = report.write(
                results, {s.name: s.title for s in servers}, MStore.name, Path(options.output)
            )
        print(text)
    finally:
        for server in servers:
            try:
                server.stop()
            except Failed as failure:
                _say(str(failure))
                failures += 1
        if instances is not None:
            _INOTIFY.write_text(instances)
        if options.keep or failures:
            _say(f"the servers' directories are kept in {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    return 1 if failures else 0


def _run_line(line: Line, servers: list[Server], rounds: int, results: report.Results) -> int:
    """All rounds of one line; a line that fails on a server is told and does not end the run."""
    broken = set[str]()
    for server in servers:
        _say(f"{line.name}: preparing {server.title}")
        if not _attempt(server, line.prepare, server):
            broken.add(server.name)
    for number in range(rounds):
        for server in servers:
            if server.name in broken:
                continue
            if not _attempt(server, _measure, line, server, f"{line.name} {number + 1}/{rounds}", results):
                broken.add(server.name)
    return len(broken)


def _measure(line: Line, server: Server, where: str, results: report.Results) -> None:
    began = time.monotonic()
    for sample in line.measure(server):
        results.add(line, server.name, sample)
        aim = f"  (aim {sample.aim:g})" if sample.aim else ""
        _say(f"{where} {server.title}: {sample.what} {sample.value:.4g} {sample.unit}{aim}")
    if time.monotonic() - began > 5:
        _say(f"{where} {server.title}: took {time.monotonic() - began:.0f} s")


def _attempt(server: Server, work: Callable[..., object], *arguments: object) -> bool:
    """Do the work; a failure is told, and the server started afresh."""
    try:
        work(*arguments)
    except Exception as failure:
        _say(f"{server.title} FAILED: {failure!r}")
        traceback.print_exc(limit=-4)
        try:
            server.stop()
            server.start()
        except Failed as further:
            _say(str(further))
        return False
    return True


def _servers(work: Path, options: argparse.Namespace) -> list[Server]:
    made: dict[str, Server] = {
        "dovecot-mdbox": Dovecot(work / "mdbox", _USERS, "mdbox"),
        "dovecot-maildir": Dovecot(work / "maildir", _USERS, "maildir"),
        "m-store": MStore(work / "m-store", _USERS, tuple(options.set or ())),
    }
    return [server for name, server in made.items() if name in options.servers]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description="M-Store and Dovecot, side by side.")
    names = [kind.name for kind in LINES]
    parser.add_argument(
        "--only", action="append", metavar="LINE", choices=names, help=f"one of {', '.join(names)}"
    )
    parser.add_argument("--rounds", type=int, help="rounds per line [3; 1 with --quick]")
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds of each, to see that all of it runs"
    )
    parser.add_argument(
        "--servers",
        type=lambda text: text.split(","),
        default=["dovecot-mdbox", "dovecot-maildir", "m-store"],
        help="which, with commas between [dovecot-mdbox,dovecot-maildir,m-store]",
    )
    parser.add_argument(
        "--set", action="append", metavar="'OPTION VALUE'", help="a line for M-Store's ms.conf"
    )
    parser.add_argument("--output", default="bench/results", help="where results.json and results.md go")
    parser.add_argument("--work", default="/var/tmp", help="a directory on the disk to measure [/var/tmp]")
    parser.add_argument("--keep", action="store_true", help="keep the servers' directories")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _raise_inotify() -> str | None:
    """Dovecot's IDLE needs one instance per process, or it polls; gives what to restore."""
    try:
        before = _INOTIFY.read_text()
        if int(before) < 16384:
            _INOTIFY.write_text("16384")
            return before
    except OSError:
        _say("fs.inotify.max_user_instances cannot be raised; Dovecot's IDLE may poll")
    return None


def _say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
