"""
What holds of any input: from a request to its bytes, and from any bytes to what they mean.

What is expected is worked out here on the standard library's JSON and the vendors' pages alone.
"""

from __future__ import annotations

import copy
import json
import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carevalidate_async._operation import KeyInBody, Operation
from carevalidate_async._wire import Reply, parse_retry_after
from carevalidate_async.carevalidate import (
    CONFIRM_PAYMENT,
    CREATE_CASE_PAYMENT,
    CREATE_PAYMENT_INTENT,
    UPDATE_USER_PAYMENT,
)
from carevalidate_async.errors import (
    APIStatusError,
    CareValidateError,
    IdempotencyConflictError,
    Outcome,
    ResponseDecodeError,
)
from carevalidate_async.models import (
    Answer,
    CasePayment,
    ConfirmationReceipt,
    PaymentIntent,
    PaymentIntentMetadata,
    PaymentMethod,
    ShippingAddress,
    UserPaymentUpdated,
)
from carevalidate_async.planocore import UPDATE_PAYMENT_METHOD
from matrix.vendor import SAMPLES
from strategies import (
    BODIES,
    EXAMPLES,
    HEADERS,
    METHOD_ID,
    NAMES,
    NOW,
    OPERATIONS,
    REQUESTS,
    STATUSES,
    VALUES,
    WORDS,
    read,
    seal,
    texts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.deep

each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
with_an_amount = pytest.mark.parametrize(
    "operation",
    [CONFIRM_PAYMENT, CREATE_CASE_PAYMENT, CREATE_PAYMENT_INTENT],
    ids=lambda one: one.name,
)

CENTS = st.integers(1, 10**4) | st.integers(1, 10**14)


@st.composite
def written(draw: st.DrawFn) -> tuple[str, str]:
    """Any amount above zero, however it is written, and as the wire shall have it."""
    cents = draw(CENTS)
    whole, rest = divmod(cents, 100)
    shown = f"{whole}.{rest:02}" if rest else str(whole)
    zeros = len(str(cents)) - len(str(cents).rstrip("0"))
    how = draw(st.integers(-zeros, 6))  # zeros taken from the digits, or more of them given
    digits = str(cents)[:how] if how < 0 else f"{cents}{'0' * how}"
    return draw(
        st.sampled_from([f"{digits}E{-2 - how}", f"{Decimal(f'{digits}E{-2 - how}'):f}"])
    ), shown


# A number as JSON may write it; its exponent within what a caller could want to add up.
NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True
)


class TestMoney:
    @settings(max_examples=80, deadline=None)
    @given(amount=written())
    @example(amount=("1E+2", "100"))
    @example(amount=("1.10", "1.10"))
    @example(amount=("1.1", "1.10"))
    @example(amount=("1E+12", "1000000000000"))
    @example(amount=("999999999999.99", "999999999999.99"))
    @with_an_amount
    def test_goes_out_exactly(
        self, operation: Operation[Any, Any], amount: tuple[str, str]
    ) -> None:
        """
        However an amount is written, its sealed body has the one JSON number that people would
        write, and that number is the very amount.
        """
        text, shown = amount

        body = seal(operation, attrs.evolve(EXAMPLES[operation.name], amount=Decimal(text))).body

        assert [shown.encode()] == re.findall(rb'"amount":([^,}]+)', body)
        assert Decimal(text) == json.loads(body, parse_float=Decimal)["amount"]

    @pytest.mark.parametrize("text", ["0", "-0", "0.00", "-0.00", "0E+30", "-0E-7"])
    def test_nothing_goes_out_as_zero(self, text: str) -> None:
        """
        A zero has no sign and no cents on the wire.
        """
        body = seal(
            CONFIRM_PAYMENT, attrs.evolve(EXAMPLES["confirm_payment"], amount=Decimal(text))
        )

        assert b'"amount":0,' in body.body

    @settings(max_examples=80, deadline=None)
    @given(text=NUMBERS)
    @example(text="1E+2")
    @example(text="1.10")
    @example(text="-0")
    @example(text="-0.0")
    @example(text="0.1")
    def test_comes_in_exactly(self, text: str) -> None:
        """
        Whatever number stands in an answer, in any spelling of JSON's, is the amount in it.
        """
        payment = _read(CREATE_CASE_PAYMENT, _case_payment("p", text))

        assert isinstance(payment, CasePayment)
        assert Decimal(text) == payment.amount
        assert Decimal is type(payment.amount)

    @settings(max_examples=100, deadline=None)
    @given(amount=written())
    def test_there_and_back(self, amount: tuple[str, str]) -> None:
        """
        A vendor that returns the number it was sent returns the amount that was asked for.
        """
        request = attrs.evolve(EXAMPLES["create_case_payment"], amount=Decimal(amount[0]))
        (sent,) = re.findall(rb'"amount":([^,}]+)', seal(CREATE_CASE_PAYMENT, request).body)

        payment = _read(CREATE_CASE_PAYMENT, _case_payment("p", sent.decode()))

        assert isinstance(payment, CasePayment)
        assert request.amount == payment.amount
        assert str(request.amount) == str(payment.amount)


