"""rc.m-store: start, stop and look after a message store.

Exit status 0 only when it is so: ``start`` returns when every socket answers, ``stop`` when no process is
left, ``status`` succeeds only when every daemon runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import mstore
from mstore.auth.mechanism import check_mechanisms
from mstore.base import clock
from mstore.base.config import ConfigErrors, load
from mstore.base.errors import MStoreError
from mstore.base.options import DEFAULT_CONFIG, SERVICES, Settings
from mstore.base.values import Address
from mstore.cli import control, quickstart
from mstore.cli.completing import answer
from mstore.cli.install import DEFAULT_USER, Installation, outdated_units
from mstore.cli.service import Process, look_up_all
from mstore.cli.site import as_json, confirm, without_asking, write_json, write_table
from mstore.cli.verbs import Program
from mstore.net.peer import is_loopback
from mstore.net.tls import make_context

NOT_RUNNING = 3
NOT_CONFIGURED = 6
SOON_S = 30 * 86400.0
"""So long before a certificate's end configtest says so."""


def find_problems(settings: Settings) -> list[str]:
    """What only shows when the configuration's values are looked at more closely."""
    problems = check_mechanisms(settings)
    problems += [
        f"proxy-listen: nobody listens on {address}"
        for address in settings.proxy_listen
        if not any(address in (*settings.listen(name), *settings.tls_listen(name)) for name in SERVICES)
    ]
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


