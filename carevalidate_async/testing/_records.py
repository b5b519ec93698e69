"""
What is on record, in the words of the models, and without personal data.

A field that the models keep out of their repr is never shown, be the person made up: what tests
print ends in the logs of other systems, and some tests are made of real cases.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs

from carevalidate_async._checks import check_day, check_flag, check_text, to_dollars, to_uuid
from carevalidate_async._codec import camel
from carevalidate_async.carevalidate import CONFIRM_PAYMENT, CREATE_CASE_PAYMENT
from carevalidate_async.carevalidate import OPERATIONS as CAREVALIDATE_OPERATIONS
from carevalidate_async.models import CasePaymentRequest, PaymentConfirmation
from carevalidate_async.planocore import OPERATIONS as PLANOCORE_OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from carevalidate_async.sandbox import ReceivedRequest, Recorded, RecordedPayment

_FIELDS = {
    field.name: field
    for field in (*attrs.fields(CasePaymentRequest), *attrs.fields(PaymentConfirmation))
}
_WIRE_NAMES = {name: camel(name) for name in _FIELDS}
_PRIVATE = frozenset(name for name, field in _FIELDS.items() if field.repr is False)
_DAYS = frozenset({"payment_date", "valid_until"})
HIDDEN = "(not shown)"
OPERATIONS = tuple(entry.name for entry in (*CAREVALIDATE_OPERATIONS, *PLANOCORE_OPERATIONS))
PAYMENTS = (CONFIRM_PAYMENT.name, CREATE_CASE_PAYMENT.name)
"""Names of the operations that put payments on record."""


def check_operation(name: str | None, known: Iterable[str]) -> None:
    """
    Refuse an operation that there is not: none of it would be found, whatever is there.

    Raises:
        ValueError: *name* is none of those that are *known*.
    """
    if name is not None and name not in known:
        raise ValueError(f"there is no such operation: {name!r}; there are {', '.join(known)}")


def check_names(names: set[str]) -> None:
    """
    Refuse fields that no payment has: to look for them would find nothing, whatever is there.

    Raises:
        TypeError: One of *names* is no field of a payment.
    """
    unknown = sorted(names - _FIELDS.keys())
    if unknown:
        known = ", ".join(_FIELDS)
        msg = f"a recorded payment has no field {unknown[0]!r}; it has {known}, operation"
        raise TypeError(msg)


def as_recorded(fields: Mapping[str, Any]) -> dict[str, object]:
    """
    Return the values of a model's *fields* as a body holds them.

    Raises:
        TypeError: No payment has such a field.
        InvalidRequestError: A value is not of its field's kind, so nothing could be like it.
    """
    check_names(set(fields))
    return {name: _as_recorded(name, value) for name, value in fields.items()}


def _as_recorded(name: str, value: Any) -> object:  # noqa: ANN401  # It refuses what is wrong.
    if value is None:
        return None
    if name == "amount":
        return to_dollars(value)
    if name == "preauthorize":
        check_flag(name, value)
        return value
    if name in _DAYS and not isinstance(value, str):
        check_day(name, value)
        return value.isoformat()
    plain = to_uuid(value.value if isinstance(value, Enum) else value)
    check_text(name, plain)
    return plain


def value_of(payment: RecordedPayment, body: dict[str, Any], name: str) -> object:
    """Return what is on record for a field, None where nothing is."""
    if name == "case_id":
        return payment.case_id
    return body.get(_WIRE_NAMES[name])


def shown(name: str, value: object) -> str:
    """Return how a field's *value* is printed."""
    if value is None:
        return "None"
    if name in _PRIVATE:
        return HIDDEN
    return str(value) if name == "amount" else repr(value)


def told(payment: RecordedPayment) -> str:
    """Return a line about a payment: its operation, and each field that it came with."""
    body = payment.body
    fields = (
        f"{name}={shown(name, value)}"
        for name in sorted(_FIELDS, key=_place)
        if (value := value_of(payment, body, name)) is not None
    )
    return f"{payment.operation}: {', '.join(fields)}"


def told_briefly(entry: Recorded) -> str:
    """Return a line about what is no payment."""
    return f"{entry.operation}: id={entry.id!r}"


def told_request(request: ReceivedRequest) -> str:
    """Return a line about a request: what it was, what went wrong, and what was answered."""
    answer = "no answer" if request.status is None else f"answered {request.status}"
    name = request.operation or f"{request.method} of an unknown path"
    return f"{name}: {request.fault!r}, {answer}"


def _place(name: str) -> tuple[bool, bool]:
    return name != "case_id", name == "idempotency_key"
