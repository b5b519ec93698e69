from __future__ import annotations

from typing import Any

import pytest

from carevalidate_async._run.groups import MOST_LISTED, Group, Listed, Troubles


def told(outcome: str, **facts: Any) -> tuple[Group, Listed]:
    """Return the group and the list that a row comes to."""
    troubles = Troubles()
    met = {"key": None, "error": None, "status": None, "code": None, "reason": "why"}
    troubles.add(outcome, line=2, **{**met, **facts})
    (group,), (row,) = troubles.groups(), troubles.listed()
    return group, row


class TestCuts:
    def test_are_marked(self) -> None:
        """
        Whatever is too long to be kept ends with a sign that there was more.
        """
        group, row = told("rejected", code="c" * 65, key="k" * 256, reason="r" * 301)

        assert ("c" * 63 + "…", "k" * 254 + "…", "r" * 299 + "…") == (
            group.code,
            row.key,
            row.reason,
        )

    def test_are_not_marked_where_nothing_was_cut(self) -> None:
        """
        What just fits is kept as it is.
        """
        group, row = told("rejected", code="c" * 64, key="k" * 255, reason="r" * 300)

        assert ("c" * 64, "k" * 255, "r" * 300) == (group.code, row.key, row.reason)

    def test_are_the_same_for_many_rows(self) -> None:
        """
        Rows that are told at once are in the group of those that were told one by one.
        """
        troubles, reason = Troubles(), "r" * 100
        troubles.add_many("not_sent", [(line, None) for line in range(MOST_LISTED + 9)], reason)

        assert [("r" * 63 + "…", MOST_LISTED + 9)] == [
            (group.code, group.count) for group in troubles.groups()
        ]


class TestDoubt:
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            ("RateLimitError", 429),
            ("BadRequestError", 400),
            ("AuthenticationError", 401),
            ("APIConnectionError", None),
            ("ClientClosedError", None),
        ],
    )
    def test_is_explained_where_the_last_error_does_not(
        self, error: str, status: int | None
    ) -> None:
        """
        A row is in doubt though it met a clear no at last, since an earlier ask may have landed.
        """
        group, row = told("unknown", error=error, status=status, reason="it said no")

        assert group.doubt_is_older
        assert "it said no, after an earlier ask that may have landed" == row.reason
        assert row == group.examples[0]

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            ("InternalServerError", 500),
            ("APIStatusError", 408),
            ("ConflictError", 409),
            ("ResponseDecodeError", 200),
            ("APITimeoutError", None),
            ("AnswerLostError", None),
            (None, None),
        ],
    )
    def test_needs_no_explanation_where_the_last_error_is_one(
        self, error: str | None, status: int | None
    ) -> None:
        """
        Where the last answer itself leaves a doubt, nothing is added.
        """
        group, row = told("unknown", error=error, status=status)

        assert not group.doubt_is_older
        assert "why" == row.reason

    def test_is_of_rows_in_doubt_alone(self) -> None:
        """
        A clear no is all there is to say of a row that was refused.
        """
        group, row = told("rejected", error="BadRequestError", status=400)

        assert not group.doubt_is_older
        assert "why" == row.reason
