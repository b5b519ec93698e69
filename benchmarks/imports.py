"""
How long a process takes to import, or to say how it is used, by what users would otherwise do.

Each command runs in a process of its own, in turns. The least time of each counts, since nothing
makes one shorter than it is, and what a bare Python takes is taken off::

    python -m benchmarks.imports
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

BARE = ("-c", "pass")
AIOHTTP = ("-c", "import aiohttp")
OURS = {
    "import carevalidate_async": ("-c", "import carevalidate_async"),
    "from carevalidate_async import CareValidate": (
        "-c",
        "from carevalidate_async import CareValidate",
    ),
    "a client": ("-c", "from carevalidate_async import CareValidate; CareValidate('k')"),
    "import asyncio": ("-c", "import asyncio"),
}
HELP = ("-m", "carevalidate_async", "--help")


def seconds(command: tuple[str, ...]) -> float:
    """Return what a process takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    commands = (BARE, AIOHTTP, *OURS.values(), HELP)
    least = dict.fromkeys(commands, float("inf"))
    for _ in range(options.rounds):
        for command in commands:
            least[command] = min(least[command], seconds(command))
    bare = least[BARE]
    for name, command in OURS.items():
        print(f"{name}: {(least[command] - bare) / (least[AIOHTTP] - bare):.2f} of import aiohttp")
    print(f"carevalidate --help: {least[HELP] / bare:.1f} of a bare Python")


if __name__ == "__main__":
    main()
