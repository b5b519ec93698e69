"""
Plays the whole fault matrix and says how it went: ``python -m matrix``, from ``tests/``.

``--write FILE`` puts the table of the results between the marks in FILE. The exit status is 1 when
a combination does not end as stated.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import canaries
from matrix.play import Case, Played, cases, play
from matrix.table import Result, fill, table


def main() -> int:
    """Play, print and perhaps write; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m matrix", description=__doc__)
    parser.add_argument("--write", metavar="FILE", type=pathlib.Path)
    options = parser.parse_args()
    results: dict[str, Result] = {}
    struck, wrong = 0, []
    for case in cases():
        played = play(case, canaries.Seen())
        results[case.id] = Result(
            result=played.result, outcome=played.outcome, attempts=len(played.attempts)
        )
        struck += played.struck
        if not _as_stated(case, played):
            wrong.append(case.id)
    print(f"{len(results)} combinations, {struck} faults consumed, {len(wrong)} not as stated")
    print("\n".join(wrong), end="")
    if options.write is not None:
        text = options.write.read_text(encoding="utf-8")
        options.write.write_text(fill(text, table(results)), encoding="utf-8")
    return 1 if wrong else 0


def _as_stated(case: Case, played: Played) -> bool:
    expected = case.expected
    return (case.struck, 0, case.result, *map(expected.get, _STATED)) == (
        played.struck,
        played.left,
        played.result,
        played.outcome,
        played.gave_up,
        len(played.attempts),
        played.requests,
        played.records,
    )


_STATED = ("outcome", "gave_up", "attempts", "requests", "records")

if __name__ == "__main__":
    sys.exit(main())
