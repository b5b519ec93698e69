"""
What can go wrong with a call, and what each error means for the money.

::

    CareValidateError
    ├── InvalidRequestError (also a ValueError)   refused here, before sending
    ├── ConfigurationError                        no key, a bad URL, a bad option
    ├── ClientClosedError                         used after close
    ├── APIConnectionError                        no connection was made
    │   ├── AnswerLostError                       connected, then no trustworthy answer
    │   └── APITimeoutError                       the time was up
    ├── ResponseDecodeError                       a 2xx that cannot be read
    ├── WebhookSignatureError                     a webhook that the vendor did not sign
    ├── WebhookPayloadError                       a webhook that cannot be read
    └── APIStatusError                            the vendor answered, and not with a success
        ├── BadRequestError                       400
        ├── AuthenticationError                   401
        │   ├── SessionExpiredError               planocore "session-expired"
        │   └── ClientRequiredError               planocore "client-required"
        ├── PermissionDeniedError                 403
        ├── NotFoundError                         404
        ├── ConflictError                         409
        │   └── IdempotencyConflictError          the key is on record already
        ├── UnprocessableEntityError              422
        ├── RateLimitError                        429
        └── InternalServerError                   5xx

Every error carries `outcome` (what is known about the money), `retryable`, `idempotency_key` and
`attempts`. The class says what happened; only `outcome` says whether anything was recorded, because
it speaks for the whole call and not just for its last attempt.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping


class Outcome(enum.StrEnum):
    """What the caller knows about the money after a call."""

    NOT_SENT = "not_sent"
    """Nothing reached the vendor."""

    REJECTED = "rejected"
    """The vendor answered no: it recorded nothing, and changed nothing."""

    RECORDED = "recorded"
    """It is on record."""

    UNKNOWN = "unknown"
    """
    It may or may not be on record: ask again with the same idempotency key. An operation without
    one that says how things shall be can be asked again as it is.
    """


class GaveUp(enum.StrEnum):
    """Why a call that failed was not tried again."""

    FINAL = "final"
    """Another try would end as this one did."""

    UNSAFE = "unsafe"
    """The request arrived, or may have, and arriving twice could do it twice."""

    MAX_ATTEMPTS = "max_attempts"
    """The policy's attempts are used up."""

    RETRY_AFTER = "retry_after"
    """The vendor asks to be left alone for longer than the policy waits."""

    DEADLINE = "deadline"
    """The call's time is up, or would be before another try could begin."""

    RETRY_QUOTA = "retry_quota"
    """The client's calls have failed so often of late that none is tried again for now."""

    CLOSED = "closed"
    """The client was closed."""


class SignatureProblem(enum.StrEnum):
    """What is wrong with a webhook's signature."""

    MISSING = "missing"
    """There is none."""

    MALFORMED = "malformed"
    """It is not 64 hex digits."""

    MISMATCH = "mismatch"
    """It belongs to another body, or was made with another secret."""


@attrs.frozen(kw_only=True)
class Attempt:
    """
    One try of a call.

    Attributes:
        number: 1 for the first try.

        duration: Seconds from the first step of connecting to the last byte of the answer.

        happened: What came of it, in a few words free of secrets and personal data.

        outcome: What this try alone tells about the money.

        status: HTTP status of the answer; None when there was none.

        delay: Seconds to wait before the next try; None when there was to be no next one.

        queued: Seconds waited for a free connection before; they are not part of *duration*.
    """

    number: int
    duration: float
    happened: str
    outcome: Outcome
    status: int | None = None
    delay: float | None = None
    queued: float = 0.0


