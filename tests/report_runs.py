"""Made-up runs for the tests of the report: what happened is told by a clock that the run moves."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from carevalidate_async._outage import own_words
from carevalidate_async._run.counts import Counts, Summary
from carevalidate_async._run.course import Course
from carevalidate_async.errors import (
    APIConnectionError,
    APITimeoutError,
    Attempt,
    AuthenticationError,
    BadRequestError,
    CareValidateError,
    Outcome,
    RateLimitError,
)
from carevalidate_async.hooks import AttemptEnded
from carevalidate_async.journal import Duplicates
from carevalidate_async.report import Facts, write_report

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Mapping, Sequence

BEGAN = datetime(2026, 11, 2, 22, 3, 7, tzinfo=UTC)
HOSTILE = "</title><script>alert(1)</script>\"'&`{{7*7}}\x00\x1b[31m\u202egpj\u2066\ud800\r\n\u2028"
"""What a name could do: end an element, an attribute, a line, or the direction of the writing."""

REPEATED = "is the same payment as line 2; give it a key of its own if it is not"
TROUBLES: Sequence[tuple[str, CareValidateError | None, Mapping[str, Any]]] = (
    ("rejected", BadRequestError("no", status=400), {}),
    ("invalid", None, {"key": None, "code": "amount", "reason": "amount: has a comma"}),
    ("duplicates", None, {"key": None, "reason": REPEATED}),
    ("unknown", APITimeoutError("confirm_payment: no answer in 30 s"), {}),
    ("unknown", BadRequestError("no", status=400), {}),
    ("not_sent", RateLimitError("no", status=429), {}),
)
"""Where rows stand that need a look, and what they met, as the program says it."""


def ended(
    duration: float = 0.1, status: int | None = 200, outcome: Outcome = Outcome.RECORDED
) -> AttemptEnded:
    """Return what a hook hears of an attempt."""
    attempt = Attempt(number=1, duration=duration, happened="ok", outcome=outcome, status=status)
    return AttemptEnded(operation="confirm_payment", idempotency_key="k", attempt=attempt)


class MadeUp:
    """A run that never was: its clock, its course and its counts."""

    def __init__(self) -> None:
        self.now = 0.0
        self.course = Course(clock=lambda: self.now)
        self.counts = Counts()
        self.chance = random.Random(20261102)
        self.facts: dict[str, Any] = {
            "file": "/exports/payments.csv",
            "target": "https://vendor.example",
            "journal": "/exports/payments.csv.production.journal",
            "began": BEGAN,
            "concurrency": 64,
        }
        self.end: dict[str, Any] = {"duplicates": Duplicates.REFUSE, "reached": True}

    def ask(
        self,
        duration: float = 0.1,
        status: int | None = 200,
        outcome: Outcome = Outcome.RECORDED,
    ) -> None:
        """End an attempt."""
        self.course(ended(duration, status, outcome))
        self.counts.attempts += 1

    def good(self, rows: int = 1, name: str = "confirmed", *, earlier: bool = False) -> None:
        """Give rows their place."""
        self.course.good(name, rows, earlier=earlier)
        self.counts.rows += rows
        self.counts.add(name, rows)

    def bad(self, name: str, line: int, met: CareValidateError | None = None, **told: Any) -> None:
        """Give a row that needs a look its place, as a run does that *met* an error."""
        facts: dict[str, Any] = {"error": None, "status": None, "code": None, "reason": "why"}
        if met is not None:
            facts["error"], facts["reason"] = type(met).__name__, own_words(met)
            facts |= {told: getattr(met, told, None) for told in ("status", "code")}
        self.course.settled(name, line=line, **{"key": f"key-{line}", **facts, **told})
        self.counts.rows += 1
        self.counts.add(name)

    def left(self, name: str, lines: Sequence[int], reason: str) -> None:
        """Give rows that the run did not come to their place."""
        self.course.left(name, [(line, f"key-{line}") for line in lines], reason)
        self.counts.rows += len(lines)
        self.counts.add(name, len(lines))

    def summary(self) -> Summary:
        """Return how it went."""
        self.course.end()
        return Summary(counts=self.counts, elapsed=self.course.elapsed, **self.end)

    def write(self, path: pathlib.Path) -> str | None:
        """Write its report."""
        return write_report(
            str(path),
            summary=self.summary(),
            course=self.course,
            facts=Facts(**self.facts),
            ended=BEGAN + timedelta(seconds=self.now),
        )


def ordinary() -> MadeUp:
    """Ten thousand rows, two of which need a person."""
    run = MadeUp()
    run.course.allowed(64, None)
    run.facts["rejects"] = "rejects.csv"
    while run.counts.rows < 9_998:
        run.now += 0.05
        rows = min(run.chance.randrange(30, 50), 9_998 - run.counts.rows)
        for _ in range(rows):
            run.ask(run.chance.lognormvariate(-2.6, 0.4))
        run.good(rows)
    run.bad("rejected", 4_711, BadRequestError("no", status=400, code="INVALID_CASE"))
    run.bad("invalid", 8_050, key=None, code="amount", reason="amount: has a comma")
    return run


def eventful() -> MadeUp:
    """Ten hours in which everything happened: outages, refusals, every outcome, moving limits."""
    run = MadeUp()
    run.facts |= {"rate": 400.0, "rejects": "rejects.csv"}
    run.end["known"] = 250_000
    run.good(250_000, earlier=True)
    line, chance = 250_000, run.chance
    while run.now < 36_000:
        run.now += 5
        if run.now in {9_000, 21_000}:
            run.course.paused("the vendor cannot be reached; trying again for up to 900 s")
        if run.now in {9_700, 21_060}:
            run.course.resumed()
        if run.course.pause:
            run.ask(0.003, None, Outcome.NOT_SENT)
            continue
        run.course.allowed(chance.randrange(8, 129), None if run.now < 20_000 else 250.0)
        for _ in range(20):
            run.ask(chance.lognormvariate(-2.5, 0.6))
        run.good(chance.randrange(400, 600))
        line += 500
        if chance.random() < 0.1:
            run.ask(0.01, 429, Outcome.REJECTED)
            run.good(2, "already_recorded")
        if chance.random() < 0.02:
            name, met, told = chance.choice(TROUBLES)
            run.bad(name, line, met, **told)
    run.end["retries"] = 8_000
    return run


def interrupted() -> MadeUp:
    """Stopped by somebody, with payments in flight."""
    run = ordinary()
    run.end |= {"interrupted": True, "whole": False, "estimated_rows": 25_100, "retries": 12}
    for line in range(10_002, 10_042):
        run.bad("unknown", line, reason="the run ended before its answer came")
    return run


def refused() -> MadeUp:
    """The key was wrong."""
    run = MadeUp()
    run.end |= {"refused": True, "reached": False}
    run.end["stopped_by"] = "the vendor refuses the API key (401); no further row was sent"
    for line in range(2, 66):
        run.now += 0.01
        run.ask(0.05, 401, Outcome.REJECTED)
        run.bad("not_sent", line, AuthenticationError("no", status=401))
    run.left("not_sent", range(66, 4_972), "the run ended before it was sent")
    return run


def rehearsed() -> MadeUp:
    """Nothing was to be sent."""
    run = MadeUp()
    run.facts["journal"] = None
    run.end["rehearsal"] = True
    run.now = 1.5
    run.good(998, "not_sent")
    run.bad("invalid", 17, key=None, code="valid_until", reason="valid_until: is no day")
    run.bad("duplicates", 40, key=None, reason=REPEATED)
    return run


def brief() -> MadeUp:
    """One row, at once."""
    run = MadeUp()
    run.course.allowed(64, None)
    run.now = 0.2
    run.ask(0.18)
    run.good()
    return run


def empty() -> MadeUp:
    """A file without rows."""
    return MadeUp()


def unreachable() -> MadeUp:
    """Nobody was there to answer."""
    run = MadeUp()
    run.end["stopped_by"] = "the vendor cannot be reached"
    run.now = 3.0
    run.ask(0.001, None, Outcome.NOT_SENT)
    run.bad("not_sent", 2, APIConnectionError("confirm_payment: no connection"))
    return run


def short() -> MadeUp:
    """Over in seconds, and begun in the midst of one."""
    run = MadeUp()
    run.facts["began"] = BEGAN + timedelta(seconds=0.7)
    run.course.allowed(64, None)
    for _ in range(180):
        run.now += 0.01
        run.ask(0.05)
        run.good()
    return run


def restless() -> MadeUp:
    """A vendor that asks to wait again and again, and in the end a row in doubt."""
    run = MadeUp()
    run.facts |= {"file": "it's; <all>.csv", "journal": "it's; <all>.csv.journal"}
    run.end |= {"duplicates": Duplicates.EACH, "retries": 960}
    for _ in range(960):
        run.course.allowed(8, 4.0)
        run.now += 30.0
        run.ask(0.2)
        run.good()
        run.ask(0.1, 429, Outcome.REJECTED)
        run.course.paused("the vendor asks to wait for 20 s")
        run.now += 20.0
        run.course.resumed()
    run.bad("unknown", 962, RateLimitError("no", status=429, code="SLOW_DOWN"))
    return run


def hostile() -> MadeUp:
    """Whatever comes from outside is as bad as can be."""
    run = MadeUp()
    run.facts |= dict.fromkeys(("file", "target", "journal", "rejects"), HOSTILE * 80)
    run.end["stopped_by"] = HOSTILE
    run.course.paused(HOSTILE)
    for line in range(1_500):
        run.now += 0.01
        run.ask(0.1, 400, Outcome.REJECTED)
        run.bad(
            "rejected",
            line,
            key=HOSTILE * 80,
            error=HOSTILE,
            status=400,
            code=f"{line % 70}{HOSTILE}",
            reason=HOSTILE * 80,
        )
    return run


RUNS: Mapping[str, Callable[[], MadeUp]] = {
    run.__name__: run
    for run in (
        ordinary,
        eventful,
        interrupted,
        refused,
        rehearsed,
        brief,
        empty,
        unreachable,
        short,
        restless,
        hostile,
    )
}
