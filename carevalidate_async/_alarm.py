"""When a run had better end: the rows to come would fare no better than those that came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carevalidate_async.errors import (
    APIConnectionError,
    AuthenticationError,
    Outcome,
    PermissionDeniedError,
)

if TYPE_CHECKING:
    from carevalidate_async.bulk import Row

UNREACHABLE_STREAK = 16
"""Rows in a row, at least, that have to find the vendor out of reach."""


class Alarm:
    """
    Looks at each row that comes back.

    Attributes:
        reason: Why no further row is to be sent; None as long as there is no reason.

        refused: Whether the vendor refuses the credential.

        reached: Whether any request may have reached the vendor's books.

    Args:
        concurrency: Payments in flight at once; one hiccup can meet them all.
    """

    def __init__(self, concurrency: int) -> None:
        self.reason: str | None = None
        self.refused = False
        self.reached = False
        self._patience = max(concurrency, UNREACHABLE_STREAK)
        self._out_of_reach = 0  # rows in a row

    def heed(self, row: Row) -> None:
        """Draw what *row* tells about the others."""
        error = row.error
        refused = isinstance(error, AuthenticationError | PermissionDeniedError)
        if refused:
            self.refused = True
            name = f"{getattr(error, 'status', '')} {type(error).__name__}"
            self._ring(f"the vendor refuses the API key ({name})")
        # A key that is refused keeps the vendor from looking at the payment at all.
        looked_at = {Outcome.RECORDED, Outcome.UNKNOWN} | (set() if refused else {Outcome.REJECTED})
        self.reached |= row.outcome in looked_at
        if isinstance(error, APIConnectionError) and row.outcome is Outcome.NOT_SENT:
            self._out_of_reach += 1
            if self._out_of_reach >= self._patience:
                self._ring(f"the vendor cannot be reached ({error.summary})")
        else:
            self._out_of_reach = 0

    def _ring(self, reason: str) -> None:
        self.reason = self.reason or reason
