"""What a comparison of calls reckons, and when its guard fails."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING

import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.append(str(ROOT))  # At the end, so that an installed package stays the one that is tested.

from benchmarks.compare import field, guard  # noqa: E402 - as the path above
from benchmarks.compare.rounds import Played, Setting, Turn  # noqa: E402 - as the path above
from benchmarks.compare.table import (  # noqa: E402 - as the path above
    BLOCK,
    MOST_BLOCKS,
    bars,
    document,
    is_void,
    lines,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SLOW = Turn(calls=100, cpu=0.04, seconds=0.08)
FAST = Turn(calls=200, cpu=0.02, seconds=0.02)


def played(name: str, *ratios: float) -> Played:
    return Played(name, turns=[SLOW] * len(ratios), ratios=list(ratios), rates=[1.0] * len(ratios))


class TestTurn:
    def test_is_compared_call_by_call(self) -> None:
        """
        Neither how many calls a turn has counts, nor which of those around it had more.
        """
        other = Turn(calls=50, cpu=0.01, seconds=0.03)

        assert pytest.approx(0.1 / 0.3) == FAST.cpu_by([SLOW, other])
        assert pytest.approx(0.4 / 0.1) == SLOW.cpu_by([FAST])
        assert pytest.approx(8) == FAST.rate_by([SLOW])

    def test_a_contender_is_what_it_is_in_the_middle(self) -> None:
        """
        One turn in which the machine was busy changes nothing.
        """
        one = Played("one", turns=[FAST, SLOW, FAST])

        assert pytest.approx(100) == one.cpu
        assert pytest.approx(10_000) == one.rate


class TestTable:
    def test_says_what_was_measured(self) -> None:
        """
        A row has the median, and the least and the most; who could not play says why.
        """
        absent = Played("absent", why_not="No module named 'absent'")
        found = document(Setting(512, loop="uvloop"), [played("one", 0.5, 0.4, 0.9), absent])
        told = lines(found)

        assert "**512 at once, uvloop**" == told[0]
        assert "| one | 0.50 | 0.40 to 0.90 | 1.00 |" in told
        assert "| absent | could not play: No module named 'absent' | | |" in told
        assert found["void"] is False

    @pytest.mark.parametrize(
        ("ratios", "void"),
        [([1.0], False), ([0.96], False), ([0.94], True), ([1.06], True), ([0.9, 1.0, 1.5], False)],
    )
    def test_is_void_where_equals_differ(self, ratios: list[float], void: bool) -> None:
        """
        Bare aiohttp beside itself says whether anything else can be believed.
        """
        found = document(Setting(), [played(field.AGAIN.name, *ratios), played("one", 2.0)])

        assert void is is_void([played(field.AGAIN.name, *ratios)])
        assert void is ("VOID" in lines(found)[-1])

    def test_can_be_a_plot(self) -> None:
        """
        A bar is as long as its ratio; one that is too long is cut, and says so.
        """
        absent = Played("absent", why_not="no")
        found = document(Setting(), [played("one", 0.5), played("endless", 99.0), absent])
        _, one, endless = bars(found)

        assert f"one     {'█' * round(0.5 / BLOCK)} 0.50" == one
        assert f"endless {'█' * (MOST_BLOCKS - 1)}→ 99.00" == endless


class TestGuard:
    @pytest.mark.parametrize(
        ("turns", "status"),
        [
            ([1.0], 0),
            ([1.14], 0),
            ([1.16, 1.0], 0),
            ([1.16, 1.16], 1),
            ([3.0, 1.14], 0),
        ],
    )
    def test_fails_where_a_call_costs_more_twice(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        turns: list[float],
        status: int,
    ) -> None:
        """
        More than 15 % above what was recorded fails, unless a second look finds it otherwise.
        """
        recorded = {"carevalidate-async": 0.5, "carevalidate-async, bulk": 0.7}
        asked: list[Mapping[str, int]] = []

        def measured(**options: int) -> dict[str, float]:
            asked.append(options)
            return {**recorded, field.CALL.name: 0.5 * turns[len(asked) - 1]}

        monkeypatch.setattr(guard, "measured", measured)
        monkeypatch.setattr(guard, "recorded", lambda: recorded)

        assert status == guard.worse(calls=10, rounds=3)
        assert [{"calls": 10, "rounds": 3}] * len(turns) == asked
        assert (status == 1) is ("twice" in capsys.readouterr().out)

    def test_what_is_recorded_names_whom_it_guards(self) -> None:
        """
        A contender that was renamed would be guarded by nothing.
        """
        assert {one.name for one in guard.GUARDED} == guard.recorded().keys()
