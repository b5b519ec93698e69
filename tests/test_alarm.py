from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from carevalidate_async._alarm import UNREACHABLE_STREAK, Alarm
from carevalidate_async.bulk import Row
from carevalidate_async.errors import (
    AnswerLostError,
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CareValidateError,
    Outcome,
)
from carevalidate_async.models import PaymentConfirmation, PaymentStatus

PAYMENT = PaymentConfirmation(
    case_id="case-1",
    amount=Decimal(1),
    payment_date=date(2026, 1, 5),
    valid_until=date(2026, 2, 5),
    status=PaymentStatus.PAID,
)
AWAY = APIConnectionError("away", outcome=Outcome.NOT_SENT, retryable=True)
LOST = AnswerLostError("lost", outcome=Outcome.UNKNOWN)
NO = BadRequestError("no", outcome=Outcome.REJECTED, status=400)
NO_KEY = AuthenticationError("bad key", outcome=Outcome.REJECTED, status=401)


def row(error: CareValidateError | None) -> Row:
    outcome = Outcome.RECORDED if error is None else error.outcome
    return Row(index=0, payment=PAYMENT, error=error, outcome=outcome)


class TestAlarm:
    @pytest.mark.parametrize("error", [None, NO, LOST])
    def test_what_one_row_meets_is_its_own(self, error: CareValidateError | None) -> None:
        """
        A record, a refusal and a lost answer tell nothing of the other rows, but that the vendor
        was reached.
        """
        alarm = Alarm(1)
        for _ in range(2 * UNREACHABLE_STREAK):
            alarm.heed(row(error))

        assert (None, False, True) == (alarm.reason, alarm.refused, alarm.reached)

    @pytest.mark.parametrize("kind", [APIConnectionError, APITimeoutError])
    def test_a_vendor_out_of_reach(self, kind: type[APIConnectionError]) -> None:
        """
        Neither a refused connection nor one that never comes reaches the vendor.
        """
        alarm = Alarm(1)
        for _ in range(UNREACHABLE_STREAK):
            assert alarm.reason is None
            alarm.heed(row(kind("away", outcome=Outcome.NOT_SENT)))

        assert "the vendor cannot be reached (away)" == alarm.reason

    def test_a_refused_key_is_enough_once(self) -> None:
        """
        One refusal of the credential rings, and is no sign that a payment was looked at.
        """
        alarm = Alarm(64)
        alarm.heed(row(NO_KEY))

        assert (True, False) == (alarm.refused, alarm.reached)
        assert "the vendor refuses the API key (401 AuthenticationError)" == alarm.reason

    @pytest.mark.parametrize(
        ("concurrency", "patience"), [(1, UNREACHABLE_STREAK), (64, 64)], ids=["few", "many"]
    )
    def test_out_of_reach_takes_a_streak(self, concurrency: int, patience: int) -> None:
        """
        So many rows in a row without a connection ring; one that came through begins anew.
        """
        alarm = Alarm(concurrency)
        for error in [*[AWAY] * (patience - 1), NO, *[AWAY] * (patience - 1)]:
            alarm.heed(row(error))
        quiet = alarm.reason
        alarm.heed(row(AWAY))

        assert quiet is None
        assert "the vendor cannot be reached (away)" == alarm.reason

    def test_the_first_reason_stands(self) -> None:
        """
        What rings later does not change what is said.
        """
        alarm = Alarm(1)
        alarm.heed(row(NO_KEY))
        first = alarm.reason
        for _ in range(UNREACHABLE_STREAK):
            alarm.heed(row(AWAY))

        assert first == alarm.reason
