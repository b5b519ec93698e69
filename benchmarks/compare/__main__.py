"""What a call costs beside the same call by other means, side by side in one run."""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import TYPE_CHECKING

from benchmarks.compare import field
from benchmarks.compare.guard import worse
from benchmarks.compare.rounds import Setting, play
from benchmarks.compare.table import bars, document, lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.compare.contender import Contender

PROGRAM: tuple[tuple[Setting, Sequence[Contender]], ...] = (
    (Setting(concurrency=64), (*field.ALL, *field.LOOPS)),
    (Setting(concurrency=1), field.ALL),
    (Setting(concurrency=512), field.HOUSE),
    (Setting(concurrency=64, loop="uvloop"), field.HOUSE),
    (Setting(concurrency=64, tls=True), (*field.HOUSE, *field.LOOPS)),
)


def main() -> int:
    """Play, and print the tables; return 1 where the guard finds a call worse than recorded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--concurrency", type=int, metavar="N", help="One table alone.")
    parser.add_argument("--tls", action="store_true", help="With --concurrency.")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio", help="As well.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="Parts of contenders' names.")
    parser.add_argument("--calls", type=int, default=3000, help="Of a contender in a round.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=pathlib.Path, metavar="PATH", help="What was measured.")
    parser.add_argument("--plot", action="store_true", help="Show bars beside the tables.")
    parser.add_argument("--guard", action="store_true", help="Compare with what was recorded.")
    options = parser.parse_args()
    if options.guard:
        return worse(calls=options.calls, rounds=options.rounds)
    program = PROGRAM
    if options.concurrency is not None:
        setting = Setting(options.concurrency, tls=options.tls, loop=options.loop)
        program = ((setting, (*field.ALL, *field.LOOPS)),)
    found = []
    for setting, contenders in program:
        chosen = [one for one in contenders if _is_asked_for(one, options.only)]
        played = play(field.NAIVE, chosen, setting, calls=options.calls, rounds=options.rounds)
        found.append(document(setting, played))
        plot = [*bars(found[-1]), ""] if options.plot else []
        print("\n".join([*lines(found[-1]), "", *plot]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _is_asked_for(contender: Contender, parts: Sequence[str] | None) -> bool:
    if parts is None or contender is field.AGAIN:
        return True
    return any(part in contender.name for part in parts)


if __name__ == "__main__":
    raise SystemExit(main())
