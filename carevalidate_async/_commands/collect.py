"""The command ``collect``: how a job went, from anywhere."""

from __future__ import annotations

import contextlib
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from carevalidate_async._commands.broker import (
    BROKER,
    JOB,
    METRICS,
    broker_troubles,
    named_job,
    open_ledger,
    serve_metrics,
)
from carevalidate_async._commands.command import JSON, Options, command, takes
from carevalidate_async._commands.ending import last_words, write_page
from carevalidate_async._commands.files import (
    REJECTS,
    REPORT,
    begin_page,
    check_paths,
    close_rejects,
    open_rejects,
)
from carevalidate_async._commands.manual import BROKER_URL, Manual
from carevalidate_async._commands.signals import Stops
from carevalidate_async._commands.voice import Voice

if TYPE_CHECKING:
    from prometheus_client.registry import Collector as Metrics

    from carevalidate_async._jobs.collect import Collector, Queue

STOPPING = "Stopping: the job itself goes on; once more to stop at once"


@click.command(
    cls=Manual,
    short_help="Follow a job to its end, and sum it up.",
    environment=BROKER_URL,
    files={
        "--rejects PATH": "Rows to be corrected, as they stood in the job's file, and what is "
        "wrong.",
        "--report PATH": "The page; it loads nothing, and holds no personal data.",
    },
    statuses={
        0: "every row is on record",
        1: "some row is not, or with --now the job has not ended",
        2: "the command or the broker is wrong",
        130: "interrupted, the job goes on",
    },
    examples={
        "Wait for a job's end": "carevalidate collect --job november --report run.html",
        "See how far it is": "carevalidate collect --job november --now",
        "Have a program read it, and clear the broker": "carevalidate collect --job november "
        "--json --forget",
    },
    see_also=("enqueue", "worker", "dead-letter"),
)
@takes(BROKER, JOB, REJECTS, REPORT)
@click.option("--now", is_flag=True, help="Tell how far the job is, rather than wait for its end.")
@click.option(
    "--forget",
    is_flag=True,
    help="Once the job has ended and was summed up, remove all that the broker has of it.",
)
@takes(METRICS, JSON)
@command
def collect(**options: Any) -> int:  # noqa: ANN401 - click's options
    """
    Follow a job to its end, and sum it up as confirm does.

    It can be run anywhere, as often as wanted: all is read from the broker.
    """
    import asyncio

    with broker_troubles(), Stops() as stops:
        return asyncio.run(_collect(options, stops))


async def _collect(options: Options, stops: Stops) -> int:
    import attrs

    from carevalidate_async._commands.machine import Machine
    from carevalidate_async._commands.progress import show
    from carevalidate_async._files.kinds import FileFormat
    from carevalidate_async._jobs.collect import Collector, JobRows
    from carevalidate_async.report import Facts

    check_paths(rejects=options["rejects"], report=options["report"])
    display = show(sys.stderr)
    voice = Voice(display, results=sys.stdout)
    watcher = Machine(voice, voice.result) if options["as_json"] else voice
    async with contextlib.AsyncExitStack() as stack:
        ledger = await open_ledger(stack, options["url"], watcher.note)
        name = await named_job(ledger, options["job"])
        job = await ledger.record(name)
        rows = JobRows(format=FileFormat(job.form), header=tuple(job.header))
        rejects = open_rejects(stack, options["rejects"], rows)
        target = await ledger.target(job.token(name))
        facts = Facts(
            file=job.file,
            target=target or "nowhere yet",
            rejects=options["rejects"],
            began=datetime.fromtimestamp(job.began, UTC),
            concurrency=0,
        )
        begin_page(options["report"], facts)
        collector = Collector(ledger, name=name, job=job, watcher=watcher, rejects=rejects)
        port = options["metrics_port"]
        serve_metrics(stack, port, lambda: [_metrics(collector)], watcher.note)
        stops.begin(collector.stop, watcher.note, STOPPING)
        with display:
            if not options["now"]:
                await collector.follow()
            await collector.catch_up()
            summary = collector.summary()
            stops.end()
            voice.end()
        trouble = None if rejects is None else close_rejects(rejects)
        if trouble is not None:
            summary = attrs.evolve(summary, stopped_by=summary.stopped_by or trouble)
        unwritten = write_page(options, summary, collector.course, facts)
        status = last_words(
            summary,
            options,
            stops,
            unwritten=unwritten,
            journal=None,
            rejects=options["rejects"],
            more={"job": name, "queue": _queue(collector.queue)},
        )
        if options["forget"] and collector.ended and not (trouble or unwritten):
            await ledger.forget(name)
    return status


def _metrics(collector: Collector) -> Metrics:
    from carevalidate_async.integrations.prometheus import JobMetrics

    return JobMetrics(lambda: collector.counts, lambda: collector.queue)


def _queue(queue: Queue) -> dict[str, object]:
    return {
        "waiting": queue.waiting,
        "in_flight": queue.in_flight,
        "redelivered": queue.redelivered,
        "oldest_unknown_s": queue.oldest_unknown,
    }
