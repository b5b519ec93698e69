from __future__ import annotations

import re
from datetime import timedelta, timezone
from typing import Any

import attrs
import pytest

from carevalidate_async._run.counts import Counts, Summary
from carevalidate_async._run.groups import Group
from carevalidate_async._run.tiles import Span
from carevalidate_async._run.units import (
    at_time,
    brief,
    lasting,
    log_ticks,
    many,
    rounded,
    share,
    ticks,
    time_ticks,
)
from carevalidate_async.journal import Duplicates
from carevalidate_async.report._canvas import GAP, HEAD, STRIP, Canvas
from carevalidate_async.report._figures import figures
from carevalidate_async.report._plots import NARROW, WIDE, Panel, Scale, Timeline
from carevalidate_async.report._wording import (
    ending,
    extent,
    glance,
    headline,
    places,
    trouble,
    unread,
)
from report_runs import BEGAN, RUNS, MadeUp, eventful


def summary(policy: Duplicates = Duplicates.REFUSE, **told: Any) -> Summary:
    """Return how a run went; names of counts are counts, all else is the summary's."""
    counts = {name: told.pop(name) for name in list(told) if hasattr(Counts(), name)}
    return Summary(
        counts=Counts(rows=sum(counts.values()), **counts),
        **{"elapsed": 75.0, "duplicates": policy, "reached": True, **told},
    )


class TestHeadline:
    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("All 10 payments are on record.", {"confirmed": 9, "already_recorded": 1}),
            ("The one payment is on record.", {"confirmed": 1}),
            ("The one payment may or may not be on record.", {"unknown": 1}),
            ("The one payment was not sent.", {"not_sent": 1}),
            ("The one payment is not on record and needs a person.", {"invalid": 1}),
            ("1 of 2 payments is on record; 1 needs a person.", {"confirmed": 1, "rejected": 1}),
            (
                (
                    "6 of 15 payments are on record; 1 may or may not be, 2 were not sent and 6 "
                    "need a person."
                ),
                {
                    "confirmed": 6,
                    "unknown": 1,
                    "not_sent": 2,
                    "rejected": 1,
                    "invalid": 2,
                    "duplicates": 3,
                },
            ),
            ("None of 3 payments are on record; 3 were not sent.", {"not_sent": 3}),
            ("None of 2 payments are known to be on record; 2 may or may not be.", {"unknown": 2}),
            (
                "All 4 payments are on record.",
                {"confirmed": 4, "duplicates": 3, "policy": Duplicates.ONCE},
            ),
            (
                "All 4 payments read so far are on record.",
                {"confirmed": 4, "interrupted": True, "whole": False},
            ),
            (
                "4 of 5 payments read so far are on record; 1 was not sent.",
                {
                    "confirmed": 4,
                    "not_sent": 1,
                    "stopped_by": "the disk is full",
                    "whole": False,
                },
            ),
            (
                "4 of 5 payments are on record; 1 was not sent.",
                {"confirmed": 4, "not_sent": 1, "stopped_by": "the vendor is down"},
            ),
            ("The file has no payments.", {"confirmed": 0}),
            ("No payment was read.", {"confirmed": 0, "interrupted": True, "whole": False}),
            ("The file has no payments.", {"confirmed": 0, "interrupted": True}),
            (
                "Dry run, nothing was sent: all 8 payments can be sent.",
                {"not_sent": 8, "rehearsal": True},
            ),
            (
                "Dry run, nothing was sent: the one payment can be sent.",
                {"not_sent": 1, "rehearsal": True},
            ),
            (
                (
                    "Dry run, nothing was sent: 5 of 9 payments can be sent, 3 are on record "
                    "already and 1 needs a person."
                ),
                {"not_sent": 5, "confirmed": 3, "invalid": 1, "rehearsal": True},
            ),
            (
                "Dry run, nothing was sent: none of 2 payments can be sent and 2 need a person.",
                {"invalid": 2, "rehearsal": True},
            ),
        ],
    )
    def test_says_where_the_payments_stand(self, said: str, told: dict[str, Any]) -> None:
        """
        One sentence tells how many payments are on record, and what of each of the others.
        """
        assert said == headline(summary(**told))

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("Finished after 1 min 15 s, with exit status 0: the file has no rows.", {}),
            (
                "Finished after 1 min 15 s, with exit status 0: every row is on record.",
                {"confirmed": 1},
            ),
            (
                "Finished in under 0.1 s, with exit status 0: every row is on record.",
                {"confirmed": 1, "elapsed": 0.01},
            ),
            (
                "Finished after 0.3 s, with exit status 1: not every row is on record.",
                {"invalid": 1, "elapsed": 0.3},
            ),
            (
                "Ended early after 1 min 15 s, with exit status 1: the run did not get to the end.",
                {"confirmed": 1, "stopped_by": "the disk is full", "whole": False},
            ),
            (
                (
                    "Ended early after 1 min 15 s, with exit status 1: every row is on record, but "
                    "something else went wrong."
                ),
                {"confirmed": 1, "stopped_by": "the rejects file is not whole"},
            ),
            (
                (
                    "Ended early after 1 min 15 s, with exit status 2: the vendor refused the API "
                    "key, and nothing was recorded."
                ),
                {"not_sent": 1, "stopped_by": "no", "refused": True, "reached": False},
            ),
            (
                "Interrupted after 1 min 15 s, with exit status 130: stopped from outside.",
                {"unknown": 1, "interrupted": True},
            ),
            (
                "Finished after 1 min 15 s, with exit status 0: every row can be sent.",
                {"not_sent": 1, "rehearsal": True},
            ),
            (
                "Finished after 1 min 15 s, with exit status 1: not every row can be sent.",
                {"duplicates": 1, "rehearsal": True},
            ),
        ],
    )
    def test_says_how_it_ended(self, said: str, told: dict[str, Any]) -> None:
        """
        What the shell was told, and why.
        """
        assert said == ending(summary(**told))


