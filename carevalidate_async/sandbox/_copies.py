"""
A request as something to run: a line for a shell, or a Python script with this package's call.

Secrets and what is about a person are placeholders: credentials are read from the environment, and
are ``test`` where it has none. The idempotency key is the request's own, so the copy is a replay.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import attrs

from carevalidate_async._codec import encode
from carevalidate_async.carevalidate import OPERATIONS as CAREVALIDATE_OPERATIONS
from carevalidate_async.errors import InvalidRequestError
from carevalidate_async.models import (
    CasePaymentRequest,
    PaymentConfirmation,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    PaymentMethodUpdate,
    ShippingAddress,
    UserPaymentUpdate,
)
from carevalidate_async.planocore import OPERATIONS as PLANOCORE_OPERATIONS
from carevalidate_async.sandbox import _mask
from carevalidate_async.sandbox._judge import (
    CLIENT_REQUIRED_TOKEN,
    EXPIRED_TOKEN,
    UNKNOWN_DOMAIN,
    UNKNOWN_SETUP_INTENT,
)

if TYPE_CHECKING:
    from carevalidate_async.sandbox._exchanges import ReceivedRequest

# Where the token goes; nothing that is shown can hold it.
_TOKEN = "\ue000"  # noqa: S105  # No token, but the place of one.
_METHODS = {
    operation.name: operation.method
    for operation in (*CAREVALIDATE_OPERATIONS, *PLANOCORE_OPERATIONS)
}
_PLACEHOLDERS: Mapping[str, str] = {
    "addressLine1": "1 Example Street",
    "addressLine2": "",
    "city": "Washington",
    "country": "US",
    "description": "A description",
    "email": "person@example.com",
    "name_on_card": "A Person",
    "nmiPaymentToken": "nmi-placeholder",
    "phone": "+1 202 555 0100",
    "phoneNumber": "+1 202 555 0100",
    "postalCode": "20500",
    "postal_code": "20500",
    "province_iso": "us_dc",
    "state": "DC",
    "street": "1 Example Street",
    "street2": "",
    "stripeSetupId": "seti_placeholder",
    "token": _TOKEN,
}
_MAGIC = frozenset({CLIENT_REQUIRED_TOKEN, EXPIRED_TOKEN, UNKNOWN_SETUP_INTENT})
_CAPITAL = re.compile(r"(?=[A-Z])")


def _stand_in(name: str, value: object) -> object:
    """Return what stands in a copy for what is not shown, of the same kind where it was good."""
    if isinstance(value, str) and value in _MAGIC:
        return value  # The sandbox's own words; the copy shall meet the same answer.
    if isinstance(value, str) and value.lower().endswith(UNKNOWN_DOMAIN):
        return f"person{UNKNOWN_DOMAIN}"
    if not isinstance(value, str):
        return 1
    return _PLACEHOLDERS.get(name, "placeholder") if value else value


def as_curl(seen: ReceivedRequest, origin: str) -> str | None:
    """
    Return the request as a command for a POSIX shell, None where its body cannot be shown.

    Args:
        seen: The request.

        origin: The sandbox's.
    """
    fields, path = _fields(seen), _path(seen)
    if fields is None or path is None or seen.operation is None:
        return None
    body = shlex.quote(encode(fields).decode())
    # The token is put in by the shell, so its quotes end before it and begin again after.
    body = body.replace(_TOKEN, "'\"${PLANOCORE_TOKEN:-test}\"'")
    lines = [
        f"curl --request {_METHODS[seen.operation]} {shlex.quote(origin + path)}",
        "--header 'Content-Type: application/json'",
    ]
    if seen.operation != "update_payment_method":
        lines.append('--header "cv-api-key: ${CAREVALIDATE_API_KEY:-test}"')
    lines.append(f"--data-raw {body}")
    return " \\\n  ".join(lines)


def as_python(seen: ReceivedRequest, origin: str) -> str | None:
    """
    Return the request as a script that makes it with this package.

    None where it cannot be shown, or where the package would not send it.

    Args:
        seen: The request.

        origin: The sandbox's.
    """
    fields, path = _fields(seen), _path(seen)
    if fields is None or path is None or seen.operation is None:
        return None
    try:
        call = _CALLS[seen.operation](fields, path)
        # What the package would refuse is no call of it.
    except (InvalidRequestError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return call.script(origin)


def _fields(seen: ReceivedRequest) -> dict[str, Any] | None:
    fields = _mask.Mask(seen.body, seen.headers, _stand_in).fields
    if not isinstance(fields, dict):
        return None
    key = _mask.readable(seen.body).get("idempotencyKey")
    # With another key it would be no replay.
    return fields if not isinstance(key, str) or key == fields.get("idempotencyKey") else None


def _path(seen: ReceivedRequest) -> str | None:
    path = _mask.path(seen.path).partition("?")[0]
    return None if _mask.HIDDEN in path else path


@attrs.frozen(kw_only=True)
class _Call:
    """
    A call of a client.

    Attributes:
        method: Name of the client's method.

        model: The request.

        client: Name of the client's class.

        module: Where it and the request's class are.

        application: planocore's application, None for none.

        before: Arguments before the request.

        named: Arguments by name.
    """

    method: str
    model: object
    client: str = "CareValidate"
    module: str = "carevalidate_async"
    application: str | None = None
    before: tuple[object, ...] = ()
    named: Mapping[str, object] = attrs.field(factory=dict)

    def script(self, origin: str) -> str:
        """Return the script."""
        variable = "CAREVALIDATE_API_KEY" if self.client == "CareValidate" else "PLANOCORE_TOKEN"
        used: set[str] = set()
        given = [
            *(f"{_source(value, used)}," for value in self.before),
            f"{_source(self.model, used)},",
            *(f"{name}={_source(value, used)}," for name, value in self.named.items()),
        ]
        arguments = "\n".join(given)
        names = sorted({self.client, *used} - {"Decimal", "date"})
        dates = "from datetime import date\n" if "date" in used else ""
        decimals = "from decimal import Decimal\n" if "Decimal" in used else ""
        more = "" if self.application is None else f"application={self.application!r}, "
        indented = "\n".join(f"{' ' * 12}{line}" for line in arguments.splitlines())
        return (
            f"import asyncio\nimport os\n{dates}{decimals}\n"
            f"from {self.module} import {', '.join(names)}\n\n\n"
            "async def main():\n"
            f'    secret = os.environ.get("{variable}", "test")\n'
            f"    async with {self.client}(secret, {more}base_url={origin!r}) as client:\n"
            f"        answer = await client.{self.method}(\n{indented}\n        )\n"
            "        print(answer)\n\n\n"
            "asyncio.run(main())\n"
        )


def _source(value: object, used: set[str]) -> str:
    """Return the Python that makes *value*, and add the classes' names that it needs to *used*."""
    kind: type[Any] = type(value)
    if not attrs.has(kind):
        if isinstance(value, Enum):
            return repr(value.value)
        if isinstance(value, date | Decimal):
            used.add(kind.__name__)
        if isinstance(value, date):
            return f"date({value.year}, {value.month}, {value.day})"
        return f'Decimal("{value}")' if isinstance(value, Decimal) else repr(value)
    used.add(kind.__name__)
    # Unset fields are left out.
    lines = [
        f"{field.name}={_source(inner, used)},"
        for field in attrs.fields(kind)
        if (inner := getattr(value, field.name)) is not None
    ]
    inside = "\n".join(f"    {line}" for line in "\n".join(lines).splitlines())
    return f"{kind.__name__}(\n{inside}\n)"


