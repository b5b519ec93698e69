"""The figures of a run's report: each a finding in words, a plot, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

import attrs

from carevalidate_async._run.tiles import Span
from carevalidate_async._run.units import brief, lasting, many, rounded
from carevalidate_async.report._canvas import HEAD, Canvas, below
from carevalidate_async.report._plots import Panel, Plot, Scale, Shape, Timeline

if TYPE_CHECKING:
    from datetime import datetime

    from carevalidate_async._run.course import Course
    from carevalidate_async._run.pauses import Pause
    from carevalidate_async.report._wording import Place

MOST_ROWS = 24
"""Rows of a table of numbers."""

_FINEST = 240
_COARSEST = 12
_EVENTS_A_SPAN = 8  # with fewer on average, a plot shows chance
_TALL = 168  # pixels
_LOW = 96
_PERCENTILES = ("p50", "p95", "p99")

_Strip: TypeAlias = tuple[str, str, Callable[[Span], int]]


@attrs.frozen(kw_only=True)
class Figure:
    """
    What a run did, from one side.

    Attributes:
        name: For links.

        title: For people.

        finding: What is to be seen, in words.

        how: How to read it.

        plot: None where there is nothing to be drawn.

        key: How each line and area is drawn, and what it is.

        columns: Of its table, after the two for the time.

        rows: Of its table; see `Canvas.table`.
    """

    name: str
    title: str
    finding: str
    how: str = ""
    plot: Plot | None = None
    key: Sequence[tuple[str, str]] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def figures(course: Course, began: datetime, places: Sequence[Place]) -> Sequence[Figure]:
    """
    Return what a run did over time; nothing where it did nothing.

    Args:
        course: What happened when.

        began: When the run did.

        places: Where its rows stand.
    """
    whole = course.whole()
    events = max(whole.requests, sum(whole.rows.values()), _earlier(whole))
    if not events or whole.seconds <= 0:
        return ()
    canvas = Canvas(
        whole=whole,
        spans=course.spans(min(max(events // _EVENTS_A_SPAN, _COARSEST), _FINEST)),
        few=course.spans(MOST_ROWS),
        time=Timeline(began=began, seconds=whole.seconds, pauses=course.pauses()),
    )
    found = [_outcomes(canvas, places)] if whole.rows or whole.earlier else []
    if whole.requests:
        found += [_throughput(canvas), _latency(canvas)]
        if whole.limits is not None:
            found.append(_allowed(canvas, *whole.limits))
    if len(canvas.spans) == 1:  # too short for anything to be seen over time
        return [attrs.evolve(figure, plot=None) for figure in found]
    pause = [_waits(course.pauses())] if course.pauses() else []
    return [attrs.evolve(figure, key=[*figure.key, *pause]) for figure in found]


def _waits(pauses: Sequence[Pause]) -> tuple[str, str]:
    some = any(pause.times > 1 for pause in pauses)
    return "pause", f"the run waited for the vendor{', in places off and on' if some else ''}"


def _outcomes(canvas: Canvas, places: Sequence[Place]) -> Figure:
    known: list[_Strip] = [("earlier", "on record from earlier runs", _earlier)]
    told: list[_Strip] = [(place.name, place.title, _placed(place.name)) for place in places]
    strips = [strip for strip in known + told if strip[2](canvas.whole)]
    panels: list[Panel] = []
    for name, title, value in strips:
        panels.append(canvas.strip(value, above=panels, kind=name, title=title))
    return Figure(
        name="outcomes",
        title="Outcomes",
        finding=_first_and_last(canvas, [place.name for place in places if place.needs_a_look]),
        how="Rows as they got their place. Each outcome has a scale of its own, so that a single "
        "row can be seen.",
        plot=canvas.time.plot(panels),
        columns=[title for _, title, _ in strips],
        rows=canvas.table(lambda span: [f"{value(span):,}" for _, _, value in strips]),
    )


def _first_and_last(canvas: Canvas, bad: Sequence[str]) -> str:
    total = sum(canvas.whole.rows.get(name, 0) for name in bad)
    if not total:
        return "No row needs a look."
    times = [span.begin for span in canvas.spans if any(span.rows.get(name) for name in bad)]
    rows = many(total, "row needs", "rows need")
    first, last = (
        f"after about {lasting(at)}" if at else "at once" for at in (times[0], times[-1])
    )
    if first == last:
        return f"{rows} a look, {'all of them ' if total > 1 else ''}{first}."
    return f"{rows} a look, the first {first}, the last {last}."


def _throughput(canvas: Canvas) -> Figure:
    done = [_done(span) for span in canvas.spans]
    scale = Scale.over([*done, *map(_asked, canvas.spans)], _TALL)
    shapes = [
        Shape(kind="area done", path=canvas.blocks(_done, scale)),
        Shape(kind="line requests", path=canvas.steps(_asked, scale)),
    ]
    panels = [Panel(top=0, height=_TALL, marks=scale.marks(_a_second), shapes=shapes)]
    for kind, title in (("refused", "turned away (429, 503)"), ("lost", "without an answer")):
        value: Callable[[Span], int] = attrgetter(kind)
        if value(canvas.whole):
            panels.append(canvas.strip(value, above=panels, kind=kind, title=title))
    return Figure(
        name="throughput",
        title="Throughput",
        finding=_rates(canvas.whole, max(done), len(done)),
        plot=canvas.time.plot(panels),
        key=[
            ("area done", "payments put on record per second"),
            ("line requests", "requests per second, retries included"),
        ],
        columns=["on record /s", "requests /s", "turned away", "no answer"],
        rows=canvas.table(
            lambda span: [
                *(rounded(rate) for rate in (_done(span), _asked(span))),
                *(f"{count:,}" for count in (span.refused, span.lost)),
            ]
        ),
    )


def _rates(whole: Span, most: float, stretches: int) -> str:
    if not whole.on_record:
        return "No payment was put on record."
    text = f"{rounded(_done(whole))} payments a second put on record on average"
    at_work = whole.seconds - whole.paused
    # Where it waited in each of the stretches, the most of them says less than that.
    if 0 < at_work < whole.seconds and whole.on_record / at_work <= most:
        text += f", {rounded(whole.on_record / at_work)} while the run did not wait"
    return f"{text}, {rounded(most)} at most." if stretches > 1 else f"{text}."


def _latency(canvas: Canvas) -> Figure:
    whole = canvas.whole.latency
    if whole is None:
        return Figure(name="latency", title="Latency", finding="No request reached the vendor.")
    found = [span.latency for span in canvas.spans if span.latency is not None]
    scale = Scale.around([at for one in found for at in (one.p50, one.p99)], _TALL)
    shapes = [
        Shape(kind=f"line {name}", path=canvas.curve(_percentile(name), scale))
        for name in reversed(_PERCENTILES)
    ]
    panel = Panel(top=0, height=_TALL, marks=scale.marks(brief), shapes=shapes)
    return Figure(
        name="latency",
        title="Latency",
        finding=f"Half of the requests took at most {brief(whole.p50)}, 99 % at most "
        f"{brief(whole.p99)}.",
        how="Until an answer, or until nobody waited for one any more; within 2 %. Where nothing "
        "was measured, nothing is drawn.",
        plot=canvas.time.plot([panel]),
        key=[
            (f"line {name}", f"{name[1:]} % took at most this; {brief(at)} overall")
            for name in _PERCENTILES
            if (at := getattr(whole, name))
        ],
        columns=["50 %", "95 %", "99 %", "requests"],
        rows=canvas.table(
            lambda span: [
                *(_or_none(_percentile(name)(span), brief) for name in _PERCENTILES),
                f"{span.requests:,}",
            ]
        ),
    )


def _allowed(canvas: Canvas, least: int, most: int) -> Figure:
    paces = {span.rate for span in canvas.spans if span.limit is not None}
    panels: list[Panel] = []
    key: list[tuple[str, str]] = []
    if least < most:
        scale = Scale.over([most], _LOW)
        shapes = [
            Shape(kind="area limits", path=canvas.between(attrgetter("limits"), scale)),
            Shape(kind="line limit", path=canvas.steps(attrgetter("limit"), scale)),
        ]
        panels.append(Panel(top=0, height=_LOW, marks=scale.marks(rounded), shapes=shapes))
        key.append(("line limit", "payments in flight that were allowed"))
        key.append(("area limits", "the least and the most of a stretch"))
    if len(paces) > 1:
        scale = Scale.over([pace for pace in paces if pace is not None], _LOW)
        line = Shape(kind="line rate", path=canvas.steps(attrgetter("rate"), scale))
        top = below(panels) + (HEAD if panels else 0)
        panels.append(Panel(top=top, height=_LOW, marks=scale.marks(_a_second), shapes=[line]))
        key.append(("line rate", "requests per second that were allowed"))
    return Figure(
        name="limit",
        title="Limit",
        finding=_in_words(canvas.whole, least, most, paces),
        plot=canvas.time.plot(panels) if panels else None,
        key=key,
        columns=["in flight", "least", "most", "requests /s"],
        rows=canvas.table(
            lambda span: [
                *(
                    _or_none(limit, rounded)
                    for limit in (span.limit, *(span.limits or (None, None)))
                ),
                _or_none(span.rate, rounded),
            ]
        ),
    )


def _in_words(whole: Span, least: int, most: int, paces: set[float | None]) -> str:
    text = f"{least:,} to {most:,} payments in flight allowed, {whole.limit:,} at the end"
    if least == most:
        text = f"{many(least, 'payment')} in flight allowed throughout"
    if paces == {None}:
        return f"{text}; requests were not paced."
    pace = (
        "not paced" if whole.rate is None else f"paced at {rounded(whole.rate)} requests a second"
    )
    return f"{text}; {pace}{' at the end' if len(paces) > 1 else ''}."


def _placed(name: str) -> Callable[[Span], int]:
    return lambda span: span.rows.get(name, 0)


def _earlier(span: Span) -> int:
    return sum(span.earlier.values())


def _percentile(name: str) -> Callable[[Span], float | None]:
    return lambda span: None if span.latency is None else getattr(span.latency, name)


def _done(span: Span) -> float:
    return span.per_second(span.on_record)


def _asked(span: Span) -> float:
    return span.per_second(span.requests)


def _a_second(rate: float) -> str:
    return f"{rounded(rate)} /s"


def _or_none(number: float | None, written: Callable[[float], str]) -> str:
    return "-" if number is None else written(number)
