"""What the clinic did before: requests of its own, each with a key of its own."""

from __future__ import annotations

import http.client
import json
import urllib.request
import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from carevalidate_async.testing import BackgroundSandbox


def confirm_by_hand(url: str) -> None:
    """Ask until an answer comes, as a decorator for retries would."""
    for _ in range(4):
        fields = {
            "caseId": "case-1",
            "amount": 149.9,
            "paymentDate": "2026-11-02",
            "status": "PAID",
            "validUntil": "2026-12-01",
            "idempotencyKey": str(uuid.uuid4()),
        }
        request = urllib.request.Request(  # noqa: S310  # To the sandbox.
            f"{url}/api/v1/customer-payment-confirmation",
            data=json.dumps(fields).encode(),
            headers={"cv-api-key": "test", "Content-Type": "application/json"},
        )
        try:
            urllib.request.urlopen(request, timeout=5).close()  # noqa: S310  # As above.
        except (OSError, http.client.HTTPException):
            continue
        return


@pytest.mark.carevalidate_faults("DROP_AFTER")
def test_recorded_twice(carevalidate_sandbox: BackgroundSandbox) -> None:
    """A lost answer records the payment twice, and the sandbox tells."""
    confirm_by_hand(carevalidate_sandbox.url)

    carevalidate_sandbox.assert_recorded(case_id="case-1", times=2)
    with pytest.raises(AssertionError, match="recorded more than once, under different keys"):
        carevalidate_sandbox.assert_no_duplicates()
