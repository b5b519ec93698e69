"""The clients of a web application: made when it starts, closed when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar, Unpack

from carevalidate_async._policy import check_seconds
from carevalidate_async.carevalidate import CareValidate
from carevalidate_async.errors import ConfigurationError
from carevalidate_async.integrations._caller_keys import CallerKey, SeenKeys, key_of
from carevalidate_async.integrations._unfinished import Unfinished, Unheard
from carevalidate_async.models import Answer, CasePaymentRequest, PaymentConfirmation
from carevalidate_async.planocore import Planocore
from carevalidate_async.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Mapping, MutableMapping, Sequence
    from types import TracebackType

    from carevalidate_async._config import CallOptions
    from carevalidate_async._operation import Operation
    from carevalidate_async._policy import WorstCase
    from carevalidate_async._quota import RetryQuota

AnswerT = TypeVar("AnswerT", bound=Answer)
ClientT = TypeVar("ClientT", CareValidate, Planocore)
RequestT = TypeVar("RequestT")
T = TypeVar("T")

GRACE = 20.0
"""Seconds that work which has begun may take to settle when the application ends."""


_ALIKE = frozenset({CasePaymentRequest, PaymentConfirmation})


class VendorOptions(TypedDict, total=False):
    """
    How an application's clients are made, and how they end.

    Attributes:
        care: Makes the client of CareValidate: ``CareValidate`` itself, or a function without
            arguments. By default it is made of the environment, where that has
            ``CAREVALIDATE_API_KEY``; None for none.

        plano: Makes the client of planocore; by default of the environment, where that has
            ``PLANOCORE_TOKEN``; None for none.

        grace: Seconds that calls and other work which have begun may take to settle when the
            application ends; 20 by default.

        on_unheard: Told of work that ends when its caller is gone, well or not. Called in the event
            loop; what it raises is logged.
    """

    care: Callable[[], CareValidate] | None
    plano: Callable[[], Planocore] | None
    grace: float
    on_unheard: Callable[[Unheard], None] | None


class Vendors:
    """
    The clients of one process, and the work on them that is not finished.

    Args:
        options: See `VendorOptions`.

    Raises:
        ConfigurationError: There is neither client, one cannot be made, or an option cannot be
            used.
        TypeError: There is no such option.
    """

    def __init__(self, **options: Unpack[VendorOptions]) -> None:
        unknown = sorted(options.keys() - VendorOptions.__annotations__.keys())
        if unknown:
            msg = f"there is no such option here: {', '.join(unknown)}"
            raise TypeError(msg)
        self._grace = options.get("grace", GRACE)
        check_seconds("grace", self._grace, zero=True)
        on_unheard = options.get("on_unheard")
        if iscoroutinefunction(on_unheard):
            raise ConfigurationError("on_unheard must be a plain function: nobody awaits it")
        self._unfinished = Unfinished(on_unheard)
        care = (
            options["care"] if "care" in options else _known(CareValidate, "CAREVALIDATE_API_KEY")
        )
        plano = options["plano"] if "plano" in options else _known(Planocore, "PLANOCORE_TOKEN")
        if care is None and plano is None:
            raise ConfigurationError(
                "there is no client: set CAREVALIDATE_API_KEY or PLANOCORE_TOKEN, or give care"
            )
        self._own: list[CareValidate | Planocore] = []
        self._care = self._finishing(care) if care is not None else None
        self._plano = self._finishing(plano) if plano is not None else None
        self._seen_keys = SeenKeys()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Vendors, {self.unfinished} unfinished{state}>"

    @property
    def care(self) -> CareValidate:
        """
        The client of CareValidate, whose calls are finished though their caller is gone.

        It is the application's: closing it does nothing.

        Raises:
            ConfigurationError: The application has none.
        """
        if self._care is None:
            raise ConfigurationError("the application has no client of CareValidate")
        return self._care

    @property
    def plano(self) -> Planocore:
        """
        The client of planocore, whose calls are finished though their caller is gone.

        It is the application's: closing it does nothing.

        Raises:
            ConfigurationError: The application has none.
        """
        if self._plano is None:
            raise ConfigurationError("the application has no client of planocore")
        return self._plano

    @property
    def closed(self) -> bool:
        """Whether the application is ending: nothing new may begin."""
        return self._unfinished.closed

    @property
    def unfinished(self) -> int:
        """How many calls, and pieces of work given to `finish`, are under way."""
        return len(self._unfinished)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """
        Run *work* to its end, whoever is cancelled meanwhile, and return what it returns.

        Calls of `care` and `plano` are run so by themselves. Use it for what belongs together, such
        as a payment and the note of it in your own database. At the application's end it is
        waited for, and may make further calls, within the grace.

        Args:
            work: A coroutine.

        Raises:
            ClientClosedError: The application is ending; the work was not begun.
            asyncio.CancelledError: The caller was cancelled. The work goes on; its end is logged,
                and `on_unheard` is told of it.
        """
        return await self._unfinished.finish(work, getattr(work, "__qualname__", "work"))

    async def aclose(self) -> None:
        """Begin nothing new, let what has begun settle within the grace, and close the clients."""
        ends = asyncio.get_running_loop().time() + self._grace
        async with contextlib.AsyncExitStack() as stack:  # Each of these, whatever another raises.
            stack.push_async_callback(self._unfinished.cut_off)
            for client in self._own:
                stack.push_async_callback(client.aclose)
            await self._unfinished.settle(self._grace)
            for client in self._own:  # whose calls may not all have been begun here
                left = ends - asyncio.get_running_loop().time()
                await client.aclose(grace=max(0.0, left))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _finishing(self, factory: Callable[[], ClientT]) -> ClientT:
        client = factory()
        self._own.append(client)
        other = copy.copy(client)
        other._session = _Finishing(client._session, self._unfinished)  # noqa: SLF001 - our own copy
        return other


def caller_key_of(
    vendors: Vendors, kept: MutableMapping[str, Any], values: Sequence[str]
) -> CallerKey:
    """Return the Idempotency-Key that came with a request of an application; see `key_of`."""
    return key_of(kept, values, vendors._seen_keys)  # noqa: SLF001 - no business of users


class _Finishing(Session):
    """
    Runs the calls of another session, each to its end; it never closes it.

    Args:
        inner: That session.

        unfinished: Runs them.
    """

    def __init__(self, inner: Session, unfinished: Unfinished) -> None:
        self._inner = inner
        self._unfinished = unfinished

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def origin(self) -> str:
        return self._inner.origin

    @property
    def closed(self) -> bool:
        return self._unfinished.closed or self._inner.closed

    @property
    def quota(self) -> RetryQuota | None:
        return self._inner.quota

    def worst_case(self) -> WorstCase:
        return self._inner.worst_case()

    def with_options(self, **changes: Unpack[CallOptions]) -> Session:
        return _Finishing(self._inner.with_options(**changes), self._unfinished)

    async def aclose(self, *, grace: float = 0.0) -> None:
        """Do nothing: the application closes it."""

    async def run(
        self,
        operation: Operation[RequestT, AnswerT],
        request: RequestT,
        *,
        path: Mapping[str, str] = MappingProxyType({}),
        fields: Mapping[str, Any] = MappingProxyType({}),
        accept_duplicate: bool = False,
    ) -> AnswerT:
        call = self._inner.run(
            operation, request, path=path, fields=fields, accept_duplicate=accept_duplicate
        )
        same: Hashable = None
        # Of two clicks at a time the second has the first one's answer, the payment's id included.
        # What others make of these classes may not be hashable.
        if type(request) in _ALIKE and getattr(request, "idempotency_key", None) is not None:
            # Whoever gives a call less time is not made to wait for one that has more.
            times = self._inner.worst_case()
            same = (operation.name, tuple(path.items()), accept_duplicate, times, request)
        return await self._unfinished.finish(call, operation.name, same)


def _known(client: Callable[[], ClientT], variable: str) -> Callable[[], ClientT] | None:
    return client if os.environ.get(variable) else None
