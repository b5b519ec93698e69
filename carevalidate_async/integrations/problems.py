"""
What a web application answers when a call failed: problem documents (RFC 9457), made of our errors.

::

    problem = problem_of(error, caller_key=True)
    problem.status, problem.headers, problem.body()     # application/problem+json

A 4xx says that asking again as it is changes nothing; a 5xx, that it can. Whatever may have put a
payment on record without a word about it has the type ``unknown-outcome``, and a 5xx. No document
repeats the vendor's words: they may hold personal data, or a credential.

Pure: it knows no framework.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from carevalidate_async.errors import (
    AnswerLostError,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CareValidateError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    IdempotencyConflictError,
    InternalServerError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    UnprocessableEntityError,
    WebhookPayloadError,
    WebhookSignatureError,
)

__all__ = ["MEDIA_TYPE", "TYPES", "Problem", "ProblemError", "problem_of"]

MEDIA_TYPE = "application/problem+json"

TYPES: Mapping[str, str] = MappingProxyType(
    {
        "already-recorded": "It is on record already",
        "invalid-request": "The request has a field that cannot be used",
        "key-missing": "The request needs an Idempotency-Key",
        "key-reused": "The Idempotency-Key was used for another request",
        "key-unusable": "The Idempotency-Key cannot be used",
        "not-usable": "The payment service cannot be used as it is set up",
        "rejected": "The payment service refused the request",
        "too-large": "The request is too large",
        "unavailable": "The payment service takes no request for now",
        "unknown-outcome": "It may or may not be on record",
        "webhook-unreadable": "The webhook cannot be read",
        "webhook-unsigned": "The webhook's signature is not good",
    }
)
"""What a problem's type ends in, and its title."""

DERIVED = "cv1-"
"""What the keys that `derive_idempotency_key` makes begin with."""

_PREFIX = "urn:problem-type:carevalidate-async:"


@attrs.frozen(kw_only=True)
class Problem:
    """
    An answer that says what is wrong.

    Attributes:
        kind: One of `TYPES`; the document's ``type`` ends in it.

        status: HTTP status.

        detail: For people, in our own words.

        members: What else the document holds.

        headers: Of the answer, beside its content type.
    """

    kind: str
    status: int
    detail: str
    members: Mapping[str, Any] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the document: its ``type``, ``title``, ``status``, ``detail`` and members."""
        return {
            "type": f"{_PREFIX}{self.kind}",
            "title": TYPES[self.kind],
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }

    def body(self) -> bytes:
        """Return the document as JSON."""
        return json.dumps(self.document()).encode()


class ProblemError(Exception):
    """
    A request that is answered with a problem before any call is made: nothing was sent.

    Attributes:
        problem: The answer.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem.detail


def refusal(kind: str, status: int, detail: str, **headers: str) -> ProblemError:
    """Return the error of a request that is refused before any call."""
    members = {"outcome": Outcome.NOT_SENT, "retryable": False}
    return ProblemError(
        Problem(kind=kind, status=status, detail=detail, members=members, headers=headers)
    )


@attrs.frozen
class _Row:
    kind: str
    status: int
    detail: str


