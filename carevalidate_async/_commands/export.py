"""The command ``export``: rows of a journal's file, by what became of them, as a file to be run."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import click

from carevalidate_async._commands.command import StopError, command, open_input
from carevalidate_async._commands.files import check_paths
from carevalidate_async._commands.key_age import KEY_AGE_OF_LAST_RUN
from carevalidate_async._commands.manual import Manual
from carevalidate_async._commands.output import mute, name_of, one_line, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from carevalidate_async._files.fields import FileRow
    from carevalidate_async._run.export import Export
    from carevalidate_async.journal._runs import PastRun

_BATCH = 1024  # rows that are looked up together, at most
_MOST_BYTES = 16_777_216  # of memory that they take, the last one aside
_STATES = ("confirmed", "already_recorded", "rejected", "unknown", "not_sent", "invalid")


def _read_states(
    _context: click.Context, _parameter: click.Parameter, given: Sequence[str]
) -> frozenset[str]:
    names = frozenset(name.strip() for text in given for name in text.split(","))
    strange = sorted(names.difference(_STATES))
    if strange:
        known = ", ".join(_STATES)
        raise click.BadParameter(f"{strange[0]!r} is not one of {known}")
    return names


def _complete_states(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return what the last of several states may be, with those before it."""
    before, comma, last = begun.rpartition(",")
    return [f"{before}{comma}{name}" for name in _STATES if name.startswith(last)]


@click.command(
    cls=Manual,
    short_help="Write rows of a journal's file as a file to be run.",
    environment={"TMPDIR": "Where rows wait until all of them can go to standard output."},
    files={
        "JOURNAL": "What confirm keeps beside FILE, such as payments.csv.production.journal.",
        "--output PATH": "The rows, as they stood in their file, and why they are here.",
    },
    statuses={
        0: "all such rows are written",
        1: "the file no longer has some of them, whose keys are named",
        2: "nothing can be written, or not all of it",
        130: "interrupted; what is written is not whole",
    },
    examples={
        "What is in doubt, for a run": "carevalidate export payments.csv.production.journal "
        "\\\n    --state unknown,not_sent --output again.csv",
        "What was refused, to be corrected": "carevalidate export "
        "payments.csv.production.journal \\\n    --state rejected --state invalid > corrected.csv",
    },
    see_also=("status", "settle", "confirm"),
)
@click.argument("journal", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--state",
    "states",
    multiple=True,
    required=True,
    callback=_read_states,
    metavar="STATE",
    shell_complete=_complete_states,
    help=f"Of the rows: {', '.join(_STATES)}. Several with commas, or by giving it again; unknown "
    "has what a killed run had planned, invalid what cannot be sent, with the reason.",
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Where the rows are, - for standard input. Default: the file that the journal names.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="-",
    help="An existing file is replaced. Default: standard output.",
)
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl"]), help="Of text, as for confirm."
)
@KEY_AGE_OF_LAST_RUN
@command
def export(
    journal: str,
    *,
    states: frozenset[str],
    file: str | None,
    output: str,
    form: str | None,
    max_key_age: float | None,
) -> int:
    """
    Write the rows that JOURNAL has in some state, in the format of a rejects file.

    A journal holds keys and digests only; the rows come from their file. What may be on record has
    the key that it was sent under, so that to run what is written settles it and records nothing
    twice. Where that key is older than --max-key-age, its cell says that it is to be decided, and
    no run sends the row until it is.
    """
    from carevalidate_async._run.export import Export
    from carevalidate_async.journal._file import JournalError, open_to_read
    from carevalidate_async.journal._records import State
    from carevalidate_async.journal._runs import past_runs

    wanted = [State(name) for name in states if name != "invalid"]
    if State.UNKNOWN in wanted:
        wanted.append(State.PLANNED)
    try:
        with open_to_read(journal) as db:
            runs = past_runs(db)
            found = Export(
                db,
                runs,
                wanted,
                now=int(time.time()),
                max_key_age=max_key_age,
                invalid="invalid" in states,
            )
            source = file or _only_file(found.runs(), runs)
            check_paths(
                FILE=0 if source == "-" else source,
                journal=journal,
                log=f"{journal}-wal",  # what a killed run left is in there
                output=None if output == "-" else output,
            )
            with _output(output) as path:
                written = _write(found, source, form, path)
            unwritten = _invalid(runs, source) - found.invalid if "invalid" in states else 0
            missing = 0
            for row in found.missing():
                missing += 1
                seen = f"line {row.line} of {_shown(runs[row.run - 1].file)}"
                say(f"not in {_shown(source)}: key {row.key}, last seen in {seen}", sys.stderr)
    except JournalError as error:
        raise StopError(one_line(str(error))) from None
    say(f"{written:,} written, of {_shown(source)}; {missing:,} not found there", sys.stderr)
    if found.unplanned:
        say(f"{found.unplanned:,} rows of it are in no run of this journal yet", sys.stderr)
    if unwritten > 0:
        say(
            f"{unwritten:,} more were invalid in its last run, but only beside other rows of it, "
            "such as two payments under one key; --rejects of a run has them all",
            sys.stderr,
        )
    return 1 if missing or unwritten > 0 else 0


