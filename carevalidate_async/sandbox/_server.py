"""The sandbox itself: a server that is started, asked what it saw, and closed."""

from __future__ import annotations

import asyncio
import os
from importlib import resources
from random import Random
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from aiohttp import web

from carevalidate_async._operation import Operation
from carevalidate_async.sandbox._answers import Reply
from carevalidate_async.sandbox._exchanges import Exchanges, ReceivedRequest
from carevalidate_async.sandbox._faults import BY_CHANCE, LONGEST_WAIT, Fault, FaultPlan
from carevalidate_async.sandbox._handler import Handler
from carevalidate_async.sandbox._judge import Rules
from carevalidate_async.sandbox._ledger import Ledger, Recorded, RecordedPayment
from carevalidate_async.sandbox._meter import Meter
from carevalidate_async.sandbox._page import Page
from carevalidate_async.sandbox._routes import Router

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

KnownT = TypeVar("KnownT", str, int)

HOST = "127.0.0.1"


class Sandbox:
    """
    Both vendors on a port of this machine's loopback.

    ::

        async with Sandbox(api_key="test", token="test") as sandbox:
            CareValidate("test", base_url=sandbox.url)

    It judges each request as the vendors' pages document: the key (401), the body (400), then the
    idempotency key (409). Some values are magic: a user's email address at ``unknown.example`` does
    not exist, nor does the setup intent ``seti_unknown``; the payment method type ``unknown`` is
    invalid; planocore's token ``expired`` has expired, and ``client-required`` wants a client.

    Args:
        api_key: CareValidate's key, or a mapping of keys to organizations. Idempotency keys are
            scoped per organization.

        token: planocore's token.

        port: Port to listen on, 0 for any free one.

        users: Email addresses of the users there are, None for any.

        setup_intents: Ids of the Stripe setup intents there are, None for any.

        payment_method_types: Types that an intent may ask for, None for any.

        payment_methods: Ids of planocore's payment methods, None for any.

        faults: Probability of each fault, for requests that no scripted fault is waiting for.

        fault_rate: Probability of each fault that there is; instead of *faults*. What is refused by
            chance is asked to wait zero seconds: it says nothing of the requests to come.

        rate_limit: Requests admitted a second, None for any number; what comes beyond is answered
            with 429, without a Retry-After. `Sandbox.rate_limit` changes it while it runs.

        rate_burst: Requests that are admitted at once after a while without any.

        hang_seconds: How long a hang lasts that names no time of its own, until its connection is
            reset. None: as long as the sandbox runs.

        seed: Makes chance, and the ids that are made, the same each time.

        keep_requests: How many of the latest requests to keep, None for all. `received` counts
            them all.

        keep_bytes: Memory that the kept requests that have ended may take, in bytes, about; None
            for any amount.

        page: Whether it serves a page, at its URL, on which people watch requests arrive. It costs
            requests nothing while nobody looks at it.

        max_body: Bytes that a body may have; a larger one is answered with 413.

    Raises:
        ValueError: A parameter is out of its range.
    """

    def __init__(
        self,
        *,
        api_key: str | Mapping[str, str] = "test",
        token: str = "test",  # noqa: S107  # Of a sandbox.
        port: int = 0,
        users: Iterable[str] | None = None,
        setup_intents: Iterable[str] | None = None,
        payment_method_types: Iterable[str] | None = None,
        payment_methods: Iterable[int] | None = None,
        faults: Mapping[Fault, float] | None = None,
        fault_rate: float = 0.0,
        rate_limit: float | None = None,
        rate_burst: int = 25,
        hang_seconds: float | None = None,
        seed: int | None = None,
        keep_requests: int | None = None,
        keep_bytes: int | None = None,
        page: bool = True,
        max_body: int = 2**20,
    ) -> None:
        if faults is not None and fault_rate:
            raise ValueError("give faults or fault_rate, not both")
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be from 0 to 65535, not {port}")
        if hang_seconds is not None and not 0 <= hang_seconds <= LONGEST_WAIT:
            raise ValueError(f"hang_seconds must be from zero to {LONGEST_WAIT}")
        if keep_requests is not None and keep_requests < 0:
            raise ValueError(f"keep_requests must be zero or more, not {keep_requests}")
        if keep_bytes is not None and keep_bytes < 0:
            raise ValueError(f"keep_bytes must be zero or more, not {keep_bytes}")
        if max_body < 1:
            raise ValueError(f"max_body must be one or more, not {max_body}")
        rules = Rules(
            keys={api_key: "default"} if isinstance(api_key, str) else dict(api_key),
            token=token,
            users=_set_of(users),
            setup_intents=_set_of(setup_intents),
            payment_method_types=_set_of(payment_method_types),
            payment_methods=_set_of(payment_methods),
        )
        # Two sources, so that what is put on record does not move the faults.
        rng = Random(seed)  # noqa: S311  # For ids and faults, not for secrets.
        chance = Random(rng.random())  # noqa: S311  # As above.
        rates = dict.fromkeys(BY_CHANCE, fault_rate) if faults is None else faults
        self._organizations = rules.keys
        self._meter = Meter(rate_limit, rate_burst)
        self._plan = FaultPlan(rates, chance)
        self._ledger = Ledger(rng)
        self._exchanges = Exchanges(keep_requests, keep_bytes)
        self._port = port
        description = resources.files(__package__).joinpath("openapi.json").read_bytes()
        self._router = Router(Reply(200, description))
        self._handler = Handler(
            rules=rules,
            router=self._router,
            plan=self._plan,
            ledger=self._ledger,
            hang_seconds=hang_seconds,
            exchanges=self._exchanges,
            max_body=max_body,
            meter=self._meter,
        )
        if page:
            self._handler.page = Page(self, self._exchanges, self._ledger, rules.keys)
        self._runner: web.ServerRunner | None = None
        self._url: str | None = None

    def __repr__(self) -> str:
        state = self._url or "not running"
        return f"<Sandbox: {state}, {self.received} requests, {len(self.payments)} payments>"

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def start(self) -> Self:
        """
        Start to listen; nothing happens where it listens already.

        Raises:
            OSError: The port is taken, or not allowed.
        """
        if self._runner is not None:
            return self
        server = web.Server(
            self._handler.handle,
            request_factory=self._handler.make_request,
            handler_cancellation=True,  # Who hangs up frees the task that served them.
            access_log=None,
            auto_decompress=False,  # Bodies are kept as they came.
            lingering_time=1.0,
        )
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, self._port, backlog=1024).start()
        except OSError as error:
            await runner.cleanup()
            reason = f"cannot listen on {HOST}:{self._port}: {os.strerror(error.errno or 0)}"
            hint = "choose another port, or 0 for any free one"
            raise OSError(error.errno, f"{reason}; {hint}") from None
        self._runner = runner
        self._url = f"http://{HOST}:{runner.addresses[0][1]}"
        return self

    async def aclose(self) -> None:
        """
        Stop at once: every connection is closed, hangs and delays included.

        What is on record and what arrived stays readable. Closing again does nothing.
        """
        runner, self._runner, self._url = self._runner, None, None
        if runner is None:
            return
        for site in runner.sites:
            await site.stop()
        await asyncio.sleep(0)  # Connections that were accepted just now are made.
        server = cast("web.Server", runner.server)
        for connection in server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()

    @property
    def url(self) -> str:
        """
        The sandbox's origin, without a slash at the end.

        Raises:
            RuntimeError: It is not running.
        """
        if self._url is None:
            raise RuntimeError("the sandbox is not running: use async with, or await start()")
        return self._url

    @property
    def payments(self) -> list[RecordedPayment]:
        """Confirmations and case payments on record, oldest first; a new list each time."""
        return list(self._ledger.payments)

    @property
    def intents(self) -> list[Recorded]:
        """Payment intents on record, oldest first; a new list each time."""
        return list(self._ledger.intents)

    @property
    def user_updates(self) -> list[Recorded]:
        """Updates of users on record, oldest first; a new list each time."""
        return list(self._ledger.user_updates)

    @property
    def method_updates(self) -> list[Recorded]:
        """Updates of payment methods on record, oldest first; a new list each time."""
        return list(self._ledger.method_updates)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every request that arrived and is kept, in order; a new list each time."""
        return self._exchanges.kept()

    @property
    def bodies(self) -> list[bytes]:
        """Bodies of the kept requests, in order."""
        return [request.body for request in self._exchanges.kept()]

    @property
    def received(self) -> int:
        """How many requests arrived, kept or not."""
        return self._exchanges.received

    @property
    def rate_limit(self) -> float | None:
        """
        Requests admitted a second, None for any number; may be set, from any thread.

        Raises:
            ValueError: When it is set: it is not above zero. The old one stays.
        """
        return self._meter.rate

    @rate_limit.setter
    def rate_limit(self, rate: float | None) -> None:
        self._meter.rate = rate

    @property
    def rate_burst(self) -> int:
        """Requests that are admitted at once after a while without any."""
        return self._meter.burst

    @property
    def faults(self) -> Mapping[Fault, float]:
        """
        Probability of each fault, for requests that no scripted fault is waiting for.

        A new mapping each time. It may be set, from any thread: a request meets the old
        probabilities or the new ones. A fault that the mapping lacks has none any more.

        Raises:
            ValueError: When it is set: a probability is not from 0 to 1, or they add up to more
                than 1. The old ones stay.
        """
        return self._plan.rates

    @faults.setter
    def faults(self, rates: Mapping[Fault, float]) -> None:
        self._plan.rates = rates

    @property
    def script_left(self) -> tuple[Fault, ...]:
        """Scripted faults that no request has met yet."""
        return self._plan.left

    @property
    def scripted(self) -> Mapping[str | None, tuple[Fault, ...]]:
        """The same by operation, None for those of any; a new mapping each time."""
        return self._plan.waiting

    def script(self, *faults: Fault, operation: Operation[Any, Any] | str | None = None) -> None:
        """
        Let the next requests meet *faults*, one each, in order, before chance is asked.

        Args:
            faults: What the next requests meet; ``Fault.OK`` for none.

            operation: Only this operation's requests count, None for any operation's. Faults of an
                operation go before those of any.

        Raises:
            ValueError: There is no such operation.
        """
        name = operation.name if isinstance(operation, Operation) else operation
        if name is not None and name not in self._router.names:
            known = ", ".join(self._router.names)
            raise ValueError(f"there is no operation {name!r}; there are {known}")
        self._plan.script(faults, name)

    def clear_script(self) -> None:
        """Forget what is scripted."""
        self._plan.clear()

    def reset(self) -> None:
        """
        Forget what is on record, what arrived and what is scripted.

        Probabilities and the rate limit stay as they are; as many requests as in `rate_burst` are
        admitted at once again.
        """
        self._meter.fill()
        self._ledger.clear()
        self._plan.clear()
        self._exchanges.clear()


def _set_of(values: Iterable[KnownT] | None) -> frozenset[KnownT] | None:
    return None if values is None else frozenset(values)
