"""
The five operations, each asked for with a mark in its body: whoever sees a request knows whose.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import attrs

from calls import CASE
from carevalidate_async import (
    CareValidate,
    CasePaymentRequest,
    PaymentConfirmation,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    ShippingAddress,
    UserPaymentUpdate,
)
from carevalidate_async.planocore import PaymentMethodUpdate, Planocore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

KEYED = ("confirm_payment", "create_case_payment")
DAY = date(2025, 1, 1)


@attrs.frozen(kw_only=True)
class Asking:
    """
    What a call asks for.

    Attributes:
        mark: Stands in the body, and in that of no call that asks for something else.

        key: The caller's own; None has one made.

        accept_duplicate: As the caller says it.
    """

    mark: str
    key: str | None
    accept_duplicate: bool = False


def confirm(client: CareValidate, asking: Asking) -> Coroutine[Any, Any, Any]:
    request = PaymentConfirmation(
        case_id="case-1",
        amount=1,
        payment_date=DAY,
        valid_until=DAY,
        status="PAID",
        description=asking.mark,
        idempotency_key=asking.key,
    )
    return client.confirm_payment(request, accept_duplicate=asking.accept_duplicate)


def pay_case(client: CareValidate, asking: Asking) -> Coroutine[Any, Any, Any]:
    request = CasePaymentRequest(amount=1, description=asking.mark, idempotency_key=asking.key)
    return client.create_case_payment(CASE, request)


def intend(client: CareValidate, asking: Asking) -> Coroutine[Any, Any, Any]:
    metadata = PaymentIntentMetadata(email=f"{asking.mark}@a.example")
    request = PaymentIntentRequest(amount=1, metadata=metadata)
    return client.create_payment_intent(request)


def update_user(client: CareValidate, asking: Asking) -> Coroutine[Any, Any, Any]:
    request = UserPaymentUpdate(
        email=f"{asking.mark}@a.example",
        stripe_setup_id="seti_1",
        nmi_payment_token="nmi_1",
        shipping_address=ShippingAddress(
            address_line1="1 Main St", city="C", state="DC", country="US", postal_code="20500"
        ),
    )
    return client.update_user_payment(request)


def update_method(client: Planocore, asking: Asking) -> Coroutine[Any, Any, Any]:
    request = PaymentMethodUpdate(name_on_card=asking.mark)
    return client.update_payment_method(42, request)


ASK: Mapping[str, Callable[[Any, Asking], Coroutine[Any, Any, Any]]] = {
    "confirm_payment": confirm,
    "create_case_payment": pay_case,
    "create_payment_intent": intend,
    "update_user_payment": update_user,
    "update_payment_method": update_method,
}
