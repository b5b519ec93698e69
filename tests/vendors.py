"""Vendors of a few lines that admit only so much, for tests of how fast a run is."""

from __future__ import annotations

import asyncio
import random
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from carevalidate_async.errors import Outcome, RateLimitError
from carevalidate_async.models import ConfirmationReceipt, Meta, PaymentConfirmation, PaymentStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAYMENT = PaymentConfirmation(
    case_id="case-1",
    amount=Decimal(1),
    payment_date=date(2026, 1, 5),
    valid_until=date(2026, 2, 5),
    status=PaymentStatus.PAID,
    idempotency_key="one-key",
)
RECEIPT = ConfirmationReceipt(meta=Meta())


def until(moment: float) -> Iterator[PaymentConfirmation]:
    """Yield payments until the event loop's clock shows *moment*."""
    while asyncio.get_running_loop().time() < moment:
        yield PAYMENT


class Metered:
    """
    A vendor with so many admissions a second, in a bucket or by the clock's seconds.

    Attributes:
        admitted: Moments at which it took a payment.

        refused: Moments at which it refused one.

    Args:
        rate: Admissions a second, by moment.

        seconds: An answer takes, give or take a quarter.

        burst: Admissions that can be saved up; 0 for a counter that each second sets back.

        retry_after: Seconds that a refusal asks to wait.
    """

    def __init__(
        self,
        rate: Callable[[float], float],
        *,
        seconds: float = 0.02,
        burst: int = 25,
        retry_after: float | None = None,
    ) -> None:
        self._rate = rate
        self._seconds = seconds
        self._burst = burst
        self._retry_after = retry_after
        self._left = float(burst)
        self._at = 0.0
        self._random = random.Random(17)
        self.admitted: list[float] = []
        self.refused: list[float] = []

    def _admit(self, now: float) -> bool:
        rate = self._rate(now)
        if self._burst:
            self._left = min(self._burst, self._left + (now - self._at) * rate)
        elif int(now) != int(self._at) or not self.admitted:
            self._left = rate
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    async def confirm_payment(
        self, payment: PaymentConfirmation, *, accept_duplicate: bool = False
    ) -> ConfirmationReceipt:
        """Take a payment, or refuse it."""
        assert payment.idempotency_key is not None
        assert accept_duplicate
        now = asyncio.get_running_loop().time()
        admitted = self._admit(now)
        (self.admitted if admitted else self.refused).append(now)
        await asyncio.sleep(self._seconds * self._random.uniform(0.75, 1.25))
        if not admitted:
            raise RateLimitError(
                "too many requests",
                status=429,
                outcome=Outcome.REJECTED,
                retryable=True,
                retry_after=self._retry_after,
            )
        return RECEIPT

    def goodput(self, since: float, to: float) -> float:
        """Return the part of what it could admit that it did."""
        steps = 100
        could = sum(self._rate(since + n / steps) / steps for n in range(int((to - since) * steps)))
        return sum(since <= moment < to for moment in self.admitted) / could

    def waste(self, since: float, to: float) -> float:
        """Return the part of the requests that it refused."""
        no = sum(since <= moment < to for moment in self.refused)
        return no / (no + sum(since <= moment < to for moment in self.admitted))
