"""Every event that the code logs stands in the tables of ``mstore/base/events.py``, with its fields."""

import ast
from collections.abc import Iterator
from pathlib import Path

from mstore.base.events import ALL, AUDIT, AUDIT_FIELDS, EVENTS, FIELDS
from mstore.base.logoptions import DAEMONS
from mstore.store import audit
from tests.meta.source import dotted, files, tree

LEVELS = {"info": "info", "warning": "warning", "error": "error", "exception": "error", "hidden": "error"}


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    """Every call of a log's methods, and its level."""
    for path in files("mstore", "workers"):
        if path.name == "log.py":
            continue  # There the names are passed on that others have given.
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            owner, _, method = dotted(node.func).rpartition(".")
            name = owner.rpartition(".")[2].lstrip("_")
            if name == "log" and method in LEVELS:
                yield path, node, LEVELS[method]
            elif dotted(node.func) == "level" and path.name == "supervisor.py":
                yield path, node, ""


def test_every_event_and_every_field_stands_in_the_table() -> None:
    used = set[str]()
    for path, node, level in calls():
        where = f"{path}:{node.lineno}"
        name = node.args[0]
        if path.name == "audit.py" and not isinstance(name, ast.Constant):
            continue  # Those have a table of their own.
        assert isinstance(name, ast.Constant), f"{where}: the name of an event must be written out"
        assert name.value in EVENTS, f"{where}: {name.value} is not in mstore/base/events.py"
        event = EVENTS[name.value]
        used.add(name.value)
        assert not level or level in event.levels.split(), f"{where}: {name.value} at {level}"
        known = {*event.fields.split(), "pid", "worker"}
        given = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
        assert given <= known, f"{where}: {name.value} has {given - known}"
    assert set(EVENTS) - used == {"log-lost", "library"}, "these are logged nowhere"


def test_every_field_is_explained_and_every_writer_is_a_daemon() -> None:
    explained = {"time", "level", "event", "daemon", "pid", "worker", *AUDIT_FIELDS.split()}
    used = set(explained)
    for name, event in {**EVENTS, **AUDIT}.items():
        used |= set(event.fields.split())
        assert event.writers == ALL or set(event.writers.split()) <= {*DAEMONS, "msadm"}, name
        assert event.meaning and set(event.levels.split()) <= set(LEVELS), name
    assert used == set(FIELDS)
    assert set(audit._EVENTS.values()) == set(AUDIT)
    assert not set(AUDIT) & set(EVENTS)
