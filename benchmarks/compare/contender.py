"""What a contender is, and all there are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from benchmarks.compare.target import Target

Call: TypeAlias = Callable[[int], Awaitable[None]]
"""Makes the call of this number, and raises unless it went well."""

Play: TypeAlias = Callable[[int], Awaitable[None]]
"""Makes so many calls."""

Maker: TypeAlias = "Callable[[Target], AbstractAsyncContextManager[Call]]"
Player: TypeAlias = "Callable[[Target], AbstractAsyncContextManager[Play]]"


@attrs.frozen
class Contender:
    """
    One way of calling.

    Attributes:
        name: For people.

        play: Gives what plays.

        share: Of the others' calls that it makes, so that a slow one holds nobody up.

        loop: The event loop that it plays on; None for the table's.
    """

    name: str
    play: Player
    share: float = 1.0
    loop: str | None = None


def of_calls(make: Maker) -> Player:
    """Return what plays single calls, as many at a time as the target says."""

    @contextlib.asynccontextmanager
    async def player(target: Target) -> AsyncIterator[Play]:
        async with make(target) as call:

            async def play(count: int) -> None:
                numbers = iter(range(count))

                async def work() -> None:
                    for number in numbers:
                        await call(number)

                if target.concurrency == 1:
                    await work()
                else:
                    await asyncio.gather(*(work() for _ in range(target.concurrency)))

            yield play

    return player


def check(fine: object) -> None:
    """Raise unless an answer said yes."""
    if fine is not True:
        raise RuntimeError("not confirmed")
