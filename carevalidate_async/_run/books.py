"""
What a run writes down: each row gets its place on disk, and only then in the counts.

Knows neither where rows come from nor how payments are sent.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from carevalidate_async._files.fields import UNDECIDED, FileRow, Problem
from carevalidate_async._run.ages import sent_in_words
from carevalidate_async._run.counts import Counts, Tally
from carevalidate_async._run.groups import own_words
from carevalidate_async.bulk import Row, combined
from carevalidate_async.errors import (
    APIStatusError,
    AuthenticationError,
    CareValidateError,
    InvalidRequestError,
    Outcome,
    PermissionDeniedError,
)
from carevalidate_async.journal import (
    Candidate,
    Duplicates,
    Journal,
    Plan,
    Settlement,
    State,
    Verdict,
)
from carevalidate_async.models import PaymentConfirmation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carevalidate_async._files.rejects import Rejects
    from carevalidate_async._run.course import Course

_LONGEST_REASON = 1000  # characters; a cell that is too long would stop the next run


@attrs.frozen(kw_only=True)
class Planned:
    """
    A row whose key is on disk.

    Attributes:
        row: As it was read.

        plan: What the journal says about it.

        payment: What it says, under its key.
    """

    row: FileRow
    plan: Plan
    payment: PaymentConfirmation


class Books:
    """
    The books of one run: rows are planned, handed out to be sent, and settled.

    Attributes:
        counts: Where the rows are that have their place.

        known: Rows among them that were on record from earlier runs.

        retries: Requests beyond the first for each row.

    Args:
        journal: Open, and bound to the client's target.

        duplicates: What to do with rows whose content the file had before.

        rejects: Where rows that need a person go; None for nowhere.

        tell: Called with the line of a row that needs another look, and what is wrong with it.

        tally: A hook of the client.

        course: Told where each row gets its place.

    What is awaited raises JournalError where the journal, and OSError where the rejects file cannot
    be written; `give_up` accounts for the rows that were left without a place.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        duplicates: Duplicates,
        rejects: Rejects | None,
        tell: Callable[[int, str], None],
        tally: Tally,
        course: Course,
    ) -> None:
        self.counts = Counts()
        self.known = 0
        self.retries = 0
        self._journal = journal
        self._duplicates = duplicates
        self._rejects = rejects
        self._tell = tell
        self._tally = tally
        self._course = course
        self._waiting: deque[Planned] = deque()
        self._handed_out = 0
        self._in_flight: dict[int, Planned] = {}

    async def plan(self, batch: Sequence[tuple[FileRow, str]]) -> None:
        """
        Put the keys of the rows to be sent on disk, and give the other rows their place.

        Args:
            batch: In the file's order, each with the key that its content gives.
        """
        self.counts.rows += len(batch)
        candidates = [
            Candidate(line=row.line, content=content, key=row.payment.idempotency_key)
            for row, content in batch
            if row.payment is not None
        ]
        plans = iter(await self._journal.plan(candidates, self._duplicates))
        for row, _ in batch:
            if row.payment is None:
                self._place("invalid", row, row.problems)
            else:
                self._take(row, row.payment, next(plans))
        self._flush()

    def hand_out(self) -> PaymentConfirmation | None:
        """Return the next payment to be sent, in flight from now on; None where none waits."""
        if not self._waiting:
            return None
        item = self._waiting.popleft()
        self._in_flight[self._handed_out] = item
        self._handed_out += 1
        return item.payment

    async def settle(self, rows: Sequence[Row]) -> None:
        """
        Put outcomes on disk in one transaction, and then into the counts.

        Args:
            rows: Payments that came back; their indices are in the order of `hand_out`.
        """
        settlements = [_judged(self._in_flight[row.index].plan, row) for row in rows]
        await self._journal.settle(settlements)
        for row, settlement in zip(rows, settlements, strict=True):
            self._settled(self._in_flight.pop(row.index), row, settlement)
        self._flush()

    async def cut_off(self) -> None:
        """Settle what is in flight: its answers will not come, but its requests count."""
        await self._leave(list(self._in_flight.values()), State.UNKNOWN)
        self._in_flight.clear()

    async def leave_waiting(self) -> None:
        """Settle what waits: it will not be sent."""
        leaving = list(self._waiting)  # more rows can be planned meanwhile
        await self._leave(leaving, State.NOT_SENT)
        for _ in leaving:
            self._waiting.popleft()

    def pass_over(self) -> list[Planned]:
        """Return what waits, and count it as not sent; nothing is put on disk."""
        passed = list(self._waiting)
        self._waiting.clear()
        self._count("not_sent", len(passed))
        return passed

    def give_up(self) -> None:
        """Count what can no longer be put on disk."""
        for item in self._in_flight.values():
            self.counts.attempts += self._tally.take(item.plan.key)
        doubted = [item for item in self._waiting if item.plan.may_have_landed]
        self._count("unknown", len(self._in_flight) + len(doubted))
        self._count("not_sent", len(self._waiting) - len(doubted))
        # What an earlier run did with rows that this one read and did not plan, nobody knows.
        unplanned = self.counts.rows - self.counts.settled
        self._count("not_sent" if self._journal.fresh else "unknown", unplanned)

    def _take(self, row: FileRow, payment: PaymentConfirmation, plan: Plan) -> None:
        before = "an earlier run" if plan.line is None else f"line {plan.line}"
        match plan.verdict:
            case Verdict.SEND:
                keyed = attrs.evolve(payment, idempotency_key=plan.key)
                self._waiting.append(Planned(row=row, plan=plan, payment=keyed))
            case Verdict.ON_RECORD:
                self.known += 1
                self._count(plan.state, earlier=True)
            case Verdict.CONFLICT:
                problem = Problem("idempotency_key", f"{before} used this key for another payment")
                self._place("invalid", row, [problem], key=_undecided(payment))
            case Verdict.DUPLICATE if self._duplicates is Duplicates.ONCE:
                self._count("duplicates")
            case Verdict.DUPLICATE:
                reason = f"is the same payment as {before}; give it a key of its own if it is not"
                if payment.idempotency_key is not None:
                    reason = f"is the same payment as {before}, under the same key"
                self._place("duplicates", row, [Problem("", reason)], key=_undecided(payment))
            case Verdict.TOO_OLD:
                reason = "its key may have been sent too long ago to be sent again"
                self._trouble("unknown", row.line, reason, text=_forgotten(plan), key=plan.key)

    def _settled(self, item: Planned, row: Row, settlement: Settlement) -> None:
        self.counts.attempts += len(row.attempts)
        self.retries += max(0, len(row.attempts) - 1)
        self._tally.take(item.plan.key)
        error, state = row.error, settlement.state
        if error is None or state in {State.CONFIRMED, State.ALREADY_RECORDED}:
            self._count(state)
        elif isinstance(error, InvalidRequestError) and state is State.NOT_SENT:
            self._place("invalid", item.row, [Problem(error.field, error.reason)])
        elif state is State.REJECTED:
            said = getattr(error, "message", None)
            key = item.plan.key if item.plan.nth else None
            self._place(
                state, item.row, [Problem("", error.summary)], said=said, key=key, met=settlement
            )
        else:
            text = f"{error.summary} (key {item.plan.key})"
            self._trouble(
                state, item.row.line, own_words(error), text=text, key=item.plan.key, met=settlement
            )

    def _count(self, name: str, rows: int = 1, *, earlier: bool = False) -> None:
        """Give rows of which there is no more to tell their place."""
        self.counts.add(name, rows)
        self._course.good(name, rows, earlier=earlier)

    def _trouble(
        self,
        name: str,
        line: int,
        reason: str,
        *,
        text: str,
        key: str | None,
        met: Settlement | None = None,
        field: str | None = None,
    ) -> None:
        """
        Give a row that needs another look its place, and tell about it.

        Args:
            name: Where it is counted.

            line: Where it stands.

            reason: Why, in words of ours alone.

            text: Why, for whoever runs this.

            key: The key that it was sent under.

            met: What the vendor said, or did not.

            field: What is wrong with it, where it was refused here.
        """
        self.counts.add(name)
        self._course.settled(
            name,
            line=line,
            key=key,
            error=None if met is None else met.error,
            status=None if met is None else met.status,
            code=field if met is None else met.code,
            reason=reason,
        )
        self._tell(line, f"{_title(name)}: {text}")

    def _place(
        self,
        name: str,
        row: FileRow,
        problems: Sequence[Problem],
        *,
        said: str | None = None,
        key: str | None = None,
        met: Settlement | None = None,
    ) -> None:
        """Count a row that is to be corrected, show it, and write it to the rejects."""
        text = "; ".join(map(str, problems))
        reason = text if met is None else f"the vendor answered {met.status}"
        field = "; ".join(problem.field for problem in problems) or None
        self._trouble(
            name,
            row.line,
            reason,
            text=text,
            key=None if met is None else met.key,
            met=met,
            field=field,
        )
        if self._rejects is not None:
            # The vendor's own words may be personal; the rejects file is as private as the rows.
            # Never first in its cell, where a spreadsheet would take "=" for a formula.
            words = None if said is None else f"the vendor said: {said[:_LONGEST_REASON]}"
            shown = problems if words is None else [Problem("", words)]
            self._rejects.write(row, shown, key)

    async def _leave(self, items: Sequence[Planned], state: State) -> None:
        states = [State.UNKNOWN if item.plan.may_have_landed else state for item in items]
        settlements = [
            Settlement(key=key, state=left, attempts=self._tally.take(key))
            for key, left in zip((item.plan.key for item in items), states, strict=True)
        ]
        self.counts.attempts += sum(settlement.attempts for settlement in settlements)
        await self._journal.settle(settlements)
        for item, left in zip(items, states, strict=True):
            if left is State.UNKNOWN:
                reason = "the run ended before its answer came"
                self._trouble(left, item.row.line, reason, text=reason, key=item.plan.key)
            else:
                self._count(left)

    def _flush(self) -> None:
        if self._rejects is not None:
            self._rejects.flush()


