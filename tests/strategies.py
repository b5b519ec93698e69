"""Random requests and answers, and the shortest way to have an operation seal and read them."""

from __future__ import annotations

import json
import string
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
from hypothesis import strategies as st

from carevalidate_async import carevalidate, planocore
from carevalidate_async._secret import Secret
from carevalidate_async._wire import Reply, Sealed
from carevalidate_async.models import (
    CasePaymentRequest,
    PaymentConfirmation,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    PaymentMethodUpdate,
    PaymentStatus,
    ShippingAddress,
    UserPaymentUpdate,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carevalidate_async._operation import Operation
    from carevalidate_async.errors import CareValidateError
    from carevalidate_async.models import Answer

OPERATIONS: tuple[Operation[Any, Any], ...] = (*carevalidate.OPERATIONS, *planocore.OPERATIONS)
ORIGIN = "https://vendor.example"
CASE_ID = "9f0f2f70-f536-4b1d-8ed4-c831f4a4bcab"
METHOD_ID = 42
CREDENTIAL = "canary-credential"
NOW = 1_767_225_600.0  # 2026-01-01 00:00:00 UTC

CONFIRMATION = PaymentConfirmation(
    case_id="your-case-id",
    amount=50,
    payment_date=date(2025, 1, 1),
    valid_until=date(2025, 2, 1),
    status="PAID",
)
ADDRESS = ShippingAddress(
    address_line1="1600 Pennsylvania Avenue NW",
    city="Washington",
    state="DC",
    country="US",
    postal_code="20500",
)
# A request that each operation takes, by the operation's name.
EXAMPLES: Mapping[str, Any] = {
    "confirm_payment": CONFIRMATION,
    "create_case_payment": CasePaymentRequest(amount=100, description="A case payment"),
    "create_payment_intent": PaymentIntentRequest(amount=Decimal("1.15")),
    "update_user_payment": UserPaymentUpdate(
        email="john@example.com",
        stripe_setup_id="seti_canary",
        nmi_payment_token="nmi-canary",
        shipping_address=ADDRESS,
    ),
    "update_payment_method": PaymentMethodUpdate(exp_month=5, exp_year=2030),
}


def texts(*, min_size: int = 1, max_size: int = 20) -> st.SearchStrategy[str]:
    """Any text that can be sent, not blank."""
    return st.text(st.characters(codec="utf-8"), min_size=min_size, max_size=max_size).filter(
        str.strip
    )


def dollars(*, least_cents: int) -> st.SearchStrategy[Decimal]:
    """Any amount up to 10^12 dollars, in its canonical form or with needless zeros."""
    cents = st.one_of(st.integers(least_cents, 10**4), st.integers(least_cents, 10**14))
    return cents.map(lambda amount: Decimal(f"{amount // 100}.{amount % 100:02}"))


ATOMS = st.text(string.ascii_letters + string.digits + "._+-éß", min_size=1, max_size=12)
EMAILS = st.builds("{}@{}.example".format, ATOMS, ATOMS)
PHONES = st.text(string.digits, min_size=7, max_size=12).map("+{}".format)
KEYS = st.text(string.printable[:94] + " ", min_size=1, max_size=255).filter(
    lambda key: key == key.strip()
)
STATUSES = st.sampled_from(PaymentStatus)
UUIDS = st.uuids().map(str)


@st.composite
def confirmations(draw: st.DrawFn) -> PaymentConfirmation:
    """Any confirmation."""
    first = draw(st.dates(max_value=date(9998, 12, 31)))
    return PaymentConfirmation(
        case_id=draw(texts()),
        amount=draw(dollars(least_cents=0)),
        payment_date=first,
        valid_until=first + timedelta(days=draw(st.integers(0, 365))),
        status=draw(STATUSES),
        email=draw(st.none() | EMAILS),
        phone_number=draw(st.none() | PHONES),
        decision_id=draw(st.none() | texts()),
        description=draw(st.none() | texts()),
        idempotency_key=draw(st.none() | KEYS),
    )


CASE_PAYMENTS = st.builds(
    CasePaymentRequest,
    amount=dollars(least_cents=1),
    description=texts(),
    product_id=st.none() | st.uuids() | UUIDS,
    status=st.none() | STATUSES | texts(),
    idempotency_key=st.none() | KEYS,
    preauthorize=st.none() | st.booleans(),
)
INTENTS = st.builds(
    PaymentIntentRequest,
    amount=dollars(least_cents=1),
    payment_method_types=st.none() | st.lists(texts(), min_size=1, max_size=3),
    metadata=st.none()
    | st.builds(PaymentIntentMetadata, email=st.none() | EMAILS, phone=st.none() | PHONES),
)
ADDRESSES = st.builds(
    ShippingAddress,
    address_line1=texts(),
    city=texts(),
    state=texts(),
    country=texts(),
    postal_code=texts(),
    address_line2=st.just("") | texts(),
)
USER_UPDATES = st.builds(
    UserPaymentUpdate,
    email=EMAILS,
    stripe_setup_id=texts(),
    nmi_payment_token=texts(),
    shipping_address=ADDRESSES,
)
METHOD_FIELDS: Mapping[str, st.SearchStrategy[Any]] = {
    "active": st.booleans(),
    "name_on_card": texts(),
    "exp_month": st.integers(1, 12),
    "exp_year": st.integers(1000, 9999),
    "street": texts(),
    "street2": st.just("") | texts(),
    "city": texts(),
    "province_iso": st.from_regex(r"[a-z]{2}_[a-z0-9]{1,3}", fullmatch=True),
    "postal_code": texts(),
}


@st.composite
def method_updates(draw: st.DrawFn) -> PaymentMethodUpdate:
    """Any update of a payment method."""
    names = draw(st.sets(st.sampled_from(sorted(METHOD_FIELDS)), min_size=1))
    return PaymentMethodUpdate(**{name: draw(METHOD_FIELDS[name]) for name in sorted(names)})


# Any request that each operation takes, by the operation's name.
REQUESTS: Mapping[str, st.SearchStrategy[Any]] = {
    "confirm_payment": confirmations(),
    "create_case_payment": CASE_PAYMENTS,
    "create_payment_intent": INTENTS,
    "update_user_payment": USER_UPDATES,
    "update_payment_method": method_updates(),
}

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
)
# Any JSON value, and more often than chance would have it the names that vendors use.
NAMES = st.sampled_from(
    [
        *("status", "success", "message", "error", "code", "description", "data", "result"),
        *("session", "paymentId", "amount", "createdAt", "paymentIntentSecret", "id", "extra"),
        "meta",
    ]
)
WORDS = st.sampled_from(
    [
        *(200, 201, 400, 401, 409, 500, 1.5, 10**30, True, False, None, "", "no", "PAID"),
        *("IDEMPOTENCY_ERROR", "action-successful", "session-expired", "client-required"),
        *("application-crash", "2026-05-06T12:54:10.287Z", "2026-05-06"),
    ]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(NAMES, WORDS | VALUES, max_size=6)
GOOD_BODIES = (
    b'{"status": 200, "success": true, "data": {"code": "PAYMENT_SETUP_UPDATED"}}',
    b'{"success": true, "data": {"paymentIntentSecret": "pi_1_secret_2"}}',
    (
        b'{"success": true, "data": {"result": {"paymentId": "p", "status": "UNPAID", "amount": 1e2'
        b', "description": null, "createdAt": "2026-05-06T12:54:10.287Z"}}}'
    ),
    b'{"status": "action-successful", "data": [1, {"a": null}]}',
)
ODD_BODIES = (
    b"",
    b"null",
    b"<html><body>502 Bad Gateway</body></html>",
    b"\xef\xbb\xbf{}",
    b'{"success": true, "amount": 1e9999999999999999999}',
    b'{"success": true, "amount": ' + b"9" * 5000 + b"}",
    b'{"success": true, "a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"message": "\\ud800"}',
    b'{"message": "' + b"a" * 20_000 + b'"}',
)
BODIES: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(ODD_BODIES + GOOD_BODIES),
    st.builds(lambda body, end: body[:end], st.sampled_from(GOOD_BODIES), st.integers(0, 150)),
    DOCUMENTS.map(lambda document: json.dumps(document).encode()),
    VALUES.map(lambda value: json.dumps(value).encode()),
)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "retry-after", "x-request-id", "cf-ray", "location"])
    | st.text(max_size=8),
    st.text(max_size=30) | st.sampled_from(["text/html", "120", "-1", "inf", "1e999", "x" * 999]),
    max_size=4,
)
REPLIES = st.builds(
    Reply,
    status=st.sampled_from([200, 201, 204, 302, 400, 401, 409, 429, 500, 503])
    | st.integers(100, 599),
    headers=HEADERS,
    body=BODIES,
)


