"""The figures of a run: collected, written as JSON, and read again."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bench.lines.base import CPU, LATENCY, MEMORY, REST, Line, Sample


class Key(NamedTuple):
    """One figure: of which line, what it is, in which unit, and of a line that grows, at which size."""

    line: str
    what: str
    unit: str
    at: float | None

    @property
    def less_is_better(self) -> bool:
        return self.unit in (CPU, MEMORY, LATENCY, REST)


@dataclass(slots=True)
class Results:
    """All samples of a run: per figure and server, one per round."""

    ours: str
    servers: dict[str, str]
    """Names and titles, in the order of the columns."""
    facts: dict[str, Any]
    titles: dict[str, str] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    samples: dict[Key, dict[str, list[Sample]]] = field(default_factory=dict)

    def add(self, line: Line, server: str, sample: Sample) -> None:
        """One figure of one round."""
        self.titles[line.name] = line.title
        if line.axis:
            self.axes[line.name] = line.axis
        self._add(Key(line.name, sample.what, sample.unit, sample.at), server, sample)

    def _add(self, key: Key, server: str, sample: Sample) -> None:
        self.samples.setdefault(key, {}).setdefault(server, []).append(sample)

    def forget(self, line: str) -> None:
        """Drop what is known of a line, which is measured anew."""
        for key in [key for key in self.samples if key.line == line]:
            del self.samples[key]

    def value(self, key: Key, server: str) -> float | None:
        """The median of the rounds."""
        samples = self.samples[key].get(server)
        return statistics.median(sample.value for sample in samples) if samples else None

    def more(self, key: Key, server: str, name: str) -> float | None:
        """The median of a figure beside the value, such as p99_ms."""
        samples = self.samples[key].get(server, ())
        found = [sample.more[name] for sample in samples if name in sample.more]
        return statistics.median(found) if found else None

    def best_other(self, key: Key) -> float | None:
        """The best of the servers that are not ours."""
        values = [
            v for name in self.samples[key] if name != self.ours and (v := self.value(key, name)) is not None
        ]
        if not values:
            return None
        return min(values) if key.less_is_better else max(values)

    def ratio(self, key: Key) -> float | None:
        """The best other's figure by ours, or ours by it where more is better: above 1 is in our favour."""
        ours, other = self.value(key, self.ours), self.best_other(key)
        if ours is None or other is None or ours <= 0 or other <= 0:
            return None
        return other / ours if key.less_is_better else ours / other

    def aim(self, key: Key) -> float | None:
        """What ours is to reach."""
        return next(iter(self.samples[key].values()))[0].aim

    def write(self, path: Path) -> None:
        """As JSON, with every round and the medians."""
        rows = [
            {
                **key._asdict(),
                "title": self.titles[key.line],
                "axis": self.axes.get(key.line),
                "aim": self.aim(key),
                "rounds": {
                    name: [{"value": sample.value, **sample.more} for sample in samples]
                    for name, samples in by_server.items()
                },
                "median": {name: self.value(key, name) for name in by_server},
            }
            for key, by_server in self.samples.items()
        ]
        data = {"ours": self.ours, "servers": self.servers, "facts": self.facts, "rows": rows}
        path.write_text(json.dumps(data, indent=1) + "\n")


def read(path: Path) -> Results:
    """What `write` wrote."""
    data = json.loads(path.read_text())
    results = Results(data["ours"], data["servers"], data["facts"])
    for row in data["rows"]:
        key = Key(row["line"], row["what"], row["unit"], row["at"])
        results.titles[key.line] = row["title"]
        if row["axis"]:
            results.axes[key.line] = row["axis"]
        for server, rounds in row["rounds"].items():
            for each in rounds:
                value = each.pop("value")
                results._add(key, server, Sample(key.what, key.unit, value, row["aim"], each, key.at))
    return results


def facts(rounds: int, quick: bool, versions: list[str], meter: str) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "machine": f"{os.cpu_count()} cores, Linux {platform.release().partition('-')[0]}",
        "rounds": rounds,
        "quick": quick,
        "servers": versions,
        "cpu_meter": meter,
    }
