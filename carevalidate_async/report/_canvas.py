"""A run laid out to be drawn: lines, areas and strips over its time, and the rows of a table."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, TypeVar

import attrs

from carevalidate_async._run.tiles import Span
from carevalidate_async._run.units import lasting
from carevalidate_async.report._plots import Panel, Scale, Shape, Timeline

STRIP = 24
"""Pixels; the height of a strip."""

HEAD = 22
"""Pixels; what the name of a panel takes above it."""

GAP = 12
"""Pixels between two panels."""

Number = TypeVar("Number", float, float | None)
Value: TypeAlias = Callable[[Span], Number]


@attrs.frozen(kw_only=True)
class Canvas:
    """
    A run laid out to be drawn.

    Attributes:
        whole: The run in one piece.

        spans: In pieces for the eye.

        few: In pieces for a table.

        time: The axis that they stand on.
    """

    whole: Span
    spans: Sequence[Span]
    few: Sequence[Span]
    time: Timeline

    def steps(self, value: Value[float | None], scale: Scale) -> str:
        """Return the line of a value, level in each piece; where one has none is a gap."""
        parts, pen = [], False
        for span in self.spans:
            found = value(span)
            if found is not None:
                left, right = self._sides(span)
                height = scale.down(found)
                parts.append(f"{f'V{height:g}' if pen else f'M{left:g} {height:g}'}H{right:g}")
            pen = found is not None
        return "".join(parts)

    def curve(self, value: Value[float | None], scale: Scale) -> str:
        """Return the line of a value through the middles of pieces, with gaps likewise."""
        parts = []
        for there, group in itertools.groupby(self.spans, lambda span: value(span) is not None):
            if there:
                stretch = list(group)
                heights = [scale.down(value(span) or 0.0) for span in stretch]
                middles = [self.time.across(span.begin + span.seconds / 2) for span in stretch]
                ends = self._sides(stretch[0])[0], self._sides(stretch[-1])[1]
                points = [*zip(middles, heights, strict=True), (ends[1], heights[-1])]
                line = " ".join(f"{across:g} {down:g}" for across, down in points)
                parts.append(f"M{ends[0]:g} {heights[0]:g}L{line}")
        return "".join(parts)

    def blocks(self, value: Value[float], scale: Scale) -> str:
        """Return the area from the foot up to a value; 0 is no area."""
        parts = []
        for some, group in itertools.groupby(self.spans, lambda span: value(span) > 0):
            if some:
                stretch = list(group)
                left = self._sides(stretch[0])[0]
                line = attrs.evolve(self, spans=stretch).steps(value, scale)
                parts.append(f"{line}V{scale.height}H{left:g}Z")
        return "".join(parts)

    def between(self, values: Callable[[Span], tuple[float, float] | None], scale: Scale) -> str:
        """Return the area between two values; where a piece has none is a gap."""
        parts = []
        for span in self.spans:
            found = values(span)
            if found is not None:
                left, right = self._sides(span)
                low, high = map(scale.down, found)
                parts.append(f"M{left:g} {low:g}H{right:g}V{high:g}H{left:g}Z")
        return "".join(parts)

    def strip(
        self, value: Callable[[Span], int], *, above: Sequence[Panel], kind: str, title: str
    ) -> Panel:
        """Return a low panel of counts, below those *above*, which tells its scale in words."""
        most = max(self.spans, key=value)
        area = self.blocks(value, Scale(high=value(most) or 1, height=STRIP))
        return Panel(
            top=below(above) + HEAD,
            height=STRIP,
            shapes=[Shape(kind=f"area {kind}", path=area)],
            title=title,
            note=f"{value(self.whole):,}",
            detail=f"at most {value(most):,} in {lasting(most.seconds)}" if value(most) > 1 else "",
        )

    def table(self, cells: Callable[[Span], Iterable[str]]) -> Sequence[Sequence[str]]:
        """Return the rows of a table: time since the beginning, time of day, and the *cells*."""
        return [
            (lasting(span.begin) if span.begin else "0", self.time.clock(span.begin), *cells(span))
            for span in self.few
        ]

    def _sides(self, span: Span) -> tuple[float, float]:
        return self.time.across(span.begin), self.time.across(span.begin + span.seconds)


def below(panels: Sequence[Panel]) -> int:
    """Return where there is room for another panel, in pixels from the top."""
    return panels[-1].top + panels[-1].height + GAP if panels else 0
