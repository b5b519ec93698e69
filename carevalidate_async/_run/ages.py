"""How old something is, as people write and read it."""

from __future__ import annotations

import re

_SECONDS = {"m": 60, "h": 3600, "d": 86_400}
_WRITTEN = re.compile(r"([0-9]{1,9})([mhd])")

FOREVER = "forever"
DEFAULT_KEY_AGE = "24h"
"""How old a key in doubt may be, unless somebody says otherwise, and still be sent again."""


def read_age(text: str) -> float | None:
    """
    Return the seconds that *text* says: ``90m``, ``36h``, ``7d``; None for ``forever``.

    Raises:
        ValueError: Anything else; its message is the reason.
    """
    if text == FOREVER:
        return None
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ValueError(f"must be a number with m, h or d, such as 90m, 36h or 7d, or {FOREVER}")
    return float(found[1]) * _SECONDS[found[2]]


def written_age(seconds: float | None) -> str:
    """Return an age as `read_age` takes it, None for any age."""
    if seconds is None:
        return FOREVER
    unit = next(unit for unit in ("d", "h", "m") if not seconds % _SECONDS[unit] or unit == "m")
    return f"{int(seconds // _SECONDS[unit])}{unit}"


def age_in_words(seconds: float) -> str:
    """Return an age in a unit that tells enough of it, rounded down."""
    for unit, name, least in (("d", "day", 2), ("h", "hour", 2), ("m", "minute", 1)):
        count = int(seconds // _SECONDS[unit])
        if count >= least:
            return f"{count:,} {name}{'' if count == 1 else 's'}"
    return "less than a minute"


def sent_in_words(age: float | None) -> str:
    """Return when a key that is too old may have been sent; an age of None is not known."""
    if age is None:
        return "at a time that nobody knows, since the clock went back"
    return f"{age_in_words(age)} ago, which is longer than --max-key-age"
