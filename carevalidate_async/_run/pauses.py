"""The stretches in which a run waits for its vendor."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 240
"""Pauses that are told one by one; of more, the two with the least between them become one."""

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

    def within(self, begin: float, end: float) -> float:
        """Return how many seconds of it are between *begin* and *end*."""
        return max(0.0, min(self.end, end) - max(self.begin, begin))


class Pauses:
    """The pauses of a run, in bounded memory."""

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
            self._since, self._reason = now, reason[:_LONGEST_REASON]

    def end(self, now: float) -> None:
        """The run goes on."""
        self._over = list(self.told(now))
        self._since = None
        if len(self._over) > MOST:
            gaps = [later.begin - pause.end for pause, later in itertools.pairwise(self._over)]
            at = gaps.index(min(gaps))
            first, second = self._over[at : at + 2]
            self._over[at : at + 2] = [attrs.evolve(first, end=second.end)]

    def told(self, now: float) -> Sequence[Pause]:
        """Return the pauses in their order, the last one up to *now* where it goes on."""
        if self._since is None:
            return tuple(self._over)
        return (*self._over, Pause(begin=self._since, end=now, reason=self._reason))

    def within(self, begin: float, end: float, now: float) -> float:
        """Return how many seconds between *begin* and *end* the run waited."""
        return sum(pause.within(begin, end) for pause in self.told(now))
