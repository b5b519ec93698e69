"""
What all commands share: options, clients made from them, and how a command ends.

What people read goes to standard error, results go to standard output; credentials come from the
environment alone.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click

from carevalidate_async._commands.output import name_of, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from io import BufferedReader

    from carevalidate_async import CareValidate, ClientOptions
    from carevalidate_async.hooks import Hook
    from carevalidate_async.planocore import Planocore
    from carevalidate_async.sandbox import Sandbox

Options: TypeAlias = dict[str, Any]
Command = TypeVar("Command", bound="Callable[..., Any]")

SANDBOX_KEY = "sandbox"
"""The credential of a sandbox that lives as long as its command."""

INTERRUPTED = 130
"""Exit status of a command that was stopped."""


class StopError(Exception):
    """The command cannot go on; the message says why, and nothing was sent."""


def takes(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Return a decorator that adds *options*, which its help then lists in this order."""

    def add(run: Command) -> Command:
        for option in reversed(options):
            run = option(run)
        return run

    return add


HOST = (
    click.option("--sandbox", is_flag=True, help="Use a sandbox that lives as long as this run."),
    click.option("--base-url", metavar="URL", help="Another origin, such as a sandbox's."),
)
ENVIRONMENT = click.option(
    "--environment",
    type=click.Choice(["production", "staging"]),
    help="Default: CAREVALIDATE_BASE_URL, CAREVALIDATE_ENVIRONMENT, production.",
)
ATTEMPT_TIMEOUT = click.option(
    "--attempt-timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="For one attempt. Default: 30.",
)
PATIENCE = (
    ATTEMPT_TIMEOUT,
    click.option(
        "--deadline",
        type=click.FloatRange(0, min_open=True),
        metavar="SECONDS",
        help="For one call, its attempts and waits included. Default: 120.",
    ),
    click.option(
        "--max-attempts", type=click.IntRange(1), metavar="N", help="Of one call. Default: 4."
    ),
)
JSON = click.option(
    "--json", "as_json", is_flag=True, help="End with one JSON object on standard output."
)


def command(run: Callable[..., int]) -> Callable[..., None]:
    """Make the function's number the exit status, and its foreseen troubles one line and 2."""

    @functools.wraps(run)
    def ended(**options: Any) -> None:  # noqa: ANN401 - click's options
        from carevalidate_async.errors import ConfigurationError

        if 1 < sum(bool(options.get(name)) for name in ("sandbox", "environment", "base_url")):
            raise click.UsageError("give one of --sandbox, --environment and --base-url")
        try:
            status = run(**options)
        except (StopError, ConfigurationError) as error:
            say(f"Error: {error}", sys.stderr)
            status = 2
        except KeyboardInterrupt:
            status = INTERRUPTED
        click.get_current_context().exit(status)

    return ended


@contextlib.contextmanager
def open_input(file: str) -> Iterator[BufferedReader]:
    """Open *file*, - for standard input, to read bytes."""
    name = "standard input" if file == "-" else name_of(file)
    try:
        handle = 0 if file == "-" else os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        regular = stat.S_ISREG(os.fstat(handle).st_mode)
        # Not sys.stdin, which Python closes at its end.
        stream = open(handle, "rb", closefd=regular and handle != 0)  # noqa: SIM115 - see below
    except OSError as error:
        raise StopError(f"{name}: {error.strerror}") from None
    # A pipe stays open until the command ends: to close it would wait for the thread that waits for
    # its next byte.
    with stream if regular else contextlib.nullcontext():
        yield stream


async def open_care(
    stack: contextlib.AsyncExitStack, options: Options, *, hooks: Sequence[Hook] = ()
) -> CareValidate:
    """Return the client that the options ask for; *stack* closes it, and a sandbox of its own."""
    from carevalidate_async import CareValidate

    key, url = None, options["base_url"]
    if options["sandbox"]:
        key, url = SANDBOX_KEY, (await open_sandbox(stack)).url
    patience = _patience(options)
    patience["hooks"] = hooks
    client = CareValidate(key, environment=options.get("environment"), base_url=url, **patience)
    return await stack.enter_async_context(client)


async def open_planocore(stack: contextlib.AsyncExitStack, options: Options) -> Planocore:
    """Return planocore's client, as `open_care` does."""
    from carevalidate_async.planocore import Planocore

    token, url = None, options["base_url"]
    if options["sandbox"]:
        token, url = SANDBOX_KEY, (await open_sandbox(stack)).url
    client = Planocore(
        token, application=options["application"], base_url=url, **_patience(options)
    )
    return await stack.enter_async_context(client)


async def open_sandbox(stack: contextlib.AsyncExitStack) -> Sandbox:
    """Return a sandbox, which *stack* closes."""
    from carevalidate_async.sandbox import Sandbox

    sandbox = Sandbox(api_key=SANDBOX_KEY, token=SANDBOX_KEY, keep_requests=1)
    return await stack.enter_async_context(sandbox)


def _patience(options: Options) -> ClientOptions:
    from carevalidate_async import RetryPolicy

    patience: ClientOptions = {"max_connections": max(100, options.get("concurrency", 1))}
    if options["attempt_timeout"] is not None:
        patience["attempt_timeout"] = options["attempt_timeout"]
    if options.get("deadline") is not None:
        patience["deadline"] = options["deadline"]
    if options.get("max_attempts") is not None:
        patience["retry"] = RetryPolicy(max_attempts=options["max_attempts"])
    return patience
