"""Which operation a request line means, and who judges it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

import attrs

from carevalidate_async.carevalidate import OPERATIONS as CAREVALIDATE_OPERATIONS
from carevalidate_async.planocore import OPERATIONS as PLANOCORE_OPERATIONS
from carevalidate_async.sandbox._answers import (
    CAREVALIDATE,
    NOT_FOUND,
    PLANOCORE,
    Reply,
    Vendor,
    refused,
)
from carevalidate_async.sandbox._judge import (
    Judge,
    judge_case_payment,
    judge_confirmation,
    judge_intent,
    judge_method_update,
    judge_user_update,
)
from carevalidate_async.sandbox._ledger import Entry, Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carevalidate_async._operation import Operation

DESCRIPTION_PATH = "/openapi.json"

_DESKS: Mapping[str, tuple[Judge, Entry]] = {
    "confirm_payment": (judge_confirmation, Ledger.confirm_payment),
    "create_case_payment": (judge_case_payment, Ledger.create_case_payment),
    "create_payment_intent": (judge_intent, Ledger.create_payment_intent),
    "update_user_payment": (judge_user_update, Ledger.update_user_payment),
    "update_payment_method": (judge_method_update, Ledger.update_payment_method),
}
_VENDORS: tuple[tuple[tuple[Operation[Any, Any], ...], Vendor], ...] = (
    (CAREVALIDATE_OPERATIONS, CAREVALIDATE),
    (PLANOCORE_OPERATIONS, PLANOCORE),
)
# A proxy's client names the origin in the request's target.
_ORIGIN = re.compile(r"\Ahttps?://[^/?#]*", re.IGNORECASE)
# The folder that planocore's operations stand in: what else is asked for there is a route of theirs
# that does not exist.
_BELOW_PLANOCORE = tuple(
    operation.path.rpartition("/")[0] + "/" for operation in PLANOCORE_OPERATIONS
)


@attrs.frozen(kw_only=True)
class Route:
    """
    Where an operation's requests go.

    Attributes:
        name: Name of the operation.

        method: HTTP method.

        path: Pattern of the whole path, with a group for each parameter.

        vendor: Whose operation it is.

        judge: Checks its requests.

        enter: Puts them on record.
    """

    name: str
    method: str
    path: re.Pattern[str]
    vendor: Vendor
    judge: Judge
    enter: Entry


Found: TypeAlias = tuple[Route, tuple[str, ...]] | Reply


def _route(operation: Operation[Any, Any], vendor: Vendor) -> Route:
    judge, enter = _DESKS[operation.name]
    fixed = re.split(r"\{\w+\}", operation.path)
    return Route(
        name=operation.name,
        method=operation.method,
        path=re.compile("([^/]+)".join(map(re.escape, fixed))),
        vendor=vendor,
        judge=judge,
        enter=enter,
    )


class Router:
    """
    Finds the route of a request.

    Args:
        description: Answer to a request for the sandbox's own description.
    """

    def __init__(self, description: Reply) -> None:
        self._description = description
        self._routes: dict[str, Route] = {}
        # Most requests are for a path without parameters: one look tells.
        self._plain: dict[tuple[str, str], Found] = {}
        for operations, vendor in _VENDORS:
            for operation in operations:
                route = _route(operation, vendor)
                self._routes[route.name] = route
                if not route.path.groups:
                    self._plain[route.method, operation.path] = (route, ())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the operations."""
        return tuple(self._routes)

    def find(self, method: str, target: str) -> Found:
        """
        Return the route and the values in its path, or the answer to a request that has none.

        Args:
            method: HTTP method, as it came.

            target: The request's target, as it came.
        """
        found = self._plain.get((method, target))
        return self._search(method, target) if found is None else found

    def _search(self, method: str, target: str) -> Found:
        path = _ORIGIN.sub("", target).partition("?")[0]
        allowed = []
        for route in self._routes.values():
            match = route.path.fullmatch(path)
            if match and route.method == method:
                return route, tuple(unquote(value) for value in match.groups())
            if match:
                allowed.append(route.method)
        if path == DESCRIPTION_PATH:
            if method == "GET":
                return self._description
            allowed.append("GET")
        if allowed:
            answer = refused("Method not allowed", 405)
            return attrs.evolve(answer, headers={**answer.headers, "Allow": ", ".join(allowed)})
        return PLANOCORE.unknown_path if path.startswith(_BELOW_PLANOCORE) else NOT_FOUND
