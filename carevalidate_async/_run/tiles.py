"""
What happened in a stretch of time: counts, and how long answers took. Neighbours add up exactly.

A tile keeps durations as a histogram whose bins grow by 4 %, so that a percentile is within 2 % of
the truth whatever it is. docs/explanation/dependencies.md says why it is one of our own.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

_Name = TypeVar("_Name")

ERROR = 0.02
"""How far a percentile may be from the truth, as a part of it."""

SHORTEST = 1e-6
"""Seconds; what took less is counted as this long."""

_GROWTH = (1 + ERROR) / (1 - ERROR)
_BINS_PER_E = 1 / math.log(_GROWTH)


def bin_of(seconds: float) -> int:
    """Return the bin of a duration."""
    return int(math.log(seconds / SHORTEST) * _BINS_PER_E) if seconds > SHORTEST else 0


@attrs.frozen(kw_only=True)
class Latency:
    """
    How long answers took, in seconds, each within 2 %: so many percent took no longer.

    Attributes:
        p50: Half of them.

        p95: 95 %.

        p99: 99 %.
    """

    p50: float
    p95: float
    p99: float


@attrs.frozen(kw_only=True)
class Span:
    """
    A stretch of a run.

    Attributes:
        begin: Seconds since the run began.

        seconds: How long it is.

        rows: Rows that got their place in it, by outcome; those of earlier runs not included.

        earlier: Rows that were found on record from earlier runs, by outcome.

        requests: Tries that ended in it, those that found no connection included.

        refused: Requests that were turned away for now (429, 503).

        lost: Tries that got no answer.

        latency: How long those took that may have reached the vendor, with an answer or without;
            None where there were none.

        limit: Payments in flight at its end that were allowed; None where nobody said.

        limits: The least and the most that were allowed in it.

        rate: Requests per second at its end that were allowed; None where they were not paced.

        paused: Seconds of it in which the run waited for the vendor.
    """

    begin: float
    seconds: float
    rows: Mapping[str, int] = attrs.Factory(dict)
    earlier: Mapping[str, int] = attrs.Factory(dict)
    requests: int = 0
    refused: int = 0
    lost: int = 0
    latency: Latency | None = None
    limit: int | None = None
    limits: tuple[int, int] | None = None
    rate: float | None = None
    paused: float = 0.0

    @property
    def on_record(self) -> int:
        """Rows that were put on record in it."""
        return self.rows.get("confirmed", 0) + self.rows.get("already_recorded", 0)

    def per_second(self, number: float) -> float:
        """Return *number* of things in it as things per second."""
        return number / self.seconds if self.seconds > 0 else 0.0


@attrs.define(kw_only=True)
class Tile:
    """
    A stretch of a run in the making; what is counted is what a `Span` tells.

    Attributes:
        bins: How many durations fell into each bin.
    """

    rows: defaultdict[str, int] = attrs.Factory(lambda: defaultdict(int))
    earlier: defaultdict[str, int] = attrs.Factory(lambda: defaultdict(int))
    requests: int = 0
    refused: int = 0
    lost: int = 0
    bins: defaultdict[int, int] = attrs.Factory(lambda: defaultdict(int))
    limit: int | None = None
    limits: tuple[int, int] | None = None
    rate: float | None = None

    @classmethod
    def after(cls, tile: Tile) -> Tile:
        """Return the tile that follows *tile*: what was allowed still is."""
        limits = None if tile.limit is None else (tile.limit, tile.limit)
        return cls(limit=tile.limit, limits=limits, rate=tile.rate)

    def allow(self, limit: int, rate: float | None) -> None:
        """From now on so many payments in flight and requests per second are allowed."""
        least, most = self.limits or (limit, limit)
        self.limit, self.rate = limit, rate
        self.limits = min(least, limit), max(most, limit)

    def add(self, later: Tile) -> None:
        """Take in what happened in *later*, which follows."""
        _add(self.rows, later.rows)
        _add(self.earlier, later.earlier)
        _add(self.bins, later.bins)
        self.requests += later.requests
        self.refused += later.refused
        self.lost += later.lost
        if later.limits is not None:
            least, most = self.limits or later.limits
            self.limits = min(least, later.limits[0]), max(most, later.limits[1])
            self.limit, self.rate = later.limit, later.rate

    def span(self, begin: float, seconds: float, paused: float) -> Span:
        """Return what is known of it; see `Span` for what is not in it."""
        return Span(
            begin=begin,
            seconds=seconds,
            rows=dict(self.rows),
            earlier=dict(self.earlier),
            requests=self.requests,
            refused=self.refused,
            lost=self.lost,
            latency=self._latency(),
            limit=self.limit,
            limits=self.limits,
            rate=self.rate,
            paused=paused,
        )

    def _latency(self) -> Latency | None:
        total = sum(self.bins.values())
        if not total:
            return None
        ordered = sorted(self.bins.items())
        return Latency(
            p50=_percentile(ordered, total, 50),
            p95=_percentile(ordered, total, 95),
            p99=_percentile(ordered, total, 99),
        )


def together(tiles: Sequence[Tile]) -> Tile:
    """Return what happened in *tiles*, which follow each other."""
    whole = Tile()
    for tile in tiles:
        whole.add(tile)
    return whole


def halved(tiles: Sequence[Tile]) -> list[Tile]:
    """Return half as many tiles, each as long as two of *tiles*."""
    return [together(tiles[at : at + 2]) for at in range(0, len(tiles), 2)]


def without_stub(tiles: Sequence[Tile], length: float) -> list[Tile]:
    """
    Return *tiles* with the last one joined to the one before it, if there is less than half of it.

    Args:
        tiles: Of equal width, but for the last.

        length: Of all of them, as so many times the width of one.
    """
    last = len(tiles) - 1
    if not last or length - last >= 0.5:
        return list(tiles)
    return [*tiles[: last - 1], together(tiles[last - 1 :])]


def _percentile(ordered: Sequence[tuple[int, int]], total: int, percent: int) -> float:
    """Return the shortest duration that so many percent of the durations do not exceed."""
    rank = -(-total * percent // 100)
    reached = itertools.accumulate(count for _, count in ordered)
    number = next(
        number for (number, _), so_far in zip(ordered, reached, strict=True) if so_far >= rank
    )
    # In the middle of its bin, as far from either end in parts of the truth.
    return SHORTEST * _GROWTH**number * (1 + ERROR)


def _add(to: defaultdict[_Name, int], more: Mapping[_Name, int]) -> None:
    for name, count in more.items():
        to[name] += count
