"""
CareValidate: how it talks, what it can do, and the client.

Source: the vendor's API pages, Payment > Confirmation, Case Payments and Intent, and Users > Update
user payment.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Unpack

from carevalidate_async._checks import check_uuid
from carevalidate_async._client import Client
from carevalidate_async._codec import Spelling
from carevalidate_async._config import ClientOptions, checked_secret
from carevalidate_async._dialect import Dialect, HeaderSecret, Refusal, is_success
from carevalidate_async._operation import KeyInBody, OnceOnly, Operation, SetsState
from carevalidate_async._private import discreet
from carevalidate_async._secret import Secret
from carevalidate_async.errors import ConfigurationError, IdempotencyConflictError, Outcome
from carevalidate_async.models import (
    CasePayment,
    CasePaymentRequest,
    ConfirmationReceipt,
    PaymentConfirmation,
    PaymentIntent,
    PaymentIntentRequest,
    UserPaymentUpdate,
    UserPaymentUpdated,
)
from carevalidate_async.session import Session

if TYPE_CHECKING:
    import uuid
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping

    from carevalidate_async.bulk import BulkOptions, Row

ORIGINS: Mapping[str, str] = {
    "production": "https://api.care360-next.carevalidate.com",
    "staging": "https://api-staging.care360-next.carevalidate.com",
}


def _affirms(document: Mapping[str, Any]) -> bool | None:
    """``success`` decides; where it is absent, the body's own ``status`` does."""
    if "success" in document:
        said = document["success"]
        return said if isinstance(said, bool) else None
    status = document.get("status")
    return is_success(status) if type(status) is int else None


def _code(document: Mapping[str, Any]) -> str | None:
    code = document.get("code")
    return code if isinstance(code, str) else None


DIALECT = Dialect(
    name="carevalidate",
    secret=HeaderSecret("cv-api-key"),
    codec=Spelling.CAMEL.value,
    affirms=_affirms,
    code_of=_code,
    messages=("message", "error", "description"),
    envelope=frozenset({"status", "success"}),
    refusals={
        # With another status than 409 it may be about the key's form: that is no record.
        "IDEMPOTENCY_ERROR": Refusal(
            error=IdempotencyConflictError, outcome=Outcome.RECORDED, only_with=409
        ),
    },
)


def _as_update_payment_info(fields: dict[str, Any]) -> dict[str, Any]:
    email = fields.pop("email")
    return {"action": "UPDATE_PAYMENT_INFO", "email": email, "data": fields}


CONFIRM_PAYMENT = Operation(
    name="confirm_payment",
    method="POST",
    path="/api/v1/customer-payment-confirmation",
    takes=PaymentConfirmation,
    gives=ConfirmationReceipt,
    dialect=DIALECT,
    idempotency=KeyInBody(field="idempotencyKey", conflict_is_success=True),
)
CREATE_CASE_PAYMENT = Operation(
    name="create_case_payment",
    method="POST",
    path="/api/v1/cases/{case_id}/payments",
    takes=CasePaymentRequest,
    gives=CasePayment,
    dialect=DIALECT,
    # A conflict does not repeat the payment's id, which the caller needs.
    idempotency=KeyInBody(field="idempotencyKey", conflict_is_success=False),
    result=("data", "result"),
)
CREATE_PAYMENT_INTENT = Operation(
    name="create_payment_intent",
    method="POST",
    path="/api/v1/payments/intent",
    takes=PaymentIntentRequest,
    gives=PaymentIntent,
    dialect=DIALECT,
    idempotency=OnceOnly(),
    result=("data",),
)
UPDATE_USER_PAYMENT = Operation(
    name="update_user_payment",
    method="POST",
    path="/api/v1/users",
    takes=UserPaymentUpdate,
    gives=UserPaymentUpdated,
    dialect=DIALECT,
    idempotency=SetsState(),
    shape=_as_update_payment_info,
    result=("data",),
)
OPERATIONS = (CONFIRM_PAYMENT, CREATE_CASE_PAYMENT, CREATE_PAYMENT_INTENT, UPDATE_USER_PAYMENT)


