"""
What a journal holds of each row: the key that it is sent under, and what came of it.

Functions of a database that is open; when its changes are put on disk is for their caller. Of many
rows they make one statement: a thread gives Python's lock away for each statement, and gets it back
from a busy event loop only after a while.
"""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

RANK = """CASE WHEN state IN ('confirmed', 'already_recorded') THEN 0
WHEN may_have_landed OR state NOT IN ('rejected', 'not_sent') THEN 1 ELSE 2 END"""
"""Whether something is on record under a key (0), may be (1), or surely is not (2); in SQL."""

GONE = """(
    state = 'rejected' AND run IN (SELECT CAST(key AS INTEGER) FROM json_each(:overtaken))
    OR nth > 1 AND state = 'not_sent' AND EXISTS (
        SELECT 1 FROM json_each(:overtaken) AS later JOIN rows AS first ON first.key = rows.content
        WHERE CAST(later.key AS INTEGER) = rows.run AND first.run = later.value
    )
)"""
"""
Whether a row is surely not on record, and is none of its file's any more; in SQL.

It was refused by the vendor, and corrected or deleted since. Or it is one of several equal rows,
and the last run of its file had fewer of them, or took them for one payment. Any other that was not
sent may be a payment of another day's file, under the same name: it stays in sight.
"""

SCHEMA = f"""
CREATE TABLE rows (
    key TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL,        -- digest of the payment without its key
    nth INTEGER NOT NULL,         -- 1, or which of the rows that are equal in every field
    given_away INTEGER NOT NULL,  -- how many of their keys a file gave to other payments
    state TEXT NOT NULL,
    may_have_landed INTEGER NOT NULL, -- an ask of an earlier run was never settled
    by_hand INTEGER NOT NULL,     -- the state is what a person said
    used INTEGER NOT NULL,        -- the last run that had the key in use
    run INTEGER NOT NULL,         -- the last run that saw the content
    line INTEGER NOT NULL,        -- where that run saw it first
    seen INTEGER NOT NULL,        -- how often that run saw it
    attempts INTEGER NOT NULL,    -- of all runs
    error TEXT,
    status INTEGER,
    code TEXT,
    planned_at INTEGER,           -- since when the key may have been sent and never settled
    settled_at INTEGER
);
CREATE INDEX copies ON rows (content, nth) WHERE nth > 1;
CREATE INDEX copies_to_use ON rows (content, {RANK}, used, nth) WHERE nth > 1;
"""


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
IN_DOUBT = frozenset({State.PLANNED, State.UNKNOWN})
"""Under such a key something may be on record."""

MOST_STEP = 60
"""Seconds that a machine's clock may go back without making the age of a key unknown."""


class Duplicates(enum.StrEnum):
    """What to do with a row whose content the file had before."""

    REFUSE = "refuse"
    ONCE = "once"
    EACH = "each"


@attrs.define(kw_only=True)
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
    TOO_OLD = enum.auto()


@attrs.define(kw_only=True)
class Plan:
    """
    What to do with a candidate.

    Attributes:
        verdict: Send it; or it is on record, a duplicate, its key belongs to another payment, or
            its key may have been sent so long ago that the vendor may have forgotten it.

        key: The key that it is sent under.

        state: What is known of it from earlier runs; `PLANNED` for a row that is new.

        may_have_landed: Whether an ask of an earlier run was never settled.

        copy: Which of the rows that are equal in every field the key tells it to be; None for the
            first one, and for a row that has a key of its own.

        line: The line that had the key before, for a duplicate or conflict within the file; None
            where an earlier run had it.

        age: Seconds since a key that is too old may first have been sent; None where nobody knows,
            since the machine's clock went back.
    """

    verdict: Verdict
    key: str
    state: State = State.PLANNED
    may_have_landed: bool = False
    copy: int | None = None
    line: int | None = None
    age: int | None = None


@attrs.frozen(kw_only=True)
class Settlement:
    """
    What came of rows that fared alike.

    Attributes:
        keys: Theirs.

        state: Their new state.

        attempts: Tries made for each of them in this run.

        error: Name of the error's class.

        status: HTTP status of the error.

        code: The vendor's code.
    """

    keys: list[str]
    state: State
    attempts: int = 0
    error: str | None = None
    status: int | None = None
    code: str | None = None


def key_age(planned_at: int | None, now: int) -> int | None:
    """Return seconds since a key may first have been sent; None where the clock went back since."""
    if planned_at is None or planned_at > now + MOST_STEP:
        return None
    return max(0, now - planned_at)


def is_too_old(age: int | None, most: float | None) -> bool:
    """Tell whether a key of that age is not to be sent again; one of unknown age is not, either."""
    return most is not None and (age is None or age > most)


def settle(db: sqlite3.Connection, settlements: Iterable[Settlement], *, now: int) -> None:
    """
    Note what came of rows.

    Args:
        db: Has the `SCHEMA`.

        settlements: Of different rows.

        now: Seconds since 1970.
    """
    alike: dict[tuple[object, ...], list[str]] = {}
    for settled in settlements:
        doubt = settled.state is State.UNKNOWN
        facts = settled.state, doubt, settled.attempts, settled.error, settled.status, settled.code
        alike.setdefault(facts, []).extend(settled.keys)
    for came_of, keys in alike.items():
        db.execute(
            "UPDATE OR ROLLBACK rows SET state = ?, may_have_landed = ?, attempts = attempts + ?,"
            " error = ?, status = ?, code = ?, settled_at = ?"
            " WHERE key IN (SELECT value FROM json_each(?))",
            (*came_of, now, json.dumps(keys)),
        )
