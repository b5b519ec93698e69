"""
A Starlette application that takes payments; without a credential it has a sandbox of its own.

    python examples/web/starlette_app.py
    curl -i localhost:8000/payments -H 'X-User-Id: u-1' -H 'Idempotency-Key: "8e03978e"' \
        -d '{"case_id": "case-1", "amount": 49.90,
             "paid_on": "2026-11-02", "valid_until": "2026-12-02"}'
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from carevalidate_async import CareValidate, CasePaymentRequest, PaymentConfirmation, PaymentStatus
from carevalidate_async.integrations.starlette import (
    PROBLEM_HANDLERS,
    caller_key,
    lifespan,
    vendors_of,
    webhook_event,
)
from carevalidate_async.sandbox import Sandbox

logger = logging.getLogger(__name__)
SECRET = os.environ.get("CAREVALIDATE_WEBHOOK_SECRET", "")  # without one no webhook is believed


@contextlib.asynccontextmanager
async def own_lifespan(_: Starlette) -> AsyncIterator[None]:
    """Open what the application has beside the clients: here, perhaps, a sandbox."""
    if "CAREVALIDATE_API_KEY" in os.environ:
        yield
        return
    async with Sandbox(api_key="test") as sandbox:
        os.environ["CAREVALIDATE_API_KEY"] = "test"
        os.environ["CAREVALIDATE_BASE_URL"] = sandbox.url
        yield


def user_of(request: Request) -> str:
    """Say who asks, as whoever authenticates your users tells; their keys are their own."""
    user = request.headers.get("X-User-Id", "")
    if not user:
        raise HTTPException(401)
    return user


async def body_of(request: Request) -> dict[str, Any]:
    """Return the JSON object that was sent, amounts exact."""
    try:
        body = json.loads(await request.body(), parse_float=Decimal)
    except ValueError:
        raise HTTPException(400, "not JSON") from None
    if not isinstance(body, dict):
        raise HTTPException(400, "not a JSON object")
    return body


async def confirm(request: Request) -> JSONResponse:
    """Record a payment that was made."""
    user, body = user_of(request), await body_of(request)
    try:
        days = [date.fromisoformat(body.get(name, "")) for name in ("paid_on", "valid_until")]
    except (TypeError, ValueError):
        raise HTTPException(400, "paid_on and valid_until must be days") from None
    payment = PaymentConfirmation(
        case_id=body.get("case_id", ""),
        amount=body.get("amount", ""),
        payment_date=days[0],
        valid_until=days[1],
        status=PaymentStatus.PAID,
    )
    payment = caller_key(request).bind(payment, scope=user)
    receipt = await vendors_of(request).care.confirm_payment(payment, accept_duplicate=True)
    already = receipt.meta.already_recorded
    return JSONResponse({"status": "recorded", "already_recorded": already})


async def create(request: Request) -> JSONResponse:
    """Create a payment of a case."""
    user, body, case_id = user_of(request), await body_of(request), request.path_params["case_id"]
    wanted = CasePaymentRequest(
        amount=body.get("amount", ""), description=body.get("description", "")
    )
    wanted = caller_key(request).bind(wanted, scope=user, case_id=case_id)
    payment = await vendors_of(request).care.create_case_payment(case_id, wanted)
    return JSONResponse({"payment_id": payment.payment_id, "status": payment.status}, 201)


async def hear(request: Request) -> Response:
    """Take note of a webhook."""
    event = await webhook_event(request, SECRET)
    logger.info("webhook %s, %s", event.type, event.fingerprint)  # take each fingerprint once
    return Response(status_code=204)


async def health(request: Request) -> JSONResponse:
    """Say whether new payments are taken."""
    vendors = vendors_of(request)
    state = {"draining": vendors.closed, "unfinished": vendors.unfinished}
    return JSONResponse(state, 503 if vendors.closed else 200)


app = Starlette(
    routes=[
        Route("/payments", confirm, methods=["POST"]),
        Route("/cases/{case_id:uuid}/payments", create, methods=["POST"]),
        Route("/webhooks", hear, methods=["POST"]),
        Route("/health", health),
    ],
    lifespan=lifespan(own_lifespan, care=lambda: CareValidate(deadline=15), grace=20),
    exception_handlers=PROBLEM_HANDLERS,
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
