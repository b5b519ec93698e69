"""
For Litestar: a plugin with the clients, problem answers and the caller's key; webhooks.

::

    app = Litestar([pay], plugins=[CareValidatePlugin()])

    @post("/payments")
    async def pay(data: Order, care: CareDep, caller_key: CallerKeyDep) -> Paid:
        payment = caller_key.bind(PaymentConfirmation(...), scope=user_id)
        receipt = await care.confirm_payment(payment, accept_duplicate=True)

A handler names what it needs: ``care: CareDep``, ``plano: PlanoDep``, ``vendors: VendorsDep``,
``caller_key: CallerKeyDep``. Calls of the clients are finished though the request's task is
cancelled; see `Vendors`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from carevalidate_async._extra import needs

with needs("litestar"):
    from litestar import Litestar, Request, Response, di
    from litestar.datastructures import State
    from litestar.plugins import InitPluginProtocol

from carevalidate_async.carevalidate import CareValidate
from carevalidate_async.errors import CareValidateError, ConfigurationError
from carevalidate_async.integrations._caller_keys import HEADER, CallerKey, is_of_caller
from carevalidate_async.integrations._unfinished import Unheard
from carevalidate_async.integrations._vendors import VendorOptions, Vendors, caller_key_of
from carevalidate_async.integrations._webhook_body import read_event
from carevalidate_async.integrations.problems import MEDIA_TYPE, ProblemError, problem_of
from carevalidate_async.planocore import Planocore
from carevalidate_async.webhooks import SIGNATURE_HEADER

if TYPE_CHECKING:
    from litestar.config.app import AppConfig

    from carevalidate_async.webhooks import WebhookEvent

__all__ = [
    "CallerKey",
    "CallerKeyDep",
    "CareDep",
    "CareValidatePlugin",
    "PlanoDep",
    "Unheard",
    "VendorOptions",
    "Vendors",
    "VendorsDep",
    "webhook_event",
]

CareDep: TypeAlias = di.NamedDependency[CareValidate]
PlanoDep: TypeAlias = di.NamedDependency[Planocore]
VendorsDep: TypeAlias = di.NamedDependency[Vendors]
CallerKeyDep: TypeAlias = di.NamedDependency[CallerKey]

_STATE = "carevalidate"


class CareValidatePlugin(InitPluginProtocol):
    """
    Gives an application its clients, as dependencies, and answers problems for what calls raise.

    Its lifespan begins after the application's own and ends before them: what those open is there
    as long as calls are under way. Name it last: what later plugins open ends before.

    Args:
        options: See `VendorOptions`.
    """

    def __init__(self, **options: Unpack[VendorOptions]) -> None:
        self._options = options

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the lifespan, the dependencies and the exception handlers; the app's own go first."""
        app_config.lifespan = [*(app_config.lifespan or ()), self._lifespan]
        app_config.dependencies = {
            "care": di.Provide(_care, sync_to_thread=False),
            "plano": di.Provide(_plano, sync_to_thread=False),
            "vendors": di.Provide(_vendors, sync_to_thread=False),
            "caller_key": di.Provide(_caller_key, sync_to_thread=False),
            **(app_config.dependencies or {}),
        }
        app_config.exception_handlers = {
            CareValidateError: _answer_problem,
            ProblemError: _answer_problem,
            **(app_config.exception_handlers or {}),
        }
        return app_config

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Litestar) -> AsyncIterator[None]:
        async with Vendors(**self._options) as vendors:
            app.state[_STATE] = vendors
            yield


async def webhook_event(
    request: Request[Any, Any, Any], secret: str | Iterable[str]
) -> WebhookEvent:
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


def _vendors(state: State) -> Vendors:
    vendors = state.get(_STATE)
    if not isinstance(vendors, Vendors):
        raise ConfigurationError("the application's lifespan has not made the clients")
    return vendors


def _care(state: State) -> CareValidate:
    return _vendors(state).care


def _plano(state: State) -> Planocore:
    return _vendors(state).plano


def _caller_key(request: Request[Any, Any, Any], state: State) -> CallerKey:
    kept, values = request.scope["state"], request.headers.getall(HEADER, [])
    return caller_key_of(_vendors(state), kept, values)


def _answer_problem(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    if isinstance(error, ProblemError):
        problem = error.problem
    else:
        assert isinstance(error, CareValidateError)  # noqa: S101 - registered for no other
        problem = problem_of(error, caller_key=is_of_caller(request.scope["state"], error))
    return Response(
        problem.body(),
        status_code=problem.status,
        headers=dict(problem.headers),
        media_type=MEDIA_TYPE,
    )
