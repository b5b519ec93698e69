"""What the command ``confirm`` says: while it runs, and at its end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

import click

from carevalidate_async._commands.output import name_of, one_line, say
from carevalidate_async._run.units import rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carevalidate_async._commands.progress import Display
    from carevalidate_async._files.rows import RowReader
    from carevalidate_async._run.counts import Counts, Summary, Trouble
    from carevalidate_async._run.sight import Sight
    from carevalidate_async.bulk import Pace
    from carevalidate_async.models import PaymentConfirmation

SHOWN_PROBLEMS = 20
"""Rows that are named one by one; the rest are counted."""

_TITLES: Mapping[str, str] = {
    "confirmed": "confirmed",
    "already_recorded": "on record already",
    "rejected": "rejected",
    "invalid": "invalid",
    "duplicates": "duplicates",
    "unknown": "unknown",
    "not_sent": "not sent",
}
_NEXT_STEPS: Mapping[str, str] = {
    "rejected": "the vendor said no and recorded nothing: correct them and run them again",
    "invalid": "refused here, not sent: correct them and run them again",
    "duplicates": "the file has them twice, and the later ones were not sent: run the file again "
    "with --duplicates once if they are the same payment, --duplicates each if they are payments "
    "of their own",
    "unknown": "may or may not be on record: run the same command again, which asks under the same "
    "keys, so that nothing is recorded twice; where a key is too old, look the payment up first",
    "not_sent": "not on record: run the same command again",
}


class Voice:
    """
    Says what a run does; a `carevalidate_async._run.sight.Watcher`.

    Args:
        display: For everything but results.

        results: Where a rehearsal's results go.
    """

    def __init__(self, display: Display, *, results: TextIO | None) -> None:
        self._display = display
        self._results = results
        self._problems = 0

    def progress(self, sight: Callable[[], Sight], *, at_once: bool = False) -> None:
        """Show how far the run is."""
        self._display.update(sight, at_once=at_once)

    def paced(self, pace: Pace) -> None:
        """Say nothing: what matters of it is a note, the rest is in sight."""

    def problem(self, found: Trouble) -> None:
        """Name a row that needs another look, or only count it after the first ones."""
        self._problems += 1
        if self._problems <= SHOWN_PROBLEMS:
            self._display.say(one_line(f"line {found.line}: {found.text}"))

    def would_send(self, line: int, key: str, payment: PaymentConfirmation) -> None:
        """Print what a run would send."""
        what = f"would send {payment.status} {payment.amount} USD under {key}"
        self.result(f"dry run: line {line}: {what}")

    def result(self, text: str) -> None:
        """Print a line of results."""
        self._display.result(text, self._results)

    def note(self, text: str) -> None:
        """Say something about the run as a whole."""
        self._display.say(one_line(text))

    def end(self) -> None:
        """Say how many rows were not named."""
        if self._problems > SHOWN_PROBLEMS:
            more = self._problems - SHOWN_PROBLEMS
            rows = "row that needs" if more == 1 else "rows that need"
            self.note(f"... and {more:,} more {rows} a look")


def note_ignored(reader: RowReader, note: Callable[[str], None]) -> None:
    """Say which columns were ignored."""
    if reader.ignored:
        names = ", ".join(" ".join(name.split()) for name in reader.ignored)  # on one line
        note(f"Ignored, since no field is called so: {names}")


def show_summary(
    summary: Summary,
    stream: TextIO | None,
    *,
    journal: str | None,
    rejects: str | None,
    report: str | None,
) -> None:
    """
    Print how a run went and what to do next.

    Args:
        summary: Of the run.

        stream: Where to.

        journal: Where it is, None for a rehearsal.

        rejects: Where rows to be corrected went, None for nowhere.

        report: Where its page is, None for nowhere.
    """
    lines = [*_counted(summary), *_next_steps(summary)]
    if rejects is not None and summary.counts.rejectable:
        lines.append(f"Rows to be corrected: {name_of(rejects)}")
    if report is not None:
        lines.append(f"Report: {name_of(report)}")
    if journal is not None:
        lines.append(f"Journal: {name_of(journal)}")
    if summary.interrupted:
        lines.append("Interrupted: the same command resumes.")
    if summary.rehearsal:
        lines.append("dry run: nothing was sent")
    say("\n".join(lines), stream)
    if summary.stopped_by is not None:
        say(f"Error: {one_line(summary.stopped_by)}", sys.stderr)


def _counted(summary: Summary) -> list[str]:
    counts, elapsed = summary.counts, summary.elapsed
    rate = counts.rows / elapsed if elapsed > 0 else 0.0
    head = f"{_many(counts.rows, 'row')} in {elapsed:.1f} s ({rounded(rate)} rows/s)"
    lines = [f"{head}, {_many(counts.attempts, 'attempt')}"]
    lines += [f"  {_title(name, summary):<18}{count:>9,}" for name, count in _shown(counts).items()]
    if summary.known:
        lines.append(f"Not sent again, since an earlier run put them on record: {summary.known:,}")
    if not summary.whole:
        lines.append(f"Not read, and not counted: {_unread(summary)}")
    elif not counts.rows:
        lines.append("There was nothing to send: the input has no rows")
    return lines


def _unread(summary: Summary) -> str:
    rows = summary.estimated_rows
    if rows is None or rows <= summary.counts.rows:
        return "what else the input may have"
    return f"about {_many(rows - summary.counts.rows, 'row')} of about {rows:,}"


def _next_steps(summary: Summary) -> list[str]:
    from carevalidate_async.journal import Duplicates

    # What was wanted to stay unsent needs no step.
    done = {"not_sent"} if summary.rehearsal else set()
    done |= {"duplicates"} if summary.duplicates is Duplicates.ONCE else set()
    names = [name for name in _NEXT_STEPS if name in _shown(summary.counts) and name not in done]
    steps = [f"  {_title(name, summary)}: {_NEXT_STEPS[name]}" for name in names]
    return ["What to do next:", *steps] if steps else []


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _shown(counts: Counts) -> dict[str, int]:
    return {name: count for name in _TITLES if (count := getattr(counts, name))}


def _title(name: str, summary: Summary) -> str:
    return "would be sent" if summary.rehearsal and name == "not_sent" else _TITLES[name]


def summary_document(
    summary: Summary,
    journal: str | None,
    *,
    rejects: str | None = None,
    report: str | None = None,
) -> dict[str, object]:
    """Return how a run went as one JSON object; `show_summary` says what is what."""
    import attrs

    rows, seconds = summary.counts.rows, round(summary.elapsed, 3)
    return {
        **attrs.asdict(summary.counts),
        "elapsed_s": seconds,
        "rows_per_s": round(rows / summary.elapsed, 3) if summary.elapsed > 0 else 0.0,
        "journal": _path(journal),
        "exit_status": summary.exit_status,
        "ending": str(summary.ending),
        "stopped_by": summary.stopped_by,
        "dry_run": summary.rehearsal,
        "already_known": summary.known,
        "retries": summary.retries,
        "whole": summary.whole,
        "estimated_rows": summary.estimated_rows,
        "rejects": _path(rejects),
        "report": _path(report),
    }


def _path(path: str | None) -> str | None:
    # A name may hold bytes that are no text.
    return None if path is None else click.format_filename(path)
