"""Requests under way on an event loop, and the one timer that ends those whose time is up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Flight:
    """
    One request under way.

    Args:
        ends: Moment on the loop's clock at which its time is up.

        on_wire: Called before its first byte leaves.

    Attributes:
        ends: As given.

        started: Whether a byte of it may have left.

        expired: Whether its time is up, or it was told to end.

        on_expiry: Called when it is; None while there is nobody to tell.
    """

    __slots__ = ("_on_wire", "ends", "expired", "on_expiry", "started")

    def __init__(self, ends: float, on_wire: Callable[[], None]) -> None:
        self.ends = ends
        self.started = False
        self.expired = False
        self.on_expiry: Callable[[], None] | None = None
        self._on_wire = on_wire

    def start(self) -> None:
        """Note that its first byte leaves now."""
        self.started = True
        self._on_wire()

    def expire(self) -> None:
        """End it; a second time does nothing."""
        if self.expired:
            return
        self.expired = True
        if self.on_expiry is not None:
            self.on_expiry()


class Flights:
    """
    The requests under way on one event loop.

    They share a timer, since one each costs more than all else about them. It is set to the
    earliest end among them, and hardly ever rings: the next request ends later than it, as a rule.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._flights: set[Flight] = set()
        self._rings = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._flights)

    def add(self, flight: Flight) -> None:
        """Watch *flight* until `discard`."""
        self._flights.add(flight)
        if flight.ends < self._rings:
            self._set(flight.ends)

    def discard(self, flight: Flight) -> None:
        """Watch it no more."""
        self._flights.discard(flight)

    def end_all(self) -> None:
        """Make each of them end now."""
        self._set(math.inf)
        for flight in list(self._flights):
            flight.expire()

    def _set(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._rings = moment
        if moment < math.inf:
            self._timer = self._loop.call_at(moment, self._ring)

    def _ring(self) -> None:
        # A loop is early by as much as its clock is coarse.
        now = max(self._loop.time(), self._rings)
        try:
            for flight in [flight for flight in self._flights if flight.ends <= now]:
                flight.expire()
        finally:
            left = [flight.ends for flight in self._flights if not flight.expired]
            self._set(min(left, default=math.inf))
