"""`bench/run`: which lines, against which servers, how many rounds; the servers take turns in each round.

Results go to `results.*`, those of what grows (`--scale`) to `scale.*`; `--plot` and `--publish` measure
nothing.
"""

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

from bench import plot, report
from bench.dovecot import Dovecot
from bench.lines import LINES
from bench.lines.base import FULL, QUICK, Line
from bench.mstore import MStore
from bench.publish import publish
from bench.results import Results, facts, read
from bench.scaling import SCALES
from bench.scaling.sessions import EACH, Sessions
from bench.servers import Failed, Server

_ROOT = Path(__file__).resolve().parent.parent
_STEMS = ("results", "scale")
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_SERVERS = ("dovecot-mdbox", "dovecot-maildir", "m-store")
_USERS = [f"u{number:03d}" for number in range(50)]
_USERS += [
    "large",
    "append",
    "store",
    "bodies",
    "boxes",
    "grow",
    *(f"pop{number:02d}" for number in range(10)),
]
_USERS += [f"mix{number:02d}" for number in range(50)]


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status is 0 when every line gave its figures on every server."""
    options = _options(arguments)
    if options.plot or options.publish:
        return _show(options)
    scale = QUICK if options.quick else FULL
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
        for server in servers:
            server.measure_rest(scale.rest_s)
        for stem, kinds in _chosen(options).items():
            results = _begun(servers, options, stem)
            for kind in kinds:
                line = kind(scale)
                results.forget(line.name)
                failures += _run_line(line, servers, options.rounds, results)
                text = report.write(results, options.output, stem)
            if plot.possible():
                plot.draw(results, options.output, stem)
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


def _show(options: argparse.Namespace) -> int:
    """Make tables and pictures of results that are there; put them into the texts, if that is asked for."""
    found = [stem for stem in _STEMS if (options.output / f"{stem}.json").exists()]
    if not found or (options.plot and not plot.possible()):
        _say("matplotlib is not installed" if found else f"there are no results in {options.output}")
        return 1
    for stem in found:
        results = read(options.output / f"{stem}.json")
        if options.publish and results.facts["quick"]:
            _say(f"{stem}.json is of a run with --quick, which says nothing of speed")
            return 1
        report.write(results, options.output, stem)
        for path in plot.draw(results, options.output, stem) if plot.possible() else ():
            print(path)
    if options.publish:
        for path in publish(options.output, _ROOT):
            print(path)
    return 0


def _begun(servers: list[Server], options: argparse.Namespace, stem: str) -> Results:
    """Results to fill: empty, or with those of lines that were measured before."""
    group = servers[0].group
    about = facts(options.rounds, options.quick, [s.version() for s in servers], group.kind if group else "")
    titles = {server.name: server.title for server in servers}
    before = options.output / f"{stem}.json"
    if options.add and before.exists():
        results = read(before)
        results.facts, results.servers = about, {**results.servers, **titles}
        results.servers[MStore.name] = results.servers.pop(MStore.name, MStore.title)  # the last column
        return results
    return Results(MStore.name, titles, about)


def _chosen(options: argparse.Namespace) -> dict[str, list[type[Line]]]:
    """The lines to run, by the stem of the files that their results go to."""
    found = {}
    for stem, kinds, wanted in zip(
        _STEMS, (LINES, SCALES), (not options.scale, options.scale or options.quick), strict=True
    ):
        chosen = [kind for kind in kinds if (kind.name in options.only if options.only else wanted)]
        if chosen:
            found[stem] = chosen
    return found


def _run_line(line: Line, servers: list[Server], rounds: int, results: Results) -> int:
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


def _measure(line: Line, server: Server, where: str, results: Results) -> None:
    began = time.monotonic()
    for sample in line.measure(server):
        results.add(line, server.name, sample)
        aim = f"  (aim {sample.aim:g})" if sample.aim else ""
        where_at = "" if sample.at is None else f" at {sample.at:,.0f}"
        _say(f"{where} {server.title}: {sample.what}{where_at} {sample.value:.4g} {sample.unit}{aim}")
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
    users = list(_USERS)
    if Sessions in _chosen(options).get("scale", ()):
        most = (QUICK if options.quick else FULL).steps_sessions[-1]
        users += [f"s{number:05d}" for number in range(most // EACH)]
    made: dict[str, Server] = {
        "dovecot-mdbox": Dovecot(work / "mdbox", users, "mdbox"),
        "dovecot-maildir": Dovecot(work / "maildir", users, "maildir"),
        "m-store": MStore(work / "m-store", users, tuple(options.set or ())),
    }
    if options.quick:
        for server in made.values():
            server.settling_s = 0.02
    return [server for name, server in made.items() if name in options.servers]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description="M-Store and Dovecot, side by side.")
    names = [kind.name for kind in LINES + SCALES]
    add = parser.add_argument
    add(
        "--only",
        action="append",
        metavar="LINE",
        choices=names,
        help=f"one of {', '.join(names)}",
    )
    add("--scale", action="store_true", help="measure what grows instead: mailboxes, messages, sessions")
    add("--rounds", type=int, help="rounds per line [3, with --scale 1]; with --quick always 1")
    add("--quick", action="store_true", help="a little of everything, to see that all of it runs")
    add(
        "--servers",
        type=lambda text: text.split(","),
        help=f"which, with commas between [{','.join(_SERVERS)}; with --scale without maildir]",
    )
    add("--set", action="append", metavar="'OPTION VALUE'", help="a line for M-Store's ms.conf")
    add("--add", action="store_true", help="keep what is known of other lines from earlier runs")
    add(
        "--plot",
        action="store_true",
        help="measure nothing; make tables and pictures of the results there are",
    )
    add(
        "--publish", action="store_true", help="the same, and put them into README.md and docs/performance.md"
    )
    add("--output", type=Path, default=Path("bench/results"), help="where results go [bench/results]")
    add("--work", default="/var/tmp", help="a directory on the disk to measure [/var/tmp]")
    add("--keep", action="store_true", help="keep the servers' directories")
    options = parser.parse_args(arguments)
    growing = options.scale or (options.only and set(options.only) <= {kind.name for kind in SCALES})
    options.rounds = 1 if options.quick else options.rounds or (1 if growing else 3)
    options.servers = options.servers or (_SERVERS[::2] if growing else _SERVERS)
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
