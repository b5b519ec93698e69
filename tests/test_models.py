from __future__ import annotations

import enum
import uuid
from datetime import UTC, date, datetime
from decimal import (
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
    Subnormal,
    localcontext,
)
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carevalidate_async._checks import to_dollars
from carevalidate_async._codec import ANSWERS
from carevalidate_async._codec import REQUESTS as REQUEST_KINDS
from carevalidate_async._private import private_texts
from carevalidate_async._wire import NoReply, Reply
from carevalidate_async.errors import InvalidRequestError, Outcome
from carevalidate_async.models import (
    CasePayment,
    CasePaymentRequest,
    ConfirmationReceipt,
    Meta,
    PaymentConfirmation,
    PaymentIntent,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    PaymentMethod,
    PaymentMethodUpdate,
    PaymentStatus,
    ShippingAddress,
    UserPaymentUpdate,
    UserPaymentUpdated,
)
from strategies import (
    ADDRESS,
    EXAMPLES,
    KEYS,
    OPERATIONS,
    REQUESTS,
    dollars,
    private_of,
    read,
    seal,
)

if TYPE_CHECKING:
    from carevalidate_async._operation import Operation

# The fewest fields of each request that are accepted.
GOOD: dict[type, dict[str, Any]] = {
    PaymentConfirmation: {
        "case_id": "c",
        "amount": 50,
        "payment_date": date(2025, 1, 1),
        "valid_until": date(2025, 2, 1),
        "status": "PAID",
    },
    CasePaymentRequest: {"amount": 100, "description": "d"},
    PaymentIntentRequest: {"amount": 100},
    PaymentIntentMetadata: {},
    ShippingAddress: {
        "address_line1": "1 Main St",
        "city": "Washington",
        "state": "DC",
        "country": "US",
        "postal_code": "20500",
    },
    UserPaymentUpdate: {
        "email": "john@example.com",
        "stripe_setup_id": "seti_1",
        "nmi_payment_token": "nmi_1",
        "shipping_address": ADDRESS,
    },
    PaymentMethodUpdate: {"exp_month": 5},
}
LONG_KEY = "k" * 256
SURROGATE = "canary\ud800"
CANARY = "canary"

