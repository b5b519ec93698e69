"""
What bulk runs and calls in flight take in memory, each in a process of its own.

100,000 payments by `confirm_payments`, their rows dropped as they come, and kept; and calls that
wait for their answers, this package's and bare aiohttp's. Resident memory beyond what the same
process took after its first thousand::

    python -m benchmarks.memory
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.compare import stub
from benchmarks.compare.bare import naive
from benchmarks.compare.ours import calls, client
from benchmarks.compare.target import Target, payment

if TYPE_CHECKING:
    from carevalidate_async.bulk import Row

FIRST = 1000
_MEASURED = ("streamed", "kept", "in-flight", "in-flight-aiohttp")


def resident() -> int:
    """Return this process's resident memory, in bytes."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def bulk(target: Target, rows: int, *, keep: bool) -> float:
    """Return the bytes a row that many rows take beyond the first ones."""
    kept: list[Row] = []
    before = 0
    async with client(target) as care:
        async for row in care.confirm_payments(map(payment, range(FIRST + rows))):
            if keep:
                kept.append(row)
            if row.index == FIRST:
                before = resident()
        return (resident() - before) / rows


async def silent() -> asyncio.Server:
    """Return a server that takes requests, and says nothing."""

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    return await asyncio.start_server(listen, "127.0.0.1", 0, backlog=4096, limit=1024)


async def in_flight(url: str, count: int, *, bare: bool) -> float:
    """Return the bytes that a call which waits for its answer takes, its connection included."""
    target = Target(url, None, FIRST + count)
    async with (naive if bare else calls)(target) as call:
        waiting = [asyncio.ensure_future(call(number)) for number in range(FIRST)]
        await asyncio.sleep(1)
        before = resident()
        waiting += [asyncio.ensure_future(call(FIRST + number)) for number in range(count)]
        await asyncio.sleep(3)
        taken = resident() - before
        logging.disable()  # of each that is cut off
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return taken / count


def serve_silence() -> None:
    """Be the vendor of calls that wait."""

    async def serve() -> None:
        server = await silent()
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()

    asyncio.run(serve())


def measure(what: str, url: str, rows: int, count: int) -> float:
    """Measure one thing, in this process."""
    if what.startswith("in-flight"):
        return asyncio.run(in_flight(url, count, bare=what != "in-flight"))
    return asyncio.run(bulk(Target(url, None, 64), rows, keep=what == "kept"))


def main() -> None:
    """Measure each thing in a process of its own, and print what it takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--measure", choices=_MEASURED, help=argparse.SUPPRESS)
    parser.add_argument("--silence", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.silence:
        serve_silence()
        return
    if options.measure:
        print(measure(options.measure, options.url, options.rows, options.calls))
        return
    myself = [sys.executable, "-m", "benchmarks.memory"]
    silence = [*myself, "--silence"]
    sizes = ["--rows", str(options.rows), "--calls", str(options.calls)]
    for what in _MEASURED:
        vendor = stub.running() if what in {"streamed", "kept"} else stub.started(silence)
        with vendor as url:
            command = [*myself, *sizes, "--measure", what, "--url", url]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        print(f"{what:20} {float(done.stdout):8.0f} bytes each", flush=True)


if __name__ == "__main__":
    main()
