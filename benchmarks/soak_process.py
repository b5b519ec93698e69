"""The processes of a soak: the sandbox's, and what is seen of this one."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from benchmarks.soak_promises import Figures

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Iterator

    from carevalidate_async import RetryQuota


@attrs.define(kw_only=True)
class Findings:
    """
    What is seen while the traffic goes on.

    Attributes:
        wrong: What must not be, each kind once.

        counts: How often what happened.

        tokens: The fewest and the most tokens that any quota held.

        memory: The most bytes in main memory.

        descriptors: The most open file descriptors.

        marks: What the process had, by the name of the moment; see `leaks`.
    """

    wrong: Counter[str] = attrs.Factory(Counter)
    counts: Counter[str] = attrs.Factory(Counter)
    tokens: tuple[int, int] | None = None
    memory: int = 0
    descriptors: int = 0
    marks: dict[str, Figures] = attrs.Factory(dict)

    def look_at(self, quota: RetryQuota) -> None:
        """See that a quota is within its bounds."""
        tokens = quota.tokens
        if not 0 <= tokens <= quota.capacity:
            self.wrong[f"a retry quota held {tokens} of {quota.capacity} tokens"] += 1
        low, high = self.tokens or (tokens, tokens)
        self.tokens = min(low, tokens), max(high, tokens)

    def measure(self) -> None:
        """See how much the process has."""
        self.memory = max(self.memory, memory() or 0)
        self.descriptors = max(self.descriptors, descriptors() or 0)


class Server:
    """
    The sandbox's process.

    Args:
        process: The process.

        url: Where it listens.
    """

    def __init__(self, process: Process, url: str) -> None:
        self._process = process
        self.url = url

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, *, fault_rate: float, seed: int) -> AsyncIterator[Server]:
        """Start it, and end it whatever comes."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("soak_sandbox.py")),
            f"--fault-rate={fault_rate}",
            f"--seed={seed}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**30,  # the last line is long
        )
        try:
            server = cls(process, "")
            server.url = await server.line()
            yield server
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()

    async def line(self) -> str:
        """Return what it says next."""
        stdout = self._process.stdout
        assert stdout is not None
        line = await stdout.readline()
        if not line:
            raise RuntimeError("the sandbox has ended too soon")
        return line.decode().strip()

    async def tell(self, word: str) -> str:
        """Have it do something; return what it says once that is done."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(f"{word}\n".encode())
        await stdin.drain()
        return await self.line()


def memory() -> int | None:
    """Return the process's bytes in main memory; None where /proc does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int | None:
    """Return how many file descriptors are open; None where /proc does not say."""
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - nothing is made of the names
    except OSError:
        return None


async def figures(first: Figures | None = None) -> Figures:
    """Return what the process has, once what was closed is gone, or does not go."""
    for _ in range(100):
        await asyncio.sleep(0.01)
        gc.collect()
        tasks, opened = len(asyncio.all_tasks()), descriptors()
        if first is None or (tasks <= first.tasks and (opened or 0) <= (first.descriptors or 0)):
            break
    # With no timer to come, the event loop drops those that were cancelled in its next rounds.
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    return Figures(
        # A generator, so that the list is not among what it counts.
        kinds=(kinds := Counter(type(thing).__qualname__ for thing in gc.get_objects())),
        objects=kinds.total(),
        memory=memory(),
        descriptors=descriptors(),
        tasks=len(asyncio.all_tasks()),
    )


@contextlib.contextmanager
def complaints(findings: Findings) -> Iterator[None]:
    """Keep what Python complains of aside: what nobody closed, awaited or caught."""

    def on_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        findings.wrong[f"the event loop complained: {context['message']} ({error!r})"] += 1

    def on_object(unraisable: sys.UnraisableHookArgs) -> None:
        findings.wrong[f"an object complained: {unraisable.exc_value!r}"] += 1

    def on_warning(message: Warning | str, *_: object, **__: object) -> None:
        findings.wrong[f"a warning was given: {message}"] += 1

    class OnLog(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            findings.wrong[f"an error was logged: {record.getMessage()}"] += 1

    handlers = (OnLog(logging.ERROR), logging.NullHandler())
    for handler in handlers:
        logging.getLogger().addHandler(handler)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_loop)
    before, sys.unraisablehook = sys.unraisablehook, on_object
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = on_warning
            yield
    finally:
        sys.unraisablehook = before
        loop.set_exception_handler(None)
        for handler in handlers:
            logging.getLogger().removeHandler(handler)
