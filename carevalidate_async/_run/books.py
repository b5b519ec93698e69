"""
What a run writes down: each row gets its place on disk, and only then in the counts.

Knows neither where rows come from nor how payments are sent.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from carevalidate_async._files.fields import UNDECIDED, FileRow, Problem, content_key, copy_cell
from carevalidate_async._outage import own_words
from carevalidate_async._run.ages import sent_in_words
from carevalidate_async._run.counts import Counts, Tally, Trouble, titled
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
    ON_RECORD,
    Candidate,
    Duplicates,
    Journal,
    Plan,
    Settlement,
    State,
    Verdict,
)
from carevalidate_async.models import PaymentConfirmation, give_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from carevalidate_async._files.rejects import Rejects
    from carevalidate_async._run.course import Course

_LONGEST_REASON = 1000  # characters; a cell that is too long would stop the next run

_CUT_OFF = "the run ended before its answer came"
_LEFT = "the run ended before it was sent"
_LEFT_IN_DOUBT = "the run ended before it was asked for again"
_NOT_WRITTEN = "the run ended before its outcome was on disk"
_NOT_LOOKED_UP = "the run ended before it was looked up in the journal"


@attrs.define(kw_only=True)
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

        tell: Called with each row that needs another look, but for those that were not sent since
            the run ended.

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
        tell: Callable[[Trouble], None],
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
        self._unplanned: deque[FileRow] = deque()  # of the batch that is being planned

    @property
    def waiting(self) -> int:
        """Rows that are planned, or are being planned, and not yet handed out."""
        return len(self._unplanned) + len(self._waiting)

    async def plan(self, batch: Sequence[tuple[FileRow, str]]) -> None:
        """
        Put the keys of the rows to be sent on disk, and give the other rows their place.

        Args:
            batch: In the file's order, each with the key that its content gives.
        """
        self.counts.rows += len(batch)
        self._unplanned.extend(row for row, _ in batch)
        candidates = [
            Candidate(line=row.line, content=content, key=row.payment.idempotency_key)
            for row, content in batch
            if row.payment is not None
        ]
        plans = iter(await self._journal.plan(candidates, self._duplicates))
        for row, _ in batch:
            self._unplanned.popleft()
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
        confirmed: list[Row] = []
        keys: dict[int, list[str]] = {}  # theirs, by the attempts that they took
        others: list[tuple[Row, Settlement]] = []
        for row in rows:
            item = self._in_flight[row.index]
            if item.payment is not row.payment:
                raise RuntimeError("a payment came back under the index of another")
            if row.receipt is not None and not row.receipt.meta.already_recorded:  # as most are
                confirmed.append(row)
                keys.setdefault(len(row.attempts), []).append(item.plan.key)
            else:
                others.append((row, _judged(item.plan, row)))
        settlements = [
            Settlement(keys=alike, state=State.CONFIRMED, attempts=attempts)
            for attempts, alike in keys.items()
        ]
        await self._journal.settle([*settlements, *(settlement for _, settlement in others)])
        for row in confirmed:
            del self._in_flight[row.index]
        for settlement in settlements:
            self._tried(settlement)
            self._count(settlement.state, len(settlement.keys))
        for row, settlement in others:
            item = self._in_flight.pop(row.index)
            self._tried(settlement)
            if row.error is None or settlement.state in ON_RECORD:
                self._count(settlement.state)
            else:
                self._in_trouble(item, row.error, settlement)
        self._flush()

    async def cut_off(self) -> None:
        """Settle what is in flight: its answers will not come, but its requests count."""
        items = list(self._in_flight.values())
        await self._leave(items, [State.UNKNOWN] * len(items))
        self._in_flight.clear()
        for item in items:
            self._doubt(item, _CUT_OFF)

    async def leave_waiting(self) -> None:
        """Settle what waits: it will not be sent."""
        leaving = list(self._waiting)  # more rows can be planned meanwhile
        doubted, unsent = _parted(leaving)
        states = {True: State.UNKNOWN, False: State.NOT_SENT}
        await self._leave(leaving, [states[item.plan.may_have_landed] for item in leaving])
        for _ in leaving:
            self._waiting.popleft()
        for item in doubted:
            self._doubt(item, _LEFT_IN_DOUBT)
        self._left("not_sent", _places(unsent), _LEFT)

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
            self._doubt(item, _NOT_WRITTEN)
        doubted, unsent = _parted(self._waiting)
        for item in doubted:
            self._doubt(item, _LEFT_IN_DOUBT)
        self._left("not_sent", _places(unsent), _LEFT)
        if self._journal.fresh:
            self._left("not_sent", [(row.line, None) for row in self._unplanned], _LEFT)
            return
        for row in self._unplanned:  # what an earlier run did with them, nobody knows
            self._trouble("unknown", row.line, _NOT_LOOKED_UP)

    def _take(self, row: FileRow, payment: PaymentConfirmation, plan: Plan) -> None:
        before = "an earlier run" if plan.line is None else f"line {plan.line}"
        match plan.verdict:
            case Verdict.SEND:
                give_key(payment, plan.key)  # which this row alone has
                self._waiting.append(Planned(row=row, plan=plan, payment=payment))
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
                self._trouble("unknown", row.line, reason, told=_forgotten(plan), key=plan.key)

    def _tried(self, settlement: Settlement) -> None:
        """Count the requests of rows that have come back."""
        self.counts.attempts += settlement.attempts * len(settlement.keys)
        self.retries += max(0, settlement.attempts - 1) * len(settlement.keys)
        for key in settlement.keys:
            self._tally.take(key)

    def _in_trouble(self, item: Planned, error: CareValidateError, settlement: Settlement) -> None:
        """Give a row that was asked for, and is not on record, its place."""
        state = settlement.state
        if isinstance(error, InvalidRequestError) and state is State.NOT_SENT:
            self._place("invalid", item.row, [Problem(error.field, error.reason)])
        elif state is State.REJECTED:
            self._trouble(state, item.row.line, own_words(error), key=item.plan.key, met=settlement)
            copy = item.plan.copy
            key = None if copy is None else copy_cell(content_key(item.payment), copy)
            self._reject(item.row, [_said(error)], key)
        else:
            reason, key = own_words(error), item.plan.key
            told = f"{reason} (key {key})"
            self._trouble(state, item.row.line, reason, told=told, key=key, met=settlement)

    def _count(self, name: str, rows: int = 1, *, earlier: bool = False) -> None:
        """Give rows of which there is no more to tell their place."""
        self.counts.add(name, rows)
        self._course.good(name, rows, earlier=earlier)

    def _left(self, name: str, rows: Sequence[tuple[int, str | None]], reason: str) -> None:
        """Give rows that the run did not come to their place; each has its line and its key."""
        self.counts.add(name, len(rows))
        self._course.left(name, rows, reason)

    def _doubt(self, item: Planned, reason: str) -> None:
        """Give a row whose answer did not come its place."""
        self._trouble("unknown", item.row.line, reason, key=item.plan.key)

    def _trouble(
        self,
        name: str,
        line: int,
        reason: str,
        *,
        key: str | None = None,
        told: str | None = None,
        met: Settlement | None = None,
        field: str | None = None,
    ) -> None:
        """
        Give a row that needs another look its place, and tell about it.

        Args:
            name: Where it is counted.

            line: Where it stands.

            reason: Why, in words of ours alone.

            key: The key that it was sent under.

            told: Why, for whoever runs this; None for *reason*.

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
        self._tell(
            Trouble(
                line=line,
                outcome=str(name),
                text=f"{titled(name)}: {told or reason}",
                key=key,
                status=None if met is None else met.status,
                code=None if met is None else met.code,
                error=None if met is None else met.error,
                field=field,
            )
        )

    def _place(
        self, name: str, row: FileRow, problems: Sequence[Problem], *, key: str | None = None
    ) -> None:
        """Count a row that is refused here, show it, and write it to the rejects."""
        field = "; ".join(problem.field for problem in problems) or None
        self._trouble(name, row.line, "; ".join(map(str, problems)), field=field)
        self._reject(row, problems, key)

    def _reject(self, row: FileRow, problems: Sequence[Problem], key: str | None) -> None:
        if self._rejects is not None:
            self._rejects.write(row, problems, key)

    async def _leave(self, items: Sequence[Planned], states: Sequence[State]) -> None:
        settlements = [
            Settlement(keys=[key], state=state, attempts=self._tally.take(key))
            for key, state in zip((item.plan.key for item in items), states, strict=True)
        ]
        self.counts.attempts += sum(settlement.attempts for settlement in settlements)
        await self._journal.settle(settlements)

    def _flush(self) -> None:
        if self._rejects is not None:
            self._rejects.flush()


