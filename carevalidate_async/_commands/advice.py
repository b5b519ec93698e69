"""What to do next about a journal, with the commands to type."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain, count

import attrs
import click

from carevalidate_async._run.typed import Commands, ending_like
from carevalidate_async.journal._records import Duplicates, State
from carevalidate_async.journal._runs import Ending, PastRun
from carevalidate_async.journal._status import Status


@attrs.frozen
class Step:
    """
    Something to do.

    Attributes:
        what: Why, and what it does.

        commands: One after the other.
    """

    what: str
    commands: Sequence[str]


@attrs.frozen(kw_only=True)
class Advice:
    """
    What to do about a journal.

    Args:
        journal: Its path, as it was given.

        status: Where its rows are.
    """

    journal: str
    status: Status

    def steps(self) -> Iterator[Step]:
        """Yield what to do next; nothing where every row is on record."""
        status = self.status
        outputs = _Outputs(status.runs)
        reasons = list(self._reasons_to_resume())
        if reasons:
            yield Step(f"run the same again: {'; '.join(reasons)}", self._resume())
        if status.too_old:
            yield Step(
                f"{_rows(status.too_old)} may or may not be on record, and their keys are too old "
                "to be sent again: look the payments up at the vendor, and say what each one is",
                [
                    *self._exports(State.UNKNOWN, outputs),
                    *map(self._commands.settle, ("recorded", "not-recorded")),
                ],
            )
        if status.states[State.REJECTED]:
            files = list(dict.fromkeys(status.files[State.REJECTED]))
            yield Step(
                f"{_rows(status.states[State.REJECTED])} refused by the vendor, which recorded "
                "nothing: this writes which ones, and why; correct them where they came from, and "
                "run that again",
                [*self._exports(State.REJECTED, outputs), *map(self._confirm, files)],
            )

        for run in status.to_correct:
            yield from self._to_correct(run, outputs)

    def _to_correct(self, run: PastRun, outputs: _Outputs) -> Iterator[Step]:
        file = run.file or "FILE"
        if run.count("invalid"):
            export = self._commands.export(
                ["invalid"], output=outputs.name("invalid", file), file=file
            )
            yield Step(
                f"{_rows(run.count('invalid'))} of {click.format_filename(file)} cannot be sent: "
                "this writes which ones, and why; correct them there, and run it again",
                [export, self._confirm(run.file)],
            )
        if run.count("to_decide"):
            again = [self._confirm(run.file, which) for which in (Duplicates.ONCE, Duplicates.EACH)]
            yield Step(
                f"{_rows(run.count('to_decide'))} of {click.format_filename(file)} equal to others "
                "and not sent: say whether they are the same payments, or payments of their own",
                again,
            )

    def _reasons_to_resume(self) -> Iterator[str]:
        status = self.status
        for run in status.unfinished:
            yield f"run {run.number} {_end(run)}, and may have left rows unread"
        if status.in_doubt > status.too_old:
            count = _rows(status.in_doubt - status.too_old)
            yield f"{count} may or may not be on record, and keep their keys"
        if status.states[State.NOT_SENT]:
            yield f"{_rows(status.states[State.NOT_SENT])} surely not on record"

    def _resume(self) -> list[str]:
        files = [run.file for run in self.status.unfinished]
        for state in (State.PLANNED, State.UNKNOWN, State.NOT_SENT):
            files += self.status.files.get(state, ())
        return [self._confirm(file) for file in dict.fromkeys(files)]

    @property
    def _commands(self) -> Commands:
        status = self.status
        return Commands(target=status.target, journal=self.journal, max_key_age=status.max_key_age)

    def _confirm(self, file: str | None, duplicates: Duplicates | None = None) -> str:
        """Return how to run a file again, as it was run the last time."""
        last = next((run for run in reversed(self.status.runs) if run.file == file), None)
        if duplicates is None and last is not None:
            duplicates = last.duplicates
        return self._commands.confirm(file or "-", duplicates=duplicates)

    def _exports(self, state: State, outputs: _Outputs) -> list[str]:
        found = [file for s in _alike(state) for file in self.status.files.get(s, ())]
        files = list(dict.fromkeys(found))
        return [
            self._commands.export(
                [state],
                output=outputs.name(state, file),
                file=(file or "FILE") if len(files) > 1 or file is None else None,
            )
            for file in files
        ]


class _Outputs:
    """Names of files to be written, none of which a run had or another command writes."""

    def __init__(self, runs: Sequence[PastRun]) -> None:
        self._taken = {os.path.basename(run.file) for run in runs if run.file is not None}

    def name(self, stem: str, file: str | None) -> str:
        """Return a name for rows of *file*."""
        numbers = chain([""], (f"-{number}" for number in count(2)))
        names = (f"{stem}{number}{ending_like(file)}" for number in numbers)
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        return name


def _alike(state: State) -> Sequence[State]:
    return (State.PLANNED, State.UNKNOWN) if state is State.UNKNOWN else (state,)


def _end(run: PastRun) -> str:
    if run.ended is None:
        return "did not end (it was killed, or the machine failed)"
    if run.ended is Ending.INTERRUPTED:
        return "was interrupted"
    return f"ended early ({run.reason})"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
