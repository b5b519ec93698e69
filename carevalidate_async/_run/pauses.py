"""The stretches in which a run waits for its vendor."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 240
"""Stretches that are kept; of more, the two with the least between them become one."""

_LONGEST_REASON = 200  # characters


@attrs.frozen(kw_only=True)
class Pause:
    """
    A stretch in which the run waited for the vendor.

    Attributes:
        begin: Seconds since the run began.

        end: Likewise.

        reason: Why, in words of ours.
    """

    begin: float
    end: float
    reason: str

    @property
    def times(self) -> int:
        """How often the run waited in it."""
        return 1

    @property
    def waited(self) -> float:
        """Seconds of it in which the run waited."""
        return self.end - self.begin

    def within(self, begin: float, end: float) -> float:
        """Return how many seconds between *begin* and *end* the run waited in it."""
        return max(0.0, min(self.end, end) - max(self.begin, begin))


@attrs.frozen(kw_only=True)
class OffAndOn(Pause):
    """
    A stretch in which the run waited more than once; where in it is not kept.

    Attributes:
        times: How often.

        waited: Seconds of it in which the run waited.

        reason: Why the first time.
    """

    times: int
    waited: float

    def within(self, begin: float, end: float) -> float:
        """Return the part of its waiting that is as large as the part of it that is within."""
        seconds = self.end - self.begin
        return self.waited * super().within(begin, end) / seconds if seconds else 0.0


class Pauses:
    """The pauses of a run, in bounded memory; how many and how long is exact all the same."""

    def __init__(self) -> None:
        self._over: list[Pause] = []
        self._since: float | None = None
        self._reason = ""

    @property
    def reason(self) -> str | None:
        """Why the run waits right now; None where it does not."""
        return None if self._since is None else self._reason

    def begin(self, now: float, reason: str) -> None:
        """The run waits from *now* on; what it waited for before, it waits for still."""
        if self._since is None:
            cut = len(reason) > _LONGEST_REASON
            self._reason = f"{reason[: _LONGEST_REASON - 1]}…" if cut else reason
            self._since = now

    def end(self, now: float) -> None:
        """The run goes on."""
        self._over = list(self.told(now))
        self._since = None
        if len(self._over) > MOST:
            pairs = list(itertools.pairwise(self._over))
            at = min(range(len(pairs)), key=lambda at: _apart(*pairs[at]))
            self._over[at : at + 2] = [_together(*pairs[at])]

    def told(self, now: float) -> Sequence[Pause]:
        """Return the stretches in their order, the last one up to *now* where it goes on."""
        if self._since is None:
            return tuple(self._over)
        return (*self._over, Pause(begin=self._since, end=now, reason=self._reason))

    def within(self, begin: float, end: float, now: float) -> float:
        """Return how many seconds between *begin* and *end* the run waited."""
        return sum(pause.within(begin, end) for pause in self.told(now))


def _apart(first: Pause, second: Pause) -> tuple[float, float]:
    """Return what is least for the two that are best told as one."""
    # Pauses at a steady pace are equally far apart, but for what rounding makes of it: without the
    # second number, one stretch would swallow them all.
    return round(second.begin - first.end, 3), second.end - first.begin


def _together(first: Pause, second: Pause) -> OffAndOn:
    return OffAndOn(
        begin=first.begin,
        end=second.end,
        reason=first.reason,
        times=first.times + second.times,
        waited=first.waited + second.waited,
    )
