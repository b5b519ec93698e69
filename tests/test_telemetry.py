from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry, generate_latest, multiprocess

from calls import AT_ONCE, CALLS, CASE, CONFIRM, INTEND, ONCE, PAY_CASE, PAYMENT, Calling, settle
from canaries import CREDENTIALS, HELD, REQUESTS, VENDORS, Seen
from carevalidate_async import (
    AnswerLostError,
    APIConnectionError,
    Attempt,
    AttemptEnded,
    CallEnded,
    CallInfo,
    CallStarted,
    CareValidate,
    CareValidateError,
    Outcome,
    PaymentConfirmation,
)
from carevalidate_async.bulk import confirm_payments
from carevalidate_async.integrations.opentelemetry import ATTEMPT_BUCKETS, ClientTelemetry
from carevalidate_async.integrations.prometheus import ClientMetrics
from carevalidate_async.sandbox import Fault, Sandbox
from raw_server import RawServer, answers

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from carevalidate_async.hooks import Event

TEMPLATE = "/api/v1/customer-payment-confirmation"


class Told:
    """What a program that has set up an SDK would export."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])

    def hook(self, **options: Any) -> ClientTelemetry:
        return ClientTelemetry(tracer_provider=self.traces, meter_provider=self.meters, **options)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def calls(self) -> list[ReadableSpan]:
        return [span for span in self.spans if "carevalidate.operation" in (span.attributes or {})]

    def attempts(self, call: ReadableSpan | None = None) -> list[ReadableSpan]:
        """Return the attempts' spans, or those below one call's."""
        return [
            span
            for span in self.spans
            if span.kind is SpanKind.CLIENT
            and (call is None or (span.parent and span.parent.span_id == call.context.span_id))
        ]

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Return attributes and data of each point of a metric."""
        data = self.reader.get_metrics_data()
        return [
            (dict(point.attributes or {}), point)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def text(self) -> str:
        """Return all that would be exported, as text."""
        data = self.reader.get_metrics_data()
        return "\n".join([*(span.to_json() for span in self.spans), data.to_json() if data else ""])


@pytest.fixture
def told() -> Iterator[Told]:
    """An SDK of its own, which keeps what it would export."""
    sdk = Told()
    yield sdk
    sdk.traces.shutdown()
    sdk.meters.shutdown()


def attribute(spans: list[ReadableSpan], name: str) -> list[object]:
    """Return an attribute of each span, None where it has none."""
    return [(span.attributes or {}).get(name) for span in spans]


class TestCallInfo:
    @pytest.mark.parametrize(
        ("url", "template", "origin", "path"),
        [
            ("https://a.example/x/y", "/x/y", "https://a.example", "/x/y"),
            ("https://a.example/x/7/y", "/x/{id}/y", "https://a.example", "/x/{id}/y"),
            ("http://[::1]:80/p/q/x/7", "/x/{id}", "http://[::1]:80", "/p/q/x/{id}"),
        ],
    )
    def test_names_nobody(self, url: str, template: str, origin: str, path: str) -> None:
        """The path has the parameters' names, behind the path of the base URL, if it has one."""
        info = CallInfo.of(method="PUT", url=url, template=template)

        assert ("PUT", origin, path) == (info.method, info.origin, info.path)

    @pytest.mark.parametrize("call", CALLS, ids=repr)
    async def test_of_every_operation(self, call: Calling, sandbox: Sandbox) -> None:
        """All events of a call hold one object, which says where the operation goes."""
        events: list[Event] = []
        async with call.client(sandbox.url, hooks=[events.append]) as client:
            await call.ask(client)

        infos = {event.call for event in events}
        assert (3, 1) == (len(events), len(infos))
        (info,) = infos
        operation = call.operation
        assert (operation.method, sandbox.url, operation.path) == (
            *(info.method, info.origin, info.path),
        )

    async def test_tells_calls_apart(self, sandbox: Sandbox) -> None:
        """Calls that are equal in all else are told apart."""
        events: list[Event] = []
        async with CONFIRM.client(sandbox.url, hooks=[events.append]) as care:
            await asyncio.gather(*[CONFIRM.ask(care) for _ in range(5)])

        assert [3] * 5 == list(Counter(event.call for event in events).values())

    async def test_costs_nothing_without_hooks(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A call that nobody watches makes none."""
        monkeypatch.delattr(CallInfo, "of")
        async with CONFIRM.client(sandbox.url) as care:
            await CONFIRM.ask(care)

        assert 1 == len(sandbox.payments)

    async def test_of_the_quota_and_the_duplicate(self, sandbox: Sandbox) -> None:
        """The end says what the quota has left, and that the record was there already."""
        events: list[Event] = []
        sandbox.script(Fault.DROP_AFTER)
        async with CONFIRM.client(sandbox.url, hooks=[events.append]) as care:
            await CONFIRM.ask(care)
            await CONFIRM.ask(care)

        first, second = (event for event in events if isinstance(event, CallEnded))
        assert (True, 500) == (first.already_recorded, first.quota_tokens)
        assert (False, 500) == (second.already_recorded, second.quota_tokens)

    async def test_without_a_quota(self, sandbox: Sandbox) -> None:
        """Where there is no quota, nothing is said of it."""
        events: list[Event] = []
        async with CONFIRM.client(sandbox.url, hooks=[events.append], retry_quota=None) as care:
            await CONFIRM.ask(care)

        assert isinstance(events[-1], CallEnded)
        assert events[-1].quota_tokens is None


class TestSpans:
    async def test_of_a_retried_call(self, sandbox: Sandbox, told: Told) -> None:
        """A call is one span, and each attempt that the server saw is a span below it."""
        sandbox.script(Fault.DROP_AFTER, Fault.RATE_LIMIT(retry_after=0))
        async with CONFIRM.client(sandbox.url, hooks=[told.hook()]) as care:
            answer = await CONFIRM.ask(care)

        (call,) = told.calls
        attempts = told.attempts(call)
        assert sandbox.received == len(attempts) == 3
        assert len(told.spans) == 4
        assert [None, 429, 409] == attribute(attempts, "http.response.status_code")
        assert ["AnswerLostError", "429", "409"] == attribute(attempts, "error.type")
        assert [None, 1, 2] == attribute(attempts, "http.request.resend_count")
        assert ["unknown", "rejected", "recorded"] == attribute(attempts, "carevalidate.outcome")
        assert [a.delay for a in answer.meta.attempts] == attribute(
            attempts, "carevalidate.attempt.delay"
        )
        assert {(StatusCode.ERROR, None)} == {
            (span.status.status_code, span.status.description) for span in attempts
        }
        port = int(sandbox.url.rpartition(":")[2])
        for span in attempts:
            assert f"POST {TEMPLATE}" == span.name
            facts = span.attributes or {}
            assert ("POST", TEMPLATE, "127.0.0.1", port, sandbox.url + TEMPLATE) == tuple(
                facts[name]
                for name in (
                    *("http.request.method", "url.template"),
                    *("server.address", "server.port", "url.full"),
                )
            )
        assert {
            "carevalidate.operation": "confirm_payment",
            "carevalidate.idempotency_key": answer.meta.idempotency_key,
            "carevalidate.outcome": "recorded",
            "carevalidate.attempts": 3,
            "carevalidate.already_recorded": True,
            "carevalidate.retry_quota.tokens": 495,
            "server.address": "127.0.0.1",
            "server.port": port,
        } == dict(call.attributes or {})
        assert ("confirm_payment", None) == (call.name, call.parent)
        assert StatusCode.UNSET is call.status.status_code

    async def test_times(self, sandbox: Sandbox, told: Told) -> None:
        """Attempts lie one after the other within their call, as long as they took."""
        sandbox.script(Fault.REFUSE, Fault.HTML)
        async with CONFIRM.client(sandbox.url, hooks=[told.hook()]) as care:
            answer = await CONFIRM.ask(care)

        (call,) = told.calls
        assert [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET] == [
            span.status.status_code for span in told.attempts(call)
        ]
        times = [(span.start_time or 0, span.end_time or 0) for span in told.attempts(call)]
        moments = [call.start_time or 0, *(time for pair in times for time in pair)]
        slack = 50_000_000  # Moments are of one clock, durations of another.
        assert all(one <= other + slack for one, other in itertools.pairwise(moments))
        assert (call.start_time or 0) <= times[0][0]
        assert times[-1][1] <= (call.end_time or 0)
        for (start, end), attempt in zip(times, answer.meta.attempts, strict=True):
            assert end - start <= round(attempt.duration * 1e9)

    async def test_of_a_call_that_fails(self, sandbox: Sandbox, told: Told) -> None:
        """A call that raises is a failed span, which says in our own words how it stands."""
        sandbox.script(Fault.DROP_AFTER)
        async with CONFIRM.client(sandbox.url, hooks=[told.hook()], retry=ONCE) as care:
            with pytest.raises(AnswerLostError):
                await CONFIRM.ask(care)

        (call,) = told.calls
        assert (StatusCode.ERROR, "outcome: unknown") == (
            *(call.status.status_code, call.status.description),
        )
        assert [["AnswerLostError"], ["unknown"], ["max_attempts"]] == [
            attribute([call], name)
            for name in ("error.type", "carevalidate.outcome", "carevalidate.gave_up")
        ]
        assert () == call.events  # No exception is recorded: its text may hold the vendor's words.

    async def test_without_a_connection(self, told: Told) -> None:
        """An attempt that reached nobody has no status, and says what was in the way."""
        async with Sandbox() as gone:
            url = gone.url
        async with CONFIRM.client(url, hooks=[told.hook()], retry=ONCE) as care:
            with pytest.raises(APIConnectionError):
                await CONFIRM.ask(care)

        assert ["APIConnectionError"] == attribute(told.attempts(), "error.type")
        assert [None] == attribute(told.attempts(), "http.response.status_code")

    async def test_of_a_cancelled_call(self, sandbox: Sandbox, told: Told) -> None:
        """A cancelled call ends its span, with the attempt that was on the wire."""
        sandbox.script(Fault.HANG_AFTER)
        async with CONFIRM.client(sandbox.url, hooks=[told.hook()]) as care:
            task = asyncio.create_task(CONFIRM.ask(care))
            while not sandbox.payments:
                await settle()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        (call,) = told.calls
        assert StatusCode.ERROR is call.status.status_code
        assert [("cancelled", "unknown")] * 2 == list(
            zip(
                attribute([call, *told.attempts(call)], "error.type"),
                attribute([call, *told.attempts(call)], "carevalidate.outcome"),
                strict=True,
            )
        )

    async def test_that_are_concurrent(self, told: Told) -> None:
        """Calls at one time do not mix: each span below a call is an attempt under its key."""
        faults = {Fault.DROP_AFTER: 0.2, Fault.REFUSE: 0.2, Fault.HTML: 0.2}
        tracer = told.traces.get_tracer("a program")

        async def ask(care: CareValidate, number: int) -> tuple[str, int]:
            with tracer.start_as_current_span(f"order {number}") as order:
                await asyncio.gather(CONFIRM.ask(care), return_exceptions=True)
                return f"order {number}", order.get_span_context().span_id

        hook = told.hook()
        async with Sandbox(seed=4, faults=faults) as sandbox:
            async with CareValidate(
                "test", base_url=sandbox.url, retry=AT_ONCE, hooks=[hook]
            ) as care:
                orders = dict(await asyncio.gather(*[ask(care, n) for n in range(40)]))
            asked = Counter(json.loads(body)["idempotencyKey"] for body in sandbox.bodies)

        assert 40 == len(told.calls) == len(asked)
        assert asked.total() > 60
        assert asked == Counter(
            {
                str((call.attributes or {})["carevalidate.idempotency_key"]): len(
                    told.attempts(call)
                )
                for call in told.calls
            }
        )
        assert sorted(orders.values()) == sorted(
            call.parent.span_id for call in told.calls if call.parent
        )
        assert {} == hook._open

    async def test_in_bulk(self, sandbox: Sandbox, told: Told) -> None:
        """The calls of a run are below the span that was current where it began."""
        sandbox.script(Fault.REFUSE, Fault.OK, Fault.DROP_AFTER)
        payments = [
            PaymentConfirmation(
                case_id=f"case-{number}",
                amount=PAYMENT.amount,
                payment_date=PAYMENT.payment_date,
                valid_until=PAYMENT.valid_until,
                status="PAID",
            )
            for number in range(10)
        ]
        async with CONFIRM.client(sandbox.url, hooks=[told.hook()]) as care:
            assert isinstance(care, CareValidate)
            with told.traces.get_tracer("a program").start_as_current_span("run") as run:
                rows = [row async for row in confirm_payments(care, payments, pause=0)]

        assert {Outcome.RECORDED} == {row.outcome for row in rows}
        assert sandbox.received == len(told.attempts()) > 10
        assert {run.get_span_context().span_id} == {
            call.parent.span_id for call in told.calls if call.parent
        }

    async def test_without_the_key(self, sandbox: Sandbox, told: Told) -> None:
        """The key is left out where it shall be, and where an operation has none."""
        async with CONFIRM.client(sandbox.url, hooks=[told.hook(idempotency_key=False)]) as care:
            answer = await CONFIRM.ask(care)
        async with INTEND.client(sandbox.url, hooks=[told.hook()]) as care:
            await INTEND.ask(care)

        assert [None, None] == attribute(told.calls, "carevalidate.idempotency_key")
        assert str(answer.meta.idempotency_key) not in told.text()

    async def test_of_a_path_with_an_id(self, sandbox: Sandbox, told: Told) -> None:
        """The id of a case stands nowhere; where the whole URL is due it is blanked out."""
        async with PAY_CASE.client(sandbox.url, hooks=[told.hook()]) as care:
            await PAY_CASE.ask(care)

        assert [f"{sandbox.url}/api/v1/cases/REDACTED/payments"] == attribute(
            told.attempts(), "url.full"
        )
        assert CASE not in told.text()

    @pytest.mark.parametrize("name", REQUESTS)
    @pytest.mark.parametrize("status", [200, 400, 409, 500])
    async def test_tell_of_nobody(self, name: str, status: int, told: Told) -> None:
        """Whatever the vendor answers, and the request holds, is in no span and no metric."""
        said = {"success": False, "message": HELD[name], "code": HELD[name], "error": HELD[name]}
        seen = Seen()
        registry = CollectorRegistry()
        registry.register(counted := ClientMetrics())
        async with (
            RawServer(answers(status, said)) as server,
            VENDORS[name](
                CREDENTIALS[name],
                base_url=server.url,
                retry=ONCE,
                hooks=[told.hook(idempotency_key=False), counted],
            ) as client,
        ):
            with pytest.raises(CareValidateError):
                await REQUESTS[name](client)
        seen.add("OpenTelemetry", told.text())
        seen.add("Prometheus", generate_latest(registry))

        assert name in told.text()
        assert [] == seen.planted()


class TestMetrics:
    async def test_of_calls(self, sandbox: Sandbox, told: Told) -> None:
        """Attempts, calls and retries are counted as the server saw them."""
        sandbox.script(Fault.DROP_AFTER, Fault.RATE_LIMIT(retry_after=0), Fault.OK, Fault.OK)
        sandbox.script(Fault.REDIRECT)
        async with CONFIRM.client(sandbox.url, hooks=[told.hook()]) as care:
            await CONFIRM.ask(care)
            await CONFIRM.ask(care)
            with pytest.raises(CareValidateError):
                await CONFIRM.ask(care)

        # First, since older SDKs tell a gauge only once.
        ((facts, tokens),) = told.points("carevalidate.retry_quota.tokens")
        assert (496, "127.0.0.1") == (tokens.value, facts["server.address"])
        requests = told.points("http.client.request.duration")
        assert sandbox.received == sum(point.count for _, point in requests) == 5
        assert {(None, "AnswerLostError"), (429, "429"), (409, "409"), (200, None)} | {
            (302, "APIStatusError")
        } == {
            (facts.get("http.response.status_code"), facts.get("error.type"))
            for facts, _ in requests
        }
        assert {ATTEMPT_BUCKETS} == {point.explicit_bounds for _, point in requests}
        assert {("recorded", None): 2, ("unknown", "APIStatusError"): 1} == {
            (facts["carevalidate.outcome"], facts.get("error.type")): point.value
            for facts, point in told.points("carevalidate.calls")
        }
        assert {"AnswerLostError": 1, "429": 1} == {
            facts["error.type"]: point.value for facts, point in told.points("carevalidate.retries")
        }
        assert 3 == sum(p.count for _, p in told.points("carevalidate.call.duration"))
        assert "idempotency" not in str(told.reader.get_metrics_data())

    def test_of_a_call_that_began_before(self, told: Told) -> None:
        """What ends without having begun is measured, and has no span."""
        hook = told.hook()
        attempt = Attempt(number=1, duration=0.2, happened="ok", outcome=Outcome.RECORDED)
        hook(AttemptEnded(operation="x", idempotency_key=None, attempt=attempt))
        hook(
            CallEnded(
                operation="x",
                idempotency_key=None,
                attempts=(attempt,),
                outcome=Outcome.RECORDED,
                error=None,
                cancelled=False,
                elapsed=0.2,
            )
        )

        assert () == told.spans
        assert [1] == [point.count for _, point in told.points("http.client.request.duration")]

    async def test_without_an_sdk(self, sandbox: Sandbox) -> None:
        """A program that has set up nothing is told nothing, and its calls go on as ever."""
        hook = ClientTelemetry(
            tracer_provider=trace.NoOpTracerProvider(),
            meter_provider=metrics.NoOpMeterProvider(),
        )
        sandbox.script(Fault.REFUSE)
        async with CONFIRM.client(sandbox.url, hooks=[hook]) as care:
            answer = await CONFIRM.ask(care)

        assert 2 == len(answer.meta.attempts)

    async def test_by_default(self, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
        """Without providers of its own the hook takes the program's, whichever they are."""
        async with CONFIRM.client(sandbox.url, hooks=[ClientTelemetry()]) as care:
            await CONFIRM.ask(care)

        assert [] == caplog.messages


class TestPrometheus:
    async def test_of_calls(self, sandbox: Sandbox) -> None:
        """A scrape gives what the server saw: attempts, calls, retries, and what pays for them."""
        registry = CollectorRegistry()
        registry.register(counted := ClientMetrics())
        sandbox.script(Fault.DROP_AFTER, Fault.RATE_LIMIT(retry_after=0), Fault.OK, Fault.REDIRECT)
        async with CONFIRM.client(sandbox.url, hooks=[counted]) as care:
            await CONFIRM.ask(care)
            with pytest.raises(CareValidateError):
                await CONFIRM.ask(care)
        value = registry.get_sample_value
        about = {"operation": "confirm_payment"}

        assert {"AnswerLostError": 1, "429": 1, "409": 1, "302": 1} == {
            result: value(
                "carevalidate_attempt_duration_seconds_count", {**about, "result": result}
            )
            for result in ("AnswerLostError", "429", "409", "302")
        }
        assert sandbox.received == 4
        assert 1 == value("carevalidate_calls_total", {**about, "outcome": "recorded", "error": ""})
        assert 1 == value(
            "carevalidate_calls_total", {**about, "outcome": "unknown", "error": "APIStatusError"}
        )
        assert 2 == value("carevalidate_call_duration_seconds_count", about)
        for after in ("AnswerLostError", "429"):
            assert 1 == value("carevalidate_retries_total", {**about, "after": after})
        assert 495 == value("carevalidate_retry_quota_tokens", {"origin": sandbox.url})

    async def test_of_a_cancelled_call(self) -> None:
        """A cancelled call is counted as such."""
        registry = CollectorRegistry()
        registry.register(counted := ClientMetrics())
        counted(
            CallEnded(
                operation="x",
                idempotency_key=None,
                attempts=(),
                outcome=Outcome.NOT_SENT,
                error=None,
                cancelled=True,
                elapsed=0.2,
            )
        )

        facts = {"operation": "x", "outcome": "not_sent", "error": "cancelled"}
        assert 1 == registry.get_sample_value("carevalidate_calls_total", facts)

    async def test_of_an_answer_that_cannot_be_read(self, sandbox: Sandbox) -> None:
        """An attempt that a 200 left in doubt does not count as one that a 200 settled."""
        registry = CollectorRegistry()
        registry.register(counted := ClientMetrics())
        sandbox.script(Fault.HTML(status=200))
        async with CONFIRM.client(sandbox.url, hooks=[counted]) as care:
            await CONFIRM.ask(care)

        about = {"operation": "confirm_payment"}
        for name, facts in {
            "attempt_duration_seconds_count": {"result": "ResponseDecodeError"},
            "retries_total": {"after": "ResponseDecodeError"},
        }.items():
            assert 1 == registry.get_sample_value(f"carevalidate_{name}", {**about, **facts})

    def test_of_a_process_that_ended(self, tmp_path: pathlib.Path) -> None:
        """Of several processes the quota of one that ended is forgotten."""
        code = """if True:
            import os, sys
            from carevalidate_async import CallEnded, Outcome
            from carevalidate_async.integrations.prometheus import ClientMetrics
            facts = {"operation": "x", "idempotency_key": None, "attempts": (), "error": None}
            facts |= {"outcome": Outcome.RECORDED, "cancelled": False, "elapsed": 0.1}
            ClientMetrics()(CallEnded(**facts, quota_tokens=int(sys.argv[1])))
            print(os.getpid())"""
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        first, _ = (
            subprocess.check_output([sys.executable, "-c", code, left], env=environment)
            for left in ("0", "500")
        )
        registry = CollectorRegistry()
        # Its own function has no types.
        multiprocess.MultiProcessCollector(registry, str(tmp_path))  # type: ignore[no-untyped-call]
        value = registry.get_sample_value

        assert 0 == value("carevalidate_retry_quota_tokens", {"origin": ""})
        multiprocess.mark_process_dead(int(first), str(tmp_path))  # type: ignore[no-untyped-call]
        assert 500 == value("carevalidate_retry_quota_tokens", {"origin": ""})

    def test_two_of_them(self) -> None:
        """Each counts for itself, and needs no registry to do so."""
        one, other = ClientMetrics(), ClientMetrics()
        attempt = Attempt(number=1, duration=0.2, happened="ok", outcome=Outcome.RECORDED)
        one(CallStarted(operation="x", idempotency_key=None))
        one(AttemptEnded(operation="x", idempotency_key=None, attempt=attempt))

        assert [] == [sample for metric in other.collect() for sample in metric.samples]
        assert 1 == len([m for m in one.collect() if m.samples])