def _invalid(runs: Sequence[PastRun], source: str) -> int:
    """Return how many rows of a file its last run found invalid."""
    file = None if source == "-" else os.path.abspath(source)
    last = next((run for run in reversed(runs) if run.file == file), None)
    return 0 if last is None else last.count("invalid")


def _only_file(seen: Sequence[int], runs: Sequence[PastRun]) -> str:
    """Return the file that the wanted rows come from, all of which these runs saw last."""
    files = {run.file for run in runs if run.number in seen} or {run.file for run in runs[-1:]}
    named = sorted(map(_shown, files))
    if len(files) != 1:
        told = ", ".join(named)
        raise StopError(f"such rows come from several files; say with --file from which: {told}")
    (file,) = files
    if file is None:
        raise StopError("the rows came from standard input; say with --file where they are now")
    return file


def _write(found: Export, source: str, form: str | None, path: str) -> int:
    """Write the wanted rows of *source*; return how many."""
    from carevalidate_async._files.rejects import Rejects
    from carevalidate_async._files.rows import FileError, FileFormat, RowReader

    written = 0
    with open_input(source) as stream:
        try:
            reader = RowReader(stream, FileFormat(form) if form else None)
            with contextlib.closing(Rejects(path, reader)) as output:
                for batch in _batches(reader):
                    for row in found.take(batch):
                        output.write(row.row, row.problems, row.key)
                        written += 1
        except FileError as error:
            raise StopError(f"{_shown(source)}: {error}") from None
        except OSError as error:
            whole = "; what was written is not whole" if written else ""
            name = _shown(error.filename or source)
            raise StopError(f"{name}: {error.strerror}{whole}") from None
    return written


def _batches(rows: Iterable[FileRow]) -> Iterator[list[FileRow]]:
    """Yield *rows* many at a time, but no more than take a bounded memory."""
    batch: list[FileRow] = []
    room = _MOST_BYTES
    for row in rows:
        batch.append(row)
        room -= row.memory
        if room <= 0 or len(batch) == _BATCH:
            yield batch
            batch, room = [], _MOST_BYTES
    if batch:
        yield batch


@contextlib.contextmanager
def _output(path: str) -> Iterator[str]:
    """Give the name of a file that becomes *path*, - for standard output."""
    if path != "-":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="carevalidate-") as folder:
        name = os.path.join(folder, "export")
        yield name
        with open(name, "rb") as file:
            try:
                shutil.copyfileobj(file, sys.stdout.buffer)
                sys.stdout.buffer.flush()
            except OSError as error:
                mute(sys.stdout)
                raise StopError(f"standard output cannot be written: {error.strerror}") from None


def _shown(file: str | None) -> str:
    return "standard input" if file in {None, "-"} else name_of(str(file))
