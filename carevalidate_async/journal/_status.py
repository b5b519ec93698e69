"""Where the rows of a journal are, and how its runs went: read from it, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from carevalidate_async.journal._records import (
    GONE,
    IN_DOUBT,
    MOST_STEP,
    ON_RECORD,
    State,
    is_too_old,
    key_age,
)
from carevalidate_async.journal._runs import (
    Ending,
    PastRun,
    age_that_counts,
    last_of_files,
    overtaken,
    past_runs,
)

if TYPE_CHECKING:
    import sqlite3

_DOUBTED = "state IN ('planned', 'unknown')"
# No value is ever put into these texts, only names and numbers of ours.
_COUNTS = f"""
SELECT count(*), total(attempts), total(by_hand),
    total({_DOUBTED} AND (planned_at IS NULL OR planned_at > :now + {MOST_STEP}
        OR planned_at < :now - :max_key_age)),
    total({GONE}), {", ".join(f"total(state = '{state}' AND NOT {GONE})" for state in State)}
FROM rows
"""  # noqa: S608 - as said
_SEEN_IN = f"SELECT DISTINCT state, run FROM rows WHERE NOT {GONE} ORDER BY run"  # noqa: S608 - as said
# An age that nobody knows comes first.
_OLDEST = f"""
SELECT key, line, run, planned_at FROM rows WHERE {_DOUBTED}
ORDER BY CASE WHEN planned_at > :now + {MOST_STEP} THEN NULL ELSE planned_at END, line LIMIT 1
"""  # noqa: S608 - as said


@attrs.frozen(kw_only=True)
class Doubt:
    """
    A row that may or may not be on record.

    Attributes:
        key: Its idempotency key.

        line: Where the last run that saw it had it.

        file: The file of that run, absolute; None for standard input.

        since: When its key may first have been sent, in seconds since 1970; None where nobody
            knows, since the machine's clock went back.

        age: Seconds since then; None as above.

        too_old: Whether a run would not ask for it again.
    """

    key: str
    line: int
    file: str | None
    since: int | None
    age: int | None
    too_old: bool


@attrs.frozen(kw_only=True)
class Status:
    """
    Where the rows of a journal are.

    Attributes:
        target: What they are sent to.

        rows: How many there are; rows of a file that cannot be sent are in no journal.

        states: How many are in which state, but for those that are *gone*.

        attempts: Attempts for all of them, of all runs.

        by_hand: Rows of which a person said what they are.

        max_key_age: Seconds that a key in doubt may be old and still be sent again; None for any
            age.

        too_old: Rows in doubt that a run would not ask for again.

        gone: Rows that are surely not on record, and that their file no longer has.

        oldest: The row that is longest in doubt; None where none is.

        files: The files that rows which are not on record were last seen in, by state; None is
            standard input.

        runs: The first one first.
    """

    target: str
    rows: int
    states: Mapping[str, int]
    attempts: int
    by_hand: int
    max_key_age: float | None
    too_old: int
    gone: int
    oldest: Doubt | None
    files: Mapping[State, Sequence[str | None]]
    runs: Sequence[PastRun]

    @property
    def on_record(self) -> int:
        """Rows that are on record."""
        return sum(self.states[state] for state in ON_RECORD)

    @property
    def in_doubt(self) -> int:
        """Rows that may or may not be."""
        return sum(self.states[state] for state in IN_DOUBT)

    @property
    def unfinished(self) -> Sequence[PastRun]:
        """The last runs of their files that did not come to the end of them."""
        return [run for run in last_of_files(self.runs) if run.ended is not Ending.COMPLETE]

    @property
    def to_correct(self) -> Sequence[PastRun]:
        """The last runs of their files that found rows which cannot be sent as they are."""
        runs = last_of_files(self.runs)
        return [run for run in runs if run.count("invalid") or run.count("to_decide")]

    @property
    def all_on_record(self) -> bool:
        """Whether every row of the files is on record, as far as the journal knows."""
        left = self.rows - self.on_record - self.gone
        return not (left or self.unfinished or self.to_correct)


def read_status(db: sqlite3.Connection, *, now: int, max_key_age: float | None = None) -> Status:
    """
    Return where the rows of a journal are.

    Args:
        db: The journal, open.

        now: Seconds since 1970.

        max_key_age: Seconds that a key in doubt may be old and still be sent again; `math.inf` for
            any age, None for what the last run had.
    """
    runs = past_runs(db)
    max_key_age = age_that_counts(max_key_age, runs)
    gone_from = json.dumps(overtaken(runs))
    facts = {"now": now, "max_key_age": max_key_age, "overtaken": gone_from}
    counted = db.execute(_COUNTS, facts).fetchone()
    rows, attempts, by_hand, too_old, gone, *states = map(int, counted)
    (target,) = db.execute("SELECT value FROM facts WHERE name = 'target'").fetchone()
    found = db.execute(_OLDEST, {"now": now}).fetchone()
    return Status(
        target=target,
        rows=rows,
        states=dict(zip(State, states, strict=True)),
        attempts=attempts,
        by_hand=by_hand,
        max_key_age=max_key_age,
        too_old=0 if max_key_age is None else too_old,
        gone=gone,
        files=_files(db, runs, gone_from),
        oldest=None if found is None else _doubt(*found, runs=runs, now=now, most=max_key_age),
        runs=runs,
    )


def _files(
    db: sqlite3.Connection, runs: Sequence[PastRun], gone_from: str
) -> Mapping[State, Sequence[str | None]]:
    files: dict[State, list[str | None]] = {}
    for name, run in db.execute(_SEEN_IN, {"overtaken": gone_from}):
        state, file = State(name), runs[run - 1].file
        if state not in ON_RECORD and file not in files.setdefault(state, []):
            files[state].append(file)
    return files


def _doubt(
    key: str,
    line: int,
    run: int,
    since: int | None,
    *,
    runs: Sequence[PastRun],
    now: int,
    most: float | None,
) -> Doubt:
    age = key_age(since, now)
    return Doubt(
        key=key,
        line=line,
        file=runs[run - 1].file,
        since=since if age is not None else None,
        age=age,
        too_old=is_too_old(age, most),
    )
