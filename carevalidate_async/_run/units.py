"""Numbers as people read them: counts, durations, rates, and where an axis is marked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MINUTE = 60
_HOUR = 60 * _MINUTE
_STEPS = (1, 2, 5)
_TIME_STEPS = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, 24 * _HOUR),
)


def many(count: int, what: str, whats: str | None = None) -> str:
    """Return how many of what, such as 1,204 rows; *whats* is the plural where it adds no s."""
    return f"{count:,} {what if count == 1 else whats or f'{what}s'}"


def rounded(value: float) -> str:
    """Return a number with as many digits as one reads: 1,204, 81.5, 4.2, 0.04."""
    if value <= 0 or value >= 100:
        return f"{value:,.0f}"
    digits = 1 if value >= 1 else 1 - math.floor(math.log10(value))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def share(part: int, whole: int) -> str:
    """Return a part in percent, as 100 % only where it is all of it, and as 0 % never."""
    percent = 100 * part / whole
    if part < whole and percent >= 99.95:
        return "> 99.9 %"
    return "< 0.1 %" if percent < 0.05 else f"{percent:.1f} %".replace(".0 ", " ")


def brief(seconds: float) -> str:
    """Return how long one answer took: 0.8 ms, 82 ms, 1.2 s, 2 min 5 s."""
    if seconds < 0.0095:
        return f"{rounded(seconds * 1000)} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else lasting(seconds)


def lasting(seconds: float) -> str:
    """Return how long something went on: 0.2 s, 42 s, 12 min 20 s, 10 h 3 min."""
    if seconds < 0.05:
        return "under 0.1 s"
    if seconds < 9.95:
        return f"{rounded(round(seconds, 1))} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        minutes, rest = divmod(whole, _MINUTE)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(round(seconds / _MINUTE), _MINUTE)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def ticks(highest: float, most: int = 4) -> Sequence[float]:
    """
    Return where to mark an axis that begins at 0: at most *most* round numbers above 0.

    The last one may be below *highest*.
    """
    if highest <= 0:
        return ()
    power = 10.0 ** math.floor(math.log10(highest))
    steps = [step * power / 10 for step in _STEPS] + [step * power for step in _STEPS]
    step = next(step for step in steps if highest / step < most + 1)
    return [step * nth for nth in range(1, math.floor(highest / step * (1 + 1e-9)) + 1)]


def log_ticks(lowest: float, highest: float) -> Sequence[float]:
    """
    Return the powers of ten from *lowest* to *highest*, both of them above 0.

    Where they are few, twice and five times those come between.
    """
    powers = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    steps = _STEPS if highest < 1000 * lowest else (1,)
    found = [step * 10.0**power for power in powers for step in steps]
    return [value for value in found if lowest <= value <= highest]


def time_ticks(seconds: float, most: int = 6) -> Sequence[float]:
    """Return where to mark so many seconds, from 0 on, so that *most* steps are not passed."""
    longest = _TIME_STEPS[-1]
    step = next((step for step in _TIME_STEPS if seconds / step <= most), None)
    if step is None:
        step = longest * math.ceil(seconds / longest / most)
    return [step * nth for nth in range(math.floor(seconds / step * (1 + 1e-9)) + 1)]


def at_time(seconds: float) -> str:
    """Return a mark of `time_ticks`: 0, 0.5 s, 30 s, 2 min, 90 s, 1 h 30 min."""
    if seconds < _MINUTE:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + (" s" if seconds else "")
    return lasting(seconds)
