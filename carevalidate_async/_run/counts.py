"""How a run goes: the counts, a row that needs another look, and the summary at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from carevalidate_async.hooks import AttemptEnded
from carevalidate_async.journal import Duplicates, Ending

if TYPE_CHECKING:
    from carevalidate_async.hooks import Event


class Tally:
    """Counts the requests of payments under way by their keys; a hook of the client."""

    wants: tuple[type[Event], ...] = (AttemptEnded,)

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}

    def __call__(self, event: Event) -> None:
        """Count an attempt."""
        if isinstance(event, AttemptEnded) and event.idempotency_key is not None:
            self._attempts[event.idempotency_key] = self._attempts.get(event.idempotency_key, 0) + 1

    def take(self, key: str) -> int:
        """Return the requests of the payment under *key*, and forget them."""
        return self._attempts.pop(key, 0)


@attrs.define(kw_only=True)
class Counts:
    """
    Where the rows of a file are; each is counted once.

    Attributes:
        rows: Rows read.

        confirmed: Put on record by a run of this journal.

        already_recorded: On record under their key before the ask that heard of it.

        rejected: The vendor said no.

        invalid: Refused here.

        duplicates: The file had the same payment before.

        unknown: May or may not be on record.

        not_sent: Surely not on record, and not refused either.

        attempts: Tries that this run made: requests, those whose answer it did not wait for
            included, and tries that found no connection.
    """

    rows: int = 0
    confirmed: int = 0
    already_recorded: int = 0
    rejected: int = 0
    invalid: int = 0
    duplicates: int = 0
    unknown: int = 0
    not_sent: int = 0
    attempts: int = 0

    def add(self, name: str, rows: int = 1) -> None:
        """Count so many rows under that name."""
        setattr(self, name, getattr(self, name) + rows)

    @property
    def on_record(self) -> int:
        """Rows whose payment is on record."""
        return self.confirmed + self.already_recorded

    @property
    def failed(self) -> int:
        """Rows that need another look, duplicates aside."""
        return self.rejected + self.invalid + self.unknown + self.not_sent

    @property
    def rejectable(self) -> int:
        """Rows that a rejects file takes."""
        return self.rejected + self.invalid + self.duplicates

    @property
    def settled(self) -> int:
        """Rows that have their place."""
        return self.on_record + self.failed + self.duplicates


def titled(name: str) -> str:
    """Return what a row is called that is counted under that name."""
    return {"duplicates": "duplicate", "not_sent": "not sent"}.get(name, name)


@attrs.frozen(kw_only=True)
class Trouble:
    """
    A row that needs another look.

    Attributes:
        line: Where it stands in its file.

        outcome: The name that it is counted under.

        text: What is wrong, in words of ours and without personal data.

        key: The idempotency key that it was sent under, or would be; None where it has none.

        status: HTTP status of the vendor's answer; None where there was none.

        code: The vendor's code; None where it gave none.

        error: Name of the error's class; None where there was none.

        field: What is wrong with it, where it was refused here; None elsewhere.
    """

    line: int
    outcome: str
    text: str
    key: str | None = None
    status: int | None = None
    code: str | None = None
    error: str | None = None
    field: str | None = None


@attrs.frozen(kw_only=True)
class Summary:
    """
    How a run went.

    Attributes:
        counts: Where the rows are.

        elapsed: Seconds.

        duplicates: What was done with duplicates.

        known: Rows that the journal had on record from earlier runs, and that were not sent.

        interrupted: Whether someone stopped the run; the rest of the file was then not read.

        stopped_by: What ended the run early, in one sentence; None where nothing did.

        refused: Whether that was the vendor refusing the credential.

        reached: Whether any request of this run may have reached the vendor's books.

        rehearsal: Whether nothing was to be sent.

        retries: Requests beyond the first for each row.

        whole: Whether the input was read to its end.

        estimated_rows: Rows that it may have in all, where it was not; None where nobody knows.
    """

    counts: Counts
    elapsed: float
    duplicates: Duplicates
    known: int = 0
    interrupted: bool = False
    stopped_by: str | None = None
    refused: bool = False
    reached: bool = False
    rehearsal: bool = False
    retries: int = 0
    whole: bool = True
    estimated_rows: int | None = None

    @property
    def ending(self) -> Ending:
        """How it ended, as its journal says it."""
        if self.interrupted:
            return Ending.INTERRUPTED
        return Ending.COMPLETE if self.stopped_by is None else Ending.STOPPED_EARLY

    @property
    def exit_status(self) -> int:
        """
        0 all on record, 1 some row is not, 2 refused before anything was sent, 130 stopped.

        A rehearsal is content with rows that would be sent.
        """
        if self.interrupted:
            return 130
        if self.refused and not self.reached and not self.counts.unknown:
            return 2
        repeated = self.counts.duplicates and self.duplicates is not Duplicates.ONCE
        failed = self.counts.failed - (self.counts.not_sent if self.rehearsal else 0)
        return 1 if failed or repeated or self.stopped_by else 0
