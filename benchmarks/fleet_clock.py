"""
Simulated time: an event loop whose clock jumps to the next timer instead of waiting for it.

asyncio's loop is a heap of moments and what is to happen at them, which is all that a simulation of
discrete events needs; and on it the package's own coroutines run as they are.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: where the loop would, its clock moves on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing is to come")
        self.now += max(timeout, 0.0)
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def simulate(main: Coroutine[Any, Any, T], seed: int) -> T:
    """
    Return what *main* gives, in an event loop of simulated time that begins at 0.

    Args:
        main: What is to happen.

        seed: Of all chance: the package draws its jitter from Python's own generator, which is set
            back afterwards.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            return runner.run(main)
    finally:
        random.setstate(state)


def now() -> float:
    """Return the simulated seconds since the beginning."""
    return asyncio.get_running_loop().time()
