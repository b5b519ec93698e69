"""The command line: the group, and the sandbox."""

from __future__ import annotations

import shlex
import sys

import click

from carevalidate_async._commands import single
from carevalidate_async._commands.collect import collect
from carevalidate_async._commands.command import StopError, command
from carevalidate_async._commands.completion import completion
from carevalidate_async._commands.confirm import confirm
from carevalidate_async._commands.dead_letter import dead_letter
from carevalidate_async._commands.enqueue import enqueue
from carevalidate_async._commands.export import export
from carevalidate_async._commands.manual import (
    BROKER_URL,
    CARE,
    PLANOCORE,
    REDIS_URL,
    Manual,
    ManualGroup,
)
from carevalidate_async._commands.output import say
from carevalidate_async._commands.settle import settle
from carevalidate_async._commands.signals import signals
from carevalidate_async._commands.status import status
from carevalidate_async._commands.worker import worker


@click.group(
    cls=ManualGroup,
    chapters={
        "A file of payments": ("confirm", "status", "export", "settle"),
        "A file and many machines": ("enqueue", "worker", "collect", "dead-letter"),
        "Single calls": ("intent", "case-payment", "update-user", "update-payment-method"),
        "Helps": ("sandbox", "completion"),
    },
    environment={**CARE, **PLANOCORE, **BROKER_URL, **REDIS_URL},
    statuses={
        0: "all is well: what was asked for is on record",
        1: "not all is; what is not, is told",
        2: "the command, its configuration or its input is wrong, and nothing was sent",
        130: "interrupted",
    },
    examples={
        "Try it, without an account": "carevalidate confirm payments.csv --sandbox",
        "What a command takes": "carevalidate confirm --help",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="carevalidate-async")
def cli() -> None:
    """
    Confirm payments at CareValidate, each exactly once.

    The API key is read from CAREVALIDATE_API_KEY, planocore's token from PLANOCORE_TOKEN. What
    people read goes to standard error, results go to standard output.
    """


@cli.command(
    cls=Manual,
    short_help="Run a stand-in of both vendors on this machine.",
    statuses={
        0: "it was interrupted",
        2: "it could not begin, for the port is taken, say",
        130: "it was interrupted before it had begun",
    },
    examples={
        "A vendor on a bad day, always the same one": "carevalidate sandbox --fault-rate 0.02 "
        "--seed 7",
    },
    see_also=("confirm",),
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=0,
    help="On loopback. Default: any free one.",
)
@click.option("--api-key", default="test", show_default=True, help="The key that it takes.")
@click.option("--token", default="test", show_default=True, help="planocore's token.")
@click.option(
    "--fault-rate",
    type=click.FloatRange(0, 1),
    metavar="P",
    default=0.0,
    show_default=True,
    help="Probability of each fault that there is; all of them add up to at most 1.",
)
@click.option(
    "--rate-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Requests admitted a second; more are answered with 429.",
)
@click.option(
    "--hang-seconds",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="How long a hang lasts before the connection is reset.",
)
@click.option("--seed", type=int, metavar="N", help="Makes chance the same each time.")
@command
def sandbox(  # noqa: PLR0917 - click passes them by name
    port: int,
    api_key: str,
    token: str,
    fault_rate: float,
    rate_limit: float | None,
    hang_seconds: float,
    seed: int | None,
) -> int:
    """
    Run a stand-in of both vendors on this machine, until interrupted.
    """
    import asyncio

    from carevalidate_async.sandbox import Sandbox

    async def serve() -> None:
        server = Sandbox(
            api_key=api_key,
            token=token,
            port=port,
            fault_rate=fault_rate,
            rate_limit=rate_limit,
            hang_seconds=hang_seconds,
            seed=seed,
            keep_requests=1,
        )
        ended = asyncio.Event()
        async with server:
            with signals(ended.set):
                variable = f"CAREVALIDATE_API_KEY={shlex.quote(api_key)}"
                confirms = f"{variable} carevalidate confirm FILE --base-url {server.url}"
                told = (
                    server.url,
                    f"Confirm with: {confirms}",
                    f"From Python: CareValidate({api_key!r}, base_url={server.url!r})",
                    f"What it does: {server.url}/openapi.json",
                )
                say("\n".join(told), sys.stdout)
                await ended.wait()
            held = len(server.payments)
            say(f"{server.received} requests, {held} payments on record", sys.stdout)

    try:
        asyncio.run(serve())
    except (OSError, ValueError) as error:
        raise StopError(str(getattr(error, "strerror", None) or error)) from None
    return 0


for _command in (
    confirm,
    status,
    export,
    settle,
    enqueue,
    worker,
    collect,
    dead_letter,
    single.intent,
    single.case_payment,
    single.update_user,
    single.update_payment_method,
    completion,
):
    cli.add_command(_command)