def fields_of(operation: Operation[Any, Any]) -> dict[str, Any]:
    """Return the fields beside the model's that the operation's method gives."""
    return dict.fromkeys(operation.echo, METHOD_ID)


def seal(operation: Operation[Any, Any], request: object, **changes: Any) -> Sealed:
    """Return *request* sealed, with an argument for whatever *changes* leaves out."""
    where: dict[str, Any] = {
        "origin": ORIGIN,
        "secret": Secret(CREDENTIAL),
        "headers": {},
        "path": {"case_id": CASE_ID},
    }
    where |= {name: value for name, value in changes.items() if name in where}
    fields = changes.get("fields", fields_of(operation))
    head = operation.head(**where)
    return operation.seal(request, head=head, secret=where["secret"], fields=fields)


def read(
    operation: Operation[Any, Any], reply: Reply, *, request: object | None = None
) -> Answer | CareValidateError:
    """Return what *operation* reads in *reply*."""
    result: Answer | CareValidateError = operation.read(
        reply,
        request=EXAMPLES[operation.name] if request is None else request,
        fields=fields_of(operation),
        secret=Secret(CREDENTIAL),
        now=NOW,
    )
    return result


def answer(
    operation: Operation[Any, Any], status: int, body: object, **headers: str
) -> Answer | CareValidateError:
    """Return what *operation* reads in an answer with *body*: bytes, or what is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read(operation, Reply(status=status, headers=named, body=data))


def private_of(model: Any) -> list[str]:
    """Return every text in *model*, at any depth, whose field is kept out of its repr."""
    found = []
    for field in attrs.fields(type(model)):
        value = getattr(model, field.name)
        if attrs.has(type(value)):
            found += private_of(value)
        elif not field.repr and isinstance(value, str):
            found.append(value)
    return found
