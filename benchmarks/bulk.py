"""
What a run over a file costs: its memory by the number of rows, and its speed by its journal.

Runs ``carevalidate confirm`` on a short and on a long file. And on one file, side by side in
interleaved rounds: the same with its journal and with a journal that keeps nothing, and the bare
loop over its rows that a program would have that needs neither. All against a sandbox in a process
of its own. Prints ratios::

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
from typing import IO, TYPE_CHECKING, Self, TypeAlias, cast

import carevalidate_async.__main__
import carevalidate_async.journal
from carevalidate_async import CareValidate
from carevalidate_async._files.fields import content_key
from carevalidate_async._files.rows import RowReader
from carevalidate_async.journal import Journal, Plan, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from carevalidate_async import PaymentConfirmation
    from carevalidate_async.journal import Candidate, Duplicates, Ending, Settlement

Figures: TypeAlias = dict[str, float]

COMMAND = ("carevalidate_async",)

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


def confirm(path: pathlib.Path, program: Sequence[str] = COMMAND) -> Figures:
    """Run the command line over a file; return its rows a second, its CPU and its memory."""
    with sandbox() as url, tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", *program, "confirm", str(path), "--json"]
        journal = f"{folder}/journal"
        status, memory, cpu, output = measured([*command, "--base-url", url, "--journal", journal])
        check(status == 0, f"confirm ended with {status}")
        check(pathlib.Path(journal).exists() == (program == COMMAND), "one has no journal")
    summary = json.loads(output.splitlines()[-1])
    check(summary["rows"] == summary["confirmed"], "not all rows were confirmed")
    return {"rate": summary["rows_per_s"], "cpu": cpu, "memory": memory}


def without_journal(path: pathlib.Path) -> Figures:
    """Run the same command over a file, with a journal that keeps nothing."""
    return confirm(path, ("benchmarks.bulk", "--no-journal"))


class NoJournal(Journal):
    """Keeps nothing: no row was ever seen, and none ever will have been."""

    async def __aenter__(self) -> Self:
        """Open nothing."""
        self.fresh, self.begun_with, self.too_old = True, None, 0
        return self

    async def aclose(self) -> None:
        """Close nothing."""

    async def plan(self, candidates: Sequence[Candidate], _: Duplicates) -> list[Plan]:
        """Return that each row is to be sent."""
        return [Plan(verdict=Verdict.SEND, key=row.key or row.content) for row in candidates]

    async def settle(self, settlements: Iterable[Settlement]) -> None:
        """Note nothing."""

    async def end(self, ending: Ending, counts: Mapping[str, int], reason: str | None) -> None:
        """Note nothing."""


def run_without_journal(arguments: Sequence[str]) -> None:
    """Be the command line, without a journal."""
    carevalidate_async.journal.Journal = NoJournal  # type: ignore[misc]  # in this process alone
    sys.argv[1:] = arguments
    carevalidate_async.__main__.main()


def bare_loop(path: pathlib.Path) -> Figures:
    """Run the bare loop over the same rows; what comes of them is counted, and not kept."""
    with sandbox() as url:
        command = [sys.executable, "-m", "benchmarks.bulk", "--bare", str(path), "--url", url]
        status, memory, cpu, output = measured(command)
    check(status == 0, f"the bare loop ended with {status}")
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


def compare(path: pathlib.Path, rounds: int) -> None:
    """Run all three in turns, and print the ratios of a run with a journal by the others."""
    runs: list[Callable[[pathlib.Path], Figures]] = [confirm, without_journal, bare_loop]
    found = []
    for number in range(rounds):
        turn = number % len(runs)
        found.append({run: run(path) for run in (*runs[turn:], *runs[:turn])})
    for other, what in ((without_journal, "without"), (bare_loop, "the bare loop")):
        for name, unit in (("rate", "rows a second"), ("cpu", "CPU seconds")):
            ratios = [row[confirm][name] / row[other][name] for row in found]
            print(
                f"{unit}, with a journal by {what}: {statistics.median(ratios):.2f}"
                f" [{min(ratios):.2f}..{max(ratios):.2f}]",
                flush=True,
            )


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
    if sys.argv[1:2] == ["--no-journal"]:
        run_without_journal(sys.argv[2:])
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
        compare(files[options.compared], options.rounds)
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