def _pythonic(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return *fields* by their names in Python: ``addressLine1`` is ``address_line1``."""
    return {_CAPITAL.sub("_", name).lower(): value for name, value in fields.items()}


def _confirm(fields: dict[str, Any], _path: str) -> _Call:
    named = _pythonic(fields)
    for name in ("payment_date", "valid_until"):
        named[name] = date.fromisoformat(named[name])
    return _Call(method="confirm_payment", model=PaymentConfirmation(**named))


def _case_payment(fields: dict[str, Any], path: str) -> _Call:
    case_id = path.rsplit("/", 2)[1]
    request = CasePaymentRequest(**_pythonic(fields))
    return _Call(method="create_case_payment", model=request, before=(case_id,))


def _intent(fields: dict[str, Any], _path: str) -> _Call:
    named = _pythonic(fields)
    if "metadata" in named:
        named["metadata"] = PaymentIntentMetadata(**named["metadata"])
    return _Call(method="create_payment_intent", model=PaymentIntentRequest(**named))


def _user_update(fields: dict[str, Any], _path: str) -> _Call:
    named = _pythonic(fields["data"])
    named["shipping_address"] = ShippingAddress(**_pythonic(named["shipping_address"]))
    update = UserPaymentUpdate(email=fields["email"], **named)
    return _Call(method="update_user_payment", model=update)


def _method_update(fields: dict[str, Any], _path: str) -> _Call:
    views = ("view", "application_view", "session_view")
    return _Call(
        method="update_payment_method",
        model=PaymentMethodUpdate(**fields["payment_method"]),
        client="Planocore",
        module="carevalidate_async.planocore",
        application=fields.get("application"),
        before=(fields["id"],),
        named={name: fields[name] for name in views if name in fields},
    )


_CALLS: Mapping[str, Callable[[dict[str, Any], str], _Call]] = {
    "confirm_payment": _confirm,
    "create_case_payment": _case_payment,
    "create_payment_intent": _intent,
    "update_user_payment": _user_update,
    "update_payment_method": _method_update,
}