# Class, field, bad value, words of the reason.
REFUSED: list[tuple[type, str, Any, str]] = [
    *(
        (kind, "amount", value, words)
        for kind in (PaymentConfirmation, CasePaymentRequest, PaymentIntentRequest)
        for value, words in [
            (1.15, "is a float, which cannot hold cents exactly"),
            (float("nan"), "is a float"),
            (True, "must be a Decimal or an int, not bool"),
            ("1.15", "must be a Decimal or an int, not str"),
            (None, "must be a Decimal or an int, not NoneType"),
            (1 + 0j, "must be a Decimal or an int, not complex"),
            (Decimal("NaN"), "must be a finite number"),
            (Decimal("sNaN"), "must be a finite number"),
            (Decimal("Infinity"), "must be a finite number"),
            (Decimal("-Infinity"), "must be a finite number"),
            (Decimal("1.155"), "1.155 is finer than a cent"),
            (Decimal("0.001"), "finer than a cent"),
            (Decimal("1E-999999"), "finer than a cent"),
            (Decimal("1000000000000.01"), "must be at most 1000000000000"),
            (Decimal("1E+999999"), "must be at most"),
            (10**12 + 1, "must be at most"),
            (10**5000, "must be at most"),
            (-(10**13), "must be at most"),
        ]
    ),
    (PaymentConfirmation, "amount", -1, "must not be negative"),
    (PaymentConfirmation, "amount", Decimal("-0.01"), "must not be negative"),
    (CasePaymentRequest, "amount", 0, "must be a positive number"),
    (CasePaymentRequest, "amount", Decimal("-0.00"), "must be a positive number"),
    (CasePaymentRequest, "amount", -5, "must be a positive number"),
    (PaymentIntentRequest, "amount", 0, "must be a positive number"),
    (PaymentIntentRequest, "amount", -5, "must be a positive number"),
    *(
        (kind, field, value, words)
        for kind, fields in [
            (PaymentConfirmation, ["case_id", "phone_number", "decision_id", "description"]),
            (CasePaymentRequest, ["description", "status"]),
            (PaymentIntentMetadata, ["phone"]),
            (ShippingAddress, ["address_line1", "city", "state", "country", "postal_code"]),
            (UserPaymentUpdate, ["email", "stripe_setup_id", "nmi_payment_token"]),
            (PaymentMethodUpdate, ["name_on_card", "street", "city", "postal_code"]),
        ]
        for field in fields
        for value, words in [
            ("", "must not be empty"),
            (" \n", "must not be empty"),
            (5, "must be text, not int"),
            (b"canary", "must be text, not bytes"),
            (SURROGATE, "lone surrogate"),
        ]
    ),
    (PaymentConfirmation, "case_id", None, "must be text, not NoneType"),
    (CasePaymentRequest, "description", None, "must be text, not NoneType"),
    *(
        (kind, "email", value, "is not an email address")
        for kind in (PaymentConfirmation, PaymentIntentMetadata, UserPaymentUpdate)
        for value in ["canary", "canary@", "@canary", "a@b@canary", "can ary@x", "canary@x\n"]
    ),
    *(
        (PaymentConfirmation, field, value, words)
        for field in ("payment_date", "valid_until")
        for value, words in [
            ("2025-01-01", "must be a datetime.date, not str"),
            (datetime(2025, 1, 1, tzinfo=UTC), r"give the calendar day with .date()"),
            (None, "must be a datetime.date, not NoneType"),
            (20250101, "must be a datetime.date, not int"),
        ]
    ),
    (PaymentConfirmation, "valid_until", date(2024, 12, 31), "2024-12-31 is before payment_date"),
    *(
        (PaymentConfirmation, "status", value, "must be one of PAID, UNPAID, CANCELED, ")
        for value in ["paid", "", "PAYED", None, 1, ["PAID"]]
    ),
    (CasePaymentRequest, "status", 5, "must be text, not int"),
    (CasePaymentRequest, "status", ["PAID"], "must be text, not list"),
    *(
        (CasePaymentRequest, "product_id", value, words)
        for value, words in [
            ("canary", "is not a UUID"),
            ("{0d8b6f56-4f10-4b68-89c5-cf6593f74c0f}", "is not a UUID"),
            ("0d8b6f564f104b6889c5cf6593f74c0f", "is not a UUID"),
            ("0d8b6f56-4f10-4b68-89c5-cf6593f74c0f\n", "is not a UUID"),
            ("", "must not be empty"),
            (5, "must be text, not int"),
        ]
    ),
    (CasePaymentRequest, "preauthorize", "yes", "must be True or False, not str"),
    (CasePaymentRequest, "preauthorize", 1, "must be True or False, not int"),
    *(
        (kind, "idempotency_key", value, words)
        for kind in (PaymentConfirmation, CasePaymentRequest)
        for value, words in [
            ("", "must not be empty"),
            (" ", "must not be empty"),
            (LONG_KEY, "has 256 characters; 255 at most"),
            (" key", "without blanks at either end"),
            ("key ", "without blanks at either end"),
            ("key\n", "must be printable ASCII"),
            ("ke\ty", "must be printable ASCII"),
            ("ke\x7fy", "must be printable ASCII"),
            ("kéy", "must be printable ASCII"),
            (5, "must be text, not int"),
            (uuid.UUID(int=5), "must be text, not UUID"),
        ]
    ),
    (PaymentIntentRequest, "payment_method_types", "card", "must be a sequence of names"),
    (PaymentIntentRequest, "payment_method_types", 5, "must be a sequence of names"),
    (PaymentIntentRequest, "payment_method_types", (), "must name one at least"),
    (PaymentIntentRequest, "payment_method_types", ("card", ""), "must not be empty"),
    (PaymentIntentRequest, "payment_method_types", ("card", None), "must be text"),
    (PaymentIntentRequest, "payment_method_types", b"card", "must be text, not int"),
    (PaymentIntentRequest, "metadata", {"email": "canary"}, "must be a PaymentIntentMetadata"),
    (ShippingAddress, "address_line2", None, "must be text, not NoneType"),
    (ShippingAddress, "address_line2", SURROGATE, "lone surrogate"),
    (UserPaymentUpdate, "shipping_address", {"city": "canary"}, "must be a ShippingAddress"),
    (UserPaymentUpdate, "email", None, "must be text, not NoneType"),
    *(
        (PaymentMethodUpdate, "exp_month", value, words)
        for value, words in [
            (0, "must be from 1 to 12"),
            (13, "must be from 1 to 12"),
            (10**5000, "must be from 1 to 12"),
            (True, "must be an int, not bool"),
            ("5", "must be an int, not str"),
            (5.0, "must be an int, not float"),
        ]
    ),
    (PaymentMethodUpdate, "exp_year", 30, "must be from 1000 to 9999"),
    (PaymentMethodUpdate, "exp_year", 10_000, "must be from 1000 to 9999"),
    (PaymentMethodUpdate, "active", 1, "must be True or False, not int"),
    (PaymentMethodUpdate, "active", "canary", "must be True or False, not str"),
    (PaymentMethodUpdate, "street2", 5, "must be text, not int"),
    (PaymentMethodUpdate, "province_iso", "CO", "must look like us_co"),
    (PaymentMethodUpdate, "province_iso", "US_CO", "must look like us_co"),
    (PaymentMethodUpdate, "province_iso", "us_co\n", "must look like us_co"),
    (PaymentMethodUpdate, "province_iso", "", "must not be empty"),
]


