"""What the tests of the command line share: a sandbox on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
import termios
import threading
import time
from typing import IO, TYPE_CHECKING, Any

from carevalidate_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = "case_id,amount,payment_date,valid_until,status\n"


def good(number: int) -> str:
    """Return a row that can be sent."""
    return f"case-{number},{number}.50,2026-01-05,2026-02-05,PAID\n"


@contextlib.contextmanager
def running_sandbox(**options: Any) -> Iterator[Sandbox]:
    """Run a sandbox beside the test: a command line has an event loop of its own."""
    sandbox = Sandbox(**options)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        async with sandbox:
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield sandbox
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start the command, its output to be read."""
    return subprocess.Popen(
        [sys.executable, "-m", "carevalidate_async", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    """Wait until *condition* gives True."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def unread(pipe: IO[str] | None) -> int:
    """Return how many bytes of what was written to *pipe* nobody has taken yet."""
    assert pipe is not None
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def run_with(redirections: str, *arguments: str, **variables: str) -> Any:
    """Run the command in a shell that redirects its streams."""
    command = f'exec "$@" {redirections}'
    return subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-m", "carevalidate_async", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "", **variables},  # buffered, as it is by default
        timeout=60,
    )
