"""
planocore (PlanOmatic): how it talks, what it can do, and the client.

Source: the vendor's page of payment_methods/update.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Unpack

from carevalidate_async._checks import check_text, check_whole
from carevalidate_async._client import Client
from carevalidate_async._codec import Spelling
from carevalidate_async._config import ClientOptions, checked_secret
from carevalidate_async._dialect import BodySecret, Dialect, Refusal
from carevalidate_async._operation import Operation, SetsState
from carevalidate_async._private import discreet
from carevalidate_async._secret import Secret
from carevalidate_async.errors import (
    AuthenticationError,
    BadRequestError,
    ClientRequiredError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    Outcome,
    SessionExpiredError,
)
from carevalidate_async.models import PaymentMethod, PaymentMethodUpdate
from carevalidate_async.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

# The classes of the models too: a type checker hides what is only imported.
__all__ = [
    "APPLICATIONS",
    "DIALECT",
    "OPERATIONS",
    "ORIGIN",
    "UPDATE_PAYMENT_METHOD",
    "PaymentMethod",
    "PaymentMethodUpdate",
    "Planocore",
]

ORIGIN = "https://planocore.planomatic.com"
"""Where the vendor is, unless a client is told otherwise."""

APPLICATIONS = ("planoauth", "planoorder", "planox2")
"""Slugs of the applications that a client may speak for."""

_REJECTED = Outcome.REJECTED
_LARGEST_ID = 2**63 - 1


def _affirms(document: Mapping[str, Any]) -> bool | None:
    slug = _slug(document)
    if document.get("success") is False:
        return False
    if slug == "action-successful":
        return True
    return False if slug in DIALECT.refusals else None


def _slug(document: Mapping[str, Any]) -> str | None:
    slug = document.get("status")
    return slug if isinstance(slug, str) else None


def _under_payment_method(update: dict[str, Any]) -> dict[str, Any]:
    return {"payment_method": update}


DIALECT = Dialect(
    name="planocore",
    secret=BodySecret("token"),
    codec=Spelling.SNAKE.value,
    affirms=_affirms,
    code_of=_slug,
    messages=("message", "error", "description"),
    envelope=frozenset({"status"}),
    # Several slugs share an HTTP status, and the uncommon ones have none that is documented.
    refusals={
        "invalid-token": Refusal(error=AuthenticationError, outcome=_REJECTED),
        "session-expired": Refusal(error=SessionExpiredError, outcome=_REJECTED),
        "client-required": Refusal(error=ClientRequiredError, outcome=_REJECTED),
        "missing-param": Refusal(error=BadRequestError, outcome=_REJECTED),
        "invalid-param": Refusal(error=BadRequestError, outcome=_REJECTED),
        "invalid-content-type": Refusal(error=BadRequestError, outcome=_REJECTED),
        "no-params-decoded": Refusal(error=BadRequestError, outcome=_REJECTED),
        "invalid-encoded-params": Refusal(error=BadRequestError, outcome=_REJECTED),
        "route-not-found": Refusal(error=NotFoundError, outcome=_REJECTED),
        "service-not-found": Refusal(error=NotFoundError, outcome=_REJECTED),
        # Documented with status 500, yet no failure that passes: there is no such route.
        "route-non-existent": Refusal(error=InternalServerError, outcome=_REJECTED),
        "identify-request-error": Refusal(
            error=InternalServerError, outcome=_REJECTED, transient=True
        ),
        "application-crash": Refusal(
            error=InternalServerError, outcome=Outcome.UNKNOWN, transient=True
        ),
        # The vendor's people have to look at it: trying again sends no mail either.
        "mandrill-email-failed": Refusal(error=InternalServerError, outcome=Outcome.UNKNOWN),
    },
)
"""How the vendor is signed to, and how it says yes and no."""

UPDATE_PAYMENT_METHOD = Operation(
    name="update_payment_method",
    method="PUT",
    path="/api/v1/payment_methods/update",
    takes=PaymentMethodUpdate,
    gives=PaymentMethod,
    dialect=DIALECT,
    idempotency=SetsState(),
    shape=_under_payment_method,
    echo=("id",),
)
"""The one operation; the client's method, the sandbox and the command line read it here."""

OPERATIONS = (UPDATE_PAYMENT_METHOD,)
"""All operations of the vendor."""


@discreet  # its arguments may hold a key, a proxy's password
class Planocore(Client):
    """
    The client of planocore.

    Args:
        token: Of an application or a session, sent in the body; None reads ``PLANOCORE_TOKEN``.

        application: Slug of the application, which decides the role of the request: ``planoauth``,
            ``planoorder`` or ``planox2``.

        base_url: Another origin than the vendor's; None reads ``PLANOCORE_BASE_URL``.

        options: As for `carevalidate_async.CareValidate`.

    Raises:
        ConfigurationError: No token, an unknown application, a bad URL or option; it is named.

    Source: planocore docs, payment_methods/update.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        application: str | None = None,
        base_url: str | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        given = Secret(token) if token is not None else None
        secret = checked_secret(given, what="token", variable="PLANOCORE_TOKEN")
        if application is not None and application not in APPLICATIONS:
            raise ConfigurationError(f"application must be one of {', '.join(APPLICATIONS)}")
        if base_url is None:  # An empty one that was given is refused: it would mean production.
            base_url = os.environ.get("PLANOCORE_BASE_URL") or ORIGIN
        DIALECT.codec.prepare()
        super().__init__(Session.open(base_url, secret, **options))
        self._application = application

    async def update_payment_method(
        self,
        payment_method_id: int,
        update: PaymentMethodUpdate,
        *,
        view: str | None = None,
        application_view: str | None = None,
        session_view: str | None = None,
    ) -> PaymentMethod:
        """
        Change details of a payment method.

        Repeating it is harmless: it says how things shall be.

        Args:
            payment_method_id: Id of the payment method.

            update: What to change; what is None is not sent.

            view: View of the payment method to be returned.

            application_view: View of the application to be returned.

            session_view: View of the session to be returned.

        Returns:
            The updated payment method.

        Raises:
            SessionExpiredError: The session is over seven days old or was idle for 72 hours; the
                user has to authenticate again. Nothing was changed.
            ClientRequiredError: The user has no client, employee or liaison record; the error's
                ``session`` lets them register. Nothing was changed.
            InvalidRequestError: The id is no positive whole number, or a view is no text. Nothing
                was sent.
            CareValidateError: As for `carevalidate_async.CareValidate`.

        Source: planocore docs, payment_methods/update.
        """
        check_whole("id", payment_method_id, 1, _LARGEST_ID)
        wanted = {
            "view": view,
            "application": self._application,
            "application_view": application_view,
            "session_view": session_view,
        }
        fields: dict[str, Any] = {"id": payment_method_id}
        for name, value in wanted.items():
            if value is not None:
                check_text(name, value)
                fields[name] = value
        return await self._session.run(UPDATE_PAYMENT_METHOD, update, fields=fields)
