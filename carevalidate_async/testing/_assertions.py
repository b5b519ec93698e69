"""
What must be true of what is on record, and what is said where it is not.

Plain functions: each returns what is wrong as text, or None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from carevalidate_async.sandbox import Fault, ReceivedRequest, Recorded, RecordedPayment
from carevalidate_async.sandbox._checks import read_json
from carevalidate_async.testing._records import (
    HIDDEN,
    OPERATIONS,
    PAYMENTS,
    as_recorded,
    check_operation,
    shown,
    told,
    told_briefly,
    told_request,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST = 10  # lines of a list that are shown


@attrs.frozen(kw_only=True)
class Seen:
    """
    What a sandbox saw, at one moment.

    Attributes:
        payments: On record, oldest first.

        others: What else is on record: intents, and updates.

        requests: What arrived and is kept, in order.

        received: How many arrived, kept or not.

        organizations: Whose each API key is.

        script_left: Scripted faults that no request has met.
    """

    payments: list[RecordedPayment]
    others: list[Recorded]
    requests: list[ReceivedRequest]
    received: int
    organizations: Mapping[str, str] = attrs.field(repr=False)
    script_left: tuple[Fault, ...]


@attrs.frozen(kw_only=True)
class Wanted:
    """
    What a payment on record is to be like.

    Attributes:
        operation: Name of its operation, None for any.

        fields: Values by the names of the models' fields.
    """

    operation: str | None
    fields: Mapping[str, object] = attrs.field(repr=False, converter=as_recorded)

    def __attrs_post_init__(self) -> None:
        check_operation(self.operation, PAYMENTS)

    def __str__(self) -> str:
        words = ", ".join(f"{name}={shown(name, value)}" for name, value in self.fields.items())
        return f"{self.operation or 'payment'} with {words or 'any fields'}"

    def differences(self, payment: RecordedPayment) -> list[str]:
        """Return what of *payment* is otherwise."""
        body = payment.body
        found = []
        if self.operation not in {None, payment.operation}:
            found.append(f"operation is {payment.operation}")
        for name, wanted in self.fields.items():
            there = value_of(payment, body, name)
            if wanted != there:
                text = shown(name, there)
                found.append(f"{name} differs" if text == HIDDEN else f"{name} is {text}")
        return found


def wrong_with_number(seen: Seen, wanted: Wanted, times: int) -> tuple[str | None, list[int]]:
    """
    Compare how many payments are as *wanted* with *times*.

    Returns:
        What is wrong, and the places of those that are as wanted.
    """
    apart = [wanted.differences(payment) for payment in seen.payments]
    places = [place for place, differences in enumerate(apart) if not differences]
    if len(places) == times:
        return None, places
    lines = [
        told(payment) + (f"  <- {', '.join(differences)}" if differences else "  <- as wanted")
        for payment, differences in zip(seen.payments, apart, strict=True)
    ]
    text = f"{times} on record expected, {len(places)} found: {wanted}"
    return _with_lists(text, seen, lines), places


def wrong_with_nothing(seen: Seen) -> str | None:
    """Tell what is on record where nothing should be."""
    entries = [*map(told, seen.payments), *map(told_briefly, seen.others)]
    if not entries:
        return None
    return _with_lists(f"nothing on record expected, {len(entries)} found", seen, entries)


def wrong_with_attempts(seen: Seen, times: int, operation: str | None) -> str | None:
    """Compare how many requests arrived with *times*."""
    check_operation(operation, OPERATIONS)
    if operation is None:
        count = seen.received
    elif lost := _wrong_with_what_is_kept(seen):
        return lost
    else:
        count = sum(operation == request.operation for request in seen.requests)
    if count == times:
        return None
    what = "requests" if operation is None else f"requests of {operation}"
    return f"{times} {what} expected, {count} arrived{_listed(map(told_request, seen.requests))}"


def wrong_with_keys(seen: Seen) -> str | None:
    """
    Tell what could be, or was, recorded twice.

    A payment without a key; one that is there twice under different keys; and one key under which
    different bytes were sent.
    """
    without = [told(payment) for payment in seen.payments if payment.idempotency_key is None]
    if without:
        return f"recorded without an idempotency key{_listed(without)}"
    alike: dict[object, list[RecordedPayment]] = {}
    for payment in seen.payments:
        alike.setdefault(_but_for_the_key(payment), []).append(payment)
    twice = [told(payment) for same in alike.values() if len(same) > 1 for payment in same]
    if twice:
        return f"recorded more than once, under different keys{_listed(twice)}"
    sent = {  # Keys are of an organization, whichever of its API keys they came with.
        (seen.organizations.get(request.headers.get("cv-api-key", "")), request.path, request.body)
        for request in seen.requests
        if request.operation
    }
    keys = Counter((whose, key) for whose, _, body in sent if (key := _key_in(body)) is not None)
    changed = sorted({key for (_, key), count in keys.items() if count > 1})
    if changed:
        return f"sent with different contents under one idempotency key{_listed(changed)}"
    return _wrong_with_what_is_kept(seen)


def wrong_with_script(seen: Seen) -> str | None:
    """Tell which scripted faults no request has met."""
    left = seen.script_left
    if not left:
        return None
    text = f"scripted faults that no request has met: {', '.join(map(repr, left))}"
    return f"{text}; requests that arrived{_listed(map(told_request, seen.requests))}"


def _wrong_with_what_is_kept(seen: Seen) -> str | None:
    """Tell that some requests are forgotten, and nothing can be said of them."""
    if len(seen.requests) == seen.received:
        return None
    return (
        f"{seen.received} requests arrived, and the sandbox keeps {len(seen.requests)} of them: "
        "give it neither keep_requests nor keep_bytes"
    )


def _but_for_the_key(payment: RecordedPayment) -> object:
    # Values are texts, flags and numbers, of which 5 and 5.00 are the same.
    body = frozenset(item for item in payment.body.items() if item[0] != "idempotencyKey")
    return payment.organization, payment.operation, payment.case_id, body


def _key_in(body: bytes) -> str | None:
    try:
        document = read_json(body)
    except ValueError:
        return None
    key = document.get("idempotencyKey") if isinstance(document, dict) else None
    return key if isinstance(key, str) else None


def _with_lists(text: str, seen: Seen, lines: list[str]) -> str:
    requests = [told_request(request) for request in seen.requests]
    return f"{text}\non record{_listed(lines)}\nrequests that arrived{_listed(requests)}"


def _listed(lines: Iterable[str]) -> str:
    every = list(lines)
    if not every:
        return ": none"
    shown_lines = [f"  {number}. {line}" for number, line in enumerate(every[:_MOST], 1)]
    more = [f"  and {len(every) - _MOST} more"] if len(every) > _MOST else []
    return "\n".join([":", *shown_lines, *more])
