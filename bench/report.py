"""The table: Markdown for people, JSON for later."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.lines.base import CPU, LATENCY, MEMORY, Line, Sample

Key = tuple[str, str, str]


@dataclass(slots=True)
class Results:
    """All samples of a run: per figure and server, one per round."""

    facts: dict[str, Any]
    titles: dict[str, str] = field(default_factory=dict)
    samples: dict[Key, dict[str, list[Sample]]] = field(default_factory=dict)

    def add(self, line: Line, server: str, sample: Sample) -> None:
        self.titles[line.name] = line.title
        key = (line.name, sample.what, sample.unit)
        self.samples.setdefault(key, {}).setdefault(server, []).append(sample)

    def value(self, key: Key, server: str) -> float | None:
        """The median of the rounds."""
        samples = self.samples[key].get(server)
        return statistics.median(sample.value for sample in samples) if samples else None

    def best_other(self, key: Key, ours: str) -> float | None:
        """The best of the servers that are not ours."""
        values = [
            v for name in self.samples[key] if name != ours and (v := self.value(key, name)) is not None
        ]
        if not values:
            return None
        return min(values) if key[2] in (CPU, MEMORY, LATENCY) else max(values)


def facts(rounds: int, versions: list[str], meter: str) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}",
        "rounds": rounds,
        "servers": versions,
        "cpu_meter": meter,
    }


def write(results: Results, servers: dict[str, str], ours: str, directory: Path) -> str:
    """Write results.json and results.md; gives the Markdown."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "line": key[0],
            "title": results.titles[key[0]],
            "what": key[1],
            "unit": key[2],
            "aim": _aim(by_server),
            "rounds": {
                name: [{"value": sample.value, **sample.more} for sample in samples]
                for name, samples in by_server.items()
            },
            "median": {name: results.value(key, name) for name in by_server},
        }
        for key, by_server in results.samples.items()
    ]
    (directory / "results.json").write_text(
        json.dumps({"facts": results.facts, "rows": rows}, indent=1) + "\n"
    )
    text = markdown(results, servers, ours)
    (directory / "results.md").write_text(text)
    return text


def markdown(results: Results, servers: dict[str, str], ours: str) -> str:
    """The table; the ratio is the best Dovecot's figure over ours, so that more than 1 is in our favour."""
    heads = ["work", "figure", *servers.values(), "ratio", "aim"]
    lines = [
        f"{results.facts['machine']}; {', '.join(results.facts['servers'])}; "
        f"median of {results.facts['rounds']}; CPU by {results.facts['cpu_meter']}.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
    ]
    last = ""
    for key, by_server in results.samples.items():
        name, what, unit = key
        cells = [_show(results.value(key, server), by_server.get(server)) for server in servers]
        ratio = _ratio(results.value(key, ours), results.best_other(key, ours), unit)
        aim = _aim(by_server)
        title = results.titles[name] if name != last else ""
        last = name
        lines.append(f"| {title} | {what} ({unit}) | {' | '.join(cells)} | {ratio} | {aim if aim else ''} |")
    return "\n".join(lines) + "\n"


def _aim(by_server: dict[str, list[Sample]]) -> float | None:
    return next(iter(by_server.values()))[0].aim


def _show(value: float | None, samples: list[Sample] | None) -> str:
    if value is None or not samples:
        return "–"
    text = f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    if "p50_ms" in samples[0].more:
        p50 = statistics.median(sample.more["p50_ms"] for sample in samples)
        p99 = statistics.median(sample.more["p99_ms"] for sample in samples)
        text += f" (p50 {p50:.2f}, p99 {p99:.2f} ms)"
    return text


def _ratio(ours: float | None, other: float | None, unit: str) -> str:
    if ours is None or other is None or ours <= 0 or other <= 0:
        return "–"
    return f"{other / ours if unit in (CPU, MEMORY, LATENCY) else ours / other:.2f}"
