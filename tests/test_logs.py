from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from calls import CONFIRM, ONCE, PAY_CASE
from canaries import CREDENTIALS, HELD, REQUESTS, VENDORS, Seen
from carevalidate_async import (
    Attempt,
    AttemptEnded,
    CallEnded,
    CareValidateError,
    ConfigurationError,
    ConflictError,
    GaveUp,
    IdempotencyConflictError,
    Outcome,
    RateLimitError,
)
from carevalidate_async.integrations.logs import FIELDS, ClientLog
from carevalidate_async.sandbox import Fault, Sandbox
from raw_server import RawServer, answers

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "carevalidate_async.calls"
PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
CONFLICT = "confirm_payment: ConflictError"
TRIED = Attempt(number=1, duration=0.25, happened="InternalServerError", outcome=Outcome.UNKNOWN)


def ended(**facts: Any) -> CallEnded:
    """Return the end of a call."""
    return CallEnded(
        **{
            "operation": "confirm_payment",
            "idempotency_key": "key-1",
            "attempts": (TRIED,),
            "outcome": Outcome.RECORDED,
            "error": None,
            "cancelled": False,
            "elapsed": 0.5,
            **facts,
        }
    )


def fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what a record has beside what every record has."""
    return {name: value for name, value in vars(record).items() if name not in PLAIN}


def ours(records: Iterable[logging.LogRecord]) -> list[logging.LogRecord]:
    """Return the records of the hook."""
    return [record for record in records if record.name == NAME]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log, all of it."""
    caplog.set_level(logging.DEBUG, NAME)
    return caplog


