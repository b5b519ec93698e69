"""
What clients, consumers and jobs do, as metrics for Prometheus.

::

    from prometheus_client import REGISTRY
    REGISTRY.register(ConsumerMetrics(payments.consumer))
    REGISTRY.register(calls := ClientMetrics())
    care = CareValidate(api_key, hooks=[calls])

Of consumers and jobs nothing is counted here: each scrape asks what there is. Calls are counted as
they happen, by a hook. No metric says anything of a payment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from carevalidate_async._extra import needs

with needs("metrics"):
    from prometheus_client import Counter, Gauge, Histogram
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector

from carevalidate_async.errors import Outcome
from carevalidate_async.hooks import AttemptEnded, CallEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client import Metric

    from carevalidate_async._run.counts import Counts
    from carevalidate_async.consumer import Consumer
    from carevalidate_async.errors import Attempt
    from carevalidate_async.hooks import Event

__all__ = ["BUCKETS", "ClientMetrics", "ConsumerMetrics", "JobMetrics"]

BUCKETS: Sequence[float] = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 120.0),
)
"""Upper bounds in seconds of what `ClientMetrics` measures: up to a call's default deadline."""


class ClientMetrics(Collector):
    """
    What the calls of clients do: a hook for any number of clients, and a collector for a registry.

    | metric | labels | what |
    |---|---|---|
    | ``carevalidate_calls_total`` | ``operation``, ``outcome``, ``error`` | calls that ended |
    | ``carevalidate_call_duration_seconds`` | ``operation`` | all attempts and delays included |
    | ``carevalidate_attempt_duration_seconds`` | ``operation``, ``result`` | attempts |
    | ``carevalidate_retries_total`` | ``operation``, ``after`` | attempts after a call's first |
    | ``carevalidate_retry_quota_tokens`` | ``origin`` | what pays for retries, as calls end |

    ``error`` is the error's class, ``cancelled``, or empty. ``result`` and ``after`` are the HTTP
    status, or what happened where there was none, or where a 2xx was no success. There are only so
    many of each.
    """

    wants: ClassVar[tuple[type[Event], ...]] = (AttemptEnded, CallEnded)

    def __init__(self) -> None:
        # Without a registry: this is what is registered.
        self._calls = Counter(
            "carevalidate_calls",
            "Calls by outcome",
            ["operation", "outcome", "error"],
            registry=None,
        )
        self._durations = Histogram(
            "carevalidate_call_duration_seconds",
            "Duration of calls",
            ["operation"],
            buckets=BUCKETS,
            registry=None,
        )
        self._attempts = Histogram(
            "carevalidate_attempt_duration_seconds",
            "Duration of attempts",
            ["operation", "result"],
            buckets=BUCKETS,
            registry=None,
        )
        self._retries = Counter(
            "carevalidate_retries",
            "Attempts after a call's first, by what the one before met",
            ["operation", "after"],
            registry=None,
        )
        self._tokens = Gauge(
            "carevalidate_retry_quota_tokens",
            "Tokens left to pay for retries, at the end of the latest call",
            ["origin"],
            registry=None,
            multiprocess_mode="livemin",  # of the process that is worst off, while it is there
        )

    def __call__(self, event: Event) -> None:
        """Count what happened."""
        operation = event.operation
        if isinstance(event, AttemptEnded):
            attempt = event.attempt
            self._attempts.labels(operation, _result(attempt)).observe(attempt.duration)
        elif isinstance(event, CallEnded):
            error = "" if event.error is None else type(event.error).__name__
            error = "cancelled" if event.cancelled else error
            self._calls.labels(operation, event.outcome.value, error).inc()
            self._durations.labels(operation).observe(event.elapsed)
            for before in event.attempts[:-1]:
                self._retries.labels(operation, _result(before)).inc()
            if event.quota_tokens is not None:
                self._tokens.labels(event.call.origin).set(event.quota_tokens)

    def collect(self) -> Iterable[Metric]:
        """Give the metrics, as prometheus_client asks for them."""
        for metric in (self._calls, self._durations, self._attempts, self._retries, self._tokens):
            yield from metric.collect()


def _result(attempt: Attempt) -> str:
    status = attempt.status
    failed = status is None or (status < 300 and attempt.outcome is not Outcome.RECORDED)
    return attempt.happened if failed else str(status)


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
