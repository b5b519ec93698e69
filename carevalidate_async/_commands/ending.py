"""The last words of a run: its page, its summary, its JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carevalidate_async._commands.output import one_line, print_json, say
from carevalidate_async._commands.voice import show_summary, summary_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carevalidate_async._commands.command import Options
    from carevalidate_async._commands.signals import Stops
    from carevalidate_async._run.counts import Summary
    from carevalidate_async._run.course import Course
    from carevalidate_async.report import Facts


def write_page(options: Options, summary: Summary, course: Course, facts: Facts) -> str | None:
    """Write the page that was asked for; return why it could not be written."""
    from carevalidate_async.report import write_report

    if options["report"] is None:
        return None
    return write_report(options["report"], summary=summary, course=course, facts=facts)


def last_words(
    summary: Summary,
    options: Options,
    stops: Stops,
    *,
    unwritten: str | None,
    journal: str | None,
    rejects: str | None,
    more: Mapping[str, object] | None = None,
) -> int:
    """
    Say how a run went, and return its exit status.

    Args:
        summary: Of the run.

        options: Of the command.

        stops: Told that all is said.

        unwritten: Why its page could not be written.

        journal: Where what is known of it is kept.

        rejects: Where rows to be corrected went.

        more: What else its JSON has.
    """
    report = None if unwritten else options["report"]
    as_json = options["as_json"]
    stream = sys.stderr if as_json else sys.stdout
    show_summary(summary, stream, journal=journal, rejects=rejects, report=report)
    if unwritten:
        say(f"Error: {one_line(unwritten)}", sys.stderr)
    if as_json:
        document = summary_document(summary, journal, rejects=rejects, report=report)
        print_json({**document, **(more or {})})
    stops.told(summary.exit_status)
    return summary.exit_status