def _judged(plan: Plan, row: Row) -> Settlement:
    error = row.error
    earlier = Outcome.UNKNOWN if plan.may_have_landed else None
    match combined(earlier, row.outcome):
        case Outcome.RECORDED:
            fresh = row.receipt is not None and not row.receipt.meta.already_recorded
            state = State.CONFIRMED if fresh else State.ALREADY_RECORDED
        case Outcome.UNKNOWN:
            state = State.UNKNOWN
        case Outcome.REJECTED if _is_about_the_row(error):
            state = State.REJECTED
        case _:
            state = State.NOT_SENT
    return Settlement(
        key=plan.key,
        state=state,
        attempts=len(row.attempts),
        error=None if error is None else type(error).__name__,
        status=getattr(error, "status", None),
        code=getattr(error, "code", None),
    )


def _undecided(payment: PaymentConfirmation) -> str:
    # Run as it is, a rejects file would ask under a key that is another row's, hear that it is on
    # record, and count this payment as recorded.
    own = payment.idempotency_key
    return UNDECIDED if own is None else f"{UNDECIDED} (was {own})"


def _forgotten(plan: Plan) -> str:
    return f"not asked for again: key {plan.key} may have been sent {sent_in_words(plan.age)}"


def _is_about_the_row(error: CareValidateError | None) -> bool:
    # A refused key, a vendor that asks for patience, and what came after that without an answer say
    # nothing of the payment.
    refused = isinstance(error, AuthenticationError | PermissionDeniedError)
    return isinstance(error, APIStatusError) and not refused and not error.retryable


def _title(name: str) -> str:
    return {"duplicates": "duplicate", "not_sent": "not sent"}.get(name, name)
