"""A rate that all workers share, kept on a Redis server."""

from __future__ import annotations

import asyncio
import logging
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Self

from carevalidate_async._extra import needs

with needs("ratelimit"):
    import redis.asyncio
    import redis.exceptions
    from pyrate_limiter import GCRA, Duration, Limiter, Rate, RedisStateStore, StateBucket

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["SharedRate"]

AWAY_SECONDS = 1.0
"""Seconds between two tries of a server that does not answer."""

_MOST_BURST = 20

_logger = logging.getLogger("carevalidate_async")


class SharedRate:
    """
    So many payments a second, whoever begins them.

    For a `carevalidate_async.consumer.Consumer`. Turns are spaced evenly (GCRA) by the wall clocks
    of all machines, which have to agree. While the Redis server is away nobody gets a turn: more
    than the vendor takes would be refused.

    Args:
        server: The Redis server's URL, or a client of it, which is then not closed.

        rate: Turns a second, for all that name the same *key*.

        key: Where it is kept.

        burst: Turns that may be taken at once after a while without any; by default those of a
            tenth of a second, 20 at most.
    """

    def __init__(
        self,
        server: str | Redis,
        rate: float,
        *,
        key: str = "carevalidate:rate",
        burst: int | None = None,
    ) -> None:
        if not 0 < rate < math.inf:
            raise ValueError("rate must be a number above 0")
        self._own = isinstance(server, str)
        self._redis = redis.asyncio.from_url(server) if isinstance(server, str) else server
        exact = Fraction(rate).limit_denominator(1000)
        most = burst or max(1, min(_MOST_BURST, round(rate / 10)))
        seconds = Duration.SECOND * exact.denominator
        limit = Rate(max(1, exact.numerator), seconds, burst=most)
        self._limiter = Limiter(StateBucket([limit], GCRA(), RedisStateStore(self._redis, key)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._own:
            await self._redis.aclose()

    async def acquire(self) -> None:
        """Wait for a turn."""
        told = False
        while True:
            try:
                await self._limiter.try_acquire_async("payments")
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError):
                if not told:
                    _logger.warning("the Redis server of the shared rate is away; waiting for it")
                told = True
                await asyncio.sleep(AWAY_SECONDS)
            else:
                return
