"""
The vendors' words as immutable classes: what each operation takes and what it gives.

Requests are checked when they are made, so that nothing invalid can be sent; the error names the
field. Personal data and credentials stay out of every repr.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar

import attrs

from carevalidate_async._checks import (
    check_day,
    check_email,
    check_flag,
    check_key,
    check_optional,
    check_positive,
    check_province,
    check_text,
    check_types,
    check_uuid,
    check_whole,
    to_dollars,
    to_names,
    to_uuid,
)
from carevalidate_async._private import discreet
from carevalidate_async.errors import Attempt, InvalidRequestError


class PaymentStatus(enum.StrEnum):
    """
    State of a payment.

    Source: CareValidate docs, Payment > Confirmation.
    """

    PAID = "PAID"
    UNPAID = "UNPAID"
    CANCELED = "CANCELED"
    IN_DISPUTE = "IN_DISPUTE"
    LOST_DISPUTE = "LOST_DISPUTE"
    REFUND = "REFUND"
    ERROR = "ERROR"


def to_status(value: PaymentStatus | str) -> PaymentStatus:
    """Return the status named by *value*."""
    if type(value) is PaymentStatus:
        return value
    try:
        return PaymentStatus(value)
    except ValueError:
        names = ", ".join(PaymentStatus)
        raise InvalidRequestError("status", f"must be one of {names}") from None


def to_open_status(value: PaymentStatus | str | None) -> PaymentStatus | str | None:
    """Return the status named by *value*, or *value* itself where the vendor's list is open."""
    try:
        return PaymentStatus(value) if value is not None else None
    except ValueError:
        return value


@discreet
@attrs.frozen(kw_only=True)
class PaymentConfirmation:
    """
    A payment taken outside CareValidate, to be recorded on its case.

    Attributes:
        case_id: CareValidate's id of the case.

        amount: US dollars, not negative, at most two decimal places; sent as a JSON number.

        payment_date: Calendar day, no timezone.

        valid_until: End date of the payment's validity, a calendar day; not before *payment_date*.

        status: State of the payment.

        email: The case submitter's email address.

        phone_number: The case submitter's phone number.

        decision_id: Id of the case approval decision.

        description: For people, such as ``Payment for Compounded Semaglutide``.

        idempotency_key: 1 to 255 printable ASCII characters; made for you when None. The vendor
            scopes keys per organization.

    Raises:
        InvalidRequestError: A field is bad; it is named. Nothing was sent.

    Source: CareValidate docs, Payment > Confirmation. That an amount is not negative, and that
    *valid_until* is not before *payment_date*, are checks of our own.
    """

    case_id: str
    amount: Decimal = attrs.field(converter=to_dollars)
    payment_date: date
    valid_until: date
    status: PaymentStatus = attrs.field(converter=to_status)
    email: str | None = attrs.field(default=None, repr=False)
    phone_number: str | None = attrs.field(default=None, repr=False)
    decision_id: str | None = None
    description: str | None = attrs.field(default=None, repr=False)
    idempotency_key: str | None = None

    def __attrs_post_init__(self) -> None:
        check_text("case_id", self.case_id)
        if self.amount < 0:
            raise InvalidRequestError("amount", "must not be negative; a refund is a status")
        check_day("payment_date", self.payment_date)
        check_day("valid_until", self.valid_until)
        if self.valid_until < self.payment_date:
            reason = f"{self.valid_until} is before payment_date {self.payment_date}"
            raise InvalidRequestError("valid_until", reason)
        if self.email is not None:
            check_email("email", self.email)
        if self.phone_number is not None:
            check_text("phone_number", self.phone_number)
        if self.decision_id is not None:
            check_text("decision_id", self.decision_id)
        if self.description is not None:
            check_text("description", self.description)
        if self.idempotency_key is not None:
            check_key(self.idempotency_key)


def with_key(payment: PaymentConfirmation, key: str) -> PaymentConfirmation:
    """Return a copy of *payment*, which was checked when it was made, with a usable *key*."""
    if type(payment) is not PaymentConfirmation:  # a caller's own kind, with fields of its own
        return attrs.evolve(payment, idempotency_key=key)
    other = object.__new__(PaymentConfirmation)
    # What attrs does on each assignment to a frozen class is done once.
    for get, put in _CONFIRMATION_FIELDS:
        put(other, get(payment))
    _put_key(other, key)
    return other


def give_key(payment: PaymentConfirmation, key: str) -> None:
    """Put a usable *key* into a *payment* that nobody else has seen yet; it is not copied."""
    _put_key(payment, key)


_slots = [vars(PaymentConfirmation)[field.name] for field in attrs.fields(PaymentConfirmation)]
_CONFIRMATION_FIELDS = [(slot.__get__, slot.__set__) for slot in _slots]
_put_key = vars(PaymentConfirmation)["idempotency_key"].__set__