def case_name(value: object) -> str:
    """Return a short name of a parametrized value, the same in every process."""
    if isinstance(value, type):
        return value.__name__
    return ascii(value)[1:25] if isinstance(value, str) else type(value).__name__


class TestRefusals:
    @pytest.mark.parametrize(("kind", "field", "value", "words"), REFUSED, ids=case_name)
    def test_names_field_and_reason(self, kind: type, field: str, value: Any, words: str) -> None:
        """
        A bad value is refused when the request is made, by field and reason and without the value.
        """
        with pytest.raises(InvalidRequestError) as caught:
            kind(**GOOD[kind] | {field: value})

        error = caught.value
        assert field == error.field
        assert words in error.reason
        assert f"{field}: {error.reason}" == str(error)
        assert CANARY not in str(error)
        assert Outcome.NOT_SENT is error.outcome
        assert not error.retryable

    @pytest.mark.parametrize("kind", GOOD, ids=case_name)
    def test_every_field_is_checked(self, kind: type) -> None:
        """
        There is no field of a request that takes just anything.
        """
        checked = {field for other, field, _, _ in REFUSED if other is kind}

        assert {field.name for field in attrs.fields(kind)} == checked

    def test_table_has_every_request(self) -> None:
        """
        The tables here know every class of request that the codec knows.
        """
        assert set(REQUEST_KINDS) == set(GOOD)

    def test_changes_nothing(self) -> None:
        """
        An update of a payment method that sets no field is refused.
        """
        with pytest.raises(InvalidRequestError, match="payment_method: changes nothing"):
            PaymentMethodUpdate()

    @pytest.mark.parametrize("kind", GOOD, ids=case_name)
    def test_checked_when_changed(self, kind: type) -> None:
        """
        No field can be set afterwards, and a changed copy passes the same checks.
        """
        model = kind(**GOOD[kind])
        field, value = next((f, v) for other, f, v, _ in REFUSED if other is kind)

        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(model, field, value)
        with pytest.raises(InvalidRequestError, match=field):
            attrs.evolve(model, **{field: value})

    @pytest.mark.parametrize("kind", GOOD, ids=case_name)
    def test_by_name_only(self, kind: type) -> None:
        """
        Fields are given by name: nothing can land in the wrong one.
        """
        with pytest.raises(TypeError):
            kind(*GOOD[kind].values() or [None])


class TestAccepted:
    @pytest.mark.parametrize(
        ("kind", "field", "value"),
        [
            (PaymentConfirmation, "amount", 0),
            (PaymentConfirmation, "amount", 10**12),
            (PaymentConfirmation, "valid_until", date(2025, 1, 1)),
            (PaymentConfirmation, "email", "jörg+x@exämple"),
            (PaymentConfirmation, "idempotency_key", "k" * 255),
            (PaymentConfirmation, "idempotency_key", "~ inner blank !"),
            (CasePaymentRequest, "amount", Decimal("0.01")),
            (CasePaymentRequest, "product_id", "0D8B6F56-4F10-4B68-89C5-CF6593F74C0F"),
            (CasePaymentRequest, "status", "CAPTURED"),
            (CasePaymentRequest, "preauthorize", False),
            (PaymentIntentRequest, "payment_method_types", ("something_new",)),
            (ShippingAddress, "address_line2", ""),
            (PaymentMethodUpdate, "street2", ""),
            (PaymentMethodUpdate, "active", False),
            (PaymentMethodUpdate, "province_iso", "us_co"),
        ],
        ids=case_name,
    )
    def test_kept(self, kind: type, field: str, value: object) -> None:
        """
        Values at the very edge of what is allowed are taken, and kept as they were given.
        """
        assert value == getattr(kind(**GOOD[kind] | {field: value}), field)

    @pytest.mark.parametrize("status", PaymentStatus)
    def test_documented_statuses(self, status: PaymentStatus) -> None:
        """
        A status can be given as its text or as itself; the model holds the enum's member.
        """
        by_text = PaymentConfirmation(**GOOD[PaymentConfirmation] | {"status": status.value})
        case = CasePaymentRequest(amount=1, description="d", status=status.value)

        assert status is by_text.status
        assert status is case.status

    def test_all_statuses_of_the_page(self) -> None:
        """
        The statuses are those of the vendor's page, in its order.
        """
        page = ["PAID", "UNPAID", "CANCELED", "IN_DISPUTE", "LOST_DISPUTE", "REFUND", "ERROR"]

        assert page == list(PaymentStatus)

    def test_uuid_objects(self) -> None:
        """
        A product's id can be given as a UUID object.
        """
        text = "0d8b6f56-4f10-4b68-89c5-cf6593f74c0f"

        request = CasePaymentRequest(amount=1, description="d", product_id=uuid.UUID(text))

        assert text == request.product_id

    @pytest.mark.parametrize("names", [["card", "klarna"], iter(["card", "klarna"])])
    def test_names_become_a_tuple(self, names: Any) -> None:
        """
        Payment method types are taken from any iterable, in its order.
        """
        request = PaymentIntentRequest(amount=1, payment_method_types=names)

        assert ("card", "klarna") == request.payment_method_types

    @settings(max_examples=50, deadline=None)
    @given(key=KEYS)
    def test_keys(self, key: str) -> None:
        """
        Any printable ASCII text of up to 255 characters without outer blanks is a key.
        """
        assert (
            key
            == CasePaymentRequest(amount=1, description="d", idempotency_key=key).idempotency_key
        )

    def test_equal_by_value(self) -> None:
        """
        Equal requests are equal and hash alike, however their amounts were written.
        """
        one = PaymentConfirmation(**GOOD[PaymentConfirmation])
        two = PaymentConfirmation(**GOOD[PaymentConfirmation] | {"amount": Decimal("50.00")})

        assert one == two
        assert 1 == len({one, two})


