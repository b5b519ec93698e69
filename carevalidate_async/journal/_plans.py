"""
Which key a row is sent under, or why it is not sent.

A row without a key of its own has the one that its content gives. Equal rows are alike: whichever
of them was deleted, corrected or moved, those that are on record come first, then those that may
be. Under another key one would be recorded once more.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from carevalidate_async.idempotency import derive_idempotency_key
from carevalidate_async.journal._records import (
    IN_DOUBT,
    MOST_STEP,
    ON_RECORD,
    RANK,
    Candidate,
    Duplicates,
    Plan,
    State,
    Verdict,
    is_too_old,
    key_age,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RANKS = range(3)
_FREE_RANK = 2
# Where a key's age is not known it stays so: once the clock has come to that time again, the key
# would seem to be new.
_SINCE = f"CASE WHEN planned_at > :now + {MOST_STEP} THEN NULL ELSE planned_at END"

# No value is ever put into these texts, only the expressions above.
_KNOWN = """
SELECT json_group_array(json_array(key, line, content, state, may_have_landed, run, planned_at,
    EXISTS (SELECT 1 FROM rows AS other WHERE other.content = rows.content AND other.nth > 1)
)) FROM rows WHERE key IN (SELECT value FROM json_each(?))
"""
# With OR IGNORE or OR ROLLBACK, and without functions: a statement that could fail by itself keeps
# a copy of each page that it changes, to take them back, and every new row changes another page.
_NEW = """
INSERT OR IGNORE INTO rows (key, content, nth, given_away, state, may_have_landed, by_hand, used,
    run, line, seen, attempts, planned_at)
SELECT key, key, 1, 0, 'planned', 0, 0, :run, :run, value, 1, 0, :now FROM json_each(:lines)
"""
_OWN_KEYS = """
UPDATE OR ROLLBACK rows SET content = own.value
FROM json_each(:contents) AS own WHERE rows.key = own.key
"""
_SEEN = """
UPDATE OR ROLLBACK rows SET used = :run, run = :run, seen = 1, line = marked.value{}
FROM json_each(:lines) AS marked WHERE rows.key = marked.key
"""
_KEY = """
SELECT content, nth, state, may_have_landed, used, line, planned_at FROM rows WHERE key = ?
"""
_INSERT = """
INSERT INTO rows (key, content, nth, given_away, state, may_have_landed, by_hand, used, run, line,
    seen, attempts, planned_at)
VALUES (:key, :content, :nth, 0, 'planned', 0, 0, :run, :run, :line, 1, 0, :now)
"""
_GIVE = """
UPDATE rows SET content = :content, used = :run, run = :run,
    nth = CASE WHEN content = :content THEN max(nth, :nth) ELSE :nth END,
    line = CASE WHEN run = :run THEN line ELSE :line END,
    seen = CASE WHEN run = :run THEN seen ELSE 1 END{}
