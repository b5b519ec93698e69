"""A client of nothing but aiohttp and sockets, to ask the sandbox without the package."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from aiohttp import (
        ClientSession,
    )

    from carevalidate_async.sandbox import Sandbox

CASE = "9f0f2f70-f536-4b1d-8ed4-c831f4a4bcab"
CONFIRMATION = {
    "caseId": "case-1",
    "amount": 50,
    "paymentDate": "2025-01-01",
    "status": "PAID",
    "validUntil": "2025-02-01",
}
CASE_PAYMENT = {"amount": 100, "description": "A visit"}
INTENT = {"amount": 1.15, "paymentMethodTypes": ["card"], "metadata": {"email": "a@b.example"}}
ADDRESS = {
    "addressLine1": "1600 Pennsylvania Avenue NW",
    "addressLine2": "",
    "city": "Washington",
    "state": "DC",
    "country": "US",
    "postalCode": "20500",
}
USER_UPDATE = {
    "action": "UPDATE_PAYMENT_INFO",
    "email": "john@example.com",
    "data": {"stripeSetupId": "seti_1", "nmiPaymentToken": "nmi_1", "shippingAddress": ADDRESS},
}
METHOD_UPDATE = {"id": 42, "payment_method": {"exp_month": 5}, "token": "test"}

GOOD: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "confirm_payment": ("POST", "/api/v1/customer-payment-confirmation", CONFIRMATION),
    "create_case_payment": ("POST", f"/api/v1/cases/{CASE}/payments", CASE_PAYMENT),
    "create_payment_intent": ("POST", "/api/v1/payments/intent", INTENT),
    "update_user_payment": ("POST", "/api/v1/users", USER_UPDATE),
    "update_payment_method": ("PUT", "/api/v1/payment_methods/update", METHOD_UPDATE),
}
CARE = tuple(name for name in GOOD if name != "update_payment_method")
PATH = GOOD["confirm_payment"][1]
GONE = object()


STATUS_FLAW = (
    "status must be one of PAID, UNPAID, CANCELED, IN_DISPUTE, LOST_DISPUTE, REFUND, ERROR"
)
TYPES_FLAW = "Invalid payment method types"
NO_NUMBER = "Amount must be a positive number"
CARE_FLAWS: Mapping[str, list[tuple[dict[str, Any], str]]] = {
    "confirm_payment": [
        ({"caseId": GONE}, "caseId is required"),
        ({"caseId": ""}, "caseId must be text, not empty"),
        ({"caseId": 7}, "caseId must be text, not empty"),
        ({"amount": GONE}, "Amount is required"),
        ({"amount": "50"}, NO_NUMBER),
        ({"amount": -0.01}, "Amount must not be negative"),
        ({"paymentDate": "2025-02-30"}, "paymentDate is not a day of the calendar"),
        ({"paymentDate": "20250201"}, "paymentDate must be YYYY-MM-DD"),
        ({"validUntil": 20250201}, "validUntil must be YYYY-MM-DD"),
        ({"status": "paid"}, STATUS_FLAW),
        ({"status": ["PAID"]}, STATUS_FLAW),
        ({"email": None}, "email must be an email address"),
        ({"email": "john"}, "email must be an email address"),
        ({"phone_number": "+1"}, "phone_number is not a known field"),
    ],
    "create_case_payment": [
        ({"amount": GONE}, "Amount is required"),
        ({"amount": 0}, NO_NUMBER),
        ({"amount": True}, NO_NUMBER),
        ({"description": GONE}, "description is required"),
        ({"preauthorize": "true"}, "preauthorize must be true or false"),
        ({"productId": "p-1"}, "productId must be a UUID"),
    ],
    "create_payment_intent": [
        ({"amount": GONE}, "Amount is required"),
        ({"amount": None}, "Amount is required"),
        ({"amount": -5}, NO_NUMBER),
        ({"amount": 1.001}, "Amount must have at most two decimal places"),
        ({"amount": 10**12 + 1}, "Amount must be at most 1000000000000"),
        ({"amount": 1e300}, "Amount must be at most 1000000000000"),
        ({"paymentMethodTypes": "card"}, TYPES_FLAW),
        ({"paymentMethodTypes": []}, TYPES_FLAW),
        ({"paymentMethodTypes": ["card", ""]}, TYPES_FLAW),
        ({"paymentMethodTypes": ["unknown"]}, TYPES_FLAW),
        ({"metadata": []}, "metadata must be an object"),
        ({"metadata": {"phone": 1}}, "metadata.phone must be text, not empty"),
    ],
}
NO_ADDRESS = {"stripeSetupId": "seti_1", "nmiPaymentToken": "nmi_1", "shippingAddress": {}}
NO_SETUP = {**NO_ADDRESS, "stripeSetupId": "seti_unknown", "shippingAddress": ADDRESS}
USER_FLAWS: list[tuple[dict[str, Any], str]] = [
    ({"action": GONE}, "action is required"),
    ({"action": "DELETE"}, "action must be one of UPDATE_PAYMENT_INFO"),
    ({"data": {}}, "data.stripeSetupId is required"),
    ({"data": NO_ADDRESS}, "data.shippingAddress.addressLine1 is required"),
    ({"data": NO_SETUP}, "No such setupintent: 'seti_unknown'"),
    ({"email": "x@unknown.example"}, "User x@unknown.example does not exist"),
]
METHOD_FLAWS: list[tuple[dict[str, Any], str]] = [
    ({"token": GONE}, "missing-param"),
    ({"id": GONE}, "missing-param"),
    ({"payment_method": GONE}, "missing-param"),
    ({"payment_method": {}}, "missing-param"),
    ({"id": "42"}, "invalid-param"),
    ({"id": True}, "invalid-param"),
    ({"id": 0}, "invalid-param"),
    ({"payment_method": {"exp_month": 13}}, "invalid-param"),
    ({"payment_method": {"exp_year": 30}}, "invalid-param"),
    ({"payment_method": {"province_iso": "US_CO"}}, "invalid-param"),
    ({"payment_method": {"street2": None}}, "invalid-param"),
    ({"application": "planoother"}, "invalid-param"),
    ({"nameOnCard": "J"}, "invalid-param"),
    ({"id": GONE, "payment_method": GONE, "token": GONE}, "no-params-decoded"),
]


@attrs.frozen
class Said:
    """An answer as a client sees it."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self.text)
        return fields


