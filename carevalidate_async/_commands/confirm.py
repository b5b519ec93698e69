"""The command ``confirm``: a file of payments, each put on record exactly once."""

from __future__ import annotations

import contextlib
import math
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from carevalidate_async._commands.broker import broker_troubles
from carevalidate_async._commands.command import (
    ATTEMPT_TIMEOUT,
    ENVIRONMENT,
    HOST,
    JSON,
    Options,
    command,
    open_care,
    takes,
)
from carevalidate_async._commands.confirm_journal import (
    ROTATED_KEY,
    check_kind,
    end_run,
    journal_path,
    note_beginning,
    note_old_keys,
    open_journal,
    target_of,
)
from carevalidate_async._commands.ending import last_words, write_page
from carevalidate_async._commands.files import (
    DUPLICATES,
    FORMAT,
    REJECTS,
    REPORT,
    begin_page,
    check_paths,
    close_rejects,
    open_rejects,
    open_rows,
)
from carevalidate_async._commands.key_age import KEY_AGE
from carevalidate_async._commands.manual import CARE, Manual
from carevalidate_async._commands.signals import Stops
from carevalidate_async._commands.voice import Voice, note_ignored

if TYPE_CHECKING:
    from carevalidate_async._files.rows import RowReader


@click.command(
    cls=Manual,
    short_help="Confirm the payments in a file.",
    groups={
        "Where payments go": ("--sandbox", "--base-url", "--environment"),
        "What is kept": ("--journal", "--max-key-age", "--rotated-key"),
        "Rows": ("--format", "--duplicates", "--dry-run"),
        "Pace": (
            *("--concurrency", "--rate", "--adaptive", "--workers"),
            *("--max-attempts", "--attempt-timeout", "--max-outage"),
        ),
        "What comes out": ("--rejects", "--report", "--json"),
    },
    environment={**CARE, "TMPDIR": "Where the temporary folder of --sandbox is made."},
    files={
        "FILE.production.journal": "Beside FILE, unless --journal names another: what was sent, "
        "and what came of it. Its name has the environment, or the host of --base-url. It holds "
        "keys and digests, and no personal data. Keep it: the same command resumes from it.",
        "FILE.production.queue": "The same with --workers: a folder.",
        "--rejects PATH": "Rows to be corrected, as they stood in FILE, and what is wrong.",
        "--report PATH": "The page; it loads nothing, and holds no personal data.",
    },
    statuses={
        0: "every row is on record, or with --dry-run could be sent",
        1: "some row is not",
        2: "the command, its configuration or the file is wrong and nothing was sent, or the API "
        "key was refused and nothing was recorded",
        130: "interrupted, the journal is intact",
    },
    examples={
        "Try it, without an account": "carevalidate confirm payments.csv --sandbox",
        "Check a file, and send nothing": "carevalidate confirm payments.csv --dry-run",
        "Confirm it at staging": "carevalidate confirm payments.csv --environment staging",
        "Keep what was refused, and a page about the run": "carevalidate confirm payments.csv "
        "\\\n    --rejects payments.rejects.csv --report run.html",
        "Have a program read how it goes: the last line is the summary": "carevalidate confirm "
        "payments.csv --json",
        "From a pipe": "gzip -cd payments.csv.gz | carevalidate confirm -",
    },
    see_also=("status", "export", "settle", "enqueue"),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@takes(*HOST, ENVIRONMENT)
@click.option(
    "--journal",
    type=click.Path(),
    help="What was sent, and what came of it. Default: beside FILE; with --sandbox, in a new "
    "temporary folder.",
)
@KEY_AGE
@ROTATED_KEY
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    metavar="N",
    default=64,
    show_default=True,
    help="Payments in flight at once, at most.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Requests begun per second, at most. Default: as many as the vendor takes.",
)
@click.option(
    "--adaptive/--fixed",
    default=True,
    help="Go below --concurrency and --rate where the vendor refuses (429, 503) or slows down, "
    "which is the default; or hold on to both.",
)
@click.option(
    "--max-attempts",
    "asks",
    type=click.IntRange(1),
    metavar="N",
    default=10,
    show_default=True,
    help="For one payment in this run, while its outcome is unknown or the cause may pass.",
)
@click.option(
    "--max-outage",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=300.0,
    show_default=True,
    help="How long to wait for a vendor that is down before the run ends.",
)
@takes(DUPLICATES, REJECTS, REPORT, FORMAT)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Confirm with so many processes, through a queue on this machine that is kept in a "
    "folder (--journal). --concurrency and --rate hold for all of them together.",
)
@click.option("--dry-run", is_flag=True, help="Read and check everything, and send nothing.")
@takes(ATTEMPT_TIMEOUT, JSON)
@command
def confirm(file: str, **options: Any) -> int:  # noqa: ANN401 - click's options
    """
    Confirm the payments in FILE: CSV, JSON Lines or Parquet, - for standard input.

    Text may be compressed with gzip or zstd; what FILE is its first bytes tell, not its name.

    Columns: case_id, amount, payment_date, valid_until, status, and optionally email, phone_number,
    decision_id, description, idempotency_key; also in camelCase. The same command again resumes:
    what is on record is not sent again, all else is asked for again under its own key.
    """
    import asyncio

    if options["workers"] is not None:
        from carevalidate_async._commands.crew import check_options

        check_options(click.get_current_context())
    for name in ("rate", "max_outage"):
        if options[name] is not None and math.isnan(options[name]):
            raise click.UsageError(f"--{name.replace('_', '-')} must be a number")
    with open_rows(file, options["form"]) as (reader, size), Stops() as stops:
        if options["workers"] is not None:
            with broker_troubles():
                return asyncio.run(_with_workers(file, reader, options, stops))
        return asyncio.run(_confirm(file, size, reader, options, stops))


