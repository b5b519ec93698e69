"""
What a confirmation costs beside the same request on bare aiohttp, in one run.

Prints ratios of CPU time per request (ours by bare aiohttp's, both talking to a sandbox in a
process of its own), as the median of interleaved rounds; ``--help`` lists the knobs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import aiohttp

from carevalidate_async import CareValidate, PaymentConfirmation, PaymentStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

DAY = date(2026, 11, 2)
SERVER = """
import asyncio
from carevalidate_async.sandbox import Sandbox

async def main():
    async with Sandbox(api_key="test", keep_requests=0) as sandbox:
        print(sandbox.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def payments(count: int, run: str) -> Iterator[PaymentConfirmation]:
    """Give *count* payments that no other *run* has."""
    for number in range(count):
        yield PaymentConfirmation(
            case_id=f"{run}-{number}",
            amount=Decimal("49.90"),
            payment_date=DAY,
            valid_until=DAY,
            status=PaymentStatus.PAID,
        )


async def bare(url: str, count: int, concurrency: int, run: str) -> None:
    """Do what a program without a library does."""
    numbers = iter(range(count))

    async def worker(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            body = {
                "caseId": f"{run}-{number}",
                "amount": 49.9,
                "paymentDate": "2026-11-02",
                "validUntil": "2026-11-02",
                "status": "PAID",
                "idempotencyKey": f"{run}-{number}",
            }
            path = f"{url}/api/v1/customer-payment-confirmation"
            async with session.post(path, json=body, headers={"cv-api-key": "test"}) as answer:
                if not (await answer.json())["success"]:
                    raise RuntimeError("not confirmed")

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(worker(session) for _ in range(concurrency)))


async def calls(url: str, count: int, concurrency: int, run: str) -> None:
    """Await the client's method in as many tasks."""
    rows = payments(count, run)

    async def worker(care: CareValidate) -> None:
        for payment in rows:
            await care.confirm_payment(payment)

    async with CareValidate("test", base_url=url) as care:
        await asyncio.gather(*(worker(care) for _ in range(concurrency)))


async def bulk(url: str, count: int, concurrency: int, run: str) -> None:
    """Let the client do the many."""
    async with CareValidate("test", base_url=url) as care:
        async for row in care.confirm_payments(payments(count, run), concurrency=concurrency):
            if row.error is not None:
                raise row.error


CONTENDERS: dict[str, Callable[[str, int, int, str], Awaitable[None]]] = {
    "bare aiohttp": bare,
    "bare aiohttp again": bare,
    "confirm_payment": calls,
    "confirm_payments": bulk,
}


def main() -> None:
    """Play the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="requests a contender and round")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        url = server.stdout.readline().strip()
        try:
            spent: dict[str, list[float]] = {name: [] for name in CONTENDERS}
            for turn in range(options.rounds):
                order = list(CONTENDERS.items())
                for name, play in order if turn % 2 else reversed(order):
                    began = time.process_time()
                    asyncio.run(_run(play, url, options, f"{turn}-{name}"))
                    spent[name].append(time.process_time() - began)
        finally:
            server.terminate()
    base = spent["bare aiohttp"]
    ratios = {
        name: statistics.median(a / b for a, b in zip(times, base, strict=True))
        for name, times in spent.items()
    }
    for name, ratio in ratios.items():
        print(f"{name:20} {ratio:5.2f} of bare aiohttp's CPU time per request")
    print(json.dumps(ratios))


async def _run(
    play: Callable[[str, int, int, str], Awaitable[None]],
    url: str,
    options: argparse.Namespace,
    run: str,
) -> None:
    await play(url, options.count, options.concurrency, run)


if __name__ == "__main__":
    main()
