"""
An aiohttp.web application that takes payments; without a credential it has a sandbox of its own.

    python examples/web/aiohttp_app.py
    curl -i localhost:8000/payments -H 'X-User-Id: u-1' -H 'Idempotency-Key: "8e03978e"' \
        -d '{"case_id": "case-1", "amount": 49.90,
             "paid_on": "2026-11-02", "valid_until": "2026-12-02"}'
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Any

from aiohttp import web

from carevalidate_async import CareValidate, CasePaymentRequest, PaymentConfirmation, PaymentStatus
from carevalidate_async.integrations.aiohttp import (
    caller_key,
    problems,
    vendors_ctx,
    vendors_of,
    webhook_event,
)
from carevalidate_async.sandbox import Sandbox

logger = logging.getLogger(__name__)
SECRET = os.environ.get("CAREVALIDATE_WEBHOOK_SECRET", "")  # without one no webhook is believed
routes = web.RouteTableDef()


async def sandbox_ctx(_: web.Application) -> AsyncIterator[None]:
    """Have a sandbox where there is no credential."""
    if "CAREVALIDATE_API_KEY" in os.environ:
        yield
        return
    async with Sandbox(api_key="test") as sandbox:
        os.environ["CAREVALIDATE_API_KEY"] = "test"
        os.environ["CAREVALIDATE_BASE_URL"] = sandbox.url
        yield


def user_of(request: web.Request) -> str:
    """Say who asks, as whoever authenticates your users tells; their keys are their own."""
    user = request.headers.get("X-User-Id", "")
    if not user:
        raise web.HTTPUnauthorized
    return user


async def body_of(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that was sent, amounts exact."""
    try:
        body = json.loads(await request.text(), parse_float=Decimal)
    except ValueError:
        raise web.HTTPBadRequest(text="not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="not a JSON object")
    return body


@routes.post("/payments")
async def confirm(request: web.Request) -> web.Response:
    """Record a payment that was made."""
    user, body = user_of(request), await body_of(request)
    try:
        days = [date.fromisoformat(body.get(name, "")) for name in ("paid_on", "valid_until")]
    except (TypeError, ValueError):
        raise web.HTTPBadRequest(text="paid_on and valid_until must be days") from None
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
    return web.json_response({"status": "recorded", "already_recorded": already})


@routes.post("/cases/{case_id}/payments")
async def create(request: web.Request) -> web.Response:
    """Create a payment of a case."""
    user, body, case_id = user_of(request), await body_of(request), request.match_info["case_id"]
    wanted = CasePaymentRequest(
        amount=body.get("amount", ""), description=body.get("description", "")
    )
    wanted = caller_key(request).bind(wanted, scope=user, case_id=case_id)
    payment = await vendors_of(request).care.create_case_payment(case_id, wanted)
    answer = {"payment_id": payment.payment_id, "status": payment.status}
    return web.json_response(answer, status=201)


@routes.post("/webhooks")
async def hear(request: web.Request) -> web.Response:
    """Take note of a webhook."""
    event = await webhook_event(request, SECRET)
    logger.info("webhook %s, %s", event.type, event.fingerprint)  # take each fingerprint once
    return web.Response(status=204)


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    """Say whether new payments are taken."""
    vendors = vendors_of(request)
    state = {"draining": vendors.closed, "unfinished": vendors.unfinished}
    return web.json_response(state, status=503 if vendors.closed else 200)


app = web.Application(middlewares=[problems])
app.add_routes(routes)
app.cleanup_ctx.extend([sandbox_ctx, vendors_ctx(care=lambda: CareValidate(deadline=15), grace=20)])

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--sandbox", action="store_true", help="also where there is a credential")
    args = parser.parse_args()
    if args.sandbox:
        os.environ.pop("CAREVALIDATE_API_KEY", None)
    logging.basicConfig(level=logging.INFO)
    # Who hangs up frees what serves them; the payment goes on. The timeout is waited for twice.
    web.run_app(
        app, host="127.0.0.1", port=args.port, shutdown_timeout=2.5, handler_cancellation=True
    )
