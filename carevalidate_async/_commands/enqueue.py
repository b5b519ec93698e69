"""The command ``enqueue``: a file of payments into the queue of the workers."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from carevalidate_async._commands.broker import BROKER, broker_troubles, open_ledger
from carevalidate_async._commands.command import JSON, Options, StopError, command, takes
from carevalidate_async._commands.files import DUPLICATES, FORMAT, open_rows
from carevalidate_async._commands.manual import BROKER_URL, Manual
from carevalidate_async._commands.output import one_line, print_json, say
from carevalidate_async._commands.signals import Stops

if TYPE_CHECKING:
    from carevalidate_async._files.rows import RowReader
    from carevalidate_async._jobs.messages import Job

STOPPING = "Stopping: what is queued stays; once more to stop at once"
_EVERY = 50_000  # rows between two words


@click.command(
    cls=Manual,
    short_help="Queue the payments in a file for workers.",
    environment=BROKER_URL,
    statuses={
        0: "all rows are queued, or refused as they would be by confirm",
        2: "the command, the broker or the file is wrong; what was queued stays",
        130: "interrupted, what is queued stays",
    },
    examples={
        "Queue a file for whichever workers there are": "carevalidate enqueue payments.csv "
        "\\\n    --broker nats://127.0.0.1:4222",
        "With the broker from the environment, under a name": "carevalidate enqueue payments.csv "
        "--job november",
    },
    see_also=("worker", "collect", "dead-letter"),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@takes(BROKER)
@click.option("--job", metavar="NAME", help="What the job is called. Default: after FILE.")
@takes(DUPLICATES, FORMAT, JSON)
@command
def enqueue(file: str, **options: Any) -> int:  # noqa: ANN401 - click's options
    """
    Queue the payments in FILE for workers, each row once; - for standard input.

    FILE is as for confirm. The same command again goes on where the last one ended, from any
    machine that has FILE. When the queue is full, it waits for the workers.
    """
    import asyncio

    from carevalidate_async._files.rows import FileError

    with broker_troubles(), open_rows(file, options["form"]) as (reader, _), Stops() as stops:
        try:
            return asyncio.run(_enqueue(file, reader, options, stops))
        except FileError as error:
            raise StopError(f"{one_line(str(error))}; what is queued stays") from None
        except OSError as error:
            raise StopError(f"{error.strerror or error}; what is queued stays") from None


async def _enqueue(file: str, reader: RowReader, options: Options, stops: Stops) -> int:
    from carevalidate_async._jobs.enqueue import Enqueuer, OtherFileError
    from carevalidate_async._jobs.messages import LONGEST_NAME, is_job_name, job_name
    from carevalidate_async.journal import Duplicates

    name = options["job"] or job_name("stdin" if file == "-" else os.path.basename(file))
    if not is_job_name(name):
        raise click.UsageError(f"--job must be letters, digits, - and _, {LONGEST_NAME} at most")

    def note(text: str) -> None:
        say(one_line(text), sys.stderr)

    told = 0

    def progress(rows: int) -> None:
        nonlocal told
        if rows - told >= _EVERY:
            told = rows
            note(f"{rows:,} rows")

    async with contextlib.AsyncExitStack() as stack:
        ledger = await open_ledger(stack, options["url"], note)
        queuer = Enqueuer(
            reader,
            ledger,
            name=name,
            file=file,
            duplicates=Duplicates(options["duplicates"]),
            note=note,
            progress=progress,
        )
        stops.begin(queuer.stop, note, STOPPING)
        try:
            job = await queuer.run()
        except OtherFileError as error:
            raise StopError(one_line(str(error))) from None
        stops.end()
    status = 0 if job.whole else 130
    for line in _told(name, job, queuer.skipped):
        say(line, sys.stderr if options["as_json"] else sys.stdout)
    if options["as_json"]:
        print_json(
            {
                "job": name,
                "rows": job.rows,
                "queued": job.queued,
                "invalid": job.invalid,
                "duplicates": job.repeated,
                "queued_before": queuer.skipped,
                "whole": job.whole,
                "exit_status": status,
            }
        )
    stops.told(status)
    return status


def _told(name: str, job: Job, skipped: int) -> list[str]:
    counts = f"{job.queued:,} queued, {job.invalid:,} invalid, {job.repeated:,} duplicates"
    lines = [f"Job {name}: {job.rows:,} rows, {counts}"]
    if skipped:
        lines.append(f"{skipped:,} of the rows had their place before")
    if job.planned > job.rows:
        lines.append(f"Up to {job.planned - job.rows:,} rows more may be queued already")
    if not job.whole:
        lines.append("Interrupted: the same command goes on.")
    return [*lines, f"What becomes of them: carevalidate collect --job {name}"]