class TestExtent:
    @pytest.mark.parametrize(
        ("rest", "rows", "told"),
        [
            (
                "about 12,000 rows not read",
                "rows read so far, of about 13,000",
                {"estimated_rows": 13_000},
            ),
            ("about 1 row not read", "rows read so far, of about 1,001", {"estimated_rows": 1_001}),
            (
                "the rest of the file not read",
                "rows read so far, of about 1,000",
                {"estimated_rows": 1_000},
            ),
            ("the rest of the file not read", "rows read so far", {"estimated_rows": None}),
        ],
    )
    def test_says_how_much_was_not_read(self, rest: str, rows: str, told: dict[str, Any]) -> None:
        """
        Where a file was not read to its end, about how many rows it may have is told, if known.
        """
        cut = summary(confirmed=1_000, whole=False, **told)

        assert (rest, rows) == (unread(cut), extent(cut))

    def test_is_the_file_where_it_was_read_to_its_end(self) -> None:
        """
        A run that ended early after it read all rows tells of all of them.
        """
        assert "rows of the file" == extent(summary(not_sent=9, stopped_by="no", interrupted=True))


class TestGlance:
    def test_has_what_is_looked_for_first(self) -> None:
        """
        How fast, how long answers take, how many requests and how many of them again, in numbers.
        """
        run = MadeUp()
        for _ in range(100):
            run.now += 0.1
            run.ask(0.05)
            run.ask(0.2)
            run.good(20)
        run.end |= {"retries": 1_100}

        assert [
            ("On record, on average", "200 /s", "2,000 payments in 10 s"),
            ("Median answer", "50 ms", "95 % within 203 ms, 99 % within 203 ms"),
            ("Requests", "200", "1,100 retries among them"),
        ] == list(glance(run.summary(), run.course.whole()))

    def test_begins_with_what_was_not_read(self) -> None:
        """
        Rows that were not read come first, with their number where it is known.
        """
        none = Span(begin=0.0, seconds=1.0)
        cut = summary(confirmed=1, whole=False, estimated_rows=9_001)

        assert [("Rows not read", "about 9,000", "1 row was read")] == glance(cut, none)
        assert [("Rows not read", "not known", "2 rows were read")] == glance(
            summary(confirmed=2, whole=False), none
        )
        assert [] == glance(summary(confirmed=2), none)


