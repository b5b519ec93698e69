"""A request as the page shows it: a row of the list, and all that may be seen of the exchange."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from carevalidate_async import _wire
from carevalidate_async._secret import Secret
from carevalidate_async.carevalidate import OPERATIONS as CAREVALIDATE_OPERATIONS
from carevalidate_async.errors import CareValidateError, Outcome
from carevalidate_async.planocore import OPERATIONS as PLANOCORE_OPERATIONS
from carevalidate_async.sandbox import _mask
from carevalidate_async.sandbox._controls import label
from carevalidate_async.sandbox._copies import as_curl, as_python
from carevalidate_async.sandbox._faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carevalidate_async._operation import Operation
    from carevalidate_async.sandbox._answers import Reply
    from carevalidate_async.sandbox._exchanges import ReceivedRequest

_OPERATIONS: Mapping[str, Operation[Any, Any]] = {
    one.name: one for one in (*CAREVALIDATE_OPERATIONS, *PLANOCORE_OPERATIONS)
}
# Of the request, of which only the answer's text would tell, and that is not looked at.
_NOBODYS = Secret("none")
_ECHO = {"id": 1}
_LONGEST_KEY = 64
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[^"\s,:{}\[\]]+|\s+|.', re.DOTALL)
_FLAWS = range(400, 600)


def told(seen: ReceivedRequest) -> Outcome | None:
    """
    Return what this exchange alone tells a client about the money, by the rules of this package.

    None while it goes on, and where it is about no operation.
    """
    if seen.operation is None or seen.seconds is None:
        return None
    if seen.reply is None or seen.ending != "answered":
        return Outcome.UNKNOWN
    return _outcome(seen.operation, seen.reply.status, seen.reply.body)


@functools.lru_cache(64)  # Most answers are the same, byte by byte.
def _outcome(operation: str, status: int, body: bytes) -> Outcome:
    answer = _wire.Reply(status=status, headers={}, body=body)
    said = _OPERATIONS[operation].read(answer, request=None, fields=_ECHO, secret=_NOBODYS, now=0.0)
    return said.outcome if isinstance(said, CareValidateError) else Outcome.RECORDED


def money(seen: ReceivedRequest) -> str | None:
    """
    Return what became of the money, and what the client was told.

    ``recorded``, ``replayed`` (on record by an earlier request) or ``rejected``, for nothing was
    recorded, where the client knows. ``recorded-unseen``, ``replayed-unseen`` or
    ``unrecorded-unseen`` where it has to take the outcome for unknown. ``recorded-denied``,
    ``replayed-denied`` or ``unrecorded-claimed`` where a fault told it the opposite. None while it
    goes on, and where it is about no operation.
    """
    known = told(seen)
    if known is None:
        return None
    if seen.verdict in {"recorded", "replayed"}:
        endings = {Outcome.RECORDED: "", Outcome.UNKNOWN: "-unseen"}
        return f"{seen.verdict}{endings.get(known, '-denied')}"
    if known is Outcome.RECORDED:
        return "unrecorded-claimed"
    return "unrecorded-unseen" if known is Outcome.UNKNOWN else "rejected"


def went_wrong(seen: ReceivedRequest) -> bool:
    """Tell whether something about it was not as on a good day."""
    if seen.fault != Fault.OK or seen.status in _FLAWS:
        return True
    return seen.seconds is not None and seen.ending != "answered"


def idempotency_key(body: bytes) -> str | None:
    """Return the idempotency key in a request's body, None where there is none."""
    if b"idempotencyKey" not in body:
        return None
    fields = _mask.readable(body)
    key = fields.get("idempotencyKey") if isinstance(fields, dict) else None
    return key if isinstance(key, str) and key else None


def key_id(key: str, salt: bytes) -> str:
    """Return what tells keys apart without telling them."""
    return hashlib.blake2b(key.encode(), digest_size=8, key=salt).hexdigest()


