"""
Reads and checks requests as the vendors' pages document; pure functions that know no model.

A judge takes what arrived and the sandbox's rules, and returns the claim to be put on record or
raises the refusal. It is stricter than the pages: fields that they do not list are refused, since a
misspelt optional field would otherwise be lost in silence, and so are amounts finer than a cent and
texts that can be no email address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from carevalidate_async.sandbox._answers import UNAUTHORIZED, Reply, refused, refused_user, slug
from carevalidate_async.sandbox._checks import (
    Check,
    FlawError,
    amount_or_zero,
    day,
    fields_of,
    flag,
    matching,
    method_types,
    one_of,
    positive_amount,
    read_json,
    text,
    text_or_empty,
    whole,
)

STATUSES = ("PAID", "UNPAID", "CANCELED", "IN_DISPUTE", "LOST_DISPUTE", "REFUND", "ERROR")
APPLICATIONS = ("planoauth", "planoorder", "planox2")
UNKNOWN_DOMAIN = "@unknown.example"
UNKNOWN_SETUP_INTENT = "seti_unknown"
UNKNOWN_METHOD_TYPE = "unknown"
EXPIRED_TOKEN = "expired"  # noqa: S105  # A magic value, no secret.
CLIENT_REQUIRED_TOKEN = "client-required"  # noqa: S105  # A magic value, no secret.
_EMAIL = re.compile(r"[^@ \t\r\n]+@[^@ \t\r\n]+")
_PROVINCE = re.compile(r"[a-z]{2}_[a-z0-9]{1,3}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)

Fields: TypeAlias = dict[str, Any]


class RefusedError(Exception):
    """
    The request is refused; nothing is put on record.

    Attributes:
        reply: The answer that says so.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


@attrs.frozen
class Asked:
    """
    What arrived, as far as a judge looks at it.

    Attributes:
        api_key: The key header, None where there is none.

        content_type: The content type header as it came.

        path_values: Values of the path's parameters.

        body: The bytes of the body.
    """

    api_key: str | None = attrs.field(repr=False)
    content_type: str
    path_values: tuple[str, ...] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class Rules:
    """
    What the sandbox knows to be valid; None takes anything well-formed.

    Attributes:
        keys: CareValidate's API keys and the organization of each.

        token: planocore's token.

        users: Email addresses of the users there are.

        setup_intents: Ids of the Stripe setup intents there are.

        payment_method_types: Types that an intent may ask for.

        payment_methods: Ids of planocore's payment methods.
    """

    keys: Mapping[str, str] = attrs.field(repr=False)
    token: str = attrs.field(repr=False)
    users: frozenset[str] | None = attrs.field(default=None, repr=False)
    setup_intents: frozenset[str] | None = attrs.field(default=None, repr=False)
    payment_method_types: frozenset[str] | None = None
    payment_methods: frozenset[int] | None = None


@attrs.frozen
class Claim:
    """
    A request that passed every check, to be put on record.

    Attributes:
        organization: Whose key it came with; empty where the vendor has no organizations.

        fields: The body, numbers with a fraction as Decimal.

        case_id: The case that a payment belongs to.
    """

    organization: str
    fields: Fields = attrs.field(repr=False)
    case_id: str | None = None


Judge: TypeAlias = Callable[[Asked, Rules], Claim]


_email = matching(_EMAIL, "an email address")
_uuid = matching(_UUID, "a UUID")
_CONFIRMATION = fields_of(
    {
        "caseId": text,
        "amount": amount_or_zero,
        "paymentDate": day,
        "status": one_of(*STATUSES),
        "validUntil": day,
    },
    {
        "email": _email,
        "phoneNumber": text,
        "decisionId": text,
        "description": text,
        "idempotencyKey": text,
    },
)
_CASE_PAYMENT = fields_of(
    {"amount": positive_amount, "description": text},
    {"productId": _uuid, "status": text, "idempotencyKey": text, "preauthorize": flag},
)
_INTENT = fields_of(
    {"amount": positive_amount},
    {
        "paymentMethodTypes": method_types,
        "metadata": fields_of({}, {"email": _email, "phone": text}),
    },
)
_USER_UPDATE = fields_of(
    {
        "action": one_of("UPDATE_PAYMENT_INFO"),
        "email": _email,
        "data": fields_of(
            {
                "stripeSetupId": text,
                "nmiPaymentToken": text,
                "shippingAddress": fields_of(
                    {
                        "addressLine1": text,
                        "addressLine2": text_or_empty,
                        "city": text,
                        "state": text,
                        "country": text,
                        "postalCode": text,
                    },
                    {},
                ),
            },
            {},
        ),
    },
    {},
)
_METHOD_UPDATE = fields_of(
    {
        "id": whole(1, 2**63 - 1),
        "payment_method": fields_of(
            {},
            {
                "active": flag,
                "name_on_card": text,
                "exp_month": whole(1, 12),
                "exp_year": whole(1000, 9999),
                "street": text,
                "street2": text_or_empty,
                "city": text,
                "province_iso": matching(_PROVINCE, "a province such as us_co"),
                "postal_code": text,
            },
            least=1,
        ),
        "token": text,
    },
    {
        "view": text,
        "application_view": text,
        "application": one_of(*APPLICATIONS),
        "session_view": text,
    },
)


