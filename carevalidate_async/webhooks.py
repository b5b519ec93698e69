"""
CareValidate's webhooks: whether one really is theirs, and what it says.

CareValidate signs a webhook with an HMAC-SHA256 of its body's bytes under a secret key that both
sides know, and sends it as hex digits in the header `SIGNATURE_HEADER`. The key is optional there:
without one, webhooks come unsigned, and anybody can send them.

::

    event = webhooks.verify(raw_body, headers.get(webhooks.SIGNATURE_HEADER), secret)

Nothing is read from or sent anywhere here: it is all told from bytes. The signature covers no time
and no number of the delivery, so who has seen a webhook can send it again: take each
`WebhookEvent.fingerprint` once.

Source: CareValidate docs, Case Webhook Payloads > Introduction.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from carevalidate_async._codec import WireError, decode
from carevalidate_async._private import discreet, discreetly
from carevalidate_async.errors import (
    ConfigurationError,
    SignatureProblem,
    WebhookPayloadError,
    WebhookSignatureError,
)

__all__ = [
    "SIGNATURE_HEADER",
    "TYPE_FIELDS",
    "WebhookEvent",
    "WebhookType",
    "read",
    "sign",
    "verify",
]

SIGNATURE_HEADER = "x-cv-signature"
"""Name of the header with the signature; names of headers have no case."""

TYPE_FIELDS = ("event", "eventType", "event_type", "type")
"""Fields of the body that may name the event: the first that does. ``event`` is documented."""

_SIGNATURE = re.compile(r"(?:sha256=)?([0-9a-f]{64})", re.ASCII | re.IGNORECASE)


class WebhookType(enum.StrEnum):
    """
    The events about payments that the vendor's pages name; there are others, and will be more.

    Source: CareValidate docs, Case Webhook Payloads > Event Based Webhook.
    """

    PAYMENT_ADDED = "PAYMENT_ADDED"
    """A payment was added to a case."""

    PAYMENT_COMPLETED = "PAYMENT_COMPLETED"
    """A payment was completed for a case."""

    PAYMENT_INFO_LINK_SENT = "PAYMENT_INFO_LINK_SENT"
    """The patient was sent a link to enter their payment details."""

    ADD_PAYMENT_INFO_USING_LINK = "ADD_PAYMENT_INFO_USING_LINK"
    """The patient entered their payment details by such a link."""


@discreet
@attrs.frozen(kw_only=True)
class WebhookEvent:
    """
    What a webhook says. Its repr shows none of the personal data.

    Attributes:
        type: Name of the event, a `WebhookType` or any other text; empty where the body names none.

        data: What the body holds under ``payload``; the whole body where that is no object. Numbers
            with a fraction are exact Decimals. Personal and medical data.

        body: The whole body. Older formats have objects beside ``payload``.

        raw: The bytes that were received, which the signature is of.

        fingerprint: SHA-256 of *raw*, as 64 hex digits: the same for a webhook that is sent again.

        verified: Whether its signature was checked: True from `verify`, False from `read`.

        activity_id: Id of the vendor's record of what happened (``activity.id``); None where the
            body has none. It is the same in another webhook about the same happening.

        case_id: Id of the case (``caseId`` or ``case.id``); None where the body has none.

    Source: CareValidate docs, Case Webhook Payloads > Event Based Webhook.
    """

    type: str
    data: Mapping[str, Any] = attrs.field(repr=False, eq=False)  # said by raw
    body: Mapping[str, Any] = attrs.field(repr=False, eq=False)
    raw: bytes = attrs.field(repr=False)
    fingerprint: str
    verified: bool
    activity_id: str | None = None
    case_id: str | None = None


@discreetly
def verify(raw_body: bytes, signature: str | None, secret: str | Iterable[str]) -> WebhookEvent:
    """
    Return the event of a webhook that CareValidate has signed.

    Digests are compared in constant time and with every secret, so that neither the time nor an
    error tells how much of a signature was right, or which secret it was made with.

    Args:
        raw_body: The body's bytes, exactly as they were received.

        signature: The value of the header `SIGNATURE_HEADER`, None where there is none: 64 hex
            digits in either case; white space around them and ``sha256=`` in front are passed over.

        secret: The secret key, as it was entered at the vendor. Several while it is replaced: a
            signature under any of them is good.

    Raises:
        WebhookSignatureError: It is not from the vendor, or was changed on the way; answer with a
            401 and do nothing else. Its `reason` says which check failed, and nothing of the
            secret, the body or the right signature.
        WebhookPayloadError: It is from the vendor and cannot be read.
        ConfigurationError: There is no secret, or an empty one: anybody could sign with it. Or it
            has white space around it or a NUL in it, as no secret has that was entered by hand.
        TypeError: The body is text or was parsed. Text made of it again may differ in a blank, and
            its signature with it.

    Source: CareValidate docs, Case Webhook Payloads > Introduction.
    """
    body = _bytes_of(raw_body)
    keys = _keys(secret)
    given = _digest(signature)
    matched = False
    for key in keys:
        matched |= hmac.compare_digest(hmac.digest(key, body, "sha256"), given)
    if not matched:
        raise WebhookSignatureError(
            "the webhook was signed with another secret, or its body was changed",
            reason=SignatureProblem.MISMATCH,
        )
    return _event(body, verified=True)


@discreetly
def read(raw_body: bytes) -> WebhookEvent:
    """
    Return the event of a webhook without asking who sent it: for accounts that have no secret key.

    Anybody who knows the address can send such a request and write into it whatever they like. Take
    it as a hint at most, never as a proof that something was paid, and set a secret key at the
    vendor to be able to `verify`.

    Args:
        raw_body: The body's bytes.

    Raises:
        WebhookPayloadError: It cannot be read.
        TypeError: The body is text or was parsed.
    """
    return _event(_bytes_of(raw_body), verified=False)


@discreetly
def sign(raw_body: bytes, secret: str) -> str:
    """
    Return the signature that CareValidate would send with a body: for tests of your own handlers.

    Args:
        raw_body: The body's bytes, exactly as they will be sent.

        secret: The secret key.

    Returns:
        64 hex digits in lower case, the value of `SIGNATURE_HEADER`.

    Raises:
        ConfigurationError: The secret is empty, or cannot be one; see `verify`.
        TypeError: The body is no bytes.
    """
    (key,) = _keys((secret,))
    return hmac.digest(key, _bytes_of(raw_body), "sha256").hex()


def _bytes_of(raw_body: object) -> bytes:
    if isinstance(raw_body, bytes):
        return raw_body
    if isinstance(raw_body, bytearray | memoryview):
        return bytes(raw_body)
    raise TypeError(
        f"a webhook's body must be the bytes that were received, not {type(raw_body).__name__}: "
        "the signature is of those bytes, and JSON that is written again may differ from them"
    )


def _keys(secret: object) -> list[bytes]:
    # A mapping would give its names, and bytes their numbers.
    if isinstance(secret, str):
        secret = (secret,)
    elif not isinstance(secret, Iterable) or isinstance(secret, Mapping | bytes | bytearray):
        raise ConfigurationError("a webhook's secret must be text, or several texts")
    keys = []
    for one in secret:
        if not isinstance(one, str):
            raise ConfigurationError("a webhook's secret must be text, or several texts")
        if not one or one != one.strip():
            raise ConfigurationError(
                "a webhook's secret is empty, or has white space around it, as a file's line has"
            )
        if "\0" in one:  # HMAC fills keys up with these: alone they are the empty key.
            raise ConfigurationError("a webhook's secret holds a NUL character")
        keys.append(one.encode("utf-8", "surrogatepass"))
    if not keys:
        raise ConfigurationError("there is no webhook secret to verify with")
    return keys


def _digest(signature: object) -> bytes:
    """Return the 32 bytes that the header's value spells."""
    if signature is not None and not isinstance(signature, str):
        raise TypeError(f"a webhook's signature must be text, not {type(signature).__name__}")
    text = (signature or "").strip()
    if not text:
        raise WebhookSignatureError(
            f"the webhook has no {SIGNATURE_HEADER} header", reason=SignatureProblem.MISSING
        )
    found = _SIGNATURE.fullmatch(text)
    if found is None:
        raise WebhookSignatureError(
            f"the webhook's {SIGNATURE_HEADER} header is not 64 hex digits",
            reason=SignatureProblem.MALFORMED,
        )
    return bytes.fromhex(found[1])


def _event(raw: bytes, *, verified: bool) -> WebhookEvent:
    try:
        body = decode(raw)
    except WireError as error:
        raise WebhookPayloadError(f"the webhook's body is {error}") from None
    if not isinstance(body, dict):
        raise WebhookPayloadError("the webhook's body is not a JSON object")
    payload = body.get("payload")
    data = payload if isinstance(payload, dict) else body
    return WebhookEvent(
        type=next(filter(None, (_text(body, name) for name in TYPE_FIELDS)), ""),
        data=data,
        body=body,
        raw=raw,
        fingerprint=hashlib.sha256(raw).hexdigest(),
        verified=verified,
        activity_id=_text(data.get("activity"), "id"),
        case_id=_text(data, "caseId") or _text(data.get("case"), "id"),
    )


def _text(found: object, name: str) -> str | None:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) and value else None
