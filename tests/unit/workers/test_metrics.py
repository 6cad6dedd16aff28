"""The metrics page from scoreboards of the test's, in process."""

import json
import os
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mstore import __version__
from mstore.base import clock
from mstore.base.boardfile import ALIVE_S, BOUNDS_S, HISTOGRAM_CELLS, read_board
from workers import metrics
from workers.memory import Memory, Use
from workers.metrics import accumulate, make_registry, read_scoreboard
from workers.reporting import make_observer, note_memory
from workers.scoreboard import (
    CERTIFICATE_END,
    COMMANDS,
    COUNTERS,
    FIELDS,
    GAUGES,
    HISTOGRAMS,
    PAGE_BYTES,
    SPARE,
    Scoreboard,
)
from workers.survey import Found, note

Page = dict[tuple[str, ...], float]


def render(**paths: Path) -> Page:
    """The page as Prometheus reads it."""
    text = generate_latest(make_registry(paths, {})).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "board"


def test_the_header_says_how_long_it_is_and_what_follows(path: Path) -> None:
    Scoreboard(1, path, "authproxyd", clock.now())
    data = path.read_bytes()
    header = json.loads(data.partition(b"\n")[0])
    assert header["fields"] == list(FIELDS) and header["histograms"] == list(HISTOGRAMS)
    assert header["header_bytes"] % PAGE_BYTES == 0
    width = len(FIELDS) + len(HISTOGRAMS) * HISTOGRAM_CELLS
    assert len(data) == header["header_bytes"] + 2 * 8 * width


def test_no_cell_is_anothers() -> None:
    board = Scoreboard(2)
    for slot in (*board.slots, board.own):
        for name in FIELDS:
            slot.set(name, 0)
            slot.add(name, 7)
        for name in HISTOGRAMS:
            slot.observe(name, 40.0)
    for slot in (*board.slots, board.own):
        assert {slot.get(name) for name in FIELDS} == {7}
        for name in HISTOGRAMS:
            assert slot.histogram(name) == [0] * len(BOUNDS_S) + [1, 40_000_000_000]
    assert [slot.number for slot in board.slots] == [0, 1]


def test_a_duration_is_in_the_bucket_whose_end_it_does_not_pass(path: Path) -> None:
    board = Scoreboard(2, path, "imapd", clock.now())
    for slot, seconds in zip(
        (board.slots[0], board.slots[1], board.slots[1]), (0.0005, 0.0006, 31), strict=True
    ):
        slot.observe("command.fetch", seconds)
    page = render(imapd=path)
    key = "mstore_command_duration_seconds_bucket", "fetch", "imapd"
    found = [page[(*key, end)] for end in ("0.0005", "0.001", "30.0", "+Inf")]
    assert found == [1, 2, 2, 3]
    assert page["mstore_command_duration_seconds_count", "fetch", "imapd"] == 3
    assert page["mstore_command_duration_seconds_sum", "fetch", "imapd"] == pytest.approx(31.0011)
    assert page["mstore_command_duration_seconds_count", "select", "imapd"] == 0


def test_buckets_never_shrink() -> None:
    buckets, total_s = accumulate([1] * len(BOUNDS_S) + [2, 1_500_000_000])
    counts = [count for _, count in buckets]
    assert counts == sorted(counts) and counts[-1] == len(BOUNDS_S) + 2 and total_s == 1.5
    assert buckets[-1][0] == "+Inf"


def test_workers_are_summed_and_a_dead_ones_counters_stay(path: Path) -> None:
    board = Scoreboard(3, path, "lmtpd", 1234.5)
    board.own.beat()
    for slot in board.slots:
        slot.take()
        slot.set("sessions", 2)
        slot.add("deliveries", 10)
        slot.observe("delivery", 0.2)
    board.slots[0].clear()
    page = render(lmtpd=path)
    assert page["mstore_up", "lmtpd"] == 1 and page["mstore_start_time_seconds", "lmtpd"] == 1234.5
    assert page["mstore_build_info", "lmtpd", __version__] == 1
    assert page["mstore_sessions", "lmtpd"] == 4
    assert page["mstore_deliveries_total", "lmtpd", "delivered"] == 30
    assert page["mstore_delivery_duration_seconds_count", "lmtpd"] == 3
    board.slots[0].take()
    assert render(lmtpd=path)["mstore_delivery_duration_seconds_count", "lmtpd"] == 3


