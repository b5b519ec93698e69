"""
Asynchronous payments at CareValidate, and payment methods at planocore.

`CareValidate` is the client; what this module exports stands in ``__all__``. The modules:

- `carevalidate_async.carevalidate`: CareValidate's operations and its client.
- `carevalidate_async.planocore`: planocore's operation and its client, `Planocore`.
- `carevalidate_async.models`: what the operations take and give.
- `carevalidate_async.errors`: what can go wrong, and what it means for the money.
- `carevalidate_async.idempotency`: the keys that make a repeat safe.
- `carevalidate_async.bulk`: many payments at a time.
- `carevalidate_async.hooks`: what a caller can watch.
- `carevalidate_async.session`: a vendor's connections, credential and policy, below the clients.
- `carevalidate_async.journal`: what a run over a file keeps on disk.
- `carevalidate_async.report`: a run over a file as a page for people; it needs the extra ``cli``.
- `carevalidate_async.sandbox`: a local stand-in of both vendors.
- `carevalidate_async.testing`: helps to test what uses the package.
- `carevalidate_async.cli`: the command line; it needs the extra ``cli``.
"""

from __future__ import annotations

from carevalidate_async._config import CallOptions, ClientOptions
from carevalidate_async._policy import RetryPolicy, WorstCase
from carevalidate_async._quota import RetryQuota
from carevalidate_async._version import __version__
from carevalidate_async.carevalidate import CareValidate
from carevalidate_async.errors import (
    AnswerLostError,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Attempt,
    AuthenticationError,
    BadRequestError,
    CareValidateError,
    ClientClosedError,
    ClientRequiredError,
    ConfigurationError,
    ConflictError,
    GaveUp,
    IdempotencyConflictError,
    InternalServerError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    SessionExpiredError,
    UnprocessableEntityError,
)
from carevalidate_async.hooks import AttemptEnded, CallEnded, CallStarted, Event, Hook
from carevalidate_async.idempotency import derive_idempotency_key
from carevalidate_async.models import (
    Answer,
    CasePayment,
    CasePaymentRequest,
    ConfirmationReceipt,
    Meta,
    PaymentConfirmation,
    PaymentIntent,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    PaymentStatus,
    ShippingAddress,
    UserPaymentUpdate,
    UserPaymentUpdated,
)

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "Answer",
    "AnswerLostError",
    "Attempt",
    "AttemptEnded",
    "AuthenticationError",
    "BadRequestError",
    "CallEnded",
    "CallOptions",
    "CallStarted",
    "CareValidate",
    "CareValidateError",
    "CasePayment",
    "CasePaymentRequest",
    "ClientClosedError",
    "ClientOptions",
    "ClientRequiredError",
    "ConfigurationError",
    "ConfirmationReceipt",
    "ConflictError",
    "Event",
    "GaveUp",
    "Hook",
    "IdempotencyConflictError",
    "InternalServerError",
    "InvalidRequestError",
    "Meta",
    "NotFoundError",
    "Outcome",
    "PaymentConfirmation",
    "PaymentIntent",
    "PaymentIntentMetadata",
    "PaymentIntentRequest",
    "PaymentStatus",
    "PermissionDeniedError",
    "RateLimitError",
    "ResponseDecodeError",
    "RetryPolicy",
    "RetryQuota",
    "SessionExpiredError",
    "ShippingAddress",
    "UnprocessableEntityError",
    "UserPaymentUpdate",
    "UserPaymentUpdated",
    "WorstCase",
    "__version__",
    "derive_idempotency_key",
]
