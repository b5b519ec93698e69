"""What the command ``confirm`` tells a machine: events, one JSON object a line, as they happen."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import attrs

from carevalidate_async._commands.output import json_line, say
from carevalidate_async._commands.progress import PLAIN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from carevalidate_async._run.counts import Trouble
    from carevalidate_async._run.sight import Sight, Watcher
    from carevalidate_async.bulk import Pace, RunState
    from carevalidate_async.models import PaymentConfirmation


class Machine:
    """
    Prints events to standard output, and hands all on; a `carevalidate_async._run.sight.Watcher`.

    Args:
        watcher: Told as well.

        write: Takes a line for standard output.

        clock: Gives seconds.
    """

    def __init__(
        self,
        watcher: Watcher,
        write: Callable[[str], object] = lambda text: say(text, sys.stdout),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watcher = watcher
        self._write = write
        self._clock = clock
        self._began = clock()
        self._next = self._began + PLAIN_SECONDS
        self._state: RunState | None = None

    def progress(self, sight: Callable[[], Sight], *, at_once: bool = False) -> None:
        """Print how far the run is, if it is time to or *at_once*."""
        if at_once or self._clock() >= self._next:
            self._next = self._clock() + PLAIN_SECONDS
            seen = sight()
            latency = seen.recent.latency
            self._print(
                "progress",
                **attrs.asdict(seen.counts),
                settled=seen.counts.settled,
                total=seen.total,
                retries=seen.retries,
                rows_per_s=round(seen.rate, 3),
                left_s=None if seen.left is None else round(seen.left, 1),
                latency_s=None if latency is None else attrs.asdict(latency),
                limit=seen.recent.limit,
                rate=seen.recent.rate,
                waiting=seen.waiting,
            )
        self._watcher.progress(sight, at_once=at_once)

    def paced(self, pace: Pace) -> None:
        """Print that the run waits, goes on or is stopped; mere numbers come with the progress."""
        if pace.state is not self._state:
            if self._state is not None or pace.reason is not None:
                self._print("state", state=pace.state, reason=pace.reason)
            self._state = pace.state
        self._watcher.paced(pace)

    def problem(self, found: Trouble) -> None:
        """Print that a row needs another look: each of them."""
        self._print("problem", **attrs.asdict(found))
        self._watcher.problem(found)

    def would_send(self, line: int, key: str, payment: PaymentConfirmation) -> None:
        """Print what a run would send."""
        status, amount = payment.status, payment.amount
        self._print("would_send", line=line, key=key, status=status, amount=amount)

    def note(self, text: str) -> None:
        """Print what there is to know about the run as a whole."""
        self._print("note", text=text)
        self._watcher.note(text)

    def _print(self, event: str, **facts: object) -> None:
        at = round(self._clock() - self._began, 3)
        self._write(json_line({"event": event, "at_s": at, **facts}))
