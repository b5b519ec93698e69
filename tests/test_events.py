from __future__ import annotations

import asyncio
import io
import json
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import attrs
import pytest

from carevalidate_async import (
    AnswerLostError,
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CareValidate,
    CareValidateError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    IdempotencyConflictError,
    InternalServerError,
    InvalidRequestError,
    Outcome,
    PaymentConfirmation,
    PaymentStatus,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    RetryPolicy,
    UnprocessableEntityError,
    derive_idempotency_key,
)
from carevalidate_async._files.rows import RowReader
from carevalidate_async._run.ages import DEFAULT_KEY_AGE, read_age
from carevalidate_async.events import (
    ATTEMPTS,
    MAX_DELAY,
    MAX_DOUBTS,
    MAX_KEY_AGE,
    Action,
    ConfirmHandler,
    Decision,
    Event,
    read_payment,
)
from carevalidate_async.models import ConfirmationReceipt, Meta
from carevalidate_async.sandbox import Fault, Sandbox
from carevalidate_async.testing import no_waiting

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS: dict[str, Any] = {
    "caseId": "case-1",
    "amount": Decimal("49.90"),
    "paymentDate": "2026-11-02",
    "validUntil": "2026-12-02",
    "status": "PAID",
    "email": "patient@example.com",
}
TEXT = (
    '{"caseId": "case-1", "amount": 49.90, "paymentDate": "2026-11-02", '
    '"validUntil": "2026-12-02", "status": "PAID", "email": "patient@example.com"}'
)
PAYMENT = PaymentConfirmation(
    case_id="case-1",
    amount=Decimal("49.90"),
    payment_date=date(2026, 11, 2),
    valid_until=date(2026, 12, 2),
    status=PaymentStatus.PAID,
    email="patient@example.com",
)
NOT_SENT, REJECTED, UNKNOWN, RECORDED = (
    Outcome.NOT_SENT,
    Outcome.REJECTED,
    Outcome.UNKNOWN,
    Outcome.RECORDED,
)


class FakeClient(CareValidate):
    """Answers with what it was told to; it has no connections."""

    def __init__(self, answer: CareValidateError | ConfirmationReceipt) -> None:
        self.answer = answer
        self.policy: RetryPolicy | None = None
        self.asked: list[PaymentConfirmation] = []

    def with_options(self, **options: Any) -> Self:
        self.policy = options["retry"]
        return self

    async def confirm_payment(
        self, payment: PaymentConfirmation, *, accept_duplicate: bool = False
    ) -> ConfirmationReceipt:
        assert accept_duplicate
        self.asked.append(payment)
        if isinstance(self.answer, CareValidateError):
            raise self.answer
        return self.answer


def event(data: Any = TEXT, attempt: int | None = 1, **facts: Any) -> Event:
    return Event(id="m-1", data=data, attempt=attempt, **facts)


async def decided(answer: Any, *, options: Any = None, **facts: Any) -> Decision:
    return await ConfirmHandler(FakeClient(answer), **(options or {}))(event(**facts))


def refused(kind: Callable[..., CareValidateError], status: int, **facts: Any) -> Any:
    return kind("said", outcome=facts.pop("outcome", REJECTED), status=status, **facts)


AWAY = APIConnectionError("away", outcome=NOT_SENT, retryable=True)
BAD_TLS = APIConnectionError("not trusted", outcome=NOT_SENT)
LOST = AnswerLostError("lost", outcome=UNKNOWN, retryable=True)
SLOW = APITimeoutError("slow", outcome=UNKNOWN, retryable=True)
BROKEN = refused(InternalServerError, 500, outcome=UNKNOWN, retryable=True)
NEVER = refused(InternalServerError, 501, outcome=UNKNOWN)
CONFLICT = refused(ConflictError, 409, outcome=UNKNOWN)
UNREAD = ResponseDecodeError("unread", outcome=UNKNOWN, retryable=True, status=200)
BUSY = refused(RateLimitError, 429, retryable=True)
BAD = refused(BadRequestError, 400)
WRONG = refused(UnprocessableEntityError, 422)
ON_RECORD = refused(IdempotencyConflictError, 409, outcome=RECORDED)


