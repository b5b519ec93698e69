"""
Single calls for people: plain values to a request, an answer or an error to what to do next.

Knows nothing of a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn, TypeVar, cast

import attrs

from carevalidate_async._codec import camel
from carevalidate_async._files.fields import read_amount
from carevalidate_async._operation import KeyInBody, Operation, SetsState
from carevalidate_async.errors import (
    AuthenticationError,
    CareValidateError,
    ConfigurationError,
    InvalidRequestError,
    Outcome,
    PermissionDeniedError,
)
from carevalidate_async.idempotency import new_idempotency_key
from carevalidate_async.models import (
    Answer,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    ShippingAddress,
    UserPaymentUpdate,
)

T = TypeVar("T")

_NESTED: Mapping[type, Mapping[str, type]] = {
    PaymentIntentRequest: {"metadata": PaymentIntentMetadata},
    UserPaymentUpdate: {"shipping_address": ShippingAddress},
}

_MEANS: Mapping[Outcome, str] = {
    Outcome.NOT_SENT: "Nothing reached the vendor; nothing was recorded or changed.",
    Outcome.REJECTED: "The vendor refused it; nothing was recorded or changed.",
    Outcome.RECORDED: "It is on record already; nothing was added.",
    Outcome.UNKNOWN: "It may have been carried out, or not: no trustworthy answer came.",
}


def read_document(text: str | bytes) -> dict[str, Any]:
    """
    Return the JSON object that *text* is, its numbers exact.

    Raises:
        InvalidRequestError: It is no JSON object, or says a field twice; no value is repeated.
    """

    def refuse(_: str) -> NoReturn:
        raise ValueError

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            name = next(name for name in found if names.count(name) > 1)
            raise InvalidRequestError(_shown(name), "is given twice")
        return found

    try:
        document = json.loads(
            text, parse_float=Decimal, parse_constant=refuse, object_pairs_hook=unique
        )
    except InvalidRequestError:
        raise
    except (ValueError, RecursionError, ArithmeticError):
        document = None
    if not isinstance(document, dict):
        raise InvalidRequestError("input", "is not one JSON object")
    return document


def build(kind: type[T], *layers: Mapping[str, Any], above: str = "") -> T:
    """
    Return the *kind* that the values say, as the model checks them.

    Args:
        kind: A request's class.

        layers: Values by field, in snake_case or camelCase; later ones win, and None is as good as
            absent. Amounts may be text.

        above: Field that the *kind* is nested in, for messages.

    Raises:
        InvalidRequestError: A field is unknown, missing or bad; it is named.
    """
    fields = attrs.fields(cast("Any", kind))
    spelled = {spell: f.name for f in fields for spell in (f.name, camel(f.name))}
    nested = _NESTED.get(kind, {})
    values: dict[str, Any] = {}
    parts: dict[str, list[Mapping[str, Any]]] = {}
    for layer in layers:
        _refuse_two_spellings(layer, spelled, above)
    for name, value in (pair for layer in layers for pair in layer.items() if pair[1] is not None):
        if name not in spelled:
            raise InvalidRequestError(f"{above}{_shown(name)}", f"is no field of {kind.__name__}")
        field = spelled[name]
        if field in nested and isinstance(value, Mapping):
            parts.setdefault(field, []).append(value)
        else:
            values[field] = value
    for field, given in parts.items():
        values[field] = build(nested[field], *given, above=f"{field}.")
    if isinstance(values.get("amount"), str):
        try:
            values["amount"] = read_amount(values["amount"].strip())
        except ValueError as error:
            raise InvalidRequestError("amount", str(error)) from None
    for wanted in fields:
        if wanted.default is attrs.NOTHING and wanted.name not in values:
            raise InvalidRequestError(f"{above}{wanted.name}", "is missing")
    return kind(**values)


def _refuse_two_spellings(layer: Mapping[str, Any], spelled: Mapping[str, str], above: str) -> None:
    fields = [spelled[name] for name in layer if name in spelled]
    for field in fields:
        if fields.count(field) > 1:
            raise InvalidRequestError(f"{above}{field}", "is given twice, in two spellings")


def _shown(name: str) -> str:
    """Return a field's name from outside, fit to be printed."""
    return name.encode("utf-8", "backslashreplace").decode()


