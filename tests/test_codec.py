from __future__ import annotations

import enum
import json
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import (
    Context,
    Decimal,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Rounded,
    Subnormal,
    localcontext,
)
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carevalidate_async._codec import Spelling, WireError, camel, decode, encode, snake
from carevalidate_async.models import (
    CasePayment,
    CasePaymentRequest,
    ConfirmationReceipt,
    PaymentConfirmation,
    PaymentIntent,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    PaymentMethod,
    PaymentMethodUpdate,
    PaymentStatus,
    UserPaymentUpdated,
)
from strategies import ADDRESS, CONFIRMATION, REQUESTS, dollars

CAMEL, SNAKE = Spelling.CAMEL.value, Spelling.SNAKE.value
CASE_PAYMENT: dict[str, Any] = {
    "paymentId": "9d2461f0-54b8-43dd-9507-e3143d4a50a1",
    "status": "UNPAID",
    "amount": 100,
    "description": "Creating unpaid case payment",
    "createdAt": "2026-05-06T12:54:10.287Z",
}
TRAPS = [Inexact, Rounded, Subnormal, FloatOperation, InvalidOperation]


class Text(str):
    """A text of a subclass, such as numpy's or a template engine's."""

    __slots__ = ()


class Whole(int):
    """An int of a subclass."""


class TestSpelling:
    @pytest.mark.parametrize(
        ("name", "wire"),
        [
            ("case_id", "caseId"),
            ("address_line1", "addressLine1"),
            ("nmi_payment_token", "nmiPaymentToken"),
            ("amount", "amount"),
        ],
    )
    def test_names(self, name: str, wire: str) -> None:
        """
        CareValidate's names are camelCase, planocore's are Python's.
        """
        assert (wire, name) == (camel(name), snake(name))


class TestMoneyOut:
    @pytest.mark.parametrize(
        ("amount", "text"),
        [
            (Decimal("1.15"), b"1.15"),
            (Decimal("1.10"), b"1.10"),
            (Decimal("50.00"), b"50"),
            (50, b"50"),
            (Decimal("5E+1"), b"50"),
            (Decimal("0.01"), b"0.01"),
            (Decimal("999999999999.99"), b"999999999999.99"),
            (Decimal("1E+12"), b"1000000000000"),
        ],
    )
    def test_prints_exactly(self, amount: Decimal | int, text: bytes) -> None:
        """
        An amount is a JSON number that prints as people write it.
        """
        body = encode(CAMEL.dump(PaymentIntentRequest(amount=amount)))

        assert b'{"amount":' + text + b"}" == body

    @settings(max_examples=100, deadline=None)
    @given(amount=dollars(least_cents=1))
    def test_there_and_back(self, amount: Decimal) -> None:
        """
        Any amount up to 10^12 is read back from the wire as the very amount that went out.
        """
        body = encode(CAMEL.dump(PaymentIntentRequest(amount=amount)))

        assert amount == json.loads(body, parse_float=Decimal)["amount"]
        assert amount == decode(body)["amount"]
        assert b"e" not in body.partition(b":")[2].lower()

    def test_callers_context(self) -> None:
        """
        A narrow and trapping decimal context of the caller's changes nothing on the wire.
        """
        with localcontext(Context(prec=1, traps=TRAPS)):
            body = encode(CAMEL.dump(PaymentIntentRequest(amount=Decimal("123456789012.34"))))

        assert b'{"amount":123456789012.34}' == body


class TestMoneyIn:
    @pytest.mark.parametrize(
        ("text", "amount"),
        [
            ("100", "100"),
            ("100.00", "100.00"),
            ("1.15", "1.15"),
            ("1e2", "1E+2"),
            ("0.1", "0.1"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("1.0000000000000000000000000000000000000001",) * 2,
            ("-0.01", "-0.01"),
        ],
    )
    def test_exact(self, text: str, amount: str) -> None:
        """
        A number in an answer is read digit by digit, whatever the caller's decimal context.
        """
        document = decode(json.dumps(CASE_PAYMENT).replace("100", text).encode())
        with localcontext(Context(prec=1, traps=TRAPS)):
            narrow = decode(json.dumps(CASE_PAYMENT).replace("100", text).encode())

        payment = CAMEL.load(CasePayment, document)

        assert amount == str(payment.amount)
        assert amount == str(CAMEL.load(CasePayment, narrow).amount)

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            ("100", "str"),
            (True, "bool"),
            (None, "NoneType"),
            ([], "list"),
            ({}, "dict"),
            (Decimal("NaN"), "Decimal"),
            (1.5, "float"),
        ],
    )
    def test_only_numbers(self, value: object, kind: str) -> None:
        """
        What is no number is no amount, a text of digits and a float of ours included.
        """
        with pytest.raises(WireError, match=rf"^must be a number, not {kind} @ \$\.amount"):
            CAMEL.load(CasePayment, CASE_PAYMENT | {"amount": value})


