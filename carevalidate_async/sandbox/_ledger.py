"""What is on record, and the answer to each claim that is put there."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from carevalidate_async.sandbox._answers import (
    CONFIRMED,
    KEY_EXISTS,
    USER_UPDATED,
    Reply,
    reply,
    slug,
)
from carevalidate_async.sandbox._checks import read_json
from carevalidate_async.sandbox._judge import Claim

if TYPE_CHECKING:
    from random import Random


@attrs.frozen(kw_only=True)
class Recorded:
    """
    Something that the sandbox has put on record.

    Attributes:
        operation: Name of the operation.

        organization: Whose API key it came with; empty at planocore.

        id: The sandbox's id of it; at planocore the payment method's.

        at: When it was recorded, in UTC.

        raw: The request's body as it came.
    """

    operation: str
    organization: str
    id: str
    at: datetime
    raw: bytes = attrs.field(repr=False)

    @property
    def body(self) -> dict[str, Any]:
        """The request's body, read anew each time; numbers with a fraction are Decimal."""
        body: dict[str, Any] = read_json(self.raw)
        return body


@attrs.frozen(kw_only=True)
class RecordedPayment(Recorded):
    """
    A confirmation or a case payment that is on record.

    Attributes:
        idempotency_key: The key that it came with, None where it came without.

        case_id: The case that it belongs to.
    """

    idempotency_key: str | None
    case_id: str


class Ledger:
    """
    What is on record.

    Both payment operations of an organization share one space of idempotency keys: the vendor's
    pages speak of "a record with the provided idempotencyKey" of the organization. Who uses a key
    for one payment only is right under either reading.

    Args:
        rng: Where ids come from.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._keys: set[tuple[str, str]] = set()
        self._methods: dict[int, dict[str, Any]] = {}
        self.payments: list[RecordedPayment] = []
        self.intents: list[Recorded] = []
        self.user_updates: list[Recorded] = []
        self.method_updates: list[Recorded] = []

    def clear(self) -> None:
        """Forget everything."""
        records = (self.payments, self.intents, self.user_updates, self.method_updates)
        for state in (self._keys, self._methods, *records):
            state.clear()

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _take_payment(self, operation: str, claim: Claim, raw: bytes) -> RecordedPayment | None:
        """Record a payment; None where its key has one already."""
        key = claim.fields.get("idempotencyKey")
        if key is not None:
            scoped = (claim.organization, key)
            if scoped in self._keys:
                return None
            self._keys.add(scoped)
        payment = RecordedPayment(
            operation=operation,
            organization=claim.organization,
            id=self._uuid(),
            at=datetime.now(UTC),
            raw=raw,
            idempotency_key=key,
            case_id=str(claim.case_id),
        )
        self.payments.append(payment)
        return payment

    def confirm_payment(self, operation: str, claim: Claim, raw: bytes) -> Reply:
        """Record a confirmation."""
        return CONFIRMED if self._take_payment(operation, claim, raw) else KEY_EXISTS

    def create_case_payment(self, operation: str, claim: Claim, raw: bytes) -> Reply:
        """Record a case payment; its status is the one asked for, else UNPAID."""
        payment = self._take_payment(operation, claim, raw)
        if payment is None:
            return KEY_EXISTS
        amount = claim.fields["amount"]
        result = {
            "paymentId": payment.id,
            "status": claim.fields.get("status", "UNPAID"),
            # A checked amount has at most 15 digits, which a float prints exactly.
            "amount": int(amount) if amount == int(amount) else float(amount),
            "description": claim.fields["description"],
            "createdAt": f"{payment.at:%Y-%m-%dT%H:%M:%S}.{payment.at.microsecond // 1000:03}Z",
        }
        message = "Case payment created successfully"
        return reply(200, {"success": True, "message": message, "data": {"result": result}})

    def create_payment_intent(self, operation: str, claim: Claim, raw: bytes) -> Reply:
        """Record an intent."""
        name = f"pi_{self._rng.getrandbits(96):024x}"
        self.intents.append(self._entry(operation, claim, raw, name))
        secret = f"{name}_secret_{self._rng.getrandbits(96):024x}"
        fields = {
            "status": 200,
            "success": True,
            "message": "Payment intent created successfully",
            "data": {"paymentIntentSecret": secret},
        }
        return reply(200, fields)

    def update_user_payment(self, operation: str, claim: Claim, raw: bytes) -> Reply:
        """Record the update of a user."""
        self.user_updates.append(self._entry(operation, claim, raw, self._uuid()))
        return USER_UPDATED

    def update_payment_method(self, operation: str, claim: Claim, raw: bytes) -> Reply:
        """Record the update of a payment method, and answer with all that is known of it."""
        number = claim.fields["id"]
        method = self._methods.setdefault(number, {"id": number})
        method.update(claim.fields["payment_method"])
        self.method_updates.append(self._entry(operation, claim, raw, str(number)))
        return slug(200, "action-successful", data=method)

    def _entry(self, operation: str, claim: Claim, raw: bytes, name: str) -> Recorded:
        return Recorded(
            operation=operation,
            organization=claim.organization,
            id=name,
            at=datetime.now(UTC),
            raw=raw,
        )


Entry: TypeAlias = Callable[[Ledger, str, Claim, bytes], Reply]
