"""What a run was asked to do."""

from __future__ import annotations

from datetime import datetime

import attrs


@attrs.frozen(kw_only=True)
class Facts:
    """
    What a run was asked to do.

    Attributes:
        file: Name of the file.

        target: Where its payments went: an origin, or a word.

        journal: Name of the journal; None for a rehearsal.

        rejects: Name of the file for rows to be corrected; None for none.

        began: When, with a time zone.

        concurrency: Payments in flight at once, at most.

        rate: Asks begun per second, at most; None for as many as can be.
    """

    file: str
    target: str
    journal: str | None = None
    rejects: str | None = None
    began: datetime
    concurrency: int
    rate: float | None = None
