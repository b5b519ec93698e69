"""A guard against real vendors: what runs under it reaches this machine alone."""

from __future__ import annotations

import contextlib
import functools
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from carevalidate_async.errors import ConfigurationError
from carevalidate_async.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def only_loopback() -> Iterator[None]:
    """
    Refuse every call to another host than this machine's loopback, whoever made the client.

    A client that was made before, from the real key in somebody's environment, is refused too. The
    refusal is a `ConfigurationError` before anything is sent. It holds for all tasks and threads of
    the process; those who nest it leave it in the reverse order.
    """
    run = Session.run

    @functools.wraps(run)
    async def guarded(self: Session, *args: Any, **named: Any) -> Any:  # noqa: ANN401  # As it is.
        host = urlsplit(self.origin).hostname or ""
        if not _is_loopback(host):
            raise ConfigurationError(
                f"a test must not send to {host}: give the client the sandbox's URL as base_url, "
                "or let it read CAREVALIDATE_BASE_URL and PLANOCORE_BASE_URL"
            )
        return await run(self, *args, **named)

    Session.run = guarded  # type: ignore[method-assign]  # It does the same, or refuses.
    try:
        yield
    finally:
        Session.run = run  # type: ignore[method-assign]  # As it was.


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
