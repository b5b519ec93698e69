"""Where a run's payments stand, and what to do about it, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from carevalidate_async._run.units import lasting
from carevalidate_async.journal import Duplicates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carevalidate_async._run.counts import Summary
    from carevalidate_async._run.groups import Group

TITLES: Mapping[str, str] = {
    "confirmed": "confirmed",
    "already_recorded": "on record already",
    "unknown": "unknown",
    "rejected": "rejected",
    "invalid": "invalid",
    "duplicates": "duplicates",
    "not_sent": "not sent",
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
_STEPS: Mapping[str, str] = {
    "unknown": "Run the same command again, the rows as they are: it asks under the same keys, so "
    "that nothing is recorded twice. Where a key is too old to be sent again, look the payment up "
    "at the vendor.",
    "rejected": "To be corrected and run again.",
    "invalid": "To be corrected and run again.",
    "duplicates": "Run the file again, with `--duplicates once` where they are the same "
    "payments, with `--duplicates each` where they are payments of their own.",
    "not_sent": "Run the same command again.",
}


@attrs.frozen(kw_only=True)
class Place:
    """
    What is to be said of the rows of one outcome.

    Attributes:
        name: The name that the summary counts them under.

        title: What people call it.

        count: Rows.

        meaning: What is known about them.

        step: What to do about them; None where nothing is to be done.
    """

    name: str
    title: str
    count: int
    meaning: str
    step: str | None


def places(summary: Summary) -> Sequence[Place]:
    """Return the outcomes that rows have: those that are well, then those that are not."""
    found = [
        Place(
            name=name,
            title=title,
            count=count,
            meaning=_MEANINGS[name],
            step=_STEPS.get(name),
        )
        for name, title in TITLES.items()
        if (count := getattr(summary.counts, name))
    ]
    wanted = [_as_wanted(place, summary) for place in found]
    return sorted(wanted, key=lambda place: place.step is not None)


def _as_wanted(place: Place, summary: Summary) -> Place:
    """Return *place*, with nothing to be done where the run was told to leave its rows so."""
    if place.name == "not_sent" and summary.rehearsal:
        meaning = "checked, and fit to be sent"
        return attrs.evolve(place, title="would be sent", meaning=meaning, step=None)
    if place.name == "duplicates" and summary.duplicates is Duplicates.ONCE:
        return attrs.evolve(place, meaning="payments of earlier rows, sent once", step=None)
    return place


def headline(summary: Summary) -> str:
    """Return in one sentence where the payments stand."""
    counts = summary.counts
    payments, read = counts.rows, " read so far" if _cut_short(summary) else ""
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
    how = "Interrupted" if summary.interrupted else "Finished"
    if summary.stopped_by is not None and not summary.interrupted:
        how = "Ended early"
    status = summary.exit_status
    why = {
        0: "every row can be sent" if summary.rehearsal else "every row is on record",
        1: "not every row can be sent" if summary.rehearsal else "not every row is on record",
        2: "the vendor refused the API key, and nothing was recorded",
        130: "stopped from outside",
    }[status]
    if status == 1 and _all_well(summary):
        why = "the run did not get to the end"
    return f"{how} after {lasting(summary.elapsed)}, with exit status {status}: {why}."


def steps(summary: Summary) -> Sequence[str]:
    """Return what to do about the run as a whole; `places` say what to do about its rows."""
    found = []
    if summary.stopped_by is not None:
        found.append(
            f"The run ended early: {summary.stopped_by}. See to that first, then run the same "
            "command again."
        )
    if summary.interrupted:
        found.append(
            "The run was interrupted. Rows that were not read yet are not counted here; the same "
            "command goes on where this one was stopped."
        )
    return found


def trouble(group: Group) -> str:
    """Return what the rows of a group met."""
    if group.status is not None and group.error not in _ERRORS:
        return f"the vendor answered {group.status}{f', {group.code}' if group.code else ''}"
    if group.error is not None:
        return _ERRORS.get(group.error, group.error)
    told = [_WITHOUT_ERROR.get(group.outcome), group.code]
    return ": ".join(text for text in told if text) or TITLES[group.outcome or "unknown"]


def _cut_short(summary: Summary) -> bool:
    return summary.interrupted or summary.stopped_by is not None


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