class CareValidateError(Exception):
    """
    The parent of every error of a call.

    Attributes:
        outcome: What is known about the money after the whole call.

        retryable: Whether the cause is likely to pass by itself. The idempotency key makes asking
            again safe. False where asking again could do it twice: an unknown outcome of an
            operation that must not arrive twice.

        idempotency_key: The key that the call was sent under; None for operations without one.

        attempts: A record of each try, oldest first. Empty when nothing was tried.

        gave_up: Why there was no further try; None when nothing was tried.
    """

    # Every parameter has a default: pickle and copy rebuild an exception from its positional
    # arguments and then restore the attributes.
    def __init__(
        self,
        summary: str = "",
        *,
        outcome: Outcome = Outcome.NOT_SENT,
        retryable: bool = False,
        idempotency_key: str | None = None,
        attempts: tuple[Attempt, ...] = (),
        gave_up: GaveUp | None = None,
    ) -> None:
        super().__init__(summary)
        self.outcome = outcome
        self.retryable = retryable
        self.idempotency_key = idempotency_key
        self.attempts = attempts
        self.gave_up = gave_up

    @property
    def summary(self) -> str:
        """What happened, in one line, without the facts that `str` appends; as free of secrets."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        summary = self.summary
        if not self.attempts:
            return summary
        facts = [f"outcome: {self.outcome}", f"attempts: {len(self.attempts)}"]
        if self.gave_up is not None:
            facts.append(f"gave up: {self.gave_up}")
        if self.idempotency_key is not None:
            facts.append(f"idempotency key: {self.idempotency_key}")
        return f"{summary} [{', '.join(facts)}]"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class InvalidRequestError(CareValidateError, ValueError):
    """
    A request has a bad field; it was refused before anything was sent.

    Attributes:
        field: Name of the field, as the model spells it; a dot leads into a nested model.

        reason: What is wrong with it. Never repeats a personal or secret value.
    """

    def __init__(self, field: str = "", reason: str = "") -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        # Both, so that pickle and copy call this signature.
        self.args: tuple[str, str] = (field, reason)
        self.field = field
        self.reason = reason

    @property
    def summary(self) -> str:
        """The field and the reason."""
        return f"{self.field}: {self.reason}" if self.field else self.reason

    def __str__(self) -> str:
        return self.summary


class ConfigurationError(CareValidateError):
    """
    The client cannot work as configured; it refused to send.

    `outcome` is not `NOT_SENT` only where an earlier attempt of the same call may have landed
    (`UNKNOWN`) or was refused (`REJECTED`).
    """


class ClientClosedError(CareValidateError):
    """
    The client was closed before this could be sent.

    `outcome` is not `NOT_SENT` only where an earlier attempt of the same call may have landed
    (`UNKNOWN`) or was refused (`REJECTED`).
    """


class APIConnectionError(CareValidateError):
    """
    No connection to the vendor was made, so this attempt did not reach it.

    `outcome` is not `NOT_SENT` only where an earlier attempt of the same call may have landed
    (`UNKNOWN`) or was refused (`REJECTED`).
    """


class AnswerLostError(APIConnectionError):
    """
    The request may have arrived, but no trustworthy answer came back.

    `outcome` is `UNKNOWN`: ask again with the same idempotency key.
    """


class APITimeoutError(APIConnectionError):
    """
    The time for an attempt, or for the whole call, was up.

    `outcome` tells whether a request of the call may have arrived (`UNKNOWN`) or surely none did
    (`NOT_SENT`: the time went into waiting for a free connection or for the connection itself).
    """


class ResponseDecodeError(CareValidateError):
    """
    The vendor answered with a 2xx that cannot be read, or that affirms nothing.

    `outcome` is `UNKNOWN`: ask again with the same idempotency key. The unread body is not kept: it
    may hold a payment secret.

    Attributes:
        status: HTTP status of the answer.

        request_id: The vendor's id of the exchange, where the answer names one.
    """

    def __init__(
        self,
        summary: str = "",
        *,
        status: int | None = None,
        request_id: str | None = None,
        **facts: Any,  # noqa: ANN401 - handed on to the parent, which types them
    ) -> None:
        super().__init__(summary, **facts)
        self.status = status
        self.request_id = request_id


class WebhookSignatureError(CareValidateError):
    """
    A webhook was not signed by the vendor, or was changed on the way: trust nothing in it.

    It is no call's error: `outcome` says only that nothing was sent.

    Attributes:
        reason: Which check failed. Neither it nor the text tells of the secret, the body or the
            right signature.

    Source: CareValidate docs, Case Webhook Payloads > Introduction.
    """

    def __init__(
        self,
        summary: str = "",
        *,
        reason: SignatureProblem = SignatureProblem.MISMATCH,
        **facts: Any,  # noqa: ANN401 - handed on to the parent, which types them
    ) -> None:
        super().__init__(summary, **facts)
        self.reason = reason


class WebhookPayloadError(CareValidateError):
    """
    A webhook's body is not a JSON object, or is nested too deeply: what it reports is not known.

    It is no call's error: `outcome` says only that nothing was sent.
    """


class APIStatusError(CareValidateError):
    """
    The vendor answered, and not with a success.

    Where the vendor said no (a 4xx other than 408 and 409, or a 2xx that denies its success and
    says nothing that leaves a doubt) `outcome` is `REJECTED`: nothing was recorded. It is `UNKNOWN`
    instead where an earlier attempt of the same call may have landed. This class itself stands for
    statuses without one of their own; after a redirect or a 408 `outcome` is `UNKNOWN`.

    `message` and `body` are the vendor's own words, personal data included; `str()` of the error
    repeats them only with the request's personal texts of three characters or more, the
    credential, email addresses and phone numbers blanked out.

    Attributes:
        status: HTTP status of the answer.

        code: The vendor's code or slug, such as ``IDEMPOTENCY_ERROR``; None where it gives none.

        message: The vendor's explanation; None where it gives none.

        body: The parsed JSON object, fractions as Decimal; the raw text where it is no JSON object.

        request_id: The vendor's id of the exchange, where the answer names one.

        retry_after: Seconds that the vendor asks to wait; None where it does not say.
    """

    def __init__(
        self,
        summary: str = "",
        *,
        status: int = 0,
        code: str | None = None,
        message: str | None = None,
        body: Mapping[str, Any] | str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        **facts: Any,  # noqa: ANN401 - handed on to the parent, which types them
    ) -> None:
        super().__init__(summary, **facts)
        self.status = status
        self.code = code
        self.message = message
        self.body = body
        self.request_id = request_id
        self.retry_after = retry_after


class BadRequestError(APIStatusError):
    """400: the vendor finds the request invalid; it recorded nothing."""


class AuthenticationError(APIStatusError):
    """401: the API key or token is missing or wrong; nothing was recorded."""


class SessionExpiredError(AuthenticationError):
    """
    The planocore session has expired; the user has to authenticate again. Nothing was changed.

    Source: planocore docs, payment_methods/update.
    """


class ClientRequiredError(AuthenticationError):
    """
    The planocore user has no client, employee or liaison record yet. Nothing was changed.

    Attributes:
        session: The session that registering the user as a client needs; it holds a credential.

    Source: planocore docs, payment_methods/update.
    """

    @property
    def session(self) -> Mapping[str, Any] | None:
        """The vendor's ``session`` object, None where the answer lacks it."""
        found = (
            None if self.body is None or isinstance(self.body, str) else self.body.get("session")
        )
        return found if isinstance(found, dict) else None