def _case_payment(payment_id: str, amount: str) -> bytes:
    result = {
        "paymentId": payment_id,
        "status": "PAID",
        "amount": "the amount",
        "createdAt": "2026-05-06T12:54:10.287Z",
    }
    whole = json.dumps({"success": True, "data": {"result": result}})
    return whole.replace('"the amount"', amount).encode()


def _read(operation: Operation[Any, Any], body: bytes) -> Answer | CareValidateError:
    return read(operation, Reply(status=200, headers={}, body=body))


PAGES = [path.read_bytes() for path in sorted(SAMPLES.rglob("*.json"))]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return each container in *value* with each of its keys or indexes."""
    found: list[tuple[Any, Any]] = []
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict | list):
            keys = list(one) if isinstance(one, dict) else range(len(one))
            found += [(one, key) for key in keys]
            rest += [one[key] for key in keys]
    return found


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A documented body in which some values, names or levels are others."""
    document = json.loads(draw(st.sampled_from(PAGES)))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(document)
        if not places:
            break
        where, key = draw(st.sampled_from(places))
        old = where[key]
        match draw(st.integers(0, 5)):
            case 0:
                where[key] = draw(WORDS | VALUES)
            case 1:
                del where[key]
            case 2:
                where[key] = draw(st.sampled_from([[old], {"data": old}, {"result": old}]))
            case 3:  # as somebody who means well writes it
                where[key] = draw(st.sampled_from([str(old), str(old).lower(), f" {old} "]))
            case 4 if isinstance(where, dict):
                name = draw(NAMES | st.sampled_from([key.upper(), f"{key} ", f"{key}s"]))
                where[name] = where.pop(key)
            case _ if isinstance(where, dict):
                where[draw(NAMES)] = copy.deepcopy(old)
    return json.dumps(document).encode()


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """A documented body some bytes of which are gone, others, or too many."""
    body = draw(st.sampled_from(PAGES))
    start = draw(st.integers(0, len(body)))
    end = start + draw(st.integers(0, 12))
    return body[:start] + draw(st.binary(max_size=6) | st.just(body[start:end] * 2)) + body[end:]


NEAR_MISSES = bent() | torn() | st.sampled_from(PAGES)
ANY_STATUS = st.sampled_from([200, 201, 204, 400, 409, 500]) | st.integers(100, 999)


def _object(body: bytes) -> Mapping[str, Any] | None:
    """Return the JSON object that *body* is, None where it is none."""
    try:
        # Not the bytes: the standard library would guess at UTF-16.
        document = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _says(operation: Operation[Any, Any], told: Mapping[str, Any]) -> bool | None:
    """Return whether a 2xx's object says yes, no, or neither, by the vendors' pages."""
    status, success = told.get("status"), told.get("success")
    if operation is UPDATE_PAYMENT_METHOD:
        if success is False:
            return False
        if status == "action-successful":
            return True
        return False if isinstance(status, str) else None
    if "success" in told:
        return success if isinstance(success, bool) else None
    return 200 <= status < 300 if type(status) is int else None


