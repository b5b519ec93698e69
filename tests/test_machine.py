from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from carevalidate_async._commands.machine import Machine
from carevalidate_async._run.counts import Counts
from carevalidate_async._run.sight import Sight
from carevalidate_async._run.tiles import Latency, Span
from carevalidate_async.bulk import Pace, RunState
from vendors import PAYMENT

if TYPE_CHECKING:
    from collections.abc import Callable


class Heard:
    """A watcher that remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def progress(self, sight: Callable[[], Sight]) -> None:
        self.told.append(sight)

    def paced(self, pace: Pace) -> None:
        self.told.append(pace)

    def problem(self, line: int, text: str) -> None:
        self.told.append((line, text))

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
        bench.machine.problem(7, "invalid: amount: is missing")
        bench.machine.note("Stopping: soon")

        assert [
            {"event": "problem", "at_s": 0.25, "line": 7, "text": "invalid: amount: is missing"},
            {"event": "note", "at_s": 0.25, "text": "Stopping: soon"},
        ] == bench.printed()
        assert [(7, "invalid: amount: is missing"), "Stopping: soon"] == bench.heard.told

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
