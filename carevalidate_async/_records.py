"""
What a journal holds of each row: which key a row is sent under, and what came of it.

Functions of a database that is open; when its changes are put on disk is for their caller.
"""

from __future__ import annotations

import enum
import time
from typing import TYPE_CHECKING

import attrs

from carevalidate_async.idempotency import derive_idempotency_key

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

# Whether something is on record under a key, may be, or surely is not.
_RANK = """CASE WHEN state IN ('confirmed', 'already_recorded') THEN 0
WHEN may_have_landed OR state NOT IN ('rejected', 'not_sent') THEN 1 ELSE 2 END"""
_RANKS = range(3)
_FREE_RANK = 2

SCHEMA = f"""
CREATE TABLE rows (
    key TEXT PRIMARY KEY,
    content TEXT NOT NULL,        -- digest of the payment without its key
    nth INTEGER NOT NULL,         -- 1, or which of the rows that are equal in every field
    given_away INTEGER NOT NULL,  -- how many of their keys a file gave to other payments
    state TEXT NOT NULL,
    may_have_landed INTEGER NOT NULL, -- an ask of an earlier run was never settled
    used INTEGER NOT NULL,        -- the last run that had the key in use
    run INTEGER NOT NULL,         -- the last run that saw the content
    line INTEGER NOT NULL,        -- where that run saw it first
    seen INTEGER NOT NULL,        -- how often that run saw it
    attempts INTEGER NOT NULL,    -- of all runs
    error TEXT,
    status INTEGER,
    code TEXT,
    planned_at REAL NOT NULL,
    settled_at REAL
) WITHOUT ROWID;
CREATE INDEX copies ON rows (content, nth) WHERE nth > 1;
CREATE INDEX copies_to_use ON rows (content, {_RANK}, used, nth) WHERE nth > 1;
"""

# No value is ever put into these texts, only the expression above.
_CONTENT = f"""
SELECT content, run, line, seen, used, {_RANK}, given_away FROM rows WHERE key = ?
"""  # noqa: S608 - as said
_COPY = f"""
SELECT key FROM rows WHERE content = ? AND nth > 1 AND {_RANK} = ? AND used < ?
ORDER BY used, nth LIMIT 1
"""  # noqa: S608 - as said
_LAST_COPY = "SELECT max(nth) FROM rows WHERE content = ? AND nth > 1"


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


def plan(db: sqlite3.Connection, candidate: Candidate, duplicates: Duplicates, *, run: int) -> Plan:
    """
    Return what to do with a row, and note that *run* has seen it.

    Args:
        db: Has the `SCHEMA`.

        candidate: The row.

        duplicates: What to do with rows of the same content.

        run: Number of the run; later ones have greater numbers.
    """
    if candidate.key is not None:
        return _plan_under(db, candidate, candidate.key, run)
    key = candidate.content
    found = db.execute(_CONTENT, (key,)).fetchone()
    if found is None:
        return _insert(db, candidate, key, run)
    content, last, line, seen, used, rank, given_away = found
    if content != candidate.content:  # a row that was given this very key
        return _plan_under(db, candidate, key, run)
    again = last == run
    chosen = None
    for wanted in _wanted(duplicates, again=again):
        chosen = key if rank == wanted and used < run else _copy(db, key, wanted, run)
        if chosen is not None:
            break
    if again or chosen != key:
        line, seen = (line, seen + 1) if again else (candidate.line, 1)
        marks = "UPDATE rows SET run = ?, line = ?, seen = ? WHERE key = ?"
        db.execute(marks, (run, line, seen, key))
    if chosen is not None:
        return attrs.evolve(_plan_under(db, candidate, chosen, run), nth=chosen != key)
    if duplicates is not Duplicates.EACH:
        return Plan(verdict=Verdict.DUPLICATE, key=key, line=line)
    if given_away:  # this may be the very row that was corrected under one of its keys
        return Plan(verdict=Verdict.CONFLICT, key=key)
    (most,) = db.execute(_LAST_COPY, (key,)).fetchone()
    nth = (most or 1) + 1
    return _plan_under(db, candidate, derive_idempotency_key(key, nth), run, nth=nth)


def _wanted(duplicates: Duplicates, *, again: bool) -> range:
    """
    Return the ranks that a row's key may have, the best first.

    Equal rows are alike: whichever of them was deleted, corrected or moved, those that are on
    record come first, then those that may be. Under another key one would be recorded once more.
    """
    if not again or duplicates is Duplicates.EACH:
        return _RANKS
    return range(0 if duplicates is Duplicates.ONCE else _FREE_RANK)


def _copy(db: sqlite3.Connection, content: str, rank: int, run: int) -> str | None:
    """Return a copy's key of that rank that *run* has not used."""
    found = db.execute(_COPY, (content, rank, run)).fetchone()
    return None if found is None else str(found[0])


def _plan_under(
    db: sqlite3.Connection, candidate: Candidate, key: str, run: int, *, nth: int = 1
) -> Plan:
    query = "SELECT content, state, may_have_landed, used, line FROM rows WHERE key = ?"
    found = db.execute(query, (key,)).fetchone()
    if found is None:
        return _insert(db, candidate, key, run, nth=nth)
    content, state, may_have_landed = found[0], State(found[1]), bool(found[2])
    first_line = found[4] if found[3] == run else None
    same = content == candidate.content
    if first_line is not None and same:
        return Plan(verdict=Verdict.DUPLICATE, key=key, state=state, line=first_line)
    if not same and (first_line is not None or state not in _FREE or may_have_landed):
        return Plan(verdict=Verdict.CONFLICT, key=key, state=state, line=first_line)
    if not same:
        db.execute("UPDATE rows SET given_away = given_away + 1 WHERE key = ?", (content,))
    may_have_landed = may_have_landed or state in {State.PLANNED, State.UNKNOWN}
    verdict = Verdict.ON_RECORD if state in ON_RECORD else Verdict.SEND
    db.execute(
        "UPDATE rows SET content = :content, state = :state, may_have_landed = :may_have_landed,"
        " nth = CASE WHEN content = :content THEN max(nth, :nth) ELSE :nth END,"
        " used = :run, run = :run,"
        " line = CASE WHEN run = :run THEN line ELSE :line END,"
        " seen = CASE WHEN run = :run THEN seen ELSE 1 END WHERE key = :key",
        {
            "content": candidate.content,
            "nth": nth,
            "state": state if verdict is Verdict.ON_RECORD else State.PLANNED,
            "may_have_landed": may_have_landed and verdict is Verdict.SEND,
            "run": run,
            "line": candidate.line,
            "key": key,
        },
    )
    doubt = may_have_landed
    return Plan(verdict=verdict, key=key, state=state, may_have_landed=doubt, nth=nth > 1)


def _insert(
    db: sqlite3.Connection, candidate: Candidate, key: str, run: int, *, nth: int = 1
) -> Plan:
    db.execute(
        "INSERT INTO rows (key, content, nth, given_away, state, may_have_landed, used, run,"
        " line, seen, attempts, planned_at) VALUES (?, ?, ?, 0, ?, 0, ?, ?, ?, 1, 0, ?)",
        (key, candidate.content, nth, State.PLANNED, run, run, candidate.line, time.time()),
    )
    return Plan(verdict=Verdict.SEND, key=key, nth=nth > 1)


def settle(db: sqlite3.Connection, settlements: Iterable[Settlement]) -> None:
    """Note what came of rows."""
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
