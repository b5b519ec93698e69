"""
The axes of a plot over time, and what stands on them; the page's template draws it.

Across, a panel has a thousand units whatever its width on the screen, so that it can be stretched;
down, a unit is a pixel. Text is no part of it: it keeps its size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import attrs

from carevalidate_async._run.pauses import Pause
from carevalidate_async._run.units import at_time, log_ticks, ticks, time_ticks

ACROSS = 1000
"""Units from a panel's left to its right."""

NARROW = 232
"""Pixels that a plot is wide where there is the least room, on a phone."""

WIDE = 520
"""Likewise on anything else; the style sheet draws the line between the two."""

_LETTER = 7  # pixels that a letter of a mark takes
_BETWEEN = 8  # pixels between two marks, at least
_LOG_FROM = 30  # times that the highest value is the lowest, from where on a scale is logarithmic


@attrs.frozen(kw_only=True)
class Mark:
    """
    A mark on an axis.

    Attributes:
        at: Across in percent, down in pixels from the panel's top.

        label: What it says.

        note: What it says besides, such as the time of day.
    """

    at: float
    label: str
    note: str = ""

    @property
    def side(self) -> str:
        """At which end of an axis of time it is: `first`, `last` or nothing."""
        return "first" if self.at < 4 else "last" if self.at > 96 else ""


@attrs.frozen(kw_only=True)
class TimeMark(Mark):
    """
    A mark on the axis of time.

    Attributes:
        label_on: Where its label has room: `wide`, `narrow`, both or nothing.

        note_on: Likewise its note.
    """

    label_on: str
    note_on: str


@attrs.frozen(kw_only=True)
class Shape:
    """
    A line or an area.

    Attributes:
        kind: How it is drawn, as the style sheet calls it.

        path: As SVG writes it.
    """

    kind: str
    path: str


@attrs.frozen(kw_only=True)
class Panel:
    """
    Shapes above one axis of time.

    Attributes:
        top: Pixels from the plot's top.

        height: Pixels.

        marks: On its upright axis.

        shapes: From back to front.

        title: Its name, where it has one of its own.

        note: What else stands beside the name.

        detail: What stands there too where there is room.
    """

    top: int
    height: int
    marks: Sequence[Mark] = ()
    shapes: Sequence[Shape]
    title: str = ""
    note: str = ""
    detail: str = ""


@attrs.frozen(kw_only=True)
class Plot:
    """
    Panels above one axis of time.

    Attributes:
        height: Pixels, without the axis of time.

        panels: From top to bottom.

        times: Marks of the axis of time.

        pauses: Where the run waited: begin and width in percent.
    """

    height: int
    panels: Sequence[Panel]
    times: Sequence[TimeMark]
    pauses: Sequence[tuple[float, float]]


@attrs.frozen(kw_only=True)
class Timeline:
    """
    The axis of time that all plots of a run share.

    Attributes:
        began: When the run did.

        seconds: How long it took, more than 0.

        pauses: When it waited for the vendor.
    """

    began: datetime
    seconds: float
    pauses: Sequence[Pause] = ()

    def across(self, seconds: float) -> float:
        """Return where a moment is, in units."""
        return round(ACROSS * min(seconds / self.seconds, 1.0), 1)

    def clock(self, seconds: float) -> str:
        """Return the time of day in UTC, with seconds where the run took but minutes."""
        moment = self.began.astimezone(UTC) + timedelta(seconds=seconds)
        return f"{moment:%H:%M:%S}" if self.seconds < 300 else f"{moment:%H:%M}"

    def plot(self, panels: Sequence[Panel]) -> Plot:
        """Return *panels* above this axis."""
        marks = [
            Mark(at=self.across(at) * 100 / ACROSS, label=at_time(at), note=self.clock(at))
            for at in time_ticks(self.seconds)
        ]
        room = {"wide": _room(marks, WIDE), "narrow": _room(marks, NARROW)}
        times = [
            TimeMark(
                at=mark.at,
                label=mark.label,
                note=mark.note,
                label_on=" ".join(name for name, (labels, _) in room.items() if nth in labels),
                note_on=" ".join(name for name, (_, notes) in room.items() if nth in notes),
            )
            for nth, mark in enumerate(marks)
        ]
        waits = [(self.across(pause.begin), self.across(pause.end)) for pause in self.pauses]
        return Plot(
            height=panels[-1].top + panels[-1].height,
            panels=panels,
            times=times,
            pauses=[(left * 100 / ACROSS, (right - left) * 100 / ACROSS) for left, right in waits],
        )


def _room(marks: Sequence[Mark], width: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return which of *marks* have their labels, and which of those their notes, in that width."""
    labels = _fitting(range(len(marks)), [mark.label for mark in marks], marks, width)
    notes = _fitting(labels, [mark.note for mark in marks], marks, width)
    return labels, notes


def _fitting(
    some: Sequence[int], texts: Sequence[str], marks: Sequence[Mark], width: int
) -> Sequence[int]:
    """Return as many of *some* as have room for their texts, evenly spread and without repeats."""

    def meet(shown: Sequence[int]) -> bool:
        ends = [_ends(marks[nth].at * width / 100, texts[nth], marks[nth]) for nth in shown]
        return any(one[1] + _BETWEEN > other[0] for one, other in itertools.pairwise(ends))

    choices = (_changes(some[::step], texts) for step in range(1, len(some) + 1))
    return next(shown for shown in choices if not meet(shown))


def _changes(some: Sequence[int], texts: Sequence[str]) -> Sequence[int]:
    """Return those of *some* whose text is not that of the one before."""
    later = [nth for before, nth in itertools.pairwise(some) if texts[nth] != texts[before]]
    return [some[0], *later]


def _ends(across: float, text: str, mark: Mark) -> tuple[float, float]:
    """Return where the text of a mark begins and ends, in pixels."""
    size = len(text) * _LETTER
    left = across - {"first": 0.0, "": 0.5, "last": 1.0}[mark.side] * size
    return left, left + size


@attrs.frozen(kw_only=True)
class Scale:
    """
    An upright axis.

    Attributes:
        low: The value at its foot.

        high: The value at its top.

        height: Pixels.

        logarithmic: Whether equal ratios are equally far apart.
    """

    low: float = 0.0
    high: float
    height: int
    logarithmic: bool = False

    @classmethod
    def over(cls, values: Sequence[float], height: int) -> Scale:
        """Return the scale that begins at 0 and has room for *values*."""
        return cls(high=max(values, default=0.0) * 1.06 or 1.0, height=height)

    @classmethod
    def around(cls, values: Sequence[float], height: int) -> Scale:
        """Return the scale for *values* above 0: a logarithmic one where they are far apart."""
        low, high = min(values), max(values)
        if high < low * _LOG_FROM:
            return cls.over(values, height)
        return cls(low=low / 1.2, high=high * 1.2, height=height, logarithmic=True)

    def down(self, value: float) -> float:
        """Return where *value* is, in pixels from the top."""
        if self.logarithmic:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = value / self.high
        return round(self.height * (1 - part), 1)

    def marks(self, written: Callable[[float], str]) -> Sequence[Mark]:
        """Return its marks, each as *written*."""
        values = log_ticks(self.low, self.high) if self.logarithmic else ticks(self.high)
        return [Mark(at=self.down(value), label=written(value)) for value in values]