class TestDollars:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (50, "50"),
            (Decimal(50), "50"),
            (Decimal("50.00"), "50"),
            (Decimal("5E+1"), "50"),
            (Decimal("1.15"), "1.15"),
            (Decimal("1.1"), "1.10"),
            (Decimal("1.100000"), "1.10"),
            (Decimal("115E-2"), "1.15"),
            (0, "0"),
            (Decimal("-0"), "0"),
            (Decimal("-0.00"), "0"),
            (Decimal("0E+30"), "0"),
            (Decimal("-1.5"), "-1.50"),
            (10**12, "1000000000000"),
            (Decimal("1E+12"), "1000000000000"),
            (Decimal("999999999999.99"), "999999999999.99"),
        ],
    )
    def test_one_form(self, value: Decimal | int, text: str) -> None:
        """
        Equal amounts have one form: no exponent, no minus zero, no cents or both digits of them.
        """
        assert text == str(to_dollars(value))

    @settings(max_examples=100, deadline=None)
    @given(amount=dollars(least_cents=0), zeros=st.integers(0, 5))
    def test_exact(self, amount: Decimal, zeros: int) -> None:
        """
        Any amount with two places up to 10^12 comes out as the very number it went in as.
        """
        written = Decimal(f"{amount}{'0' * zeros}")

        assert amount == to_dollars(written)
        assert to_dollars(amount).as_tuple() == to_dollars(to_dollars(written)).as_tuple()

    @pytest.mark.parametrize("precision", [1, 3, 28])
    def test_callers_context(self, precision: int) -> None:
        """
        A decimal context of the caller's that is narrow and traps everything changes nothing.
        """
        traps = [Inexact, Rounded, Subnormal, Overflow, FloatOperation, DivisionByZero]
        with localcontext(Context(prec=precision, traps=[*traps, InvalidOperation])):
            exact = to_dollars(Decimal("999999999999.99"))
            with pytest.raises(InvalidRequestError, match="finer than a cent"):
                to_dollars(Decimal("123456.789"))
            with pytest.raises(InvalidRequestError, match="finite"):
                to_dollars(Decimal("sNaN"))

        assert "999999999999.99" == str(exact)

    def test_context_without_traps(self) -> None:
        """
        Nor does one that traps nothing, under which bad numbers would become NaN in silence.
        """
        with localcontext(Context(prec=1, traps=[])):
            assert "12345.67" == str(to_dollars(Decimal("12345.67")))

    def test_int_like(self) -> None:
        """
        An int of a subclass is an int.
        """
        assert "5" == str(to_dollars(enum.IntEnum("Five", {"FIVE": 5}).FIVE))  # type: ignore[attr-defined]  # made at run time