class TestDecode:
    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b'{"a": 1} x',
            b"NaN",
            b"Infinity",
            b"{'a': 1}",
            b'"\xff"',
            b'{"a": "\\ud800"}',
            b"\xef\xbb\xbf{}",
            b"<html>canary</html>",
            b"[" * 100_000,
            b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            b"9" * 5000,
            b"1e9999999999999999999",
            b"-1.5E-9999999999999999999",
        ],
    )
    @pytest.mark.parametrize("traps", [TRAPS, []])
    def test_no_json(self, body: bytes, traps: Any) -> None:
        """
        What cannot be read as JSON is one error that repeats none of it, in any decimal context.
        """
        with localcontext(Context(prec=1, traps=traps)), pytest.raises(WireError) as caught:
            decode(body)

        assert "not JSON" == str(caught.value)
        assert caught.value.__suppress_context__

    @pytest.mark.parametrize(("depth", "fine"), [(100, True), (101, False), (900, False)])
    @pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
    def test_depth(self, begin: str, end: str, depth: int, fine: bool) -> None:
        """
        How deep a body can be nested is the same on every Python; what is read can be pickled.
        """
        body = f"{begin * depth}1{end * depth}".encode()
        if fine:
            assert body == json.dumps(decode(body), separators=(",", ":")).encode()
            assert pickle.dumps(decode(body))
        else:
            with pytest.raises(WireError, match=r"^nested too deeply$"):
                decode(body)

    def test_many_brackets_are_fine(self) -> None:
        """
        A body can have any number of lists and objects beside each other.
        """
        assert [[{}]] * 200 == decode(b"[" + b",".join([b"[{}]"] * 200) + b"]")

    def test_nothing(self) -> None:
        """
        An empty body is called empty.
        """
        with pytest.raises(WireError, match=r"^empty$"):
            decode(b"")

    @settings(max_examples=200, deadline=None)
    @given(body=st.binary(max_size=100) | st.text(max_size=50).map(str.encode))
    def test_total(self, body: bytes) -> None:
        """
        Any bytes are either JSON as the standard library reads it, or a WireError.
        """
        try:
            value = decode(body)
        except WireError:
            return
        assert json.loads(body, parse_float=Decimal) == value


