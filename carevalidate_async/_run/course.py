"""
What happened when in a run: fed while it goes on, and asked by its display and its report.

Memory is bounded however long the run takes: at most 240 tiles of equal width cover it; when there
would be more, neighbours are put together. Nothing is lost by that but how fine it can be told.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from typing import TYPE_CHECKING

from carevalidate_async._run.groups import Troubles
from carevalidate_async._run.pauses import Pauses
from carevalidate_async._run.tiles import Tile, bin_of, halved, together, without_stub
from carevalidate_async.errors import Outcome
from carevalidate_async.hooks import AttemptEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carevalidate_async._run.groups import Group, Listed
    from carevalidate_async._run.pauses import Pause
    from carevalidate_async._run.tiles import Span
    from carevalidate_async.hooks import Event

MOST_SPANS = 240
"""Tiles that cover a run."""

WIDTH = 0.125
"""Seconds; the width of a tile at first. It doubles exactly."""

RECENT = 10.0
"""Seconds that count as recent."""

_REFUSED = frozenset({429, 503})


class Course:
    """
    What happened when in a run; a hook of its client.

    Args:
        clock: Gives seconds.
    """

    wants: tuple[type[Event], ...] = (AttemptEnded,)

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._whole = Tile()  # all but what is in the tile under way
        self._tiles: list[Tile] = [Tile()]
        self._doublings = 0  # of the tiles' width
        self._tile = Tile()  # the one under way: as wide as tiles are at first, and in no list yet
        self._slot = 0  # its number
        self._recent: deque[tuple[int, Tile]] = deque(maxlen=round(RECENT / WIDTH))
        self._pauses = Pauses()
        self._troubles = Troubles()
        self._ended: float | None = None
        self.begin()

    def begin(self) -> None:
        """Count the time from now on, rather than from when this was made."""
        self._began = self._clock()
        self._until = self._began + WIDTH

    def end(self) -> None:
        """Count no more time; what is told later counts as told now."""
        self.resumed()
        self._catch_up()
        self._ended = self.elapsed
        self._until = float("inf")

    # What is told

    def __call__(self, event: Event) -> None:
        """Count an attempt that has ended."""
        if not isinstance(event, AttemptEnded):
            return
        if self._clock() >= self._until:
            self._go_on()
        attempt, tile = event.attempt, self._tile
        tile.requests += 1
        status = attempt.status
        if status is None:
            tile.lost += 1
            if attempt.outcome is Outcome.NOT_SENT:  # how fast nobody answers is no latency
                return
        elif status in _REFUSED:
            tile.refused += 1
        tile.bins[bin_of(attempt.duration)] += 1

    def good(self, outcome: str, rows: int = 1, *, earlier: bool = False) -> None:
        """
        Count rows of which there is no more to tell.

        Args:
            outcome: The name that the summary counts them under.

            rows: How many.

            earlier: Whether an earlier run had put them on record, so that nothing was sent.
        """
        if self._clock() >= self._until:
            self._go_on()
        counts = self._tile.earlier if earlier else self._tile.rows
        counts[outcome] += rows

    def settled(
        self,
        outcome: str,
        *,
        line: int,
        key: str | None,
        error: str | None,
        status: int | None,
        code: str | None,
        reason: str,
    ) -> None:
        """
        Count a row that needs a person.

        Args:
            outcome: The name that the summary counts it under.

            line: Where it stands in its file.

            key: The idempotency key that it was sent under, or would be.

            error: Name of the error's class, None where there was none.

            status: HTTP status.

            code: The vendor's code; for a row that was refused here, the field.

            reason: Why, without personal data; of an error, what `own_words` makes of it.
        """
        self.good(outcome)
        self._troubles.add(
            outcome, line=line, key=key, error=error, status=status, code=code, reason=reason
        )

    def left(self, outcome: str, rows: Sequence[tuple[int, str | None]], reason: str) -> None:
        """
        Count rows that the run did not come to, however many they are.

        Args:
            outcome: The name that the summary counts them under.

            rows: The line and the key of each.

            reason: Why, in words of ours.
        """
        self.good(outcome, len(rows))
        self._troubles.add_many(outcome, rows, reason)

    def allowed(self, limit: int, rate: float | None) -> None:
        """From now on so many payments may be in flight, and so many requests begin per second."""
        if self._clock() >= self._until:
            self._go_on()
        self._tile.allow(limit, rate)

    def paused(self, reason: str) -> None:
        """The run waits for the vendor from now on; *reason* says why, in words of ours."""
        self._pauses.begin(self.elapsed, reason)

    def resumed(self) -> None:
        """The run goes on."""
        self._pauses.end(self.elapsed)

    # What is asked

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, to its end where it has ended."""
        return self._clock() - self._began if self._ended is None else self._ended

    @property
    def pause(self) -> str | None:
        """Why the run waits for the vendor right now; None where it does not."""
        return self._pauses.reason

    @property
    def troubled(self) -> int:
        """Rows that were told to need a person; not all of them are kept."""
        return self._troubles.count

    def groups(self) -> Sequence[Group]:
        """Return the kinds of trouble, the most frequent first, all further ones together last."""
        return self._troubles.groups()

    def listed(self) -> Sequence[Listed]:
        """Return rows that need a person, in the file's order; of many, some of each outcome."""
        return self._troubles.listed()

    def pauses(self) -> Sequence[Pause]:
        """Return the stretches in which the run waited for the vendor, in their order."""
        return self._pauses.told(self.elapsed)

    def whole(self) -> Span:
        """Return the run so far as one stretch."""
        return self._span(together([self._whole, self._tile]), 0.0, self.elapsed)

    def recent(self) -> Span:
        """Return the last ten seconds, or what there is at the run's beginning."""
        now = self.elapsed
        self._catch_up()
        since = max(0, self._slot + 1 - round(RECENT / WIDTH))
        tile = together([*(tile for slot, tile in self._recent if slot >= since), self._tile])
        return self._span(tile, since * WIDTH, now)

    def spans(self, most: int = MOST_SPANS) -> Sequence[Span]:
        """
        Return the run in stretches of equal width, in their order and without a gap.

        What happened in them adds up to what happened in the run, whatever *most* is.

        Args:
            most: At most so many.

        Returns:
            At least one. The last one ends where the run is; it has from half of the width to one
            and a half.
        """
        now = self.elapsed
        self._catch_up()
        current = self._tile_of(self._slot)
        tiles = [together([tile]) for tile in self._tiles[:-1]]
        tiles.append(together([current, self._tile]))
        width = WIDTH * (1 << self._doublings)
        tiles = without_stub(tiles, now / width)
        while len(tiles) > max(most, 1):
            tiles, width = halved(tiles), width * 2
        tiles = without_stub(tiles, now / width)
        marks = [*(at * width for at in range(len(tiles))), now]
        stretches = itertools.pairwise(marks)
        return [self._span(tile, *ends) for tile, ends in zip(tiles, stretches, strict=True)]

    # Tiles

    def _span(self, tile: Tile, begin: float, end: float) -> Span:
        return tile.span(begin, end - begin, self._pauses.within(begin, end, self.elapsed))

    def _catch_up(self) -> None:
        if self._clock() >= self._until:
            self._go_on()

    def _go_on(self) -> None:
        """Put the tile under way where it belongs, and begin the one that the time is in."""
        done, self._tile = self._tile, Tile.after(self._tile)
        self._tile_of(self._slot).add(done)
        self._whole.add(done)
        self._recent.append((self._slot, done))
        self._slot = int((self._clock() - self._began) / WIDTH)
        self._until = self._began + (self._slot + 1) * WIDTH

    def _tile_of(self, slot: int) -> Tile:
        """Return the tile that a slot is in; there is none after it."""
        while slot >> self._doublings >= MOST_SPANS:
            self._tiles = halved(self._tiles)
            self._doublings += 1
        while len(self._tiles) <= slot >> self._doublings:
            self._tiles.append(Tile.after(self._tiles[-1]))
        return self._tiles[slot >> self._doublings]