class TestAnyReply:
    @settings(max_examples=80, deadline=None)
    @given(status=ANY_STATUS, headers=HEADERS, body=NEAR_MISSES | BODIES)
    @each_operation
    def test_means_no_more_than_it_says(
        self,
        operation: Operation[Any, Any],
        status: int,
        headers: dict[str, str],
        body: bytes,
    ) -> None:
        """
        Any status, headers and bytes, near misses of the documented ones among them, are an answer
        only where a 2xx affirms, a sure no only where they deny, and on record only where the key
        is called known; nothing is ever raised.
        """
        found = read(operation, Reply(status=status, headers=headers, body=body))

        told = _object(body)
        said = None if told is None else _says(operation, told)
        if isinstance(found, Answer):
            assert operation.gives is type(found)
            assert (True, True) == (200 <= status < 300, said)
            return
        assert Outcome.NOT_SENT is not found.outcome
        if not 200 <= status < 300:
            assert isinstance(found, APIStatusError)
        elif told is None or said:
            # Not to be read, or a yes without what was asked for.
            assert ResponseDecodeError is type(found)
            assert (Outcome.UNKNOWN, True) == (found.outcome, found.retryable)
        elif found.outcome is not Outcome.UNKNOWN:
            assert said is False
        if found.outcome is Outcome.RECORDED:
            assert IdempotencyConflictError is type(found)
            assert isinstance(operation.idempotency, KeyInBody)
            assert told is not None
            assert "IDEMPOTENCY_ERROR" == told["code"].strip()
            assert 409 == status or str(told["status"]) in {"409", "409.0"}

    @settings(max_examples=100, deadline=None)
    @given(status=st.integers(100, 199) | st.integers(300, 999), data=st.data())
    @each_operation
    def test_only_two_hundreds_are_answers(
        self, operation: Operation[Any, Any], status: int, data: st.DataObject
    ) -> None:
        """
        The very success of the page is no success on another status, and no sure no but on a 4xx.
        """
        pages = sorted((SAMPLES / operation.dialect.name / operation.name).glob("200-*.json"))
        body = data.draw(st.sampled_from(pages)).read_bytes()

        found = read(operation, Reply(status=status, headers={}, body=body))

        assert isinstance(found, APIStatusError)
        assert (Outcome.REJECTED is found.outcome) is (
            400 <= status < 500 and status not in {408, 409}
        )


class TestRetryAfter:
    @settings(max_examples=80, deadline=None)
    @given(
        seconds=st.integers(0, 10**12) | st.floats(0, 1e300),
        before=st.text(" \t", max_size=3),
        after=st.text(" \t", max_size=3),
    )
    def test_any_seconds(self, seconds: float, before: str, after: str) -> None:
        """
        Seconds are read as they are written, with or without a fraction, an exponent, blanks.
        """
        assert seconds == parse_retry_after(f"{before}{seconds}{after}", NOW)

    @settings(max_examples=100, deadline=None)
    @given(headers=HEADERS, text=st.text(max_size=40))
    @each_operation
    def test_any_header(
        self, operation: Operation[Any, Any], headers: dict[str, str], text: str
    ) -> None:
        """
        What an error repeats of the header is what the header says, whatever stands beside it.
        """
        reply = Reply(status=429, headers=headers | {"retry-after": text}, body=b"")

        found = read(operation, reply)

        assert isinstance(found, APIStatusError)
        assert parse_retry_after(text, NOW) == found.retry_after


NESTED: Mapping[str, type] = {
    "metadata": PaymentIntentMetadata,
    "shipping_address": ShippingAddress,
}
DAYS = {"payment_date", "valid_until"}


def _camel(name: str) -> str:
    return re.sub(r"_(.)", lambda found: found[1].upper(), name)


def _request(kind: type, document: Mapping[str, Any], *, camel: bool = True) -> Any:
    """Return the request of that *kind* which the wire's *document* tells of."""
    facts: dict[str, Any] = {}
    for field in attrs.fields(kind):
        value = document.get(_camel(field.name) if camel else field.name)
        if field.name in NESTED and value is not None:
            value = _request(NESTED[field.name], value)
        elif field.name in DAYS:
            value = date.fromisoformat(str(value))
        facts[field.name] = value
    return kind(**facts)


