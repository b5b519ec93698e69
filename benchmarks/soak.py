"""
Web-like traffic against a sandbox on a bad day, for minutes; then every promise is checked.

Customers come at random, some give up in the midst of a call, some ask twice at once, most come
back to what is in doubt. The sandbox, in a process of its own, fails by chance, and wholly now and
then. Afterwards what each call said is compared with what the sandbox holds, and what the process
has with what it had after a warm-up of a quarter of the time.

The exit status is 0 where all is well, 1 where a promise is broken, 2 where it could not be told.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
import traceback
from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from benchmarks.soak_clients import Shop
from benchmarks.soak_process import Findings, Server, complaints, figures, memory
from benchmarks.soak_promises import (
    FIRST,
    LAST,
    OPEN,
    WARM,
    Figures,
    Held,
    Said,
    broken,
    leaks,
    settled_later,
)
from benchmarks.soak_traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@contextlib.asynccontextmanager
async def progress(findings: Findings, began: float) -> AsyncIterator[None]:
    """
    Say every few seconds how far it is, where somebody looks on.

    It ends before anything is measured: a timer that is still to come keeps those behind it, and
    what they hold, on the event loop.
    """

    async def tell() -> None:
        while True:
            await asyncio.sleep(5)
            counts, size = findings.counts, (memory() or 0) / 2**20
            print(
                f"{time.monotonic() - began:5.0f} s: {counts['calls']} calls, "
                f"{counts['attempts']} attempts, {counts['end cancelled']} cancelled, "
                f"{counts['outcome unknown']} unknown, {size:.1f} MiB",
                file=sys.stderr,
                flush=True,
            )

    telling = asyncio.create_task(tell()) if sys.stderr.isatty() else None
    try:
        yield
    finally:
        if telling is not None:
            telling.cancel()


@attrs.frozen(kw_only=True)
class Report:
    """
    What came of it.

    Attributes:
        broken: The promises that were not kept, in sentences.

        summary: Everything else.
    """

    broken: tuple[str, ...]
    summary: dict[str, Any]

    def text(self) -> str:
        """Return it for people."""
        lines = []
        for name, value in self.summary.items():
            if isinstance(value, dict):
                shown = ", ".join(f"{key} {count}" for key, count in value.items())
                lines.append(f"{name}: {shown or 'none'}")
            else:
                lines.append(f"{name}: {value}")
        lines += [f"BROKEN: {sentence}" for sentence in self.broken]
        return "\n".join([*lines, f"{len(self.broken)} broken promises"])


async def soak(options: argparse.Namespace) -> Report:
    """Let the traffic flow, and check."""
    chance = Random(options.seed)  # noqa: S311 - of customers, not of secrets
    findings = Findings()
    began = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as diary, complaints(findings):
        async with Server.running(fault_rate=options.fault_rate, seed=options.seed) as server:
            findings.marks[FIRST] = first = await figures()
            numbers = iter(range(10**12))
            for share, when in ((0.25, WARM), (0.75, LAST)):
                shop = Shop(server.url, chance, findings)
                traffic = Traffic(
                    server=server,
                    shop=shop,
                    chance=chance,
                    findings=findings,
                    diary=diary,
                    rate=options.rate,
                    concurrency=options.concurrency,
                )
                async with progress(findings, began):
                    await traffic.flow(numbers, options.minutes * 60 * share)
                findings.marks[when + OPEN] = await figures()
                await shop.aclose()
                del shop, traffic
                findings.marks[when] = await figures(first)
            held = Held.read(json.loads(await server.tell("end")))
        diary.seek(0)
        said = [Said.read(line) for line in diary]
    wrong = [f"{what} ({times} times)" for what, times in findings.wrong.items()]
    return Report(
        broken=(*wrong, *broken(said, held), *leaks(findings.marks)),
        summary={
            "minutes": options.minutes,
            "seconds in all": round(time.monotonic() - began, 1),
            "seed": options.seed,
            **_traffic(findings, held, settled_later(said)),
            **_sizes(findings),
        },
    )


def _traffic(findings: Findings, held: Held, settled: int) -> dict[str, Any]:
    counts = findings.counts

    def called(start: str) -> dict[str, int]:
        return {
            name.removeprefix(start): count
            for name, count in counts.most_common()
            if name.startswith(start)
        }

    return {
        "calls": counts["calls"],
        "attempts": counts["attempts"],
        "requests that arrived": held.received,
        "on record": len(held.records),
        "outcomes": called("outcome "),
        "ends": called("end "),
        "unknown, later recorded": settled,
        "on the way": called("met "),
        "faults": dict(held.faults),
    }


def _sizes(findings: Findings) -> dict[str, Any]:
    marks = findings.marks

    def per_mark(of: Callable[[Figures], float | None], peak: float | None) -> object:
        values = {name: of(mark) for name, mark in marks.items()}
        if None in values.values():
            return "not measured: /proc does not say"
        return values if peak is None else {**values, "peak": peak}

    def mebibytes(size: int | None) -> float | None:
        return None if size is None else round(size / 2**20, 1)

    return {
        "tokens of a retry quota": dict(
            zip(("least", "most"), findings.tokens or (), strict=False)
        ),
        "memory, MiB": per_mark(lambda mark: mebibytes(mark.memory), mebibytes(findings.memory)),
        "objects": per_mark(lambda mark: mark.objects, None),
        "descriptors": per_mark(lambda mark: mark.descriptors, findings.descriptors),
        "tasks": per_mark(lambda mark: mark.tasks, None),
    }


def main() -> int:
    """Soak, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="of traffic; 1 by default")
    parser.add_argument("--rate", type=float, default=100.0, help="customers a second")
    parser.add_argument("--concurrency", type=int, default=64, help="calls side by side")
    parser.add_argument("--fault-rate", type=float, default=0.15, help="of requests, all kinds")
    parser.add_argument("--seed", type=int, default=1, help="the same mix, if not the same moments")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options = parser.parse_args()
    if options.minutes <= 0 or options.rate <= 0 or options.concurrency < 1:
        parser.error("minutes, rate and concurrency must be above zero")
    if not 0 <= options.fault_rate <= 1:
        parser.error("the fault rate must be from 0 to 1")
    try:
        report = asyncio.run(soak(options))
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001 - whatever it was, it tells nothing about the promises
        traceback.print_exc()
        return 2
    if options.json:
        print(json.dumps({**report.summary, "broken": report.broken}, indent=2))
    else:
        print(report.text())
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
