from __future__ import annotations

import pytest

from carevalidate_async._run.pauses import MOST, Pause, Pauses

EVERY, FOR = 10.0, 1.1


def paused(times: int, every: float = EVERY, seconds: float = FOR) -> Pauses:
    """Return the pauses of a run that waits at a steady pace."""
    pauses = Pauses()
    for number in range(times):
        pauses.begin(every * number, f"why {number}")
        pauses.end(every * number + seconds)
    return pauses


class TestManyPauses:
    @pytest.fixture
    def pauses(self) -> Pauses:
        return paused(4 * MOST)

    def test_are_counted_exactly(self, pauses: Pauses) -> None:
        """
        However few stretches are kept, how often and how long the run waited in all is exact.
        """
        now = 4 * MOST * EVERY
        told = pauses.told(now)

        assert MOST == len(told)
        assert 4 * MOST == sum(pause.times for pause in told)
        assert 4 * MOST * FOR == pytest.approx(sum(pause.waited for pause in told))
        assert 4 * MOST * FOR == pytest.approx(pauses.within(0.0, now, now))

    def test_at_a_steady_pace_are_told_evenly(self, pauses: Pauses) -> None:
        """
        No stretch swallows its neighbours where all pauses are as far apart as each other.
        """
        assert 8 >= max(pause.times for pause in pauses.told(0.0))

    def test_add_up(self, pauses: Pauses) -> None:
        """
        What was waited in parts of a run adds up to what was waited in it, wherever it is parted.
        """
        now = 4 * MOST * EVERY
        parts = [pauses.within(at * 7.0, at * 7.0 + 7.0, now) for at in range(int(now / 7) + 1)]

        assert pauses.within(0.0, now, now) == pytest.approx(sum(parts))
        assert 7.0 >= max(parts)


class TestOnePause:
    def test_is_told_exactly(self) -> None:
        """
        A pause by itself is where it was, once, and waited through.
        """
        (pause,) = paused(1).told(5.0)

        assert Pause(begin=0.0, end=FOR, reason="why 0") == pause
        assert (1, FOR) == (pause.times, pause.waited)
        assert 0.5 == pause.within(-1.0, 0.5)

    @pytest.mark.parametrize("every", [0.0, EVERY])
    def test_of_no_length_is_one(self, every: float) -> None:
        """
        A pause that was over at once is counted, and adds no time, many at one moment included.
        """
        pauses = paused(MOST + 1, every=every, seconds=0.0)

        assert MOST + 1 == sum(pause.times for pause in pauses.told(0.0))
        assert 0.0 == pauses.within(0.0, 1e9, 1e9)

    def test_has_a_reason_that_is_cut_visibly(self) -> None:
        """
        A reason that is too long ends with a sign that there was more.
        """
        pauses = Pauses()
        pauses.begin(0.0, "y" * 201)
        pauses.end(1.0)
        pauses.begin(2.0, "y" * 200)
        first, second = pauses.told(3.0)

        assert "y" * 199 + "…" == first.reason
        assert "y" * 200 == second.reason
