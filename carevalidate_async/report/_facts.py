"""What a run was asked to do."""

from __future__ import annotations

from datetime import datetime

import attrs

from carevalidate_async._run.ages import DEFAULT_KEY_AGE, read_age
from carevalidate_async._run.typed import Commands


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

        max_key_age: Seconds that a key in doubt may be old and still be sent again; None for any
            age.
    """

    file: str
    target: str
    journal: str | None = None
    rejects: str | None = None
    began: datetime
    concurrency: int
    rate: float | None = None
    max_key_age: float | None = attrs.field(factory=lambda: read_age(DEFAULT_KEY_AGE))

    def commands(self) -> Commands:
        """Return the commands about its journal."""
        return Commands(
            target=self.target, journal=self.journal or "", max_key_age=self.max_key_age
        )
