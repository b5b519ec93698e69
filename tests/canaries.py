"""
What must not be seen, planted in a request of every operation, and the search for it.

A test plants by calling ``REQUESTS[operation.name](client)`` with a client that signs with
``CREDENTIALS[operation.name]``, hands all that can be looked at to a `Seen`, and expects its
`planted` to be empty. ``HELD[operation.name]`` is what a vendor that tells everything would say.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import pathlib
import traceback
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

import attrs

from calls import CASE
from carevalidate_async import (
    CareValidate,
    CareValidateError,
    CasePaymentRequest,
    PaymentConfirmation,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    ShippingAddress,
    UserPaymentUpdate,
)
from carevalidate_async.planocore import PaymentMethodUpdate, Planocore

if TYPE_CHECKING:
    import pytest

    from carevalidate_async.models import Answer

HERE = str(pathlib.Path(__file__).parent)
LOGGERS = (
    "",
    "carevalidate_async",
    "aiohttp",
    "aiohttp.access",
    "aiohttp.client",
    "aiohttp.internal",
    "asyncio",
    "concurrent.futures",
    "tenacity",
)
"""Where a line could come from: the root, and those that may have a level of their own."""

KEY = "canary-api-key"
TOKEN = "canary-plano-token"
EMAIL = "canary.mail@example.com"
PHONE = "+1 (202) 555-0177"
DESCRIPTION = "canary description"
SETUP = "seti_canary"
NMI = "nmi-canary-token"
STREET = "7 Canary Wharf"
CITY = "Canaryville"
POSTAL = "20577-1234"
OWNER = "Canary Q Public"
PROXY_PASSWORD = "canary-proxy-password"
COOKIE = "canary-cookie"
INTENT_SECRET = "pi_canary_secret_canary"
DIGITS = "2025550177"
PLANTED = (
    KEY,
    TOKEN,
    EMAIL,
    PHONE,
    DESCRIPTION,
    SETUP,
    NMI,
    STREET,
    CITY,
    POSTAL,
    OWNER,
    PROXY_PASSWORD,
    COOKIE,
    INTENT_SECRET,
    DIGITS,
)
# As a proxy is told who asks.
BASIC = base64.b64encode(f"user:{PROXY_PASSWORD}".encode()).decode()
# Each in all the ways that a URL, a form or a header would spell it.
SPELLINGS: Mapping[str, str] = {
    **{secret.lower(): secret for secret in PLANTED},
    **{quote(secret, safe="").lower(): secret for secret in PLANTED},
    BASIC.lower(): PROXY_PASSWORD,
}

Ask: TypeAlias = Callable[[Any], Coroutine[Any, Any, "Answer"]]


def confirm(client: CareValidate) -> Coroutine[Any, Any, Any]:
    return client.confirm_payment(
        PaymentConfirmation(
            case_id="case-1",
            amount=Decimal(1),
            payment_date=date(2025, 1, 1),
            valid_until=date(2025, 1, 1),
            status="PAID",
            email=EMAIL,
            phone_number=PHONE,
            description=DESCRIPTION,
        )
    )


def pay_case(client: CareValidate) -> Coroutine[Any, Any, Any]:
    request = CasePaymentRequest(amount=Decimal(1), description=DESCRIPTION)
    return client.create_case_payment(CASE, request)


def intend(client: CareValidate) -> Coroutine[Any, Any, Any]:
    metadata = PaymentIntentMetadata(email=EMAIL, phone=PHONE)
    return client.create_payment_intent(PaymentIntentRequest(amount=Decimal(1), metadata=metadata))


def update_user(client: CareValidate) -> Coroutine[Any, Any, Any]:
    address = ShippingAddress(
        address_line1=STREET, city=CITY, state="DC", country="US", postal_code=POSTAL
    )
    return client.update_user_payment(
        UserPaymentUpdate(
            email=EMAIL, stripe_setup_id=SETUP, nmi_payment_token=NMI, shipping_address=address
        )
    )


def update_method(client: Planocore) -> Coroutine[Any, Any, Any]:
    update = PaymentMethodUpdate(
        name_on_card=OWNER, street=STREET, street2=STREET, city=CITY, postal_code=POSTAL
    )
    return client.update_payment_method(42, update)


REQUESTS: Mapping[str, Ask] = {
    "confirm_payment": confirm,
    "create_case_payment": pay_case,
    "create_payment_intent": intend,
    "update_user_payment": update_user,
    "update_payment_method": update_method,
}
VENDORS: Mapping[str, type[CareValidate | Planocore]] = {
    name: Planocore if how is update_method else CareValidate for name, how in REQUESTS.items()
}
CREDENTIALS: Mapping[str, str] = {
    name: TOKEN if vendor is Planocore else KEY for name, vendor in VENDORS.items()
}
# What a vendor could say of a request, in the worst case: all that it holds.
HELD: Mapping[str, str] = {
    "confirm_payment": f"{KEY} {EMAIL} {PHONE} {DIGITS} {DESCRIPTION}",
    "create_case_payment": f"{KEY} {DESCRIPTION}",
    "create_payment_intent": f"{KEY} {EMAIL} {PHONE} {DIGITS}",
    "update_user_payment": f"{KEY} {EMAIL} {SETUP} {NMI} {STREET} {CITY} {POSTAL}",
    "update_payment_method": f"{TOKEN} {OWNER} {STREET} {CITY} {POSTAL}",
}


def shown(value: object) -> str:
    """Return the repr of *value*, which may be in the making still."""
    try:
        return repr(value)
    except AttributeError as error:
        return repr(error)


@attrs.define
class Seen:
    """
    Everything that could be looked at, as text with the place that it stood in.

    Attributes:
        texts: The places and the texts.
    """

    texts: list[tuple[str, str]] = attrs.Factory(list)

    def add(self, place: str, text: object) -> None:
        """Take in *text*, bytes as they are, of anything else its repr."""
        if isinstance(text, bytes):
            text = text.decode("latin-1")
        self.texts.append((place, text if isinstance(text, str) else repr(text)))

    def add_answer(self, answer: Answer) -> None:
        """Take in how an *answer* shows itself, and the story of its call."""
        for show in (repr, str):
            self.add(f"{show.__name__} of an answer", show(answer))
        self.add("meta of an answer", answer.meta)

    def add_error(self, error: BaseException) -> None:
        """Take in *error*, what led to it, and every frame of theirs with its local variables."""
        one: BaseException | None
        found: list[BaseException | None] = [error]
        met: set[int] = set()
        while found:
            one = found.pop()
            if one is None or id(one) in met:
                continue
            met.add(id(one))
            self.add(f"str of {type(one).__name__}", str(one))
            self.add(f"repr of {type(one).__name__}", repr(one))
            self.add(f"args of {type(one).__name__}", repr(one.args))
            self.add(f"notes of {type(one).__name__}", getattr(one, "__notes__", []))
            if isinstance(one, CareValidateError):
                self.add("attempts", repr(one.attempts))
            if isinstance(one, BaseExceptionGroup):
                found += one.exceptions
            found += [one.__cause__, one.__context__]
            for frame, line in traceback.walk_tb(one.__traceback__):
                name = frame.f_code.co_filename
                if not name.startswith(HERE):
                    for variable, value in frame.f_locals.items():
                        self.add(f"{name}:{line} {variable}", shown(value))

    def add_log(self, records: Iterable[logging.LogRecord]) -> None:
        """Take in what a handler could write of *records*: texts, arguments, extras, errors."""
        plain = vars(logging.makeLogRecord({}))
        for record in records:
            self.add(f"log of {record.name}", record.getMessage())
            self.add(f"arguments of a log of {record.name}", repr(record.args))
            for name in vars(record).keys() - plain.keys():
                self.add(f"{name} of a log of {record.name}", getattr(record, name))
            if record.exc_info and record.exc_info[1]:
                self.add_error(record.exc_info[1])

    def planted(self) -> list[tuple[str, str]]:
        """Return what should not have been found, and where."""
        return [
            (place, secret)
            for place, text in self.texts
            for spelling, secret in SPELLINGS.items()
            if spelling in text.lower()
        ]


@contextlib.contextmanager
def nothing_seen(caplog: pytest.LogCaptureFixture) -> Iterator[Seen]:
    """Give a `Seen` to fill, listen to every library meanwhile, and find nothing at the end."""
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, name)
    seen = Seen()
    yield seen
    seen.add_log(caplog.records)
    assert seen.texts
    assert [] == seen.planted()
