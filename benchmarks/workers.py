"""
Two workers beside one, on the same queue and the same slow vendor, turn about.

``python -m benchmarks.workers --rows 100000 --concurrency 16 --milliseconds 50``

Everything runs on this machine: a NATS server from its wheel, the sandbox, which answers each
request so many milliseconds late, and the workers, each in a process of its own. The rows are
queued before the workers start; what is measured is from the first result to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

from carevalidate_async.sandbox import Fault, Sandbox

BIN = pathlib.Path(sys.executable).parent
HEADER = "case_id,amount,payment_date,valid_until,status\n"


def command(*arguments: str) -> list[str]:
    """Return the command line of the package, in this Python."""
    return [sys.executable, "-m", "carevalidate_async", *arguments]


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def serve(seconds: float) -> None:
    """Run the vendor until the end of standard input."""
    async with Sandbox(api_key="test", faults={Fault.DELAY(seconds=seconds): 1.0}) as sandbox:
        print(sandbox.url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        print(len(sandbox.payments), flush=True)


def measure(folder: pathlib.Path, options: argparse.Namespace, workers: int) -> float:
    """Return the rows a second of so many workers, with a vendor and a queue of their own."""
    port = free_port()
    server = subprocess.Popen(
        [
            *(str(BIN / "nats-server"), "-js", "-sd", str(folder / f"streams-{port}")),
            *("-a", "127.0.0.1", "-p", str(port)),
        ],
        stderr=subprocess.DEVNULL,
    )
    vendor = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.workers", "--serve", str(options.milliseconds / 1000)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert vendor.stdout is not None
    url = vendor.stdout.readline().strip()
    environment = {
        **os.environ,
        "CAREVALIDATE_API_KEY": "test",
        "CAREVALIDATE_BROKER": f"nats://127.0.0.1:{port}",
    }
    crew = []
    try:
        time.sleep(0.5)
        queue = command("enqueue", str(folder / "payments.csv"))
        subprocess.run(queue, env=environment, check=True, stdout=subprocess.DEVNULL)
        work = command("worker", "--base-url", url, "--concurrency", str(options.concurrency))
        began = time.perf_counter()
        crew = [
            subprocess.Popen(work, env=environment, stdout=subprocess.DEVNULL)
            for _ in range(workers)
        ]
        told = subprocess.run(
            command("collect", "--json"),
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - began
    finally:
        for process in crew:
            process.send_signal(signal.SIGTERM)
        for process in crew:
            process.wait()
        recorded, _ = vendor.communicate("")
        server.kill()
        server.wait()
    summary = json.loads(told.stdout.splitlines()[-1])
    assert options.rows == summary["confirmed"] == int(recorded)
    return float(options.rows / seconds)


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=16, help="of each worker")
    parser.add_argument("--milliseconds", type=float, default=50, help="each answer is late")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(serve(options.serve))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        lines = (f"case-{n},{n % 900}.50,2026-01-05,2026-02-05,PAID\n" for n in range(options.rows))
        (folder / "payments.csv").write_text(HEADER + "".join(lines))
        for _ in range(options.rounds):
            one, two = (measure(folder, options, workers) for workers in (1, 2))
            print(f"one worker {one:,.0f} rows/s, two {two:,.0f}: {two / one:.2f} times")


if __name__ == "__main__":
    main()
