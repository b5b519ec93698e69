"""
What a bulk run has asked for and what came of it, on disk: a process that dies can be run again.

A row's idempotency key is durable before the first byte of its request leaves; its outcome is
durable before anyone is told. The file holds no personal data: keys, a digest of the content, line
numbers, states, counts, error classes and times, and the name of the file that the rows came from.

- `Journal`: one file, and the one run that writes it.
- `Candidate`, `Plan`, `Verdict`, `Duplicates`: a row, and under which key it is sent, or why not.
- `Settlement`, `State`, `ON_RECORD`: what came of a row, and what that means.
- `Ending`: how a run ended.
- `JournalError`: the file is no journal, or not this run's.
- `FORMAT`: the number of the file's format.

A file imports only from those above it.

| file | purpose |
|---|---|
| `_records.py` | what it holds of each row |
| `_runs.py` | what it holds of each run |
| `_plans.py` | under which key a row is sent |
| `_file.py` | the file: who may write it, and what is no journal |
| `_journal.py` | a run's journal: `Journal` |
| `_by_hand.py` | what a person found out about rows |
| `_status.py` | where the rows are, and how the runs went |
"""

from __future__ import annotations

from carevalidate_async.journal._file import FORMAT, JournalError
from carevalidate_async.journal._journal import Journal
from carevalidate_async.journal._records import (
    ON_RECORD,
    Candidate,
    Duplicates,
    Plan,
    Settlement,
    State,
    Verdict,
)
from carevalidate_async.journal._runs import Ending

__all__ = [
    "FORMAT",
    "ON_RECORD",
    "Candidate",
    "Duplicates",
    "Ending",
    "Journal",
    "JournalError",
    "Plan",
    "Settlement",
    "State",
    "Verdict",
]
