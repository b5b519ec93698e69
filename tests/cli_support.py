"""What the tests of the command line share: a sandbox on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from carevalidate_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = "case_id,amount,payment_date,valid_until,status\n"


def good(number: int) -> str:
    """Return a row that can be sent."""
    return f"case-{number},{number}.50,2026-01-05,2026-02-05,PAID\n"


@contextlib.contextmanager
def running_sandbox(**options: Any) -> Iterator[Sandbox]:  # noqa: ANN401
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
