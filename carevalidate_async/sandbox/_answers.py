"""The documented answers, word for word, and the few that the pages leave to the sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs


@attrs.frozen
class Reply:
    """
    An answer, ready to be written.

    Attributes:
        status: HTTP status.

        body: The bytes of the body.

        headers: Headers of the answer, its content type included.
    """

    status: int
    body: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(
        factory=lambda: {"Content-Type": "application/json"}, repr=False
    )


def reply(status: int, fields: Mapping[str, object]) -> Reply:
    """Return *fields* as a JSON answer."""
    return Reply(status, json.dumps(fields).encode())


def refused(message: str, status: int = 400) -> Reply:
    """Return CareValidate's refusal of a payment or an intent."""
    return reply(status, {"success": False, "message": message})


def refused_user(error: str) -> Reply:
    """Return CareValidate's refusal of a user's update."""
    fields = {"status": 400, "success": False, "message": "Invalid request", "error": error}
    return reply(400, fields)


def slug(status: int, name: str, **fields: object) -> Reply:
    """Return planocore's answer called *name*."""
    return reply(status, {"status": name, **fields})


UNAUTHORIZED = reply(401, {"status": 401, "error": "Invalid API key"})
CONFIRMED = reply(200, {"status": 200, "success": True})
USER_UPDATED = reply(
    200, {"status": 200, "success": True, "data": {"code": "PAYMENT_SETUP_UPDATED"}}
)
KEY_EXISTS = reply(
    409,
    {
        "status": 409,
        "success": False,
        "code": "IDEMPOTENCY_ERROR",
        "description": (
            "A record with the provided idempotencyKey already exists for this organization."
        ),
    },
)
NOT_FOUND = refused("Not found", 404)
_REASONS = {429: "Too many requests", 500: "Internal server error", 503: "Service unavailable"}


@attrs.frozen
class Vendor:
    """
    How one vendor words what goes wrong around an operation.

    Attributes:
        unknown_path: Answer to a path below the vendor's own that is no operation.

        too_large: Answer to a body over the size limit.

        crashed: Answer to a crash, status 500.
    """

    unknown_path: Reply
    too_large: Reply
    crashed: Reply

    def failure(self, status: int) -> Reply:
        """Return the body of a failure with *status* that is no judgement of the request."""
        if status == self.crashed.status:
            return self.crashed
        return refused(_REASONS.get(status, "Request failed"), status)


CAREVALIDATE = Vendor(
    unknown_path=NOT_FOUND,
    too_large=refused("Request body is too large", 413),
    crashed=refused("Internal server error", 500),
)
PLANOCORE = Vendor(
    unknown_path=slug(500, "route-non-existent"),
    too_large=slug(413, "invalid-encoded-params"),
    crashed=slug(500, "application-crash"),
)
