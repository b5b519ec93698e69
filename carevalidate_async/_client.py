"""What the clients of both vendors have in common: a session to run on, and its end."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Self, Unpack

if TYPE_CHECKING:
    from types import TracebackType

    from carevalidate_async._config import CallOptions
    from carevalidate_async._policy import WorstCase
    from carevalidate_async._quota import RetryQuota
    from carevalidate_async.session import Session


class Client:
    """
    The parent of the clients.

    Args:
        session: Runs the calls.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def __repr__(self) -> str:
        if not hasattr(self, "_session"):  # A subclass's traceback shows one that was not made.
            return f"<{type(self).__name__}>"
        state = ", closed" if self._session.closed else ""
        return f"<{type(self).__name__} at {self._session.origin}{state}>"

    @property
    def closed(self) -> bool:
        """Whether the client takes no more calls; those in flight may still be let settle."""
        return self._session.closed

    @property
    def retry_quota(self) -> RetryQuota | None:
        """What pays for the retries of this client's calls; None where nothing limits them."""
        return self._session.quota

    def worst_case(self) -> WorstCase:
        """
        Return what a call of this client may cost at most.

        ``print(client.worst_case())`` says "at most 4 requests and 120 seconds" for the defaults.
        """
        return self._session.worst_case()

    def with_options(self, **changes: Unpack[CallOptions]) -> Self:
        """
        Return a client with other options that shares this one's connections and retry quota.

        Closing it leaves them open; once this client is closed, neither works any more.

        Args:
            changes: ``attempt_timeout``, ``deadline``, ``retry``, ``hooks``; see `CallOptions`.

        Raises:
            ConfigurationError: A value cannot be used.
            TypeError: There is no such option.
        """
        other = copy.copy(self)
        other._session = self._session.with_options(**changes)  # noqa: SLF001 - our own copy
        return other

    async def aclose(self, *, grace: float = 0.0) -> None:
        """
        Refuse new calls, let those in flight settle, and close the connections.

        New calls are refused from this moment (`ClientClosedError`, nothing sent). Those in flight,
        their retries and those of `with_options` copies included, may go on for *grace* seconds.
        What is left then ends, and its errors tell what is known: a payment may be in doubt.

        A second call does nothing, or ends the wait of the first where its own grace is shorter. A
        wait that is cancelled ends in the same way. On a `with_options` copy nothing is closed or
        waited for. A session or connector of the caller's stays open.

        Where another event loop has the connections, and rests, it is run on a thread for as long
        as closing them takes, and with it whatever else is ready in it.

        Args:
            grace: Seconds to wait at most. As long as a call's deadline, no call is cut off.

        Raises:
            ConfigurationError: *grace* is no finite number of seconds; or another running event
                loop uses the connections: close the client there.
        """
        await self._session.aclose(grace=grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
