"""
For FastAPI: the clients by lifespan, dependencies, problem answers, webhooks.

::

    app = FastAPI(lifespan=lifespan(), exception_handlers=PROBLEM_HANDLERS)

    @app.post("/payments")
    async def pay(order: Order, care: CareDep, key: CallerKeyDep, user: UserDep):
        payment = key.bind(PaymentConfirmation(...), scope=user.id)
        return await care.confirm_payment(payment, accept_duplicate=True)

Calls of the clients are finished though the request's task is cancelled; see `Vendors`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Annotated, Any

from carevalidate_async._extra import needs

with needs("fastapi"):
    from fastapi import Depends, Header
    from starlette.requests import HTTPConnection, Request

from carevalidate_async.carevalidate import CareValidate
from carevalidate_async.integrations._caller_keys import DESCRIPTION, HEADER
from carevalidate_async.integrations.starlette import (
    PROBLEM_HANDLERS,
    CallerKey,
    Unheard,
    VendorOptions,
    Vendors,
    caller_key,
    lifespan,
    vendors_of,
)
from carevalidate_async.integrations.starlette import webhook_event as read_webhook
from carevalidate_async.planocore import Planocore

if TYPE_CHECKING:
    from carevalidate_async.webhooks import WebhookEvent

__all__ = [
    "PROBLEM_HANDLERS",
    "CallerKey",
    "CallerKeyDep",
    "CareDep",
    "PlanoDep",
    "Unheard",
    "VendorOptions",
    "Vendors",
    "VendorsDep",
    "lifespan",
    "webhook_event",
]


async def _vendors(connection: HTTPConnection) -> Vendors:
    return vendors_of(connection)


VendorsDep = Annotated[Vendors, Depends(_vendors)]
"""The clients of the process, and `Vendors.finish`."""


async def _care(vendors: VendorsDep) -> CareValidate:
    return vendors.care


async def _plano(vendors: VendorsDep) -> Planocore:
    return vendors.plano


async def _caller_key(
    connection: HTTPConnection,
    # For the description of the API alone: FastAPI shows one value of several.
    _: Annotated[str | None, Header(alias=HEADER, description=DESCRIPTION)] = None,
) -> CallerKey:
    return caller_key(connection)


CareDep = Annotated[CareValidate, Depends(_care)]
"""The client of CareValidate."""

PlanoDep = Annotated[Planocore, Depends(_plano)]
"""The client of planocore."""

CallerKeyDep = Annotated[CallerKey, Depends(_caller_key)]
"""The Idempotency-Key that came with the request; 400 where none did."""


def webhook_event(
    secret: str | Iterable[str] | Callable[[], str | Iterable[str]],
) -> Callable[[Request], Coroutine[Any, Any, WebhookEvent]]:
    """
    Return a dependency that gives the event that a webhook reports.

    ::

        @app.post("/webhooks")
        async def hear(event: Annotated[WebhookEvent, Depends(webhook_event(SECRET))]): ...

    A bad signature is answered with 401, a body that cannot be read with 400, one that is too large
    with 413. The vendor hears of a success once the endpoint has returned.

    Args:
        secret: The webhook's secret, several while it is changed, or what gives them for each
            request.
    """
    # An iterator would have none left for the second request.
    given = secret if callable(secret) or isinstance(secret, str) else tuple(secret)

    async def event(request: Request) -> WebhookEvent:
        return await read_webhook(request, given() if callable(given) else given)

    return event