class TestPlaces:
    def test_come_by_risk(self) -> None:
        """
        Rows that are well come first, and then what is most pressing.
        """
        counts: dict[str, Any] = dict.fromkeys(
            ("not_sent", "duplicates", "invalid", "rejected", "unknown", "already_recorded"), 1
        )
        found = places(summary(confirmed=2, **counts))

        assert [2, *[1] * 6] == [place.count for place in found]
        assert ["confirmed", "already_recorded"] == [
            one.name for one in found if not one.needs_a_look
        ]
        assert ["unknown", "not_sent", "rejected", "invalid", "duplicates"] == [
            one.name for one in found if one.needs_a_look
        ]

    def test_that_were_wanted_need_no_look(self) -> None:
        """
        Nothing is to be done about rows that a rehearsal would send, and about duplicates that are
        one payment.
        """
        rehearsed = places(summary(not_sent=1, rehearsal=True))
        once = places(summary(Duplicates.ONCE, duplicates=1))

        assert [("would be sent", False)] == [(one.title, one.needs_a_look) for one in rehearsed]
        assert [False] == [place.needs_a_look for place in once]


class TestTrouble:
    @pytest.mark.parametrize(
        ("said", "outcome", "met"),
        [
            ("the vendor answered 400", "rejected", ("BadRequestError", 400, None)),
            ("the vendor answered 400, CLOSED", "rejected", ("BadRequestError", 400, "CLOSED")),
            (
                "the vendor answered 429, SLOW, after an earlier ask that may have landed",
                "unknown",
                ("RateLimitError", 429, "SLOW"),
            ),
            (
                "the vendor could not be reached, after an earlier ask that may have landed",
                "unknown",
                ("APIConnectionError", None, None),
            ),
            ("the vendor answered 500", "unknown", ("InternalServerError", 500, None)),
            ("no answer came in time", "unknown", ("APITimeoutError", None, None)),
            ("the answer could not be read", "unknown", ("ResponseDecodeError", 200, None)),
            ("AStrangeError", "unknown", ("AStrangeError", None, None)),
            ("the run ended", "unknown", (None, None, "the run ended")),
            ("refused here: amount", "invalid", (None, None, "amount")),
            ("refused here", "invalid", (None, None, None)),
            ("the file has the payment twice", "duplicates", (None, None, None)),
            ("rejected", "rejected", (None, None, None)),
            ("something else", None, (None, None, None)),
        ],
    )
    def test_has_a_name(
        self,
        said: str,
        outcome: str | None,
        met: tuple[str | None, int | None, str | None],
    ) -> None:
        """
        Whatever rows met is called something: by what the vendor answered, by what kept it from
        answering, or by why they were not sent.
        """
        error, status, code = met
        group = Group(outcome=outcome, error=error, status=status, code=code, first=1, last=1)

        assert said == trouble(group)


