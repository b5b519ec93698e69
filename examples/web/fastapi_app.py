"""
A FastAPI application that takes payments; without a credential it has a sandbox of its own.

    python examples/web/fastapi_app.py
    curl -i localhost:8000/payments -H 'X-User-Id: u-1' -H 'Idempotency-Key: "8e03978e"' \
        -H 'Content-Type: application/json' \
        -d '{"case_id": "case-1", "amount": 49.90,
             "paid_on": "2026-11-02", "valid_until": "2026-12-02"}'
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Header, Response
from pydantic import BaseModel

from carevalidate_async import CareValidate, CasePaymentRequest, PaymentConfirmation, PaymentStatus
from carevalidate_async.integrations.fastapi import (
    PROBLEM_HANDLERS,
    CallerKeyDep,
    CareDep,
    VendorsDep,
    lifespan,
    webhook_event,
)
from carevalidate_async.sandbox import Sandbox
from carevalidate_async.webhooks import WebhookEvent

logger = logging.getLogger(__name__)
SECRET = os.environ.get("CAREVALIDATE_WEBHOOK_SECRET", "")  # without one no webhook is believed


@contextlib.asynccontextmanager
async def own_lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open what the application has beside the clients: here, perhaps, a sandbox."""
    if "CAREVALIDATE_API_KEY" in os.environ:
        yield
        return
    async with Sandbox(api_key="test") as sandbox:
        os.environ["CAREVALIDATE_API_KEY"] = "test"
        os.environ["CAREVALIDATE_BASE_URL"] = sandbox.url
        yield


app = FastAPI(
    lifespan=lifespan(own_lifespan, care=lambda: CareValidate(deadline=15), grace=20),
    exception_handlers=PROBLEM_HANDLERS,
)
# Whoever authenticates your users says who they are; their keys are their own.
UserId = Annotated[str, Header(alias="X-User-Id", min_length=1)]
Event = Annotated[WebhookEvent, Depends(webhook_event(SECRET))]


class Paid(BaseModel):
    """A payment that was made."""

    case_id: str
    amount: Decimal
    paid_on: date
    valid_until: date


class Wanted(BaseModel):
    """A payment that is to be made."""

    amount: Decimal
    description: str


@app.post("/payments")
async def confirm(paid: Paid, care: CareDep, key: CallerKeyDep, user: UserId) -> dict[str, object]:
    """Record a payment that was made."""
    payment = PaymentConfirmation(
        case_id=paid.case_id,
        amount=paid.amount,
        payment_date=paid.paid_on,
        valid_until=paid.valid_until,
        status=PaymentStatus.PAID,
    )
    receipt = await care.confirm_payment(key.bind(payment, scope=user), accept_duplicate=True)
    return {"status": "recorded", "already_recorded": receipt.meta.already_recorded}


@app.post("/cases/{case_id}/payments", status_code=201)
async def create(
    case_id: uuid.UUID, wanted: Wanted, care: CareDep, key: CallerKeyDep, user: UserId
) -> dict[str, object]:
    """Create a payment of a case."""
    request = CasePaymentRequest(amount=wanted.amount, description=wanted.description)
    request = key.bind(request, scope=user, case_id=case_id)
    payment = await care.create_case_payment(case_id, request)
    return {"payment_id": payment.payment_id, "status": payment.status}


@app.post("/webhooks", status_code=204)
async def hear(event: Event) -> None:
    """Take note of a webhook."""
    logger.info("webhook %s, %s", event.type, event.fingerprint)  # take each fingerprint once


@app.get("/health")
async def health(vendors: VendorsDep, response: Response) -> dict[str, object]:
    """Say whether new payments are taken."""
    response.status_code = 503 if vendors.closed else 200
    return {"draining": vendors.closed, "unfinished": vendors.unfinished}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--sandbox", action="store_true", help="also where there is a credential")
    args = parser.parse_args()
    if args.sandbox:
        os.environ.pop("CAREVALIDATE_API_KEY", None)
    logging.basicConfig(level=logging.INFO)
    # uvicorn raises the signal again once it has shut down in peace.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(app, port=args.port, timeout_graceful_shutdown=5)
