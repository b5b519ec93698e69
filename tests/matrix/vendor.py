"""
Both vendors in one raw server, as far as the fault matrix needs them: a ledger, and faults in turn.

It is made of bare TCP and of the recorded samples of the vendors' pages; it shares no code with the
package, nor with the package's sandbox.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import gzip
import json
import pathlib
import re
import socket
import struct
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import attrs

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

SAMPLES = pathlib.Path(__file__).parents[1] / "samples"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_CREDENTIAL = re.compile(rb"\r\ncv-api-key: *([^\r]+)\r\n", re.IGNORECASE)
# With a linger time of zero, closing a socket resets the connection.
_RESET = struct.pack("ii", 1, 0)

Step: TypeAlias = Mapping[str, Any]


def sample(name: str) -> bytes:
    """Return the body that a vendor's page shows."""
    return (SAMPLES / name).read_bytes()


# What each operation's requests look like on the wire, and the documented success.
OPERATIONS: Mapping[str, tuple[re.Pattern[str], str]] = {
    "confirm_payment": (
        re.compile(r"POST /api/v1/customer-payment-confirmation"),
        "carevalidate/confirm_payment/200-success.json",
    ),
    "create_case_payment": (
        re.compile(r"POST /api/v1/cases/[^/]+/payments"),
        "carevalidate/create_case_payment/200-success.json",
    ),
    "create_payment_intent": (
        re.compile(r"POST /api/v1/payments/intent"),
        "carevalidate/create_payment_intent/200-success.json",
    ),
    "update_user_payment": (
        re.compile(r"POST /api/v1/users"),
        "carevalidate/update_user_payment/200-payment-updated-successfully.json",
    ),
    "update_payment_method": (
        re.compile(r"PUT /api/v1/payment_methods/update"),
        "planocore/update_payment_method/200-action-successful.json",
    ),
}
ON_RECORD = "carevalidate/confirm_payment/409-conflict.json"
_DATE = re.compile(r"\{in ([0-9]+) s(?:, ([A-Za-z0-9 ]+))?\}")
_SPELLINGS = {
    None: "%a, %d %b %Y %H:%M:%S GMT",
    "RFC 850": "%A, %d-%b-%y %H:%M:%S GMT",
    "asctime": "%a %b %d %H:%M:%S %Y",
}
WELL: tuple[Step, ...] = ({"record": True}, {"answer": {"documented": True}})


@attrs.define
class Exchange:
    """
    A request that the server has seen something of.

    Attributes:
        head: From the request line to the blank line; empty where it was not read.

        body: All of it, or nothing.
    """

    head: bytes = b""
    body: bytes = b""

    @property
    def operation(self) -> str:
        """Name of the operation that the request line asks for."""
        line = self.head.partition(b" HTTP/")[0].decode()
        return next(name for name, (line_of, _) in OPERATIONS.items() if line_of.fullmatch(line))

    @property
    def echo(self) -> str:
        """All that the request holds, as a vendor might repeat it: its credential, its body."""
        found = _CREDENTIAL.search(self.head)
        credential = found[1].decode() if found else ""
        fields = json.loads(self.body) if self.body else {}
        return " ".join([credential, *map(str, fields.values())])

    @property
    def key(self) -> str | None:
        """The idempotency key in the body; None where it has none."""
        key: str | None = json.loads(self.body).get("idempotencyKey")
        return key


