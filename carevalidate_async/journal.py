"""
What a bulk run has asked for and what came of it, on disk: a process that dies can be run again.

A row's idempotency key is durable before the first byte of its request leaves; its outcome is
durable before anyone is told. The file holds no personal data: keys, a digest of the content, line
numbers, states, counts, error classes and times.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

import attrs

from carevalidate_async.idempotency import derive_idempotency_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

FORMAT = 1
_APPLICATION = 0x43564A4C  # "CVJL", so that no other SQLite file is taken for a journal
_BUSY_SECONDS = 0.5

_SCHEMA = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
    key TEXT PRIMARY KEY,
    content TEXT NOT NULL,        -- digest of the payment without its key
    state TEXT NOT NULL,
    may_have_landed INTEGER NOT NULL, -- an ask of an earlier run was never settled
    run INTEGER NOT NULL,         -- the last run that saw the row
    line INTEGER NOT NULL,        -- where that run saw it first
    seen INTEGER NOT NULL,        -- how often that run saw its content
    attempts INTEGER NOT NULL,    -- of all runs
    error TEXT,
    status INTEGER,
    code TEXT,
    planned_at REAL NOT NULL,
    settled_at REAL
) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {FORMAT};
"""


class JournalError(Exception):
    """The journal cannot be used, or not for this run."""


class State(enum.StrEnum):
    """What the journal knows of a row."""

    PLANNED = "planned"
    """Its key is on disk; it may have been sent since."""

    CONFIRMED = "confirmed"
    ALREADY_RECORDED = "already_recorded"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"


ON_RECORD = frozenset({State.CONFIRMED, State.ALREADY_RECORDED})
# Under such a key nothing was ever recorded, so a corrected row can have it.
_FREE = frozenset({State.REJECTED, State.NOT_SENT})


class Duplicates(enum.StrEnum):
    """What to do with a row whose content the file had before."""

    REFUSE = "refuse"
    ONCE = "once"
    EACH = "each"


@attrs.frozen(kw_only=True)
class Candidate:
    """
    A row that could be sent.

    Attributes:
        line: Where it stands in its file.

        content: Digest of the payment without its key.

        key: Its own idempotency key; None for the one that its content gives.
    """

    line: int
    content: str
    key: str | None = None


class Verdict(enum.Enum):
    """What a plan says about a row."""

    SEND = enum.auto()
    ON_RECORD = enum.auto()
    DUPLICATE = enum.auto()
    CONFLICT = enum.auto()


@attrs.frozen(kw_only=True)
class Plan:
    """
    What to do with a candidate.

    Attributes:
        verdict: Send it; or it is on record, a duplicate, or its key belongs to another payment.

        key: The key that it is sent under.

        state: What is known of it from earlier runs; `PLANNED` for a row that is new.

        may_have_landed: Whether an ask of an earlier run was never settled.

        nth: Whether the key tells a repeated row from its first appearance.

        line: The line that had the key before, for a duplicate or conflict within the file; None
            where an earlier run had it.
    """

    verdict: Verdict
    key: str
    state: State = State.PLANNED
    may_have_landed: bool = False
    nth: bool = False
    line: int | None = None


@attrs.frozen(kw_only=True)
class Settlement:
    """
    What came of a row.

    Attributes:
        key: The row's.

        state: Its new state.

        attempts: Tries made for it in this run.

        error: Name of the error's class.

        status: HTTP status of the error.

        code: The vendor's code.
    """

    key: str
    state: State
    attempts: int = 0
    error: str | None = None
    status: int | None = None
    code: str | None = None


class Journal:
    """
    The journal of one file's runs; one process at a time.

    Use it as an asynchronous context manager. All its SQLite work happens in one thread of its own.

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
            lambda db: [self._plan(db, candidate, duplicates) for candidate in candidates]
        )

    async def settle(self, settlements: Iterable[Settlement]) -> None:
        """
        Put outcomes on disk, all in one transaction.

        Raises:
            JournalError: It cannot be written.
        """
        await self._write(lambda db: self._settle(db, settlements))

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

    def _plan(self, db: sqlite3.Connection, candidate: Candidate, duplicates: Duplicates) -> Plan:
        key = candidate.key or candidate.content
        found = self._look_up(db, candidate, key)
        if found.verdict is not Verdict.DUPLICATE:
            return found
        if candidate.key is not None or duplicates is not Duplicates.EACH:
            return found
        # The nth row of the same content has, in every run, the nth key.
        db.execute("UPDATE rows SET seen = seen + 1 WHERE key = ?", (key,))
        (seen,) = db.execute("SELECT seen FROM rows WHERE key = ?", (key,)).fetchone()
        nth = derive_idempotency_key(candidate.content, seen)
        return attrs.evolve(self._look_up(db, candidate, nth), nth=True)

    def _look_up(self, db: sqlite3.Connection, candidate: Candidate, key: str) -> Plan:
        query = "SELECT content, state, may_have_landed, run, line FROM rows WHERE key = ?"
        found = db.execute(query, (key,)).fetchone()
        if found is None:
            db.execute(
                "INSERT INTO rows (key, content, state, may_have_landed, run, line, seen, attempts,"
                " planned_at) VALUES (?, ?, ?, 0, ?, ?, 1, 0, ?)",
                (key, candidate.content, State.PLANNED, self._run, candidate.line, time.time()),
            )
            return Plan(verdict=Verdict.SEND, key=key)
        content, state, may_have_landed = found[0], State(found[1]), bool(found[2])
        first_line = found[4] if found[3] == self._run else None
        same = content == candidate.content
        if first_line is not None and same:
            return Plan(verdict=Verdict.DUPLICATE, key=key, state=state, line=first_line)
        if not same and (first_line is not None or state not in _FREE or may_have_landed):
            return Plan(verdict=Verdict.CONFLICT, key=key, state=state, line=first_line)
        may_have_landed = may_have_landed or state in {State.PLANNED, State.UNKNOWN}
        verdict = Verdict.ON_RECORD if state in ON_RECORD else Verdict.SEND
        db.execute(
            "UPDATE rows SET content = ?, state = ?, may_have_landed = ?, run = ?, line = ?,"
            " seen = 1 WHERE key = ?",
            (
                candidate.content,
                state if verdict is Verdict.ON_RECORD else State.PLANNED,
                may_have_landed and verdict is Verdict.SEND,
                self._run,
                candidate.line,
                key,
            ),
        )
        return Plan(verdict=verdict, key=key, state=state, may_have_landed=may_have_landed)

    def _settle(self, db: sqlite3.Connection, settlements: Iterable[Settlement]) -> None:
        now = time.time()
        db.executemany(
            "UPDATE rows SET state = ?, may_have_landed = ?, attempts = attempts + ?, error = ?,"
            " status = ?, code = ?, settled_at = ? WHERE key = ?",
            [
                (
                    settled.state,
                    settled.state is State.UNKNOWN,
                    settled.attempts,
                    settled.error,
                    settled.status,
                    settled.code,
                    now,
                    settled.key,
                )
                for settled in settlements
            ],
        )

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            if db.in_transaction:
                db.execute("ROLLBACK")
            db.close()