def keyed(request: T, operation: Operation[T, Any]) -> tuple[T, str | None]:
    """Return *request* under a key of its own, where it can have one, and that key."""
    if not isinstance(operation.idempotency, KeyInBody):
        return request, None
    key: str = getattr(request, "idempotency_key", None) or new_idempotency_key()
    return attrs.evolve(cast("Any", request), idempotency_key=key), key


def answer_text(answer: Answer) -> str:
    """Return *answer* for people: a lone value as it is, several line by line."""
    own = _own(answer)
    if len(own) == 1:
        return str(*own.values())
    return "\n".join(f"{name}: {value}" for name, value in own.items() if value is not None)


def _own(answer: Answer) -> dict[str, Any]:
    ours = {field.name for field in attrs.fields(Answer)}
    names = [field.name for field in attrs.fields(type(answer)) if field.name not in ours]
    return {name: getattr(answer, name) for name in names}


def answer_document(answer: Answer) -> dict[str, Any]:
    """Return *answer* and how the call went as one JSON object."""
    meta = answer.meta
    return {
        **_own(answer),
        "outcome": Outcome.RECORDED,
        "idempotency_key": meta.idempotency_key,
        "attempts": len(meta.attempts),
        "already_recorded": meta.already_recorded,
        "request_id": meta.request_id,
        "elapsed_s": round(meta.elapsed, 3),
    }


def error_document(error: CareValidateError, operation: Operation[Any, Any]) -> dict[str, Any]:
    """Return *error* as one JSON object, free of personal data."""
    return {
        "error": type(error).__name__,
        "summary": error.summary,
        "outcome": error.outcome,
        "retryable": error.retryable,
        "status": getattr(error, "status", None),
        "code": getattr(error, "code", None),
        "idempotency_key": error.idempotency_key,
        "attempts": len(error.attempts),
        "what_to_do": advice(error, operation),
    }


def explain(error: CareValidateError, operation: Operation[Any, Any]) -> str:
    """Return what happened, what it means for the money, and what to do, line by line."""
    lines = [
        f"What happened:   {error.summary or type(error).__name__}",
        f"What it means:   {_MEANS[error.outcome]}",
        f"What to do:      {advice(error, operation)}",
    ]
    if error.idempotency_key is not None:
        lines.append(f"Idempotency key: {error.idempotency_key}")
    return "\n".join(lines)


def advice(error: CareValidateError, operation: Operation[Any, Any]) -> str:
    """Return what to do about *error*."""
    match error.outcome:
        case Outcome.UNKNOWN:
            return _settle(error, operation)
        case Outcome.RECORDED:
            return "Look it up in CareValidate; do not enter it again under another key."
        case _ if isinstance(error, InvalidRequestError | ConfigurationError):
            return "Correct that and run the command again."
        case _ if isinstance(error, AuthenticationError | PermissionDeniedError):
            return "Check the credential in the environment, and that it belongs to this host."
        case _ if error.retryable:
            return "Run the same command again; if it goes on like this, wait a while."
        case _:
            return "Correct what the vendor names, and run the command again."


def _settle(error: CareValidateError, operation: Operation[Any, Any]) -> str:
    match operation.idempotency:
        case KeyInBody():
            return (
                f"Run the same command again with --idempotency-key {error.idempotency_key}: under "
                "one key it is recorded once. Without it, it may be recorded twice."
            )
        case SetsState():
            return "Run the same command again: it says how things shall be, so twice is harmless."
        case _:
            return (
                "Run the command again for a new intent. The lost one takes no money: it cannot be "
                "paid without its secret, which never came here."
            )
