"""How many requests a second are admitted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Meter:
    """
    A bucket of admissions that fills at a rate.

    Attributes:
        burst: Admissions that the bucket holds.

    Args:
        rate: At first.

        burst: Admissions that the bucket holds; it starts full.

        clock: Gives seconds.
    """

    def __init__(
        self, rate: float | None, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate
        if burst < 1:
            raise ValueError(f"rate_burst must be one or more, not {burst}")
        self.burst = burst
        self._clock = clock
        self._left = float(burst)
        self._at = clock()

    @property
    def rate(self) -> float | None:
        """Admissions a second, None for no limit; may be set at any moment, from any thread."""
        return self._rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        if rate is not None and not rate > 0:
            raise ValueError(f"rate_limit must be above zero, not {rate}")
        self._rate = rate

    def fill(self) -> None:
        """Let the bucket be as full as at the start."""
        self._left = float(self.burst)
        self._at = self._clock()

    def admit(self) -> bool:
        """Tell whether a request that arrives now is admitted, and count it if so."""
        rate = self._rate
        if rate is None:
            return True
        now = self._clock()
        self._left = min(self.burst, self._left + (now - self._at) * rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
