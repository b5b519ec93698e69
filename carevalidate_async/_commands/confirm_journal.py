"""The journal of the command ``confirm``: where it is, its beginning, its end, and what to say."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from typing import TYPE_CHECKING

import click

from carevalidate_async._commands.command import Options, StopError
from carevalidate_async._commands.output import name_of, one_line, say

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from carevalidate_async._run.counts import Summary
    from carevalidate_async._secret import Secret
    from carevalidate_async.journal import Journal

ROTATED_KEY = click.option(
    "--rotated-key",
    is_flag=True,
    help="The API key is a new one of the organization that the journal was begun for.",
)


def target_of(options: Options) -> str:
    """Return what the journal is bound to: the origin, or the word sandbox."""
    from carevalidate_async._config import checked_origin
    from carevalidate_async.carevalidate import origin_of

    if options["sandbox"]:
        return "sandbox"
    origin = origin_of(options["environment"], options["base_url"])
    return checked_origin(origin, allow_insecure=False)


def journal_path(file: str, target: str, options: Options, kind: str = "journal") -> str:
    """Return where the journal is, or with another *kind* the queue; a rehearsal's is nowhere."""
    from carevalidate_async.carevalidate import ORIGINS

    if options["journal"]:
        return str(options["journal"])
    name = next((name for name, origin in ORIGINS.items() if origin == target), None)
    label = name or re.sub(r"[^A-Za-z0-9.]+", "-", target.partition("://")[2] or target)
    path = f"{'stdin' if file == '-' else file}.{label}.{kind}"
    if not options["sandbox"]:
        return path
    if options["dry_run"]:
        return ""  # a rehearsal starts clean each time; its sandbox forgets everything too
    return os.path.join(tempfile.mkdtemp(prefix="carevalidate-"), os.path.basename(path))


def check_kind(path: str, *, wants_folder: bool) -> None:
    """
    Look whether a journal can be at *path*, or a queue, which is a folder.

    Raises:
        StopError: There is the other one.
    """
    if os.path.exists(path) and os.path.isdir(path) != wants_folder:
        kind = "is no folder, as a queue is" if wants_folder else "is a folder, and no journal"
        raise StopError(f"--journal: {name_of(path)} {kind}")


async def open_journal(
    stack: contextlib.AsyncExitStack, path: str, target: str, file: str, options: Options
) -> Journal:
    """Return the journal at *path*, which *stack* closes, for a run of *file*."""
    from carevalidate_async.journal import Journal, JournalError

    journal = Journal(
        path,
        target=target,
        rehearse=options["dry_run"],
        file=_named(file),
        secret=None if options["sandbox"] else _secret(),
        rotated=options["rotated_key"],
        max_key_age=options["max_key_age"],
    )
    try:
        return await stack.enter_async_context(journal)
    except JournalError as error:
        raise StopError(one_line(str(error))) from None


def note_beginning(journal: Journal, file: str, note: Callable[[str], None]) -> None:
    """Say what file the journal was begun with, where that is another one."""
    if journal.begun_with != _named(file):
        begun_with = journal.begun_with or "standard input"
        note(f"The journal was begun with {name_of(begun_with)}")


def note_old_keys(journal: Journal, note: Callable[[str], None]) -> None:
    """Say what to do about rows that were not asked for again."""
    if journal.too_old:
        note(
            f"Not asked for again: {journal.too_old:,} of the unknown rows, since the vendor may "
            "have forgotten their keys (--max-key-age). Look them up there; what to do then says: "
            + shlex.join(["carevalidate", "status", name_of(journal.path)])
        )


async def end_run(journal: Journal, summary: Summary) -> None:
    """Put down how the run ended; where that cannot be, it is said and changes nothing."""
    import attrs

    from carevalidate_async.journal import Duplicates, JournalError

    counts = attrs.asdict(summary.counts)
    counts["to_decide"] = 0 if summary.duplicates is Duplicates.ONCE else counts["duplicates"]
    try:
        await journal.end(summary.ending, counts, summary.stopped_by)
    except JournalError as error:
        say(f"How the run ended is not in its journal: {one_line(str(error))}", sys.stderr)


def _named(file: str) -> str | None:
    return None if file == "-" else os.path.abspath(file)


def _secret() -> Secret | None:
    """Return the credential, None where there is none: only a rehearsal goes on without."""
    from carevalidate_async._secret import Secret

    variable = "CAREVALIDATE_API_KEY"
    return Secret(os.environ[variable]) if os.environ.get(variable) else None