class TestDecisions:
    @pytest.mark.parametrize(
        ("met", "first", "again", "at_last"),
        [
            pytest.param(AWAY, Action.RETRY, Action.RETRY, Action.RETRY, id="away"),
            pytest.param(BUSY, Action.RETRY, Action.RETRY, Action.RETRY, id="busy"),
            pytest.param(LOST, Action.RETRY, Action.RETRY, Action.PARK, id="lost"),
            pytest.param(SLOW, Action.RETRY, Action.RETRY, Action.PARK, id="slow"),
            pytest.param(BROKEN, Action.RETRY, Action.RETRY, Action.PARK, id="broken"),
            pytest.param(NEVER, Action.RETRY, Action.RETRY, Action.PARK, id="never"),
            pytest.param(CONFLICT, Action.RETRY, Action.RETRY, Action.PARK, id="conflict"),
            pytest.param(UNREAD, Action.RETRY, Action.RETRY, Action.PARK, id="unread"),
            pytest.param(BAD, Action.DEAD, Action.PARK, Action.PARK, id="bad"),
            pytest.param(WRONG, Action.DEAD, Action.PARK, Action.PARK, id="wrong"),
            pytest.param(BAD_TLS, Action.RETRY, Action.RETRY, Action.RETRY, id="bad tls"),
            pytest.param(ON_RECORD, Action.ACK, Action.ACK, Action.ACK, id="on record"),
        ],
    )
    async def test_by_what_is_known_of_the_payment(
        self, met: CareValidateError, first: Action, again: Action, at_last: Action
    ) -> None:
        """
        A payment is acknowledged once it is on record, given up once it surely is not and never
        will be, and left to a person where nobody can tell.
        """
        found = [await decided(met, attempt=attempt) for attempt in (1, 2, MAX_DOUBTS)]

        assert [first, again, at_last] == [decision.action for decision in found]
        assert met.outcome is found[0].outcome
        doubt = RECORDED if met.outcome is RECORDED else UNKNOWN
        assert [doubt, doubt] == [decision.outcome for decision in found[1:]]
        assert all(decision.error is met and decision.reason for decision in found)

    async def test_a_delivery_that_leaves_no_doubt(self) -> None:
        """
        Who knows that no earlier delivery reached the vendor says so; who knows more of the first
        one does too.
        """
        sure = await decided(BAD, attempt=5, in_doubt=False)
        unsure = await decided(BAD, attempt=1, in_doubt=True)
        unknown = await decided(BAD, attempt=None)
        uncounted = await decided(LOST, attempt=None)

        assert (Action.DEAD, REJECTED) == (sure.action, sure.outcome)
        assert (Action.PARK, UNKNOWN) == (unsure.action, unsure.outcome)
        assert "earlier delivery" in unsure.reason
        assert (Action.PARK, UNKNOWN) == (unknown.action, unknown.outcome)
        assert Action.RETRY is uncounted.action
        assert 0.5 <= uncounted.delay <= 1

    @pytest.mark.parametrize("already", [False, True])
    async def test_on_record(self, *, already: bool) -> None:
        """
        A payment that another delivery put on record is no less on record.
        """
        receipt = ConfirmationReceipt(meta=Meta(already_recorded=already))
        found = await decided(receipt, attempt=3)

        assert (Action.ACK, RECORDED, receipt) == (found.action, found.outcome, found.receipt)
        assert already is ("already" in found.reason)

    @pytest.mark.parametrize(
        "met",
        [
            refused(AuthenticationError, 401),
            refused(PermissionDeniedError, 403),
            ConfigurationError("no key"),
            ClientClosedError("closed"),
        ],
    )
    @pytest.mark.parametrize("attempt", [1, MAX_DOUBTS])
    async def test_a_client_that_cannot_send_stops_the_consumer(
        self, met: CareValidateError, attempt: int
    ) -> None:
        """
        A key that was withdrawn says nothing of any payment: none is given up for it.
        """
        assert Action.STOP is (await decided(met, attempt=attempt)).action

    async def test_an_old_key_is_not_sent_again(self) -> None:
        """
        A vendor that has forgotten a key would record the payment once more; a first delivery has
        nothing to repeat, however long it waited.
        """
        client = FakeClient(ConfirmationReceipt())
        handler = ConfirmHandler(client)
        old = await handler(event(attempt=2, age=MAX_KEY_AGE + 1))
        asked = len(client.asked)
        late = await handler(event(attempt=1, age=MAX_KEY_AGE + 1))
        fresh = await handler(event(attempt=2, age=MAX_KEY_AGE - 60))
        any_age = ConfirmHandler(client, max_key_age=None)

        assert (Action.PARK, UNKNOWN, 0) == (old.action, old.outcome, asked)
        assert old.key == late.key
        assert [Action.ACK] * 2 == [late.action, fresh.action]
        assert Action.ACK is (await any_age(event(attempt=2, age=10**9))).action
        assert read_age(DEFAULT_KEY_AGE) == MAX_KEY_AGE

    async def test_a_key_grows_old_while_its_message_is_held(self) -> None:
        """
        An event is as old as it is when it is asked for, however long it was held before.
        """
        client = FakeClient(ConfirmationReceipt())
        held = event(attempt=2, age=MAX_KEY_AGE - 60)
        held = attrs.evolve(held, made=held.made - 120)
        found = await ConfirmHandler(client)(held)

        assert (Action.PARK, 0) == (found.action, len(client.asked))
        assert MAX_KEY_AGE + 60 <= (held.age_now or 0) < MAX_KEY_AGE + 120

    async def test_delays_grow(self) -> None:
        """
        A delivery waits longer each time, up to a bound, and never less than the vendor asks for.
        """
        delays = [(await decided(LOST, attempt=n)).delay for n in (1, 2, 5, 15)]
        asked = await decided(attrs_with(BUSY, retry_after=1000.0), attempt=1)
        with no_waiting():
            at_once = await decided(LOST, attempt=9)

        for longest, delay in zip((1, 2, 16, MAX_DELAY), delays, strict=True):
            assert longest / 2 <= delay <= longest
        assert 1000.5 <= asked.delay <= 1001
        assert 0 == at_once.delay == (await decided(BAD)).delay

    async def test_no_decision_shows_what_is_personal(self) -> None:
        """
        Neither an event nor a decision prints the payment or the vendor's words.
        """
        met = refused(BadRequestError, 400, message="patient@example.com")
        found = await decided(met)

        assert "patient" not in repr(found) + repr(event()) + repr(event(FIELDS)) + found.reason


