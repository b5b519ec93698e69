"""The command ``worker``: queued payments confirmed, on as many machines as wanted."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import click

from carevalidate_async._commands.broker import (
    BROKER,
    METRICS,
    broker_troubles,
    client_metrics,
    serve_metrics,
)
from carevalidate_async._commands.command import (
    ATTEMPT_TIMEOUT,
    ENVIRONMENT,
    JSON,
    Options,
    StopError,
    command,
    open_care,
    takes,
)
from carevalidate_async._commands.key_age import KEY_AGE
from carevalidate_async._commands.manual import BROKER_URL, CARE, REDIS_URL, Manual
from carevalidate_async._commands.output import one_line, print_json, say
from carevalidate_async._commands.signals import Stops

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client.registry import Collector

    from carevalidate_async.consumer import Consumer, Consumption, Turns

STOPPING = "Stopping: what this worker holds is finished first; once more to stop at once"


@click.command(
    cls=Manual,
    groups={
        "Where payments come from and go": ("--broker", "--base-url", "--environment"),
        "Pace": (
            *("--concurrency", "--rate", "--shared-rate", "--redis", "--adaptive"),
            *("--attempt-timeout", "--max-key-age"),
        ),
        "End": ("--ack-wait", "--grace", "--while-stdin"),
        "What comes out": ("--metrics-port", "--json"),
    },
    environment={**BROKER_URL, **REDIS_URL, **CARE},
    statuses={
        0: "it was told to end",
        2: "the command or the broker is wrong, or the API key was refused; what it confirmed "
        "before is on record",
        130: "it was interrupted before it had begun",
    },
    examples={
        "Confirm at staging what is queued": "carevalidate worker --environment staging "
        "\\\n    --broker nats://127.0.0.1:4222",
        "Take this worker's share of what the vendor takes": "carevalidate worker --rate 25",
    },
    see_also=("enqueue", "collect", "dead-letter"),
)
@takes(BROKER)
@click.option("--base-url", metavar="URL", help="Another origin, such as a sandbox's.")
@takes(ENVIRONMENT)
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
    help="Payments begun per second by this worker, at most: its share of what the vendor takes.",
)
@click.option(
    "--shared-rate",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Payments begun per second by all workers together, at most; needs --redis.",
)
@click.option(
    "--redis",
    metavar="URL",
    envvar="CAREVALIDATE_REDIS",
    show_envvar=True,
    help="The Redis server that keeps --shared-rate, the same for all workers.",
)
@click.option(
    "--adaptive/--fixed",
    default=True,
    help="Go below --concurrency and --rate where the vendor refuses (429, 503) or slows down, "
    "which is the default; or hold on to both.",
)
@click.option(
    "--ack-wait",
    type=click.FloatRange(1),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="After which what a worker held that died is given to others. The same for all workers.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=75.0,
    show_default=True,
    metavar="SECONDS",
    help="To finish what is held when told to end. What is not finished is given to others.",
)
@click.option("--while-stdin", is_flag=True, help="End with standard input, too.")
@takes(KEY_AGE, ATTEMPT_TIMEOUT, METRICS, JSON)
@command
def worker(**options: Any) -> int:  # noqa: ANN401 - click's options
    """
    Confirm queued payments until told to end.

    Any number of workers may share a queue. A signal (SIGTERM, SIGINT) lets it finish what it
    holds. While the vendor is down it waits; when the API key is refused it ends, and the queue
    stays as it is.
    """
    import asyncio

    for name in ("rate", "shared_rate"):
        if options[name] is not None and not math.isfinite(options[name]):
            raise click.UsageError(f"--{name.replace('_', '-')} must be a number")
    if options["shared_rate"] is not None and not options["redis"]:
        raise click.UsageError("--shared-rate needs --redis")
    options["sandbox"] = False
    with broker_troubles(), Stops() as stops:
        return asyncio.run(_work(options, stops))


def _at_end_of_stdin(end: Callable[[], object]) -> None:
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed
        end()


async def _shared_rate(stack: contextlib.AsyncExitStack, options: Options) -> Turns | None:
    """Return what says when the next payment may begin; *stack* closes it."""
    if options["shared_rate"] is None:
        return None
    try:
        from carevalidate_async.integrations.shared_rate import SharedRate
    except ModuleNotFoundError as error:
        if error.name not in {"pyrate_limiter", "redis"}:
            raise
        hint = "pip install 'carevalidate-async[cli,nats,ratelimit]'"
        raise StopError(f"--shared-rate takes an extra: {hint}") from None
    try:
        return await stack.enter_async_context(SharedRate(options["redis"], options["shared_rate"]))
    except ValueError:
        raise StopError("--redis must be a URL, such as redis://127.0.0.1:6379") from None


async def _work(options: Options, stops: Stops) -> int:
    import asyncio

    from carevalidate_async._config import checked_origin
    from carevalidate_async._jobs.ledger import check_url
    from carevalidate_async._jobs.work import Worker
    from carevalidate_async.carevalidate import origin_of
    from carevalidate_async.events import ConfirmHandler

    def note(text: str) -> None:
        say(one_line(text), sys.stderr)

    check_url(options["url"])
    origin = origin_of(options["environment"], options["base_url"])
    target = checked_origin(origin, allow_insecure=False)
    async with contextlib.AsyncExitStack() as stack:
        port = options["metrics_port"]
        calls = client_metrics(port)
        client = await open_care(stack, options, hooks=calls)
        turns = await _shared_rate(stack, options)
        made = Worker(
            options["url"],
            # One request a delivery: the pace is then set by each of them.
            ConfirmHandler(client, attempts=1, max_key_age=options["max_key_age"]),
            target=target,
            concurrency=options["concurrency"],
            rate=options["rate"],
            turns=turns,
            adaptive=options["adaptive"],
            ack_wait=options["ack_wait"],
            grace=options["grace"],
            note=note,
        )
        serve_metrics(stack, port, lambda: (_metrics(made.consumer), *calls), note)
        stops.begin(made.end, note, STOPPING)
        if options["while_stdin"]:
            loop = asyncio.get_running_loop()
            end = functools.partial(loop.call_soon_threadsafe, made.end)
            # A daemon, since nothing can wake a thread that waits for its standard input.
            threading.Thread(target=_at_end_of_stdin, args=(end,), daemon=True).start()
        await made.run()
        stops.end()
        done = made.consumer.consumption()
    status = 0 if done.stopped_by is None else 2
    say(_told(done), sys.stderr if options["as_json"] else sys.stdout)
    if options["as_json"]:
        decided = {str(action): count for action, count in done.decided.items()}
        print_json(
            {
                "decided": decided,
                "redelivered": done.redelivered,
                "failed": done.failed,
                "stopped_by": done.stopped_by,
                "exit_status": status,
            }
        )
    stops.told(status)
    return status


def _metrics(consumer: Consumer) -> Collector:
    from carevalidate_async.integrations.prometheus import ConsumerMetrics

    return ConsumerMetrics(consumer)


def _told(done: Consumption) -> str:
    counts = ", ".join(f"{count:,} {action}" for action, count in done.decided.items() if count)
    return f"{counts or 'nothing'}; {done.redelivered:,} redelivered, {done.failed:,} failed"
