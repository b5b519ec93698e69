"""
The sandbox of a soak, in a process of its own, so that what it uses is not counted with the client.

It prints its URL, then does what the lines on its standard input say, and prints a line for each:

- ``tour``: the next requests meet each fault once.
- ``usual``: faults by chance, as on a bad day.
- ``storm NAME``: every request meets that fault.
- ``gone``: nobody listens at the port.
- ``calm``: no faults; said to be done once the scripted ones before it are all met.
- ``end``: prints, as JSON, what arrived and what is on record, and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
from collections import Counter
from random import Random

from carevalidate_async.sandbox import Fault, Recorded, RecordedPayment, Sandbox

# Below what systems give to outgoing connections: while nobody listens, a client that tries again
# and again would one day be given the port that it calls, and be connected to itself.
PORTS = range(20_000, 30_000)
KINDS = (
    *Fault.EVERY,
    Fault.DELAY(seconds=0.4),
    Fault.REFUSE(status=408),
    Fault.REFUSE(status=501),
    Fault.RATE_LIMIT(retry_after=0),
    Fault.RATE_LIMIT(retry_after=3600),
    Fault.RATE_LIMIT(retry_after="soon"),
    Fault.REDIRECT(status=307),
    Fault.HTML(status=200),
    Fault.HTML(status=200, records=True),
    Fault.HANG(seconds=0.3),
    Fault.HANG_AFTER(seconds=0.3),
)
AHEAD = 100
"""Faults that are scripted ahead, while every request is to meet one."""

SLOW = Fault.DELAY(seconds=0.03)
"""What as many as `SLOW_RATE` of the requests meet; not counted as a fault."""

SLOW_RATE = 0.3
KEPT = 10_000
THING = re.compile(rb"thing-([0-9]+)")


def thing_of(body: bytes) -> int | None:
    """Return the number of the thing that a request is about; None where its body never came."""
    found = THING.search(body)
    return int(found[1]) if found else None


class Tally:
    """
    Counts the requests, so that the sandbox need not keep them all.

    Args:
        sandbox: What they arrive at.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._counted = 0
        self._ripe = 0
        self.arrived: Counter[int | None] = Counter()
        self.faults: Counter[str] = Counter()

    def count(self) -> None:
        """Count those that had arrived by the last time: a new one may be without its body yet."""
        for request in self._sandbox.requests:
            if self._counted < request.number <= self._ripe:
                if request.number != self._counted + 1:
                    raise RuntimeError("more requests arrived than are kept: lower the rate")
                self._counted = request.number
                self.arrived[thing_of(request.body)] += 1
                if request.fault not in {Fault.OK, SLOW}:
                    self.faults[repr(request.fault)] += 1
        self._ripe = self._sandbox.received

    async def go_on(self) -> None:
        """Count for ever."""
        while True:
            await asyncio.sleep(0.5)
            self.count()


class Weather:
    """
    What happens to all requests alike.

    Args:
        sandbox: Where it happens.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._every: Fault | None = None

    async def turn(self, word: str, name: str) -> None:
        """Do what a line says."""
        self._every = getattr(Fault, name) if word == "storm" else None
        if word == "tour":
            self._sandbox.script(*KINDS)
        if word == "gone":
            await self._sandbox.aclose()
        else:
            await self._sandbox.start()
        if word == "calm":
            # Whoever is still asking meets what is left of a storm.
            for _ in range(1000):
                if not self._sandbox.script_left:
                    break
                await asyncio.sleep(0.01)
            self._every = Fault.OK
        self._script()

    async def go_on(self) -> None:
        """Script ahead for ever."""
        while True:
            await asyncio.sleep(0.01)
            self._script()

    def _script(self) -> None:
        if self._every is not None:
            self._sandbox.script(*[self._every] * (AHEAD - len(self._sandbox.script_left)))


async def started(rate: float, seed: int) -> Sandbox:
    """Return a sandbox at a port that it can come back to."""
    faults = {**dict.fromkeys(KINDS, rate / len(KINDS)), SLOW: (1 - rate) * SLOW_RATE}
    for port in PORTS:
        sandbox = Sandbox(port=port, faults=faults, seed=seed, keep_requests=KEPT)
        try:
            return await sandbox.start()
        except OSError:
            continue
    raise RuntimeError("no port is free")


async def stillness(sandbox: Sandbox) -> None:
    """Wait until nothing arrives any more: what was sent may lie in a socket."""
    still, before = 0, -1
    while still < 5:
        still = still + 1 if sandbox.received == before else 0
        before = sandbox.received
        await asyncio.sleep(0.05)


def held(sandbox: Sandbox, tally: Tally) -> dict[str, object]:
    """Return what arrived and what is on record."""
    records: list[Recorded] = [
        *sandbox.payments,
        *sandbox.intents,
        *sandbox.user_updates,
        *sandbox.method_updates,
    ]
    return {
        "received": sandbox.received,
        "without_body": tally.arrived.pop(None, 0),
        "arrived": list(tally.arrived.items()),
        "faults": dict(tally.faults.most_common()),
        "records": [
            {
                "operation": record.operation,
                "thing": thing_of(record.raw),
                "key": record.idempotency_key if isinstance(record, RecordedPayment) else None,
                "id": record.id,
                "amount": str(record.body["amount"]) if "amount" in record.body else None,
            }
            for record in records
        ],
    }


async def main() -> None:
    """Serve until told to end, or until nobody is there any more to tell it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fault-rate", type=float, default=0.15)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sandbox = await started(options.fault_rate, Random(options.seed).getrandbits(32))  # noqa: S311 - seeded
    print(sandbox.url, flush=True)
    tally, weather = Tally(sandbox), Weather(sandbox)
    async with asyncio.TaskGroup() as group:
        ongoing = [group.create_task(tally.go_on()), group.create_task(weather.go_on())]
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            word, _, name = line.partition(" ")
            if word == "end":
                await stillness(sandbox)
                await sandbox.aclose()
                tally.count()
                tally.count()
                print(json.dumps(held(sandbox, tally)), flush=True)
                break
            await weather.turn(word, name)
            print(line, flush=True)
        for task in ongoing:
            task.cancel()
    await sandbox.aclose()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # which the terminal gives to both processes
        asyncio.run(main())
