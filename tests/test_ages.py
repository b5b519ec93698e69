from __future__ import annotations

import pytest

from carevalidate_async._run.ages import age_in_words, read_age


class TestReadAge:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("90m", 5400), ("36h", 129_600), ("7d", 604_800), ("0h", 0), ("999999999d", 86_400 * 1e9)],
    )
    def test_a_number_and_its_unit(self, text: str, seconds: float) -> None:
        """
        An age is a whole number of minutes, hours or days.
        """
        assert read_age(text) == pytest.approx(seconds, rel=1e-8)

    def test_forever_is_no_bound(self) -> None:
        """
        Who has no bound says so in a word.
        """
        assert read_age("forever") is None

    @pytest.mark.parametrize(
        "text",
        ["", "24", "h", "24 h", "-1h", "1.5h", "1h30m", "24s", "24H", "\u0662h", "9" * 10 + "d"],
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        """
        A number without a unit could be anything, and nothing is guessed about money.
        """
        with pytest.raises(ValueError, match=r"^must be a number with m, h or d, such as 90m, 36h"):
            read_age(text)


class TestAgeInWords:
    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (0, "less than a minute"),
            (59.9, "less than a minute"),
            (60, "1 minute"),
            (119, "1 minute"),
            (7199, "119 minutes"),
            (7200, "2 hours"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
            (86_400 * 12_345, "12,345 days"),
        ],
    )
    def test_it_is_told_in_a_unit_that_tells_enough(self, seconds: float, words: str) -> None:
        """
        An age is rounded down, to no less than two of its unit where that is an hour or a day.
        """
        assert words == age_in_words(seconds)