@discreet
@attrs.frozen(kw_only=True)
class CasePaymentRequest:
    """
    A payment record to be created for a case, optionally with the amount preauthorized.

    Attributes:
        amount: US dollars, positive, at most two decimal places; sent as a JSON number.

        description: For people; the vendor requires it.

        product_id: UUID of the product.

        status: State of the payment; the vendor takes ``UNPAID`` when None. Statuses that the
            vendor does not list are passed on.

        idempotency_key: 1 to 255 printable ASCII characters; made for you when None. The vendor
            scopes keys per organization.

        preauthorize: Whether to preauthorize the amount through Stripe, which puts it on hold to be
            captured later; the vendor takes False when None.

    Raises:
        InvalidRequestError: A field is bad; it is named. Nothing was sent.

    Source: CareValidate docs, Payment > Case Payments.
    """

    amount: Decimal = attrs.field(converter=to_dollars)
    description: str = attrs.field(repr=False)
    product_id: str | None = attrs.field(default=None, converter=to_uuid)
    status: PaymentStatus | str | None = attrs.field(default=None, converter=to_open_status)
    idempotency_key: str | None = None
    preauthorize: bool | None = None

    def __attrs_post_init__(self) -> None:
        check_positive(self.amount)
        check_text("description", self.description)
        if self.product_id is not None:
            check_uuid("product_id", self.product_id)
        check_optional(self, "status")
        if self.preauthorize is not None:
            check_flag("preauthorize", self.preauthorize)
        if self.idempotency_key is not None:
            check_key(self.idempotency_key)


@discreet
@attrs.frozen(kw_only=True)
class PaymentIntentMetadata:
    """
    What is stored with a payment intent.

    Attributes:
        email: The payer's email address.

        phone: The payer's phone number.

    Source: CareValidate docs, Payment > Intent.
    """

    email: str | None = attrs.field(default=None, repr=False)
    phone: str | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.email is not None:
            check_email("email", self.email)
        check_optional(self, "phone")


@discreet
@attrs.frozen(kw_only=True)
class PaymentIntentRequest:
    """
    A Stripe payment intent to be created for immediate payment.

    Attributes:
        amount: US dollars, positive, at most two decimal places; ``Decimal("1.15")`` is $1.15.

        payment_method_types: Such as ``card``, ``klarna``, ``affirm``; the list is open.

        metadata: Stored with the intent.

    Raises:
        InvalidRequestError: A field is bad; it is named. Nothing was sent.

    Source: CareValidate docs, Payment > Intent.
    """

    amount: Decimal = attrs.field(converter=to_dollars)
    payment_method_types: tuple[str, ...] | None = attrs.field(default=None, converter=to_names)
    metadata: PaymentIntentMetadata | None = None

    def __attrs_post_init__(self) -> None:
        check_positive(self.amount)
        if self.payment_method_types is not None:
            check_types("payment_method_types", self.payment_method_types)
        if self.metadata is not None and not isinstance(self.metadata, PaymentIntentMetadata):
            raise InvalidRequestError("metadata", "must be a PaymentIntentMetadata")


@discreet
@attrs.frozen(kw_only=True)
class ShippingAddress:
    """
    Where a user's orders go.

    Attributes:
        address_line1: Street and number.

        city: City.

        state: US state abbreviation, such as ``DC``.

        country: Country code, such as ``US``.

        postal_code: Postal or ZIP code.

        address_line2: Apartment or suite; sent even when empty, since the vendor requires it.

    Source: CareValidate docs, Users > Update user payment.
    """

    address_line1: str = attrs.field(repr=False)
    city: str = attrs.field(repr=False)
    state: str = attrs.field(repr=False)
    country: str = attrs.field(repr=False)
    postal_code: str = attrs.field(repr=False)
    address_line2: str = attrs.field(default="", repr=False)

    def __attrs_post_init__(self) -> None:
        for name in ("address_line1", "city", "state", "country", "postal_code"):
            check_text(name, getattr(self, name))
        check_text("address_line2", self.address_line2, empty=True)


@discreet
@attrs.frozen(kw_only=True)
class UserPaymentUpdate:
    """
    A new saved payment method and shipping address for an existing user.

    Attributes:
        email: The user's email address, by which the user is found.

        stripe_setup_id: Id of the Stripe setup intent; kept out of the repr.

        nmi_payment_token: Payment token of NMI; kept out of the repr.

        shipping_address: The user's new shipping address.

    Raises:
        InvalidRequestError: A field is bad; it is named. Nothing was sent.

    Source: CareValidate docs, Users > Update user payment.
    """

    email: str = attrs.field(repr=False)
    stripe_setup_id: str = attrs.field(repr=False)
    nmi_payment_token: str = attrs.field(repr=False)
    shipping_address: ShippingAddress

    def __attrs_post_init__(self) -> None:
        check_email("email", self.email)
        check_text("stripe_setup_id", self.stripe_setup_id)
        check_text("nmi_payment_token", self.nmi_payment_token)
        if not isinstance(self.shipping_address, ShippingAddress):
            raise InvalidRequestError("shipping_address", "must be a ShippingAddress")


