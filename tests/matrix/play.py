"""
Plays the scenarios of the fault matrix, each from the first connection to the client's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import pathlib
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import attrs
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

import canaries
import virtual
from carevalidate_async import Attempt, CareValidateError, Outcome, RetryPolicy
from matrix.vendor import OPERATIONS, Vendor

if TYPE_CHECKING:
    from carevalidate_async import CareValidate, ClientOptions
    from carevalidate_async.hooks import Event
    from carevalidate_async.models import Answer
    from carevalidate_async.planocore import Planocore

HERE = pathlib.Path(__file__).parent
HOST = "vendor.localhost"
MEANINGS: Mapping[str, Any] = json.loads((HERE / "meanings.json").read_text())
PLANS: Mapping[str, Any] = json.loads((HERE / "plans.json").read_text())
FILES = [json.loads(path.read_text()) for path in sorted((HERE / "scenarios").glob("*.json"))]


@attrs.frozen(kw_only=True)
class Case:
    """
    One combination of the matrix: an operation, a fault, where it strikes, how often, a policy.

    Attributes:
        scenario: The fault, as its file describes it.

        position: Where in the exchange it strikes.

        operation: Name of the operation.

        plan: Name of the plan: how often it strikes, and under which policy.

        connection: Whether the connection is ``new`` or ``kept`` from a request before.

        expected: What becomes of the call.
    """

    scenario: Mapping[str, Any]
    position: str
    operation: str
    plan: str
    connection: str
    expected: Mapping[str, Any]

    @property
    def id(self) -> str:
        """A name that no other combination has."""
        plan = self.plan.replace(" ", "-")
        return f"{self.scenario['id']}-{self.operation}-{plan}-{self.connection}"

    @property
    def result(self) -> str:
        """The class of the error, ``success``, or ``already recorded``."""
        result: str = self.expected["result"]
        return self.scenario["error"] if result == "error" else result

    @property
    def struck(self) -> int:
        """How often the fault strikes: at each attempt, as long as there are any."""
        times: int = PLANS[self.plan]["times"]
        return min(times, int(self.expected["attempts"]))


def cases(*, through_session: bool = False) -> Iterator[Case]:
    """Yield every combination; some end otherwise *through_session* of aiohttp."""
    for file in FILES:
        for stated in file["scenarios"]:
            otherwise = stated.get("through_session", {}) if through_session else {}
            scenario = {**stated, **otherwise}
            plans = MEANINGS[scenario["meaning"]]
            for operation in scenario.get("operations", OPERATIONS):
                for plan in scenario.get("plans", plans):
                    connections = scenario.get("connections", file["connections"])
                    if plan == "no retries" and "new" in connections:
                        connections = ["new"]  # Kept ones end alike; the other plans show it.
                    for connection in connections:
                        by_operation = plans[plan]
                        yield Case(
                            scenario=scenario,
                            position=file["position"],
                            operation=operation,
                            plan=plan,
                            connection=connection,
                            expected=by_operation.get(operation, by_operation.get("*")),
                        )


@attrs.frozen(kw_only=True)
class Played:
    """
    What became of a combination.

    Attributes:
        result: The class of the error, ``success``, or ``already recorded``.

        outcome: What the call says of the money.

        gave_up: Why there was no further attempt; None after a success.

        attempts: What the call says of its attempts.

        requests: Requests that the server saw anything of.

        arrived: The bodies of those that arrived whole.

        records: Things that the server has on record.

        struck: How often the planned fault struck.

        left: Faults that were planned and did not strike.

        seconds: From the call's start to its end.

        longest: Seconds that the client says a call may take at most.

        most: Requests that the client says a call may send at most.

        elsewhere: Requests that another host saw.

        tasks: Tasks that the call left behind.
    """

    result: str
    outcome: str
    gave_up: str | None
    attempts: tuple[Attempt, ...]
    requests: int
    arrived: Sequence[bytes]
    records: int
    struck: int
    left: int
    seconds: float
    longest: float
    most: int
    elsewhere: int
    tasks: int


def play(case: Case, seen: canaries.Seen) -> Played:
    """Play *case* from the first connection to the end of the client; *seen* looks on."""
    return virtual.run(_play(case, seen))


async def _play(case: Case, seen: canaries.Seen) -> Played:
    async with contextlib.AsyncExitStack() as stack:
        road = await stack.enter_async_context(_road(case))
        elsewhere = await stack.enter_async_context(Vendor())
        around = set(asyncio.all_tasks())
        client = await stack.enter_async_context(_client(case, road, seen))
        ask = functools.partial(canaries.REQUESTS[case.operation], client)
        if case.connection == "kept":
            await ask()
            road.vendor.exchanges.clear()
            road.vendor.executions.clear()
        tasks = await _prepare(case, road, elsewhere, ask)
        began = virtual.now()
        answer: Answer | None = None
        error: CareValidateError | None = None
        try:
            answer = await ask()
        except CareValidateError as caught:
            error = caught
            seen.add_error(caught)
        else:
            seen.add_answer(answer)
        seconds = virtual.now() - began
        await client.aclose()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # The server's own tasks end with their connections.
        await asyncio.sleep(1)
        left = asyncio.all_tasks() - around - road.vendor.tasks
        worst = client.worst_case()
        return Played(
            result=_result(answer, error),
            outcome=str(error.outcome if error is not None else Outcome.RECORDED),
            gave_up=None if error is None or error.gave_up is None else str(error.gave_up),
            attempts=error.attempts if error is not None else _meta(answer).attempts,
            requests=len(road.vendor.exchanges),
            arrived=[exchange.body for exchange in road.vendor.exchanges if exchange.body],
            records=road.vendor.records,
            struck=road.vendor.consumed + road.consumed,
            left=len(road.vendor.planned) + len(road.planned),
            seconds=seconds,
            longest=worst.seconds,
            most=worst.requests,
            elsewhere=len(elsewhere.exchanges),
            tasks=len(left),
        )


def _result(answer: Answer | None, error: CareValidateError | None) -> str:
    if error is not None:
        return type(error).__name__
    return "already recorded" if _meta(answer).already_recorded else "success"


def _meta(answer: Answer | None) -> Any:
    assert answer is not None
    return answer.meta


@attrs.define(kw_only=True)
class Road(AbstractResolver):
    """
    The way to the vendor: names, ports and TLS, and what fails on it.

    Attributes:
        vendor: Where it leads when all goes well.

        scheme: ``http`` or ``https``.

        planned: What the connections to come meet.

        consumed: How many have met it.

        bad_port: Where those are led that shall fail at a port.
    """

    vendor: Vendor
    scheme: str
    planned: deque[str] = attrs.Factory(deque)
    consumed: int = 0
    bad_port: int = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the address for a connection that is made now."""
        port = self.vendor.port
        if self.planned:
            fault = self.planned.popleft()
            self.consumed += 1
            if fault == "dns fails":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            if fault == "dns hangs":
                await asyncio.get_running_loop().create_future()
            port = self.bad_port
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


