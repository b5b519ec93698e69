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
        rate: Admissions a second; None for no limit. It may be changed at any moment.

    Args:
        rate: At first.

        burst: Admissions that the bucket holds; it starts full.

        clock: Gives seconds.
    """

    def __init__(
        self, rate: float | None, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if rate is not None and not rate > 0:
            raise ValueError(f"rate_limit must be above zero, not {rate}")
        if burst < 1:
            raise ValueError(f"rate_burst must be one or more, not {burst}")
        self.rate = rate
        self._burst = burst
        self._clock = clock
        self._left = float(burst)
        self._at = clock()

    def admit(self) -> bool:
        """Tell whether a request that arrives now is admitted, and count it if so."""
        if self.rate is None:
            return True
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
