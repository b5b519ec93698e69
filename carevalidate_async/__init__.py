"""
Asynchronous payments at CareValidate, and payment methods at planocore.

`CareValidate` is the client; what this module exports stands in ``__all__``. The modules:

- `carevalidate_async.carevalidate`: CareValidate's operations and its client.
- `carevalidate_async.planocore`: planocore's operation and its client, `Planocore`.
- `carevalidate_async.webhooks`: whether a webhook is CareValidate's, and what it says.
- `carevalidate_async.models`: what the operations take and give.
- `carevalidate_async.errors`: what can go wrong, and what it means for the money.
- `carevalidate_async.idempotency`: the keys that make a repeat safe.
- `carevalidate_async.bulk`: many payments at a time.
- `carevalidate_async.events`: what a consumer of events does with a message.
- `carevalidate_async.consumer`: messages from a broker, in the one order that loses none.
- `carevalidate_async.integrations`: consumers for NATS, RabbitMQ, Redis and Kafka.
- `carevalidate_async.hooks`: what a caller can watch.
- `carevalidate_async.session`: a vendor's connections, credential and policy, below the clients.
- `carevalidate_async.journal`: what a run over a file keeps on disk.
- `carevalidate_async.report`: a run over a file as a page for people; it needs the extra ``cli``.
- `carevalidate_async.sandbox`: a local stand-in of both vendors.
- `carevalidate_async.testing`: helps to test what uses the package.
- `carevalidate_async.pytest_plugin`: those helps as fixtures; pytest loads it by itself.
- `carevalidate_async.cli`: the command line; it needs the extra ``cli``.
"""

from __future__ import annotations

import importlib
import typing

from carevalidate_async._version import __version__

if typing.TYPE_CHECKING:
    from carevalidate_async._config import CallOptions, ClientOptions
    from carevalidate_async._policy import RetryPolicy, WorstCase
    from carevalidate_async._quota import RetryQuota
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
        SignatureProblem,
        UnprocessableEntityError,
        WebhookPayloadError,
        WebhookSignatureError,
    )
    from carevalidate_async.hooks import AttemptEnded, CallEnded, CallInfo, CallStarted, Event, Hook
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
    "CallInfo",
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
    "SignatureProblem",
    "UnprocessableEntityError",
    "UserPaymentUpdate",
    "UserPaymentUpdated",
    "WebhookPayloadError",
    "WebhookSignatureError",
    "WorstCase",
    "__version__",
    "derive_idempotency_key",
]

# What is exported is loaded when it is first asked for, so that a command that needs a part of it
# does not wait for all; in this order, since the later ones load the earlier ones anyway.
_HOMES = (
    "errors",
    "hooks",
    "idempotency",
    "models",
    "_policy",
    "_quota",
    "_config",
    "carevalidate",
)
_MODULES = frozenset(
    {
        *("bulk", "carevalidate", "consumer", "errors", "events", "hooks", "idempotency"),
        *("integrations", "journal", "models", "planocore", "pytest_plugin", "sandbox"),
        *("session", "testing"),
        "webhooks",
    }
)

if not typing.TYPE_CHECKING:  # to which each name would be there

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        if name in __all__:
            for home in _HOMES:
                module = importlib.import_module(f"{__name__}.{home}")
                if hasattr(module, name):
                    value = getattr(module, name)
                    globals()[name] = value  # so that this is called once
                    return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
