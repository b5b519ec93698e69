"""
Calls and their attempts, as traces and metrics of OpenTelemetry.

::

    care = CareValidate(api_key, hooks=[ClientTelemetry()])

It needs the API package alone, and does nothing until the program sets up an SDK. A call is a span
with one span for each of its attempts below it; attempts follow the conventions for HTTP clients.
Nothing here holds the request, the answer, a vendor's words or an id in a path: those are about
people. An idempotency key is, too, where it was made from personal data; it can be left out.

Source: OpenTelemetry semantic conventions, HTTP spans and HTTP metrics (stable).
"""

from __future__ import annotations

import functools
import re
import time
from typing import TYPE_CHECKING, ClassVar, assert_never
from urllib.parse import urlsplit

import attrs

from carevalidate_async._extra import needs

with needs("otel"):
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from carevalidate_async._version import __version__
from carevalidate_async.errors import Outcome
from carevalidate_async.hooks import AttemptEnded, CallEnded, CallInfo, CallStarted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

    from carevalidate_async.errors import Attempt
    from carevalidate_async.hooks import Event

__all__ = ["ATTEMPT_BUCKETS", "CALL_BUCKETS", "ClientTelemetry"]

ATTEMPT_BUCKETS: Sequence[float] = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
"""Upper bounds in seconds of the attempts' durations, as the conventions recommend them."""

CALL_BUCKETS: Sequence[float] = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)
"""Upper bounds in seconds of the calls' durations, up to the default deadline."""

_SCHEMA = "https://opentelemetry.io/schemas/1.30.0"
_PARAMETER = re.compile(r"\{[^{}]*\}")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@attrs.frozen(kw_only=True)
class _Open:
    """
    A call under way.

    Attributes:
        span: Its span.

        context: Makes that span the parent.

        began: When it began, in nanoseconds of POSIX time.
    """

    span: Span
    context: Context
    began: int