def shown_key(key: str, body: bytes, headers: Mapping[str, str]) -> str:
    """Return what is shown of the idempotency key of a request with that body and headers."""
    if _mask.is_made(key):
        return key
    mask = _mask.Mask(body, headers)
    # Of what cannot be read nobody knows what is private.
    shown = _mask.HIDDEN if mask.fields is None else _mask.key(key, mask.private) or _mask.HIDDEN
    return shown if len(shown) <= _LONGEST_KEY else f"{shown[:_LONGEST_KEY]}…"


def row(seen: ReceivedRequest, salt: bytes) -> dict[str, Any]:
    """
    Return what the list shows of a request.

    Args:
        seen: The request.

        salt: Makes the ids of keys; up to 64 bytes.
    """
    key = idempotency_key(seen.body)
    return {
        "number": seen.number,
        "at": round(seen.arrived * 1000),
        "operation": seen.operation,
        "method": seen.method if seen.method.isalpha() else _mask.HIDDEN,
        "path": _mask.path(seen.path),
        "status": seen.status,
        "fault": None if seen.fault == Fault.OK else label(seen.fault),
        "ending": seen.ending if seen.seconds is not None else None,
        "ms": None if seen.seconds is None else round(seen.seconds * 1000, 1),
        "money": money(seen),
        "wrong": went_wrong(seen),
        "key": None if key is None else key_id(key, salt),
        "key_text": None if key is None else shown_key(key, seen.body, seen.headers),
    }


def detail(seen: ReceivedRequest, salt: bytes, origin: str) -> dict[str, Any]:
    """
    Return all that the page shows of a request.

    Args:
        seen: The request.

        salt: As for `row`.

        origin: The sandbox's.
    """
    mask = _mask.Mask(seen.body, seen.headers)
    listed = row(seen, salt)
    line = f"{listed['method']} {listed['path']} HTTP/1.1"
    return {
        **listed,
        "request": {
            "head": _head(line, mask.headers(seen.headers)),
            "body": _pretty(mask.fields) if mask.fields is not None else None,
            "bytes": len(seen.body),
        },
        "answer": _answer(seen, seen.reply, mask) if seen.reply is not None else None,
        "curl": as_curl(seen, origin),
        "python": as_python(seen, origin),
    }


def _answer(seen: ReceivedRequest, reply: Reply, mask: _mask.Mask) -> dict[str, Any]:
    headers = {**reply.headers, "Content-Length": str(len(reply.body))}
    if seen.ending == "answered":
        headers["X-Request-Id"] = f"sandbox-{seen.number}"
    line = f"HTTP/1.1 {reply.status} {_phrase(reply.status)}".rstrip()
    shown = mask.answer(reply.body)
    cut = len(reply.body) // 2 if seen.ending == "cut" else None
    if shown is None:
        # Text that a fault was given may hold anything.
        body = reply.body.decode() if reply.body == Fault.HTML.body else None
    elif cut is None:
        body = _pretty(shown)
    else:
        body = _beginning(reply.body.decode(), _compact(shown), cut)
    return {
        "head": _head(line, mask.headers(headers)),
        "body": body,
        "bytes": len(reply.body),
        "cut": cut,
    }


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _head(line: str, headers: list[tuple[str, str]]) -> str:
    return "\n".join([line, *(f"{name}: {text}" for name, text in headers)])


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=_number)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=_number)


_number: Callable[[Any], float] = float  # A Decimal of few digits, which a float prints as it is.


def _beginning(raw: str, shown: str, cut: int) -> str:
    """
    Return the beginning of *shown* that stands where the first *cut* characters of *raw* do.

    The two are the same JSON, but for what is hidden: piece by piece they correspond.
    """
    result: list[str] = []
    for piece, instead in zip(_TOKENS.findall(raw), _TOKENS.findall(shown), strict=False):
        if cut < len(piece):
            result.append(piece[:cut] if piece == instead else instead[: min(cut, 1)])
            break
        result.append(instead)
        cut -= len(piece)
    return "".join(result)