async def _confirm(
    file: str, size: int | None, reader: RowReader, options: Options, stops: Stops
) -> int:
    import attrs

    from carevalidate_async._commands.machine import Machine
    from carevalidate_async._commands.progress import show
    from carevalidate_async._run.counts import Tally
    from carevalidate_async._run.course import Course
    from carevalidate_async._run.file_run import Bounds, FileRun
    from carevalidate_async.journal import Duplicates
    from carevalidate_async.report import Facts

    dry_run = options["dry_run"]
    async with contextlib.AsyncExitStack() as stack:
        # In this order: what can be wrong is found before anything is made or sent.
        target = target_of(options)
        path = journal_path(file, target, options)
        check_kind(path, wants_folder=False)
        rejects_path = None if dry_run else options["rejects"]
        check_paths(
            FILE=0 if file == "-" else file,
            journal=path,
            rejects=rejects_path,
            report=options["report"],
        )
        tally, course = Tally(), Course()
        client = None if dry_run else await open_care(stack, options, hooks=[tally, course])
        journal = await open_journal(stack, path, target, file, options)
        rejects = open_rejects(stack, rejects_path, reader)
        facts = Facts(
            file=file,
            target=target,
            journal=None if dry_run else path,
            rejects=rejects_path,
            began=datetime.now(UTC),
            concurrency=options["concurrency"],
            rate=options["rate"],
            max_key_age=options["max_key_age"],
        )
        begin_page(options["report"], facts)
        display = show(sys.stderr)
        voice = Voice(display, results=sys.stdout)
        watcher = Machine(voice, voice.result) if options["as_json"] else voice
        run = FileRun(
            reader,
            client=client,
            journal=journal,
            watcher=watcher,
            size=size,
            endless=size is None,
            rejects=rejects,
            duplicates=Duplicates(options["duplicates"]),
            bounds=Bounds(
                concurrency=options["concurrency"],
                rate=options["rate"],
                adaptive=options["adaptive"],
                asks=options["asks"],
                max_outage=options["max_outage"],
            ),
            tally=tally,
            course=course,
        )
        stops.begin(run.stop, watcher.note)
        with display:
            note_beginning(journal, file, watcher.note)
            if reader.header:
                note_ignored(reader, watcher.note)
            summary = await (run.rehearse() if dry_run else run.run())
            stops.end()
            if not reader.header:
                note_ignored(reader, watcher.note)
            voice.end()
            note_old_keys(journal, watcher.note)
        trouble = None if rejects is None else close_rejects(rejects)
        if trouble is not None:
            summary = attrs.evolve(summary, stopped_by=summary.stopped_by or trouble)
        if not dry_run:
            await end_run(journal, summary)
    return last_words(
        summary,
        options,
        stops,
        unwritten=write_page(options, summary, course, facts),
        journal=facts.journal,
        rejects=rejects_path,
    )


async def _with_workers(file: str, reader: RowReader, options: Options, stops: Stops) -> int:
    from carevalidate_async._commands.crew import Order, confirm_with_workers

    target = target_of(options)
    folder = journal_path(file, target, options, kind="queue")
    check_paths(
        FILE=0 if file == "-" else file,
        journal=folder,
        rejects=options["rejects"],
        report=options["report"],
    )
    check_kind(folder, wants_folder=True)
    order = Order(file=file, reader=reader, folder=folder, target=target, options=options)
    return await confirm_with_workers(order, stops)