WHERE key = :key
"""
_CONTENT = f"""
SELECT content, run, line, seen, used, {RANK}, given_away FROM rows WHERE key = ?
"""  # noqa: S608 - as said
_COPY = f"""
SELECT key, nth FROM rows WHERE content = ? AND nth > 1 AND {RANK} = ? AND used < ?
ORDER BY used, nth LIMIT 1
"""  # noqa: S608 - as said
_USED_COPY = "SELECT line FROM rows WHERE content = ? AND nth > 1 AND used = ? LIMIT 1"
_LAST_COPY = "SELECT max(nth) FROM rows WHERE content = ? AND nth > 1"


@attrs.frozen(kw_only=True)
class Planner:
    """
    Plans rows in a database, and notes that a run has seen them.

    Args:
        db: Has the `SCHEMA`.

        duplicates: What to do with rows of the same content.

        run: Number of the run; later ones have greater numbers.

        now: Seconds since 1970.

        max_key_age: Seconds that a key may be old and still be sent again; None for any age.
    """

    db: sqlite3.Connection
    duplicates: Duplicates
    run: int
    now: int
    max_key_age: float | None = None

    def plan(self, candidates: Sequence[Candidate]) -> list[Plan]:
        """
        Return what to do with each row.

        Rows that have nothing to do with each other are planned together, and then all others one
        by one, in the file's order.
        """
        keys = [row.content if row.key is None else row.key for row in candidates]
        # A row may have to do with another one by its content, too, whatever its key is.
        often = Counter(keys)
        often.update(row.content for row in candidates if row.key not in {None, row.content})
        lines = {
            key: row.line for key, row in zip(keys, candidates, strict=True) if often[key] == 1
        }
        known = self._put(lines)
        own: dict[str, str] = {}
        seen: dict[str, dict[str, int]] = {}
        plans: dict[int, Plan] = {}
        for place, (key, row) in enumerate(zip(keys, candidates, strict=True)):
            if key not in lines:
                continue
            if key not in known:
                if key != row.content:
                    own[key] = row.content
                plans[place] = Plan(verdict=Verdict.SEND, key=key)
                continue
            content, state, doubt, last, planned_at, copied = known[key]
            its_own = row.key is not None or state in ON_RECORD or not copied
            if its_own and content == row.content and last < self.run:
                plan = self._again(key, state, planned_at, doubted=bool(doubt))
                seen.setdefault(_changes(plan), {})[key] = row.line
                plans[place] = plan
        if own:
            self.db.execute(_OWN_KEYS, {"contents": json.dumps(own)})
        for changes, marked in seen.items():
            self.db.execute(_SEEN.format(changes), {**self._facts(), "lines": json.dumps(marked)})
        return [plans.get(place) or self.plan_one(row) for place, row in enumerate(candidates)]

    def _put(self, lines: Mapping[str, int]) -> dict[str, tuple[Any, ...]]:
        """Put down the keys of rows, by the lines they stand in; return those that were known."""
        facts = {**self._facts(), "lines": json.dumps(lines)}
        new = self.db.execute(_NEW, facts).rowcount
        if new == len(lines):  # as in most runs
            return {}
        (found,) = self.db.execute(_KNOWN, (json.dumps(list(lines)),)).fetchone()
        # Each line of a file is planned once in a run.
        known = {
            key: (*facts, last, planned_at, copied)
            for key, line, *facts, last, planned_at, copied in json.loads(found)
            if (last, line) != (self.run, lines[key])
        }
        if new + len(known) != len(lines):  # none may be sent whose key is not on disk
            raise RuntimeError("rows are neither new nor known")
        return known

    def plan_one(self, row: Candidate) -> Plan:
        """Return what to do with one row."""
        if row.key is not None:
            return self._plan_under(row, row.key)
        key = row.content
        found = self.db.execute(_CONTENT, (key,)).fetchone()
        if found is None or found[0] != row.content:
            return self._plan_without(row, key)
        _, last, line, seen, used, rank, given_away = found
        again = last == self.run
        chosen, copy = None, None
        for wanted in self._wanted(again=again):
            if rank == wanted and used < self.run:
                chosen = key
            else:
                chosen, copy = self._copy(key, wanted)
            if chosen is not None:
                break
        if again or chosen != key:
            line, seen = (line, seen + 1) if again else (row.line, 1)
            marks = "UPDATE rows SET run = ?, line = ?, seen = ? WHERE key = ?"
            self.db.execute(marks, (self.run, line, seen, key))
        if chosen is not None:
            return attrs.evolve(self._plan_under(row, chosen), copy=copy)
        if self.duplicates is not Duplicates.EACH:
            return Plan(verdict=Verdict.DUPLICATE, key=key, line=line)
        if given_away:  # this may be the very row that was corrected under one of its keys
            return Plan(verdict=Verdict.CONFLICT, key=key)
        (most,) = self.db.execute(_LAST_COPY, (key,)).fetchone()
        nth = (most or 1) + 1
        return self._plan_under(row, derive_idempotency_key(key, nth), nth=nth)

    def _plan_without(self, row: Candidate, key: str) -> Plan:
        """Return what to do with a row whose content's *key* is another payment's, or nobody's."""
        used = self.db.execute(_USED_COPY, (row.content, self.run)).fetchone()
        for wanted in self._wanted(again=used is not None):
            chosen, copy = self._copy(row.content, wanted)
            if chosen is not None:
                return attrs.evolve(self._plan_under(row, chosen), copy=copy)
        if used is not None and self.duplicates is not Duplicates.EACH:
            return Plan(verdict=Verdict.DUPLICATE, key=key, line=used[0])
        return self._plan_under(row, key)

    def _wanted(self, *, again: bool) -> range:
        """Return the ranks that a row's key may have, the best first."""
        if not again or self.duplicates is Duplicates.EACH:
            return _RANKS
        return range(0 if self.duplicates is Duplicates.ONCE else _FREE_RANK)

    def _copy(self, content: str, rank: int) -> tuple[str, int] | tuple[None, None]:
        """Return a copy's key of that rank that the run has not used, and which copy it is."""
        found = self.db.execute(_COPY, (content, rank, self.run)).fetchone()
        return (None, None) if found is None else found

    def _plan_under(self, row: Candidate, key: str, *, nth: int = 1) -> Plan:
        facts = {**self._facts(), "key": key, "content": row.content, "line": row.line, "nth": nth}
        found = self.db.execute(_KEY, (key,)).fetchone()
        if found is None:
            self.db.execute(_INSERT, facts)
            return Plan(verdict=Verdict.SEND, key=key, copy=nth if nth > 1 else None)
        content, own_nth, state, doubt, used, line, planned_at = found
        first_line = line if used == self.run else None
        same = content == row.content
        if first_line is not None and same:
            state = State(state)
            return Plan(verdict=Verdict.DUPLICATE, key=key, state=state, line=first_line)
        plan = self._again(key, state, planned_at, doubted=bool(doubt))
        free = plan.verdict is Verdict.SEND and not plan.may_have_landed
        if not same and (first_line is not None or not free):
            return Plan(verdict=Verdict.CONFLICT, key=key, state=plan.state, line=first_line)
        if not same and row.key is not None and (own_nth > 1 or key == content):
            # The key says what another content is: this row was that one before it was corrected.
            return self.plan_one(attrs.evolve(row, key=None))
        if not same:
            self.db.execute("UPDATE rows SET given_away = given_away + 1 WHERE key = ?", (content,))
        self.db.execute(_GIVE.format(_changes(plan)), facts)
        return attrs.evolve(plan, copy=nth if nth > 1 else None)

    def _again(self, key: str, state: str, planned_at: int | None, *, doubted: bool) -> Plan:
        """Return what to do with the row of *key*, which an earlier run had."""
        before = State(state)
        if before in ON_RECORD:
            return Plan(verdict=Verdict.ON_RECORD, key=key, state=before)
        if not doubted and before not in IN_DOUBT:
            return Plan(verdict=Verdict.SEND, key=key, state=before)
        age = key_age(planned_at, self.now)
        plan = Plan(verdict=Verdict.SEND, key=key, state=before, may_have_landed=True)
        if is_too_old(age, self.max_key_age):
            return attrs.evolve(plan, verdict=Verdict.TOO_OLD, age=age)
        return plan

    def _facts(self) -> dict[str, object]:
        return {"run": self.run, "now": self.now}


def _changes(plan: Plan) -> str:
    """Return in SQL what a plan changes about a row of an earlier run."""
    if plan.verdict is Verdict.ON_RECORD:
        return ""
    if not plan.may_have_landed:
        return ", state = 'planned', by_hand = 0, may_have_landed = 0, planned_at = :now"
    state = State.UNKNOWN if plan.verdict is Verdict.TOO_OLD else State.PLANNED
    return f", state = '{state}', may_have_landed = 1, planned_at = {_SINCE}"
