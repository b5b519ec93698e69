"""
For aiohttp.web: the clients by a cleanup context, problem answers, the caller's key, webhooks.

::

    app = web.Application(middlewares=[problems])
    app.cleanup_ctx.append(vendors_ctx())

    async def pay(request):
        key = caller_key(request)
        payment = key.bind(PaymentConfirmation(...), scope=user_id)
        receipt = await vendors_of(request).care.confirm_payment(payment, accept_duplicate=True)

Calls of the clients are finished though the request's task is cancelled; see `Vendors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from aiohttp import web

from carevalidate_async.errors import CareValidateError, ConfigurationError
from carevalidate_async.integrations._caller_keys import HEADER, CallerKey, is_of_caller
from carevalidate_async.integrations._unfinished import Unheard
from carevalidate_async.integrations._vendors import VendorOptions, Vendors, caller_key_of
from carevalidate_async.integrations._webhook_body import read_event
from carevalidate_async.integrations.problems import MEDIA_TYPE, ProblemError, problem_of
from carevalidate_async.webhooks import SIGNATURE_HEADER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from aiohttp.typedefs import Handler

    from carevalidate_async.webhooks import WebhookEvent

__all__ = [
    "VENDORS",
    "CallerKey",
    "Unheard",
    "VendorOptions",
    "Vendors",
    "caller_key",
    "problems",
    "vendors_ctx",
    "vendors_of",
    "webhook_event",
]

VENDORS = web.AppKey("carevalidate", Vendors)
"""Where the application keeps its clients."""

# Before 3.14 the keys of a request were text.
_KEPT: Any = web.RequestKey("carevalidate", dict) if hasattr(web, "RequestKey") else "carevalidate"


def vendors_ctx(
    **options: Unpack[VendorOptions],
) -> Callable[[web.Application], AsyncIterator[None]]:
    """
    Return a context for ``cleanup_ctx`` that makes the clients of the process, and closes them.

    Append it after the contexts of what its callers need to the end, such as a database: the last
    one ends first.

    Args:
        options: See `VendorOptions`.
    """

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with Vendors(**options) as vendors:
            app[VENDORS] = vendors
            yield

    return run


def vendors_of(request: web.Request) -> Vendors:
    """
    Return the clients of the application that serves *request*, or of one that it is a part of.

    Raises:
        ConfigurationError: None of them has `vendors_ctx`.
    """
    vendors = request.config_dict.get(VENDORS)
    if vendors is None:
        raise ConfigurationError("the application has no vendors_ctx among its cleanup_ctx")
    return vendors


def caller_key(request: web.Request) -> CallerKey:
    """
    Return the Idempotency-Key that came with *request*.

    Raises:
        ProblemError: There is none, or none that can be used (400).
    """
    values = request.headers.getall(HEADER, [])
    return caller_key_of(vendors_of(request), request.setdefault(_KEPT, {}), values)


async def webhook_event(request: web.Request, secret: str | Iterable[str]) -> WebhookEvent:
    """
    Return the event that a webhook reports; answer 2xx only once it was dealt with.

    Args:
        request: As it came, its body not read.

        secret: The webhook's secret, or several while it is changed.

    Raises:
        WebhookSignatureError: The sender is not known (401).
        WebhookPayloadError: It cannot be read (400).
        ProblemError: It is too large (413).
    """
    chunks = request.content.iter_any()
    return await read_event(chunks, request.headers.get(SIGNATURE_HEADER), secret)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with problem documents for what calls raise."""
    try:
        return await handler(request)
    except ProblemError as error:
        problem = error.problem
    except CareValidateError as error:
        problem = problem_of(error, caller_key=is_of_caller(request.get(_KEPT, {}), error))
    return web.Response(
        body=problem.body(),
        status=problem.status,
        headers=problem.headers,
        content_type=MEDIA_TYPE,
    )