class TestFigures:
    @staticmethod
    def findings(run: MadeUp) -> dict[str, str]:
        made = figures(run.course, BEGAN, places(run.summary()))
        return {figure.name: figure.finding for figure in made}

    def test_say_in_words_what_is_to_be_seen(self) -> None:
        """
        Each figure has its finding, in the numbers that matter.
        """
        run = MadeUp()
        run.course.allowed(64, None)
        for second in range(100):
            for _ in range(10):
                run.ask(0.05 if second else 2.0)
            run.good(20 if second == 50 else 10)
            run.now += 1.0
        run.bad("rejected", 1)

        assert {
            "outcomes": "1 row needs a look, after about 1 min 40 s.",
            "throughput": "10.1 payments a second put on record on average, 20 at most.",
            "latency": "Half of the requests took at most 50 ms, 99 % at most 50 ms.",
            "limit": "64 payments in flight allowed throughout; requests were not paced.",
        } == {
            name: re.sub("1 min 3[0-9] s", "1 min 40 s", text)
            for name, text in self.findings(run).items()
        }

    def test_of_a_limit_that_moved(self) -> None:
        """
        The course of the limit is told by its ends, and the pace that goes with it.
        """
        run = MadeUp()
        for limit, rate in ((64, None), (8, 20.0), (32, 50.0)):
            run.course.allowed(limit, rate)
            run.ask()
            run.now += 1.0

        assert (
            "8 to 64 payments in flight allowed, 32 at the end; paced at 50 requests a second at "
            "the end."
        ) == self.findings(run)["limit"]

    def test_of_a_run_without_answers(self) -> None:
        """
        Where nobody answered there is no latency to be told, and no plot of it.
        """
        told = self.findings(RUNS["unreachable"]())

        assert "No request reached the vendor." == told["latency"]
        assert "No payment was put on record." == told["throughput"]

    def test_of_a_rehearsal_tell_of_no_requests(self) -> None:
        """
        A run that sent nothing has no throughput.
        """
        assert ["outcomes"] == list(self.findings(RUNS["rehearsed"]()))

    def test_of_a_moment_are_words_alone(self) -> None:
        """
        A run that was over in a tenth of a second has no course to be drawn.
        """
        run = MadeUp()
        run.now = 0.1
        run.ask(0.05)
        run.good()
        made = figures(run.course, BEGAN, places(run.summary()))

        assert [None] * 3 == [figure.plot for figure in made]
        assert "10 payments a second put on record on average." == made[1].finding

    def test_of_a_run_that_waited_tell_the_average(self) -> None:
        """
        A run that mostly waited is as fast as it was over all, and faster while it did not wait.
        """
        run = MadeUp()
        for _ in range(20):
            run.now += 1.0
            run.ask()
            run.good(50)
        run.course.paused("down")
        run.now += 80.0
        run.course.resumed()

        assert (
            "10 payments a second put on record on average, 50 while the run did not wait, 50 at "
            "most."
        ) == self.findings(run)["throughput"]

    def test_of_a_run_that_waited_throughout_tell_what_is_true(self) -> None:
        """
        No stretch is said to be the fastest that is slower than the run while it did not wait.
        """
        assert (
            "0.02 payments a second put on record on average, 0.023 at most."
            == self.findings(RUNS["restless"]())["throughput"]
        )

    def test_of_nothing(self) -> None:
        """
        A run that did nothing has none.
        """
        assert {} == self.findings(MadeUp())

    def test_rows_of_earlier_runs_stand_apart(self) -> None:
        """
        What was on record before does not pass for what this run did.
        """
        run = eventful()
        outcomes, throughput, *_ = figures(run.course, BEGAN, places(run.summary()))
        assert outcomes.plot is not None

        assert ("on record from earlier runs", "250,000") == (
            outcomes.plot.panels[0].title,
            outcomes.plot.panels[0].note,
        )
        rates = [float(row[2].replace(",", "")) for row in throughput.rows]
        assert 150 > max(rates)

    def test_have_gaps_where_nothing_was_measured(self) -> None:
        """
        A line does not cross a stretch in which there was nothing to measure.
        """
        run = MadeUp()
        for now in (0.0, 0.5, 9.0):
            run.now = now
            run.ask()
        run.now = 10.0
        _, latency = figures(run.course, BEGAN, places(run.summary()))
        assert latency.plot is not None

        assert {2} == {shape.path.count("M") for shape in latency.plot.panels[0].shapes}
        assert ["-", "-", "-", "0"] in [list(row[2:]) for row in latency.rows]

    def test_mark_pauses(self) -> None:
        """
        Where the run waited for the vendor every plot is hatched, and its key says so.
        """
        run = MadeUp()
        run.now = 2.0
        run.course.paused("down")
        run.now = 3.0
        run.course.resumed()
        run.ask()
        run.now = 10.0
        for figure in figures(run.course, BEGAN, places(run.summary())):
            assert figure.plot is not None
            assert [(20.0, 10.0)] == list(figure.plot.pauses)
            assert ("pause", "the run waited for the vendor") == figure.key[-1]

    def test_say_where_the_run_waited_off_and_on(self) -> None:
        """
        Where many pauses are one stretch, the hatching does not pass for waiting throughout.
        """
        run = RUNS["restless"]()
        first, *_ = figures(run.course, BEGAN, places(run.summary()))

        assert ("pause", "the run waited for the vendor, in places off and on") == first.key[-1]


