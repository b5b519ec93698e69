"""
Rows of a file by what its journal says of them, each under the key that it was sent under.

A journal holds no row, only keys and digests: the rows are read from their file again and looked
up. Memory grows by no more than a bit for each row of the journal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from carevalidate_async._files.fields import UNDECIDED, FileRow, Problem, content_key, copy_cell
from carevalidate_async._run.ages import sent_in_words
from carevalidate_async.journal._records import (
    GONE,
    IN_DOUBT,
    ON_RECORD,
    State,
    is_too_old,
    key_age,
)
from carevalidate_async.journal._runs import PastRun, age_that_counts, overtaken

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator

_FACTS = "rowid, key, content, nth, state, error, status, code, planned_at"
# No value is ever put into these texts, only names and expressions of ours.
_BY_KEY = f"SELECT {_FACTS} FROM rows WHERE key IN (SELECT value FROM json_each(?))"  # noqa: S608 - as said
_WANTED = f"state IN (SELECT value FROM json_each(:states)) AND NOT {GONE}"  # noqa: S608 - as said
_NEXT_COPY = f"""
SELECT {_FACTS} FROM rows WHERE content = :content AND nth > :reached AND nth > 1 AND {_WANTED}
ORDER BY nth LIMIT 1
"""  # noqa: S608 - as said
_NO_MORE = 2**62


@attrs.frozen(kw_only=True)
class Exported:
    """
    A row to be written.

    Attributes:
        row: As it was read.

        problems: Why it is here.

        key: Fixes its idempotency key; None leaves it as it is.

        invalid: Whether it cannot be sent.
    """

    row: FileRow
    problems: Sequence[Problem]
    key: str | None = None
    invalid: bool = False


@attrs.frozen(kw_only=True)
class Missing:
    """
    A row of the journal that the file does not have.

    Attributes:
        key: Its idempotency key.

        line: Where the last run that saw it had it.

        run: The number of that run.
    """

    key: str
    line: int
    run: int


@attrs.frozen
class _Found:
    """A row of the journal."""

    place: int
    key: str
    content: str
    nth: int
    state: str
    error: str | None
    status: int | None
    code: str | None
    planned_at: int | None


class Export:
    """
    Looks up the rows of one file.

    Attributes:
        unplanned: Rows so far that could be sent, and that no run came to.

        invalid: Rows so far that cannot be sent, if they are wanted.

    Args:
        db: The journal, open.

        runs: All of its runs.

        states: Of the rows that are wanted. Rows that are surely not on record, and that their file
            no longer has, are in none.

        now: Seconds since 1970.

        max_key_age: Seconds that a key in doubt may be old and still be sent again; `math.inf` for
            any age, None for what the last run had. A row whose key is older has, in its place,
            that a person is to decide.

        invalid: Whether rows that cannot be sent are wanted, too.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        runs: Sequence[PastRun],
        states: Collection[State],
        *,
        now: int,
        max_key_age: float | None = None,
        invalid: bool = False,
    ) -> None:
        self._db = db
        self._now = now
        self._max_key_age = age_that_counts(max_key_age, runs)
        self._states = frozenset(states)
        self._wanted = {
            "states": json.dumps(sorted(states)),
            "overtaken": json.dumps(overtaken(runs)),
        }
        self._with_invalid = invalid
        self.unplanned = self.invalid = 0
        (last,) = db.execute("SELECT coalesce(max(rowid), 0) FROM rows").fetchone()
        self._taken = bytearray(last // 8 + 1)
        query = "SELECT EXISTS (SELECT 1 FROM rows WHERE nth > 1)"
        (self._has_copies,) = db.execute(query).fetchone()
        # Which copy of a content was taken last: on disk, since there may be many.
        db.execute("CREATE TEMP TABLE reached (content TEXT PRIMARY KEY, nth INTEGER NOT NULL)")

    def runs(self) -> list[int]:
        """Return the numbers of the runs that saw the wanted rows last."""
        query = f"SELECT DISTINCT run FROM rows WHERE {_WANTED} ORDER BY run"  # noqa: S608 - as said
        return [run for (run,) in self._db.execute(query, self._wanted)]

    def take(self, rows: Sequence[FileRow]) -> Iterator[Exported]:
        """
        Yield those of *rows* that are wanted.

        Rows that are equal in every field, and have no keys of their own, are alike: the first one
        takes the first key of their content that is wanted, and so on.

        Args:
            rows: The next ones of the file, in its order.
        """
        keyed = [(row, *_keys(row)) for row in rows]
        named = json.dumps([key for _, key, _ in keyed])
        known = {found.key: found for found in map(_found, self._db.execute(_BY_KEY, (named,)))}
        for row, key, content in keyed:
            if row.payment is not None:
                own = row.payment.idempotency_key is not None
                exported = self._look_up(row, key, content, known.get(key), own=own)
            else:
                exported = self._unfit(row, row.problems)
            if exported is not None:
                self.invalid += exported.invalid
                yield exported

    def _look_up(
        self, row: FileRow, key: str, content: str, found: _Found | None, *, own: bool
    ) -> Exported | None:
        if found is None:
            self.unplanned += 1
        elif found.content != content:
            if found.state not in ON_RECORD | IN_DOUBT:  # a corrected row may have such a key
                self.unplanned += 1
            else:
                problem = Problem("idempotency_key", "a run used this key for another payment")
                return self._unfit(row, [problem], key=f"{UNDECIDED} (was {key})")
        elif self._take(found):
            return self._exported(row, found)
        elif self._has_copies and not own:
            copy = self._next_copy(content)
            return None if copy is None else self._exported(row, copy)
        return None

    def _unfit(
        self, row: FileRow, problems: Sequence[Problem], *, key: str | None = None
    ) -> Exported | None:
        if not self._with_invalid:
            return None
        return Exported(row=row, problems=problems, key=key, invalid=True)

    def missing(self) -> Iterator[Missing]:
        """Yield the wanted rows that were not among the file's, once all of them were taken."""
        query = f"SELECT rowid, key, line, run FROM rows WHERE {_WANTED} ORDER BY rowid"  # noqa: S608 - as said
        for place, key, line, run in self._db.execute(query, self._wanted):
            if not self._taken[place // 8] & 1 << place % 8:
                yield Missing(key=key, line=line, run=run)

    def _exported(self, row: FileRow, found: _Found) -> Exported:
        doubted = found.state in IN_DOUBT
        state = State.UNKNOWN if doubted else found.state
        what = [found.error, None if found.status is None else f"HTTP {found.status}", found.code]
        why = ", ".join(fact for fact in what if fact is not None)
        told = f"{state}: {why}" if why else str(state)
        # What may be on record keeps its key whatever becomes of the row: under another one it
        # would be recorded once more. A row that is surely not, and is corrected, has the key of
        # what it says then, in this file as in any other; so has one that is equal to others.
        key = found.key if doubted or found.state in ON_RECORD else None
        if key is None and found.nth > 1:
            key = copy_cell(found.content, found.nth)
        age = key_age(found.planned_at, self._now)
        if doubted and is_too_old(age, self._max_key_age):
            # A journal that does not know the key would let it be sent.
            told += f"; its key may have been sent {sent_in_words(age)}"
            key = f"{UNDECIDED} (was {key})"
        return Exported(row=row, problems=[Problem("", told)], key=key)

    def _take(self, found: _Found) -> bool:
        """Tell whether a row of the journal is wanted, and was not taken before."""
        byte, bit = found.place // 8, 1 << found.place % 8
        if found.state not in self._states or self._taken[byte] & bit:
            return False
        self._taken[byte] |= bit
        return True

    def _next_copy(self, content: str) -> _Found | None:
        query = "SELECT nth FROM reached WHERE content = ?"
        (reached,) = self._db.execute(query, (content,)).fetchone() or (1,)
        while reached != _NO_MORE:
            facts = {**self._wanted, "content": content, "reached": reached}
            next_one = self._db.execute(_NEXT_COPY, facts).fetchone()
            copy = None if next_one is None else _found(next_one)
            reached = _NO_MORE if copy is None else copy.nth
            self._db.execute("INSERT OR REPLACE INTO reached VALUES (?, ?)", (content, reached))
            if copy is not None and self._take(copy):  # a row may have named the copy's key
                return copy
        return None


def _found(facts: tuple[object, ...]) -> _Found:
    return _Found(*facts)  # type: ignore[arg-type]  # the columns' types


def _keys(row: FileRow) -> tuple[str, str]:
    """Return the key that a run sends a row under, and that of its content."""
    if row.payment is None:
        return "", ""
    content = content_key(row.payment)
    return row.payment.idempotency_key or content, content
