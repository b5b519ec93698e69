"""
Work that is run to its end, whoever is cancelled meanwhile.

A caller who hangs up, or a server that runs out of patience, cancels the task that serves a
request. A payment call that is cancelled on the wire leaves the payment in doubt. So each call runs
in a task of its own, which nobody cancels before the application ends.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from carevalidate_async.errors import CareValidateError, ClientClosedError, Outcome
from carevalidate_async.models import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

T = TypeVar("T")

_LAST = 1.0  # seconds for what comes after a call that was cut off

_logger = logging.getLogger("carevalidate_async")
# Of whose unfinished work this is a part.
_part_of: ContextVar[object] = ContextVar("carevalidate_async_part_of", default=None)


@attrs.frozen(kw_only=True)
class Unheard:
    """
    How work ended whose caller was gone by then.

    Attributes:
        what: Name of the operation, or of the coroutine that was given to `Vendors.finish`.

        outcome: What is known about the money; None where the work was not a call, and did not
            end in the error of one.

        idempotency_key: The key that the vendor was asked under, where there is one.

        result: What would have been returned.

        error: What would have been raised.
    """

    what: str
    outcome: Outcome | None
    idempotency_key: str | None
    result: Any = attrs.field(default=None, repr=False)
    error: BaseException | None = attrs.field(default=None, repr=False)


@attrs.define(kw_only=True, eq=False)
class _Work(Generic[T]):
    """
    Something that is run to its end.

    Attributes:
        what: Its name.

        task: Runs it.

        listeners: How many wait for its end.

        told: Whether its end was told because there was none.
    """

    what: str
    task: asyncio.Task[T]
    listeners: int = 0
    told: bool = False


class Unfinished:
    """
    The work of one application that has not ended yet.

    Args:
        on_unheard: Told of the end of work whose callers are gone.

    Attributes:
        closed: Whether nothing new may begin, but by what has begun.
    """

    def __init__(self, on_unheard: Callable[[Unheard], None] | None) -> None:
        self._on_unheard = on_unheard
        self._tasks: set[asyncio.Task[Any]] = set()
        self._same: dict[Hashable, _Work[Any]] = {}
        self.closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    async def finish(
        self, coroutine: Coroutine[Any, Any, T], what: str, same: Hashable = None
    ) -> T:
        """
        Run *coroutine* to its end, and return what it returns.

        Args:
            coroutine: The work.

            what: Its name.

            same: What it is known by; where such work is under way already, what that returns is
                returned. None for work that is like no other.

        Raises:
            ClientClosedError: `closed`; nothing was begun.
            asyncio.CancelledError: The caller was cancelled, and the work goes on.
        """
        work = None if same is None else self._same.get(same)
        if work is not None:
            coroutine.close()
        else:
            work = self._begin(coroutine, what)
            if same is not None:
                self._same[same] = work
                work.task.add_done_callback(lambda _: self._same.pop(same))
        try:
            return await self._hear(work)
        finally:
            del work  # An error's frames would hold what holds the error.

    async def settle(self, seconds: float) -> None:
        """Begin nothing new, and wait until there is none, for *seconds* at most."""
        self.closed = True
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        # In a loop, since work may begin other work.
        while self._tasks and (left := ends - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        if self._tasks:
            names = ", ".join(sorted({task.get_name() for task in self._tasks}))
            words = "%d not settled within %g seconds; they end now: %s"
            _logger.error(words, len(self._tasks), seconds, names)

    async def cut_off(self) -> None:
        """Let what has lost its clients tell its end, and cancel what is left then."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST)
        left = tuple(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _begin(self, coroutine: Coroutine[Any, Any, T], what: str) -> _Work[T]:
        if self.closed and _part_of.get() is not self:
            coroutine.close()
            raise ClientClosedError("the application is ending")
        work = _Work(what=what, task=asyncio.create_task(self._as_part(coroutine), name=what))
        self._tasks.add(work.task)
        work.task.add_done_callback(lambda task: self._end(task, work))
        return work

    async def _as_part(self, coroutine: Coroutine[Any, Any, T]) -> T:
        _part_of.set(self)
        return await coroutine

    async def _hear(self, work: _Work[T]) -> T:
        work.listeners += 1
        try:
            # Not shield, which lets the event loop show the error of work that nobody awaits.
            await asyncio.wait((work.task,))
            return work.task.result()
        except asyncio.CancelledError:
            work.listeners -= 1
            if work.task.done():
                self._tell(work)
            raise
        finally:
            del work  # As above.

    def _end(self, task: asyncio.Task[Any], work: _Work[Any]) -> None:
        self._tasks.discard(task)
        self._tell(work)

    def _tell(self, work: _Work[Any]) -> None:
        """Tell how *work* ended, once, where nobody is there who hears it."""
        if work.listeners or work.told or work.task.cancelled():
            return  # What is cancelled is so with the application; a call has logged its own end.
        work.told = True
        unheard = _unheard(work.what, work.task)
        _logger.log(
            logging.INFO if unheard.error is None else logging.ERROR,
            "%s ended after its caller was gone: %s, outcome %s; idempotency key %s",
            unheard.what,
            "well" if unheard.error is None else type(unheard.error).__name__,
            unheard.outcome,
            unheard.idempotency_key,
        )
        if self._on_unheard is not None:
            try:
                self._on_unheard(unheard)
            except Exception as error:  # noqa: BLE001 - it must not change what happens to others
                kind = type(error).__name__
                _logger.error("on_unheard failed on the end of %s: %s", work.what, kind)  # noqa: TRY400 - its frames show personal data


def _unheard(what: str, ended: asyncio.Task[Any]) -> Unheard:
    error = ended.exception()
    result = ended.result() if error is None else None
    outcome = key = None
    if isinstance(error, CareValidateError):
        outcome, key = error.outcome, error.idempotency_key
    elif isinstance(result, Answer):
        outcome, key = Outcome.RECORDED, result.meta.idempotency_key
    return Unheard(what=what, outcome=outcome, idempotency_key=key, result=result, error=error)
