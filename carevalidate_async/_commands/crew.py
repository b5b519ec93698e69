"""``confirm --workers``: a queue and its workers on this machine, for one file."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import pathlib
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import click

from carevalidate_async._commands.broker import open_ledger
from carevalidate_async._commands.command import (
    SANDBOX_KEY,
    Options,
    StopError,
    open_care,
    open_sandbox,
)
from carevalidate_async._commands.ending import last_words, write_page
from carevalidate_async._commands.files import begin_page, close_rejects, open_rejects
from carevalidate_async._commands.output import name_of, one_line
from carevalidate_async._commands.voice import Voice
from carevalidate_async._run.ages import written_age

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carevalidate_async._commands.signals import Stops
    from carevalidate_async._files.rejects import Rejects
    from carevalidate_async._jobs.ledger import Ledger
    from carevalidate_async._jobs.local import LocalServer
    from carevalidate_async._jobs.messages import Job
    from carevalidate_async._run.counts import Summary
    from carevalidate_async._run.course import Course
    from carevalidate_async._run.sight import Watcher

NAME = "file"
"""What the only job of such a queue is called."""

STOPPING = "Stopping: what the workers hold is finished first; once more to stop at once"

_NOT_WITH_WORKERS = ("asks", "max_outage", "dry_run", "rotated_key")


def check_options(given: click.Context) -> None:
    """
    Refuse options that mean nothing for several workers.

    Raises:
        click.UsageError: One is given.
    """
    for parameter in given.command.params:
        source = given.get_parameter_source(parameter.name or "")
        if parameter.name in _NOT_WITH_WORKERS and source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} cannot be given with --workers")


@attrs.frozen(kw_only=True)
class Order:
    """
    A file that is to be confirmed with workers.

    Attributes:
        file: Its name, - for standard input.

        reader: Its rows.

        folder: Where the queue is kept; the same command again goes on with it.

        target: Where payments go, as a journal says it.

        options: Of the command.
    """

    file: str
    reader: Any = attrs.field(repr=False)  # a RowReader, which is loaded late
    folder: str
    target: str
    options: Options


async def confirm_with_workers(order: Order, stops: Stops) -> int:
    """Queue a file in a queue of its own, have it worked on, and sum it up."""
    from carevalidate_async._commands.machine import Machine
    from carevalidate_async._commands.progress import show
    from carevalidate_async.report import Facts

    options = order.options
    voice = Voice(show(sys.stderr), results=sys.stdout)
    watcher = Machine(voice, voice.result) if options["as_json"] else voice
    facts = Facts(
        file=order.file,
        target=order.target,
        rejects=options["rejects"],
        began=datetime.now(UTC),
        concurrency=options["concurrency"],
        rate=options["rate"],
        max_key_age=options["max_key_age"],
    )
    async with contextlib.AsyncExitStack() as stack:
        rejects = open_rejects(stack, options["rejects"], order.reader)
        begin_page(options["report"], facts)
        summary, course = await _run(stack, order, watcher, rejects, stops)
        voice.end()
        trouble = None if rejects is None else close_rejects(rejects)
    if trouble is not None:
        summary = attrs.evolve(summary, stopped_by=summary.stopped_by or trouble)
    return last_words(
        summary,
        options,
        stops,
        unwritten=write_page(options, summary, course, facts),
        journal=order.folder,
        rejects=options["rejects"],
    )


async def _run(
    stack: contextlib.AsyncExitStack,
    order: Order,
    watcher: Watcher,
    rejects: Rejects | None,
    stops: Stops,
) -> tuple[Summary, Course]:
    """Run server, workers, queueing and collecting, until all rows have their place."""
    from carevalidate_async._files.rows import FileError
    from carevalidate_async._jobs.collect import Collector
    from carevalidate_async._jobs.enqueue import Enqueuer, OtherFileError
    from carevalidate_async._jobs.local import Crew, LocalServer
    from carevalidate_async.journal import Duplicates

    options = order.options
    url, key = options["base_url"], {}
    if options["sandbox"]:
        url, key = (await open_sandbox(stack)).url, {"CAREVALIDATE_API_KEY": SANDBOX_KEY}
    else:
        await open_care(stack, options)  # so that what is wrong with it is said once
    server = await stack.enter_async_context(LocalServer(pathlib.Path(order.folder)))
    ledger = await open_ledger(stack, server.url, watcher.note)
    queuer = Enqueuer(
        order.reader,
        ledger,
        name=NAME,
        file=order.file,
        duplicates=Duplicates(options["duplicates"]),
        note=watcher.note,
    )
    queueing = asyncio.create_task(queuer.run())
    stack.push_async_callback(_cancelled, queueing)
    try:
        job = await _begun(ledger, queueing)
    except (FileError, OSError) as error:
        raise StopError(f"{name_of(order.file)}: {one_line(str(error))}") from None
    if job.whole:
        await _ask_again(ledger, options["max_key_age"])
    collector = Collector(ledger, name=NAME, job=job, watcher=watcher, rejects=rejects)
    ended: list[str] = []

    def end(reason: str) -> None:
        ended.append(reason)
        collector.stop()

    def failed(task: asyncio.Task[Job]) -> None:
        if not task.cancelled() and task.exception() is not None:
            end(f"the file was not read to its end: {task.exception()}")

    queueing.add_done_callback(failed)
    crew = Crew(
        _command(options, url),
        {**os.environ, **key, "CAREVALIDATE_BROKER": server.url},
        size=options["workers"],
        note=watcher.note,
        on_end=end,
    )

    def stop() -> None:
        queuer.stop()
        collector.stop()
        crew.end()

    watching = asyncio.create_task(_watched(server, end))
    stack.push_async_callback(_cancelled, watching)
    stops.begin(stop, watcher.note, STOPPING)
    async with crew:
        await collector.follow()
    if queueing.done() and isinstance(other := queueing.exception(), OtherFileError):
        again = "or name another folder (--journal)"
        raise StopError(f"{name_of(order.folder)}: {one_line(str(other))}, {again}")
    await collector.catch_up()  # with what the workers have finished meanwhile
    summary = collector.summary(at_rest=crew.at_rest)
    stops.end()
    return _judged(summary, ended), collector.course


async def _watched(server: LocalServer, end: Callable[[str], None]) -> None:
    """End the run when its server does."""
    await server.ended()
    end("the queue's server ended")


async def _begun(ledger: Ledger, queueing: asyncio.Task[Job]) -> Job:
    """Return the job's record as soon as there is one."""
    while not queueing.done():
        found = await ledger.job(NAME)
        if found is not None:
            return found[0]
        await asyncio.sleep(0.02)
    return queueing.result()


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """End *task*; what it raises was looked at."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _ask_again(ledger: Ledger, max_key_age: float | None) -> None:
    """Queue what an earlier run left without being on record once more, as confirm does."""
    from carevalidate_async._jobs.replay import letters, replay

    found = [letter async for letter in letters(ledger, NAME)]
    for letter in found:
        if not letter.is_too_old(max_key_age):
            await replay(ledger, NAME, letter)


def _command(options: Options, url: str | None) -> list[str]:
    """Return what each worker runs; its share of what all of them may do."""
    workers = options["workers"]
    said = [sys.executable, "-m", "carevalidate_async", "worker", "--while-stdin"]
    said += ["--ack-wait", "10"]  # on one machine nobody is away for long
    said += ["--concurrency", str(math.ceil(options["concurrency"] / workers))]
    if options["rate"] is not None:
        said += ["--rate", repr(options["rate"] / workers)]
    if url is not None:
        said += ["--base-url", url]
    elif options["environment"] is not None:
        said += ["--environment", options["environment"]]
    if options["attempt_timeout"] is not None:
        said += ["--attempt-timeout", repr(options["attempt_timeout"])]
    said += ["--adaptive" if options["adaptive"] else "--fixed"]
    return [*said, "--max-key-age", written_age(options["max_key_age"])]


def _judged(summary: Summary, troubles: Sequence[str]) -> Summary:
    """Return a summary that says what ended the run early."""
    if not troubles:
        return summary
    told = [*([summary.stopped_by] if summary.stopped_by else []), *troubles[:1]]
    return attrs.evolve(
        summary,
        stopped_by="; ".join(told),
        interrupted=False,
        # A worker that ends by itself was refused, or could not begin.
        refused=True,
        reached=bool(summary.counts.on_record or summary.counts.rejected),
    )
