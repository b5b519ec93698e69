"""
A journal's file: one process at a time writes it, and what is no journal is left alone.

It is an SQLite database. While a run is at work it has a write-ahead log beside it, and so it has
after a run that was killed; a run that ends leaves one plain file.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sqlite3
from typing import TYPE_CHECKING

from carevalidate_async.journal import _records, _runs

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = 3
_APPLICATION = 0x43564A4C  # "CVJL", so that no other SQLite file is taken for a journal
_OLDEST = (3, 33)  # of SQLite: UPDATE ... FROM
_BUSY_SECONDS = 0.5
_READONLY_ROLLBACK = sqlite3.SQLITE_READONLY | 3 << 8
# Rows lie on disk in the order of their file, their keys in none: each new row changes a page of
# its own. The cache holds the upper pages of the index of ten million keys. The more of the log is
# copied to its places at once, the fewer pages are written twice.
_CACHE_KIB = 8 * 1024
_LOG_PAGES = 4096

_SCHEMA = f"""
{_runs.SCHEMA}
{_records.SCHEMA}
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {FORMAT};
"""


class JournalError(Exception):
    """The journal cannot be used, or not for this run."""


def open_to_write(path: str, *, target: str) -> sqlite3.Connection:
    """
    Return the journal, in a transaction; it is made when it is not there.

    Args:
        path: As it was given.

        target: What its rows are sent to.

    Raises:
        JournalError: Another process has it, it belongs to another target, it is no journal, or
            its format is not this version's.
    """
    # Absolute: SQLite takes some names, such as ":memory:", for something else than a file.
    absolute = _absolute(path)
    try:
        os.close(os.open(absolute, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        reason = f"cannot be opened: {error.strerror}"
        raise JournalError(f"the journal {path} {reason}") from error
    with _explained(path), _connected(absolute) as db:
        new = _take(db, path)
        if not new:
            _check_target(db, path, target)
        _keep_private(absolute, path)
        _write_ahead(db)
        if new:
            _make(db, target)
        return db


def open_to_rehearse(path: str, *, target: str) -> sqlite3.Connection:
    """
    Return a copy of the journal, which nobody keeps, in a transaction; *path* may name none.

    Raises:
        JournalError: As `open_to_write` and `open_to_read`.
    """
    with _explained(path), _connected("") as db:  # SQLite's name for a temporary file
        if path and os.path.exists(_absolute(path)):
            with open_to_read(path, empty=True) as source:
                if not _is_new(source, path):
                    _check_target(source, path, target)
                source.backup(db)
        db.execute("BEGIN")
        if _is_new(db, path):
            _make(db, target)
        return db


@contextlib.contextmanager
def open_to_settle(path: str) -> Iterator[sqlite3.Connection]:
    """
    Give a journal that is there, in a transaction that is kept unless an error leaves it.

    Raises:
        JournalError: As `open_to_write`, whatever its target.
    """
    with _explained(path), _connected(_absolute(path)) as db:
        if _take(db, path):
            raise JournalError(f"{path} is no journal")
        _write_ahead(db)
        yield db
        db.execute("COMMIT")
        close(db)


@contextlib.contextmanager
def open_to_read(path: str, *, empty: bool = False) -> Iterator[sqlite3.Connection]:
    """
    Give a journal to be read, all of it as it is at one moment; no run can begin meanwhile.

    Nothing of it is changed. To read what a killed run left, SQLite needs to put an index beside
    it, which is taken away again.

    Args:
        path: As it was given.

        empty: Whether a file that is no journal yet will do.

    Raises:
        JournalError: A run is at work on it, it is no journal, or it cannot be read.
    """
    absolute = _absolute(path)
    _roll_back(absolute)
    beside = [f"{absolute}-shm", f"{absolute}-wal"]
    absent = [name for name in beside if not os.path.exists(name)]
    name = f"{pathlib.Path(absolute).as_uri()}?mode=ro"
    with _explained(path), _connected(name, uri=True) as db:
        db.execute("BEGIN")
        db.execute("PRAGMA schema_version").fetchone()  # it is locked once something was read
        try:
            if _is_new(db, path) and not empty:
                raise JournalError(f"{path} is no journal")
            yield db
        finally:
            # Before the lock is given back: after that they may be another's.
            for made in absent:
                with contextlib.suppress(OSError):
                    if made == beside[0] or not os.path.getsize(made):
                        os.unlink(made)
            db.close()


def _roll_back(absolute: str) -> None:
    """
    Let SQLite take back what a process left half written that was killed at the very end of it.

    That is no change of what the journal says, but whoever only reads may not do it.
    """
    if not os.path.exists(f"{absolute}-journal"):
        return
    # Where it cannot be done, reading fails for the same reason.
    with contextlib.suppress(sqlite3.Error), _connected(absolute) as db:
        db.execute("BEGIN EXCLUSIVE")
        db.execute("ROLLBACK")
        db.close()


def close(db: sqlite3.Connection) -> None:
    """Close the journal; what was not committed is forgotten. It becomes one plain file."""
    if db.in_transaction:
        db.execute("ROLLBACK")
    # A disk may be full: then the log stays beside it, and the next run reads that, too.
    with contextlib.suppress(sqlite3.Error):
        db.execute("PRAGMA journal_mode = DELETE")
    db.close()


def _absolute(path: str) -> str:
    absolute = os.path.abspath(path) if path else ""
    if os.path.exists(absolute) and not os.path.isfile(absolute):
        raise JournalError(f"the journal {path} is not a regular file")
    return absolute


def _take(db: sqlite3.Connection, path: str) -> bool:
    """
    Hold the file until it is closed, also by a process that dies; tell whether it is empty.

    Nothing of it is changed.
    """
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    new = _is_new(db, path)
    db.execute("ROLLBACK")
    return new


def _write_ahead(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    db.execute("BEGIN EXCLUSIVE")


def _make(db: sqlite3.Connection, target: str) -> None:
    for statement in _SCHEMA.split(";\n"):
        db.execute(statement)
    db.execute("INSERT INTO facts VALUES ('target', ?)", (target,))


@contextlib.contextmanager
def _connected(name: str, *, uri: bool = False) -> Iterator[sqlite3.Connection]:
    """Give a connection that an error closes."""
    db = sqlite3.connect(name, timeout=_BUSY_SECONDS, isolation_level=None, uri=uri)
    try:
        yield db
    except BaseException:
        db.close()
        raise


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(why(path, error)) from error


def why(path: str, error: sqlite3.Error) -> str:
    """Return what SQLite's error means for the journal at *path*."""
    reason = f"cannot be used: {error}"
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_BUSY:
        reason = "is in use: another run is at work on it, or a command"
    elif code == sqlite3.SQLITE_CANTOPEN and os.path.exists(f"{path}-wal"):
        reason = (
            "was left by a run that was killed; to read that, SQLite writes beside it, which it "
            f"cannot here: copy it, and {path}-wal, to a folder where it can"
        )
    elif code in {sqlite3.SQLITE_READONLY, _READONLY_ROLLBACK} and os.path.exists(
        f"{path}-journal"
    ):
        reason = (
            "was left half written by a process that was killed; to take that back, SQLite writes "
            f"it, which it cannot here: copy it, and {path}-journal, to a folder where it can"
        )
    return f"the journal {path} {reason}"


def _keep_private(absolute: str, path: str) -> None:
    try:
        os.chmod(absolute, 0o600)  # it may have been there with other rights
    except OSError as error:
        reason = f"cannot be made its owner's alone: {error.strerror}"
        raise JournalError(f"the journal {path} {reason}") from error


def _is_new(db: sqlite3.Connection, path: str) -> bool:
    """Tell whether the file is empty; refuse one that is not ours before changing it."""
    if sqlite3.sqlite_version_info < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise JournalError(f"a journal needs SQLite {oldest}; here is {sqlite3.sqlite_version}")
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not application:
        return True
    if application != _APPLICATION:
        raise JournalError(f"{path} is a database, but no journal; name another file")
    if version != FORMAT:
        raise JournalError(
            f"the journal {path} has format {version}, and this version of the package "
            f"reads format {FORMAT}; use the version that began it, or name another file"
        )
    return False


def _check_target(db: sqlite3.Connection, path: str, target: str) -> None:
    (own,) = db.execute("SELECT value FROM facts WHERE name = 'target'").fetchone()
    if own != target:
        raise JournalError(
            f"the journal {path} belongs to {own}, and this run goes to {target}; name another file"
        )