class ClientTelemetry:
    """
    A hook that makes spans and metrics of calls; one can serve any number of clients.

    A call's span is of the kind INTERNAL and has the operation's name; its parent is the span that
    was the current one where the call was made. Each attempt is a span of the kind CLIENT below it,
    made when the attempt has ended, with the times at which it began and ended.

    | instrument | kind | what |
    |---|---|---|
    | ``http.client.request.duration`` | histogram, seconds | attempts |
    | ``carevalidate.call.duration`` | histogram, seconds | calls, retries and delays included |
    | ``carevalidate.calls`` | counter | calls by operation and outcome |
    | ``carevalidate.retries`` | counter | attempts after a call's first, by what came before |
    | ``carevalidate.retry_quota.tokens`` | gauge | what pays for retries, as calls end |

    Args:
        tracer_provider: Gives the tracer; the global one by default.

        meter_provider: Gives the meter; the global one by default.

        idempotency_key: Whether spans say a call's key. Metrics never do.
    """

    wants: ClassVar[tuple[type[Event], ...]] = (CallStarted, AttemptEnded, CallEnded)

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        idempotency_key: bool = True,
    ) -> None:
        name = "carevalidate_async"
        self._tracer = trace.get_tracer(name, __version__, tracer_provider, schema_url=_SCHEMA)
        meter = metrics.get_meter(name, __version__, meter_provider, schema_url=_SCHEMA)
        self._with_key = idempotency_key
        self._open: dict[CallInfo, _Open] = {}
        self._requests = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=ATTEMPT_BUCKETS,
        )
        self._durations = meter.create_histogram(
            "carevalidate.call.duration",
            "s",
            "Duration of calls, all attempts and delays included.",
            explicit_bucket_boundaries_advisory=CALL_BUCKETS,
        )
        self._calls = meter.create_counter("carevalidate.calls", "{call}", "Calls by outcome.")
        self._retries = meter.create_counter(
            "carevalidate.retries", "{attempt}", "Attempts after a call's first."
        )
        self._tokens = meter.create_gauge(
            "carevalidate.retry_quota.tokens", "{token}", "Tokens left to pay for retries."
        )

    def __call__(self, event: Event) -> None:
        """Take in what happened."""
        match event:
            case CallStarted():
                self._start(event)
            case AttemptEnded():
                self._attempt(event)
            case CallEnded():
                self._end(event)
            case _:
                assert_never(event)

    def _start(self, event: CallStarted) -> None:
        began = time.time_ns()
        attributes = {"carevalidate.operation": event.operation, **_server(event.call.origin)}
        if self._with_key and event.idempotency_key is not None:
            attributes["carevalidate.idempotency_key"] = event.idempotency_key
        span = self._tracer.start_span(event.operation, attributes=attributes, start_time=began)
        context = trace.set_span_in_context(span)
        self._open[event.call] = _Open(span=span, context=context, began=began)

    def _attempt(self, event: AttemptEnded) -> None:
        ended = time.time_ns()
        attempt, call = event.attempt, event.call
        opened = self._open.get(call)
        parent = None if opened is None else opened.context
        facts = {
            "http.request.method": call.method,
            "url.template": call.path,
            **_server(call.origin),
        }
        if attempt.status is not None:
            facts["http.response.status_code"] = attempt.status
        failed = _error_type(attempt)
        if failed is not None:
            facts["error.type"] = failed
        self._requests.record(attempt.duration, facts, context=parent)
        if opened is None:
            return  # It began before this hook was there.
        began = max(opened.began, ended - round(attempt.duration * 1e9))
        span = self._tracer.start_span(
            f"{call.method} {call.path}",
            opened.context,
            SpanKind.CLIENT,
            {
                **facts,
                # The path may name a case.
                "url.full": call.origin + _PARAMETER.sub("REDACTED", call.path),
                **_of_attempt(attempt),
            },
            start_time=began,
        )
        if failed is not None:
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    def _end(self, event: CallEnded) -> None:
        opened = self._open.pop(event.call, None)
        context = None if opened is None else opened.context
        facts: dict[str, AttributeValue] = {
            "carevalidate.operation": event.operation,
            "carevalidate.outcome": event.outcome.value,
        }
        failed = "cancelled" if event.cancelled else type(event.error).__name__
        if event.cancelled or event.error is not None:
            facts["error.type"] = failed
        if opened is not None:
            self._close(opened.span, event, facts)
        self._durations.record(event.elapsed, facts, context=context)
        self._calls.add(1, facts, context=context)
        for before in event.attempts[:-1]:
            why = _error_type(before) or before.happened
            about = {"carevalidate.operation": event.operation, "error.type": why}
            self._retries.add(1, about, context=context)
        if event.quota_tokens is not None:
            self._tokens.set(event.quota_tokens, _server(event.call.origin), context=context)

    def _close(self, span: Span, event: CallEnded, facts: Mapping[str, AttributeValue]) -> None:
        about = {
            **facts,
            "carevalidate.attempts": len(event.attempts),
            "carevalidate.already_recorded": event.already_recorded,
        }
        if event.quota_tokens is not None:
            about["carevalidate.retry_quota.tokens"] = event.quota_tokens
        if event.error is not None and event.error.gave_up is not None:
            about["carevalidate.gave_up"] = event.error.gave_up.value
        span.set_attributes(about)
        if "error.type" in facts:
            # In our own words: the error's text may hold the vendor's.
            span.set_status(Status(StatusCode.ERROR, f"outcome: {event.outcome}"))
        span.end()


@functools.lru_cache(maxsize=64)
def _server(origin: str) -> Mapping[str, AttributeValue]:
    parts = urlsplit(origin)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    return {"server.address": parts.hostname or "", "server.port": port}


def _of_attempt(attempt: Attempt) -> dict[str, AttributeValue]:
    """Return what the conventions have no name for, and the number of a resend."""
    facts: dict[str, AttributeValue] = {
        "carevalidate.outcome": attempt.outcome.value,
        "carevalidate.attempt.queued": attempt.queued,
    }
    if attempt.number > 1:
        facts["http.request.resend_count"] = attempt.number - 1
    if attempt.delay is not None:
        facts["carevalidate.attempt.delay"] = attempt.delay
    return facts


def _error_type(attempt: Attempt) -> str | None:
    """Return why an attempt failed, as HTTP sees it: 409 is a failure, whatever it tells."""
    if attempt.status is not None and attempt.status >= 400:
        return str(attempt.status)
    return None if attempt.outcome is Outcome.RECORDED else attempt.happened
