"""
The page on which people watch requests arrive: its files, its feed and its controls.

It shows what `_view.py` makes of a request, so nothing private leaves through it, and changes
things by the sandbox's public methods. `_guard.py` says who may ask.
"""

from __future__ import annotations

import functools
import json
import secrets
from importlib import resources
from typing import TYPE_CHECKING, Any, NoReturn

from aiohttp import web

from carevalidate_async._version import __version__
from carevalidate_async.carevalidate import OPERATIONS as CAREVALIDATE_OPERATIONS
from carevalidate_async.planocore import OPERATIONS as PLANOCORE_OPERATIONS
from carevalidate_async.sandbox import _feed, _mask
from carevalidate_async.sandbox._controls import CONTROLS, MOST_SCRIPTED, ControlError, label, state
from carevalidate_async.sandbox._faults import BY_CHANCE, Fault
from carevalidate_async.sandbox._guard import is_json, objection
from carevalidate_async.sandbox._view import detail, key_id, shown_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from carevalidate_async.sandbox._controls import Controlled
    from carevalidate_async.sandbox._exchanges import Exchanges
    from carevalidate_async.sandbox._ledger import Ledger, RecordedPayment

PREFIX = "/_sandbox/"
"""What all that the page loads stands below."""

MOST_WATCHERS = 16
MOST_RECORDS = 200
"""Payments on record that are shown, the latest ones."""

_LONGEST_CONTROL = 2**14  # bytes
_FILES: Mapping[str, str] = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "list.js": "text/javascript; charset=utf-8",
    "exchange.js": "text/javascript; charset=utf-8",
    "controls.js": "text/javascript; charset=utf-8",
    "records.js": "text/javascript; charset=utf-8",
    "dom.js": "text/javascript; charset=utf-8",
}
_POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"),
        *("img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        *("require-trusted-types-for 'script'", "trusted-types 'none'"),
    )
)
_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
SEEN: Mapping[str, str] = {
    "OK": "the documented answer",
    "DELAY": "the documented answer, late",
    "REFUSE": "503",
    "RATE_LIMIT": "429 with Retry-After",
    "REDIRECT": "302 to another path",
    "HTML": "502 and a page",
    "ERROR_AFTER": "500",
    "TRUNCATE": "the documented head and half of the body, then the end",
    "DROP_BEFORE": "the connection is reset",
    "DROP_AFTER": "the connection is reset",
    "HANG": "nothing",
    "HANG_AFTER": "nothing",
}
"""What the client sees of each fault."""