@discreet
@attrs.frozen(kw_only=True)
class PaymentMethodUpdate:
    """
    New details of a payment method at planocore; what is None is left out of the request.

    Attributes:
        active: Whether the card can be used.

        name_on_card: Owner as it appears on the payment method.

        exp_month: 1 to 12.

        exp_year: Four digits, such as 2030.

        street: Street of the billing address.

        street2: Second line of the street; may be empty.

        city: City of the billing address.

        province_iso: Province in snake_case, such as ``us_co``.

        postal_code: Postal code of the billing address.

    Raises:
        InvalidRequestError: A field is bad, or nothing is to be changed. Nothing was sent.

    Source: planocore docs, payment_methods/update.
    """

    active: bool | None = None
    name_on_card: str | None = attrs.field(default=None, repr=False)
    exp_month: int | None = None
    exp_year: int | None = None
    street: str | None = attrs.field(default=None, repr=False)
    street2: str | None = attrs.field(default=None, repr=False)
    city: str | None = attrs.field(default=None, repr=False)
    province_iso: str | None = attrs.field(default=None, repr=False)
    postal_code: str | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if all(value is None for value in attrs.astuple(self)):
            raise InvalidRequestError("payment_method", "changes nothing: give at least one field")
        if self.active is not None:
            check_flag("active", self.active)
        if self.exp_month is not None:
            check_whole("exp_month", self.exp_month, 1, 12)
        if self.exp_year is not None:
            check_whole("exp_year", self.exp_year, 1000, 9999)
        check_optional(self, "name_on_card", "street", "city", "province_iso", "postal_code")
        if self.street2 is not None:
            check_text("street2", self.street2, empty=True)
        if self.province_iso is not None:
            check_province("province_iso", self.province_iso)


@attrs.frozen(kw_only=True)
class Meta:
    """
    How a call went.

    Attributes:
        idempotency_key: The key that it was sent under; None for operations without one.

        attempts: A record of each try, oldest first.

        already_recorded: Whether the vendor held the payment before the last try: an earlier try
            landed although its answer was lost, or (with ``accept_duplicate=True``) an earlier
            call.

        status: HTTP status of the last answer.

        request_id: The vendor's id of the exchange, where the answer names one.

        elapsed: Seconds that the whole call took, waits included.

        headers: Headers of the last answer, names in lower case; cookies are left out.
    """

    idempotency_key: str | None = None
    attempts: tuple[Attempt, ...] = ()
    already_recorded: bool = False
    status: int = 0
    request_id: str | None = None
    elapsed: float = 0.0
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)


_NO_META = Meta()  # of answers that are not whole yet, or that a caller makes


@attrs.frozen(kw_only=True)
class Answer:
    """
    What every answer has.

    Attributes:
        extra: Fields of the answer that this version of the model does not know, as they came.

        meta: How the call went; equality of answers does not look at it.
    """

    extra: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    meta: Meta = attrs.field(default=_NO_META, eq=False)


AnswerT = TypeVar("AnswerT", bound=Answer)


def with_meta(answer: AnswerT, meta: Meta) -> AnswerT:
    """Return *answer*, which nobody else has seen yet, with *meta*."""
    object.__setattr__(answer, "meta", meta)  # a copy of all its fields costs more than they do
    return answer


@attrs.frozen(kw_only=True)
class ConfirmationReceipt(Answer):
    """
    The payment is on record.

    Source: CareValidate docs, Payment > Confirmation.
    """


@attrs.frozen(kw_only=True)
class CasePayment(Answer):
    """
    A created case payment.

    Attributes:
        payment_id: The vendor's id of it.

        status: State of the payment; text where the vendor gives one that it does not list.

        amount: US dollars.

        created_at: Moment of creation, with its timezone; UTC where the vendor names none.

        description: For people.

    Source: CareValidate docs, Payment > Case Payments.
    """

    payment_id: str
    status: PaymentStatus | str
    amount: Decimal
    created_at: datetime
    description: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class PaymentIntent(Answer):
    """
    A created payment intent.

    Attributes:
        payment_intent_secret: Credential for Stripe Elements in the payer's browser. Hand it to the
            payer, and never log or keep it.

    Source: CareValidate docs, Payment > Intent.
    """

    payment_intent_secret: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class UserPaymentUpdated(Answer):
    """
    The user's saved payment method and address are updated.

    Attributes:
        code: ``PAYMENT_SETUP_UPDATED``.

    Source: CareValidate docs, Users > Update user payment.
    """

    code: str


@attrs.frozen(kw_only=True)
class PaymentMethod(Answer):
    """
    An updated payment method at planocore.

    Attributes:
        id: Id of the payment method.

        data: What the vendor returned under ``data``, in the view that was asked for; None where it
            returned nothing.

    Source: planocore docs, payment_methods/update.
    """

    id: int
    data: Any = attrs.field(default=None, repr=False)
