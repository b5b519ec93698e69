"""A run's journal: rows planned and settled, by one thread, in groups that are durable at once."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

from carevalidate_async.journal import _records, _runs
from carevalidate_async.journal._file import (
    JournalError,
    close,
    open_to_rehearse,
    open_to_write,
    why,
)
from carevalidate_async.journal._plans import Planner
from carevalidate_async.journal._records import (
    Candidate,
    Duplicates,
    Plan,
    Settlement,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from carevalidate_async._secret import Secret
    from carevalidate_async.journal._runs import Ending

T = TypeVar("T")


class Journal:
    """
    The journal of one file's runs; one process at a time.

    Use it as an asynchronous context manager. All its SQLite work happens in one thread of its own.

    Attributes:
        path: The file.

        fresh: Whether this is its first run: what is not in it was not sent.

        begun_with: The file of its first run, absolute; None for standard input.

        too_old: Rows of this run that were not asked for since their keys are too old.

    Args:
        path: The file; it is made, readable by its owner alone, when it is not there.

        target: What the rows are sent to. A journal serves one target: a row that is on record in
            staging is not on record in production.

        rehearse: Nothing is kept: what is on disk is read, and left as it was.

        file: Where the rows of this run come from; None for standard input.

        secret: The credential that they are sent with. A journal serves one organization, of which
            it keeps a salted fingerprint; None looks at nothing.

        rotated: Whether another credential than the one before is of the same organization.

        max_key_age: Seconds for which a key that may have been sent, and was never settled, is
            sent again; the vendor may have forgotten an older one, and would record the payment
            once more. None for any age.

        clock: Gives seconds since 1970.

    Raises:
        JournalError: Upon entry, when it cannot be used; upon any call, when it cannot be written.
    """

    def __init__(
        self,
        path: str,
        *,
        target: str,
        rehearse: bool = False,
        file: str | None = None,
        secret: Secret | None = None,
        rotated: bool = False,
        max_key_age: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._target = target
        self._rehearse = rehearse
        self._file = file
        self._secret = secret
        self._rotated = rotated
        self._max_key_age = max_key_age
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._run = 0
        self._duplicates: Duplicates | None = None  # as is noted of the run
        self.fresh: bool = False
        self.begun_with: str | None = None
        self.too_old: int = 0
        self._closed = False
        self._db: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._call(self._open)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the file; doing it twice is fine."""
        if not self._closed:
            self._closed = True
            await self._call(self._close)
            self._thread.shutdown(wait=False)

    async def plan(self, candidates: Sequence[Candidate], duplicates: Duplicates) -> list[Plan]:
        """
        Return what to do with each row, once the keys of those to be sent are on disk.

        Args:
            candidates: In the file's order; each row of a file is planned once in a run.

            duplicates: What to do with rows of the same content.

        Raises:
            JournalError: It cannot be written; none of the rows may be sent.
        """

        def work(db: sqlite3.Connection) -> list[Plan]:
            if duplicates is not self._duplicates:
                _runs.note_duplicates(db, self._run, duplicates)
                self._duplicates = duplicates
            planner = Planner(
                db=db,
                duplicates=duplicates,
                run=self._run,
                now=int(self._clock()),
                max_key_age=self._max_key_age,
            )
            return planner.plan(candidates)

        plans = await self._write(work)
        self.too_old += sum(plan.verdict is Verdict.TOO_OLD for plan in plans)
        return plans

    async def settle(self, settlements: Iterable[Settlement]) -> None:
        """
        Put outcomes on disk, all in one transaction.

        Raises:
            JournalError: It cannot be written; the rows stay in doubt for the next run.
        """
        now = int(self._clock())
        await self._write(lambda db: _records.settle(db, settlements, now=now))

    async def end(self, ending: Ending, counts: Mapping[str, int], reason: str | None) -> None:
        """
        Note how the run ended.

        Args:
            ending: How.

            counts: How many rows are where; see `carevalidate_async.journal._runs.PastRun`.

            reason: Why it ended early, free of personal data.

        Raises:
            JournalError: It cannot be written; nothing about any payment is lost by that.
        """
        now = int(self._clock())
        await self._write(
            lambda db: _runs.end(db, self._run, ending, counts=counts, reason=reason, now=now)
        )

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise JournalError(why(self.path, error)) from error

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._db
        if db is None or self._closed:
            raise JournalError(f"the journal {self.path} is not open")

        def transaction() -> T:
            if self._rehearse:
                return work(db)
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work(db)
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk rolls back by itself
                    db.execute("ROLLBACK")
                raise
            return result

        return await self._call(transaction)

    # From here on in the journal's own thread.

    def _open(self) -> None:
        opened = open_to_rehearse if self._rehearse else open_to_write
        self._db = db = opened(self.path, target=self._target)
        if self._secret is not None:
            self._check_credential(db, self._secret)
        self._run = _runs.begin(
            db, file=self._file, max_key_age=self._max_key_age, now=int(self._clock())
        )
        self.fresh = self._run == 1
        self.begun_with = _runs.first_file(db)
        if not self._rehearse:
            db.execute("COMMIT")

    def _check_credential(self, db: sqlite3.Connection, secret: Secret) -> None:
        if _runs.is_bound_elsewhere(db, secret, rotated=self._rotated):
            raise JournalError(
                f"the journal {self.path} was begun with another API key; keys of payments are "
                "scoped per organization, so what is on record in one would not be sent to "
                "another: name another journal for another organization, or say --rotated-key "
                "if this is a new API key of the same one"
            )

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            close(db)
