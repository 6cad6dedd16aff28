"""The metrics page of real daemons: what is done moves its series, and others can read it as they are to."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.certificates import make_pair, needs_openssl
from tests.kit.instance import DAEMONS, ROOT, Instance, free_port, runtime_user, wait_for

pytestmark = [pytest.mark.system, needs_openssl]

GAMES = 60
"""A group that every Debian system has."""

Page = dict[tuple[str, ...], float]


def parse(text: str) -> Page:
    """Values by name and the values of the labels, in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(port: int) -> Page:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        return parse(page.read().decode())


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def store(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    pair = make_pair(tmp_path_factory.mktemp("tls"), "mail.test.example")
    options = [
        f"metrics-listen 127.0.0.1:{port}",
        f"tls-certificate {pair.certificate}",
        f"tls-key {pair.key}",
    ]
    with Instance(["joe", "ann"], options, workers=1) as instance:
        wait_for(lambda: answers(port), 30, lambda: "no metricsd")
        yield instance


def test_what_alerts_and_dashboard_name_is_there(store: Instance, port: int) -> None:
    wait_for(lambda: ("mstore_store_accounts", "main") in scrape(port), 60, lambda: "no survey")
    there = {name for name, *_ in scrape(port)}
    for file in ("prometheus/alerts.yml", "grafana/m-store.json"):
        named = set(re.findall(r"\bmstore_\w+", (ROOT / "conf" / file).read_text()))
        assert named and named <= there, f"{file}: {named - there}"
    documented = set(re.findall(r"\bmstore_\w+", (ROOT / "docs" / "monitoring.md").read_text()))
    endings = re.compile("_(bucket|count|sum|created)$")
    assert documented >= {endings.sub("", name) for name in there}


def test_daemons_are_described(store: Instance, port: int) -> None:
    page = scrape(port)
    for daemon in ("storemgr", *DAEMONS, "metricsd"):
        assert page["mstore_up", daemon] == 1
        assert page["mstore_build_info", daemon, "1.0.0"] == 1
    processes = {name: [store.daemon_pid(name), *store.worker_pids(name)] for name in DAEMONS}

    [worker], master = store.worker_pids("imapd"), store.daemon_pid("imapd")
    single = (
        ("imapd", "worker 1", worker),
        ("imapd", "master", master),
        ("storemgr", "master", store.daemon_pid("storemgr")),
        ("metricsd", "master", store.daemon_pid("metricsd")),
    )

    def is_right() -> bool:
        """Each looks at its memory once a minute while it rests, so what is told may be from long ago."""
        page = scrape(port)
        told = {("mstore_memory_rss_bytes", daemon): pids for daemon, pids in processes.items()}
        for daemon, process, pid in single:
            told["mstore_process_memory_rss_bytes", daemon, str(pid), process] = [pid]
        return page["mstore_memory_pss_bytes", "storemgr"] > 5e6 and all(
            page.get(key) == pytest.approx(store.memory_bytes(pids), rel=0.2) for key, pids in told.items()
        )

    wait_for(is_right, 90, lambda: f"{[each for each in scrape(port).items() if 'memory' in each[0][0]]}")
    page = scrape(port)
    for daemon in DAEMONS:
        assert 5e6 < page["mstore_memory_pss_bytes", daemon] <= page["mstore_memory_rss_bytes", daemon]
    assert page["mstore_certificate_expiry_timestamp_seconds", "imapd"] > 1.7e9
    assert page["mstore_disk_free_bytes", "main", str(store.mail_path)] > 0


def test_series_move_by_what_is_done(store: Instance, port: int) -> None:
    before = scrape(port)
    store.deliver("joe", b"Subject: counted\r\n\r\nbody\r\n")
    with closing(store.imap("joe")) as client:
        client.command(b"SELECT INBOX")
        client.command(b"FETCH 1 BODY[]")
        client.command(b"UID FETCH 1 FLAGS")
        wait_for(
            lambda: scrape(port)["mstore_sessions_by_state", "imapd", "selected"] == 1, 30, lambda: "none"
        )
        # Bytes of sessions that go on are counted as well.
        sent = before["mstore_sent_bytes_total", "imapd"]
        wait_for(
            lambda: scrape(port)["mstore_sent_bytes_total", "imapd"] > sent + 500, 60, lambda: "no bytes"
        )
    with closing(store.pop3("joe")) as client:
        client.command(b"NOOP")
        client.command(b"QUIT")
    after = scrape(port)

    def moved(*key: str) -> float:
        return after[key] - before[key]

    assert moved("mstore_deliveries_total", "lmtpd", "delivered") == 1
    assert moved("mstore_delivery_duration_seconds_count", "lmtpd") == 1
    assert moved("mstore_sync_duration_seconds_count", "lmtpd") >= 1
    assert moved("mstore_logins_total", "imapd", "login", "ok") == 1
    assert moved("mstore_logins_total", "pop3d", "pass", "ok") == 1
    assert moved("mstore_logins_total", "authproxyd", "plain", "ok") == 2
    assert moved("mstore_connections_total", "imapd") == 1
    assert moved("mstore_command_duration_seconds_count", "select", "imapd") == 1
    assert moved("mstore_command_duration_seconds_count", "fetch", "imapd") == 2
    assert moved("mstore_command_duration_seconds_count", "login", "pop3d") == 1
    assert moved("mstore_commands_total", "imapd") == 4
    assert moved("mstore_pool_wait_seconds_count", "authproxyd") >= 1
    wait_for(lambda: " scrapes\n" in store.rc("status").stdout, 30, lambda: "its title says nothing")


def test_failures_are_counted_by_kind(store: Instance, port: int) -> None:
    before = scrape(port)
    with closing(store.lmtp()) as client:
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<nobody@test.example>\r\n")
        client.reply(b"250")
        client.reply(b"550")
    with closing(store.imap()) as client:
        client.send(b"a LOGIN joe wrong\r\n")
        assert client.line().startswith(b"a NO")
    after = scrape(port)
    key = "mstore_recipients_refused_total", "lmtpd"
    assert after[key] - before[key] == 1
    for failed in (("imapd", "login"), ("authproxyd", "plain")):
        key = "mstore_logins_total", *failed, "failed"
        assert after[key] - before[key] == 1


def test_counters_never_go_back(store: Instance, port: int) -> None:
    """Not when a worker dies, and not when all are replaced."""
    store.tolerated.append("killed by SIGKILL")
    restarted = {"authproxyd", "metricsd"}  # for which a reload is a restart
    with closing(store.imap("joe")) as client:
        client.command(b"SELECT INBOX")

    def counters() -> Page:
        endings = ("_total", "_bucket", "_count", "_sum")
        page = scrape(port).items()
        return {key: n for key, n in page if key[0].endswith(endings) and not restarted.intersection(key)}

    before = counters()
    [worker] = store.worker_pids("imapd")
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: worker not in store.worker_pids("imapd"), 30, lambda: "it lives")
    wait_for(store.is_ready, 30, lambda: "no new worker")
    again = counters()
    assert not {key: (value, again[key]) for key, value in before.items() if again[key] < value}
    store.rc("reload")
    after = counters()
    assert not {key: (value, after[key]) for key, value in again.items() if after[key] < value}