def _says_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _admit(asked: Asked, rules: Rules) -> str:
    """Return the organization whose key this is."""
    organization = rules.keys.get(asked.api_key) if asked.api_key is not None else None
    if organization is None:
        raise RefusedError(UNAUTHORIZED)
    return organization


def _read(asked: Asked, check: Check, refuse: Callable[[str], Reply]) -> Fields:
    """Return CareValidate's body as fields that pass *check*."""
    if not _says_json(asked.content_type):
        raise RefusedError(refuse("Content-Type must be application/json"))
    try:
        fields = read_json(asked.body)
    except ValueError:
        raise RefusedError(refuse("Request body is not valid JSON")) from None
    if not isinstance(fields, dict):
        raise RefusedError(refuse("Request body must be a JSON object"))
    try:
        reason = check("", fields)
    except FlawError as flaw:
        reason = str(flaw)
    if reason is not None:
        raise RefusedError(refuse(reason))
    return fields


def judge_confirmation(asked: Asked, rules: Rules) -> Claim:
    """
    Judge a payment confirmation.

    Source: CareValidate docs, Payment > Confirmation. The page documents no 400 and no 401; they
    are worded as on its sister pages.
    """
    organization = _admit(asked, rules)
    fields = _read(asked, _CONFIRMATION, refused)
    return Claim(organization, fields, fields["caseId"])


def judge_case_payment(asked: Asked, rules: Rules) -> Claim:
    """
    Judge a case payment.

    Source: CareValidate docs, Payment > Case Payments.
    """
    organization = _admit(asked, rules)
    (case_id,) = asked.path_values
    reason = _uuid("caseId", case_id)
    if reason is not None:
        raise RefusedError(refused(reason))
    return Claim(organization, _read(asked, _CASE_PAYMENT, refused), case_id)


def judge_intent(asked: Asked, rules: Rules) -> Claim:
    """
    Judge a payment intent.

    Source: CareValidate docs, Payment > Intent.
    """
    organization = _admit(asked, rules)
    fields = _read(asked, _INTENT, refused)
    known = rules.payment_method_types
    for name in fields.get("paymentMethodTypes", ()):
        if name == UNKNOWN_METHOD_TYPE or (known is not None and name not in known):
            raise RefusedError(refused("Invalid payment method types"))
    return Claim(organization, fields)


def judge_user_update(asked: Asked, rules: Rules) -> Claim:
    """
    Judge the update of a user's payment method and address.

    Source: CareValidate docs, Users > Update user payment.
    """
    organization = _admit(asked, rules)
    fields = _read(asked, _USER_UPDATE, refused_user)
    email, setup = fields["email"], fields["data"]["stripeSetupId"]
    unknown = email.lower().endswith(UNKNOWN_DOMAIN)
    if unknown or (rules.users is not None and email not in rules.users):
        raise RefusedError(refused_user(f"User {email} does not exist"))
    known = rules.setup_intents
    if setup == UNKNOWN_SETUP_INTENT or (known is not None and setup not in known):
        raise RefusedError(refused_user(f"No such setupintent: '{setup}'"))
    return Claim(organization, fields)


def _check_token(token: object, rules: Rules) -> None:
    if token == rules.token:
        return
    if token == EXPIRED_TOKEN:
        raise RefusedError(slug(401, "session-expired"))
    if token == CLIENT_REQUIRED_TOKEN:
        session = {"id": 1, "token": "sandbox-session", "remember_me": False}
        raise RefusedError(slug(401, "client-required", session=session))
    raise RefusedError(slug(401, "invalid-token"))


def judge_method_update(asked: Asked, rules: Rules) -> Claim:
    """
    Judge the update of a payment method at planocore.

    The token is looked at as soon as the body can be read, before the other parameters.

    Source: planocore docs, payment_methods/update. The uncommon statuses have no documented HTTP
    status; here it is 400.
    """
    if not _says_json(asked.content_type):
        raise RefusedError(slug(400, "invalid-content-type"))
    try:
        fields = read_json(asked.body) if asked.body else {}
    except ValueError:
        raise RefusedError(slug(400, "invalid-encoded-params")) from None
    if not isinstance(fields, dict) or not fields:
        raise RefusedError(slug(400, "no-params-decoded"))
    if fields.get("token") is not None:
        _check_token(fields["token"], rules)
    try:
        reason = _METHOD_UPDATE("", fields)
    except FlawError as flaw:
        name = "missing-param" if flaw.missing else "invalid-param"
        raise RefusedError(slug(400, name, message=str(flaw))) from None
    if reason is None and rules.payment_methods is not None:
        reason = None if fields["id"] in rules.payment_methods else "id does not exist"
    if reason is not None:
        raise RefusedError(slug(400, "invalid-param", message=reason))
    return Claim("", fields)
