"""
What a journal holds of its runs: when, of which file, how each of them ended, and whose key it had.

Functions of a database that is open; when its changes are put on disk is for their caller.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from carevalidate_async._version import __version__
from carevalidate_async.journal._records import RANK, Duplicates

if TYPE_CHECKING:
    import sqlite3

    from carevalidate_async._secret import Secret

SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    began_at INTEGER NOT NULL,
    ended_at INTEGER,  -- NULL while it is at work, and for ever where it was killed
    file,              -- absolute; NULL for standard input, bytes where it is no text
    version TEXT NOT NULL,
    max_key_age REAL,  -- seconds; NULL for any age
    duplicates TEXT,   -- NULL until a row was planned
    ended TEXT,
    reason TEXT,
    counts TEXT        -- JSON
);
"""


class Ending(enum.StrEnum):
    """How a run ended."""

    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    STOPPED_EARLY = "stopped early"


@attrs.frozen(kw_only=True)
class PastRun:
    """
    A run of a journal.

    Attributes:
        number: The first run is 1.

        began_at: Seconds since 1970.

        ended_at: Likewise; None where it was killed, or is at work.

        file: Whose rows it had, absolute; None for standard input.

        version: Of the package.

        max_key_age: Seconds that a key in doubt could be old and still be sent again; None for any
            age.

        duplicates: What it did with equal rows; None where it planned none.

        ended: How; None where it did not.

        reason: Why it ended early.

        counts: How many of its rows were where, by the names of the summary, and ``to_decide``:
            duplicates that a person has to decide about. None where it did not end.
    """

    number: int
    began_at: int
    ended_at: int | None
    file: str | None
    version: str
    max_key_age: float | None
    duplicates: Duplicates | None
    ended: Ending | None
    reason: str | None
    counts: Mapping[str, int] | None

    def count(self, name: str) -> int:
        """Return how many of its rows were there; 0 where it did not end."""
        return 0 if self.counts is None else self.counts.get(name, 0)


def begin(db: sqlite3.Connection, *, file: str | None, max_key_age: float | None, now: int) -> int:
    """
    Note that a run begins, and return its number.

    Args:
        db: Has the `SCHEMA`.

        file: Whose rows it has; None for standard input.

        max_key_age: Seconds that a key in doubt may be old and still be sent again; None for any
            age.

        now: Seconds since 1970.
    """
    (before,) = db.execute("SELECT max(number) FROM runs").fetchone()
    number = (before or 0) + 1
    db.execute(
        "INSERT INTO runs (number, began_at, file, version, max_key_age) VALUES (?, ?, ?, ?, ?)",
        (
            number,
            now,
            None if file is None else _stored(os.path.abspath(file)),
            __version__,
            max_key_age,
        ),
    )
    return number


def note_duplicates(db: sqlite3.Connection, number: int, duplicates: Duplicates) -> None:
    """Note what a run does with equal rows."""
    db.execute("UPDATE runs SET duplicates = ? WHERE number = ?", (duplicates, number))


def end(
    db: sqlite3.Connection,
    number: int,
    ending: Ending,
    *,
    reason: str | None,
    counts: Mapping[str, int],
    now: int,
) -> None:
    """Note how a run ended."""
    told = None if reason is None else reason.encode("utf-8", "backslashreplace").decode()
    db.execute(
        "UPDATE runs SET ended_at = ?, ended = ?, reason = ?, counts = ? WHERE number = ?",
        (now, ending, told, json.dumps(dict(counts)), number),
    )


def past_runs(db: sqlite3.Connection) -> Sequence[PastRun]:
    """Return all runs, the first one first."""
    query = (
        "SELECT number, began_at, ended_at, file, version, max_key_age, duplicates, ended, reason,"
        " counts FROM runs ORDER BY number"
    )
    return [
        PastRun(
            number=number,
            began_at=began_at,
            ended_at=ended_at,
            file=None if file is None else os.fsdecode(file),
            version=version,
            max_key_age=max_key_age,
            duplicates=None if duplicates is None else Duplicates(duplicates),
            ended=None if ended is None else Ending(ended),
            reason=reason,
            counts=None if counts is None else json.loads(counts),
        )
        for (
            number,
            began_at,
            ended_at,
            file,
            version,
            max_key_age,
            duplicates,
            ended,
            reason,
            counts,
        ) in db.execute(query)
    ]


def last_of_files(runs: Sequence[PastRun]) -> Sequence[PastRun]:
    """
    Return the last run of each file.

    Of standard input each run is one: nobody knows whether it was the same twice.
    """
    # A file's name is absolute, and so never a number.
    return list({run.file or run.number: run for run in runs}.values())


def overtaken(runs: Sequence[PastRun]) -> Mapping[int, int]:
    """
    Return the numbers of runs whose file a later one read to its end, each with that one's.

    A row that such a run saw last is not in its file any more.
    """
    last = last_of_files(runs)
    ended = {run.file: run.number for run in last if run.file and run.ended is Ending.COMPLETE}
    found = {}
    for run in runs:
        later = ended.get(run.file or "", run.number)
        if run.number < later:
            found[run.number] = later
    return found


def age_that_counts(given: float | None, runs: Sequence[PastRun]) -> float | None:
    """
    Return how old a key in doubt may be and still be sent again, None for any age.

    Args:
        given: Seconds, `math.inf` for any age; None for what the last run had.

        runs: All of a journal's.
    """
    if given is None:
        return runs[-1].max_key_age if runs else None
    return None if given == math.inf else given


def first_file(db: sqlite3.Connection) -> str | None:
    """Return the file of the first run, absolute; None for standard input."""
    (file,) = db.execute("SELECT file FROM runs ORDER BY number LIMIT 1").fetchone()
    return None if file is None else os.fsdecode(file)


def is_bound_elsewhere(db: sqlite3.Connection, secret: Secret, *, rotated: bool) -> bool:
    """
    Tell whether the runs so far had another credential, and bind the journal to this one if not.

    Rows on record under one organization's API key would not be sent under another's, and those in
    doubt would be recorded twice. Where no row is either there is nothing to lose: the key was
    mistyped, say.

    Args:
        db: Has the `SCHEMA`, and that of the rows.

        secret: The credential of this run.

        rotated: Whether another credential is a new one of the same organization.
    """
    facts = dict(db.execute("SELECT name, value FROM facts WHERE name IN ('salt', 'credential')"))
    if "salt" in facts:
        if facts["credential"] == _fingerprint(secret, facts["salt"]):
            return False
        query = f"SELECT EXISTS (SELECT 1 FROM rows WHERE {RANK} < 2)"  # noqa: S608 - a constant
        (at_stake,) = db.execute(query).fetchone()
        if at_stake and not rotated:
            return True
    salt = secrets.token_hex(16)
    new = [("salt", salt), ("credential", _fingerprint(secret, salt))]
    db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", new)
    return False


def _fingerprint(secret: Secret, salt: str) -> str:
    # One quick hash: API keys are long and random, nobody can try them all. The text has no name
    # here, so that no frame shows it.
    return hashlib.sha256(
        salt.encode() + secret.reveal().encode("utf-8", "surrogatepass")
    ).hexdigest()


def _stored(path: str) -> str | bytes:
    """Return a path as SQLite takes it: one whose bytes are no text as bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path
