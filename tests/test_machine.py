from __future__ import annotations

import json
import pathlib
import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from carevalidate_async._commands.machine import Machine
from carevalidate_async._commands.voice import summary_document
from carevalidate_async._run.counts import Counts, Summary, Trouble
from carevalidate_async._run.sight import Sight
from carevalidate_async._run.tiles import Latency, Span
from carevalidate_async.bulk import Pace, RunState
from carevalidate_async.journal import Duplicates
from vendors import PAYMENT

if TYPE_CHECKING:
    from collections.abc import Callable


PAGE = pathlib.Path(__file__).parents[1] / "docs" / "guides" / "bulk.md"
REFUSED = Trouble(
    line=7,
    outcome="rejected",
    text="rejected: the vendor answered 400, BAD_CASE",
    key="key-7",
    status=400,
    code="BAD_CASE",
    error="BadRequestError",
)


class Heard:
    """A watcher that remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def progress(self, sight: Callable[[], Sight], *, at_once: bool = False) -> None:
        self.told.append((sight, at_once))

    def paced(self, pace: Pace) -> None:
        self.told.append(pace)

    def problem(self, found: Trouble) -> None:
        self.told.append(found)

    def would_send(self, *_: object) -> None:
        raise AssertionError

    def note(self, text: str) -> None:
        self.told.append(text)


class Bench:
    """A machine, its clock, and what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.now = 100.0
        self.heard = Heard()
        self.machine = Machine(self.heard, clock=lambda: self.now)
        self._capsys = capsys

    def printed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(capsys)


def look() -> Sight:
    recent = Span(
        begin=0.0,
        seconds=10.0,
        rows={"confirmed": 25},
        latency=Latency(p50=0.5, p95=1.0, p99=2.0),
        limit=8,
    )
    counts = Counts(rows=30, confirmed=25, unknown=1)
    return Sight(counts=counts, total=60, failed=1, retries=3, seconds=9.0, recent=recent)


