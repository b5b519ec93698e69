"""
For Starlette: the clients by lifespan, problem answers, the caller's key, webhooks.

::

    app = Starlette(routes=..., lifespan=lifespan(), exception_handlers=PROBLEM_HANDLERS)

    async def pay(request):
        key = caller_key(request)
        payment = key.bind(PaymentConfirmation(...), scope=user_id)
        receipt = await vendors_of(request).care.confirm_payment(payment, accept_duplicate=True)

Calls of the clients are finished though the request's task is cancelled; see `Vendors`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Unpack

from carevalidate_async._extra import needs

with needs("starlette"):
    from starlette.responses import Response

from carevalidate_async.errors import CareValidateError, ConfigurationError
from carevalidate_async.integrations._caller_keys import HEADER, CallerKey, is_of_caller
from carevalidate_async.integrations._unfinished import Unheard
from carevalidate_async.integrations._vendors import VendorOptions, Vendors, caller_key_of
from carevalidate_async.integrations._webhook_body import read_event
from carevalidate_async.integrations.problems import MEDIA_TYPE, ProblemError, problem_of
from carevalidate_async.webhooks import SIGNATURE_HEADER

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request

    from carevalidate_async.webhooks import WebhookEvent

__all__ = [
    "PROBLEM_HANDLERS",
    "CallerKey",
    "Unheard",
    "VendorOptions",
    "Vendors",
    "caller_key",
    "lifespan",
    "vendors_of",
    "webhook_event",
]

AppT = TypeVar("AppT")
Own: TypeAlias = Callable[[AppT], AbstractAsyncContextManager[Mapping[str, Any] | None]]
Lifespan: TypeAlias = Callable[[AppT], AbstractAsyncContextManager[Mapping[str, Any]]]

_STATE = "carevalidate"


def lifespan(own: Own[AppT] | None = None, **options: Unpack[VendorOptions]) -> Lifespan[AppT]:
    """
    Return a lifespan that makes the clients of the process, and closes them.

    Args:
        own: A lifespan of the application's, which begins before this one and ends after it: what
            it opens is there as long as calls are under way.

        options: See `VendorOptions`.
    """

    @contextlib.asynccontextmanager
    async def run(app: AppT) -> AsyncIterator[Mapping[str, Any]]:
        async with contextlib.AsyncExitStack() as stack:
            state = await stack.enter_async_context(own(app)) if own is not None else None
            vendors = await stack.enter_async_context(Vendors(**options))
            yield {**(state or {}), _STATE: vendors}

    return run


def vendors_of(request: HTTPConnection) -> Vendors:
    """
    Return the clients of the application that serves *request*.

    Raises:
        ConfigurationError: Its lifespan is not run, or not with `lifespan`.
    """
    vendors = getattr(request.state, _STATE, None)
    if not isinstance(vendors, Vendors):
        raise ConfigurationError("the application's lifespan has not made the clients")
    return vendors


def caller_key(request: HTTPConnection) -> CallerKey:
    """
    Return the Idempotency-Key that came with *request*.

    Raises:
        ProblemError: There is none, or none that can be used (400).
    """
    values = request.headers.getlist(HEADER)
    return caller_key_of(vendors_of(request), request.scope["state"], values)


async def webhook_event(request: Request, secret: str | Iterable[str]) -> WebhookEvent:
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
    return await read_event(request.stream(), request.headers.get(SIGNATURE_HEADER), secret)


async def _answer_problem(request: Request, error: Exception) -> Response:
    """Answer with the problem that *error* is."""
    if isinstance(error, ProblemError):
        problem = error.problem
    else:
        assert isinstance(error, CareValidateError)  # noqa: S101 - registered for no other
        kept = request.scope.get("state", {})
        problem = problem_of(error, caller_key=is_of_caller(kept, error))
    return Response(problem.body(), problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


PROBLEM_HANDLERS: dict[Any, Callable[[Request, Exception], Any]] = {
    CareValidateError: _answer_problem,
    ProblemError: _answer_problem,
}
"""For the application's ``exception_handlers``: problem documents for what calls raise."""