class _Rc(Program):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order in which they are declared."""
        return list(self.commands)


@click.group(cls=_Rc, context_settings={"help_option_names": ["--help", "-h"]})
@click.option(
    "-f",
    "config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The configuration file [{DEFAULT_CONFIG}; where there is none, that of the last quickstart].",
)
@click.version_option(mstore.__version__, "-v", "--version", message="M-Store rc.m-store %(version)s")
@click.pass_context
def rc(ctx: click.Context, config: Path | None) -> None:
    """Start, stop and look after a message store.

    The exit status is 0 only when it is so. Every verb takes --json for output that programs read.
    """
    ctx.obj = config


@rc.command("start")
@as_json
@click.pass_obj
def run_start(given: Path | None, as_json: bool) -> int:
    """Start all daemons.

    It returns when every socket answers.

    Example: rc.m-store start; rc.m-store -f /etc/md/store/test.conf start
    """
    config = _choose_config(given)
    _tell(as_json, _start(load(config), config))
    return 0


@rc.command("stop")
@as_json
@click.pass_obj
def run_stop(given: Path | None, as_json: bool) -> int:
    """Stop all daemons.

    It returns when no process is left. Having nothing to stop is fine. A configuration that has got an error
    since stops nobody from stopping.

    Example: rc.m-store stop
    """
    _tell(as_json, _stop(_load_in_part(given)))
    return 0


@rc.command("restart")
@as_json
@click.pass_obj
def run_restart(given: Path | None, as_json: bool) -> int:
    """Stop, then start.

    Example: rc.m-store restart
    """
    config = _choose_config(given)
    settings = load(config)
    stopped = _stop(settings)
    if not as_json:
        _tell(False, stopped)
    started = _start(settings, config)
    _tell(as_json, stopped | started if as_json else started)
    return 0


@rc.command("reload")
@as_json
@click.pass_obj
def run_reload(given: Path | None, as_json: bool) -> int:
    """Read the configuration anew without ending sessions.

    It returns when all new workers accept connections, and names what only a restart can change.

    Example: rc.m-store reload
    """
    settings = _load_sound(given)
    if settings is None:
        return NOT_CONFIGURED
    _tell(as_json, {"reloaded": True, "needs_restart": control.reload(settings)})
    return 0


@rc.command("upgrade")
@as_json
@click.pass_obj
def run_upgrade(given: Path | None, as_json: bool) -> int:
    """Have this version of the program, or the whole configuration, take over; no session ends.

    Returns when the new daemons are in charge.

    Example: rc.m-store upgrade
    """
    settings = _load_sound(given)
    if settings is None:
        return NOT_CONFIGURED
    try:
        control.upgrade(settings)
    except control.Failed as error:
        raise control.Failed(f"not upgraded, the old version goes on:\n{error}") from None
    if as_json:
        write_json({"version": mstore.__version__, "services": settings.services()})
    else:
        click.echo(f"upgraded to {mstore.__version__}: {', '.join(settings.services())}")
    return 0


@rc.command("status")
@as_json
@click.pass_obj
def run_status(given: Path | None, as_json: bool) -> int:
    """Show the daemons.

    The exit status is 0 when all of them run and none crashes, 3 when none runs, otherwise 1.

    Example: rc.m-store status; rc.m-store status --json
    """
    processes = look_up_all(_load_in_part(given))
    if as_json:
        write_json([_describe(process) for process in processes])
    else:
        heads = ("DAEMON", "PID", "UP", "WORKERS", "SESSIONS", "STATE")
        write_table(heads, [_row(process) for process in processes])
    missing = sum(process.pid is None for process in processes)
    if missing == 0:
        return int(any("crashing: " in process.doing for process in processes))
    return NOT_RUNNING if missing == len(processes) else 1


@rc.command("configtest")
@as_json
@click.pass_obj
def run_configtest(given: Path | None, as_json: bool) -> int:
    """Show every error of the configuration.

    What works, but is probably not what is wanted, is a warning.

    Example: rc.m-store configtest; rc.m-store -f new.conf configtest --json
    """
    config = _choose_config(given)
    doubts: list[str] = []
    try:
        settings = load(config)
        problems = find_problems(settings)
        errors = [f"{config}: {problem}" for problem in problems]
        doubts = [] if problems else [f"{config}: warning: {doubt}" for doubt in find_doubts(settings)]
        if config == DEFAULT_CONFIG:
            outdated = "was made for other options; rc.m-store install makes it anew"
            doubts += [f"{unit}: warning: {outdated}" for unit in outdated_units(settings)]
    except ConfigErrors as error:
        errors = [str(problem) for problem in error.problems]
    if as_json:
        write_json({"file": str(config), "errors": errors, "warnings": doubts})
        return 1 if errors else 0
    for line in (*errors, *doubts):
        click.echo(line, err=True)
    if errors:
        return 1
    click.echo(f"{config}: no errors")
    return 0


root_option = click.option(
    "--root", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Everything below DIR."
)


@rc.command("install")
@root_option
@click.option("--user", metavar="NAME", default=DEFAULT_USER, show_default=True, help="The runtime user.")
@as_json
@click.pass_obj
def run_install(given: Path | None, root: Path | None, user: str, as_json: bool) -> int:
    """Lay out what belongs to a machine.

    That is /etc/md/store, /usr/local/md, /var/md/store, what starts M-Store at boot, manual pages, and
    completion for shells.
    With --root for a package: texts and links speak of the places as they will be, and neither users nor
    running services are touched.

    Example: rc.m-store install; rc.m-store install --root /tmp/package --user mail
    """
    _check_not_given(given)
    installation = Installation(root, quiet=as_json)
    following = installation.install(user)
    if as_json:
        write_json({"did": installation.did, "next": following})
    else:
        click.echo("\n".join(["", "Next:", *(f"  {line}" for line in following)]))
    return 0


@rc.command("uninstall")
@root_option
@click.option("--purge", is_flag=True, help="All mail, databases and logs as well.")
@without_asking
@as_json
@click.pass_obj
def run_uninstall(given: Path | None, root: Path | None, purge: bool, yes: bool, as_json: bool) -> int:
    """Remove what install has made; mail and databases only with --purge.

    Example: rc.m-store stop; rc.m-store uninstall
    """
    _check_not_given(given)
    if purge:
        confirm("This removes all mail, databases and logs.", yes)
    installation = Installation(root, quiet=as_json)
    installation.uninstall(purge)
    if as_json:
        write_json({"did": installation.did})
    return 0


@rc.command("quickstart")
@click.argument(
    "directory", metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path), required=False
)
@as_json
@click.pass_obj
def run_quickstart(given: Path | None, directory: Path | None, as_json: bool) -> int:
    """Set up and start a store to try.

    It lies in DIR, listens on high ports, and has two accounts.

    Example: rc.m-store quickstart; rc.m-store quickstart /srv/try
    """
    if given is not None:
        raise click.UsageError("quickstart writes its own configuration; give a directory instead of -f")
    quickstart.run(directory, as_json)
    return 0


def _check_not_given(given: Path | None) -> None:
    if given is not None:
        raise click.UsageError(f"-f is of no use here: this is about {DEFAULT_CONFIG}")


def _load_sound(given: Path | None) -> Settings | None:
    """The configuration, when nothing is the matter with it; what is the matter is said.

    Raises: ConfigErrors
    """
    config = _choose_config(given)
    settings = load(config)
    for problem in (problems := find_problems(settings)):
        click.echo(f"{config}: {problem}", err=True)
    return None if problems else settings


def _load_in_part(given: Path | None) -> Settings:
    """The configuration of what runs, also where it has errors by now, which are said.

    Raises: ConfigErrors when it does not tell where M-Store's files are
    """
    try:
        return load(_choose_config(given))
    except ConfigErrors as errors:
        if errors.rest is None or any(problem.option in ("", "ms-path") for problem in errors.problems):
            raise
        for problem in errors.problems:
            click.echo(problem, err=True)
        return errors.rest


def _start(settings: Settings, config: Path) -> dict[str, Any]:
    return {"started": control.start(settings, config), "services": settings.services()}


def _stop(settings: Settings) -> dict[str, Any]:
    return {"stopped": control.stop(settings)}


def _tell(as_json: bool, outcome: dict[str, Any]) -> None:
    """Say what came of starting, stopping or reloading."""
    if as_json:
        write_json(outcome)
    elif "services" in outcome:
        how = "started" if outcome["started"] else "already running"
        click.echo(f"{how}: {', '.join(outcome['services'])}")
    elif "stopped" in outcome:
        click.echo("stopped" if outcome["stopped"] else "not running")
    else:
        click.echo("reloaded")
        if outcome["needs_restart"]:
            click.echo(f"unchanged until a restart: {', '.join(outcome['needs_restart'])}")


def _row(process: Process) -> Sequence[str]:
    if process.pid is None:
        return (process.name, "-", "-", "", "", process.doing or "not running")
    numbers = (process.workers, process.sessions)
    return (
        process.name, str(process.pid), clock.format_age(process.up_s), *numbers, process.doing or "starting"
    )  # fmt: skip


def _describe(process: Process) -> dict[str, Any]:
    return {
        "name": process.name,
        "pid": process.pid,
        "up_s": None if process.pid is None else round(process.up_s, 1),
        "workers": int(process.workers) if process.workers else None,
        "sessions": int(process.sessions) if process.sessions else None,
        "state": process.doing or ("not running" if process.pid is None else "starting"),
    }


def _choose_config(given: Path | None) -> Path:
    if given is not None:
        return Path(os.path.abspath(given))
    if not DEFAULT_CONFIG.exists():
        last = quickstart.last_config()
        if last is not None:
            print(f"rc.m-store: with {last}, of the last quickstart", file=sys.stderr)
            return last
    return DEFAULT_CONFIG


def main(argv: Sequence[str] | None = None) -> int:
    """Run rc.m-store from its command line; returns the exit status."""
    if answer("rc.m-store"):
        return 0
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        status: int = rc.main(argv, prog_name="rc.m-store", standalone_mode=False)
        return status
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except ConfigErrors as error:
        click.echo(error, err=True)
        return NOT_CONFIGURED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Nobody reads on; what was asked for is done.
        return 0
    except MStoreError as error:
        click.echo(f"rc.m-store: {error}", err=True)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"rc.m-store: {where}{error.strerror or error}", err=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
