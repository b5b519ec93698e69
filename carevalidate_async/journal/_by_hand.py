"""What a person found out about rows that no run may ask for again, put down as their outcome."""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING

from carevalidate_async.journal._records import IN_DOUBT, State

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable


class Finding(enum.StrEnum):
    """What a person found at the vendor."""

    RECORDED = "recorded"
    NOT_RECORDED = "not-recorded"


_STATES = {Finding.RECORDED: State.ALREADY_RECORDED, Finding.NOT_RECORDED: State.NOT_SENT}


def settle_by_hand(
    db: sqlite3.Connection, keys: Iterable[str], finding: Finding, *, now: int
) -> dict[str, str]:
    """
    Settle rows as a person says; return what is wrong with which keys, and then change nothing.

    Args:
        db: Has the schema of rows.

        keys: Of rows in doubt, or of which only a person said so far what they are.

        finding: What they are. Rows that are not recorded are sent by the next run, under the same
            keys.

        now: Seconds since 1970.
    """
    wanted = list(dict.fromkeys(keys))
    named = json.dumps(wanted)
    query = "SELECT key, state, by_hand FROM rows WHERE key IN (SELECT value FROM json_each(?))"
    found = {key: (State(state), by_hand) for key, state, by_hand in db.execute(query, (named,))}
    wrong = {}
    for key in wanted:
        if key not in found:
            wrong[key] = "no row has this key"
            continue
        state, by_hand = found[key]
        if state not in IN_DOUBT and not by_hand:
            wrong[key] = f"needs no settling, it is {state}"
    if not wrong:
        db.execute(
            "UPDATE rows SET state = ?, by_hand = 1, may_have_landed = 0, error = NULL,"
            " status = NULL, code = NULL, settled_at = ?"
            " WHERE key IN (SELECT value FROM json_each(?))",
            (_STATES[finding], now, named),
        )
    return wrong
