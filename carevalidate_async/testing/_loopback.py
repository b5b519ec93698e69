"""A guard against real vendors: what runs under it reaches this machine alone."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from carevalidate_async._config import is_loopback
from carevalidate_async.errors import ConfigurationError
from carevalidate_async.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_lock = threading.Lock()
_inside: list[Callable[..., Any]] = []  # the unguarded run, once for each who is inside


@contextlib.contextmanager
def only_loopback() -> Iterator[None]:
    """
    Refuse every call to another host than this machine's loopback, whoever made the client.

    A client that was made before, from the real key in somebody's environment, is refused too. The
    refusal is a `ConfigurationError` before anything is sent. It holds for all tasks and threads of
    the process, and ends when the last of those has left who entered it, in whatever order.
    """
    with _lock:
        run = _inside[0] if _inside else Session.run
        _inside.append(run)
        if len(_inside) == 1:
            Session.run = _guarded(run)  # type: ignore[method-assign]  # The same, or a refusal.
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            if not _inside:
                Session.run = run  # type: ignore[method-assign]  # As it was.


def _guarded(run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    async def guarded(self: Session, *args: Any, **named: Any) -> Any:  # noqa: ANN401  # As it is.
        host = urlsplit(self.origin).hostname or ""
        if not is_loopback(host):
            raise ConfigurationError(
                f"a test must not send to {host}: give the client the sandbox's URL as base_url, "
                "or let it read CAREVALIDATE_BASE_URL and PLANOCORE_BASE_URL"
            )
        return await run(self, *args, **named)

    return guarded
