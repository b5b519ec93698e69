"""What breaks first on the way to so many payments a day, and the settings that follow."""

from __future__ import annotations

import math
from typing import Any

import attrs

from benchmarks.fleet_vendor import VendorSettings
from carevalidate_async.integrations.jetstream import MAX_ACK_PENDING

DAY = 86_400
HOUR = 3_600
LATENCY = VendorSettings().mean_latency


def _given(value: Any, told: str) -> Any:
    """Return a field that says what it is, and where it comes from."""
    return attrs.field(default=value, metadata={"told": told})


@attrs.frozen(kw_only=True)
class Inputs:
    """What the plan is computed from; each says what it is."""

    per_day: float = _given(100e6, "payments a day")
    peak: float = _given(5.0, "times the average in the busiest hour")
    requests: float = _given(1.05, "requests for a payment, repeats included")
    vendor_rate: float = _given(1_000.0, "requests a second that the vendor takes; nobody told")
    latency: float = _given(LATENCY, "seconds that an answer takes on average, as simulated")
    slow: float = _given(1.0, "seconds that it takes in a bad hour; assumed")
    worker_rate: float = _given(1_000.0, "messages a second of a worker on a whole core; measured")
    used: float = _given(0.6, "of a process in use at the peak, at most")
    connections: int = _given(100, "connections of a client, by default")
    pending: int = _given(MAX_ACK_PENDING, "max_ack_pending, by default")
    message_bytes: int = _given(400, "bytes of a message in its stream, and of a result")
    disk: float = _given(100e9, "bytes of a broker's disk; assumed")
    outage: float = _given(1.0, "hours of peak that the stream is to hold")
    enqueuer_rate: float = _given(9_000.0, "messages a second that an enqueuer publishes; measured")
    commands: float = _given(7.7, "commands that Redis carries out for a request; measured")
    redis_rate: float = _given(100_000.0, "commands a second of a Redis; assumed")

    @property
    def average(self) -> float:
        """Payments a second."""
        return self.per_day / DAY

    @property
    def busiest(self) -> float:
        """Payments a second at the peak."""
        return self.peak * self.average


@attrs.frozen(kw_only=True)
class Part:
    """
    A part that can be full.

    Attributes:
        name: What it is, and how much of it.

        rate: Payments a second with which one of it is full.

        by_day: Whether a day's sum is what fills it, so that a peak makes no difference.
    """

    name: str
    rate: float
    by_day: bool = False

    def full_at(self, inputs: Inputs, *, peak: bool) -> float:
        """Return the payments a day with which one of it is full, on average or at the peak."""
        return self.rate * DAY / (inputs.peak if peak and not self.by_day else 1.0)

    def needed(self, inputs: Inputs) -> int:
        """Return how many of it the plan needs."""
        return math.ceil(inputs.per_day / self.full_at(inputs, peak=True))


def parts(inputs: Inputs) -> list[Part]:
    """Return all parts, first those that are full first at the peak."""
    given = [
        Part(
            name=f"the vendor's limit, if it is {inputs.vendor_rate:,.0f} requests a second",
            rate=inputs.vendor_rate / inputs.requests,
        ),
        Part(name="a worker process, on all of one core", rate=inputs.worker_rate),
        Part(
            name=f"a worker's {inputs.connections} connections, answers in "
            f"{1000 * inputs.latency:.0f} ms",
            rate=inputs.connections / inputs.latency / inputs.requests,
        ),
        Part(
            name=f"a worker's {inputs.connections} connections, answers in {inputs.slow:g} s",
            rate=inputs.connections / inputs.slow / inputs.requests,
        ),
        Part(
            name=f"max_ack_pending of {inputs.pending:,}, answers in "
            f"{1000 * inputs.latency:.0f} ms",
            rate=inputs.pending / inputs.latency / inputs.requests,
        ),
        Part(
            name=f"max_ack_pending of {inputs.pending:,}, answers in {inputs.slow:g} s",
            rate=inputs.pending / inputs.slow / inputs.requests,
        ),
        Part(
            name=f"a broker's disk of {inputs.disk / 1e9:.0f} GB, the queue of "
            f"{inputs.outage:g} h without the vendor",
            rate=inputs.disk / inputs.message_bytes / (inputs.outage * HOUR),
        ),
        Part(
            name=f"a broker's disk of {inputs.disk / 1e9:.0f} GB, the results of a day",
            rate=inputs.disk / inputs.message_bytes / DAY,
            by_day=True,
        ),
        Part(name="an enqueuer", rate=inputs.enqueuer_rate),
        Part(
            name=f"a Redis that limits all, {inputs.commands:g} commands a request",
            rate=inputs.redis_rate / inputs.commands / inputs.requests,
        ),
    ]
    return sorted(given, key=lambda part: part.full_at(inputs, peak=True))


@attrs.frozen(kw_only=True)
class Settings:
    """
    The settings that follow from the inputs.

    Attributes:
        inputs: What they are computed from.
    """

    inputs: Inputs

    @property
    def rate(self) -> float:
        """Requests a second to agree on with the vendor: what the peak needs."""
        return self.inputs.busiest * self.inputs.requests

    @property
    def workers(self) -> int:
        """Worker processes, one to spare."""
        return math.ceil(self.inputs.busiest / (self.inputs.worker_rate * self.inputs.used)) + 1

    @property
    def concurrency(self) -> int:
        """Messages that each holds, so that slow answers are no limit: another limiter is."""
        return math.ceil(self.rate * self.inputs.slow / self.workers)

    @property
    def unlimited_concurrency(self) -> int:
        """The same where nothing else limits them: twice what usual answers need."""
        return math.ceil(2 * self.rate * self.inputs.latency / self.workers)

    @property
    def max_ack_pending(self) -> int:
        """Messages that all hold, and as many that wait out a delay."""
        return 2 * self.workers * self.concurrency

    @property
    def backlog(self) -> float:
        """Messages that are queued after an outage at the peak."""
        return self.inputs.busiest * self.inputs.outage * HOUR

    @property
    def max_bytes(self) -> float:
        """Bytes for them, and a fifth more."""
        return 1.2 * self.backlog * self.inputs.message_bytes

    @property
    def caught_up(self) -> float:
        """Hours after which that backlog is worked off, where payments come as on average."""
        spare = self.inputs.busiest - self.inputs.average
        return self.backlog / spare / HOUR if spare > 0 else math.inf
