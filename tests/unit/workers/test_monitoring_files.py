"""The alert rules and the dashboard that we give away: their form, and that they name what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mstore.base.options import SERVICES
from tests.meta.source import ROOT
from workers.memory import Use
from workers.metrics import make_registry
from workers.reporting import note_memory
from workers.scoreboard import CERTIFICATE_END, Scoreboard
from workers.survey import Found, note

ALERTS = ROOT / "conf" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "conf" / "grafana" / "m-store.json"
_METRIC = re.compile(r"\bmstore_\w+")
_LABEL = re.compile(r"\{\{ *\$labels\.(\w+) *\}\}|\{\{(\w+)\}\}")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The names of all series, each with its labels."""
    path, boards = tmp_path_factory.mktemp("boards"), {}
    for name in ("storemgr", *SERVICES):
        boards[name] = path / name
        board = Scoreboard(1, boards[name], name, 1.0, ["main"] if name == "lmtpd" else ())
        board.own.beat()
        board.own.set(CERTIFICATE_END, 2_000_000_000)
        note_memory(board.own, Use(1, 1))
        for slot in board.mailstores.values():
            note(slot, Found(1, 1, 1, 1, 1))
    text = generate_latest(make_registry(boards, {"ms-path": path})).decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def rules() -> list[dict[str, str]]:
    """The rules of the file, read by the few forms of YAML that it may have."""
    head, *lines = ALERTS.read_text(encoding="utf-8").splitlines()
    assert [head, *lines[:2]] == ["groups:", "  - name: m-store", "    rules:"]
    found: list[dict[str, str]] = []
    folded = False
    for number, line in enumerate(lines[2:], 4):
        assert "\t" not in line and line == line.rstrip(), f"line {number}"
        if alert := re.fullmatch(r"      - alert: (\w+)", line):
            found.append({"alert": alert[1]})
            folded = False
        elif line == "        expr: >-":
            assert "expr" not in found[-1], f"line {number}"
            found[-1]["expr"], folded = "", True
        elif folded and (more := re.fullmatch(r"          (\S.*)", line)):
            found[-1]["expr"] += f"{more[1]} "
        elif pair := re.fullmatch(r"        (expr|for): ([^\s>|].*)", line):
            assert pair[1] not in found[-1] and ": " not in pair[2] and " #" not in pair[2], f"line {number}"
            found[-1][pair[1]], folded = pair[2], False
        elif line == "        annotations:":
            folded = False
        else:
            summary = re.fullmatch(r'          summary: "([^"\\]+)"', line)
            assert summary is not None, f"line {number}: {line!r}"
            found[-1]["summary"] = summary[1]
    return found


def test_rules_are_well_formed() -> None:
    found = rules()
    assert len(found) > 10 and len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        name = rule["alert"]
        assert {"expr", "summary"} <= set(rule) and rule["expr"].count("(") == rule["expr"].count(")"), name
        assert re.fullmatch(r"[0-9]+[smh]", rule.get("for", "1m")), name
        assert _METRIC.search(rule["expr"]), name


def test_rules_and_dashboard_name_what_is_exported(exported: dict[str, set[str]]) -> None:
    for file in (ALERTS, DASHBOARD):
        named = set(_METRIC.findall(file.read_text(encoding="utf-8")))
        assert named and named <= set(exported), f"{file}: {named - set(exported)}"


def test_rules_and_legends_name_labels_that_there_are(exported: dict[str, set[str]]) -> None:
    spoken = [(rule["expr"], rule["summary"]) for rule in rules()]
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        spoken += [(target["expr"], target["legendFormat"]) for target in panel["targets"]]
    for expression, words in spoken:
        there = set[str]().union(*(exported[name] for name in _METRIC.findall(expression)))
        shown = {first or second for first, second in _LABEL.findall(words)}
        matched = set(re.findall(r"[{,] *(\w+) *(?:=~?|!=|!~)", expression))
        grouped = re.findall(r"by \(([^)]*)\)", expression)
        by = {label.strip() for group in grouped for label in group.split(",")}
        assert shown | matched | by <= there, f"{expression}: {(shown | matched | by) - there}"
        if grouped:
            assert shown <= by, f"{expression}: {shown - by}"


def test_panels_stand_beside_each_other() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set[tuple[int, int]]()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEFG"[: len(panel["targets"])])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian's package prometheus)")
def test_promtool_passes_the_rules(tmp_path: Path) -> None:
    done = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True)
    assert done.returncode == 0 and f"{len(rules())} rules found" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian's package prometheus)")
def test_promtool_passes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    """As rules that record them; what names they have there does not matter."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    lines = ["groups:", "  - name: panels", "    rules:"]
    for number, expression in enumerate(expressions):
        lines += [f"      - record: panel:{number}", f"        expr: {json.dumps(expression)}"]
    (tmp_path / "panels.yml").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "panels.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
