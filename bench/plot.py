"""The pictures: a bar for each ratio, and curves over what grows. Needs matplotlib (the extra `bench`)."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

from bench.results import Key, Results

_OURS, _BEHIND, _OTHERS = "#1b7f5c", "#c4622d", ("#4c6fae", "#9a9a9a")
_WIDTH = 9.0
_BAR = 0.27
_DOTS_PER_INCH = 110


def possible() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(results: Results, directory: Path, stem: str) -> list[Path]:
    """Draw what the results hold into SVG files; gives their paths."""
    pyplot = _pyplot()
    made = []
    keys = [key for key in results.samples if key.line not in results.axes]
    ratios = [(key, ratio) for key in keys if (ratio := results.ratio(key)) is not None]
    if ratios:
        made.append(_save(pyplot, _bars(pyplot, results, ratios), directory / f"{stem}-ratios.svg"))
    for line in results.axes:
        made.append(_save(pyplot, _curves(pyplot, results, line), directory / f"{stem}-{line}.svg"))
    return made


def _bars(pyplot: Any, results: Results, ratios: list[tuple[Key, float]]) -> Any:
    """How many times less than the best Dovecot we spend (or do more), figure by figure."""
    figure, axes = pyplot.subplots(figsize=(_WIDTH, 1.3 + _BAR * len(ratios)))
    places = range(len(ratios))
    values = [ratio for _, ratio in ratios]
    axes.barh(
        places,
        [value - 1 for value in values],
        left=1,
        color=[_OURS if value >= 1 else _BEHIND for value in values],
        height=0.7,
    )
    for place, value in zip(places, values, strict=True):
        side, gap = ("left", 1.04) if value >= 1 else ("right", 1 / 1.04)
        axes.text(value * gap, place, f"{value:.2f}", va="center", ha=side, fontsize=7.5)
    axes.set_xscale("log")
    axes.set_xlim(min(0.3, *values) / 1.6, max(4.0, *values) * 1.6)
    ticks = [tick for tick in (0.1, 0.25, 0.5, 1, 2, 5, 10, 50, 200, 1000) if _within(axes.get_xlim(), tick)]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(places, [_label(results, key) for key, _ in ratios], fontsize=7.5)
    axes.set_ylim(len(ratios) - 0.4, -0.6)
    axes.axvline(1, color="#333333", linewidth=1)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(
        "how many times more Dovecot spends; of rates, how many times more M-Store does", fontsize=8
    )
    axes.tick_params(axis="x", labelsize=8)
    figure.suptitle("M-Store and Dovecot: the same work on the same machine", x=0.02, ha="left", fontsize=11)
    return figure


def _curves(pyplot: Any, results: Results, line: str) -> Any:
    """One small picture per figure, both servers over what grows, both axes logarithmic."""
    keys = [key for key in results.samples if key.line == line]
    whats = list(dict.fromkeys((key.what, key.unit) for key in keys))
    rows = (len(whats) + 1) // 2
    figure, grid = pyplot.subplots(rows, 2, figsize=(_WIDTH, 0.6 + 2.9 * rows), squeeze=False)
    colours = iter(_OTHERS)
    looks = {name: _OURS if name == results.ours else next(colours) for name in results.servers}
    for axes, (what, unit) in zip(grid.flat, whats, strict=False):
        for name, title in results.servers.items():
            points = [
                (key.at, value)
                for key in keys
                if (key.what, key.unit) == (what, unit)
                and (value := results.value(key, name)) is not None
                and value > 0
            ]
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=looks[name], label=title, markersize=4)
        steps = sorted({key.at for key in keys if key.at is not None})
        axes.set_xscale("log")
        axes.set_xticks(steps, [_plain(step) for step in steps])
        axes.set_yscale("log")
        low, high = axes.dataLim.intervaly
        if axes.lines:  # else all that was measured is no more than what a server spends at rest
            axes.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high * 1.01)))
            axes.legend(fontsize=8, frameon=False)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.minorticks_off()
        axes.set_title(what, loc="left", fontsize=9.5)
        axes.set_xlabel(results.axes[line], fontsize=8.5)
        axes.set_ylabel(unit, fontsize=8.5)
        axes.tick_params(labelsize=8)
        axes.grid(color="#dddddd", linewidth=0.6)
    for axes in list(grid.flat)[len(whats) :]:
        axes.remove()
    figure.suptitle(results.titles[line], x=0.02, ha="left", fontsize=11)
    return figure


def _label(results: Results, key: Key) -> str:
    title = results.titles[key.line]
    title = title if len(title) <= 48 else title[:46] + "…"
    return f"{title}: {key.what}" if key.what else title


def _plain(number: float) -> str:
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g}{letter}"
    return f"{number:g}"


def _within(limits: tuple[float, float], value: float) -> bool:
    return limits[0] <= value <= limits[1]


def _save(pyplot: Any, figure: Any, path: Path) -> Path:
    figure.patch.set_facecolor("white")
    figure.tight_layout()
    figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _pyplot() -> Any:
    """matplotlib without a screen, with text that stays text, and the same file for the same figures."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "m-store",
            "font.family": "sans-serif",
            "axes.facecolor": "white",
        }
    )
    from matplotlib import pyplot

    return pyplot
