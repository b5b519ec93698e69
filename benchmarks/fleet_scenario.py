"""What a scenario is, and what could be had of it at best."""

from __future__ import annotations

import math

import attrs

from benchmarks.fleet_limits import Limits
from benchmarks.fleet_vendor import VendorSettings
from carevalidate_async.integrations.jetstream import ACK_WAIT

LEAST_CONCURRENCY = 2
"""Messages that a worker holds at most, where fewer would do."""


@attrs.frozen(kw_only=True)
class Scenario:
    """
    A fleet, a vendor and a peak: payments are published at twice the vendor's rate.

    Attributes:
        name: What the row is called.

        workers: Processes.

        limits: Who limits their requests.

        vendor: What the vendor is like.

        payments: How many.

        churn: Whether workers are killed, and the fleet scaled up and down.

        believed: Workers that a split limit reckons with; None for those at the start.

        concurrency: Messages that a worker holds at most; None for what `slots` says.

        derived_keys: Whether a payment's key is always the same.

        max_ack_pending: Messages that may be held or wait out a delay, of all workers together;
            None for twice what all hold.

        attempts: Requests of one delivery, at most; one, as the package's worker has it.

        ack_wait: Seconds after which a delivery that nobody settled is repeated.

        extends: Whether workers tell the broker what they still work on.

        seed: Of all chance.
    """

    name: str
    workers: int
    limits: Limits
    vendor: VendorSettings
    payments: int
    churn: bool = False
    believed: int | None = None
    concurrency: int | None = None
    derived_keys: bool = True
    max_ack_pending: int | None = None
    attempts: int = 1
    ack_wait: float = ACK_WAIT
    extends: bool = True
    seed: int = 1

    @property
    def slots(self) -> int:
        """
        Messages that each worker holds at most.

        In all, twice what the vendor's rate and latency need by Little's law.
        """
        if self.concurrency is not None:
            return self.concurrency
        needed = 2 * self.vendor.rate * self.vendor.mean_latency / self.workers
        return max(LEAST_CONCURRENCY, math.ceil(needed))

    @property
    def most_pending(self) -> int:
        """The broker's `max_ack_pending`."""
        if self.max_ack_pending is not None:
            return self.max_ack_pending
        return 2 * self.workers * self.slots

    @property
    def ideal(self) -> float:
        """Seconds that the vendor needs for the payments, its outage included."""
        down, up = self.vendor.outage
        return self.payments / self.vendor.rate + (up - down if math.isfinite(down) else 0.0)


def ideal_p99(scenario: Scenario) -> float:
    """Return the p99 of a fleet that does all as soon as the vendor can take it."""
    rate, (down, up) = scenario.vendor.rate, scenario.vendor.outage
    took = sorted(
        done + (up - down if done >= down else 0.0) - number / (2 * rate)
        for number, done in ((number, number / rate) for number in range(scenario.payments))
    )
    return p99(took)


def p99(took: list[float]) -> float:
    """Return what 99 of 100 do not exceed, of figures in their order."""
    return took[math.ceil(0.99 * len(took)) - 1] if took else math.nan
