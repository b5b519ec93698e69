"""
A Litestar application that takes payments; without a credential it has a sandbox of its own.

    python examples/web/litestar_app.py
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
from typing import Any

import attrs
import uvicorn
from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import NotAuthorizedException
from litestar.params import FromPath, JSONBody

from carevalidate_async import CareValidate, CasePaymentRequest, PaymentConfirmation, PaymentStatus
from carevalidate_async.integrations.litestar import (
    CallerKeyDep,
    CareDep,
    CareValidatePlugin,
    VendorsDep,
    webhook_event,
)
from carevalidate_async.sandbox import Sandbox

logger = logging.getLogger(__name__)
SECRET = os.environ.get("CAREVALIDATE_WEBHOOK_SECRET", "")  # without one no webhook is believed


@contextlib.asynccontextmanager
async def own_lifespan(_: Litestar) -> AsyncIterator[None]:
    """Open what the application has beside the clients: here, perhaps, a sandbox."""
    if "CAREVALIDATE_API_KEY" in os.environ:
        yield
        return
    async with Sandbox(api_key="test") as sandbox:
        os.environ["CAREVALIDATE_API_KEY"] = "test"
        os.environ["CAREVALIDATE_BASE_URL"] = sandbox.url
        yield


def user_of(request: Request[Any, Any, Any]) -> str:
    """Say who asks, as whoever authenticates your users tells; their keys are their own."""
    user = request.headers.get("X-User-Id")
    if not user:
        raise NotAuthorizedException
    return user


@attrs.frozen
class Paid:
    """A payment that was made."""

    case_id: str
    amount: Decimal
    paid_on: date
    valid_until: date


@attrs.frozen
class Wanted:
    """A payment that is to be made."""

    amount: Decimal
    description: str


@post("/payments", status_code=200)
async def confirm(
    request: Request[Any, Any, Any],
    data: JSONBody[Paid],
    care: CareDep,
    caller_key: CallerKeyDep,
) -> dict[str, Any]:
    """Record a payment that was made."""
    payment = PaymentConfirmation(
        case_id=data.case_id,
        amount=data.amount,
        payment_date=data.paid_on,
        valid_until=data.valid_until,
        status=PaymentStatus.PAID,
    )
    payment = caller_key.bind(payment, scope=user_of(request))
    receipt = await care.confirm_payment(payment, accept_duplicate=True)
    return {"status": "recorded", "already_recorded": receipt.meta.already_recorded}


@post("/cases/{case_id:uuid}/payments")
async def create(
    request: Request[Any, Any, Any],
    case_id: FromPath[uuid.UUID],
    data: JSONBody[Wanted],
    care: CareDep,
    caller_key: CallerKeyDep,
) -> dict[str, Any]:
    """Create a payment of a case."""
    wanted = CasePaymentRequest(amount=data.amount, description=data.description)
    wanted = caller_key.bind(wanted, scope=user_of(request), case_id=case_id)
    payment = await care.create_case_payment(case_id, wanted)
    return {"payment_id": payment.payment_id, "status": payment.status}


@post("/webhooks", status_code=204)
async def hear(request: Request[Any, Any, Any]) -> None:
    """Take note of a webhook."""
    event = await webhook_event(request, SECRET)
    logger.info("webhook %s, %s", event.type, event.fingerprint)  # take each fingerprint once


@get("/health")
async def health(vendors: VendorsDep) -> Response[dict[str, Any]]:
    """Say whether new payments are taken."""
    state = {"draining": vendors.closed, "unfinished": vendors.unfinished}
    return Response(state, status_code=503 if vendors.closed else 200)


app = Litestar(
    [confirm, create, hear, health],
    plugins=[CareValidatePlugin(care=lambda: CareValidate(deadline=15), grace=20)],
    lifespan=[own_lifespan],
)

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
