"""Where a run's payments stand, and how it went, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from carevalidate_async._run.groups import EARLIER
from carevalidate_async._run.units import brief, lasting, many, rounded
from carevalidate_async.journal import Duplicates, Ending

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carevalidate_async._run.counts import Summary
    from carevalidate_async._run.groups import Group
    from carevalidate_async._run.tiles import Span

TITLES: Mapping[str, str] = {
    "confirmed": "confirmed",
    "already_recorded": "on record already",
    "unknown": "unknown",
    "not_sent": "not sent",
    "rejected": "rejected",
    "invalid": "invalid",
    "duplicates": "duplicates",
}
"""The outcomes of rows as people call them, the best first, and then the most pressing."""

_MEANINGS: Mapping[str, str] = {
    "confirmed": "recorded by the vendor, in this run or an earlier one",
    "already_recorded": "known to the vendor by key: from a request whose answer was lost, an "
    "earlier run, or elsewhere",
    "unknown": "may or may not be on record",
    "rejected": "the vendor said no and recorded nothing",
    "invalid": "refused here, and not sent",
    "duplicates": "repeats of earlier rows, not sent",
    "not_sent": "not on record",
}
_ERRORS: Mapping[str | None, str] = {
    "APIConnectionError": "the vendor could not be reached",
    "APITimeoutError": "no answer came in time",
    "AnswerLostError": "the answer was lost on its way",
    "ClientClosedError": "the run ended before it was sent",
    "ResponseDecodeError": "the answer could not be read",
}
_WITHOUT_ERROR: Mapping[str | None, str] = {
    "duplicates": "the file has the payment twice",
    "invalid": "refused here",
    None: "something else",
}
_ENDINGS: Mapping[Ending, str] = {
    Ending.COMPLETE: "Finished",
    Ending.INTERRUPTED: "Interrupted",
    Ending.STOPPED_EARLY: "Ended early",
}
_WELL = frozenset({"confirmed", "already_recorded"})


@attrs.frozen(kw_only=True)
class Place:
    """
    What is to be said of the rows of one outcome.

    Attributes:
        name: The name that the summary counts them under.

        title: What people call it.

        count: Rows.

        meaning: What is known about them.

        needs_a_look: Whether anything is to be done about them.
    """

    name: str
    title: str
    count: int
    meaning: str
    needs_a_look: bool


def places(summary: Summary) -> Sequence[Place]:
    """Return the outcomes that rows have: those that are well, then those that are not."""
    found = [
        Place(
            name=name,
            title=title,
            count=count,
            meaning=_MEANINGS[name],
            needs_a_look=name not in _WELL,
        )
        for name, title in TITLES.items()
        if (count := getattr(summary.counts, name))
    ]
    wanted = [_as_wanted(place, summary) for place in found]
    return sorted(wanted, key=lambda place: place.needs_a_look)


def _as_wanted(place: Place, summary: Summary) -> Place:
    """Return *place*, with nothing to be done where the run was told to leave its rows so."""
    if place.name == "not_sent" and summary.rehearsal:
        meaning = "checked, and fit to be sent"
        return attrs.evolve(place, title="would be sent", meaning=meaning, needs_a_look=False)
    if place.name == "duplicates" and summary.duplicates is Duplicates.ONCE:
        meaning = "payments of earlier rows, sent once"
        return attrs.evolve(place, meaning=meaning, needs_a_look=False)
    return place


def headline(summary: Summary) -> str:
    """Return in one sentence where the payments stand."""
    counts = summary.counts
    payments, read = counts.rows, "" if summary.whole else " read so far"
    if summary.duplicates is Duplicates.ONCE:
        payments -= counts.duplicates  # a payment that the file has twice is one payment
    if not payments:
        return "No payment was read." if read else "The file has no payments."
    if summary.rehearsal:
        return f"Dry run, nothing was sent: {_rehearsed(summary, payments, read)}."
    if payments == 1:
        return f"The one payment{read} {_fate(summary)}."
    good = counts.on_record
    if good == payments:
        return f"All {payments:,} payments{read} are on record."
    part = f"{good:,}" if good else "None"
    rest = [
        *_clause(counts.unknown, "may or may not be"),
        *_clause(counts.not_sent, "was not sent", "were not sent"),
        *_clause(_for_a_person(summary), "needs a person", "need a person"),
    ]
    be = "is" if good == 1 else "are"
    on_record = "on record" if good or not counts.unknown else "known to be on record"
    return f"{part} of {payments:,} payments{read} {be} {on_record}; {_listed(rest)}."


def ending(summary: Summary) -> str:
    """Return how the run ended: a word or two, how long it took, its exit status and why that."""
    how = _ENDINGS[summary.ending]
    status = summary.exit_status
    can_be_sent = "can be sent" if summary.rehearsal else "is on record"
    every = f"every row {can_be_sent}" if summary.counts.rows else "the file has no rows"
    why = {
        0: every,
        1: f"not {every}",
        2: "the vendor refused the API key, and nothing was recorded",
        130: "stopped from outside",
    }[status]
    if status == 1 and _all_well(summary):
        short = "the run did not get to the end"
        why = f"{every}, but something else went wrong" if summary.whole else short
    took = lasting(summary.elapsed)
    when = took.replace("under", "in under") if took.startswith("under") else f"after {took}"
    return f"{how} {when}, with exit status {status}: {why}."


def unread(summary: Summary) -> str:
    """Return which rows of the file were not read, where it was not read to its end."""
    rows = (summary.estimated_rows or 0) - summary.counts.rows
    return f"about {many(rows, 'row')} not read" if rows > 0 else "the rest of the file not read"


def extent(summary: Summary) -> str:
    """Return what all rows are that are counted."""
    if summary.whole:
        return "rows of the file"
    of = f", of about {summary.estimated_rows:,}" if summary.estimated_rows else ""
    return f"rows read so far{of}"


def glance(summary: Summary, whole: Span) -> Sequence[tuple[str, str, str]]:
    """
    Return the numbers of a run that are looked for first: what, how much, and what else of it.

    Args:
        summary: How it went.

        whole: All of it.
    """
    found = []
    if not summary.whole:
        rows = (summary.estimated_rows or 0) - summary.counts.rows
        read = f"{many(summary.counts.rows, 'row was', 'rows were')} read"
        found.append(("Rows not read", f"about {rows:,}" if rows > 0 else "not known", read))
    if whole.requests:
        done = whole.on_record
        found.append(
            (
                "On record, on average",
                f"{rounded(whole.per_second(done))} /s",
                f"{many(done, 'payment')} in {lasting(whole.seconds)}",
            )
        )
    if whole.latency is not None:
        p50, p95, p99 = map(brief, (whole.latency.p50, whole.latency.p95, whole.latency.p99))
        found.append(("Median answer", p50, f"95 % within {p95}, 99 % within {p99}"))
    if whole.requests:
        again = many(summary.retries, "retry", "retries") if summary.retries else "no retries"
        found.append(("Requests", f"{whole.requests:,}", f"{again} among them"))
    return found


def trouble(group: Group) -> str:
    """Return what the rows of a group met."""
    return f"{_met(group)}{EARLIER if group.doubt_is_older else ''}"


def either(names: Sequence[str]) -> str:
    """Return *names* as a choice."""
    *before, last = names
    return f"{', '.join(before)} or {last}" if before else last


def _met(group: Group) -> str:
    if group.status is not None and group.error not in _ERRORS:
        return f"the vendor answered {group.status}{f', {group.code}' if group.code else ''}"
    if group.error is not None:
        return _ERRORS.get(group.error, group.error)
    told = [_WITHOUT_ERROR.get(group.outcome), group.code]
    return ": ".join(text for text in told if text) or TITLES[group.outcome or "unknown"]


def _for_a_person(summary: Summary) -> int:
    counts = summary.counts
    repeated = 0 if summary.duplicates is Duplicates.ONCE else counts.duplicates
    return counts.rejected + counts.invalid + repeated


def _all_well(summary: Summary) -> bool:
    failed = summary.counts.unknown + _for_a_person(summary)
    return not failed and (summary.rehearsal or not summary.counts.not_sent)


def _rehearsed(summary: Summary, payments: int, read: str) -> str:
    counts = summary.counts
    if counts.not_sent == payments:
        whole = f"all {payments:,} payments" if payments > 1 else "the one payment"
        return f"{whole}{read} can be sent"
    of = f"{counts.not_sent:,}" if counts.not_sent else "none"
    return _listed(
        [
            f"{of} of {payments:,} payments{read} can be sent",
            *_clause(counts.on_record, "is on record already", "are on record already"),
            *_clause(counts.unknown, "may or may not be on record"),
            *_clause(_for_a_person(summary), "needs a person", "need a person"),
        ]
    )


def _fate(summary: Summary) -> str:
    """Return what became of the only payment."""
    counts = summary.counts
    if counts.on_record:
        return "is on record"
    if counts.unknown:
        return "may or may not be on record"
    return "was not sent" if counts.not_sent else "is not on record and needs a person"


def _clause(count: int, one: str, more: str | None = None) -> list[str]:
    return [f"{count:,} {one if count == 1 else more or one}"] if count else []


def _listed(clauses: Sequence[str]) -> str:
    *before, last = clauses
    return f"{', '.join(before)} and {last}" if before else last