def attrs_with(error: Any, **facts: Any) -> Any:
    """Return a copy of *error* that differs in *facts*."""
    other = type(error)(error.summary, outcome=error.outcome, retryable=error.retryable, status=429)
    for name, value in facts.items():
        setattr(other, name, value)
    return other


class TestRead:
    @pytest.mark.parametrize(
        "data",
        [
            TEXT,
            TEXT.encode(),
            f" {TEXT}\n",
            f"\ufeff{TEXT}".encode(),
            FIELDS,
            {**FIELDS, "amount": "49.9", "paymentDate": date(2026, 11, 2)},
            {**FIELDS, "status": PaymentStatus.PAID, "phoneNumber": None, "description": ""},
            {**FIELDS, "type": "payment.taken"},
            {
                "case_id": "case-1",
                "amount": "49.90",
                "payment_date": "2026-11-02",
                "valid_until": "2026-12-02",
                "status": "PAID",
                "email": "patient@example.com",
            },
        ],
    )
    def test_the_same_payment(self, data: Any) -> None:
        """
        It is the same however it is told.
        """
        assert PAYMENT == read_payment(event(data))

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            ({**FIELDS, "amount": 49.9}, "amount: is a float, which cannot hold cents exactly"),
            ({**FIELDS, "amount": True}, "amount: must be a number or text"),
            ({**FIELDS, "case_id": "case-2"}, "case_id: is given twice"),
            ({**FIELDS, "CaseID": "case-2"}, "case_id: is spelled differently"),
            ({k: v for k, v in FIELDS.items() if k != "amount"}, "amount: is missing"),
            ({}, "case_id: is missing; amount: is missing"),
            ({**FIELDS, "paymentDate": "11/02/2026"}, "payment_date: "),
            ('{"caseId": "case-1"', "is not one JSON object"),
            ("[]", "is not one JSON object"),
            (None, "is not one JSON object"),
            (dict([*FIELDS.items(), (1, 2)]), "is not one JSON object"),
            (b"\xff", "is not UTF-8 text"),
            (TEXT.replace("49.90", "49.901"), "amount: "),
            (TEXT.replace("{", '{"case_id": "x", '), "case_id: is given twice"),
        ],
    )
    async def test_what_names_none_is_dead(self, data: Any, told: str) -> None:
        """
        What cannot be read never will be; the reason names the fields and repeats no value.
        """
        client = FakeClient(ConfirmationReceipt())
        found = await ConfirmHandler(client)(event(data))

        assert (Action.DEAD, NOT_SENT, []) == (found.action, found.outcome, client.asked)
        assert told in found.reason
        assert "case-" not in found.reason
        assert isinstance(found.error, InvalidRequestError)

    async def test_by_a_function_of_your_own(self) -> None:
        """
        An event may be anything that a function knows to read; its mistakes are the program's.
        """

        def read(given: Event) -> PaymentConfirmation:
            assert isinstance(given.data, str)
            return read_payment(attrs.evolve(given, data=json.loads(given.data)["payment"]))

        client = FakeClient(ConfirmationReceipt())
        handler = ConfirmHandler(client, read=read)
        wrapped = json.dumps({"payment": {**FIELDS, "amount": "49.90"}})
        found = await handler(event(wrapped))

        assert Action.ACK is found.action
        assert [attrs.evolve(PAYMENT, idempotency_key=found.key)] == client.asked
        with pytest.raises(KeyError):
            await handler(event("{}"))


