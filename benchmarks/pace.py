"""
How near a run comes to what a vendor admits, without being told, and how much it is refused.

Against a sandbox that admits so many requests a second and answers 429 beyond: once with a limit
that stays, once with one that halves and doubles. Prints what was admitted as a part of what could
have been, and what was refused as a part of all, after a warm-up; the exit status is 1 where the
one is below 95 % or the other above 5 %::

    python -m benchmarks.pace --rate 300
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import date
from typing import TYPE_CHECKING

import attrs

from carevalidate_async import CareValidate, PaymentConfirmation, PaymentStatus
from carevalidate_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WARM_UP = 10.0
TICK = 0.05
PAYMENT = PaymentConfirmation(
    case_id="case-1",
    amount=50,
    payment_date=date(2026, 11, 2),
    valid_until=date(2026, 12, 1),
    status=PaymentStatus.PAID,
)


@attrs.define
class Totals:
    """What has happened since the warm-up."""

    could: float = 0.0
    admitted: int = 0
    received: int = 0

    def __str__(self) -> str:
        return f"goodput {self.goodput:.1%}, refused {self.refused:.1%}"

    @property
    def goodput(self) -> float:
        """What was admitted, as a part of what could have been."""
        return self.admitted / self.could

    @property
    def refused(self) -> float:
        """What was refused, as a part of all requests."""
        return 1 - self.admitted / self.received


async def measure(rate_at: Callable[[float], float], seconds: float) -> Totals:
    """Run payments for so long against a sandbox whose limit follows the time."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    stop = asyncio.Event()
    totals = Totals()

    def payments() -> Iterator[PaymentConfirmation]:
        while True:
            yield PAYMENT

    async def follow(sandbox: Sandbox) -> None:
        before, last = (sandbox.received, len(sandbox.payments)), loop.time()
        while (now := loop.time()) - began < seconds:
            sandbox.rate_limit = rate = rate_at(now - began)
            seen = sandbox.received, len(sandbox.payments)
            if now - began >= WARM_UP:
                totals.could += rate * (now - last)
                totals.received += seen[0] - before[0]
                totals.admitted += seen[1] - before[1]
            before, last = seen, now
            await asyncio.sleep(TICK)
        stop.set()

    async with (
        Sandbox(keep_requests=0, rate_limit=rate_at(0)) as sandbox,
        CareValidate("test", base_url=sandbox.url) as care,
    ):
        following = asyncio.create_task(follow(sandbox))
        async for _ in care.confirm_payments(payments(), stop=stop):
            pass
        await following
    return totals


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rate", type=float, default=300.0, help="requests admitted a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run")
    options = parser.parse_args()
    rate, third = options.rate, options.seconds / 3
    good = True
    for name, rate_at in (
        ("a limit that stays", lambda _: rate),
        ("one that halves and doubles", lambda t: rate / 2 if third <= t < 2 * third else rate),
    ):
        totals = asyncio.run(measure(rate_at, options.seconds))
        good &= totals.goodput >= 0.95 and totals.refused <= 0.05
        print(f"{name}: {totals}", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
