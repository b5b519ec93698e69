"""The tables, and the scenarios that are their rows."""

from __future__ import annotations

import attrs

from benchmarks.fleet_limits import ALONE, Limits
from benchmarks.fleet_plan import Inputs, Settings
from benchmarks.fleet_scenario import Scenario
from benchmarks.fleet_vendor import Overload, VendorSettings
from carevalidate_async.integrations.jetstream import MAX_ACK_PENDING

SIZES = (1, 10, 100, 1000)
LOST = 0.005
"""Share of requests that are carried out and answered with a 500."""


@attrs.frozen(kw_only=True)
class Scale:
    """
    How large the scenarios are.

    Attributes:
        rate: Requests a second that the vendor takes.

        seconds: What it needs for all payments.

        planned: The same of those that play the plan.

        seed: Of all chance.
    """

    rate: float = 500.0
    seconds: float = 20.0
    planned: float = 4.0
    seed: int = 1

    @property
    def outage(self) -> tuple[float, float]:
        """The moments at which an outage begins and ends: five times as long as the work takes."""
        return 0.25 * self.seconds, 5.25 * self.seconds

    @property
    def crowd(self) -> int:
        """
        Messages that each of a hundred workers holds where that is far too many.

        At the height of the peak, half of all payments wait: they are held, all of them.
        """
        return max(2, int(self.rate * self.seconds / 200))

    def vendor(self) -> VendorSettings:
        """Return a vendor without an outage."""
        return VendorSettings(rate=self.rate, lost=LOST)

    def scenario(self, name: str, workers: int, limits: Limits) -> Scenario:
        """Return a peak without trouble."""
        return Scenario(
            name=name,
            workers=workers,
            limits=limits,
            vendor=self.vendor(),
            payments=int(self.rate * self.seconds),
            seed=self.seed,
        )


def tables(scale: Scale, inputs: Inputs) -> dict[str, list[Scenario]]:
    """Return the scenarios of each table, by its title."""
    down = attrs.evolve(scale.vendor(), outage=scale.outage)
    peak = [
        scale.scenario(f"{workers:,}", workers, limits) for workers in SIZES for limits in ALONE
    ]
    return {
        "A peak": peak,
        "A peak, workers killed, the fleet half as large again for a while": [
            attrs.evolve(scenario, churn=True) for scenario in peak
        ],
        "A peak, and an outage in it": [attrs.evolve(scenario, vendor=down) for scenario in peak],
        "A peak, and a vendor that says no in another way": _otherwise(scale),
        "What single settings change": _settings(scale, down),
        f"The plan below, {Settings(inputs=inputs).rate:,.0f} requests a second": _planned(
            scale, inputs
        ),
    }


def _otherwise(scale: Scale) -> list[Scenario]:
    return [
        attrs.evolve(
            scale.scenario(f"100, {overload.value}", 100, limits),
            vendor=attrs.evolve(scale.vendor(), overload=overload),
            # Who queues is slow only once much is asked at once.
            concurrency=None if overload is Overload.UNAVAILABLE else scale.crowd,
        )
        for overload in (Overload.UNAVAILABLE, Overload.QUEUED)
        for limits in (Limits.NONE, Limits.OWN)
    ]


def _settings(scale: Scale, down: VendorSettings) -> list[Scenario]:
    def fleet(workers: int, name: str, limits: Limits = Limits.SHARED) -> Scenario:
        return scale.scenario(f"{workers}, {name}", workers, limits)

    def outage(name: str, limits: Limits) -> Scenario:
        return attrs.evolve(scale.scenario(name, 100, limits), vendor=down)

    short = scale.seconds / 4
    crowd = attrs.evolve(
        fleet(100, f"concurrency {scale.crowd}, ack_wait {short:g} s"),
        concurrency=scale.crowd,
        ack_wait=short,
    )
    killed = attrs.evolve(fleet(100, "killed, a key by delivery"), churn=True)
    return [
        outage("100, outage", Limits.SPLIT_OWN),
        outage("100, outage", Limits.SHARED_OWN),
        attrs.evolve(
            outage("100, outage, max_ack_pending 10,000", Limits.OWN),
            max_ack_pending=MAX_ACK_PENDING,
        ),
        *(
            attrs.evolve(fleet(workers, "two requests a delivery", Limits.OWN), attempts=2)
            for workers in (1, 10, 100)
        ),
        *(
            attrs.evolve(long, payments=6 * long.payments)
            for long in (fleet(workers, "six times as long", Limits.OWN) for workers in (1, 10))
        ),
        attrs.evolve(fleet(100, "told that they are 50", Limits.SPLIT), believed=50),
        attrs.evolve(fleet(100, "told that they are 50", Limits.SPLIT_OWN), believed=50),
        attrs.evolve(fleet(100, "told that they are 200", Limits.SPLIT), believed=200),
        attrs.evolve(
            fleet(100, f"concurrency {scale.crowd}", Limits.NONE), concurrency=scale.crowd
        ),
        attrs.evolve(fleet(100, f"concurrency {scale.crowd}", Limits.OWN), concurrency=scale.crowd),
        crowd,
        attrs.evolve(crowd, name=f"{crowd.name}, not extended", extends=False),
        attrs.evolve(killed, name="100, killed, a key by payment"),
        attrs.evolve(killed, derived_keys=False),
    ]


def _planned(scale: Scale, inputs: Inputs) -> list[Scenario]:
    settings = Settings(inputs=inputs)
    scale = attrs.evolve(scale, rate=settings.rate, seconds=scale.planned)
    usual = attrs.evolve(
        scale.scenario(f"{settings.workers}", settings.workers, Limits.SHARED),
        concurrency=settings.concurrency,
    )
    slow = attrs.evolve(usual.vendor, latency=inputs.slow, spread=0.0)
    down = attrs.evolve(usual.vendor, outage=scale.outage)
    return [
        usual,
        attrs.evolve(usual, name=f"{usual.name}, answers in {inputs.slow:g} s", vendor=slow),
        attrs.evolve(usual, name=f"{usual.name}, workers killed", churn=True),
        attrs.evolve(usual, name=f"{usual.name}, outage of {5 * scale.seconds:g} s", vendor=down),
    ]
