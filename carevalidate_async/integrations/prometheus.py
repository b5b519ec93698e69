"""
What consumers and jobs do, as metrics for Prometheus.

::

    from prometheus_client import REGISTRY
    REGISTRY.register(ConsumerMetrics(payments.consumer))

Nothing is counted here: each scrape asks what there is. No metric says anything of a payment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric

    from carevalidate_async._run.counts import Counts
    from carevalidate_async.consumer import Consumer

__all__ = ["ConsumerMetrics", "JobMetrics"]


class ConsumerMetrics(Collector):
    """
    What one consumer has done so far.

    Args:
        consumer: That one.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def collect(self) -> Iterable[Metric]:
        """Give the metrics, as prometheus_client asks for them."""
        seen = self._consumer.consumption()
        decided = CounterMetricFamily(
            "carevalidate_deliveries", "Deliveries by what was done with them", labels=["action"]
        )
        for action, count in seen.decided.items():
            decided.add_metric([str(action)], count)
        yield decided
        yield CounterMetricFamily(
            "carevalidate_redeliveries", "Deliveries after a message's first", seen.redelivered
        )
        yield CounterMetricFamily(
            "carevalidate_failures", "Deliveries that ended in an error", seen.failed
        )
        yield GaugeMetricFamily("carevalidate_held", "Messages held at the moment", seen.held)
        yield GaugeMetricFamily(
            "carevalidate_oldest_held_seconds", "Since the oldest of those was taken", seen.oldest
        )
        yield GaugeMetricFamily(
            "carevalidate_waiting",
            "1 while the vendor is waited for",
            float(seen.waiting is not None),
        )
        yield GaugeMetricFamily(
            "carevalidate_stopped",
            "1 once no further message is taken",
            float(seen.stopped_by is not None),
        )


class Queue(Protocol):
    """A queue at one moment; `carevalidate_async._jobs.collect.Queue` says what is what."""

    @property
    def waiting(self) -> int: ...

    @property
    def in_flight(self) -> int: ...

    @property
    def redelivered(self) -> int: ...

    @property
    def oldest_unknown(self) -> float | None: ...


class JobMetrics(Collector):
    """
    Where the rows of one job are, and how the workers' queue is.

    Args:
        counts: Gives where the rows are.

        queue: Gives the queue.
    """

    def __init__(self, counts: Callable[[], Counts], queue: Callable[[], Queue]) -> None:
        self._counts = counts
        self._queue = queue

    def collect(self) -> Iterable[Metric]:
        """Give the metrics, as prometheus_client asks for them."""
        counts, queue = self._counts(), self._queue()
        rows = GaugeMetricFamily(
            "carevalidate_job_rows", "Rows of the job by what they are counted as", labels=["as"]
        )
        for name in (
            *("confirmed", "already_recorded", "rejected", "invalid", "duplicates", "unknown"),
        ):
            rows.add_metric([name], getattr(counts, name))
        yield rows
        yield GaugeMetricFamily("carevalidate_job_requests", "Requests so far", counts.attempts)
        yield GaugeMetricFamily("carevalidate_queue_lag", "Rows nobody has taken", queue.waiting)
        yield GaugeMetricFamily(
            "carevalidate_queue_in_flight", "Rows held, or given back for later", queue.in_flight
        )
        yield GaugeMetricFamily(
            "carevalidate_queue_redelivered", "Of those, delivered before", queue.redelivered
        )
        yield GaugeMetricFamily(
            "carevalidate_job_oldest_unknown_seconds",
            "Since the oldest row in doubt was asked for",
            queue.oldest_unknown or 0.0,
        )
