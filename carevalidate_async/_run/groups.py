"""What went wrong with rows, grouped, and which of them need a person: the first ones of many."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from carevalidate_async._dialect import refusal_for_status
from carevalidate_async.errors import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence


MOST_GROUPS = 50
"""Kinds of trouble that are told apart; rows of any further kind are counted together."""

MOST_EXAMPLES = 5
"""Rows that are kept of each kind."""

MOST_LISTED = 1000
"""Rows that are kept one by one."""

EARLIER = ", after an earlier ask that may have landed"
"""Why a row is in doubt that met a clear no at last."""

_FAIR_SHARE = 200  # rows of one outcome that no other outcome takes the place of
_LONGEST_CODE = 64
_LONGEST_KEY = 255
_LONGEST_REASON = 300

_FEW_REASONS = frozenset({"not_sent", "unknown"})  # where there is no error
_NOTHING_SENT = frozenset({"APIConnectionError", "ClientClosedError"})

_Kind: TypeAlias = tuple[str | None, str | None, int | None, str | None]
_OTHERS: _Kind = None, None, None, None


@attrs.frozen(kw_only=True)
class Listed:
    """
    A row that needs a person.

    Attributes:
        line: Where it stands in its file.

        outcome: Where it stands, by the name that it is counted under.

        reason: Why, in words of ours.

        key: The idempotency key that it was sent under, or would be; None where it has none.
    """

    line: int
    outcome: str
    reason: str
    key: str | None


@attrs.define(kw_only=True)
class Group:
    """
    Rows that met the same.

    Attributes:
        outcome: Where they stand; None for all further kinds together.

        error: Name of the error's class, None where there was none.

        status: HTTP status.

        code: The vendor's code; the field, where a row was refused here; the reason, where it was
            not asked for to the end.

        count: Rows.

        first: The first line among them.

        last: The last line.

        examples: The first ones to come.
    """

    outcome: str | None
    error: str | None
    status: int | None
    code: str | None
    count: int = 0
    first: int
    last: int
    examples: list[Listed] = attrs.Factory(list)

    @property
    def doubt_is_older(self) -> bool:
        """Whether they are in doubt by an earlier ask, and not by what they met at last."""
        return _is_older_doubt(self.outcome, self.error, self.status)


class Troubles:
    """
    The rows of a run that need a person, in bounded memory.

    Attributes:
        count: Rows that were told; not all of them are kept.
    """

    def __init__(self) -> None:
        self.count = 0
        self._groups: dict[_Kind, Group] = {}
        self._listed: dict[str, list[Listed]] = {}
        self._kept = 0

    def add(
        self,
        outcome: str,
        *,
        line: int,
        key: str | None,
        error: str | None,
        status: int | None,
        code: str | None,
        reason: str,
    ) -> None:
        """Take in a row; `carevalidate_async._run.course.Course.settled` says what is what."""
        self.count += 1
        if error is None and code is None and outcome in _FEW_REASONS:
            code = reason
        if _is_older_doubt(outcome, error, status):
            reason += EARLIER
        code = None if code is None else _cut(code, _LONGEST_CODE)
        group = self._group((outcome, error, status, code), line)
        group.count += 1
        group.first, group.last = min(group.first, line), max(group.last, line)
        telling = len(group.examples) < MOST_EXAMPLES
        if telling or self._has_room(outcome):
            key = None if key is None else _cut(key, _LONGEST_KEY)
            reason = _cut(reason, _LONGEST_REASON)
            row = Listed(line=line, outcome=outcome, reason=reason, key=key)
            if telling:
                group.examples.append(row)
            self._list(row)

    def add_many(self, outcome: str, rows: Sequence[tuple[int, str | None]], reason: str) -> None:
        """Take in the lines and keys of rows for one reason, most of them at the cost of a sum."""
        kept = 0
        for line, key in rows:
            if kept >= MOST_EXAMPLES and not self._has_room(outcome):
                break
            self.add(outcome, line=line, key=key, error=None, status=None, code=None, reason=reason)
            kept += 1
        lines = [line for line, _ in rows[kept:]]
        if lines:
            self.count += len(lines)
            code = _cut(reason, _LONGEST_CODE) if outcome in _FEW_REASONS else None
            group = self._group((outcome, None, None, code), lines[0])
            group.count += len(lines)
            group.first, group.last = min(group.first, *lines), max(group.last, *lines)

    def _group(self, kind: _Kind, line: int) -> Group:
        if kind not in self._groups and len(self._groups) >= MOST_GROUPS:
            kind = _OTHERS
        group = self._groups.get(kind)
        if group is None:
            outcome, error, status, code = kind
            group = self._groups[kind] = Group(
                outcome=outcome, error=error, status=status, code=code, first=line, last=line
            )
        return group

    def _has_room(self, outcome: str) -> bool:
        return self._kept < MOST_LISTED or len(self._listed.get(outcome, ())) < _FAIR_SHARE

    def _list(self, row: Listed) -> None:
        if not self._has_room(row.outcome):
            return
        if self._kept == MOST_LISTED:
            # A flood of one outcome must not hide the few rows of another.
            max(self._listed.values(), key=len).pop()
            self._kept -= 1
        self._listed.setdefault(row.outcome, []).append(row)
        self._kept += 1

    def groups(self) -> Sequence[Group]:
        """Return the kinds of trouble, the most frequent first, all further ones together last."""
        return sorted(
            self._groups.values(), key=lambda group: (group.outcome is None, -group.count)
        )

    def listed(self) -> Sequence[Listed]:
        """Return the rows that were kept, in the file's order."""
        return sorted(
            (row for rows in self._listed.values() for row in rows), key=lambda row: row.line
        )


def _is_older_doubt(outcome: str | None, error: str | None, status: int | None) -> bool:
    if outcome != "unknown":
        return False
    if status is None:
        return error in _NOTHING_SENT
    return refusal_for_status(status).outcome is Outcome.REJECTED


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
