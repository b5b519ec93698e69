"""What there is to see of a run at one moment, its words, and who watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from carevalidate_async._run.counts import Counts
from carevalidate_async._run.tiles import Span
from carevalidate_async._run.units import brief, lasting, many, rounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from carevalidate_async.bulk import Pace
    from carevalidate_async.models import PaymentConfirmation

_TROUBLES = ("rejected", "invalid", "duplicates", "unknown", "not_sent")


class Watcher(Protocol):
    """Who is told how a run goes."""

    def progress(self, sight: Callable[[], Sight]) -> None:
        """Something has moved; *sight* finds out how far the run is, which costs a little."""

    def paced(self, pace: Pace) -> None:
        """The run may be faster now, has to be slower, to wait or to end."""

    def problem(self, line: int, text: str) -> None:
        """The row in *line* needs another look; *text* holds no personal data."""

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
    """

    counts: Counts
    total: int | None
    failed: int
    retries: int
    seconds: float
    recent: Span
    waiting: str | None = None

    @property
    def rate(self) -> float:
        """Rows a second, of late."""
        recent = self.recent
        rows = sum(recent.rows.values()) + sum(recent.earlier.values())
        return recent.per_second(rows)

    @property
    def left(self) -> float | None:
        """Seconds to the end at that rate; None when nobody knows."""
        if self.total is None or self.total <= self.counts.settled or not self.rate:
            return None
        return (self.total - self.counts.settled) / self.rate


def in_words(sight: Sight) -> list[str]:
    """Return short lines: how far the run is and how fast, where the rows are, what limits it."""
    return [
        text
        for text in (_how_far(sight), _where(sight), _how_hard(sight), _why_not(sight))
        if text is not None
    ]


def _how_far(sight: Sight) -> str:
    of = f" of {sight.total:,}" if sight.total is not None else ""
    parts = [f"{sight.counts.settled:,}{of} rows", f"{sight.rate:,.0f} rows/s"]
    if sight.left is not None:
        parts.append(f"{lasting(sight.left)} left")
    return ", ".join(parts)


def _where(sight: Sight) -> str:
    parts = [f"{sight.counts.on_record:,} on record"]
    parts += [
        f"{count:,} {name.replace('_', ' ')}"
        for name in _TROUBLES
        if (count := getattr(sight.counts, name))
    ]
    return ", ".join(parts)


def _how_hard(sight: Sight) -> str | None:
    recent = sight.recent
    parts = [] if not sight.retries else [many(sight.retries, "retry", "retries")]
    if recent.latency is not None:
        times = recent.latency
        parts.append(
            f"answers p50 {brief(times.p50)} p95 {brief(times.p95)} p99 {brief(times.p99)}"
        )
    if recent.limit is not None:
        parts.append(f"limit {recent.limit}")
    if recent.rate is not None:
        parts.append(f"at most {rounded(recent.rate)}/s")
    return ", ".join(parts) or None


def _why_not(sight: Sight) -> str | None:
    return None if sight.waiting is None else f"waiting: {sight.waiting}"
