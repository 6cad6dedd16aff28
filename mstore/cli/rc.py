"""rc.m-store: start, stop and look after a message store.

Exit status 0 only when it is so: ``start`` returns when every socket answers, ``stop`` when no process is
left, ``status`` succeeds only when every daemon runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import mstore
from mstore.auth.mechanism import check_mechanisms
from mstore.base import clock
from mstore.base.config import ConfigErrors, load
from mstore.base.errors import MStoreError
from mstore.base.options import DEFAULT_CONFIG, Settings
from mstore.base.values import Address
from mstore.cli import control, quickstart
from mstore.cli.service import look_up_all
from mstore.net.peer import is_loopback
from mstore.net.tls import make_context

NOT_RUNNING = 3
NOT_CONFIGURED = 6
SOON_S = 30 * 86400.0
"""So long before a certificate's end configtest says so."""

VERBS = {
    "start": "start all daemons; returns when every socket answers",
    "stop": "stop all daemons; returns when no process is left",
    "restart": "stop, then start",
    "reload": "read the configuration anew without ending sessions",
    "status": "show the daemons; succeeds when all of them run",
    "configtest": "show every error of the configuration",
    "quickstart": "set up a store of its own in DIR, with two accounts, and start it",
}


def find_problems(settings: Settings) -> list[str]:
    """What only shows when the configuration's values are looked at more closely."""
    problems = check_mechanisms(settings)
    try:
        make_context(settings)
    except MStoreError as error:
        problems.append(f"tls-certificate: {error}")
    return problems


def find_doubts(settings: Settings) -> list[str]:
    """What works, and is probably not what is wanted; for settings without problems."""
    doubts = []
    context = make_context(settings)
    for name, certificate in context.certificates() if context is not None else ():
        where = f"tls-sni {name}" if name else "tls-certificate"
        complaint = certificate.complaint(clock.now(), SOON_S)
        if complaint:
            doubts.append(f"{where}: {complaint}")
        wanted = name or settings.server_name
        if not certificate.covers(wanted):
            names = " ".join(certificate.names) or "no host name"
            doubts.append(f"{where}: is for {names}, not for {wanted}")
    listeners = (*settings.imapd_listen, *settings.pop3d_listen, *settings.lmtpd_listen)
    if settings.cleartext_login_enable is True and not all(map(_is_local, listeners)):
        text = "passwords may cross the network without TLS; loopback or off forbids that"
        doubts.append(f"cleartext-login-enable: {text}")
    somebody = settings.lmtp_users or settings.admin_users or settings.admin_domain
    if settings.lmtpd_listen and not somebody:
        doubts.append("lmtpd-listen: nobody may hand in mail there; lmtp-users or admin-users say who may")
    return doubts


def _is_local(address: Address) -> bool:
    return address.host == "localhost" or is_loopback(address.host)


def run_start(settings: Settings, config: Path) -> int:
    """Start, and say what runs."""
    fresh = control.start(settings, config)
    print("started" if fresh else "already running", end=": ")
    print(", ".join(settings.services()))
    return 0


def run_stop(settings: Settings, config: Path) -> int:
    """Stop; having nothing to stop is fine."""
    print("stopped" if control.stop(settings) else "not running")
    return 0


def run_restart(settings: Settings, config: Path) -> int:
    """Stop and start."""
    run_stop(settings, config)
    return run_start(settings, config)


def run_reload(settings: Settings, config: Path) -> int:
    """Reload; what cannot change in a running daemon is named in its log."""
    for problem in (problems := find_problems(settings)):
        print(f"{config}: {problem}", file=sys.stderr)
    if problems:
        return NOT_CONFIGURED
    control.reload(settings)
    print(f"reloading; options that need a restart are named in {settings.log_path}/*.log")
    return 0


def run_status(settings: Settings, config: Path) -> int:
    """Print a table of the daemons."""
    processes = look_up_all(settings)
    rows = [("DAEMON", "PID", "UP", "WORKERS", "SESSIONS", "STATE")]
    for process in processes:
        if process.pid is None:
            rows.append((process.name, "-", "-", "", "", "not running"))
        else:
            age = clock.format_age(process.up_s)
            numbers = (process.workers, process.sessions)
            rows.append((process.name, str(process.pid), age, *numbers, process.doing or "starting"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    missing = sum(process.pid is None for process in processes)
    if missing == 0:
        return 0
    return NOT_RUNNING if missing == len(processes) else 1


def run_configtest(settings: Settings, config: Path) -> int:
    """The configuration could be read; look closer."""
    problems = find_problems(settings)
    for problem in problems:
        print(f"{config}: {problem}", file=sys.stderr)
    if problems:
        return 1
    for doubt in find_doubts(settings):
        print(f"{config}: warning: {doubt}", file=sys.stderr)
    print(f"{config}: no errors")
    return 0


RUN = {
    "start": run_start,
    "stop": run_stop,
    "restart": run_restart,
    "reload": run_reload,
    "status": run_status,
    "configtest": run_configtest,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rc.m-store",
        description="Start, stop and look after a message store.",
        epilog="\n".join(f"  {verb:<12} {what}" for verb, what in VERBS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    where = f"configuration [{DEFAULT_CONFIG}; where there is none, that of the last quickstart]"
    parser.add_argument("-f", dest="config", metavar="ms.conf", type=Path, help=where)
    parser.add_argument("-v", action="version", version=f"M-Store rc.m-store {mstore.__version__}")
    parser.add_argument("verb", choices=list(VERBS), metavar="VERB", help="what to do: " + ", ".join(VERBS))
    parser.add_argument("directory", nargs="?", metavar="DIR", type=Path, help="for quickstart alone")
    return parser


def _choose_config(given: Path | None) -> Path:
    if given is not None:
        return Path(os.path.abspath(given))
    if not DEFAULT_CONFIG.exists():
        last = quickstart.last_config()
        if last is not None:
            return last
    return DEFAULT_CONFIG


def main(argv: Sequence[str] | None = None) -> int:
    """Run rc.m-store from its command line; returns the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.directory is not None and arguments.verb != "quickstart":
        parser.error(f"{arguments.verb} takes no directory")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        if arguments.verb == "quickstart":
            if arguments.config is not None:
                parser.error("quickstart writes its own configuration; give a directory instead of -f")
            return quickstart.run(arguments.directory)
        config = _choose_config(arguments.config)
        return RUN[arguments.verb](load(config), config)
    except ConfigErrors as error:
        print(error, file=sys.stderr)
        return 1 if arguments.verb == "configtest" else NOT_CONFIGURED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Nobody reads on; what was asked for is done.
        return 0
    except MStoreError as error:
        print(f"rc.m-store: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"rc.m-store: {where}{error.strerror or error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
