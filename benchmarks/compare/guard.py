"""
Whether a call costs more than it did when `recorded.json` was written.

Only ratios of one run are compared, since machines differ: the CPU time of a call by that of bare
aiohttp. What seems worse is measured once more, for machines are noisy, and only then told.
"""

from __future__ import annotations

import json
import pathlib
import statistics
from typing import TYPE_CHECKING

from benchmarks.compare import field
from benchmarks.compare.rounds import Setting, play

if TYPE_CHECKING:
    from collections.abc import Mapping

WORSE = 1.15
"""A ratio may be so much of the recorded one."""

GUARDED = (field.CALL, field.BULK)
_RECORDED = pathlib.Path(__file__).with_name("recorded.json")


def worse(*, calls: int, rounds: int) -> int:
    """Tell how the ratios are; return 1 where one is worse, twice, and 0 where none is."""
    known = recorded()
    for _ in range(2):
        ratios = measured(calls=calls, rounds=rounds)
        for name, ratio in ratios.items():
            print(f"{name}: {ratio:.2f} of aiohttp's CPU time a call; recorded {known[name]:.2f}")
        if all(ratio <= WORSE * known[name] for name, ratio in ratios.items()):
            return 0
    print(f"more than {WORSE} of what was recorded, twice")
    return 1


def recorded() -> Mapping[str, float]:
    """Return the ratios that nothing may be much worse than."""
    found: Mapping[str, float] = json.loads(_RECORDED.read_text())
    return found


def measured(*, calls: int, rounds: int) -> dict[str, float]:
    """Return the ratios of this machine, now."""
    played = play(field.NAIVE, GUARDED, Setting(), calls=calls, rounds=rounds)
    return {one.name: statistics.median(one.ratios) for one in played}
