"""Events, the consumers that take them in processes of their own, and what is to come of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from carevalidate_async.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PROCESS = pathlib.Path(__file__).with_name("consumer_process.py")
POISON = 100  # one in so many is no payment

SURE_DOUBTS = (Fault.ERROR_AFTER,) * 200
"""
Of two consumers' 64 payments at a time one has all of its four attempts among these, whatever the
order: its message is delivered again although it is on record.
"""


def body(number: int) -> bytes:
    fields: dict[str, Any] = {
        "caseId": f"case-{number}",
        "amount": f"{number}.50",
        "paymentDate": "2026-11-02",
        "validUntil": "2026-12-02",
        "status": "PAID",
    }
    if number % POISON == 0:
        fields["amount"] = "poison"
    return json.dumps(fields).encode()


def bodies(events: int) -> list[bytes]:
    return [body(number) for number in range(events)]


def cases(events: int) -> set[str]:
    return {f"case-{number}" for number in range(events) if number % POISON}


def poison(events: int) -> set[bytes]:
    return {body(number) for number in range(0, events, POISON)}


def new_name() -> str:
    """Return a name that nobody else uses on a broker that is shared."""
    return f"carevalidate-test-{uuid.uuid4().hex[:12]}"


async def until(condition: Callable[[], bool], seconds: float = 50.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - other processes give no sign
            await asyncio.sleep(0.02)


class Letter(NamedTuple):
    """What was published: a dead letter, or a result."""

    data: bytes
    headers: dict[str, Any]


class Queue(Protocol):
    """Where events wait, as a test sees it."""

    async def publish(self, bodies: Iterable[bytes]) -> None:
        """Publish events."""

    async def left(self) -> int:
        """Return how many messages wait, now or for their next delivery."""

    async def published(self, which: str) -> list[Letter]:
        """Return what went to ``dead`` or ``done``."""


class Relay:
    """
    A way to a port of this machine that can be cut.

    Args:
        port: Where it leads.

    Attributes:
        port: Where it begins; known once it is entered.

        cuts: How often it was cut.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._ends: set[asyncio.StreamWriter] = set()
        self._left: int | None = None
        self.port = 0
        self.cuts = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut_after(self, size: int) -> None:
        """Cut all connections once so many more bytes have come from afar."""
        self._left = size

    def cut(self) -> None:
        """Cut all connections; new ones can be made."""
        self.cuts += 1
        for end in self._ends:
            end.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        ends = {writer, far_writer}
        self._ends |= ends
        await asyncio.gather(
            self._pass(reader, far_writer), self._pass(far_reader, writer, back=True)
        )
        self._ends -= ends

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2**12):
                if back and self._left is not None:
                    self._left -= len(data)
                    if self._left < 0:
                        self._left = None
                        self.cut()
                writer.write(data)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Fleet:
    """Consumers in processes of their own."""

    def __init__(self, started: list[subprocess.Popen[bytes]], *arguments: str) -> None:
        self._started = started
        self._arguments = arguments

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(PROCESS), *self._arguments]
        process = subprocess.Popen(command)
        self._started.append(process)
        return process

    def restart(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Kill it (SIGKILL), and start another one."""
        process.kill()
        process.wait()
        return self.start()

    async def end(self, *processes: subprocess.Popen[bytes]) -> list[int]:
        """End them (SIGTERM), and return their exit statuses."""
        for process in processes:
            process.send_signal(signal.SIGTERM)
        return [await asyncio.to_thread(process.wait) for process in processes]


async def settled(
    queue: Queue, sandbox: Sandbox, *, quiet: float = 0.0, seconds: float = 40.0
) -> None:
    """
    Wait until no message is left.

    Args:
        queue: Where they wait.

        sandbox: What they ask.

        quiet: Seconds in which nothing was asked, besides: of a broker that does not tell how many
            messages are held.

        seconds: To wait at most.
    """
    loop = asyncio.get_running_loop()
    asked, since = sandbox.received, loop.time()
    async with asyncio.timeout(seconds):
        while True:
            if sandbox.received != asked or await queue.left():
                asked, since = sandbox.received, loop.time()
            elif loop.time() - since >= quiet:
                return
            await asyncio.sleep(0.1)


async def take_all_with_a_kill(
    fleet: Fleet, queue: Queue, sandbox: Sandbox, *, events: int, quiet: float = 0.0
) -> list[int]:
    """Let two consumers take all events, one of which is killed; return how they ended."""
    await queue.publish(bodies(events))
    first, second = fleet.start(), fleet.start()
    await until(lambda: sandbox.received > events * 0.3)
    first = fleet.restart(first)
    await settled(queue, sandbox, quiet=quiet)
    return await fleet.end(first, second)


async def assert_each_once(queue: Queue, sandbox: Sandbox, *, events: int) -> None:
    """Each payment is on record once, and its result published; poison is in the dead letters."""
    payments = Counter(payment.case_id for payment in sandbox.payments)
    assert dict.fromkeys(cases(events), 1) == payments
    dead = await queue.published("dead")
    assert poison(events) == {letter.data for letter in dead}
    assert {"dead", "park"} >= {letter.headers["Carevalidate-Action"] for letter in dead}
    done = await queue.published("done")
    keys = {payment.idempotency_key for payment in sandbox.payments}
    assert keys == {json.loads(result.data)["key"] for result in done}
    assert 0 == await queue.left()
    assert sandbox.received > events  # faults and kills made for more
