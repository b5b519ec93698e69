"""
Time that passes only when nothing else can happen.

A call to a server in the same event loop meets real sockets, but a minute's wait takes no time, and
the clock shows to the microsecond when what happened.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import looptime

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Return what *main* does, in an event loop whose clock starts at 0."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        return runner.run(main)


def now() -> float:
    """Return the seconds since the event loop began."""
    return asyncio.get_running_loop().time()