class TestMachine:
    def test_progress_comes_every_five_seconds(self, bench: Bench) -> None:
        """
        However often something moves, a line comes every five seconds, with all there is to know.
        """
        for bench.now in (101.0, 104.9, 105.0, 106.0, 109.9):
            bench.machine.progress(look)
        (event,) = bench.printed()

        assert 5 == len(bench.heard.told)
        assert ("progress", 5.0, 30, 25, 1) == tuple(
            event[name] for name in ("event", "at_s", "rows", "confirmed", "unknown")
        )
        assert (60, 3, 2.5, {"p50": 0.5, "p95": 1.0, "p99": 2.0}, 8, None, None) == tuple(
            event[name]
            for name in ("total", "retries", "rows_per_s", "latency_s", "limit", "rate", "waiting")
        )
        assert (26, 13.6) == (event["settled"], event["left_s"])

    def test_news_does_not_wait(self, bench: Bench) -> None:
        """
        Progress that is news comes at once, and the next one five seconds after it.
        """
        for bench.now, at_once in ((101.0, True), (105.9, False), (106.0, False)):
            bench.machine.progress(look, at_once=at_once)

        assert [1.0, 6.0] == [event["at_s"] for event in bench.printed()]
        assert [True, False, False] == [told[1] for told in bench.heard.told if told]

    def test_a_slow_rate_is_not_none(self, bench: Bench) -> None:
        """
        A row in twenty seconds is a rate, too.
        """
        seen = attrs.evolve(look(), recent=Span(begin=0.0, seconds=20.0, rows={"confirmed": 1}))
        bench.machine.progress(lambda: seen, at_once=True)

        assert [0.05] == [event["rows_per_s"] for event in bench.printed()]

    def test_states_come_when_they_change(self, bench: Bench) -> None:
        """
        That the run waits, goes on and is stopped is told once each, mere numbers are not.
        """
        waiting = Pace(state=RunState.WAITING, limit=8, rate=None, reason="it is down")
        for pace in (
            Pace(state=RunState.RUNNING, limit=8, rate=None),
            Pace(state=RunState.RUNNING, limit=16, rate=2.0),
            waiting,
            waiting,
            Pace(state=RunState.RUNNING, limit=8, rate=None),
            Pace(state=RunState.STOPPED, limit=8, rate=None, reason="it is gone"),
        ):
            bench.machine.paced(pace)

        assert 6 == len(bench.heard.told)
        assert [("waiting", "it is down"), ("running", None), ("stopped", "it is gone")] == [
            (event["state"], event["reason"]) for event in bench.printed()
        ]

    def test_problems_and_notes_come_at_once(self, bench: Bench) -> None:
        """
        Each is a line of its own, and told to people, too.
        """
        bench.now = 100.25
        bench.machine.problem(REFUSED)
        bench.machine.note("Stopping: soon")

        assert [
            {
                "event": "problem",
                "at_s": 0.25,
                "line": 7,
                "outcome": "rejected",
                "text": "rejected: the vendor answered 400, BAD_CASE",
                "key": "key-7",
                "status": 400,
                "code": "BAD_CASE",
                "error": "BadRequestError",
                "field": None,
            },
            {"event": "note", "at_s": 0.25, "text": "Stopping: soon"},
        ] == bench.printed()
        assert [REFUSED, "Stopping: soon"] == bench.heard.told

    def test_what_would_be_sent_is_a_line_each(self, bench: Bench) -> None:
        """
        A rehearsal's results are for the machine alone, and hold no personal data.
        """
        bench.machine.would_send(2, "one-key", PAYMENT)

        assert [
            {
                "event": "would_send",
                "at_s": 0,
                "line": 2,
                "key": "one-key",
                "status": "PAID",
                "amount": 1,
            }
        ] == bench.printed()

    def test_what_is_printed_goes_where_it_is_told_to(
        self, bench: Bench, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """
        Who shows something on the same terminal takes the lines, and puts them above it.
        """
        lines: list[str] = []
        Machine(bench.heard, lines.append).note("hello")

        assert ["hello"] == [json.loads(line)["text"] for line in lines]
        assert "" == capsys.readouterr().out


def told(first: str) -> list[list[str]]:
    """Return the rows of the page's table whose first column is headed *first*."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (start,) = (at for at, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def names(cell: str) -> list[str]:
    """Return what stands between backquotes."""
    return re.findall(r"`([^`]+)`", cell)


class TestPage:
    def test_names_every_field_of_every_event(self, bench: Bench) -> None:
        """
        The table of events has exactly the fields that they have, in their order.
        """
        listed: dict[str, list[str]] = {}
        name = ""
        for event, fields, what in told("event"):
            assert what
            name = event.strip("`") or name
            listed.setdefault(name, []).extend(names(fields))
        common = listed.pop("all")
        bench.machine.progress(look, at_once=True)
        bench.machine.problem(REFUSED)
        bench.machine.paced(Pace(state=RunState.WAITING, limit=8, rate=None, reason="it is down"))
        bench.machine.note("hello")
        bench.machine.would_send(2, "one-key", PAYMENT)
        printed = bench.printed()

        assert {event["event"]: list(event) for event in printed} == {
            name: [*common, *fields] for name, fields in listed.items()
        }

    def test_names_every_field_of_the_summary(self) -> None:
        """
        The table of the summary, too.
        """
        listed = [name for fields, what in told("field of the summary") for name in names(fields)]
        summary = Summary(counts=Counts(), elapsed=1.0, duplicates=Duplicates.REFUSE)

        assert list(summary_document(summary, None)) == listed


class TestSummary:
    def test_says_how_it_ended(self) -> None:
        """
        What a person reads in the summary a machine finds in the document.
        """
        summary = Summary(
            counts=Counts(rows=10, confirmed=4, not_sent=6, attempts=3),
            elapsed=40.0,
            duplicates=Duplicates.REFUSE,
            known=2,
            stopped_by="the vendor is down",
            retries=1,
            whole=False,
            estimated_rows=70,
        )
        found = summary_document(summary, "j", rejects="r", report="p.html")

        assert {
            "elapsed_s": 40.0,
            "rows_per_s": 0.25,
            "journal": "j",
            "exit_status": 1,
            "ending": "stopped early",
            "stopped_by": "the vendor is down",
            "dry_run": False,
            "already_known": 2,
            "retries": 1,
            "whole": False,
            "estimated_rows": 70,
            "rejects": "r",
            "report": "p.html",
        } == {name: found[name] for name in list(found)[9:]}

    @pytest.mark.parametrize(
        ("ended", "ending"),
        [
            ({}, "complete"),
            ({"stopped_by": "x"}, "stopped early"),
            ({"interrupted": True, "stopped_by": "x"}, "interrupted"),
        ],
    )
    def test_the_ending_is_the_journals(self, ended: dict[str, Any], ending: str) -> None:
        """
        It has the words that the journal has for it.
        """
        summary = Summary(counts=Counts(), elapsed=1.0, duplicates=Duplicates.REFUSE, **ended)

        assert ending == summary_document(summary, None)["ending"]