class Asker:
    """A client of nothing but aiohttp."""

    def __init__(self, http: ClientSession, sandbox: Sandbox) -> None:
        self.http = http
        self.sandbox = sandbox

    async def send(
        self,
        method: str,
        path: str,
        *,
        data: bytes = b"",
        key: str | None = "test",
        content_type: str = "application/json",
    ) -> Said:
        headers = {"Content-Type": content_type} | ({} if key is None else {"cv-api-key": key})
        url = self.sandbox.url + path
        async with self.http.request(
            method, url, data=data, headers=headers, allow_redirects=False
        ) as answer:
            return Said(answer.status, await answer.text(), answer.headers)

    async def ask(self, operation: str, body: object = None, *, key: str | None = "test") -> Said:
        method, path, good = GOOD[operation]
        data = json.dumps(good if body is None else body).encode()
        return await self.send(method, path, data=data, key=key)


def changed(operation: str, change: dict[str, Any]) -> dict[str, Any]:
    """Return the good body of *operation* with *change*; what is GONE is left out."""
    fields = {**GOOD[operation][2], **change}
    return {key: value for key, value in fields.items() if value is not GONE}


def on_record(sandbox: Sandbox) -> int:
    """How many things are on record, of any kind."""
    records = (
        sandbox.payments,
        sandbox.intents,
        sandbox.user_updates,
        sandbox.method_updates,
    )
    return sum(len(kind) for kind in records)


def head(*, method: str = "POST", path: str = PATH, length: int = 0, more: str = "") -> bytes:
    """Return the head of a request as bytes."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\ncv-api-key: test\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    ).encode()


async def raw(sandbox: Sandbox, *parts: bytes) -> bytes:
    """Send *parts* on a connection of their own; return all that comes until its end."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


async def until(fact: Callable[[], object]) -> None:
    """Wait until *fact* is true."""
    async with asyncio.timeout(3):
        while not fact():  # noqa: ASYNC110  # What is waited for knows no event.
            await asyncio.sleep(0.005)