class Vendor:
    """
    Serves both vendors' operations on loopback.

    Args:
        tls: Speaks TLS with it.

    Attributes:
        planned: The faults of the requests to come, one each; each is a list of steps. The rest go
            well.

        consumed: Faults that a request has met.

        exchanges: The requests seen, whole or not, in order.

        executions: How often each was carried out, by idempotency key, or under None.

        tasks: Those that serve connections.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.planned: deque[Iterable[Step]] = deque()
        self.consumed = 0
        self.exchanges: list[Exchange] = []
        self.executions: Counter[str | None] = Counter()
        self.port = 0
        self._tls = tls
        self._writers: list[asyncio.StreamWriter] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._tls, backlog=1000
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.end_all("reset")
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    @property
    def records(self) -> int:
        """Things on record: one for each key, and one for each execution without a key."""
        return sum(1 if key is not None else times for key, times in self.executions.items())

    def end_all(self, how: str) -> None:
        """End every connection at this very moment: ``close`` or ``reset`` it."""
        for writer in self._writers:
            _end(writer, how)

    def say_to_all(self, data: bytes) -> None:
        """Send *data* that nobody asked for on every connection."""
        for writer in self._writers:
            writer.write(data)

    def next_steps(self, exchange: Exchange) -> Iterable[Step]:
        """Return what a request meets of which nothing is read yet: the next planned fault."""
        if not self.planned:
            return WELL
        self.consumed += 1
        return self.planned.popleft()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self._writers.append(writer)
        # A peer that goes away in the middle, or the end of the scenario, ends this connection.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                await self._exchange(reader, writer)
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        exchange = Exchange()
        self.exchanges.append(exchange)
        steps = list(self.next_steps(exchange))
        until = steps.pop(0)["read"] if steps and "read" in steps[0] else "all"
        if until != "a byte":
            exchange.head = first + await reader.readuntil(b"\r\n\r\n")
            found = _LENGTH.search(exchange.head)
            length = int(found[1]) if found else 0
            if until != "the head":
                if until == "half the body":
                    await reader.readexactly(length // 2)
                else:
                    exchange.body = await reader.readexactly(length)
        for step in steps:
            await self._take(step, exchange, writer)
        await writer.drain()

    async def _take(self, step: Step, exchange: Exchange, writer: asyncio.StreamWriter) -> None:
        ((name, value),) = step.items()
        match name:
            case "record":
                self.executions[exchange.key] += 1
            case "answer":
                writer.write(self.answer(value, exchange))
            case "bytes":
                writer.write(value.encode("latin-1"))
            case "drip":
                await _pour(writer, value["text"], value["every"])
            case "flood":
                await _pour(writer, value * 1000, 0)
            case "wait":
                await asyncio.sleep(value)
            case "hang":
                await asyncio.get_running_loop().create_future()
            case "end":
                await asyncio.sleep(0.001)  # or a reset would overtake what was written
                _end(writer, value)
            case _:
                raise LookupError(name)

    def answer(self, told: Mapping[str, Any], exchange: Exchange) -> bytes:
        """Return the answer that *told* describes; see README.md."""
        status = told.get("status", 200)
        if told.get("documented"):
            name = OPERATIONS[exchange.operation][1]
            # A key that was carried out before this request is on record.
            if exchange.key is not None and self.executions[exchange.key] > 1:
                status, name = 409, ON_RECORD
            body = sample(name)
        elif "sample" in told:
            body = sample(told["sample"])
        elif "json" in told:
            body = json.dumps(_filled(told["json"], exchange.echo)).encode()
        elif "base64" in told:
            body = base64.b64decode(told["base64"])
        else:
            text: str = _filled(told.get("text", ""), exchange.echo)
            body = text.encode() * told.get("times", 1)
        if told.get("gzip"):
            body = _packed(body)
        headers = {"Content-Length": str(len(body)), **told.get("headers", {})}
        if "chunked" in told:
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
            body = b"%x\r\n%s\r\n%s" % (len(body), body, told["chunked"].encode())
        lines = [f"{told.get('version', 'HTTP/1.1')} {status} Words"]
        lines += [
            f"{name}: {_filled(value, exchange.echo)}"
            for name, value in headers.items()
            if value is not None
        ]
        head = "\r\n".join([*lines, "\r\n"]).encode()
        if "cut_head" in told:
            return head[: told["cut_head"]]
        return head + body[: len(body) - told.get("cut_body", 0)]


def _filled(told: Any, echo: str) -> Any:
    """Return *told*, in whose texts ``{echo}`` stands for the request, ``{in 7 s}`` for a date."""
    if isinstance(told, dict):
        return {name: _filled(value, echo) for name, value in told.items()}
    if not isinstance(told, str):
        return told
    return _DATE.sub(lambda found: _date(*found.groups()), told.replace("{echo}", echo))


def _date(seconds: str, spelling: str | None) -> str:
    # A date has no fractions of a second, so this one is up to a second less ahead. Dates are of
    # the real clock: the simulated one has none.
    moment = datetime.now(UTC) + timedelta(seconds=int(seconds))
    return moment.strftime(_SPELLINGS[spelling])


@functools.cache  # A bomb takes its time.
def _packed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


async def _pour(writer: asyncio.StreamWriter, text: str, every: float) -> None:
    """Send *text* each *every* seconds, for as long as the other side listens."""
    while not writer.is_closing():
        writer.write(text.encode("latin-1"))
        await writer.drain()
        await asyncio.sleep(every)


def _end(writer: asyncio.StreamWriter, how: str) -> None:
    if how == "close":
        writer.close()
        return
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):  # It is closed already.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
