"""How often Python looks for garbage in a process of the command's own."""

from __future__ import annotations

import gc

OBJECTS = 50_000
"""
Objects that are made before Python looks which of them hold each other for nothing.

As often as by default (700 or 2,000), looking took a tenth of a run: thousands of rows are at hand
at any time, and are looked through again and again, while hardly anything is ever found.
"""


def look_seldom() -> None:
    """Let Python look once in so many objects; for all of the process."""
    gc.set_threshold(OBJECTS)