class TestDump:
    def test_whole_confirmation(self) -> None:
        """
        A confirmation with everything set has the names of the vendor's page, days as YYYY-MM-DD.
        """
        model = attrs.evolve(
            CONFIRMATION,
            email="user@example.com",
            phone_number="+1404567890",
            decision_id="dec-123-456",
            description="Payment",
            idempotency_key="unique-payment-key-123",
        )

        assert {
            "caseId": "your-case-id",
            "amount": 50,
            "paymentDate": "2025-01-01",
            "validUntil": "2025-02-01",
            "status": "PAID",
            "email": "user@example.com",
            "phoneNumber": "+1404567890",
            "decisionId": "dec-123-456",
            "description": "Payment",
            "idempotencyKey": "unique-payment-key-123",
        } == CAMEL.dump(model)

    def test_unset_is_left_out(self) -> None:
        """
        An unset optional field is not there at all: never null, on no level.
        """
        intent = PaymentIntentRequest(amount=1, metadata=PaymentIntentMetadata(phone="+1404567890"))

        assert {"caseId", "amount", "paymentDate", "validUntil", "status"} == set(
            CAMEL.dump(CONFIRMATION)
        )
        assert {"amount": 1, "metadata": {"phone": "+1404567890"}} == CAMEL.dump(intent)

    def test_empty_second_line_is_sent(self) -> None:
        """
        The second address line is sent even when empty, as the vendor requires.
        """
        assert "" == CAMEL.dump(ADDRESS)["addressLine2"]

    def test_false_and_zero_are_sent(self) -> None:
        """
        Only None is left out: a False, a zero and an empty text say something.
        """
        case = CasePaymentRequest(amount=1, description="d", preauthorize=False)
        free = attrs.evolve(CONFIRMATION, amount=0)

        assert CAMEL.dump(case)["preauthorize"] is False
        assert 0 == CAMEL.dump(free)["amount"]
        assert {"active": False, "street2": ""} == SNAKE.dump(
            PaymentMethodUpdate(active=False, street2="")
        )

    @pytest.mark.parametrize("day", [date.min, date(987, 6, 5), date.max])
    def test_far_days(self, day: date) -> None:
        """
        A year has four digits in any millennium.
        """
        model = attrs.evolve(CONFIRMATION, payment_date=day, valid_until=date.max)

        assert f"{day.year:04}-{day.month:02}-{day.day:02}" == CAMEL.dump(model)["paymentDate"]

    def test_subclass(self) -> None:
        """
        A class of the caller's that derives from a request is sent as that request.
        """

        @attrs.frozen(kw_only=True)
        class Noted(PaymentConfirmation):
            note: str = "canary"

        whole = attrs.asdict(CONFIRMATION)

        assert CAMEL.dump(CONFIRMATION) == CAMEL.dump(Noted(**whole))

    def test_texts_of_a_subclass(self) -> None:
        """
        Texts and numbers of a subclass go out as the plain values that they are.
        """
        status = enum.StrEnum("Later", {"CAPTURED": "CAPTURED"}).CAPTURED  # type: ignore[attr-defined]  # made at run time
        request = CasePaymentRequest(amount=1, description=Text("d"), status=status)
        update = PaymentMethodUpdate(exp_month=Whole(5), city=Text("c"))

        assert b'{"amount":1,"description":"d","status":"CAPTURED"}' == encode(CAMEL.dump(request))
        assert b'{"exp_month":5,"city":"c"}' == encode(SNAKE.dump(update))

    def test_other_things(self) -> None:
        """
        What has no place in JSON is refused and not sent as some text of it.
        """
        with pytest.raises(TypeError, match="object has no form in JSON"):
            encode({"a": object()})

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize("name", REQUESTS)
    def test_loses_nothing(self, name: str, data: st.DataObject) -> None:
        """
        Every set field of any request is on the wire with its value, and nothing else is.
        """
        request = data.draw(REQUESTS[name])
        codec, spell = (SNAKE, snake) if name == "update_payment_method" else (CAMEL, camel)

        assert _on_the_wire(request, spell) == decode(encode(codec.dump(request)))


