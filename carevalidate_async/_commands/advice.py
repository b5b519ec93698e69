"""What to do next about a journal, with the commands to type."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import attrs
import click

from carevalidate_async.carevalidate import ORIGINS
from carevalidate_async.journal._records import State
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
        reasons = list(self._reasons_to_resume())
        if reasons:
            yield Step(f"run the same again: {'; '.join(reasons)}", self._resume())
        if status.too_old:
            yield Step(
                f"{_rows(status.too_old)} may or may not be on record, and their keys are too old "
                "to be sent again: look the payments up at the vendor, and say what each one is",
                [*self._exports(State.UNKNOWN), *map(self._settle, ("recorded", "not-recorded"))],
            )
        if status.states[State.REJECTED]:
            yield Step(
                f"{_rows(status.states[State.REJECTED])} refused by the vendor, which recorded "
                "nothing: correct them in the file that this writes, and run that with this "
                "journal",
                self._exports(State.REJECTED),
            )

        for run in status.to_correct:
            yield from self._to_correct(run)

    def _to_correct(self, run: PastRun) -> Iterator[Step]:
        file = run.file or "FILE"
        if run.count("invalid"):
            output = f"invalid{_ending(file)}"
            options = ("--state", "invalid", "--file", file, "--output", output)
            yield Step(
                f"{_rows(run.count('invalid'))} of {click.format_filename(file)} cannot be sent: "
                "correct them in the file that this writes, and run that with this journal",
                [_command("export", self.journal, *options)],
            )
        if run.count("to_decide"):
            again = [
                f"{self._confirm(run.file)} --duplicates {which}" for which in ("once", "each")
            ]
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

    def _confirm(self, file: str | None) -> str:
        target = self.status.target
        names = [name for name, origin in ORIGINS.items() if origin == target]
        where = ["--environment", *names] if names else ["--base-url", target]
        where = ["--sandbox"] if target == "sandbox" else where
        return _command("confirm", file or "-", *where, "--journal", self.journal)

    def _exports(self, state: State) -> list[str]:
        found = [file for s in _alike(state) for file in self.status.files.get(s, ())]
        files = list(dict.fromkeys(found))
        several = len(files) > 1
        commands = []
        for number, file in enumerate(files, 1):
            output = f"{state}-{number}{_ending(file)}" if several else f"{state}{_ending(file)}"
            named = ["--file", file or "FILE"] if several or file is None else []
            options = ("--state", state, *named, "--output", output)
            commands.append(_command("export", self.journal, *options))
        return commands

    def _settle(self, finding: str) -> str:
        return _command("settle", self.journal, "KEY", "--as", finding)


def _alike(state: State) -> Sequence[State]:
    return (State.PLANNED, State.UNKNOWN) if state is State.UNKNOWN else (state,)


def _ending(file: str | None) -> str:
    return ".jsonl" if file and ".json" in file.lower() else ".csv"


def _end(run: PastRun) -> str:
    if run.ended is None:
        return "did not end (it was killed, or the machine failed)"
    if run.ended is Ending.INTERRUPTED:
        return "was interrupted"
    return f"ended early ({run.reason})"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _command(*words: str) -> str:
    return shlex.join(["carevalidate", *map(click.format_filename, words)])