@contextlib.asynccontextmanager
async def _road(case: Case) -> AsyncIterator[Road]:
    fault = case.scenario.get("connect", "")
    tls = fault.startswith("tls")
    async with contextlib.AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(Vendor(tls=_server_side(HOST) if tls else None))
        road = Road(vendor=vendor, scheme="https" if tls else "http")
        if fault == "refused":
            closed = stack.enter_context(socket.socket())
            closed.bind(("127.0.0.1", 0))  # and not listening
            road.bad_port = closed.getsockname()[1]
        elif tls:
            server = await _bad_server(fault)
            stack.callback(server.close)
            road.bad_port = server.sockets[0].getsockname()[1]
        yield road


async def _bad_server(fault: str) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if fault == "tls hangs":
                await reader.read()  # until the client gives up
            await reader.read(1)
            if fault == "tls absent":
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
            if fault == "tls reset":
                writer.transport.abort()
        writer.close()

    context = None
    if fault == "tls untrusted":
        context = _server_side(HOST, trusted=False)
    elif fault == "tls other host":
        context = _server_side("other.localhost")
    return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)


@functools.cache
def _authority(*, trusted: bool) -> trustme.CA:
    return trustme.CA()


@functools.cache
def _server_side(host: str, *, trusted: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority(trusted=trusted).issue_cert(host).configure_cert(context)
    return context


@functools.cache
def _client_side() -> ssl.SSLContext:
    context = ssl.create_default_context()
    _authority(trusted=True).configure_trust(context)
    return context


@contextlib.asynccontextmanager
async def _client(
    case: Case, road: Road, seen: canaries.Seen
) -> AsyncIterator[CareValidate | Planocore]:
    plan = PLANS[case.plan]

    def hook(event: Event) -> None:
        seen.add("event", event)

    options: dict[str, Any] = {
        "retry": RetryPolicy(max_attempts=plan["max_attempts"]),
        "hooks": [hook],
        "max_connections": 1 if case.scenario.get("connect") == "pool full" else 100,
    }
    if "deadline" in plan:
        options["deadline"] = plan["deadline"]
    else:
        options["deadline"] = 300
    vendor = canaries.VENDORS[case.operation]
    async with contextlib.AsyncExitStack() as stack:
        if "connect" in case.scenario:
            options["connector"] = await stack.enter_async_context(
                aiohttp.TCPConnector(
                    limit=0, resolver=road, use_dns_cache=False, ssl=_client_side()
                )
            )
            base_url = f"{road.scheme}://{HOST}:{road.vendor.port}"
        else:
            # As the users have it: the package's own connector.
            base_url = f"http://127.0.0.1:{road.vendor.port}"
        yield await stack.enter_async_context(
            vendor(
                canaries.CREDENTIALS[case.operation],
                base_url=base_url,
                **cast("ClientOptions", options),
            )
        )


async def _prepare(
    case: Case,
    road: Road,
    elsewhere: Vendor,
    ask: Callable[[], Any],
) -> list[asyncio.Task[Any]]:
    """Plan the fault, or bring it about; return the tasks that keep it up."""
    scenario, vendor, times = case.scenario, road.vendor, case.struck
    if "fault" in scenario:
        where = json.dumps(f"http://127.0.0.1:{elsewhere.port}/elsewhere")[1:-1]
        fault = json.loads(json.dumps(scenario["fault"]).replace("{elsewhere}", where))
        vendor.planned.extend([fault] * times)
    elif scenario.get("connect") == "pool full":
        vendor.planned.append([{"hang": True}])
        task = asyncio.ensure_future(ask())
        while not vendor.consumed:  # noqa: ASYNC110 - the server is to know of no test
            await asyncio.sleep(0)
        vendor.exchanges.clear()
        return [task]
    elif "connect" in scenario:
        road.planned.extend([scenario["connect"]] * times)
    else:
        before = scenario["before"]
        if "end" in before:
            vendor.end_all(before["end"])
        else:
            vendor.say_to_all(before["say"].encode())
        road.consumed += 1
        if before.get("settle"):
            await asyncio.sleep(0.1)
    return []
