"""What there is to see of a run at one moment, its words, and who watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from carevalidate_async._run.counts import Counts
from carevalidate_async._run.tiles import Span
from carevalidate_async._run.units import brief, lasting, many, rounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from carevalidate_async._run.counts import Trouble
    from carevalidate_async.bulk import Pace
    from carevalidate_async.models import PaymentConfirmation

_LEAST_WORK = 1.0  # seconds that a rate is told from, where there were any
_TROUBLES = ("rejected", "invalid", "duplicates", "unknown", "not_sent")


class Watcher(Protocol):
    """Who is told how a run goes."""

    def progress(self, sight: Callable[[], Sight], *, at_once: bool = False) -> None:
        """
        Time has passed, or something has moved.

        Args:
            sight: Finds out how far the run is, which costs a little.

            at_once: Whether that is news, since the run waits, goes on or ends.
        """

    def paced(self, pace: Pace) -> None:
        """The run may be faster now, has to be slower, to wait or to end."""

    def problem(self, found: Trouble) -> None:
        """A row needs another look."""

    def would_send(self, line: int, key: str, payment: PaymentConfirmation) -> None:
        """A rehearsal has come to a row that a run would send."""

    def note(self, text: str) -> None:
        """There is something to know about the run as a whole."""


@attrs.frozen(kw_only=True)
class Sight:
    """
    A run at one moment.

    Attributes:
        counts: Where its rows are.

        total: Rows in the file, an estimate while it is being read; None when nobody knows.

        failed: Rows that need another look.

        retries: Requests beyond the first for each row.

        seconds: Since it began.

        recent: Its last seconds.

        waiting: Why it waits for the vendor; None where it does not.

        ending: Whether no further row is sent.

        rehearsal: Whether nothing is to be sent.

        queue: How the queue is that its rows are in, in words; None where they are in none.
    """

    counts: Counts
    total: int | None
    failed: int
    retries: int
    seconds: float
    recent: Span
    waiting: str | None = None
    ending: bool = False
    rehearsal: bool = False
    queue: str | None = None

    @property
    def rate(self) -> float:
        """Rows a second, of late, while the run did not wait for the vendor."""
        recent = self.recent
        rows = sum(recent.rows.values()) + sum(recent.earlier.values())
        # In a moment between two pauses there may be what took far longer.
        at_work = max(recent.seconds - recent.paused, min(recent.seconds, _LEAST_WORK))
        return rows / at_work if at_work > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to the end at that rate; None when nobody knows."""
        rows = None if self.total is None else self.total - self.counts.settled
        if rows is None or rows <= 0 or self.waiting is not None or self.ending or not self.rate:
            return None
        return rows / self.rate


def in_words(sight: Sight) -> list[str]:
    """Return short lines: how far the run is and how fast, where the rows are, what limits it."""
    lines = [_how_far(sight), _where(sight), _allowed(sight), _answers(sight), _why_not(sight)]
    lines.append(sight.queue)
    return [text for text in lines if text]


def _how_far(sight: Sight) -> str:
    of = f" of {sight.total:,}" if sight.total is not None else ""
    parts = [f"{sight.counts.settled:,}{of} rows", f"{rounded(sight.rate)} rows/s"]
    if sight.left is not None:
        parts.append(f"{lasting(sight.left)} left")
    return ", ".join(parts)


def _where(sight: Sight) -> str:
    parts = [f"{sight.counts.on_record:,} on record"]
    parts += [
        f"{count:,} {_title(name, sight)}"
        for name in _TROUBLES
        if (count := getattr(sight.counts, name))
    ]
    return ", ".join(parts)


def _title(name: str, sight: Sight) -> str:
    return "would be sent" if sight.rehearsal and name == "not_sent" else name.replace("_", " ")


def _allowed(sight: Sight) -> str:
    recent = sight.recent
    parts = [] if recent.limit is None else [f"limit {recent.limit}"]
    if recent.rate is not None:
        parts.append(f"at most {rounded(recent.rate)}/s")
    if sight.retries:
        parts.append(many(sight.retries, "retry", "retries"))
    return ", ".join(parts)


def _answers(sight: Sight) -> str | None:
    times = sight.recent.latency
    if times is None:
        return None
    return f"answers p50 {brief(times.p50)} p95 {brief(times.p95)} p99 {brief(times.p99)}"


def _why_not(sight: Sight) -> str | None:
    return None if sight.waiting is None else f"waiting: {sight.waiting}"
