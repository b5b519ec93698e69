"""What to do next about a run, the riskiest first, with the commands to type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from carevalidate_async._run.typed import ending_like
from carevalidate_async.journal import Duplicates
from carevalidate_async.report._wording import TITLES, either, places, unread

if TYPE_CHECKING:
    from carevalidate_async._run.counts import Summary
    from carevalidate_async.report._facts import Facts

_BY_RISK = ("unknown", "not_sent", "unread", "rejected", "invalid", "duplicates")
_IN_REJECTS = ("rejected", "invalid", "duplicates")
_IN_JOURNAL = ("unknown", "not_sent", "rejected")
_RESUMED: Mapping[str, tuple[str, str]] = {
    "unknown": (
        (
            "Run the same command again, the rows as they are: it asks under the same keys, so "
            "that nothing is recorded twice."
        ),
        "",
    ),
    "not_sent": ("Run the same command again.", "The same command sends them."),
    "unread": ("The same command goes on where this run stopped.", "The same command reads on."),
}
_REHEARSED: Mapping[str, str] = {
    "unknown": "Those whose keys are too old to be sent again are to be looked up at the vendor.",
    "invalid": "To be corrected.",
    "duplicates": "Run the file with `--duplicates once` where they are the same payments, with "
    "`--duplicates each` where they are payments of their own.",
}


@attrs.frozen
class Deed:
    """
    Something to do.

    Attributes:
        what: In words; what is to be typed stands between backquotes.

        commands: One after the other.
    """

    what: str
    commands: Sequence[str] = ()


@attrs.frozen(kw_only=True)
class Step:
    """
    What to do about some rows.

    Attributes:
        about: The rows; nothing for the run as a whole.

        known: What is known about them.

        deeds: One after the other.
    """

    about: str = ""
    known: str = ""
    deeds: Sequence[Deed]


def cause(summary: Summary) -> str | None:
    """Return what ended the run early; None where nothing did."""
    if summary.stopped_by is None:
        return None
    return f"The run ended early: {summary.stopped_by}. See to that first."


def steps(summary: Summary, facts: Facts) -> Sequence[Step]:
    """
    Return what to do next; nothing where nothing is left to be done.

    Args:
        summary: How the run went.

        facts: What it was asked to do.
    """
    advice = _Advice(None if facts.journal is None else _Typed(summary, facts))
    wanting = {place.name: place for place in places(summary) if place.needs_a_look}
    found = []
    for name in _BY_RISK:
        if name in wanting:
            place = wanting[name]
            about = f"{place.count:,} {place.title}"
            found.append(Step(about=about, known=place.meaning, deeds=advice.about(name)))
        elif name == "unread" and not summary.whole:
            known = "not counted here"
            found.append(Step(about=unread(summary), known=known, deeds=advice.about(name)))
    if not found and summary.stopped_by is not None:
        found.append(Step(deeds=advice.about("nothing")))
    return found


def elsewhere(summary: Summary, facts: Facts) -> Sequence[Deed]:
    """Return where all rows are that need a look, for a page that lists but some of them."""
    names = [place.name for place in places(summary) if place.needs_a_look]
    if facts.journal is None:
        which = _which(names, _IN_REJECTS)
        return [Deed(f"Run without `--dry-run` and with `--rejects PATH` for {which}.")]
    rejected = [name for name in names if name in _IN_REJECTS]
    kept = [name for name in names if name in _IN_JOURNAL]
    if facts.rejects is not None:
        kept = [name for name in kept if name not in rejected]
    found = []
    if facts.rejects is not None and rejected:
        found.append(Deed(f"The rejects file has {_which(names, rejected, 'them all')}."))
    if kept:
        command = _Typed(summary, facts).export(kept)
        text = f"The journal has {_which(names, kept, 'them all')}, and this writes them:"
        found.append(Deed(text, [command]))
    left = [name for name in rejected if name not in kept]
    if facts.rejects is None and left:
        found.append(Deed(f"Run with `--rejects PATH` for {_which(names, left)}."))
    return found


class _Typed:
    """Commands to type about a run."""

    def __init__(self, summary: Summary, facts: Facts) -> None:
        self.facts = facts
        self.duplicates = summary.duplicates
        self._commands = facts.commands()

    def again(self, duplicates: Duplicates | None = None) -> str:
        """Return the run's own command, with another way to treat *duplicates*."""
        facts = self.facts
        return self._commands.confirm(
            facts.file,
            duplicates=duplicates or self.duplicates,
            rate=facts.rate,
            rejects=facts.rejects,
        )

    def corrected(self, file: str) -> str:
        """Return the command that runs a file of rows that were corrected."""
        return self._commands.confirm(file)

    def export(self, states: Sequence[str]) -> str:
        """Return the command that writes the rows in these states."""
        source = "FILE" if self.facts.file == "-" else None
        return self._commands.export(states, output=self.exported(states), file=source)

    def exported(self, states: Sequence[str]) -> str:
        """Return the name of the file that `export` writes."""
        return f"{'-'.join(states)}{ending_like(self.facts.file)}"

    def settle(self, finding: str) -> str:
        """Return the command that says of a payment what a person found out."""
        return self._commands.settle(finding)