class TestLogging:
    async def test_one_line_a_call(
        self, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """At INFO a call is one line: a sentence, and fields for machines."""
        caplog.set_level(logging.INFO, NAME)
        sandbox.script(Fault.REFUSE)
        async with CONFIRM.client(sandbox.url, hooks=[ClientLog()]) as care:
            answer = await CONFIRM.ask(care)

        (record,) = ours(caplog.records)
        found = fields(record)
        elapsed = found.pop("elapsed")
        assert isinstance(elapsed, float)
        assert {
            "operation": "confirm_payment",
            "outcome": "recorded",
            "attempts": 2,
            "http_status": 200,
            "method": "POST",
            "path": "/api/v1/customer-payment-confirmation",
            "origin": sandbox.url,
            "idempotency_key": answer.meta.idempotency_key,
        } == found
        assert (
            f"confirm_payment: done (2 attempts, {elapsed:.3f} s); "
            f"idempotency key {answer.meta.idempotency_key}"
        ) == record.getMessage()
        assert logging.INFO == record.levelno

    async def test_a_line_a_retry(self, sandbox: Sandbox, lines: pytest.LogCaptureFixture) -> None:
        """At DEBUG there is a line for each attempt that is followed by another."""
        sandbox.script(Fault.REFUSE, Fault.DROP_AFTER, Fault.HTML(status=200))
        async with CONFIRM.client(sandbox.url, hooks=[ClientLog()]) as care:
            await CONFIRM.ask(care)

        first, second, third, last = ours(lines.records)
        assert [logging.DEBUG, logging.DEBUG, logging.DEBUG, logging.INFO] == [
            record.levelno for record in (first, second, third, last)
        ]
        assert "attempt 1 met HTTP 503, trying again in 0.000 s" in first.getMessage()
        assert "attempt 2 met AnswerLostError, trying again" in second.getMessage()
        assert "attempt 3 met ResponseDecodeError (HTTP 200), trying" in third.getMessage()
        assert (1, 503, 0.0) == tuple(
            fields(first)[name] for name in ("attempt", "http_status", "delay")
        )
        assert "http_status" not in fields(second)
        assert "was on record already" in last.getMessage()
        assert fields(last)["already_recorded"] is True

    @pytest.mark.parametrize(
        ("event", "level", "sentence"),
        [
            (ended(), logging.INFO, "confirm_payment: done (1 attempt, 0.500 s)"),
            (
                ended(outcome=Outcome.UNKNOWN, error=ConflictError(gave_up=GaveUp.FINAL)),
                logging.ERROR,
                f"{CONFLICT}, outcome unknown (1 attempt, 0.500 s, gave up: final)",
            ),
            (
                ended(outcome=Outcome.REJECTED, error=RateLimitError(outcome=Outcome.REJECTED)),
                logging.WARNING,
                "confirm_payment: RateLimitError, outcome rejected (1 attempt, 0.500 s)",
            ),
            (
                ended(outcome=Outcome.RECORDED, error=IdempotencyConflictError()),
                logging.WARNING,
                "confirm_payment: IdempotencyConflictError, outcome recorded (1 attempt, 0.500 s)",
            ),
            (
                ended(outcome=Outcome.NOT_SENT, cancelled=True, attempts=()),
                logging.WARNING,
                "confirm_payment: cancelled, outcome not_sent (0 attempts, 0.500 s)",
            ),
            (
                ended(outcome=Outcome.UNKNOWN, cancelled=True),
                logging.ERROR,
                "confirm_payment: cancelled, outcome unknown (1 attempt, 0.500 s)",
            ),
        ],
    )
    def test_levels(
        self, event: CallEnded, level: int, sentence: str, lines: pytest.LogCaptureFixture
    ) -> None:
        """The level says how it stands with the money, and the sentence what happened."""
        ClientLog()(event)

        (record,) = lines.records
        assert (level, f"{sentence}; idempotency key key-1") == (
            *(record.levelno, record.getMessage()),
        )
        assert record.exc_info is None

    def test_without_the_key(self, lines: pytest.LogCaptureFixture) -> None:
        """The key is left out of sentence and fields where it shall be."""
        ClientLog(idempotency_key=False)(ended())

        assert "key" not in str(vars(lines.records[0]))

    def test_into_a_logger_of_ones_own(self, caplog: pytest.LogCaptureFixture) -> None:
        """Lines go where they shall, at levels that count there."""
        caplog.set_level(logging.WARNING, "billing")
        log = ClientLog(logging.getLogger("billing"))
        log(ended())
        log(ended(outcome=Outcome.UNKNOWN, cancelled=True))

        assert ["billing"] == [record.name for record in caplog.records]

    def test_not_into_an_adapter(self) -> None:
        """An adapter, which would take the fields away, is refused."""
        adapter: Any = logging.LoggerAdapter(logging.getLogger("billing"), {"a": 1})

        with pytest.raises(ConfigurationError, match="LoggerAdapter"):
            ClientLog(adapter)

    async def test_names_no_case(self, sandbox: Sandbox, lines: pytest.LogCaptureFixture) -> None:
        """The path has the name of its parameter."""
        async with PAY_CASE.client(sandbox.url, hooks=[ClientLog()]) as care:
            await PAY_CASE.ask(care)

        assert "/api/v1/cases/{case_id}/payments" == fields(lines.records[-1])["path"]


class TestStructlog:
    async def test_a_call(self, sandbox: Sandbox) -> None:
        """A logger of structlog is given an event's name and the same fields."""
        sandbox.script(Fault.REFUSE)
        with structlog.testing.capture_logs() as entries:
            log = ClientLog(structlog.get_logger())
            async with CONFIRM.client(sandbox.url, hooks=[log]) as care:
                answer = await CONFIRM.ask(care)

        retry, call = entries
        assert ("payment_retry", "debug", 1, 503) == tuple(
            retry[name] for name in ("event", "log_level", "attempt", "http_status")
        )
        assert ("payment_call", "info", 2, "recorded", answer.meta.idempotency_key) == tuple(
            call[name] for name in ("event", "log_level", "attempts", "outcome", "idempotency_key")
        )

    @pytest.mark.parametrize(
        "wrapper",
        [structlog.make_filtering_bound_logger(logging.INFO), structlog.stdlib.BoundLogger],
    )
    def test_every_kind_of_logger(self, wrapper: Any, lines: pytest.LogCaptureFixture) -> None:
        """Its own loggers, and those over `logging`, render each field."""
        logger = structlog.wrap_logger(
            logging.getLogger(NAME),
            processors=[structlog.processors.JSONRenderer()],
            wrapper_class=wrapper,
        )
        log = ClientLog(logger)
        log(ended(outcome=Outcome.UNKNOWN, cancelled=True))

        (record,) = lines.records
        line = json.loads(record.getMessage())
        assert logging.ERROR == record.levelno
        assert ("payment_call", "unknown", "cancelled") == tuple(
            line[name] for name in ("event", "outcome", "error_type")
        )

    async def test_not_an_asynchronous_one(self, sandbox: Sandbox) -> None:
        """What a logger that somebody had to await would lose is told of; its inner one is good."""
        logger: Any = structlog.stdlib.AsyncBoundLogger(
            logging.getLogger(NAME), processors=[structlog.stdlib.render_to_log_kwargs], context={}
        )
        with pytest.raises(TypeError, match="sync_bl"):
            ClientLog(logger)(ended())
        ClientLog(logger.sync_bl)(ended())


class TestFields:
    async def test_are_those_of_the_list(
        self, sandbox: Sandbox, lines: pytest.LogCaptureFixture
    ) -> None:
        """No line has a field that is not on the list, and the list has none that no line has."""
        sandbox.script(Fault.DROP_AFTER, Fault.OK, Fault.REFUSE)
        async with CONFIRM.client(sandbox.url, hooks=[ClientLog()]) as care:
            await CONFIRM.ask(care)
            with pytest.raises(CareValidateError):
                await CONFIRM.ask(care.with_options(retry=ONCE))

        assert set(FIELDS) == {name for record in ours(lines.records) for name in fields(record)}

    def test_clash_with_none_of_loggings_own(self) -> None:
        """`logging` refuses fields that have the name of one of its own."""
        assert set() == PLAIN & set(FIELDS)

    def test_none_is_left_out(self, lines: pytest.LogCaptureFixture) -> None:
        """What is not known is no field."""
        ClientLog()(ended(idempotency_key=None))

        assert None not in fields(lines.records[0]).values()
        assert "idempotency" not in lines.text

    @pytest.mark.parametrize("name", REQUESTS)
    @pytest.mark.parametrize("status", [200, 400, 409, 500])
    async def test_tell_of_nobody(
        self, name: str, status: int, lines: pytest.LogCaptureFixture
    ) -> None:
        """Whatever the vendor answers, and the request holds, is in no line and no field."""
        said = {"success": False, "message": HELD[name], "code": HELD[name], "error": HELD[name]}
        seen = Seen()
        async with (
            RawServer(answers(status, said)) as server,
            VENDORS[name](
                CREDENTIALS[name], base_url=server.url, retry=ONCE, hooks=[ClientLog()]
            ) as client,
        ):
            with pytest.raises(CareValidateError):
                await REQUESTS[name](client)
        seen.add_log(lines.records)

        assert 1 == len(ours(lines.records))
        assert [] == seen.planted()

    def test_of_a_last_attempt(self, lines: pytest.LogCaptureFixture) -> None:
        """An attempt that no other follows has no line of its own."""
        ClientLog()(AttemptEnded(operation="x", idempotency_key=None, attempt=TRIED))

        assert [] == lines.records
