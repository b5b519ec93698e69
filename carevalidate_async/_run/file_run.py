"""
One file, from its rows to its counts: rows, journal, bulk, journal, counts.

Knows nothing of a terminal: a `Watcher` is told what happens. Memory does not grow with the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING

import attrs

from carevalidate_async._run.ahead import BATCH, Ahead
from carevalidate_async._run.books import Books
from carevalidate_async._run.counts import Summary, Tally
from carevalidate_async._run.course import Course
from carevalidate_async._run.sight import Sight, Watcher
from carevalidate_async.bulk import (
    MAX_OUTAGE,
    Confirms,
    Pace,
    Row,
    RunState,
    Stock,
    confirm_payments,
)
from carevalidate_async.errors import (
    AuthenticationError,
    CareValidateError,
    Outcome,
    PermissionDeniedError,
)
from carevalidate_async.journal import Duplicates, Journal, JournalError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from carevalidate_async._files.rejects import Rejects
    from carevalidate_async._files.rows import RowReader
    from carevalidate_async._run.books import Planned
    from carevalidate_async._run.counts import Trouble
    from carevalidate_async.models import PaymentConfirmation

MOST_RESULTS = 2 * BATCH
"""Rows that are settled together, and that may wait for it."""

GRACE = 10.0
"""Seconds that payments in flight have to end once the run is told to stop."""

BEAT = 0.25
"""Seconds between two moments at which a watcher is told how far the run is, whatever it does."""

_GROUP_SECONDS = 0.05
_STEP = 64  # rows that are sent between two looks at how many are left


@attrs.frozen(kw_only=True)
class Bounds:
    """
    How fast and how patient a run may be; see `confirm_payments`.

    Attributes:
        concurrency: Payments in flight at once, at most.

        rate: Asks begun per second, at most; None for no limit.

        adaptive: Whether to go below both as the vendor's answers tell.

        asks: Requests for one payment, at most.

        max_outage: Seconds that a vendor that is down is waited for.
    """

    concurrency: int = 64
    rate: float | None = None
    adaptive: bool = True
    asks: int = 10
    max_outage: float = MAX_OUTAGE


class FileRun:
    """
    One run of a file.

    Args:
        reader: The file's rows.

        client: Confirms them; None for a rehearsal.

        journal: Open, and bound to the client's target.

        watcher: Told what happens.

        size: Bytes of the file, None where nobody knows.

        endless: Whether its rest may never come, as with a pipe: then a run that ends early does
            not wait for it.

        rejects: Where rows that need a person go; None for nowhere.

        duplicates: What to do with rows whose content the file had before.

        bounds: How fast and how patient it may be.

        grace: Seconds that payments in flight have once the run is told to stop.

        beat: Seconds between two moments at which the watcher is told how far the run is.

        tally: A hook of the client, which counts the requests of rows that are cut off.

        course: Another, which keeps what happened when.
    """

    def __init__(
        self,
        reader: RowReader,
        *,
        client: Confirms | None,
        journal: Journal,
        watcher: Watcher,
        size: int | None = None,
        endless: bool = False,
        rejects: Rejects | None = None,
        duplicates: Duplicates = Duplicates.REFUSE,
        bounds: Bounds | None = None,
        grace: float = GRACE,
        beat: float = BEAT,
        tally: Tally | None = None,
        course: Course | None = None,
    ) -> None:
        self._client = client
        self._watcher = watcher
        self._size = size
        self._endless = endless
        self._duplicates = duplicates
        self._bounds = bounds or Bounds()
        self._grace = grace
        self._beat = beat
        self._course = course or Course()
        self._books = Books(
            journal,
            duplicates=duplicates,
            rejects=rejects,
            tell=self._problem,
            tally=tally or Tally(),
            course=self._course,
        )
        self._refused = False  # the credential
        self._reached = False  # the vendor's books, perhaps
        self._pace: Pace | None = None
        self._ahead = Ahead(reader)
        self._rehearsing = False
        self._held_back: list[Trouble] = []  # of a batch that is rehearsed
        self._at_end = False
        self._upcoming: asyncio.Task[bool] | None = None  # plans a batch, or has planned the last
        self._last_batch = 0  # rows
        self._unsettled: list[Row] = []
        self._arrived = asyncio.Event()  # some of those, or the last one before
        self._room = asyncio.Event()  # for further ones
        self._all_back = False
        self._trouble: str | None = None
        self._halt = asyncio.Event()  # no further row is sent
        self._enough = asyncio.Event()  # nor read
        self._stop = asyncio.Event()  # someone said so
        self._hurry = asyncio.Event()  # twice

    def stop(self) -> None:
        """Send no further row, and give those in flight a while; the second time, none."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()
        self._halt.set()
        self._enough.set()
        self._report(at_once=True)

    async def run(self) -> Summary:
        """
        Send what is not on record yet, and return the counts.

        Trouble with the file or the journal in the midst of the run ends it early and is told by
        the summary: what was sent before counts.
        """
        began = time.monotonic()
        if self._client is None:
            raise ValueError("a run needs a client")
        async with self._under_way():
            try:
                await self._send(self._client)
                await self._account_for_the_rest()
            except (JournalError, OSError) as error:
                self._trouble = f"the run cannot go on: {error}"
                await self._give_up()
        self._report()
        return self._summary(began)

    async def rehearse(self) -> Summary:
        """
        Read and check all rows, tell what would be sent, and send nothing.

        Trouble ends it early, as it ends `run`.
        """
        began = time.monotonic()
        self._rehearsing = True
        async with self._under_way():
            try:
                while await self._plan_batch():
                    self._tell_in_order(self._books.pass_over())
                    self._report()
            except (JournalError, OSError) as error:
                self._trouble = f"the rehearsal cannot go on: {error}"
                await self._give_up()
        self._report()
        return self._summary(began)

    @contextlib.asynccontextmanager
    async def _under_way(self) -> AsyncGenerator[None, None]:
        """Tell the watcher now and then how far the run is; in the end, leave no task behind."""
        self._course.begin()
        beating = asyncio.create_task(self._keep_reporting())
        try:
            yield
        finally:
            beating.cancel()
            await self._end_reading()
            await asyncio.gather(beating, return_exceptions=True)

    async def _keep_reporting(self) -> None:
        # While a run waits, nothing else would tell that it does.
        while True:
            await asyncio.sleep(self._beat)
            self._report()

    def _problem(self, found: Trouble) -> None:
        if self._rehearsing:
            self._held_back.append(found)
        else:
            self._watcher.problem(found)

    def _tell_in_order(self, passed: Sequence[Planned]) -> None:
        """Tell what a rehearsal found in the file's order, however it was read."""
        tell: list[tuple[int, Callable[[], None]]] = [
            (found.line, partial(self._watcher.problem, found)) for found in self._held_back
        ]
        self._held_back.clear()
        for item in passed:
            show = partial(self._watcher.would_send, item.row.line, item.plan.key, item.payment)
            tell.append((item.row.line, show))
        for _, one in sorted(tell, key=itemgetter(0)):
            one()

    def _summary(self, began: float) -> Summary:
        self._course.end()
        return Summary(
            counts=self._books.counts,
            elapsed=time.monotonic() - began,
            duplicates=self._duplicates,
            known=self._books.known,
            interrupted=self._stop.is_set(),
            stopped_by=self._stopped_by(),
            refused=self._refused,
            reached=self._reached,
            rehearsal=self._rehearsing,
            retries=self._books.retries,
            whole=self._at_end,
            estimated_rows=None if self._at_end else self._estimate(),
        )

    def _stopped_by(self) -> str | None:
        told = [self._trouble] if self._trouble is not None else []
        pace = self._pace
        if pace is not None and pace.state is RunState.STOPPED:
            cut_short = self._trouble is None and not self._at_end
            unread = ", and the rest of the input was not read" if cut_short else ""
            told.insert(0, f"{pace.reason}; no further row was sent{unread}")
        return "; ".join(told) or None

    def _paced(self, pace: Pace) -> None:
        before = RunState.RUNNING if self._pace is None else self._pace.state
        self._pace = pace
        if pace.state is RunState.STOPPED:
            self._course.resumed()
            self._watcher.note(f"Stopping: {pace.reason}")
            self._halt.set()
            if self._endless:
                self._enough.set()
        elif pace.state is not before:
            if pace.state is RunState.WAITING:
                self._course.paused(pace.reason or "")
                self._watcher.note(f"Waiting: {pace.reason}")
            else:
                self._course.resumed()
                self._watcher.note("Going on")
        self._course.allowed(pace.limit, pace.rate)
        self._watcher.paced(pace)
        if pace.state is not before:
            self._report(at_once=True)

    # Sending

    async def _send(self, client: Confirms) -> None:
        limit = asyncio.timeout(None)
        trouble: JournalError | OSError | None = None
        bounds = self._bounds
        rows = confirm_payments(
            client,
            Stock(self._at_hand, self._payments()),
            concurrency=bounds.concurrency,
            rate=bounds.rate,
            adaptive=bounds.adaptive,
            asks=bounds.asks,
            max_outage=bounds.max_outage,
            stop=self._halt,
            on_pace=self._paced,
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._settle_results())
                watching = group.create_task(self._watch(limit))
                try:
                    async with limit, contextlib.aclosing(rows):
                        async for row in rows:
                            self._heed(row)
                            self._unsettled.append(row)
                            self._arrived.set()
                            if len(self._unsettled) >= MOST_RESULTS:
                                self._room.clear()
                                await self._room.wait()
                except TimeoutError:
                    self._watcher.note("stopped while payments were in flight")
                except CareValidateError:
                    pass  # it ended the run, as its pace has told
                except (JournalError, OSError) as error:
                    trouble = error  # raised once those in flight are settled
                watching.cancel()
                self._all_back = True
                self._arrived.set()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        if trouble is not None:
            raise trouble

    def _heed(self, row: Row) -> None:
        """Draw what *row* tells about the run."""
        if row.error is None:
            self._reached = True
            return
        refused = isinstance(row.error, AuthenticationError | PermissionDeniedError)
        self._refused |= refused
        # A key that is refused keeps the vendor from looking at the payment at all.
        looked_at = {Outcome.RECORDED, Outcome.UNKNOWN} | (set() if refused else {Outcome.REJECTED})
        self._reached |= row.outcome in looked_at

    async def _watch(self, limit: asyncio.Timeout) -> None:
        clock = asyncio.get_running_loop().time
        await self._stop.wait()
        limit.reschedule(clock() + self._grace)
        await self._hurry.wait()
        if not limit.expired():
            limit.reschedule(clock())

    def _at_hand(self) -> PaymentConfirmation | None:
        if self._halt.is_set():
            return None
        payment = self._books.hand_out()
        waiting = self._books.waiting
        if not waiting % _STEP:  # now and then
            self._ahead.note(waiting=waiting)
            if waiting < self._last_batch:  # of which there are few where rows are long
                _ = self._plan_ahead()
        return payment

    async def _payments(self) -> AsyncIterator[PaymentConfirmation]:
        while not self._halt.is_set():
            payment = self._at_hand()
            if payment is not None:
                yield payment
            elif not await self._more():
                return

    # Reading and planning

    async def _more(self) -> bool:
        """Wait until there are more planned rows; return False at the end of the file."""
        planning = self._plan_ahead()
        # Shielded: what a plan has put on disk must also get into the counts.
        return await asyncio.shield(planning)

    def _plan_ahead(self) -> asyncio.Future[bool]:
        """Plan a batch, unless that is under way, or was for the last time; return the task."""
        task = self._upcoming
        if task is None or (task.done() and not task.exception() and task.result()):
            task = self._upcoming = asyncio.create_task(self._plan_batch())
        return task

    async def _plan_batch(self) -> bool:
        """Read rows and put the keys of those to be sent on disk; return False at the end."""
        self._ahead.note(waiting=self._books.waiting)
        batch = await self._ahead.next(unless=self._enough)
        if batch is None:
            self._at_end = self._at_end or self._ahead.drained
            if not self._at_end and not self._enough.is_set():
                raise RuntimeError("rows that were read are left")
            return False
        self._last_batch = len(batch)
        await self._books.plan(batch)
        self._report()
        return True

    # Settling

    async def _settle_results(self) -> None:
        """Settle in groups: putting a row on disk by itself costs as much as many."""
        while self._unsettled or not self._all_back:
            await self._arrived.wait()
            await asyncio.sleep(_GROUP_SECONDS)
            group, self._unsettled = self._unsettled, []
            self._arrived.clear()
            self._room.set()
            await self._books.settle(group)
            self._report()

    async def _account_for_the_rest(self) -> None:
        """Give every row that was read its place: those in flight, and those never sent."""
        await self._books.cut_off()
        while True:
            await self._books.leave_waiting()
            # More rows can have been planned meanwhile, the last ones too.
            if not await self._more() and not self._books.waiting:
                return

    async def _give_up(self) -> None:
        await self._end_reading()
        self._books.give_up()
        self._tell_in_order(())

    async def _end_reading(self) -> None:
        self._ahead.close()
        if self._upcoming is not None:
            self._upcoming.cancel()
            await asyncio.gather(self._upcoming, return_exceptions=True)

    def _report(self, *, at_once: bool = False) -> None:
        self._watcher.progress(self._look, at_once=at_once)

    def _estimate(self) -> int | None:
        """Return how many rows the input may have; no fewer than were read."""
        rows = self._ahead.estimate(self._size)
        return None if rows is None else max(rows, self._books.counts.rows)

    def _look(self) -> Sight:
        counts = self._books.counts
        failed = counts.failed
        if self._duplicates is not Duplicates.ONCE:
            failed += counts.duplicates
        if self._rehearsing:  # what a rehearsal would send is no failure
            failed -= counts.not_sent
        waiting = self._pace is not None and self._pace.state is RunState.WAITING
        return Sight(
            counts=counts,
            total=counts.rows if self._at_end else self._estimate(),
            failed=failed,
            retries=self._books.retries,
            seconds=self._course.elapsed,
            recent=self._course.recent(),
            waiting=self._pace.reason if self._pace is not None and waiting else None,
            ending=self._halt.is_set(),
            rehearsal=self._rehearsing,
        )
