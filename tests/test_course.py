from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carevalidate_async._outage import own_words
from carevalidate_async._run.course import MOST_SPANS, RECENT, WIDTH, Course
from carevalidate_async._run.groups import (
    MOST_EXAMPLES,
    MOST_GROUPS,
    MOST_LISTED,
    Troubles,
)
from carevalidate_async._run.pauses import MOST as MOST_PAUSES
from carevalidate_async._run.tiles import ERROR, SHORTEST
from carevalidate_async.errors import (
    AnswerLostError,
    APIConnectionError,
    BadRequestError,
    InvalidRequestError,
    Outcome,
    ResponseDecodeError,
)
from carevalidate_async.hooks import CallStarted
from report_runs import ended

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carevalidate_async._run.tiles import Span
    from carevalidate_async.errors import CareValidateError


class Clock:
    """Gives the time that it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def course(clock: Clock) -> Course:
    return Course(clock=clock)


def settle(course: Course, outcome: str = "rejected", line: int = 2, **told: Any) -> None:
    facts: dict[str, Any] = {"error": None, "status": None, "code": None, "reason": "why"}
    course.settled(outcome, line=line, **{"key": None, **facts, **told})


def totals(spans: Sequence[Span]) -> dict[str, object]:
    """Return what happened in all spans together."""
    rows: Counter[str] = Counter()
    earlier: Counter[str] = Counter()
    for span in spans:
        rows.update(span.rows)
        earlier.update(span.earlier)
    names = ("requests", "refused", "lost")
    return {
        "rows": dict(rows),
        "earlier": dict(earlier),
        **{name: sum(getattr(span, name) for span in spans) for name in names},
    }


# How long nothing happens, and what happens then.
WAITS = st.one_of(st.floats(0, 2), st.floats(0, 5_000), st.just(WIDTH), st.just(30.0))
HAPPENINGS = st.sampled_from(
    ["ok", "refused", "lost", "no connection", "good", "known", "bad", "limit", "pause", "resume"]
)


class TestCounting:
    def test_attempts(self, course: Course) -> None:
        """
        Every attempt is a request; a 429 or 503 is refused too, and one without an answer lost.
        """
        for status in (200, 400, 429, 503, 500):
            course(ended(status=status))
        course(ended(status=None, outcome=Outcome.UNKNOWN))
        whole = course.whole()

        assert (6, 2, 1) == (whole.requests, whole.refused, whole.lost)

    def test_no_connection_has_no_latency(self, course: Course) -> None:
        """
        How fast a connection is refused says nothing of how fast the vendor answers.
        """
        course(ended(0.001, status=None, outcome=Outcome.NOT_SENT))

        assert 1 == course.whole().requests
        assert course.whole().latency is None

    def test_a_timeout_has_a_latency(self, course: Course) -> None:
        """
        To leave out those that nobody waited for would make a slow vendor look like a fast one.
        """
        course(ended(30.0, status=None, outcome=Outcome.UNKNOWN))
        latency = course.whole().latency

        assert latency is not None
        assert latency.p50 == pytest.approx(30.0, rel=ERROR)

    def test_other_events_are_none_of_its_business(self, course: Course) -> None:
        """
        Only ended attempts count.
        """
        course(CallStarted(operation="confirm_payment", idempotency_key="k"))

        assert 0 == course.whole().requests

    def test_rows(self, course: Course) -> None:
        """
        Rows count by their outcome, those of earlier runs apart.
        """
        course.good("confirmed", 3)
        course.good("confirmed", 5, earlier=True)
        course.good("already_recorded")
        settle(course, "invalid")
        whole = course.whole()

        assert {"confirmed": 3, "already_recorded": 1, "invalid": 1} == whole.rows
        assert {"confirmed": 5} == whole.earlier
        assert 4 == whole.on_record
        assert 1 == course.troubled

    def test_rates(self, clock: Clock, course: Course) -> None:
        """
        A rate is per second of the span, and nothing where the span takes no time.
        """
        assert 0.0 == course.whole().per_second(5)

        clock.move(0.5)

        assert 10.0 == course.whole().per_second(5)
        assert 0 == course.whole().on_record


class TestTime:
    def test_begins_when_told(self, clock: Clock, course: Course) -> None:
        """
        What came before the run, such as opening its client, is no part of it.
        """
        clock.move(5.0)
        course.begin()
        clock.move(1.5)

        assert 1.5 == course.elapsed

    def test_ends_when_told(self, clock: Clock, course: Course) -> None:
        """
        After the end no time passes, and what is still told counts.
        """
        clock.move(1.0)
        course.paused("down")
        clock.move(2.0)
        course.end()
        clock.move(50.0)
        course(ended())
        spans = course.spans()

        assert 3.0 == course.elapsed
        assert {WIDTH} == {span.seconds for span in spans}
        assert course.pause is None
        assert (1, 2.0) == (sum(span.requests for span in spans), sum(s.paused for s in spans))
        assert 3.0 == spans[-1].begin + spans[-1].seconds

    def test_recent(self, clock: Clock, course: Course) -> None:
        """
        What is recent is so for ten seconds.
        """
        course(ended(1.0))
        clock.move(RECENT - WIDTH)
        course(ended(2.0))
        early = course.recent()
        clock.move(RECENT / 2)
        late = course.recent()

        assert (2, RECENT - WIDTH) == (early.requests, early.seconds)
        assert (1, RECENT - WIDTH) == (late.requests, late.seconds)
        assert late.latency is not None
        assert late.latency.p50 == pytest.approx(2.0, rel=ERROR)

    def test_all_that_is_recent_counts(self, clock: Clock, course: Course) -> None:
        """
        However much happens, what is recent is all of the last ten seconds or a little less.
        """
        for _ in range(30):
            course(ended())
            clock.move(1.0)

        assert (9, RECENT - WIDTH) == (course.recent().requests, course.recent().seconds)

    def test_nothing_is_recent_after_a_while(self, clock: Clock, course: Course) -> None:
        """
        Long after the last event nothing of it is recent, though it is known in all.
        """
        course(ended())
        course.good("confirmed")
        clock.move(3_600)

        assert (0, {}) == (course.recent().requests, course.recent().rows)
        assert (1, {"confirmed": 1}) == (course.whole().requests, course.whole().rows)


class TestSpans:
    @given(st.lists(st.tuples(WAITS, HAPPENINGS), max_size=60), st.integers(1, 300))
    def test_add_up(self, story: list[tuple[float, str]], most: int) -> None:
        """
        However long a run takes and however few spans are asked for, they cover it without a gap,
        are of equal width but for the last, and hold all that happened.
        """
        clock = Clock()
        course = Course(clock=clock)
        acts: dict[str, Callable[[], None]] = {
            "ok": lambda: course(ended()),
            "refused": lambda: course(ended(status=429)),
            "lost": lambda: course(ended(status=None, outcome=Outcome.UNKNOWN)),
            "no connection": lambda: course(ended(status=None, outcome=Outcome.NOT_SENT)),
            "good": lambda: course.good("confirmed", 3),
            "known": lambda: course.good("confirmed", 7, earlier=True),
            "bad": lambda: settle(course, "unknown"),
            "limit": lambda: course.allowed(8, None),
            "pause": lambda: course.paused("down"),
            "resume": course.resumed,
        }
        done: Counter[str] = Counter()
        paused, waiting = 0.0, False
        for wait, act in story:
            clock.move(wait)
            paused += wait if waiting else 0.0
            waiting = {"pause": True, "resume": False}.get(act, waiting)
            acts[act]()
            done[act] += 1
        spans = course.spans(most)
        told = totals(spans)
        rows = {"confirmed": 3 * done["good"], "unknown": done["bad"]}

        assert {name: count for name, count in rows.items() if count} == told["rows"]
        assert ({"confirmed": 7 * done["known"]} if done["known"] else {}) == told["earlier"]
        lost = done["lost"] + done["no connection"]
        assert done["ok"] + done["refused"] + lost == told["requests"]
        assert (done["refused"], lost) == (told["refused"], told["lost"])
        assert sum(span.paused for span in spans) == pytest.approx(paused, abs=1e-6)
        assert course.whole().paused == pytest.approx(paused, abs=1e-6)
        assert 1 <= len(spans) <= most
        for one, after in itertools.pairwise(spans):
            assert one.begin + one.seconds == after.begin
        assert spans[-1].begin + spans[-1].seconds == pytest.approx(course.elapsed)
        widths = {span.seconds for span in spans[:-1]}
        assert len(widths) <= 1
        for width in widths:
            assert width / 2 <= spans[-1].seconds <= 1.5 * width

    def test_each_thing_is_in_its_own(self, clock: Clock, course: Course) -> None:
        """
        What happens at the very moment at which a span begins is in that span, whatever it is.
        """
        tellings: list[Callable[[], None]] = [
            lambda: course(ended()),
            lambda: course.good("confirmed"),
            lambda: settle(course),
            lambda: course.allowed(7, None),
        ]
        for tell in tellings:
            clock.move(WIDTH)
            tell()
        clock.move(WIDTH)
        told = [(span.requests, dict(span.rows), span.limit) for span in course.spans()]

        assert [
            (0, {}, None),
            (1, {}, None),
            (0, {"confirmed": 1}, None),
            (0, {"rejected": 1}, None),
            (0, {}, 7),
        ] == told

    def test_memory_is_bounded(self, clock: Clock, course: Course) -> None:
        """
        Of a run of a day there is no more to be kept than of one of a minute.
        """
        for number in range(20_000):
            clock.move(86_400 / 20_000)
            course(ended(0.001 * 1.001**number))
            course.good("confirmed")
        kept = [*course._tiles, *(tile for _, tile in course._recent)]

        assert MOST_SPANS // 2 <= len(course._tiles) <= MOST_SPANS
        assert len(kept) <= MOST_SPANS + RECENT / WIDTH
        # From a microsecond to a day there are not more bins than this, and usually ten.
        assert 700 > max(len(tile.bins) for tile in kept)
        assert 20_000 == sum(span.on_record for span in course.spans())

    def test_where_nothing_happened_is_a_gap(self, clock: Clock, course: Course) -> None:
        """
        A span without requests has no latency, rather than one of zero.
        """
        course(ended())
        clock.move(10 * WIDTH)
        course(ended())
        clock.move(WIDTH)
        there = [span.latency is not None for span in course.spans()]

        assert [True, *[False] * 9, True] == there

    @pytest.mark.parametrize(
        ("last", "length"), [(0.5, 2.5), (1.25, 2.25), (1.0, 2.0), (0.25, 0.25)]
    )
    def test_the_last_one_is_no_stub(
        self, clock: Clock, course: Course, last: float, length: float
    ) -> None:
        """
        Less than half a span is joined to the one before it, where there is one.
        """
        clock.move(length * WIDTH)

        assert last * WIDTH == course.spans()[-1].seconds

    def test_a_limit_holds_until_it_changes(self, clock: Clock, course: Course) -> None:
        """
        A span tells the limit at its end, and how far it went up and down in it; a limit that
        nobody changes stays.
        """
        clock.move(WIDTH)
        course.allowed(64, None)
        course.allowed(8, 50.0)
        course.allowed(32, 20.0)
        clock.move(3 * WIDTH)
        course.allowed(33, None)
        clock.move(WIDTH)
        spans = course.spans()

        assert [None, 32, 32, 32, 33] == [span.limit for span in spans]
        assert [None, (8, 64), (32, 32), (32, 32), (32, 33)] == [span.limits for span in spans]
        assert [None, 20.0, 20.0, 20.0, None] == [span.rate for span in spans]
        assert (33, (8, 64), None) == attrs.astuple(course.whole())[8:11]

    def test_a_merged_limit_is_the_later_one(self, clock: Clock, course: Course) -> None:
        """
        Of spans that become one the last tells its limit, all of them how far it went.
        """
        for limit in (10, 90, 40, 20):
            course.allowed(limit, float(limit))
            clock.move(WIDTH)
        spans = course.spans(2)

        assert [(90, (10, 90), 90.0), (20, (20, 90), 20.0)] == [
            (span.limit, span.limits, span.rate) for span in spans
        ]


class TestLatency:
    @given(st.lists(st.floats(0, 4_000), min_size=1, max_size=300))
    def test_percentiles(self, durations: list[float]) -> None:
        """
        A percentile is within 2 % of the duration that so many percent do not exceed.
        """
        clock = Clock()
        course = Course(clock=clock)
        for number, duration in enumerate(durations):
            course(ended(duration))
            clock.move(WIDTH if number % 3 == 2 else 0.0)
        latency = course.spans(1)[0].latency
        ordered = sorted(max(duration, SHORTEST) for duration in durations)

        assert latency is not None
        assert latency == course.whole().latency
        for name, percent in (("p50", 50), ("p95", 95), ("p99", 99)):
            truth = ordered[math.ceil(len(ordered) * percent / 100) - 1]
            assert getattr(latency, name) == pytest.approx(truth, rel=ERROR * 1.0001)

    def test_percentiles_are_those_of_their_names(self, course: Course) -> None:
        """
        Of a hundred durations the 50th, the 95th and the 99th.
        """
        for number in range(100, 0, -1):
            course(ended(0.001 * 1.1**number))
        latency = course.whole().latency

        assert latency is not None
        for found, number in ((latency.p50, 50), (latency.p95, 95), (latency.p99, 99)):
            assert found == pytest.approx(0.001 * 1.1**number, rel=ERROR * 1.0001)


class TestPauses:
    def test_are_told_with_their_reasons(self, clock: Clock, course: Course) -> None:
        """
        A pause lasts from when it was told until the run goes on, or until now.
        """
        clock.move(1.0)
        course.paused("the vendor is down")
        course.paused("still down")
        clock.move(2.0)
        course.resumed()
        course.resumed()
        clock.move(4.0)
        course.paused("asked to wait")
        clock.move(1.0)

        assert [(1.0, 3.0, "the vendor is down"), (7.0, 8.0, "asked to wait")] == [
            attrs.astuple(pause) for pause in course.pauses()
        ]
        assert "asked to wait" == course.pause
        assert 3.0 == course.whole().paused
        assert 3.0 == course.recent().paused

    def test_many_are_told_as_fewer(self, clock: Clock, course: Course) -> None:
        """
        Of more pauses than are kept, those with the least between them are told as one.
        """
        for number in range(MOST_PAUSES + 1):
            clock.move(0.01 if number == 5 else 1.0)
            course.paused(str(number))
            clock.move(1.0)
            course.resumed()
        pauses = course.pauses()

        assert MOST_PAUSES == len(pauses)
        assert ["3", "4", "6"] == [pause.reason for pause in pauses[3:6]]
        assert pauses[4].end - pauses[4].begin == pytest.approx(2.01)


class TestTroubles:
    def test_are_grouped_by_what_they_met(self, course: Course) -> None:
        """
        Rows with the same outcome, class, status and code are one group, the largest first.
        """
        no: dict[str, Any] = {"error": "BadRequestError", "status": 400}
        settle(course, line=9, code="A", **no)
        settle(course, line=5, code="A", **no)
        settle(course, "unknown", line=7, code="A", **no)
        groups = course.groups()

        assert [("rejected", 2, 5, 9), ("unknown", 1, 7, 7)] == [
            (group.outcome, group.count, group.first, group.last) for group in groups
        ]
        assert ("BadRequestError", 400, "A") == (
            groups[0].error,
            groups[0].status,
            groups[0].code,
        )
        assert [9, 5] == [row.line for row in groups[0].examples]

    def test_rows_that_were_left_are_taken_together(self, course: Course) -> None:
        """
        However many rows a run ends before, they are one group with its first rows, and take the
        place of few others.
        """
        settle(course, line=2, error="BadRequestError", status=400)
        course.left("not_sent", [], "why")
        for first in range(10, 100_010, 1000):
            course.left("not_sent", [(first + n, f"key-{first + n}") for n in range(1000)], "why")
        settle(course, "invalid", line=200_000)
        left, *others = course.groups()
        rows = course.listed()

        assert ("not_sent", None, None, "why", 100_000, 10, 100_009) == attrs.astuple(left)[:-1]
        assert [(line, "why", f"key-{line}") for line in range(10, 15)] == [
            (row.line, row.reason, row.key) for row in left.examples
        ]
        assert {"rejected", "invalid"} == {group.outcome for group in others}
        assert 100_002 == course.troubled
        assert {"rejected": 1, "not_sent": 100_000, "invalid": 1} == course.whole().rows
        assert (MOST_LISTED, 2, 200_000) == (len(rows), rows[0].line, rows[-1].line)

    def test_groups_are_bounded(self, course: Course) -> None:
        """
        A vendor with a new code for each row fills no memory: what is too much is one last group.
        """
        for line in range(10 * MOST_GROUPS):
            settle(course, line=line, code=f"CODE_{line}")
        groups = course.groups()

        assert MOST_GROUPS + 1 == len(groups)
        assert (None, 9 * MOST_GROUPS) == (groups[-1].outcome, groups[-1].count)
        assert (MOST_GROUPS, 10 * MOST_GROUPS - 1) == (groups[-1].first, groups[-1].last)
        assert MOST_EXAMPLES == len(groups[-1].examples)

    def test_texts_are_bounded(self, course: Course) -> None:
        """
        What is kept of a row is cut, however long it is.
        """
        settle(course, key="k" * 9_999, code="c" * 9_999, reason="r" * 9_999)
        (row,), (group,) = course.listed(), course.groups()

        assert (255, 300, 64) == (len(row.key or ""), len(row.reason), len(group.code or ""))

    def test_listed_in_the_files_order(self, course: Course) -> None:
        """
        Rows come back as they are answered, and are listed as the file has them.
        """
        for line in (30, 10, 20):
            settle(course, line=line)

        assert [10, 20, 30] == [row.line for row in course.listed()]

    def test_a_flood_hides_nothing(self) -> None:
        """
        A thousand rows of one outcome leave room for the few of another, that come after them.
        """
        troubles = Troubles()

        def add(outcome: str, line: int) -> None:
            troubles.add(
                outcome, line=line, key=None, error=None, status=None, code=None, reason=""
            )

        for line in range(5 * MOST_LISTED):
            add("not_sent", line)
        for line in range(300):
            add("unknown", line)
        listed = Counter(row.outcome for row in troubles.listed())

        assert {"not_sent": MOST_LISTED - 200, "unknown": 200} == listed
        assert 5 * MOST_LISTED + 300 == troubles.count

    def test_a_flood_hides_no_kind(self, course: Course) -> None:
        """
        A kind of trouble that comes when no further row is listed has its examples all the same.
        """
        for line in range(MOST_LISTED):
            settle(course, line=line)
        settle(course, line=MOST_LISTED, code="NEW")
        groups = course.groups()

        assert MOST_LISTED == len(course.listed())
        assert [MOST_LISTED] == [row.line for row in groups[1].examples]


class TestOwnWords:
    @pytest.mark.parametrize(
        ("words", "error"),
        [
            (
                "the vendor answered 400, INVALID",
                BadRequestError("HTTP 400: Jane Roe", status=400, code="INVALID", message="Jane"),
            ),
            ("the vendor answered 500", BadRequestError("no", status=500, body="Jane Roe")),
            (
                "the vendor answered 200, and the answer cannot be read",
                ResponseDecodeError("Jane Roe", status=200),
            ),
            ("amount: has a comma", InvalidRequestError("amount", "has a comma")),
            (
                "confirm_payment: no connection",
                APIConnectionError("confirm_payment: no connection"),
            ),
            ("answer lost", AnswerLostError("answer lost", outcome=Outcome.UNKNOWN)),
        ],
    )
    def test_are_never_the_vendors(self, words: str, error: CareValidateError) -> None:
        """
        What a vendor said, which may name a person, is told by status and code alone.
        """
        assert words == own_words(error)