class TestCanvas:
    """Four pieces of a second, with 3, none, 1 and 2 of something."""

    @pytest.fixture
    def canvas(self) -> Canvas:
        spans = [
            Span(begin=float(at), seconds=1.0, requests=count)
            for at, count in enumerate((3, 0, 1, 2))
        ]
        time = Timeline(began=BEGAN, seconds=4.0)
        return Canvas(whole=spans[0], spans=spans, few=spans, time=time)

    @pytest.fixture
    def scale(self) -> Scale:
        return Scale(high=4.0, height=40)

    @staticmethod
    def some(span: Span) -> float | None:
        return span.requests or None

    def test_steps(self, canvas: Canvas, scale: Scale) -> None:
        """
        A line is level in each piece, and begins anew after a gap.
        """
        assert "M0 10H250M500 30H750V20H1000" == canvas.steps(self.some, scale)

    def test_curve(self, canvas: Canvas, scale: Scale) -> None:
        """
        A curve goes from middle to middle, and level to the ends of what was measured.
        """
        assert "M0 10L125 10 250 10M500 30L625 30 875 20 1000 20" == canvas.curve(self.some, scale)

    def test_blocks(self, canvas: Canvas, scale: Scale) -> None:
        """
        An area stands on the foot, where there is something.
        """
        told = "M0 10H250V40H0ZM500 30H750V20H1000V40H500Z"

        assert told == canvas.blocks(lambda span: span.requests, scale)

    def test_between(self, canvas: Canvas, scale: Scale) -> None:
        """
        A band goes from one value to another, in each piece that has both.
        """

        def band(span: Span) -> tuple[float, float] | None:
            return (0, span.requests) if span.requests > 1 else None

        assert "M0 40H250V10H0ZM750 40H1000V20H750Z" == canvas.between(band, scale)

    def test_strips_stand_below_each_other(self, canvas: Canvas) -> None:
        """
        A strip fills its height, and tells what that is.
        """
        first = canvas.strip(lambda span: span.requests, above=[], kind="a", title="one")
        second = canvas.strip(lambda span: span.lost, above=[first], kind="b", title="two")

        assert (HEAD, STRIP) == (first.top, first.height)
        assert HEAD + STRIP + GAP + HEAD == second.top
        assert first.shapes[0].path.startswith("M0 0H250V24H0Z")
        assert ("3", "at most 3 in 1 s") == (first.note, first.detail)
        assert ("0", "") == (second.note, second.detail)


