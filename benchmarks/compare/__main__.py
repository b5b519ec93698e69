"""The command."""

from __future__ import annotations

import argparse
import json
import pathlib

from benchmarks.compare import field
from benchmarks.compare.rounds import Setting, play
from benchmarks.compare.table import document, lines


def main() -> None:
    """Play, and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__.strip()
    )
    parser.add_argument("--concurrency", type=int, nargs="+", default=[64], metavar="N")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="Parts of contenders' names.")
    parser.add_argument("--calls", type=int, default=4000, help="A contender and round.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, metavar="PATH")
    options = parser.parse_args()
    chosen = [
        contender
        for contender in field.ALL
        if contender in (field.NAIVE, field.AGAIN)
        or not options.only
        or any(part in contender.name for part in options.only)
    ]
    found = []
    for concurrency in options.concurrency:
        setting = Setting(concurrency=concurrency, tls=options.tls, loop=options.loop)
        played = play(chosen, setting, calls=options.calls, rounds=options.rounds)
        found.append(document(setting, played))
        print("\n".join(["", *lines(found[-1])]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
