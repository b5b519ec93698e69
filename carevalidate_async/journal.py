"""
What a bulk run has asked for and what came of it, on disk: a process that dies can be run again.

A row's idempotency key is durable before the first byte of its request leaves; its outcome is
durable before anyone is told. The file holds no personal data: keys, a digest of the content, line
numbers, states, counts, error classes and times.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

from carevalidate_async import _records
from carevalidate_async._records import (
    ON_RECORD,
    SCHEMA,
    Candidate,
    Duplicates,
    Plan,
    Settlement,
    State,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "FORMAT",
    "ON_RECORD",
    "Candidate",
    "Duplicates",
    "Journal",
    "JournalError",
    "Plan",
    "Settlement",
    "State",
    "Verdict",
]

T = TypeVar("T")

FORMAT = 1
_APPLICATION = 0x43564A4C  # "CVJL", so that no other SQLite file is taken for a journal
_BUSY_SECONDS = 0.5

_SCHEMA = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
{SCHEMA}
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {FORMAT};
"""


class JournalError(Exception):
    """The journal cannot be used, or not for this run."""


class Journal:
    """
    The journal of one file's runs; one process at a time.

    Use it as an asynchronous context manager. All its SQLite work happens in one thread of its own.

    Attributes:
        path: The file.

        fresh: Whether this is its first run: what is not in it was not sent.

    Args:
        path: The file; it is made, readable by its owner alone, when it is not there.

        target: What the rows are sent to. A journal serves one target: a row that is on record in
            staging is not on record in production.

        rehearse: Nothing is kept: what is on disk is read, and left as it was.

    Raises:
        JournalError: Upon entry, when it cannot be used; upon any call, when it cannot be written.
    """

    def __init__(self, path: str, *, target: str, rehearse: bool = False) -> None:
        self.path = path
        self._target = target
        self._rehearse = rehearse
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._run = 0
        self.fresh: bool = False
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
            JournalError: It cannot be written.
        """
        return await self._write(
            lambda db: [
                _records.plan(db, candidate, duplicates, run=self._run) for candidate in candidates
            ]
        )

    async def settle(self, settlements: Iterable[Settlement]) -> None:
        """
        Put outcomes on disk, all in one transaction.

        Raises:
            JournalError: It cannot be written.
        """
        await self._write(lambda db: _records.settle(db, settlements))

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self.path} cannot be used: {error}") from error

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
        # Absolute: SQLite takes some names, such as ":memory:", for something else than a file.
        path = os.path.abspath(self.path) if self.path else ""
        there = os.path.exists(path)
        if there and not os.path.isfile(path):
            raise JournalError(f"the journal {self.path} is not a regular file")
        if self._rehearse and not there:
            path = ""  # SQLite's name for a temporary file
        elif not self._rehearse:
            try:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            except OSError as error:
                reason = error.strerror
                raise JournalError(f"the journal {self.path} cannot be opened: {reason}") from error
        self._db = db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            # Exclusive: the lock is held until the file is closed, also by a process that dies.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            new = self._is_new(db)
            if not self._rehearse:
                self._keep_private(path)
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN EXCLUSIVE")
            if new:
                self._make(db)
            self._begin_run(db)
            if not self._rehearse:
                db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                reason = "is in use: another run is at work on it"
                raise JournalError(f"the journal {self.path} {reason}") from error
            raise

    def _keep_private(self, path: str) -> None:
        try:
            os.chmod(path, 0o600)  # it may have been there with other rights
        except OSError as error:
            reason = f"cannot be made its owner's alone: {error.strerror}"
            raise JournalError(f"the journal {self.path} {reason}") from error

    def _is_new(self, db: sqlite3.Connection) -> bool:
        """Tell whether the file is empty; refuse one that is not ours before changing it."""
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables and not application:
            return True
        if application != _APPLICATION:
            raise JournalError(f"{self.path} is a database, but no journal; name another file")
        if version != FORMAT:
            raise JournalError(
                f"the journal {self.path} has format {version}, and this version of the package "
                f"reads format {FORMAT}; use the version that began it, or name another file"
            )
        (target,) = db.execute("SELECT value FROM facts WHERE name = 'target'").fetchone()
        if target != self._target:
            raise JournalError(
                f"the journal {self.path} belongs to {target}, and this run goes to "
                f"{self._target}; name another file"
            )
        return False

    def _make(self, db: sqlite3.Connection) -> None:
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute("INSERT INTO facts VALUES ('target', ?)", (self._target,))
        db.execute("INSERT INTO facts VALUES ('runs', '0')")

    def _begin_run(self, db: sqlite3.Connection) -> None:
        db.execute("UPDATE facts SET value = value + 1 WHERE name = 'runs'")
        (runs,) = db.execute("SELECT value FROM facts WHERE name = 'runs'").fetchone()
        self._run = int(runs)
        self.fresh = self._run == 1

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            if db.in_transaction:
                db.execute("ROLLBACK")
            db.close()
