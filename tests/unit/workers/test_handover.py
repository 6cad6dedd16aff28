"""What storemgr hands to daemons, and the watch over files that brings it about."""

import socket
from pathlib import Path

import pytest

from mstore.base.errors import Unavailable
from tests.kit.dying import open_files
from workers import handover, watch
from workers.watch import Watch


def test_files_arrive_as_they_are_and_errors_as_words(tmp_path: Path) -> None:
    here, none = tmp_path / "here", tmp_path / "none"
    here.write_bytes(bytes(range(256)) * 2000)
    ours, theirs = handover.make_channel()
    with ours, theirs:
        assert handover.receive(theirs) is None
        handover.send(ours, handover.RELOAD, handover.gather([here, none]))
        handover.send(ours, handover.RENEW, handover.gather([]))
        first, second = handover.receive(theirs), handover.receive(theirs)
        assert first is not None and second is not None
        assert not open_files("/memfd:handover")
        assert (first.word, second.word) == (handover.RELOAD, handover.RENEW)
        data = here.read_bytes()
        here.write_text("later")
        assert first.read(here) == data and second.read(here) == b"later"
        with pytest.raises(Unavailable, match=f"cannot read {none}: No such file"):
            first.read(none)


def test_who_takes_nothing_stops_nobody() -> None:
    ours, theirs = handover.make_channel()
    with ours, theirs:
        with pytest.raises(BlockingIOError):
            for _ in range(10000):
                handover.send(ours, handover.RENEW, b"{}")
        theirs.close()
        with pytest.raises(OSError):
            handover.send(ours, handover.RENEW, b"{}")


def test_the_end_and_noise_are_none() -> None:
    ours, theirs = handover.make_channel()
    with theirs:
        ours.send(b"reload")  # Nothing comes with it.
        assert handover.receive(theirs) is None
        handover.send(ours, handover.RELOAD, b"no json")
        with pytest.raises(ValueError):
            handover.receive(theirs)
        ours.close()
        assert handover.receive(theirs) is None
        assert isinstance(theirs, socket.socket)


def test_a_change_is_told_once_when_it_has_come_to_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.0)
    paths = [tmp_path / "cert", tmp_path / "link"]
    for path in (paths[0], tmp_path / "one", tmp_path / "two"):
        path.write_text("x")
    paths[1].symlink_to(tmp_path / "one")
    seen = Watch(paths)
    assert not seen.has_changed()
    (tmp_path / "new").symlink_to(tmp_path / "two")
    (tmp_path / "new").rename(paths[1])
    assert not seen.has_changed()  # Perhaps the other one follows.
    paths[0].write_text("longer")
    assert not seen.has_changed()
    assert seen.has_changed() and not seen.has_changed()
    paths[0].unlink()
    assert not seen.has_changed() and not seen.has_changed()
    paths[0].write_text("there again")
    assert not seen.has_changed() and seen.has_changed()
    assert not Watch([]).has_changed()


def test_it_looks_only_now_and_then(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    seen = Watch([path])
    path.write_text("longer")
    assert not any(seen.has_changed() for _ in range(100))