def test_the_survey_knows_the_mail(store: Instance, port: int) -> None:
    store.deliver("ann", b"Subject: one\r\n\r\n" + b"x" * 1000 + b"\r\n")

    def find() -> bool:
        page = scrape(port)
        accounts, messages = "mstore_store_accounts", "mstore_store_messages"
        return page.get((accounts, "main")) == 2 and page.get((messages, "main"), 0) >= 1

    store.rc("reload")  # A new worker begins at once.
    wait_for(find, 80, lambda: f"{ {key: n for key, n in scrape(port).items() if 'store_' in key[0]} }")
    page = scrape(port)
    assert page["mstore_store_bytes", "main"] > 1000 and page["mstore_store_mailboxes", "main"] >= 2


def test_only_the_page_is_served(store: Instance, port: int) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", b"", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(request, timeout=10)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def test_a_unix_socket_is_for_its_group() -> None:
    group = [] if os.geteuid() else ["metrics-socket-group games"]
    store = Instance([])
    directory = store.path / "metrics"
    directory.mkdir()
    path = directory / "socket"
    if os.geteuid() == 0:
        os.chown(directory, runtime_user().pw_uid, -1)
    with store.config.open("a") as config:
        config.write("\n".join([f"metrics-listen {path}", *group]) + "\n")
    with store:
        for _ in range(2):
            wait_for(lambda: " scrapes\n" in store.rc("status").stdout, 60, lambda: "no metricsd")
            with closing(UnixConnection(path)) as connection:
                connection.request("GET", "/metrics")
                page = parse(connection.getresponse().read().decode())
            assert page["mstore_up", "metricsd"] == 1
            status = path.stat()
            assert stat.S_IMODE(status.st_mode) == 0o660
            if os.geteuid() == 0:
                assert (status.st_uid, status.st_gid) == (runtime_user().pw_uid, GAMES)
            store.stop()
            store.start()  # Now there is a socket already.
