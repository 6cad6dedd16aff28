"""The systemd units of a message store, made from its configuration: the service, and a socket for it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from mstore.base.options import SERVICES, Settings
from mstore.base.values import Address
from mstore.cli.control import MARGIN_S, ROOT

MARK = "# Made by rc.m-store install."
REFUSED = 78
"""Exit status of storemgr when an administrator must mend something first (workers/parent.py)."""
CAPABILITIES = (
    "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH", "CAP_NET_BIND_SERVICE", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
"""Change users, bind ports, read keys, own what is made, tell the daemons; the last one is PAM's."""
CONFINING = ("seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
"""What workers confine themselves with; a name for these calls is not in every systemd."""
HOMES = ("/home", "/root", "/run/user")
SCRATCH = ("/tmp", "/var/tmp")

TEMPLATE = """{mark}
[Unit]
Description=M-Store message store
After=network-online.target nss-user-lookup.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={storemgr} -f {config}
ExecReload={rc} -f {config} reload
Restart=on-failure
RestartSec=2
RestartPreventExitStatus={refused}
WatchdogSec=60
KillMode=mixed
TimeoutStartSec=120
TimeoutStopSec={stop_s:.0f}
LimitNOFILE=524288
UMask=0077

ReadWritePaths={writable}
ProtectSystem=strict
ProtectHome={home}
PrivateTmp={private_tmp}
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
NoNewPrivileges={no_new_privileges}
CapabilityBoundingSet={capabilities}
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service {confining}
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

SOCKET_TEMPLATE = """{mark}
[Unit]
Description=Sockets of the M-Store message store

[Socket]
{streams}
BindIPv6Only={families}
Backlog=1024
NoDelay=yes
KeepAlive=yes

[Install]
WantedBy=sockets.target
"""


def _quote(path: Path, prefix: str = "") -> str:
    """A path as unit files have them: in quotes, with no specifier, variable or escape in it."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{prefix}{text}"'


def _argument(path: Path) -> str:
    return _quote(path).replace("$", "$$")


def _lies_below(paths: list[Path], directories: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(directory) for path in paths for directory in directories)


def format_unit(settings: Settings, config: Path, programs: Path) -> str:
    """The text of ``m-store.service``; ``programs`` is the directory with storemgr and rc.m-store.

    Where something of ours lies in a home or in a directory for temporary files, that cannot be hidden.
    """
    # What storemgr cannot write is better said by storemgr: a missing directory is no reason not to start it.
    stores = [path for path in settings.mailstores.values() if not path.is_relative_to(settings.ms_path)]
    writable = list(dict.fromkeys([settings.ms_path, *stores]))
    reached = [
        *writable,
        *settings.tls_files(),
        config,
        programs,
        programs.resolve(),
        ROOT,
        *map(Path, (sys.prefix, sys.base_prefix)),
    ]
    runs_programs = "pam" in (settings.authproxy_authmech, settings.authproxy_legacy_authmech)
    return TEMPLATE.format(
        mark=MARK,
        storemgr=_quote(programs / "storemgr"),
        rc=_quote(programs / "rc.m-store"),
        config=_argument(config),
        refused=REFUSED,
        stop_s=settings.shutdown_grace + MARGIN_S,
        writable=" ".join([*(_quote(path, "-") for path in writable), *["-/run/faillock"] * runs_programs]),
        home="read-only" if _lies_below(reached, HOMES) else "yes",
        private_tmp="no" if _lies_below(reached, SCRATCH) else "yes",
        no_new_privileges="no" if runs_programs else "yes",
        confining=" ".join(CONFINING),
        capabilities=" ".join(CAPABILITIES),
    )


def format_socket(settings: Settings) -> str:
    """The text of ``m-store.socket``: every TCP address, for a start that needs no right to bind them.

    Raises: OSError for a name that has no address.
    """
    addresses = [one for name in SERVICES for one in (*settings.listen(name), *settings.tls_listen(name))]
    addresses += [place for place in settings.metrics_listen if isinstance(place, Address)]
    streams = list(dict.fromkeys(stream for address in addresses for stream in _streams(address)))
    # A socket for all IPv6 addresses serves IPv4 as well only where that is not asked for apart.
    is_apart = any(address.host == "::" for address in addresses)
    return SOCKET_TEMPLATE.format(
        mark=MARK,
        streams="\n".join(f"ListenStream={stream}" for stream in streams),
        families="ipv6-only" if is_apart else "both",
    )


def _streams(address: Address) -> list[str]:
    """An address as systemd has it; it knows no names."""
    if address.host == "*":
        return [str(address.port)]
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    hosts = [(family, str(where[0])) for family, _, _, _, where in found]
    return [
        f"[{host}]:{address.port}" if family == socket.AF_INET6 else f"{host}:{address.port}"
        for family, host in hosts
    ]
