"""A vendor that takes so many requests a second, has bad minutes, and remembers keys."""

from __future__ import annotations

import enum
import math
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from benchmarks.fleet_clock import now
from carevalidate_async.sandbox._meter import Meter

if TYPE_CHECKING:
    from random import Random


class Overload(enum.Enum):
    """What becomes of requests beyond the vendor's capacity."""

    REFUSED = "429 with Retry-After"
    UNAVAILABLE = "503"
    QUEUED = "slower answers"


@attrs.frozen(kw_only=True)
class VendorSettings:
    """
    What the vendor is like.

    Attributes:
        rate: Requests a second that it takes.

        burst: Seconds of its rate that it takes at once after a pause.

        overload: What becomes of those beyond.

        retry_after: Seconds that a 429 asks to wait.

        latency: Seconds, the median of lognormal ones.

        spread: Sigma of their logarithm; 0 for a constant.

        lost: Share of requests that are carried out and answered with a 500.

        outage: Moments at which all requests begin and cease to be answered with a 502.
    """

    rate: float = math.inf
    burst: float = 0.1
    overload: Overload = Overload.REFUSED
    retry_after: float = 1.0
    latency: float = 0.05
    spread: float = 0.5
    lost: float = 0.0
    outage: tuple[float, float] = (math.inf, math.inf)

    @property
    def mean_latency(self) -> float:
        """Seconds that an answer takes on average."""
        return self.latency * math.exp(self.spread**2 / 2)


@attrs.frozen(kw_only=True)
class Answer:
    """
    An answer.

    Attributes:
        status: 200 where the payment was put on record; 409 where its key was there already.

        retry_after: Seconds to wait, where it says so.
    """

    status: int
    retry_after: float | None = None


class Vendor:
    """
    The vendor.

    Attributes:
        requests: How many arrived, by payment.

        busy: How many arrived, by second.

        statuses: How many were meant to be answered so.

        recorded: How often each payment was put on record; once, if all goes well.

        recorded_at: When it was, the first time.

    Args:
        settings: What it is like.

        chance: Of its own.
    """

    def __init__(self, settings: VendorSettings, chance: Random) -> None:
        self._settings = settings
        self._chance = chance
        limited = math.isfinite(settings.rate) and settings.overload is not Overload.QUEUED
        burst = max(1, int(settings.rate * settings.burst)) if limited else 1
        self._meter = Meter(settings.rate if limited else None, burst, now)
        self._refusal = Answer(status=429, retry_after=settings.retry_after)
        if settings.overload is Overload.UNAVAILABLE:
            self._refusal = Answer(status=503)
        self._free = 0.0  # moment at which it has worked off its own queue
        self._keys: set[str] = set()
        self.requests: Counter[int] = Counter()
        self.busy: Counter[int] = Counter()
        self.statuses: Counter[int] = Counter()
        self.recorded: Counter[int] = Counter()
        self.recorded_at: dict[int, float] = {}

    def ask(self, payment: int, key: str) -> tuple[Answer, float]:
        """
        Return the answer to a request that arrives now, and the seconds after which it is given.

        What is done is done at once: it makes no difference whether anybody waits for the answer.
        """
        self.requests[payment] += 1
        self.busy[int(now())] += 1
        down, up = self._settings.outage
        if down <= now() < up:
            answer, waited = Answer(status=502), 0.0
        elif not self._meter.admit():
            answer, waited = self._refusal, 0.0
        else:
            waited = self._queued()
            answer = self._carried_out(payment, key, now() + waited)
        self.statuses[answer.status] += 1
        return answer, waited + self._seconds()

    def _seconds(self) -> float:
        median, spread = self._settings.latency, self._settings.spread
        return median * math.exp(self._chance.gauss(0, spread)) if spread else median

    def _queued(self) -> float:
        """Return the seconds that a request waits for those before it."""
        if self._settings.overload is not Overload.QUEUED:
            return 0.0
        self._free = max(self._free, now()) + 1 / self._settings.rate
        return self._free - now()

    def _carried_out(self, payment: int, key: str, moment: float) -> Answer:
        if key in self._keys:
            return Answer(status=409)
        self._keys.add(key)
        self.recorded[payment] += 1
        self.recorded_at.setdefault(payment, moment)
        return Answer(status=500 if self._chance.random() < self._settings.lost else 200)