class TestReprs:
    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
    def test_requests(self, operation: Operation[Any, Any], data: st.DataObject) -> None:
        """
        No private text of a request is in its repr, nor in that of the sealed request.
        """
        request = data.draw(REQUESTS[operation.name])
        # Whatever a field holds, its repr is that of the same request with the text replaced.
        blanked = _blanked(request)

        assert repr(blanked) == repr(request)
        assert repr(seal(operation, _keyed(blanked))) == repr(seal(operation, _keyed(request)))

    @pytest.mark.parametrize(
        ("kind", "private"),
        [
            (PaymentConfirmation, {"email", "phone_number", "description"}),
            (CasePaymentRequest, {"description"}),
            (PaymentIntentRequest, set()),
            (PaymentIntentMetadata, {"email", "phone"}),
            (
                ShippingAddress,
                {"address_line1", "address_line2", "city", "state", "country", "postal_code"},
            ),
            (UserPaymentUpdate, {"email", "stripe_setup_id", "nmi_payment_token"}),
            (
                PaymentMethodUpdate,
                {"name_on_card", "street", "street2", "city", "province_iso", "postal_code"},
            ),
            (ConfirmationReceipt, {"extra"}),
            (CasePayment, {"extra", "description"}),
            (PaymentIntent, {"extra", "payment_intent_secret"}),
            (UserPaymentUpdated, {"extra"}),
            (PaymentMethod, {"extra", "data"}),
            (Meta, {"headers"}),
        ],
        ids=case_name,
    )
    def test_what_is_private(self, kind: type, private: set[str]) -> None:
        """
        Personal data, credentials and what the vendor may add are left out of the repr.
        """
        assert private == {field.name for field in attrs.fields(kind) if not field.repr}

    def test_every_answer_is_listed(self) -> None:
        """
        The answers listed above are all that the codec knows.
        """
        kinds = {ConfirmationReceipt, CasePayment, PaymentIntent, UserPaymentUpdated, PaymentMethod}

        assert set(ANSWERS) == kinds

    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
    def test_answers(self, operation: Operation[Any, Any]) -> None:
        """
        No secret, no description and no unknown field of an answer is in its repr.
        """
        body = (
            b'{"success": true, "status": "action-successful", "canary0": "canary", "data": '
            b'{"paymentIntentSecret": "canary", "code": "X", "canary1": "canary", "result": '
            b'{"paymentId": "p", "status": "UNPAID", "amount": 1, "description": "canary", '
            b'"createdAt": "2026-05-06T12:54:10Z", "canary2": "canary"}}}'
        )

        answer = read(operation, Reply(status=200, headers={"x": CANARY}, body=body))

        assert isinstance(answer, operation.gives)
        assert CANARY not in repr(answer)

    def test_wire(self) -> None:
        """
        Neither a reply nor a missing one prints what it holds.
        """
        reply = Reply(status=200, headers={"set-cookie": CANARY}, body=b"canary")
        lost = NoReply(what="lost", sent=True, cause=ValueError(CANARY))

        assert "Reply(status=200)" == repr(reply)
        assert CANARY not in repr(lost)


class TestPrivateTexts:
    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize("name", REQUESTS)
    def test_all_depths(self, name: str, data: st.DataObject) -> None:
        """
        The texts to be blanked out are those that the reprs leave out, nested models included.
        """
        request = data.draw(REQUESTS[name])

        assert [text for text in private_of(request) if text] == list(private_texts(request))

    def test_nothing_in_others(self) -> None:
        """
        What is no model has no private texts.
        """
        assert [] == list(private_texts("canary"))


class TestMeta:
    def test_defaults(self) -> None:
        """
        A bare Meta claims nothing.
        """
        meta = Meta()

        assert (None, (), False, 0, None, 0.0, {}) == attrs.astuple(meta)

    def test_equality(self) -> None:
        """
        Two receipts are equal whatever it took to get them.
        """
        assert ConfirmationReceipt() == ConfirmationReceipt(meta=Meta(status=200))


def _blanked(model: Any) -> Any:
    changes: dict[str, Any] = {}
    for field in attrs.fields(type(model)):
        value = getattr(model, field.name)
        if attrs.has(type(value)):
            changes[field.name] = _blanked(value)
        elif isinstance(value, str) and not field.repr and value:
            changes[field.name] = "xx_99" if field.name == "province_iso" else "other@example"
    return attrs.evolve(model, **changes)


def _keyed(model: Any) -> Any:
    if hasattr(model, "idempotency_key"):
        return attrs.evolve(model, idempotency_key="key-1")
    return model


def test_examples_are_of_every_operation() -> None:
    """
    There is an example request of the right class for each operation.
    """
    assert {op.name: op.takes for op in OPERATIONS} == {
        name: type(request) for name, request in EXAMPLES.items()
    }