class TestKey:
    async def test_two_events_that_say_the_same_are_one_payment(self) -> None:
        """
        As are an event and a row of a file, whatever the message's own id is.
        """
        client = FakeClient(ConfirmationReceipt())
        handler = ConfirmHandler(client)
        keys = {
            (await handler(Event(id=name, data=data, attempt=1))).key for name, data in MESSAGES
        }
        (row,) = RowReader(io.BytesIO(TEXT.encode() + b"\n"))

        assert row.payment is not None
        assert 1 == len(keys)
        assert keys == {payment.idempotency_key for payment in client.asked}
        assert keys == {derive_idempotency_key("confirm_payment", *without_key(row.payment))}

    async def test_of_your_own(self) -> None:
        """
        Events that may differ in what they say of one payment need a key from what tells it apart.
        """

        def key(given: Event, payment: PaymentConfirmation) -> str:
            return derive_idempotency_key("confirm_payment", payment.case_id)

        handler = ConfirmHandler(FakeClient(ConfirmationReceipt()), key=key)
        other = {**FIELDS, "description": "in other words"}

        assert (await handler(event(other))).key == (await handler(event())).key

    async def test_none_is_a_mistake(self) -> None:
        """
        A key made up for each delivery would be a payment for each.
        """
        client = FakeClient(ConfirmationReceipt())
        keys: dict[str, str] = {}

        def key(_: Event, payment: PaymentConfirmation) -> Any:  # as of who has no types
            return keys.get(payment.case_id)

        handler = ConfirmHandler(client, key=key)
        for attempt in (1, 2):
            with pytest.raises(TypeError, match="gave None"):
                await handler(event(attempt=attempt))

        assert [] == client.asked

    async def test_that_the_event_has(self) -> None:
        """
        A key that the event names is the payment's.
        """
        given = {**FIELDS, "idempotencyKey": "k-1"}

        assert "k-1" == (await decided(ConfirmationReceipt(), data=given)).key

    async def test_that_cannot_be_sent(self) -> None:
        """
        One that may not survive every hop is refused before anything is sent.
        """
        found = await decided(ConfirmationReceipt(), options={"key": lambda *_: " "})

        assert Action.DEAD is found.action
        assert "idempotency_key" in found.reason


MESSAGES: list[tuple[str, Any]] = [("m-1", TEXT), ("m-2", TEXT.encode()), ("m-3", FIELDS)]


def without_key(payment: PaymentConfirmation) -> list[Any]:
    names = [field.name for field in attrs.fields(PaymentConfirmation)]
    return [getattr(payment, name) for name in names if name != "idempotency_key"]


class TestOnTheWire:
    async def test_few_requests_a_delivery(self) -> None:
        """
        The broker delivers again: repeats of both would multiply.
        """
        async with Sandbox(api_key="test") as sandbox:
            with no_waiting():
                async with CareValidate("test", base_url=sandbox.url) as care:
                    sandbox.script(*[Fault.ERROR_AFTER] * 2)
                    found = await ConfirmHandler(care)(event())

            assert Action.RETRY is found.action
            assert ATTEMPTS == sandbox.received

    async def test_each_payment_is_on_record_once(self) -> None:
        """
        However often each is delivered, and whatever fails.
        """
        async with Sandbox(api_key="test", fault_rate=0.03, seed=7, hang_seconds=0.05) as sandbox:
            with no_waiting():
                async with CareValidate("test", base_url=sandbox.url, attempt_timeout=0.5) as care:
                    handler = ConfirmHandler(care, max_doubts=1000)

                    async def consume(number: int) -> list[Action]:
                        actions: list[Action] = []
                        data = {**FIELDS, "caseId": f"case-{number}"}
                        while Action.ACK not in actions[-2:]:
                            attempt = len(actions) + 1
                            actions.append((await handler(event(data, attempt=attempt))).action)
                        # And once more, as after a lost acknowledgement.
                        actions.append((await handler(event(data, attempt=99))).action)
                        return actions

                    taken = await asyncio.gather(*map(consume, range(300)))

            assert {Action.ACK, Action.RETRY} == {one for actions in taken for one in actions}
            assert sorted(f"case-{n}" for n in range(300)) == sorted(
                payment.case_id for payment in sandbox.payments
            )

    async def test_whoever_is_cancelled_acknowledges_nothing(self) -> None:
        """
        The next delivery tells.
        """
        async with (
            Sandbox(api_key="test", hang_seconds=10) as sandbox,
            CareValidate("test", base_url=sandbox.url) as care,
        ):
            sandbox.script(Fault.HANG_AFTER)
            task = asyncio.ensure_future(ConfirmHandler(care)(event()))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            again = await ConfirmHandler(care)(event(attempt=2))

            assert Action.ACK is again.action
            assert 1 == len(sandbox.payments)