def _judged(plan: Plan, row: Row) -> Settlement:
    error = row.error
    earlier = Outcome.UNKNOWN if plan.may_have_landed else None
    match combined(earlier, row.outcome):
        case Outcome.RECORDED:  # and not by this run, as far as it knows
            state = State.ALREADY_RECORDED
        case Outcome.UNKNOWN:
            state = State.UNKNOWN
        case Outcome.REJECTED if _is_about_the_row(error):
            state = State.REJECTED
        case _:
            state = State.NOT_SENT
    return Settlement(
        keys=[plan.key],
        state=state,
        attempts=len(row.attempts),
        error=None if error is None else type(error).__name__,
        status=getattr(error, "status", None),
        code=getattr(error, "code", None),
    )


def _parted(items: Iterable[Planned]) -> tuple[list[Planned], list[Planned]]:
    """Return the rows that an earlier run may have put on record, and all others."""
    parts: tuple[list[Planned], list[Planned]] = [], []
    for item in items:
        parts[not item.plan.may_have_landed].append(item)
    return parts


def _places(items: Iterable[Planned]) -> list[tuple[int, str | None]]:
    return [(item.row.line, item.plan.key) for item in items]


def _said(error: CareValidateError) -> Problem:
    # The vendor's own words may be personal; the rejects file is as private as the rows, and has
    # them alone. Never first in its cell, where a spreadsheet would take "=" for a formula.
    said = getattr(error, "message", None)
    words = error.summary if said is None else f"the vendor said: {said[:_LONGEST_REASON]}"
    return Problem("", words)


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
