"""The command ``status``: where the rows of a journal are, how its runs went, what to do next."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from carevalidate_async._commands.command import JSON, StopError, command
from carevalidate_async._commands.key_age import KEY_AGE_OF_LAST_RUN
from carevalidate_async._commands.manual import Manual
from carevalidate_async._commands.output import one_line, print_json, say
from carevalidate_async._run.ages import age_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carevalidate_async._commands.advice import Step
    from carevalidate_async.journal._runs import PastRun
    from carevalidate_async.journal._status import Doubt, Status

_TITLES = {  # of the states, which are imported late
    "confirmed": "confirmed",
    "already_recorded": "on record already",
    "rejected": "rejected",
    "unknown": "unknown",
    "planned": "planned",
    "not_sent": "not sent",
}


@click.command(
    cls=Manual,
    short_help="Say where a journal's rows are, and what to do next.",
    files={"JOURNAL": "What confirm keeps beside FILE, such as payments.csv.production.journal."},
    statuses={
        0: "every row is on record",
        1: "some row is not, or a run did not come to the end of its file",
        2: "the journal cannot be read, or a run is at work on it",
        130: "interrupted",
    },
    examples={
        "Where the payments stand": "carevalidate status payments.csv.production.journal",
        "The same for a program": "carevalidate status payments.csv.production.journal --json",
    },
    see_also=("confirm", "export", "settle"),
)
@click.argument("journal", type=click.Path(exists=True, dir_okay=False))
@KEY_AGE_OF_LAST_RUN
@JSON
@command
def status(journal: str, max_key_age: float | None, *, as_json: bool) -> int:
    """
    Say where the rows of JOURNAL are, how its runs went, and what to do next.

    It changes nothing and sends nothing. Rows of a file that cannot be sent are in no journal.
    """
    from carevalidate_async._commands.advice import Advice
    from carevalidate_async.journal._file import JournalError, open_to_read
    from carevalidate_async.journal._status import read_status

    try:
        with open_to_read(journal) as db:
            found = read_status(db, now=int(time.time()), max_key_age=max_key_age)
    except JournalError as error:
        raise StopError(one_line(str(error))) from None
    steps = list(Advice(journal=journal, status=found).steps())
    lines = map(one_line, _lines(journal, found, steps))
    say("\n".join(lines), sys.stderr if as_json else sys.stdout)
    if as_json:
        print_json(_document(journal, found, steps))
    return 0 if found.all_on_record else 1


def _lines(journal: str, found: Status, steps: Sequence[Step]) -> Iterator[str]:
    yield f"Journal: {click.format_filename(journal)}, of {found.target}"
    yield f"{_many(found.rows, 'row')}, {found.on_record:,} on record, " + _many(
        found.attempts, "attempt"
    )
    for state, title in _TITLES.items():
        if found.states[state]:
            yield f"  {title:<18}{found.states[state]:>9,}"
    if found.by_hand:
        yield f"Settled by a person: {found.by_hand:,}"
    if found.gone:
        yield f"Not on record, and not in their file any more: {found.gone:,}"
    if found.oldest is not None:
        yield f"Longest in doubt: {_doubt(found.oldest)}"
    yield "Runs:"
    yield from map(_run, found.runs)
    yield "What to do next:" if steps else "Nothing is left to do."
    for step in steps:
        yield f"  {step.what}:"
        yield from (f"    {line}" for line in step.commands)


def _doubt(doubt: Doubt) -> str:
    where = f"line {doubt.line} of {_file(doubt.file)}, key {doubt.key}"
    if doubt.since is None or doubt.age is None:
        return f"{where}, since when nobody knows: the clock went back"
    old = ", too old to be sent again" if doubt.too_old else ""
    return f"{where}, since {_moment(doubt.since)} ({age_in_words(doubt.age)}{old})"


def _run(run: PastRun) -> str:
    how = run.ended or "did not end"
    why = f" ({run.reason})" if run.reason else ""
    counts = {title: run.count(state) for state, title in _TITLES.items()}
    counts |= {name: run.count(name) for name in ("invalid", "duplicates")}
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    head = f"  {run.number}  {_moment(run.began_at)}  {_file(run.file)}  {how}{why}"
    return f"{head}: {told}" if told else head


def _document(journal: str, found: Status, steps: Sequence[Step]) -> dict[str, object]:
    """Return all of it as one JSON object; times are in UTC, ages in seconds."""
    import attrs

    oldest = found.oldest
    return {
        "journal": click.format_filename(journal),
        "target": found.target,
        "rows": found.rows,
        "on_record": found.on_record,
        **{state: found.states[state] for state in _TITLES},
        "by_hand": found.by_hand,
        "gone": found.gone,
        "too_old": found.too_old,
        "attempts": found.attempts,
        "oldest": None
        if oldest is None
        else {
            **attrs.asdict(oldest),
            "file": _file(oldest.file),
            "since": None if oldest.since is None else _moment(oldest.since),
        },
        "runs": [
            {
                **attrs.asdict(run),
                "file": _file(run.file),
                "began_at": _moment(run.began_at),
                "ended_at": None if run.ended_at is None else _moment(run.ended_at),
            }
            for run in found.runs
        ],
        "next": [attrs.asdict(step) for step in steps],
    }


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _file(file: str | None) -> str:
    return "-" if file is None else click.format_filename(file)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
