"""What is counted and measured has a place in the scoreboard, where a name that is not known is an error."""

import ast

from mstore.base import measure
from mstore.imap.commands import COMMANDS
from mstore.pop3.commands import COMMANDS as POP3_COMMANDS
from tests.meta.source import files
from workers.scoreboard import COUNTERS, DELIVERY, HISTOGRAMS, KINDS, POOL_WAIT


def names_given_to(*methods: str) -> set[str]:
    used = set()
    for path in files("mstore", "workers"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(methods):
                choices = [node.args[0]]
                if isinstance(node.args[0], ast.IfExp):
                    choices = [node.args[0].body, node.args[0].orelse]
                for name in choices:
                    assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: not a name"
                    used.add(name.value)
    return used


def test_every_counter_has_a_place() -> None:
    plain = names_given_to("counters.add", "slot.add")
    by_kind = names_given_to("counters.add_of", "slot.add_of", "slots[0].add_of")
    assert plain >= {"commands", "deliveries"}
    assert by_kind == set(KINDS)
    assert plain | by_kind == set(COUNTERS)


def test_every_duration_has_a_place() -> None:
    kinds = {row.kind for row in (*COMMANDS.values(), *POP3_COMMANDS.values())} - {""}
    assert {*kinds, DELIVERY, measure.LOCK_WAIT, measure.SYNC, POOL_WAIT} == set(HISTOGRAMS)
    assert COMMANDS[b"UID FETCH"].kind == COMMANDS[b"FETCH"].kind == "command.fetch"
    assert [row.name for row in COMMANDS.values() if not row.kind] == [b"IDLE"]
