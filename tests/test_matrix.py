"""
Whatever fails, a call tells the truth about the money, within a stated time and a stated number of
requests, and leaks nothing: the fault matrix, in ``tests/matrix``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import canaries
from carevalidate_async import RetryPolicy
from matrix.play import Case, cases, play

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.deep

CASES = list(cases(through_session=os.environ.get("CAREVALIDATE_TRANSPORT") == "session"))
KEYED = ("confirm_payment", "create_case_payment")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_combination(
    case: Case,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    """The call ends as the matrix says, and what it says is so."""
    with canaries.nothing_seen(caplog) as seen:
        played = play(case, seen)

    expected = case.expected
    assert (case.result, expected["outcome"]) == (played.result, played.outcome)
    assert expected.get("gave_up") == played.gave_up
    assert expected["attempts"] == len(played.attempts)
    assert expected["requests"] == played.requests
    assert expected["records"] == played.records
    # The fault that was planned was met.
    assert case.struck == played.struck
    assert 0 == played.left
    # Nobody sends but the policy, and always the same; nothing follows a redirect.
    assert played.requests <= len(played.attempts) <= played.most
    assert len(set(played.arrived)) <= 1
    assert 0 == played.elsewhere
    # Within the stated time.
    assert played.seconds <= played.longest
    assert played.seconds == pytest.approx(expected.get("seconds", played.seconds), abs=0.001)
    # An attempt that is given up takes its time, and nothing else does but the delays.
    delays = [attempt.delay or 0 for attempt in played.attempts]
    patience = sum(attempt.happened == "APITimeoutError" for attempt in played.attempts) * 30
    if "seconds" not in expected:
        # Some servers wait, or drip, for a while before they answer.
        assert played.seconds <= sum(delays) + max(patience, 30) + 0.001
    if "waits" in case.scenario:
        low, high = case.scenario["waits"]
        for number, delay in enumerate(delays[:-1], start=1):
            assert low <= delay <= high + RetryPolicy().longest_delay(number) - 0.5
    assert all(attempt.delay is not None for attempt in played.attempts[:-1])
    assert played.attempts[-1].delay is None
    # What it says of the money is so.
    if played.outcome == "recorded":
        assert 1 <= played.records
    if played.outcome in {"rejected", "not_sent"}:
        assert 0 == played.records
    if case.operation in KEYED:
        assert played.records <= 1
    # Nothing stays behind.
    assert 0 == played.tasks
    record_property("faults_struck", played.struck)


def test_size() -> None:
    """The matrix has at least three hundred combinations, each with a name of its own."""
    assert len(CASES) >= 300
    assert len(CASES) == len({case.id for case in CASES})
