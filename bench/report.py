"""The tables, in Markdown: every figure for docs/performance.md, a row per kind of work for the README."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.lines.base import CPU, LATENCY, MEMORY, REST
from bench.results import Key, Results

_FIRST, _AGAIN = "first", "again"
_UNITS = {CPU: "ms", REST: "ms/s", MEMORY: "KB", LATENCY: "ms"}


def write(results: Results, directory: Path, stem: str) -> str:
    """Write STEM.json, STEM.md and, of lines that do not grow, STEM-short.md; gives the text of STEM.md."""
    directory.mkdir(parents=True, exist_ok=True)
    results.write(directory / f"{stem}.json")
    text = markdown(results)
    (directory / f"{stem}.md").write_text(text)
    if not results.axes:
        (directory / f"{stem}-short.md").write_text(short(results))
    return text


def markdown(results: Results) -> str:
    """All figures; the ratio is the best Dovecot's figure by ours, so that more than 1 is in our favour."""
    lines = [_circumstances(results)]
    flat = [key for key in results.samples if key.line not in results.axes]
    if flat:
        lines += [
            "",
            "Ratios are the best Dovecot's figure by M-Store's; of rates (/s) M-Store's by Dovecot's.",
            "",
        ]
        lines += _table(["work", "figure", *results.servers.values(), "ratio", "aim"], _rows(results, flat))
    for line, axis in results.axes.items():
        lines += ["", f"### {results.titles[line]}", ""]
        keys = [key for key in results.samples if key.line == line]
        steps = sorted({key.at for key in keys if key.at is not None})
        heads = [f"figure, by {axis}", "server", *(f"{step:,.0f}" for step in steps)]
        lines += _table(heads, _growing(results, keys, steps))
    return "\n".join(lines) + "\n"


def short(results: Results) -> str:
    """A row for each kind of work and unit, without what is only latency; what belongs together is in one."""
    groups: dict[tuple[str, str, str], list[Key]] = {}
    for key in results.samples:
        if key.unit != LATENCY:
            groups.setdefault((key.line, _stem(key.what), key.unit), []).append(key)
    rows = []
    for (line, stem, unit), keys in groups.items():
        whats = " / ".join(key.what.removeprefix(f"{stem}, ") for key in keys)
        work = ": ".join(filter(None, (results.titles[line], ", ".join(filter(None, (stem, whats))))))
        others = [results.best_other(key) for key in keys]
        ours = [results.value(key, results.ours) for key in keys]
        ratios = [results.ratio(key) for key in keys]
        cells = [_together(values, _UNITS.get(unit, unit)) for values in (others, ours)]
        rows.append([work, *cells, " / ".join(map(_ratio, ratios))])
    table = _table(["work", "Dovecot", "M-Store", "ratio"], rows)
    return "\n".join([_circumstances(results), "", *table]) + "\n"


def _circumstances(results: Results) -> str:
    facts = results.facts
    rounds = "one round" if facts["rounds"] == 1 else f"median of {facts['rounds']} rounds"
    servers = ", ".join(dict.fromkeys(facts["servers"]))
    text = f"{facts['machine']}; {servers}; {rounds}; CPU by {facts['cpu_meter']}."
    return text + (" Quick: a little of the work, which says nothing of speed." if facts["quick"] else "")


def _rows(results: Results, keys: list[Key]) -> Iterable[list[str]]:
    last = ""
    for key in keys:
        cells = [_cell(results, key, server) for server in results.servers]
        title = results.titles[key.line] if key.line != last else ""
        last = key.line
        figure = f"{key.what} ({key.unit})" if key.what else key.unit
        aim = results.aim(key)
        yield [title, figure, *cells, _ratio(results.ratio(key)), f"{aim:g}" if aim else ""]


def _growing(results: Results, keys: list[Key], steps: list[float]) -> Iterable[list[str]]:
    known = set(keys)
    for what, unit in dict.fromkeys((key.what, key.unit) for key in keys):
        for at, (server, title) in enumerate(results.servers.items()):
            found = [Key(keys[0].line, what, unit, step) for step in steps]
            cells = [_number(results.value(key, server) if key in known else None) for key in found]
            yield ["" if at else f"{what} ({unit})", title, *cells]


def _table(heads: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [_line(heads), "|" + "---|" * len(heads), *map(_line, rows)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _stem(what: str) -> str:
    """What is done first and again; nothing where there is no such pair."""
    head, _, tail = what.rpartition(", ")
    return head if tail in (_FIRST, _AGAIN) else ""


def _cell(results: Results, key: Key, server: str) -> str:
    text = _number(results.value(key, server))
    p50, p99 = results.more(key, server, "p50_ms"), results.more(key, server, "p99_ms")
    return text if p50 is None or p99 is None else f"{text} (p50 {p50:.2f}, p99 {p99:.2f} ms)"


def _together(values: list[float | None], unit: str) -> str:
    text = " / ".join(map(_brief, values))
    return text if set(values) == {None} else f"{text}{unit if unit.startswith('/') else ' ' + unit}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def _brief(value: float | None) -> str:
    """With three digits that say something."""
    if value is None:
        return "–"
    places = 3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{places}f}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
