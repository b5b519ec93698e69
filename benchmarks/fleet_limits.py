"""What holds the requests of a fleet back."""

from __future__ import annotations

import asyncio
import enum

from benchmarks.fleet_clock import now

ROUND_TRIP = 0.001
"""Seconds that asking the shared limiter takes."""


class Limits(enum.Enum):
    """Who limits the payments that a fleet begins: options of the package's worker."""

    NONE = "none"
    """Nobody: ``--fixed``. A Retry-After holds for its message alone."""

    SPLIT = "split"
    """Each worker by itself: ``--fixed --rate``, the vendor's rate by the number of workers."""

    SHARED = "shared"
    """One limiter for all: ``--fixed --shared-rate``."""

    OWN = "own"
    """Each worker by the vendor's answers to itself: what a worker does unless told otherwise."""

    SPLIT_OWN = "split, own"
    """Both: ``--rate``."""

    SHARED_OWN = "shared, own"
    """Both: ``--shared-rate``."""

    @property
    def split(self) -> bool:
        """Whether each worker is given a rate."""
        return self in {Limits.SPLIT, Limits.SPLIT_OWN}

    @property
    def shared(self) -> bool:
        """Whether all ask one limiter."""
        return self in {Limits.SHARED, Limits.SHARED_OWN}

    @property
    def own(self) -> bool:
        """Whether each worker heeds the vendor's answers."""
        return self in {Limits.OWN, Limits.SPLIT_OWN, Limits.SHARED_OWN}


ALONE = (Limits.NONE, Limits.SPLIT, Limits.SHARED, Limits.OWN)
"""Those that are one thing alone."""


class SharedLimiter:
    """
    The generic cell rate algorithm, as a `SharedRate` has it on a Redis server.

    Who asks is told a moment, which is its own from then on; the real one asks again and again.

    Args:
        rate: Turns a second.
    """

    def __init__(self, rate: float) -> None:
        self._gap = 1 / rate
        # A tenth of a second's turns may be taken at once, 20 at most: its default.
        self._tolerance = (max(1, min(20, round(rate / 10))) - 1) * self._gap
        self._next = 0.0  # the theoretical arrival time

    async def acquire(self) -> None:
        """Wait for the next moment that nobody has."""
        there = now() + ROUND_TRIP
        due = max(self._next, there)
        self._next = due + self._gap
        await asyncio.sleep(max(there, due - self._tolerance) - now())
