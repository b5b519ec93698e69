"""
Where the CPU time of a call goes: samples of the files that its code is in.

The samples are taken each millisecond of CPU time; what C code takes counts for the Python code
that called it. Against the stub of `benchmarks.compare`, whose process has a CPU of its own::

    python -m benchmarks.profile --concurrency 64
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pathlib
import resource
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.compare import ours, stub
from benchmarks.compare.contender import of_calls
from benchmarks.compare.target import Target

if TYPE_CHECKING:
    from types import FrameType

INTERVAL = 0.001
"""Seconds of CPU time between two samples."""

_OURS = pathlib.Path(ours.__file__).resolve().parents[2]


def place_of(frame: FrameType | None) -> str:
    """Return the file that *frame* is in, of ours, or the package, of others."""
    name = "" if frame is None else frame.f_code.co_filename
    path = pathlib.Path(name)
    if path.is_absolute() and path.is_relative_to(_OURS / "carevalidate_async"):
        return str(path.relative_to(_OURS / "carevalidate_async"))
    if name.startswith(("<attrs", "<cattrs")):
        return "made by attrs and cattrs"
    for part, after in zip(path.parts, path.parts[1:], strict=False):
        if part == "site-packages":
            return after
    if path.is_relative_to(_OURS):
        return "the benchmark"
    return path.parent.name if path.parent.name == "asyncio" else "other parts of Python"


async def calls(target: Target, count: int) -> tuple[Counter[str], float]:
    """Return where samples of so many calls were, and the CPU seconds that they took."""
    samples: Counter[str] = Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        samples[place_of(frame)] += 1

    async with of_calls(ours.calls)(target) as play:
        await play(1000)
        before = resource.getrusage(resource.RUSAGE_SELF)
        signal.signal(signal.SIGPROF, sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
        try:
            await play(count)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return samples, used


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--calls", type=int, default=50_000)
    options = parser.parse_args()
    if not hasattr(signal, "setitimer"):
        sys.exit("this system has no timer of CPU time")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    with stub.running("--core", str(cores[-1])) as url:
        stub.pin(cores[0])
        samples, used = asyncio.run(calls(Target(url, None, options.concurrency), options.calls))
    print("| where | share |\n|---|--:|")
    for place, number in samples.most_common():
        if number >= samples.total() / 200:
            print(f"| {place} | {number / samples.total():.0%} |")
    print(f"\n{1e6 * used / options.calls:.0f} µs a call")


if __name__ == "__main__":
    main()
