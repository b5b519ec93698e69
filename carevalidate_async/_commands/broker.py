"""The broker of the commands that share a job: its option, and what goes wrong with it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from carevalidate_async._commands.command import StopError
from carevalidate_async._commands.output import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.registry import Collector

    from carevalidate_async._jobs.ledger import Ledger
    from carevalidate_async.integrations.prometheus import ClientMetrics

JOB = click.option("--job", metavar="NAME", help="Default: the only job there is.")
BROKER = click.option(
    "--broker",
    "url",
    metavar="URL",
    envvar="CAREVALIDATE_BROKER",
    show_envvar=True,
    required=True,
    help="A NATS server with JetStream, such as nats://127.0.0.1:4222.",
)
METRICS = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve metrics for Prometheus there, on loopback; 0 for any free port, which is told.",
)


def client_metrics(port: int | None) -> tuple[ClientMetrics, ...]:
    """Return what counts a client's calls, to be served at *port*; nothing where it is None."""
    if port is None:
        return ()
    with _metrics_extra():
        from carevalidate_async.integrations.prometheus import ClientMetrics

    return (ClientMetrics(),)


def serve_metrics(
    stack: contextlib.AsyncExitStack,
    port: int | None,
    make: Callable[[], Iterable[Collector]],
    note: Callable[[str], None],
) -> None:
    """Serve what *make* makes at *port*, until *stack* ends; nothing where it is None."""
    if port is None:
        return
    with _metrics_extra():
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry()
        for collector in make():
            registry.register(collector)
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise StopError(f"--metrics-port {port}: {error.strerror}") from None
    stack.callback(thread.join)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    note(f"Metrics: http://127.0.0.1:{server.server_port}/metrics")


@contextlib.contextmanager
def _metrics_extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        hint = "pip install 'carevalidate-async[cli,nats,metrics]'"
        raise StopError(f"--metrics-port takes an extra: {hint}") from None


@contextlib.contextmanager
def broker_troubles() -> Iterator[None]:
    """Make what is wrong with the broker, or with what is on it, the command's last word."""
    try:
        import nats.errors

        from carevalidate_async._jobs.ledger import BrokerError
        from carevalidate_async.integrations.jetstream import MismatchError
    except ModuleNotFoundError as error:
        if error.name != "nats":
            raise
        hint = "pip install 'carevalidate-async[cli,nats]'"
        raise StopError(f"this takes an extra: {hint}") from None
    try:
        yield
    except (BrokerError, MismatchError) as error:
        raise StopError(one_line(str(error))) from None
    except nats.errors.Error as error:
        raise StopError(f"the broker does not do what it is asked for: {error}") from None


async def open_ledger(
    stack: contextlib.AsyncExitStack, url: str, note: Callable[[str], None]
) -> Ledger:
    """Return what the broker at *url* has of jobs; *stack* closes the connection."""
    from carevalidate_async._jobs.ledger import Ledger, connected

    return await Ledger.open(await stack.enter_async_context(connected(url, note)))


async def named_job(ledger: Ledger, name: str | None) -> str:
    """
    Return the name of a job that is there: *name*, or that of the only one.

    Raises:
        StopError: It is not there, or there are several.
    """
    names = await ledger.names()
    if name is not None:
        if name not in names:
            raise StopError(f"the broker has no job {one_line(name)}{_others(names)}")
        return name
    if len(names) == 1:
        return names[0]
    if not names:
        raise StopError("the broker has no job; carevalidate enqueue FILE begins one")
    raise StopError(f"the broker has several jobs; say which (--job){_others(names)}")


def _others(names: list[str]) -> str:
    return f": {', '.join(names)}" if names else ""