class TestLoad:
    def test_case_payment(self) -> None:
        """
        The case payment of the vendor's page comes with its types.
        """
        payment = CAMEL.load(CasePayment, CASE_PAYMENT)

        assert "9d2461f0-54b8-43dd-9507-e3143d4a50a1" == payment.payment_id
        assert PaymentStatus.UNPAID is payment.status
        assert Decimal(100) == payment.amount
        assert "Creating unpaid case payment" == payment.description
        assert datetime(2026, 5, 6, 12, 54, 10, 287_000, UTC) == payment.created_at
        assert {} == payment.extra

    def test_unknown_status(self) -> None:
        """
        A status that the page does not list is kept as its text.
        """
        payment = CAMEL.load(CasePayment, CASE_PAYMENT | {"status": "CAPTURED"})

        assert "CAPTURED" == payment.status
        assert str is type(payment.status)

    @pytest.mark.parametrize("said", [{"description": None}, {}])
    def test_description_may_be_missing(self, said: dict[str, Any]) -> None:
        """
        A description that is null or not there is None.
        """
        document = {k: v for k, v in CASE_PAYMENT.items() if k != "description"}

        assert CAMEL.load(CasePayment, document | said).description is None

    def test_unknown_fields(self) -> None:
        """
        Fields that the model lacks are kept under their own names, also those named like ours.
        """
        more = {"fee": {"cents": [1]}, "meta": 5, "extra": "x", "payment_id": "y"}

        payment = CAMEL.load(CasePayment, CASE_PAYMENT | more)

        assert more == payment.extra
        assert "9d2461f0-54b8-43dd-9507-e3143d4a50a1" == payment.payment_id
        assert more == CAMEL.load(ConfirmationReceipt, more).extra

    @pytest.mark.parametrize(
        ("text", "moment"),
        [
            ("2026-05-06T12:54:10Z", datetime(2026, 5, 6, 12, 54, 10, tzinfo=UTC)),
            ("2026-05-06T12:54:10", datetime(2026, 5, 6, 12, 54, 10, tzinfo=UTC)),
            ("2026-05-06 12:54:10+00:00", datetime(2026, 5, 6, 12, 54, 10, tzinfo=UTC)),
            (
                "2026-05-06T12:54:10.287123456-04:00",
                datetime(2026, 5, 6, 12, 54, 10, 287_123, timezone(timedelta(hours=-4))),
            ),
        ],
    )
    def test_moments(self, text: str, moment: datetime) -> None:
        """
        Timestamps keep their timezone (a bare one is in UTC, as the vendor's own are), and digits
        beyond a microsecond are let go.
        """
        created = CAMEL.load(CasePayment, CASE_PAYMENT | {"createdAt": text}).created_at

        assert moment == created
        assert moment.utcoffset() == created.utcoffset()

    @pytest.mark.parametrize("value", ["2026-05-06T25:00:00", "soon", "", 0, None])
    def test_no_moments(self, value: object) -> None:
        """
        What is no timestamp is refused.
        """
        with pytest.raises(WireError, match=r"^must be an ISO 8601 timestamp @ \$\.created_at"):
            CAMEL.load(CasePayment, CASE_PAYMENT | {"createdAt": value})

    @pytest.mark.parametrize("value", [1, True, None, 1.5, [], {}])
    @pytest.mark.parametrize("field", ["paymentId", "status"])
    def test_strict_texts(self, field: str, value: object) -> None:
        """
        Nothing but text is text.
        """
        with pytest.raises(WireError, match=f"^must be str, not {type(value).__name__} @ "):
            CAMEL.load(CasePayment, CASE_PAYMENT | {field: value})

    @pytest.mark.parametrize("value", ["42", True, Decimal(42), None])
    def test_strict_ints(self, value: object) -> None:
        """
        Nothing but an int is an int, True not excepted.
        """
        with pytest.raises(WireError, match="must be int, not "):
            SNAKE.load(PaymentMethod, {"id": value})

    @pytest.mark.parametrize(
        ("kind", "missing"),
        [(PaymentIntent, "payment_intent_secret"), (UserPaymentUpdated, "code")],
    )
    def test_missing(self, kind: type, missing: str) -> None:
        """
        A missing field is named.
        """
        with pytest.raises(WireError, match=f"(^|; )is missing @ .*{missing}") as caught:
            CAMEL.load(kind, {"canary": "canary"})

        assert "canary" not in str(caught.value)

    def test_no_object(self) -> None:
        """
        What goes wrong in a way that nobody foresaw is told without the words of it.
        """
        with pytest.raises(WireError) as caught:
            CAMEL.load(UserPaymentUpdated, ["canary"])  # type: ignore[arg-type]  # on purpose

        assert "is not as documented @ $.code" == str(caught.value)

    def test_every_flaw(self) -> None:
        """
        All that is wrong stands in one line, which repeats no value.
        """
        with pytest.raises(WireError) as caught:
            CAMEL.load(CasePayment, {"paymentId": 5, "status": "canary", "amount": "canary"})

        flaws = str(caught.value).split("; ")
        assert 3 == len(flaws)
        assert all(flaw.startswith(("is missing @ ", "must be ")) for flaw in flaws)
        assert ["payment", "amount", "created"] == [
            word for word in ("payment", "amount", "created", "status") if word in str(flaws)
        ]
        assert "canary" not in str(caught.value)
        assert "\n" not in str(caught.value)


def _on_the_wire(model: Any, spell: Any) -> Any:
    document = {}
    for field in attrs.fields(type(model)):
        value = getattr(model, field.name)
        if attrs.has(type(value)):
            value = _on_the_wire(value, spell)
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, date):
            value = str(value)
        if value is not None:
            document[spell(field.name)] = value
    return document