@discreet  # its arguments may hold a key, a proxy's password
class CareValidate(Client):
    """
    The client of CareValidate.

    Make one per process, share it between tasks, and close it::

        async with CareValidate(api_key, environment="staging") as care:
            receipt = await care.confirm_payment(payment)

    Args:
        api_key: Sent in the header ``cv-api-key``; None reads ``CAREVALIDATE_API_KEY``.

        environment: ``production`` or ``staging``; None reads ``CAREVALIDATE_ENVIRONMENT``, and
            takes ``production`` where that is not set either.

        base_url: Another origin, such as the sandbox's, instead of the environment's; None reads
            ``CAREVALIDATE_BASE_URL`` unless *environment* is given.

        options: ``attempt_timeout``, ``deadline``, ``retry``, ``hooks``, ``session``,
            ``connector``, ``max_connections``, ``proxy``, ``ssl``, ``allow_insecure``; see
            `carevalidate_async.ClientOptions`.

    Raises:
        ConfigurationError: No key, an unknown environment, a bad URL or option; it is named.

    Every call raises, beside what it names itself:

    - `InvalidRequestError`: nothing was sent.
    - `ConfigurationError`, `ClientClosedError`, `APIConnectionError`: this attempt was not sent.
    - `AnswerLostError`, `ResponseDecodeError`: it may be on record. `APITimeoutError`:
      ``error.outcome`` says whether it may be.
    - `BadRequestError`, `AuthenticationError`, `PermissionDeniedError`, `NotFoundError`,
      `UnprocessableEntityError`, `RateLimitError`: the vendor said no; nothing was recorded.
    - `InternalServerError`, `ConflictError`, other `APIStatusError`: it may be on record.

    ``error.outcome`` speaks for the whole call: it is `Outcome.UNKNOWN` too where an earlier
    attempt may have landed and no later one settled it.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        environment: str | None = None,
        base_url: str | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        given = Secret(api_key) if api_key is not None else None
        secret = checked_secret(given, what="API key", variable="CAREVALIDATE_API_KEY")
        DIALECT.codec.prepare()
        super().__init__(Session.open(origin_of(environment, base_url), secret, **options))

    async def confirm_payment(
        self, payment: PaymentConfirmation, *, accept_duplicate: bool = False
    ) -> ConfirmationReceipt:
        """
        Record a payment that was taken outside CareValidate.

        Safe to repeat: every attempt carries the same idempotency key. When an attempt's answer is
        lost and a later one hears that the key is on record, that attempt landed, and the receipt
        says ``meta.already_recorded``.

        Args:
            payment: What was paid.

            accept_duplicate: Whether a record made under this key before this call is a success
                too, as it is for a redelivered event or a resumed run.

        Returns:
            The receipt; the payment is on record.

        Raises:
            IdempotencyConflictError: The key was on record before this call
                (`Outcome.RECORDED`); nothing was added.
            CareValidateError: See the class.

        Source: CareValidate docs, Payment > Confirmation.
        """
        return await self._session.run(CONFIRM_PAYMENT, payment, accept_duplicate=accept_duplicate)

    def confirm_payments(
        self,
        payments: Iterable[PaymentConfirmation] | AsyncIterable[PaymentConfirmation],
        **options: Unpack[BulkOptions],
    ) -> AsyncGenerator[Row, None]:
        """
        Record many payments, as fast as the vendor takes them, a bounded number at a time.

        Args:
            payments: Any iterable or async iterable; it is read as fast as rows are sent.

            options: ``concurrency`` (64 in flight at most; no more than ``max_connections`` are on
                the wire), ``rate`` (per second, at most) and more; see
                `carevalidate_async.bulk.confirm_payments`.

        Returns:
            An iterator of rows, each as soon as it is settled, so not in the order of *payments*.
            The errors of payments are in their rows.

        Raises:
            ValueError: An option is out of its range.

            CareValidateError: Upon iteration, after the last row: the run has ended early, since
                the vendor refuses the credential or was down for too long. Payments that were not
                taken from *payments* were not sent.
        """
        # Who makes single calls alone never loads it.
        from carevalidate_async.bulk import confirm_payments

        return confirm_payments(self, payments, **options)

    async def create_case_payment(
        self, case_id: str | uuid.UUID, request: CasePaymentRequest
    ) -> CasePayment:
        """
        Create a payment record for a case, optionally with the amount preauthorized.

        Safe to repeat: every attempt carries the same idempotency key.

        Args:
            case_id: UUID of the case.

            request: What is to be paid.

        Returns:
            The created payment.

        Raises:
            IdempotencyConflictError: A payment under this key is on record (`Outcome.RECORDED`):
                made before this call, or by an attempt whose answer, and with it the payment's id,
                was lost. Nothing was added twice.
            CareValidateError: See the class.

        Source: CareValidate docs, Payment > Case Payments.
        """
        case = str(case_id)
        check_uuid("case_id", case)
        return await self._session.run(CREATE_CASE_PAYMENT, request, path={"case_id": case})

    async def create_payment_intent(self, request: PaymentIntentRequest) -> PaymentIntent:
        """
        Create a Stripe payment intent, to be paid in the payer's browser.

        The vendor takes no idempotency key here, so an attempt that may have arrived is never
        repeated. The payer pays with the returned secret and Stripe Elements. Where the answer was
        lost its secret is lost too; asking again makes another intent.

        Args:
            request: What is to be paid.

        Returns:
            The intent; its secret is a credential.

        Raises:
            CareValidateError: See the class.

        Source: CareValidate docs, Payment > Intent.
        """
        return await self._session.run(CREATE_PAYMENT_INTENT, request)

    async def update_user_payment(self, update: UserPaymentUpdate) -> UserPaymentUpdated:
        """
        Set the saved payment method and shipping address of an existing user.

        Repeating it is harmless: it says how things shall be.

        Args:
            update: The user, and what to save.

        Returns:
            The vendor's confirmation.

        Raises:
            BadRequestError: There is no such user or setup intent; nothing was changed. Its
                `message` may name the user's email address.
            CareValidateError: See the class.

        Source: CareValidate docs, Users > Update user payment.
        """
        return await self._session.run(UPDATE_USER_PAYMENT, update)


def origin_of(environment: str | None, base_url: str | None) -> str:
    """
    Return the origin that a `CareValidate` made with these two calls.

    Args:
        environment: As for `CareValidate`.

        base_url: As for `CareValidate`; returned as it is, not checked.

    Raises:
        ConfigurationError: There is no such environment.
    """
    if base_url is None and environment is None:
        base_url = os.environ.get("CAREVALIDATE_BASE_URL") or None
    if base_url is not None:
        return base_url
    name = environment
    if name is None:  # An empty one that was given is refused: it would mean production.
        name = os.environ.get("CAREVALIDATE_ENVIRONMENT") or "production"
    if name not in ORIGINS:
        raise ConfigurationError(f"environment must be one of {', '.join(ORIGINS)}")
    return ORIGINS[name]
