"""The session manager: one vendor's connections, credential, policy and hooks."""

from __future__ import annotations

import os
import platform
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, cast

from carevalidate_async._call import Call
from carevalidate_async._config import CallOptions, ClientOptions, Settings, checked_origin
from carevalidate_async._policy import check_seconds
from carevalidate_async._private import discreetly
from carevalidate_async._quota import RetryQuota
from carevalidate_async._version import __version__
from carevalidate_async.errors import ClientClosedError, ConfigurationError, InvalidRequestError
from carevalidate_async.models import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carevalidate_async._operation import Operation
    from carevalidate_async._policy import WorstCase
    from carevalidate_async._secret import Secret
    from carevalidate_async._transport import Transport
    from carevalidate_async._wire import Head

AnswerT = TypeVar("AnswerT", bound=Answer)
RequestT = TypeVar("RequestT")

_HEADERS: Mapping[str, str] = {
    "Accept": "application/json",
    # Here, so that a given session's own default cannot take its place.
    "Content-Type": "application/json",
    # Packing a few hundred bytes gains nothing, and what is not packed cannot be a bomb.
    "Accept-Encoding": "identity",
    "User-Agent": f"carevalidate-async/{__version__} Python/{platform.python_version()}",
}


class Session:
    """
    Runs operations at one origin under one credential; `open` makes one.

    Args:
        origin: Scheme, host, port and perhaps a path in front of the vendor's; checked.

        secret: The API key or token.

        transport: The connections.

        settings: Timeouts, retries and hooks.

        quota: Pays for all retries; None for as many as the policy allows.

        owner: Whether closing this session closes the connections.
    """

    def __init__(
        self,
        *,
        origin: str,
        secret: Secret,
        transport: Transport,
        settings: Settings,
        quota: RetryQuota | None = None,
        owner: bool = True,
    ) -> None:
        self._origin = origin
        self._secret = secret
        self._transport = transport
        self._settings = settings
        self._quota = quota
        self._owner = owner
        self._heads: dict[object, Head] = {}  # of operations without parameters in their path
        self._closed = False

    @classmethod
    @discreetly  # a proxy's URL may hold a password
    def open(cls, origin: str, secret: Secret, **options: Unpack[ClientOptions]) -> Self:
        """
        Return a session with connections of its own; the first call opens them.

        Args:
            origin: Base URL.

            secret: The API key or token.

            options: See `ClientOptions`.

        Raises:
            ConfigurationError: The origin or an option cannot be used; it is named.
            TypeError: There is no such option.
        """
        _refuse_unknown(options, ClientOptions)
        call_options = {k: v for k, v in options.items() if k in CallOptions.__annotations__}
        proxy = options.get("proxy")
        insecure = options.get("allow_insecure", False)
        return cls(
            origin=checked_origin(origin, allow_insecure=insecure, proxy=proxy),
            secret=secret,
            transport=_transport(options),
            settings=Settings().changed(**cast("CallOptions", call_options)),
            quota=_quota(options),
        )

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Session {self._origin}{state}>"

    @property
    def origin(self) -> str:
        """Where the requests go, without a slash at the end."""
        return self._origin

    @property
    def closed(self) -> bool:
        """Whether it takes no more calls."""
        return self._closed or self._transport.refusing

    @property
    def quota(self) -> RetryQuota | None:
        """What pays for retries; None where there is no limit but the policy's."""
        return self._quota

    def worst_case(self) -> WorstCase:
        """Return what a call may cost at most."""
        settings = self._settings
        return settings.retry.worst_case(
            attempt_timeout=settings.attempt_timeout, deadline=settings.deadline
        )

    def with_options(self, **changes: Unpack[CallOptions]) -> Session:
        """
        Return a session with other options over the same connections; it never closes them.

        Both pay for retries from the same quota.
        """
        _refuse_unknown(changes, CallOptions)
        return Session(
            origin=self._origin,
            secret=self._secret,
            transport=self._transport,
            settings=self._settings.changed(**changes),
            quota=self._quota,
            owner=False,
        )

    async def aclose(self, *, grace: float = 0.0) -> None:
        """
        Take no more calls, and close the connections, unless they are another's.

        A second call does nothing, or ends the wait of the first.

        Args:
            grace: Seconds that calls under way may take to settle before. All that share the
                connections are waited for; where they are another's, none is.

        Raises:
            ConfigurationError: *grace* is no finite number of seconds, or another running event
                loop uses the connections; they stay open.
        """
        check_seconds("grace", grace, zero=True)
        if self._owner:
            await self._transport.aclose(grace)
        self._closed = True

    async def run(
        self,
        operation: Operation[RequestT, AnswerT],
        request: RequestT,
        *,
        path: Mapping[str, str] = MappingProxyType({}),
        fields: Mapping[str, Any] = MappingProxyType({}),
        accept_duplicate: bool = False,
    ) -> AnswerT:
        """
        Carry out *operation* once, however many attempts that takes.

        Args:
            operation: What to do.

            request: Its request.

            path: Values of the path's parameters.

            fields: Fields of the body beside the model's.

            accept_duplicate: Whether a record that was there before this call counts as success,
                where the operation can say so.

        Raises:
            CareValidateError: See `carevalidate_async.errors`; its `outcome` tells about the money.
        """
        if self.closed:
            raise ClientClosedError("the client is closed; make a new one")
        if not isinstance(request, operation.takes):
            reason = f"must be a {operation.takes.__name__}, not {type(request).__name__}"
            raise InvalidRequestError("request", reason)
        head = self._heads.get(operation)
        if head is None or path:
            head = operation.head(
                origin=self._origin, secret=self._secret, headers=_HEADERS, path=path
            )
            if not path:
                self._heads[operation] = head
        sealed = operation.seal(request, head=head, secret=self._secret, fields=fields)
        call = Call(
            operation,
            request,
            fields=fields,
            sealed=sealed,
            accept_duplicate=accept_duplicate,
            transport=self._transport,
            secret=self._secret,
            settings=self._settings,
            quota=self._quota,
        )
        calls = self._transport.calls
        calls.begin()
        try:
            return await call.run()
        finally:
            calls.end()


def _refuse_unknown(options: Mapping[str, object], known: type) -> None:
    unknown = sorted(options.keys() - known.__annotations__.keys())
    if unknown:
        msg = f"there is no such option here: {', '.join(unknown)}"
        raise TypeError(msg)


def _quota(options: ClientOptions) -> RetryQuota | None:
    quota: object = options["retry_quota"] if "retry_quota" in options else RetryQuota()
    if not isinstance(quota, RetryQuota | None):
        raise ConfigurationError("retry_quota must be a RetryQuota, or None for no limit")
    return quota


def _transport(options: ClientOptions) -> Transport:
    # With the first client, since what they load takes longer than all else here; and both at once,
    # so that no event loop is held up by the first retry.
    from carevalidate_async._retry import load
    from carevalidate_async._transport import Transport

    load()
    session, connector = options.get("session"), options.get("connector")
    if session is not None and connector is not None:
        raise ConfigurationError("give a session or a connector, not both: a session has its own")
    most = options.get("max_connections", 100)
    if type(most) is not int or most < 1:
        raise ConfigurationError("max_connections must be an int of at least 1")
    return Transport(
        session=session,
        connector=connector,
        max_connections=most,
        proxy=options.get("proxy"),
        ssl=options.get("ssl", True),
        way=options.get("transport") or os.environ.get("CAREVALIDATE_TRANSPORT") or "auto",
    )