class TestAxes:
    @pytest.mark.parametrize(
        ("marks", "highest"),
        [
            ([], 0.0),
            ([0.2, 0.4, 0.6, 0.8], 0.9),
            ([1, 2, 3, 4], 4.2),
            ([2, 4, 6, 8], 9.9),
            ([2, 4], 5.0),
            ([5, 10, 15, 20], 24),
            ([500, 1_000], 1_204),
        ],
    )
    def test_marks_are_round(self, marks: list[float], highest: float) -> None:
        """
        An axis is marked at a few round numbers.
        """
        assert marks == pytest.approx(list(ticks(highest)))

    @pytest.mark.parametrize(
        "highest", [10.0**n * m for n in range(-3, 9) for m in (1, 1.3, 4.7, 9.9)]
    )
    def test_marks_are_few_and_not_none(self, highest: float) -> None:
        """
        Whatever the height of an axis, it has one to four marks, none of them above it.
        """
        marks = ticks(highest)

        assert 1 <= len(marks) <= 4
        assert marks[-1] <= highest * 1.0001

    def test_a_wide_range_is_logarithmic(self) -> None:
        """
        Where the highest is many times the lowest, equal ratios are equally far apart.
        """
        wide, narrow = Scale.around([0.01, 10.0], 100), Scale.around([0.1, 0.2], 100)

        assert (True, False) == (wide.logarithmic, narrow.logarithmic)
        assert wide.down(0.01) - wide.down(0.1) == pytest.approx(
            wide.down(1) - wide.down(10), abs=0.2
        )
        assert (0.0, narrow.height) == (narrow.low, narrow.down(0.0))

    def test_marks_of_a_logarithmic_axis(self) -> None:
        """
        They are powers of ten; where those are few, twice and five times them too.
        """
        assert [0.02, 0.05, 0.1, 0.2, 0.5] == pytest.approx(list(log_ticks(0.015, 0.9)))
        assert [0.001, 0.01, 0.1, 1, 10] == pytest.approx(list(log_ticks(0.001, 12)))

    @pytest.mark.parametrize(
        ("step", "seconds"),
        [
            ("0.01 s", 0.06),
            ("0.02 s", 0.12),
            ("0.05 s", 0.3),
            ("0.1 s", 0.6),
            ("0.2 s", 1.2),
            ("0.5 s", 3.0),
            ("1 s", 6.0),
            ("2 s", 12.0),
            ("5 s", 30.0),
            ("10 s", 60.0),
            ("15 s", 90.0),
            ("30 s", 180.0),
            ("1 min", 360.0),
            ("2 min", 720.0),
            ("5 min", 1_800.0),
            ("10 min", 3_600.0),
            ("15 min", 5_400.0),
            ("30 min", 10_800.0),
            ("1 h", 6 * 3_600.0),
            ("2 h", 12 * 3_600.0),
            ("3 h", 18 * 3_600.0),
            ("6 h", 36 * 3_600.0),
            ("12 h", 72 * 3_600.0),
            ("24 h", 144 * 3_600.0),
            ("48 h", 288 * 3_600.0),
        ],
    )
    def test_marks_of_time_are_round(self, step: str, seconds: float) -> None:
        """
        Time is marked in at most six steps that clocks have, however long it is.
        """
        marks = time_ticks(seconds)

        assert ["0", step] == [at_time(mark) for mark in marks[:2]]
        assert 7 == len(marks)
        assert marks[-1] == pytest.approx(seconds)
        assert step != at_time(time_ticks(seconds * 1.01)[1])

    def test_no_time_has_one_mark(self) -> None:
        """
        What took no time to speak of is marked at its beginning.
        """
        assert ["0"] == [at_time(mark) for mark in time_ticks(0.000_5)]

    def test_time_is_told_twice(self) -> None:
        """
        Each mark says how long after the beginning it is, and the time of day, with seconds where
        the run was short.
        """
        panel = Panel(top=0, height=9, shapes=[])
        long = Timeline(began=BEGAN, seconds=7_200.0).plot([panel])
        short = Timeline(began=BEGAN, seconds=2.0).plot([panel])

        assert (50.0, "1 h", "23:03") == attrs.astuple(long.times[2])[:3]
        assert (50.0, "1 s", "22:03:08") == attrs.astuple(short.times[2])[:3]

    def test_time_of_day_is_in_utc(self) -> None:
        """
        A run that began by another clock is told by that of UTC, as its page says.
        """
        elsewhere = BEGAN.astimezone(timezone(timedelta(hours=5, minutes=30)))

        assert "22:03:09" == Timeline(began=elsewhere, seconds=9.0).clock(2.0)

    @pytest.mark.parametrize(
        "seconds", [0.1, 0.6, 1.8, 2.0, 6.0, 13.0, 59.0, 179.0, 540.0, 5_400.0, 36_000.0, 5e5]
    )
    @pytest.mark.parametrize(("name", "width"), [("wide", WIDE), ("narrow", NARROW)])
    def test_marks_of_time_have_room(self, name: str, width: int, seconds: float) -> None:
        """
        However narrow a plot is, the marks that are shown there do not meet; some are shown, the
        first time of day among them, and each time of day below a label.
        """
        began = BEGAN + timedelta(seconds=0.7)
        plot = Timeline(began=began, seconds=seconds).plot([Panel(top=0, height=9, shapes=[])])
        labels = [mark for mark in plot.times if name in mark.label_on]
        notes = [mark for mark in plot.times if name in mark.note_on]

        assert plot.times[0] == labels[0] == notes[0]
        assert all(mark in labels for mark in notes)
        for shown, texts in (
            (labels, [mark.label for mark in labels]),
            (notes, [mark.note for mark in notes]),
        ):
            middles = [mark.at * width / 100 for mark in shown]
            for at in range(1, len(shown) - 1):
                room = 6.5 * (len(texts[at]) + len(texts[at + 1])) / 2
                assert room <= middles[at + 1] - middles[at] or shown[at + 1].side == "last"

    def test_times_of_day_are_as_many_as_have_room(self) -> None:
        """
        On a phone a run of seconds shows fewer times of day than labels, and on a desk all of them.
        """
        began = BEGAN + timedelta(seconds=0.7)
        plot = Timeline(began=began, seconds=1.8).plot([Panel(top=0, height=9, shapes=[])])

        assert ["wide narrow"] * 4 == [mark.label_on for mark in plot.times]
        assert ["0", "1 s"] == [mark.label for mark in plot.times if "narrow" in mark.note_on]
        assert ["22:03:07", "22:03:08", "22:03:09"] == [
            mark.note for mark in plot.times if "wide" in mark.note_on
        ]


