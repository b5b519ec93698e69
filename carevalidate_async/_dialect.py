"""
How a vendor signs a request and how it says yes and no: data, not branches.

`judge` reads any status and any bytes; it never raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from carevalidate_async._codec import Codec, WireError, decode
from carevalidate_async.errors import (
    CLIENT_ERRORS,
    SERVER_ERRORS,
    APIStatusError,
    Outcome,
    error_for_status,
)

if TYPE_CHECKING:
    from carevalidate_async._wire import Reply

_SUCCESSES = range(200, 300)
_STATUSES = frozenset(range(100, 1000))
_STATUS = re.compile(r"[1-9][0-9]{2}")
_LONGEST_TEXT = 300
_LONGEST_LOOK = 4000
_WORD = r"[^\s@\"'<>(){}\[\],;:]"
# Looking behind keeps it linear: a long word is not tried again from each of its characters.
_EMAIL = re.compile(rf"(?<!{_WORD}){_WORD}++@{_WORD}+")
_PHONE = re.compile(r"\+?\d(?:[ ().-]{0,2}\d){6,}")
_SHORTEST_PRIVATE_TEXT = 3
_CODE = re.compile(r"(?=.*[A-Za-z_])[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,63}|[0-9]{1,6}")


@attrs.frozen
class HeaderSecret:
    """The credential travels in this header."""

    name: str


@attrs.frozen
class BodySecret:
    """The credential travels in this field of the JSON body."""

    name: str


@attrs.frozen(kw_only=True)
class Refusal:
    """
    What a refusal means.

    Attributes:
        error: The class to raise.

        outcome: What this answer alone tells about the money.

        transient: Whether asking again can help.

        only_with: The status that the code must come with to mean this, in HTTP or in the body;
            None for any.
    """

    error: type[APIStatusError]
    outcome: Outcome
    transient: bool = False
    only_with: int | None = None

    def fits(self, status: int, inner: object) -> bool:
        """Tell whether this is meant by its code on HTTP *status* and the body's own *inner*."""
        return self.only_with is None or self.only_with in (status, inner)


@attrs.frozen(kw_only=True)
class Dialect:
    """
    One vendor's way of talking.

    Attributes:
        name: The vendor's name, for people.

        secret: Where the credential goes.

        codec: Its spelling of field names.

        affirms: Whether a 2xx's object says yes (True), no (False) or neither (None).

        code_of: The code or slug of an object, None where it has none.

        messages: Fields that hold the explanation for people, the most telling first.

        envelope: Fields of an answer that are about the answer; they are no data.

        refusals: What each documented code means; a code beats the status that it comes with.
    """

    name: str
    secret: HeaderSecret | BodySecret
    codec: Codec
    affirms: Callable[[Mapping[str, Any]], bool | None]
    code_of: Callable[[Mapping[str, Any]], str | None]
    messages: tuple[str, ...]
    envelope: frozenset[str]
    refusals: Mapping[str, Refusal]


@attrs.define(kw_only=True)
class Yes:
    """A success, whole and readable so far."""

    document: Mapping[str, Any] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class No:
    """The vendor, or something before it, answered without a success."""

    refusal: Refusal
    code: str | None = None
    message: str | None = attrs.field(default=None, repr=False)
    body: Mapping[str, Any] | str = attrs.field(repr=False)
    shape: str


@attrs.frozen(kw_only=True)
class Unreadable:
    """A 2xx that cannot be understood: the payment may or may not be on record."""

    reason: str


def judge(dialect: Dialect, reply: Reply) -> Yes | No | Unreadable:
    """Return what *reply* says, whatever it is."""
    try:
        document = decode(reply.body)
    except WireError as error:
        return _without_object(reply, str(error))
    if not isinstance(document, dict):
        return _without_object(reply, "JSON, but no object")
    if is_success(reply.status):
        affirmed = dialect.affirms(document)
        if affirmed:
            return Yes(document=document)
        if affirmed is None:
            return Unreadable(reason="it does not say whether the request succeeded")
    told = (dialect.code_of(document) or "").strip()
    # Codes go into logs and journals; words for people, which may name one, do not.
    code = told if _CODE.fullmatch(told) else None
    refusal = _refusal(reply.status, document)
    known = dialect.refusals.get(code) if code is not None else None
    if known is not None and known.fits(reply.status, _inner_status(document)):
        refusal = known
    elif known is not None and is_success(reply.status):
        # Half of a refusal that speaks of a record: neither is sure.
        refusal = Refusal(error=error_for_status(reply.status), outcome=Outcome.UNKNOWN)
    return No(
        refusal=refusal,
        code=code,
        message=_message(dialect, document),
        body=document,
        shape="no message" if code is not None else told or "no message",
    )


