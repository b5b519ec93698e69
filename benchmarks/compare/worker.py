"""
The process in which one contender plays.

It reads how many calls to make, a line each, and writes what that took.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.compare.stub import pin
from benchmarks.compare.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.compare.contender import Contender

WARM_UP = 256


async def play(contender: Contender, target: Target) -> None:
    """Play as often as asked."""
    # A process that has never freed so much pays for each large piece of memory anew.
    bytearray(8 * 2**20)
    loop = asyncio.get_running_loop()
    async with contender.play(target) as run:
        print(json.dumps({"ready": contender.name}), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            await run(max(WARM_UP, target.concurrency))
            count = int(line)
            began, cpu = time.perf_counter(), _cpu()
            await run(count)
            print(
                json.dumps(
                    {
                        "calls": count,
                        "cpu": _cpu() - cpu,
                        "seconds": time.perf_counter() - began,
                        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                    }
                ),
                flush=True,
            )


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes event loops of this name."""
    make = None
    if "uvloop" in loop:
        import uvloop

        make = uvloop.new_event_loop
    if "aiofastnet" in loop:
        import aiofastnet

        make = aiofastnet.loop_factory(make) if make else aiofastnet.loop_factory()
    return make


def main() -> None:
    """Play one contender."""
    from benchmarks.compare.field import contender_named

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("url")
    parser.add_argument("--authority")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--core", type=int)
    options = parser.parse_args()
    pin(options.core)
    contender = contender_named(options.name)
    target = Target(options.url, options.authority, options.concurrency)
    with asyncio.Runner(loop_factory=factory(contender.loop or options.loop)) as runner:
        runner.run(play(contender, target))


if __name__ == "__main__":
    main()