class Page:
    """
    The page of a sandbox.

    Args:
        sandbox: What it shows and changes.

        exchanges: What arrived there.

        ledger: What is on record there.

        credentials: What is hidden in whatever is on record.
    """

    def __init__(
        self,
        sandbox: Controlled,
        exchanges: Exchanges,
        ledger: Ledger,
        credentials: Iterable[str],
    ) -> None:
        self._sandbox = sandbox
        self._exchanges = exchanges
        self._ledger = ledger
        self._credentials = {f"credential {number}": one for number, one in enumerate(credentials)}
        self._salt = secrets.token_bytes(16)
        self._life = secrets.token_hex(4)
        self._watchers = 0

    def owns(self, method: str, target: str) -> bool:
        """Tell whether a request is for the page, and so none that arrived at a vendor."""
        return target.startswith(PREFIX) or (method == "GET" and target.partition("?")[0] == "/")

    async def serve(self, http: web.BaseRequest) -> web.StreamResponse:
        """Serve a request that it owns."""
        name = http.raw_path.partition("?")[0].removeprefix(PREFIX)
        reason = objection(http.headers, document=name == "/")
        if reason is not None:
            return _error(403, reason)
        if http.method == "GET":
            return await self._read(http, name)
        if name not in CONTROLS:
            return _error(404 if http.method == "POST" else 405, "there is no such thing")
        if http.method != "POST":
            return _error(405, "ask by POST")
        return await self._change(http, name)

    async def _read(self, http: web.BaseRequest, name: str) -> web.StreamResponse:
        if name == "/":
            return web.Response(
                body=_file("page.html"), content_type="text/html", charset="utf-8", headers=_HEADERS
            )
        if name in _FILES:
            headers = {**_HEADERS, "Content-Type": _FILES[name]}
            return web.Response(body=_file(name), headers=headers)
        if name == "feed":
            return await self._feed(http)
        if name == "records":
            return _json(self._records())
        folder, _, number = name.partition("/")
        if folder == "requests" and number.isdecimal() and len(number) < 18:
            seen = self._exchanges.get(int(number))
            if seen is None:
                return _error(404, "it is not kept any more")
            return _json(detail(seen, self._salt, self._sandbox.url))
        return _error(404, "there is no such thing")

    async def _feed(self, http: web.BaseRequest) -> web.StreamResponse:
        if self._watchers >= MOST_WATCHERS:
            return _error(503, f"{MOST_WATCHERS} pages are open already")
        mark = http.headers.get("Last-Event-ID") or http.query.get("since")
        watcher = _feed.Watcher(self._exchanges, self._salt, self._life, mark)
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        self._watchers += 1
        try:
            await response.prepare(http)
            await _feed.watch(watcher, _about(self._sandbox.url), self._state, response.write)
        except ConnectionError:
            return response  # The watcher is gone.
        finally:
            self._watchers -= 1

    def _state(self) -> dict[str, Any]:
        return state(self._sandbox, self._ledger)

    def _records(self) -> dict[str, Any]:
        """Return the latest payments on record, oldest first."""
        payments = self._ledger.payments
        return {
            "total": len(payments),
            "payments": [self._payment(payment) for payment in payments[-MOST_RECORDS:]],
        }

    def _payment(self, payment: RecordedPayment) -> dict[str, Any]:
        mask = _mask.Mask(payment.raw, self._credentials)
        fields = mask.fields or {}
        key = payment.idempotency_key
        return {
            "id": payment.id,
            "operation": payment.operation,
            "at": round(payment.at.timestamp() * 1000),
            "case": (fields and _mask.word(payment.case_id, mask.private)) or _mask.HIDDEN,
            "amount": None if "amount" not in fields else str(fields["amount"]),
            "status": fields.get("status"),
            "key": None if key is None else key_id(key, self._salt),
            "key_text": None if key is None else shown_key(key, payment.raw, self._credentials),
        }

    async def _change(self, http: web.BaseRequest, name: str) -> web.Response:
        if not is_json(http.headers):
            return _error(415, "Content-Type must be application/json")
        try:
            body = await http.read()
            if len(body) > _LONGEST_CONTROL:
                return _error(413, "that is too long")
            fields = json.loads(body, parse_constant=_refuse)
            if not isinstance(fields, dict):
                return _error(400, "it must be a JSON object")
            CONTROLS[name](self._sandbox, fields)
        except web.HTTPRequestEntityTooLarge:
            return _error(413, "that is too long")
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            return _error(400, "it must be a JSON object")
        except (ControlError, ValueError) as error:
            return _error(400, str(error))
        return _json(self._state())


def _about(url: str) -> dict[str, Any]:
    """Return what does not change: operations, faults, and how much there can be."""
    return {
        "version": __version__,
        "url": url,
        "operations": [one.name for one in (*CAREVALIDATE_OPERATIONS, *PLANOCORE_OPERATIONS)],
        "faults": [
            {"name": fault.name, "seen": SEEN[fault.name], "records": fault.records}
            for fault in (*Fault.EVERY, Fault.OK)
        ],
        "by_chance": [label(fault) for fault in BY_CHANCE],
        "most_rows": _feed.BACKLOG,
        "most_scripted": MOST_SCRIPTED,
    }


@functools.cache
def _file(name: str) -> bytes:
    return resources.files(__package__).joinpath("page", name).read_bytes()


def _refuse(name: str) -> NoReturn:
    raise ControlError(f"{name} is no number")


def _json(document: object, status: int = 200) -> web.Response:
    text = json.dumps(document, ensure_ascii=False, default=float)
    headers = {**_HEADERS, "Content-Type": "application/json"}
    return web.Response(status=status, body=text.encode("utf-8", "replace"), headers=headers)


def _error(status: int, reason: str) -> web.Response:
    return _json({"error": reason}, status)