class PermissionDeniedError(APIStatusError):
    """403: the key may not do this; nothing was recorded."""


class NotFoundError(APIStatusError):
    """404: there is no such thing, or no such route; nothing was recorded."""


class ConflictError(APIStatusError):
    """
    409 without the code of a known key: the request conflicts with what the vendor holds.

    `outcome` is `UNKNOWN`: it does not say whether what it conflicts with is this payment.
    """


class IdempotencyConflictError(ConflictError):
    """
    A record with this idempotency key exists already for the organization; nothing was added.

    `outcome` is `RECORDED`. The vendor does not say what that record holds: it is this payment as
    long as the key was never used for another.

    Source: CareValidate docs, Payment > Confirmation.
    """


class UnprocessableEntityError(APIStatusError):
    """422: understood, but refused for its content; nothing was recorded."""


class RateLimitError(APIStatusError):
    """429: too many requests; this one was not carried out, and nothing was recorded."""


class InternalServerError(APIStatusError):
    """
    5xx: the vendor failed, possibly after it recorded the payment.

    `outcome` is `UNKNOWN`, but for planocore's slugs that say that the route was never reached.
    """


CLIENT_ERRORS = range(400, 500)
SERVER_ERRORS = range(500, 600)

STATUS_ERRORS: Mapping[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def error_for_status(status: int) -> type[APIStatusError]:
    """Return the class for a status that is no success."""
    if status in SERVER_ERRORS:
        return InternalServerError
    return STATUS_ERRORS.get(status, APIStatusError)
