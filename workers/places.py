"""Where each daemon listens, by its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mstore.base.options import Settings
from mstore.base.values import Address

AUTHPROXYD, SASL = "authproxyd", "authproxyd-sasl"
METRICSD = "metricsd"
PRIVATE_MODE = 0o600
LMTP_MODE = 0o660


@dataclass(frozen=True)
class TcpPlace:
    """An address, and what its connections are to be."""

    option: str
    address: Address
    wanted: int
    """How many sockets share it, so that as many workers have one each."""
    tls: bool = False
    proxied: bool = False


@dataclass(frozen=True)
class UnixPlace:
    """A Unix socket below ``ipc``."""

    name: str
    path: Path
    mode: int


def tcp_places(settings: Settings, daemon: str) -> list[TcpPlace]:
    """The addresses of a daemon."""
    if daemon == METRICSD:
        found = [place for place in settings.metrics_listen if isinstance(place, Address)]
        return [TcpPlace("metrics-listen", address, 1) for address in found]
    if daemon == AUTHPROXYD:
        return []
    workers, proxied = settings.workers(daemon), settings.proxy_listen
    plain = [
        TcpPlace(f"{daemon}-listen", address, workers, False, address in proxied)
        for address in settings.listen(daemon)
    ]
    return plain + [
        TcpPlace(f"{daemon}-tls-listen", address, workers, True, address in proxied)
        for address in settings.tls_listen(daemon)
    ]


def lmtp_sockets(settings: Settings) -> tuple[str, ...]:
    """Of lmtpd: one that obeys quotas, and if wanted one that does not."""
    return ("lmtpd", "lmtpd-oq") if settings.lmtp_enable_overquota_delivery else ("lmtpd",)


def unix_places(settings: Settings, daemon: str) -> list[UnixPlace]:
    """The Unix sockets of a daemon."""
    names: tuple[str, ...] = ()
    mode = PRIVATE_MODE
    if daemon == AUTHPROXYD:
        names = (AUTHPROXYD, SASL)
    elif daemon == "lmtpd":
        names, mode = lmtp_sockets(settings), LMTP_MODE
    return [UnixPlace(name, settings.ipc_path(name), mode) for name in names]