def _which(names: Sequence[str], some: Sequence[str], everything: str = "all of them") -> str:
    """Return which of the rows in places of these *names* are in *some* of them."""
    if set(names) <= set(some):
        return everything
    return f"all that are {either([TITLES[name] for name in names if name in some])}"


class _Advice:
    """
    What to do about the rows of each place, asked for in the order in which a page tells it.

    Args:
        commands: About the run; None for a rehearsal.
    """

    def __init__(self, commands: _Typed | None) -> None:
        self._commands = commands
        self._resumed = False  # whether the page has told how to go on
        self._corrected = False  # likewise what to do with the rejects file

    def about(self, name: str) -> Sequence[Deed]:
        """Return what to do about the rows of a place, those unread, or where nothing is left."""
        commands = self._commands
        if commands is None:
            return [Deed(_REHEARSED.get(name, "Run the same command again."))]
        match name:
            case "unknown":
                return [self._resume(name, commands), _looked_up(commands)]
            case "rejected" | "invalid":
                return [self._corrections(name, commands)]
            case "duplicates":
                return _decisions(commands)
            case _:
                return [self._resume(name, commands)]

    def _resume(self, name: str, commands: _Typed) -> Deed:
        text, likewise = _RESUMED.get(name, ("Run the same command again.", ""))
        if self._resumed:
            return Deed(likewise)
        self._resumed = True
        return Deed(text, [commands.again()])

    def _corrections(self, state: str, commands: _Typed) -> Deed:
        rejects = commands.facts.rejects
        if rejects is None:
            both = [commands.export([state]), commands.corrected(commands.exported([state]))]
            return Deed("Write such rows to a file, correct them there, and run it:", both)
        if self._corrected:
            return Deed("To be corrected in the same file.")
        self._corrected = True
        return Deed(
            "Correct what is wrong in the rejects file, and run it:", [commands.corrected(rejects)]
        )


def _looked_up(commands: _Typed) -> Deed:
    return Deed(
        "A row that stays unknown since its key is too old to be sent again is to be looked up at "
        "the vendor. Write such rows to a file, with their keys, and say of each key what you "
        "found:",
        [
            commands.export(["unknown"]),
            commands.settle("recorded"),
            commands.settle("not-recorded"),
        ],
    )


def _decisions(commands: _Typed) -> Sequence[Deed]:
    if commands.duplicates is Duplicates.EACH:  # those under one key of their own are left
        return [
            Deed(
                "Delete those that are the same payments, give each of the others a key of its "
                "own, and run the same command again."
            )
        ]
    return [
        Deed("Where they are the same payments, run:", [commands.again(Duplicates.ONCE)]),
        Deed("Where they are payments of their own, run:", [commands.again(Duplicates.EACH)]),
    ]
