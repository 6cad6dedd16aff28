"""rc.m-store reload: complete when it returns, and what it could not change is named."""

from __future__ import annotations

from tests.kit.instance import Instance


def test_reload_returns_when_new_workers_accept_and_names_what_needs_a_restart(store: Instance) -> None:
    before = set(store.worker_pids("imapd"))
    assert store.rc("reload").stdout == "reloaded\n"
    assert store.is_ready()
    assert len(set(store.worker_pids("imapd")) - before) == 2
    text = store.config.read_text()
    changed = text.replace("imapd-workers 2", "imapd-workers 1")
    changed += "shutdown-grace 5\nmetrics-listen 127.0.0.1:1\n"
    store.config.write_text(changed)
    lines = store.rc("reload").stdout.splitlines()
    assert lines[0] == "reloaded"
    assert lines[1].startswith("unchanged until a restart: ")
    assert set(lines[1].split(": ")[1].split(", ")) == {"imapd-workers", "shutdown-grace", "metrics-listen"}
    store.config.write_text(text)
    assert store.rc("reload").stdout == "reloaded\n"
    store.imap("joe").logout()
