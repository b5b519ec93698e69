"""One scenario from its first payment to its last, and the figures of it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from random import Random
from typing import TYPE_CHECKING, cast

import attrs

from benchmarks.fleet_broker import Broker
from benchmarks.fleet_clock import now, simulate
from benchmarks.fleet_limits import SharedLimiter
from benchmarks.fleet_scenario import Scenario, p99
from benchmarks.fleet_vendor import Vendor
from benchmarks.fleet_worker import PAYMENT, Client, Worker, derived_key, random_key
from carevalidate_async.consumer import Consumer
from carevalidate_async.events import Action, ConfirmHandler

if TYPE_CHECKING:
    from carevalidate_async import CareValidate

AWAY = 5.0
"""Seconds after which a killed worker is back."""

PATIENCE = 3600.0
"""Seconds beyond the ideal after which a scenario ends, whatever is left."""


@attrs.frozen(kw_only=True)
class Figures:
    """
    What came of a scenario.

    Attributes:
        payments: Payments published.

        recorded: Payments on record.

        twice: Payments on record more than once.

        left: Messages that are not acknowledged.

        parked: Messages left to a person.

        requests: Requests that arrived at the vendor.

        repeats: Of them, those that were not the first for their payment.

        statuses: How many were answered how.

        goodput: Payments that were on record when an ideal fleet would have been done, of all.

        seconds: Moment of the last record.

        over_ideal: *seconds* by those of an ideal fleet.

        p99: Seconds from publishing to the record, for 99 of 100 payments at most.

        busiest: Requests in the busiest second.

        most_pending: Deliveries that were pending at a time, at most.
    """

    payments: int
    recorded: int
    twice: int
    left: int
    parked: int
    requests: int
    repeats: int
    statuses: dict[int, int]
    goodput: float
    seconds: float
    over_ideal: float
    p99: float
    busiest: int
    most_pending: int

    @property
    def waste(self) -> float:
        """Requests that put no payment on record for the first time, as a share of all."""
        return 1 - self.recorded / self.requests


def play(scenario: Scenario) -> Figures:
    """Return the figures of a scenario: always the same."""
    return simulate(_play(scenario), scenario.seed)


async def _play(scenario: Scenario) -> Figures:
    vendor = Vendor(scenario.vendor, Random(scenario.seed))  # noqa: S311 - of a simulation
    broker = Broker(
        messages=scenario.payments,
        rate=2 * scenario.vendor.rate,
        ack_wait=scenario.ack_wait,
        max_ack_pending=scenario.most_pending,
    )
    fleet = Fleet(scenario, vendor, broker)
    fleet.start(scenario.workers)
    churning = asyncio.create_task(fleet.churn()) if scenario.churn else None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(scenario.ideal + PATIENCE):
            await broker.run()
    if churning is not None:
        churning.cancel()
    return _figures(scenario, vendor, broker, fleet)


class Fleet:
    """
    The workers.

    Args:
        scenario: What they are like.

        vendor: Whom they ask.

        broker: Where their messages are.
    """

    def __init__(self, scenario: Scenario, vendor: Vendor, broker: Broker) -> None:
        self._scenario = scenario
        self._vendor = vendor
        self._broker = broker
        self._shared = SharedLimiter(scenario.vendor.rate)
        self._running: list[Worker] = []
        self._gone: list[Worker] = []

    @property
    def parked(self) -> int:
        """Messages that were left to a person."""
        return sum(
            worker.consumer.consumption().decided[Action.PARK]
            for worker in (*self._running, *self._gone)
        )

    def start(self, workers: int) -> None:
        """Start so many more."""
        for _ in range(workers):
            worker = Worker(self._broker, self._consumer(), concurrency=self._scenario.slots)
            self._running.append(worker)

    async def churn(self) -> None:
        """Kill a fifth and have it back; later, make the fleet half as large again for a while."""
        scenario = self._scenario
        span = scenario.payments / scenario.vendor.rate
        fifth, half = math.ceil(scenario.workers / 5), math.ceil(scenario.workers / 2)
        await asyncio.sleep(0.2 * span)
        self._end(fifth, kill=True)
        await asyncio.sleep(AWAY)
        self.start(fifth)
        await asyncio.sleep(max(0.0, 0.5 * span - now()))
        self.start(half)
        await asyncio.sleep(0.3 * span)
        self._end(half, kill=False)

    def _end(self, workers: int, *, kill: bool) -> None:
        for worker in self._running[:workers]:
            (worker.kill if kill else worker.stop)()
        self._gone += self._running[:workers]
        del self._running[:workers]

    def _consumer(self) -> Consumer:
        scenario = self._scenario
        key = derived_key if scenario.derived_keys else random_key
        handler = ConfirmHandler(
            cast("CareValidate", Client(vendor=self._vendor)),
            read=lambda _: PAYMENT,
            key=lambda event, _: key(int(event.id)),
            attempts=scenario.attempts,
        )

        rate = scenario.vendor.rate / (scenario.believed or scenario.workers)
        return Consumer(
            handler,
            concurrency=scenario.slots,
            rate=rate if scenario.limits.split else None,
            turns=self._shared if scenario.limits.shared else None,
            adaptive=scenario.limits.own,
            extend_every=scenario.ack_wait / 3 if scenario.extends else None,
        )


def _figures(scenario: Scenario, vendor: Vendor, broker: Broker, fleet: Fleet) -> Figures:
    recorded = len(vendor.recorded)
    took = sorted(moment - broker.published(i) for i, moment in vendor.recorded_at.items())
    last = max(vendor.recorded_at.values(), default=0.0)
    in_time = sum(moment <= scenario.ideal for moment in vendor.recorded_at.values())
    return Figures(
        payments=scenario.payments,
        recorded=recorded,
        twice=sum(times > 1 for times in vendor.recorded.values()),
        left=broker.left,
        parked=fleet.parked,
        requests=vendor.requests.total(),
        repeats=vendor.requests.total() - len(vendor.requests),
        statuses=dict(vendor.statuses),
        goodput=in_time / scenario.payments,
        seconds=last,
        over_ideal=last / scenario.ideal,
        p99=p99(took),
        busiest=max(vendor.busy.values(), default=0),
        most_pending=broker.most_pending,
    )
