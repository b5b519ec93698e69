"""The command ``carevalidate sandbox``: a stand-in of both vendors, and the page that shows it."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

import click

from carevalidate_async._commands.command import StopError, command
from carevalidate_async._commands.manual import Manual
from carevalidate_async._commands.output import say
from carevalidate_async._commands.signals import signals

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT_REQUESTS = 10_000
KEPT_BYTES = 64 * 2**20


@click.command(
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
@click.option(
    "--page/--no-page",
    default=True,
    show_default=True,
    help="Whether it serves a page that shows requests as they arrive.",
)
@click.option(
    "--open/--no-open",
    "opened",
    default=None,
    help="Whether to open that page in a browser. Default: where a person is at a desktop.",
)
@command
def sandbox(  # noqa: PLR0917 - click passes them by name
    port: int,
    api_key: str,
    token: str,
    fault_rate: float,
    rate_limit: float | None,
    hang_seconds: float,
    seed: int | None,
    page: bool,  # noqa: FBT001 - as above
    opened: bool | None,  # noqa: FBT001 - as above
) -> int:
    """
    Run a stand-in of both vendors on this machine, until interrupted.

    Its URL is also a page on which requests can be watched as they arrive, the latest 10,000 of
    them, and faults be switched on and off.
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
            keep_requests=KEPT_REQUESTS if page else 0,
            keep_bytes=KEPT_BYTES,
            page=page,
        )
        ended = asyncio.Event()
        async with server:
            with signals(ended.set):
                variable = f"CAREVALIDATE_API_KEY={shlex.quote(api_key)}"
                confirms = f"{variable} carevalidate confirm FILE --base-url {server.url}"
                told = [
                    server.url,
                    f"Confirm with: {confirms}",
                    f"From Python: CareValidate({api_key!r}, base_url={server.url!r})",
                    f"What it does: {server.url}/openapi.json",
                ]
                if page:
                    told.append(f"Watch requests arrive: {server.url}/")
                say("\n".join(told), sys.stdout)
                if page and (_at_a_desktop(os.environ) if opened is None else opened):
                    click.launch(f"{server.url}/")
                await ended.wait()
            held = len(server.payments)
            say(f"{server.received} requests, {held} payments on record", sys.stdout)

    try:
        asyncio.run(serve())
    except (OSError, ValueError) as error:
        raise StopError(str(getattr(error, "strerror", None) or error)) from None
    return 0


def _at_a_desktop(environ: Mapping[str, str]) -> bool:
    """Tell whether somebody would see a browser open: a terminal, with a display, and no CI."""
    if sys.stdout is None or not sys.stdout.isatty() or environ.get("CI"):
        return False
    shown = sys.platform in {"darwin", "win32"} or environ.get("DISPLAY")
    return bool(shown or environ.get("WAYLAND_DISPLAY"))
