"""What becomes of figures: kept, read again, put into tables, published; what a corpus says of itself."""

from __future__ import annotations

import email
import email.policy
import email.utils
from pathlib import Path

import pytest

from bench import plot, report
from bench.corpus import message, root, sender, sent_s, subject
from bench.lines.base import CPU, LATENCY, QUICK, RATE, Sample
from bench.lines.search import Search
from bench.publish import NoMark, publish
from bench.results import Key, Results, facts, read
from bench.scaling.message import MessageSize, sized
from tests.kit.instance import ROOT

SEARCH, SIZES = Search(QUICK), MessageSize(QUICK)


def results() -> Results:
    made = Results(
        "ours", {"a": "A", "b": "B", "ours": "Ours"}, facts(3, False, ["A 1", "Ours 2"], "nothing")
    )
    for server, first, again, rate in (
        ("a", 40.0, 9.0, 10.0),
        ("b", 80.0, 5.0, 30.0),
        ("ours", 20.0, 10.0, 60.0),
    ):
        for drift in (-1.0, 0.0, 30.0):
            more = {"p50_ms": 1.0, "p99_ms": first}
            made.add(SEARCH, server, Sample("ALL, first", CPU, first + drift, 7.0, more))
            made.add(SEARCH, server, Sample("ALL, again", CPU, again + drift))
            made.add(SEARCH, server, Sample("searches", RATE, rate + drift))
            made.add(SEARCH, server, Sample("wait", LATENCY, 1.0))
    return made


def growing() -> Results:
    made = Results("ours", {"a": "A", "ours": "Ours"}, facts(1, False, ["A 1", "Ours 2"], "nothing"))
    for size in (1000, 50_000):
        made.add(SIZES, "a", Sample("FETCH", CPU, size / 1000, at=size))
        made.add(SIZES, "ours", Sample("FETCH", CPU, size / 2000, at=size))
    return made


def test_the_median_counts_against_the_best_of_the_others() -> None:
    found = results()
    first, rate = Key("search", "ALL, first", CPU, None), Key("search", "searches", RATE, None)
    assert (found.value(first, "ours"), found.best_other(first), found.ratio(first)) == (20, 40, 2)
    assert (found.value(rate, "ours"), found.best_other(rate), found.ratio(rate)) == (60, 30, 2)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    for made in (results(), growing()):
        made.write(tmp_path / "results.json")
        again = read(tmp_path / "results.json")
        assert (again.samples, again.titles, again.axes) == (made.samples, made.titles, made.axes)
        assert (again.ours, again.servers, again.facts) == (made.ours, made.servers, made.facts)


def test_a_line_is_forgotten_alone() -> None:
    made = results()
    made.add(SIZES, "ours", Sample("FETCH", CPU, 1.0, at=5))
    made.forget("search")
    assert [key.line for key in made.samples] == ["message"]


def test_tables_say_every_figure() -> None:
    text = report.markdown(results())
    assert "| SEARCH in 50,000 | ALL, first (ms CPU) | 40.0 (p50 1.00, p99 40.00 ms) |" in text
    assert "|  | ALL, again (ms CPU) | 9.000 | 5.000 | 10.0 | 0.50 |  |" in text
    assert "|  | searches (/s) | 10.0 | 30.0 | 60.0 | 2.00 |  |" in text
    grown = report.markdown(growing())
    assert "| figure, by bytes of the message | server | 1,000 | 50,000 |" in grown
    assert "|  | Ours | 0.500 | 25.0 |" in grown


def test_the_short_table_puts_first_and_again_together_and_leaves_latency_out() -> None:
    rows = report.short(results()).splitlines()[4:]
    assert rows == [
        "| SEARCH in 50,000: ALL, first / again | 40.0 / 5.00 ms | 20.0 / 10.0 ms | 2.00 / 0.50 |",
        "| SEARCH in 50,000: searches | 30.0/s | 60.0/s | 2.00 |",
    ]


def test_figures_are_published_where_the_texts_have_a_place_for_them(tmp_path: Path) -> None:
    found, site = tmp_path / "results", tmp_path / "site"
    (site / "docs").mkdir(parents=True)
    report.write(results(), found, "results")
    report.write(growing(), found, "scale")
    (found / "results-ratios.svg").write_text("<svg/>")
    for name in ("README.md", "docs/performance.md"):
        (site / name).write_text((ROOT / name).read_text())
    written = publish(found, site)
    assert publish(found, site) == written, "once more changes nothing"
    readme, text = ((site / name).read_text() for name in ("README.md", "docs/performance.md"))
    assert readme.count("ALL, first / again") == 1
    assert "](docs/pictures/results-ratios.svg)" in readme
    assert (site / "docs/pictures/results-ratios.svg").exists()
    assert text.count("ALL, first (ms CPU)") == 1
    assert text.count("by bytes of the message") == 1
    (site / "README.md").write_text("nothing here\n")
    with pytest.raises(NoMark, match=r"README\.md: no place"):
        publish(found, site)


@pytest.mark.skipif(not plot.possible(), reason="matplotlib is not installed")
def test_pictures_are_drawn_and_are_the_same_for_the_same_figures(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        made = plot.draw(results(), tmp_path / str(number), "results")
        made += plot.draw(growing(), tmp_path / str(number), "scale")
        assert [path.name for path in made] == ["results-ratios.svg", "scale-message.svg"]
    for path in made:
        assert path.read_bytes() == (tmp_path / "0" / path.name).read_bytes()
        assert ">Ours<" in path.read_text() or "SEARCH in 50,000" in path.read_text()


@pytest.mark.skipif(not plot.possible(), reason="matplotlib is not installed")
def test_what_costs_no_more_than_rest_has_an_empty_picture(tmp_path: Path) -> None:
    made = growing()
    for size in (1000, 50_000):
        made.add(SIZES, "ours", Sample("APPEND", CPU, 0.0, at=size))
    assert [path.name for path in plot.draw(made, tmp_path, "scale")] == ["scale-message.svg"]


def test_messages_are_what_the_corpus_says_of_them() -> None:
    for number in range(300):
        found = email.message_from_bytes(message(number, 2000), policy=email.policy.default)
        said = subject(number) if root(number) == number else f"Re: {subject(number)}"
        assert found["Subject"] == said
        assert email.utils.parseaddr(found["From"])[0] == " ".join(sender(number))
        assert email.utils.parsedate_to_datetime(found["Date"]).timestamp() == sent_s(number)
        assert (found["References"] or "").split()[:1] == (
            [] if root(number) == number else [f"<{root(number)}.2000@bench.example>"]
        )


@pytest.mark.parametrize("size", [1000, 100_000, 3_000_000])
def test_a_message_is_about_as_large_as_it_is_to_be(size: int) -> None:
    made = sized(1, size)
    assert size * 0.9 < len(made) < size * 1.1 + 1000
    assert len(email.message_from_bytes(made).get_payload()) == 2
