"""
What a call adds to the answers of a web server, beside bare aiohttp, under many clients at once.

An aiohttp server makes one call to the vendor for each request: by bare aiohttp, or by this
package. Clients ask it at random moments, so many times a second in all; how long they wait is
measured where they are, in turns of both. Server, clients and vendor are processes of their own::

    python -m benchmarks.latency
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from benchmarks.compare import ours, stub
from benchmarks.compare.bare import naive
from benchmarks.compare.target import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.compare.contender import Call

WAYS = ("bare", "ours")


def application(vendor: str, clients: int) -> web.Application:
    """Return a server that makes a call for each request, by the way that its path names."""
    target = Target(vendor, None, clients)
    calls: dict[str, Call] = {}

    async def opened(_: web.Application) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            calls["bare"] = await stack.enter_async_context(naive(target))
            calls["ours"] = await stack.enter_async_context(ours.calls(target))
            yield

    async def handle(request: web.Request) -> web.Response:
        await calls[request.match_info["way"]](int(request.match_info["number"]))
        return web.Response(text="paid")

    app = web.Application()
    app.cleanup_ctx.append(opened)
    app.router.add_get("/{way}/{number}", handle)
    return app


async def serve(vendor: str, clients: int) -> None:
    """Be the web server; say where, and serve until killed."""
    runner = web.AppRunner(application(vendor, clients), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


async def waits(
    session: aiohttp.ClientSession, url: str, *, clients: int, rate: float, seconds: float
) -> list[float]:
    """Return how long each request took, in seconds, of clients that come at random moments."""
    found: list[float] = []
    ends = time.perf_counter() + seconds
    chance = random.Random(7)  # noqa: S311 - no secret

    async def client(number: int) -> None:
        while True:
            await asyncio.sleep(chance.expovariate(rate / clients))
            began = time.perf_counter()
            if began >= ends:
                return
            async with session.get(f"{url}/{number}") as response:
                await response.read()
                response.raise_for_status()
            found.append(time.perf_counter() - began)

    await asyncio.gather(*map(client, range(clients)))
    return found


async def measure(url: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the waits by the way that the server's calls went."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    connector = aiohttp.TCPConnector(limit=options.clients)
    async with aiohttp.ClientSession(connector=connector) as session:
        for turn in range(options.rounds + 1):
            for way in WAYS if turn % 2 else WAYS[::-1]:
                took = await waits(
                    session,
                    f"{url}/{way}",
                    clients=options.clients,
                    rate=options.rate,
                    seconds=options.seconds,
                )
                if turn:  # the first one warms up
                    found[way] += took
    return found


def main() -> None:
    """Measure, and print percentiles."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=400.0, help="requests a second, in all")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", metavar="VENDOR", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.clients))
        return
    myself = [sys.executable, "-m", "benchmarks.latency", "--clients", str(options.clients)]
    with stub.running("--patient") as vendor, stub.started([*myself, "--serve", vendor]) as url:
        found = asyncio.run(measure(url, options))
    print("| percentile | bare aiohttp | carevalidate-async | difference |\n|---|--:|--:|--:|")
    for percent in (50, 95, 99):
        cut = {way: 1e3 * statistics.quantiles(found[way], n=100)[percent - 1] for way in WAYS}
        bare, own = cut["bare"], cut["ours"]
        print(f"| p{percent} | {bare:.2f} ms | {own:.2f} ms | {own - bare:+.2f} ms |")


if __name__ == "__main__":
    main()