def _model_in(operation: Operation[Any, Any], body: bytes) -> Any:
    """Return the request that a sealed *body* tells of, read by the vendor's page alone."""
    told: Any = json.loads(body, parse_float=Decimal)
    if operation is UPDATE_USER_PAYMENT:
        assert {"action", "email", "data"} == set(told)
        told = {"email": told["email"], **told["data"]}
    if operation is UPDATE_PAYMENT_METHOD:
        return _request(operation.takes, told["payment_method"], camel=False)
    return _request(operation.takes, told)


MOMENTS = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - the timezone comes with the next line
    timezones=st.integers(-14 * 60, 14 * 60).map(
        lambda minutes: timezone(timedelta(minutes=minutes))
    ),
)


@st.composite
def case_payments(draw: st.DrawFn) -> tuple[Answer, dict[str, Any]]:
    """Any case payment, and the answer that tells of it."""
    payment = CasePayment(
        payment_id=draw(texts()),
        status=draw(STATUSES | texts()),
        amount=draw(CENTS | st.just(0)) * Decimal("0.01"),
        created_at=draw(MOMENTS),
        description=draw(st.none() | texts()),
        extra=draw(EXTRAS),
    )
    result = {
        "paymentId": payment.payment_id,
        "status": payment.status,
        "amount": payment.amount,
        "createdAt": payment.created_at.isoformat(),
        "description": payment.description,
    }
    return payment, {"success": True, "data": {"result": result | {**payment.extra}}}


def _is_json(document: Any) -> bool:
    try:
        json.dumps(document, allow_nan=False)
    except ValueError:
        return False
    return True


# Any JSON value, as it comes back from JSON that is read exactly.
EXACT = VALUES.filter(_is_json).map(
    lambda value: json.loads(json.dumps(value), parse_float=Decimal)
)
# Names that no model knows, and no vendor's answer has around its data.
EXTRAS = st.dictionaries(st.sampled_from(["fee", "note", "x y", "ä"]), EXACT, max_size=2)
# Any answer of each operation, and how the vendor's page would tell it.
ANSWERS: Mapping[str, st.SearchStrategy[tuple[Answer, dict[str, Any]]]] = {
    "confirm_payment": EXTRAS.map(
        lambda extra: (ConfirmationReceipt(extra=extra), {"success": True, "status": 200, **extra})
    ),
    "create_case_payment": case_payments(),
    "create_payment_intent": st.builds(
        lambda secret, extra: (
            PaymentIntent(payment_intent_secret=secret, extra=extra),
            {"success": True, "data": {"paymentIntentSecret": secret, **extra}},
        ),
        texts(),
        EXTRAS,
    ),
    "update_user_payment": st.builds(
        lambda code, extra: (
            UserPaymentUpdated(code=code, extra=extra),
            {"success": True, "data": {"code": code, **extra}},
        ),
        texts(),
        EXTRAS,
    ),
    "update_payment_method": st.builds(
        lambda data, extra: (
            PaymentMethod(id=METHOD_ID, data=data, extra=extra),
            {"status": "action-successful", "data": data, **extra},
        ),
        EXACT,
        EXTRAS,
    ),
}


def _json(document: Any) -> bytes:
    """Return *document* as JSON, its Decimals as numbers; the standard library knows none."""
    numbers: list[str] = []

    def number(value: object) -> str:
        numbers.append(str(value))
        return f"number {len(numbers) - 1} of these"

    text = json.dumps(document, default=number)
    return re.sub(r'"number ([0-9]+) of these"', lambda at: numbers[int(at[1])], text).encode()


class TestThereAndBack:
    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    @each_operation
    def test_requests(self, operation: Operation[Any, Any], data: st.DataObject) -> None:
        """
        Any request can be made again, equal to what it was, from nothing but its sealed body.
        """
        request = data.draw(REQUESTS[operation.name])

        sealed = seal(operation, request)

        if sealed.idempotency_key is not None:
            request = attrs.evolve(request, idempotency_key=sealed.idempotency_key)
        assert request == _model_in(operation, sealed.body)

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    @each_operation
    def test_answers(self, operation: Operation[Any, Any], data: st.DataObject) -> None:
        """
        Any answer that a vendor can tell is read as that answer, field by field.
        """
        whole, document = data.draw(ANSWERS[operation.name])

        assert whole == _read(operation, _json(document))