class TestUnits:
    def test_many(self) -> None:
        """
        One thing is one, and any other number several.
        """
        assert "1 row" == many(1, "row")
        assert "1,204 rows" == many(1_204, "row")
        assert "0 rows need" == many(0, "row needs", "rows need")

    @pytest.mark.parametrize(
        ("said", "number"),
        [
            ("0", 0.0),
            ("0.004", 0.004),
            ("0.04", 0.0402),
            ("4.2", 4.2),
            ("81.5", 81.53),
            ("10", 10.0),
            ("1", 1.0),
            ("99.5", 99.5),
            ("100", 100.0),
            ("1,204", 1_204.4),
        ],
    )
    def test_rounded(self, said: str, number: float) -> None:
        """
        Numbers have as many digits as one reads.
        """
        assert said == rounded(number)

    @pytest.mark.parametrize(
        ("said", "seconds"),
        [
            ("0.81 ms", 0.00081),
            ("82 ms", 0.0822),
            ("9 ms", 0.009),
            ("500 ms", 0.5),
            ("1 s", 0.9996),
            ("1.2 s", 1.234),
            ("30 s", 30.02),
            ("1 min", 59.96),
            ("2 min 5 s", 125.0),
        ],
    )
    def test_brief(self, said: str, seconds: float) -> None:
        """
        How long an answer took is told in its own unit.
        """
        assert said == brief(seconds)

    @pytest.mark.parametrize(
        ("said", "seconds"),
        [
            ("under 0.1 s", 0.0),
            ("0.2 s", 0.2),
            ("2 s", 2.0),
            ("42 s", 41.6),
            ("1 min", 60.0),
            ("12 min 20 s", 740.0),
            ("1 h", 3_599.9),
            ("10 h 3 min", 36_180.0),
        ],
    )
    def test_lasting(self, said: str, seconds: float) -> None:
        """
        How long something went on is told in two units at most.
        """
        assert said == lasting(seconds)

    @pytest.mark.parametrize(
        ("said", "part"),
        [
            ("100 %", 10_000),
            ("> 99.9 %", 9_999),
            ("99.9 %", 9_990),
            ("12.5 %", 1_250),
            ("1 %", 100),
            ("0.1 %", 10),
            ("< 0.1 %", 1),
        ],
    )
    def test_share(self, said: str, part: int) -> None:
        """
        All is told as all only where it is all, and a single row never as none.
        """
        assert said == share(part, 10_000)
