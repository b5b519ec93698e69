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


# Turns of the event loop in which nothing happens, before time passes: sockets may have been slow.
_TURNS = 42


def run(main: Coroutine[Any, Any, T], *, sockets: bool = True) -> T:
    """
    Return what *main* does, in an event loop whose clock starts at 0.

    Args:
        main: What to run.

        sockets: Whether it has any; without them time need not wait.
    """

    def make() -> asyncio.AbstractEventLoop:
        return looptime.new_event_loop(start=0, noop_cycles=_TURNS if sockets else 0)

    with asyncio.Runner(loop_factory=make) as runner:
        return runner.run(main)


def now() -> float:
    """Return the seconds since the event loop began."""
    return asyncio.get_running_loop().time()