def test_sessions_are_told_apart(path: Path) -> None:
    board = Scoreboard(1, path, "imapd", 1.0)
    board.own.beat()
    for name, number in (("sessions", 9), ("sessions_authenticated", 6), ("sessions_selected", 4)):
        board.slots[0].set(name, number)
    page = render(imapd=path)
    states = ("unauthenticated", "authenticated", "selected")
    assert [page["mstore_sessions_by_state", "imapd", state] for state in states] == [3, 2, 4]


def test_kinds_are_counted_and_unknown_ones_are_others(path: Path) -> None:
    board = Scoreboard(1, path, "imapd", 1.0)
    slot = board.slots[0]
    slot.add_of("logins", "scram-sha-256")
    slot.add_of("logins", "x-ticket")
    slot.add_of("connections_refused", "connections-limit")
    with pytest.raises(KeyError):
        slot.add_of("commands", "fetch")
    page = render(imapd=path)
    assert page["mstore_logins_total", "imapd", "scram-sha-256", "ok"] == 1
    assert page["mstore_logins_total", "imapd", "other", "ok"] == 1
    assert page["mstore_connections_refused_total", "imapd", "connections-limit"] == 1
    assert slot.get("logins") == 2 and slot.get("connections_refused") == 1


def test_who_is_silent_is_down_and_keeps_its_counters(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Scoreboard(1, path, "imapd", 1.0)
    board.own.beat()
    board.own.set(CERTIFICATE_END, 2_000_000_000)
    board.slots[0].set("sessions", 3)
    board.slots[0].add("connections", 5)
    assert render(imapd=path)["mstore_certificate_expiry_timestamp_seconds", "imapd"] == 2e9
    later = clock.steady() + ALIVE_S + 1
    monkeypatch.setattr(clock, "steady", lambda: later)
    page = render(imapd=path)
    assert page["mstore_up", "imapd"] == page["mstore_sessions", "imapd"] == 0
    assert page["mstore_connections_total", "imapd"] == 5
    assert ("mstore_certificate_expiry_timestamp_seconds", "imapd") not in page


@pytest.mark.parametrize("content", [b"", b"{}\n", b"[1]\n" + bytes(PAGE_BYTES), b"\xff" * 5000])
def test_what_is_no_scoreboard_is_a_daemon_that_is_down(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    page = render(imapd=path, pop3d=path.with_name("none"))
    assert page["mstore_up", "imapd"] == page["mstore_up", "pop3d"] == 0
    assert not [key for key in page if key[0] != "mstore_up"]


def test_a_board_with_other_fields_is_read_by_their_names(path: Path) -> None:
    """One of another version, until its daemon is started anew."""
    header = {
        "daemon": "imapd",
        "version": "0",
        "started": 1,
        "fields": ["commands", "heartbeat"],
        "histograms": [],
        "header_bytes": PAGE_BYTES,
    }
    cells = [5, 0, 6, 1]
    line = json.dumps(header).encode().ljust(PAGE_BYTES - 1) + b"\n"
    path.write_bytes(line + b"".join(cell.to_bytes(8, "little") for cell in cells))
    board = read_scoreboard(path)
    assert board.sums["commands"] == 11 and board.sums["errors"] == 0
    assert render(imapd=path)["mstore_commands_total", "imapd"] == 11


def test_each_mailstore_is_told_of_once_it_is_known(path: Path) -> None:
    board = Scoreboard(1, path, "lmtpd", 1.0, ["main", "second"])
    assert not [key for key in render(lmtpd=path) if key[0] == "mstore_store_bytes"]
    note(board.mailstores["main"], Found(4096, 7, 3, 2, 1))
    page = render(lmtpd=path)
    assert page["mstore_store_bytes", "main"] == 4096 and page["mstore_store_accounts", "main"] == 2
    assert ("mstore_store_bytes", "second") not in page
    note(board.mailstores["second"], Found())
    page = render(lmtpd=path)
    assert page["mstore_store_bytes", "second"] == page["mstore_store_accounts", "second"] == 0
    board.slots[0].add("deliveries", 2)
    assert render(lmtpd=path)["mstore_deliveries_total", "lmtpd", "delivered"] == 2


def test_mailstores_come_and_go_by_reloads(path: Path) -> None:
    board = Scoreboard(1, path, "lmtpd", 1.0, ["main", "second"])
    before = path.stat().st_size
    for name in ("main", "second"):
        note(board.mailstores[name], Found(1, 1, 1, 1, 1))
    board.name_mailstores(["main", "third"])
    note(board.mailstores["third"], Found(3, 1, 1, 1, 1))
    sizes = {key[1]: size for key, size in render(lmtpd=path).items() if key[0] == "mstore_store_bytes"}
    assert sizes == {"main": 1, "third": 3} and path.stat().st_size == before
    many = [f"more{number}" for number in range(SPARE + 3)]
    board.name_mailstores(["main", "third", *many])
    assert list(board.mailstores) == ["main", "third", *many[: SPARE - 1]]
    assert board.slots[0].number == 0 and board.own.number == 2 + 1 + SPARE
    assert not set(read_board(path).mailstores) - {"main", "third", *many}


def test_a_name_for_which_there_is_no_room_takes_no_place(path: Path) -> None:
    board = Scoreboard(1, path, "lmtpd", 1.0, ["main"])
    board.name_mailstores(["main", "x" * 9000])
    board.own.beat()
    assert render(lmtpd=path)["mstore_up", "lmtpd"] == 1
    assert set(read_board(path).mailstores) == {"main"}


def test_the_memory_of_each_process_is_told(path: Path) -> None:
    board = Scoreboard(2, path, "imapd", 1.0)
    board.own.beat()
    note_memory(board.own, Use(1000, 2000))
    note_memory(board.slots[1], Use(3000, 4000), worker=2)
    pid = str(os.getpid())
    page = render(imapd=path)
    found = {key: size for key, size in page.items() if key[0].startswith("mstore_process_memory")}
    assert found == {
        ("mstore_process_memory_pss_bytes", "imapd", pid, "master"): 1000,
        ("mstore_process_memory_rss_bytes", "imapd", pid, "master"): 2000,
        ("mstore_process_memory_pss_bytes", "imapd", pid, "worker 2"): 3000,
        ("mstore_process_memory_rss_bytes", "imapd", pid, "worker 2"): 4000,
    }
    assert page["mstore_memory_pss_bytes", "imapd"] == 4000
    board.slots[1].clear()
    gone = ("mstore_process_memory_pss_bytes", "imapd", pid, "worker 2")
    assert gone not in render(imapd=path)


def test_durations_of_the_store_reach_their_histograms() -> None:
    slot = Scoreboard(1).slots[0]
    observe = make_observer(slot)
    observe("lock_wait", 0.002)
    observe("sync", 0.5)
    assert sum(slot.histogram("lock_wait")[:-1]) == sum(slot.histogram("sync")[:-1]) == 1


def test_names_are_told_apart() -> None:
    assert len(set(FIELDS)) == len(FIELDS) and not set(GAUGES) & set(COUNTERS)
    assert sorted(COMMANDS) == sorted(set(metrics.IMAP) | set(metrics.POP3))


def test_memory_is_the_kernels_sum() -> None:
    use = Memory().read()
    status = Path("/proc/self/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0]) << 10
    assert use.rss_bytes == pytest.approx(resident, rel=0.1)
    assert 0 < use.pss_bytes <= use.rss_bytes
