"""What was measured, as a table, and as JSON."""

from __future__ import annotations

import platform
import statistics
from importlib import metadata
from typing import TYPE_CHECKING, Any

from benchmarks.compare.field import AGAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.compare.rounds import Played, Setting

OFF = 0.05
"""How far two that are the same may be apart before a run says nothing."""

BLOCK = 0.1
"""What a character of a plot stands for."""

MOST_BLOCKS = 60

_LIBRARIES = (
    *("aiohttp", "attrs", "cattrs", "msgspec", "tenacity", "uvloop", "aiofastnet", "pyreqwest"),
    *("aiohttp-retry", "elastic-transport", "azure-core", "stripe", "openai", "httpx"),
)


def document(setting: Setting, played: Sequence[Played]) -> dict[str, Any]:
    """Return what was measured, for machines."""
    rows: dict[str, Any] = {}
    for one in played:
        if not one.turns:
            rows[one.name] = {"why_not": one.why_not}
            continue
        rows[one.name] = {
            "cpu_by_aiohttp": round(statistics.median(one.ratios), 3),
            "cpu_by_aiohttp_least": round(min(one.ratios), 3),
            "cpu_by_aiohttp_most": round(max(one.ratios), 3),
            "calls_per_second_by_aiohttp": round(statistics.median(one.rates), 3),
            "cpu_microseconds": round(one.cpu, 1),
            "calls_per_second": round(one.rate),
        }
    return {
        "setting": str(setting),
        "python": platform.python_version(),
        "libraries": _versions(),
        "void": is_void(played),
        "contenders": rows,
    }


def is_void(played: Sequence[Played]) -> bool:
    """Tell whether two contenders that are the same came out too different."""
    again = [one for one in played if one.name == AGAIN.name and one.turns]
    return any(abs(statistics.median(one.ratios) - 1) > OFF for one in again)


def lines(found: dict[str, Any]) -> list[str]:
    """Return the table of a `document`, in Markdown."""
    head = "| contender | CPU of a call by aiohttp's | least to most | calls/s by aiohttp's |"
    told = [f"**{found['setting']}**", "", head, "|---|--:|--:|--:|"]
    for name, row in found["contenders"].items():
        if "why_not" in row:
            told.append(f"| {name} | could not play: {row['why_not']} | | |")
        else:
            least, most = row["cpu_by_aiohttp_least"], row["cpu_by_aiohttp_most"]
            told.append(
                f"| {name} | {row['cpu_by_aiohttp']:.2f} | {least:.2f} to {most:.2f} "
                f"| {row['calls_per_second_by_aiohttp']:.2f} |"
            )
    if found["void"]:
        told += ["", f"VOID: aiohttp beside itself is more than {OFF:.0%} off."]
    return told


def bars(found: dict[str, Any]) -> list[str]:
    """Return the CPU time of a call as a plot, in characters; what is too long for it is cut."""
    rows = {
        name: row["cpu_by_aiohttp"] for name, row in found["contenders"].items() if len(row) > 1
    }
    width = max(map(len, rows), default=0)
    told = [f"CPU of a call by aiohttp's, {found['setting']}; each block is {BLOCK}"]
    for name, ratio in rows.items():
        blocks = round(ratio / BLOCK)
        bar = "█" * blocks if blocks <= MOST_BLOCKS else "█" * (MOST_BLOCKS - 1) + "→"
        told.append(f"{name:{width}} {bar} {ratio:.2f}")
    return told


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