def is_success(status: int) -> bool:
    """Tell whether *status* is a 2xx."""
    return status in _SUCCESSES


def refusal_for_status(status: int) -> Refusal:
    """
    Return what *status* means where the body says no more.

    Only a 4xx is a sure no. 408 and 409 may follow a request that was carried out, and so may a
    redirect: 303 is the very answer to a POST that was.
    """
    sure_no = status in CLIENT_ERRORS and status not in {408, 409}
    # 501 and 505 say that the server will never do it.
    passing = status in {408, 429} or (status in SERVER_ERRORS and status not in {501, 505})
    return Refusal(
        error=error_for_status(status),
        outcome=Outcome.REJECTED if sure_no else Outcome.UNKNOWN,
        transient=passing,
    )


def blank_out(text: str, private: tuple[str, ...]) -> str:
    """
    Return *text* fit for logs: on one line, cut, without private texts and what looks like them.

    Args:
        text: The vendor's words.

        private: What the request held that must not be shown.
    """
    cut = len(text) > _LONGEST_LOOK  # A mebibyte would hold the event loop up for long.
    text = _one_line(text[:_LONGEST_LOOK])
    secrets = sorted(map(_one_line, private), key=len, reverse=True)
    for secret in secrets:
        # Whatever its case: vendors put addresses and names in capitals.
        if len(secret) >= _SHORTEST_PRIVATE_TEXT and secret.casefold() in text.casefold():
            text = re.sub(re.escape(secret), "[hidden]", text, flags=re.IGNORECASE)
            rest = text.replace("[hidden]", "")
            if secret.casefold() in rest.casefold():  # "ß" and "SS" are one letter to this alone
                return "[hidden]"
    text = _PHONE.sub("[phone]", _EMAIL.sub("[email]", text))
    if cut:
        # The cut may have gone through a private text, whose beginning stands at the end now.
        longest = max(map(len, secrets), default=0)
        text = text[: max(0, len(text) - longest - _LONGEST_TEXT)] + "…"
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def _one_line(text: str) -> str:
    # By the kinds of characters: a long text has few, and to look at each would take seconds.
    odd = {ord(char): " " for char in set(text) if not char.isprintable()}
    return " ".join(text.translate(odd).split() if odd else text.split())


def _refusal(status: int, document: Mapping[str, Any]) -> Refusal:
    inner = _inner_status(document)
    if not is_success(status):
        return refusal_for_status(status)
    if inner is not None and not is_success(inner):
        # The body denies the success that the HTTP status claims.
        return refusal_for_status(inner)
    return Refusal(error=error_for_status(status), outcome=Outcome.REJECTED)


def _inner_status(document: Mapping[str, Any]) -> int | None:
    """Return the HTTP status that the body itself gives, however it is written."""
    said = document.get("status")
    if isinstance(said, str) and _STATUS.fullmatch(said):
        return int(said)
    if isinstance(said, int | Decimal) and said in _STATUSES:
        return int(said)
    return None


def _without_object(reply: Reply, reason: str) -> No | Unreadable:
    if is_success(reply.status):
        return Unreadable(reason=f"its body is {reason}")
    return No(
        refusal=refusal_for_status(reply.status),
        body=reply.body.decode("utf-8", "replace"),
        shape=_shape(reply),
    )


def _shape(reply: Reply) -> str:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    start = reply.body[:100].lstrip().lower()
    if not reply.body:
        return "no body"
    if kind == "text/html" or start.startswith((b"<!doctype", b"<html")):
        return f"an HTML page of {len(reply.body)} bytes"
    return f"{len(reply.body)} bytes that are no JSON object"


def _message(dialect: Dialect, document: Mapping[str, Any]) -> str | None:
    found = [document.get(name) for name in dialect.messages]
    texts = dict.fromkeys(text for text in found if isinstance(text, str) and text)
    return ": ".join(texts) or None