_ROWS: Mapping[type[CareValidateError], _Row] = {
    CareValidateError: _Row("not-usable", 500, "The call failed."),
    InvalidRequestError: _Row("invalid-request", 422, ""),  # the error's own words
    ConfigurationError: _Row(
        "not-usable", 500, "The application's configuration must be corrected."
    ),
    ClientClosedError: _Row(
        "unavailable", 503, "The application is shutting down; another takes over."
    ),
    WebhookSignatureError: _Row("webhook-unsigned", 401, "Nothing of the webhook was used."),
    WebhookPayloadError: _Row("webhook-unreadable", 400, "Nothing of the webhook was used."),
    APIConnectionError: _Row("not-usable", 502, "No trusted connection could be made."),
    AnswerLostError: _Row("not-usable", 502, "The answer was lost."),
    APITimeoutError: _Row("unavailable", 504, "It could not be sent in time."),
    ResponseDecodeError: _Row("not-usable", 502, "The answer cannot be read."),
    APIStatusError: _Row("not-usable", 502, "The answer was none that this request can have."),
    BadRequestError: _Row("rejected", 422, "Correct the request."),
    AuthenticationError: _Row("not-usable", 502, "The application's own credential was refused."),
    PermissionDeniedError: _Row(
        "not-usable", 502, "The application's own credential may not do this."
    ),
    NotFoundError: _Row("rejected", 422, "What the request refers to is not there."),
    ConflictError: _Row("not-usable", 502, "The request conflicts with what is there."),
    IdempotencyConflictError: _Row("already-recorded", 409, "Nothing was added."),
    UnprocessableEntityError: _Row("rejected", 422, "Correct the request."),
    RateLimitError: _Row("unavailable", 503, "Too much is asked of it at the moment."),
    InternalServerError: _Row("not-usable", 502, "It failed before it did anything."),
}
_LONGEST = 86_400.0  # seconds
_NOT_KNOWN = "Nobody knows yet whether it was carried out."
_ASK_AGAIN = f"{_NOT_KNOWN} Ask again with the same Idempotency-Key: it is not done twice."
_REPEAT = f"{_NOT_KNOWN} Ask again: it says how things shall be, and twice is as good as once."
_LOOK_FIRST = f"{_NOT_KNOWN} Asking again could do it twice: look first whether it was."


def problem_of(error: CareValidateError, *, caller_key: bool) -> Problem:
    """
    Return the answer to a request whose call ended in *error*.

    Its members are ``outcome`` (see `Outcome`), ``retryable`` (whether asking again in the same way
    is safe and may help) and, where there is one, ``reference``: the key under which the vendor was
    asked, to find the call in logs. It is not the caller's Idempotency-Key and must not be sent as
    one, which would make another payment. An `InvalidRequestError` adds ``field``; a refusal
    of the vendor's its ``vendor_status``.

    Args:
        error: What the call raised.

        caller_key: Whether the call was made under the Idempotency-Key that the caller sent. The
            document asks to use it again where the vendor's key was derived, and not made for this
            one call.
    """
    if error.outcome is Outcome.UNKNOWN:
        return _unknown(error, caller_key=caller_key)
    row = next(_ROWS[kind] for kind in type(error).__mro__ if kind in _ROWS)
    kind, status, detail = row.kind, row.status, row.detail
    members: dict[str, Any] = {"outcome": error.outcome, "retryable": error.retryable}
    headers: dict[str, str] = {}
    if kind == "not-usable" and error.retryable:
        kind, status, detail = "unavailable", 503, "Nothing was done. Ask again in a while."
    if kind == "unavailable":
        members["retryable"] = True  # whatever was asked for was not done
        headers = _retry_after(error, default=1)
    if isinstance(error, InvalidRequestError):
        members["field"], detail = error.field, error.reason
    if isinstance(error, APIStatusError) and kind == "rejected":
        members["vendor_status"] = error.status
    if isinstance(error, WebhookSignatureError):
        headers = {"WWW-Authenticate": "x-cv-signature"}  # RFC 9110, 15.5.2: a 401 has one
    members |= _reference(error)
    return Problem(kind=kind, status=status, detail=detail, members=members, headers=headers)


def _unknown(error: CareValidateError, *, caller_key: bool) -> Problem:
    keyed = caller_key and (error.idempotency_key or "").startswith(DERIVED)
    # An operation without a key can be asked again where its error says so.
    harmless = error.idempotency_key is None and error.retryable
    again = keyed or harmless
    return Problem(
        kind="unknown-outcome",
        status=504 if isinstance(error, APITimeoutError) else 502,
        detail=_ASK_AGAIN if keyed else _REPEAT if harmless else _LOOK_FIRST,
        members={
            "outcome": error.outcome,
            "retryable": again,
            **_reference(error),
        },
        headers=_retry_after(error, default=None) if again else {},  # It says when to.
    )


def _reference(error: CareValidateError) -> dict[str, str]:
    return {} if error.idempotency_key is None else {"reference": error.idempotency_key}


def _retry_after(error: CareValidateError, *, default: int | None) -> dict[str, str]:
    asked = getattr(error, "retry_after", None)
    seconds = default if asked is None else max(1, math.ceil(min(asked, _LONGEST)))
    return {} if seconds is None else {"Retry-After": str(seconds)}
