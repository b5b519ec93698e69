"""
What a run over a file costs: its memory by the number of rows, and its speed by its journal.

Runs ``carevalidate confirm`` on a short and on a long file, and then, side by side in interleaved
rounds, the same client on the same rows without a journal; all against a sandbox in a process of
its own. Prints ratios::

    python -m benchmarks.bulk --rows 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, cast

from carevalidate_async import CareValidate
from carevalidate_async._files.fields import content_key
from carevalidate_async._files.rows import RowReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carevalidate_async import PaymentConfirmation

HEADER = "case_id,amount,payment_date,valid_until,status,email,description\n"
SANDBOX = """
import asyncio
from carevalidate_async.sandbox import Sandbox

async def main():
    async with Sandbox(api_key="test", keep_requests=0) as sandbox:
        print(sandbox.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def write_rows(path: pathlib.Path, rows: int) -> None:
    """Write a CSV file of so many payments."""
    with path.open("w") as file:
        file.write(HEADER)
        for number in range(rows):
            amount = f"{number % 1000}.{number % 100:02}"
            email = f"patient{number}@example.com"
            file.write(f"case-{number},{amount},2026-11-02,2026-12-01,PAID,{email},month of care\n")


@contextlib.contextmanager
def sandbox() -> Iterator[str]:
    """Run a sandbox in a process of its own, and give its URL."""
    with started([sys.executable, "-c", SANDBOX]) as (process, output):
        try:
            yield output.readline().decode().strip()
        finally:
            process.kill()


@contextlib.contextmanager
def started(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Start a command; give it and its standard output."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CAREVALIDATE_API_KEY": "test"},
    ) as process:
        yield process, cast("IO[bytes]", process.stdout)


def check(condition: object, what: str) -> None:
    """End the measurement where it would mean nothing."""
    if not condition:
        sys.exit(f"void: {what}")


def measured(command: Sequence[str]) -> tuple[int, float, float, str]:
    """Return a command's exit status, peak memory in MB, CPU seconds, and standard output."""
    with started(command) as (process, stream):
        output = stream.read().decode()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_maxrss / 1024, used.ru_utime + used.ru_stime, output


def confirm(path: pathlib.Path) -> dict[str, float]:
    """Run the command line over a file; return its rows a second, its CPU and its memory."""
    with sandbox() as url, tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "carevalidate_async", "confirm", str(path), "--json"]
        journal = f"{folder}/journal"
        status, memory, cpu, output = measured([*command, "--base-url", url, "--journal", journal])
    check(status == 0, f"confirm ended with {status}")
    summary = json.loads(output.splitlines()[-1])
    check(summary["rows"] == summary["confirmed"], "not all rows were confirmed")
    return {"rate": summary["rows_per_s"], "cpu": cpu, "memory": memory}


def without_journal(path: pathlib.Path) -> dict[str, float]:
    """Run the same client over the same rows; what comes of them is counted, and not kept."""
    with sandbox() as url:
        command = [sys.executable, "-m", "benchmarks.bulk", "--bare", str(path), "--url", url]
        status, memory, cpu, output = measured(command)
    check(status == 0, f"the client without a journal ended with {status}")
    return {"rate": float(output), "cpu": cpu, "memory": memory}


async def bare(path: pathlib.Path, url: str) -> float:
    """Confirm the rows of a file without a journal; return rows a second."""

    def payments() -> Iterator[PaymentConfirmation]:
        for row in RowReader(stream):
            if row.payment is not None:
                content_key(row.payment)  # which a run reckons, journal or not
                yield row.payment

    count, began = 0, time.perf_counter()
    with path.open("rb") as stream:
        async with CareValidate("test", base_url=url) as care:
            async for row in care.confirm_payments(payments()):
                count += row.receipt is not None
    return count / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the long file")
    parser.add_argument("--short", type=int, default=10_000, help="rows of the short file")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the comparison")
    parser.add_argument("--compared", type=int, default=20_000, help="rows of each of its runs")
    parser.add_argument("--bare", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(asyncio.run(bare(options.bare, options.url)))
        return
    with tempfile.TemporaryDirectory() as folder:
        files = {
            rows: pathlib.Path(folder, f"{rows}.csv")
            for rows in (options.short, options.compared, options.rows)
        }
        for rows, path in files.items():
            write_rows(path, rows)
        pairs = []
        for number in range(options.rounds):
            runs = [confirm, without_journal]
            found = {
                run: run(files[options.compared]) for run in (runs if number % 2 else runs[::-1])
            }
            pairs.append((found[confirm], found[without_journal]))
        for name, what in (("rate", "rows a second"), ("cpu", "CPU seconds")):
            ratios = [with_it[name] / bare_[name] for with_it, bare_ in pairs]
            print(
                f"{what}, with a journal by without: {statistics.median(ratios):.2f}"
                f" [{min(ratios):.2f}..{max(ratios):.2f}]",
                flush=True,
            )
        short, long = confirm(files[options.short]), confirm(files[options.rows])
        print(
            f"peak memory, {options.rows:,} rows by {options.short:,}: "
            f"{long['memory'] / short['memory']:.2f} ({long['memory']:.0f} MB)"
        )
        print(
            f"rows a second, {options.rows:,} rows by {options.short:,}: "
            f"{long['rate'] / short['rate']:.2f} ({long['rate']:.0f}/s)"
        )


if __name__ == "__main__":
    main()
