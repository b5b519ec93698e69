"""What a client can be told, and the checks that nothing unsafe gets past."""

from __future__ import annotations

import contextlib
import os
from inspect import iscoroutinefunction
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack
from urllib.parse import urlsplit

import attrs

from carevalidate_async._policy import ATTEMPT_TIMEOUT, DEADLINE, RetryPolicy, check_seconds
from carevalidate_async._secret import Secret
from carevalidate_async.errors import ConfigurationError
from carevalidate_async.hooks import AttemptEnded, CallEnded, CallStarted, Hook, hooks_for

if TYPE_CHECKING:
    import ssl as ssl_module
    from collections.abc import Iterable

    import aiohttp

    from carevalidate_async._quota import RetryQuota


class CallOptions(TypedDict, total=False):
    """
    What can differ from call to call: the options of `with_options`.

    Attributes:
        attempt_timeout: Seconds for one attempt, from connecting to the last byte of the answer;
            30 by default.

        deadline: Seconds for the whole call: the wait for a free connection, attempts, delays and
            bodies; 120 by default, None for no such limit.

        retry: How often and how patiently a call is tried.

        hooks: Called with each `Event`, or with those that they want; see
            `carevalidate_async.hooks`. A hook that fails is logged and changes nothing.
    """

    attempt_timeout: float
    deadline: float | None
    retry: RetryPolicy
    hooks: Iterable[Hook]


class ClientOptions(CallOptions, total=False):
    """
    The options of a client.

    Attributes:
        session: An `aiohttp.ClientSession` of yours, used as it is (its cookies, default headers
            and tracing too) and never closed by the client.

        connector: An `aiohttp` connector of yours, never closed by the client.

        max_connections: Requests on the wire at a time; 100 by default.

        retry_quota: Pays for the retries of all calls; one of its own by default, None for no limit
            but the policy's.

        proxy: URL of an HTTP proxy.

        ssl: TLS settings, as aiohttp takes them.

        transport: ``auto`` sends past aiohttp's session, which costs most of a call, unless
            *session*, *connector* or *proxy* is given, requests are traced or mocked, or the
            version of aiohttp was not checked for it; ``session`` never does; ``direct`` raises
            where it cannot. Default: ``CAREVALIDATE_TRANSPORT``, or else ``auto``.

        allow_insecure: Whether plain http:// to other hosts than this one is accepted.
    """

    session: aiohttp.ClientSession | None
    connector: aiohttp.BaseConnector | None
    max_connections: int
    retry_quota: RetryQuota | None
    proxy: str | None
    ssl: ssl_module.SSLContext | aiohttp.Fingerprint | bool
    transport: Literal["auto", "direct", "session"]
    allow_insecure: bool


def _as_tuple(hooks: Iterable[Hook]) -> tuple[Hook, ...]:
    try:
        return tuple(hooks)
    except TypeError:
        raise ConfigurationError("hooks must be a sequence of functions") from None


@attrs.frozen(kw_only=True)
class Settings:
    """
    The options of calls, checked; attributes as in `CallOptions`, and those of them that follow.

    Attributes:
        at_start: The hooks that want to hear of a call's start.

        at_attempt: Those that want to hear of its attempts.

        at_end: Those that want to hear of its end.

    Raises:
        ConfigurationError: A value cannot be used; it is named.
    """

    attempt_timeout: float = ATTEMPT_TIMEOUT
    deadline: float | None = DEADLINE
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    hooks: tuple[Hook, ...] = attrs.field(default=(), converter=_as_tuple)
    at_start: tuple[Hook, ...] = attrs.field(init=False, repr=False, eq=False)
    at_attempt: tuple[Hook, ...] = attrs.field(init=False, repr=False, eq=False)
    at_end: tuple[Hook, ...] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        check_seconds("attempt_timeout", self.attempt_timeout)
        if self.deadline is not None:
            check_seconds("deadline", self.deadline)
        if not isinstance(self.retry, RetryPolicy):
            raise ConfigurationError("retry must be a RetryPolicy")
        if not all(callable(hook) for hook in self.hooks):
            raise ConfigurationError("hooks must be functions of one argument")
        calls = (getattr(hook, "__call__", None) for hook in self.hooks)  # noqa: B004 - is it async?
        if any(map(iscoroutinefunction, (*self.hooks, *calls))):
            raise ConfigurationError("hooks must be plain functions: nobody awaits a coroutine")
        kinds = ("at_start", CallStarted), ("at_attempt", AttemptEnded), ("at_end", CallEnded)
        for name, kind in kinds:
            object.__setattr__(self, name, hooks_for(kind, self.hooks))

    def changed(self, **changes: Unpack[CallOptions]) -> Self:
        """Return these settings with *changes*."""
        return attrs.evolve(self, **changes)


def checked_origin(url: str, *, allow_insecure: bool, proxy: str | None = None) -> str:
    """
    Return *url* without a slash at its end, once it is safe to send a credential there.

    Args:
        url: As it was given.

        allow_insecure: Whether plain http may go to another host than this one.

        proxy: The way there; it reads whatever is sent as plain http.

    Raises:
        ConfigurationError: One of them is not an absolute http(s) URL, the first has a user, a
            query or a fragment, or it is plain http to, or by way of, another host than this one.
    """
    proxy_host = None if proxy is None else _proxy_host(proxy)
    given: object = url
    if not isinstance(given, str):
        raise ConfigurationError(f"base_url must be text, not {type(given).__name__}")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ConfigurationError("base_url must be an ASCII URL without blanks")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError("base_url is not a URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigurationError("base_url must be an absolute https:// URL")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ConfigurationError("base_url must hold neither a user, nor a query, nor a fragment")
    if parts.scheme == "http" and not allow_insecure and not is_loopback(host):
        raise ConfigurationError(
            "base_url is plain http:// to another host, where the credential could be read; "
            "use https://, or allow_insecure=True"
        )
    remote = proxy_host is not None and not is_loopback(proxy_host)
    if parts.scheme == "http" and not allow_insecure and remote:
        raise ConfigurationError(
            "base_url is plain http:// by way of a proxy on another host, where the credential "
            "could be read; leave out the proxy, or use allow_insecure=True"
        )
    return url.rstrip("/")


def checked_secret(given: Secret | None, *, what: str, variable: str) -> Secret:
    """
    Return the credential that was *given*, or else the one found in the environment.

    Raises:
        ConfigurationError: There is none, or it cannot stand in a header; it is never repeated.
    """
    secret = Secret(os.environ.get(variable, "")) if given is None else given
    problem = _problem(secret)
    if problem is not None:
        raise ConfigurationError(f"the {what} {problem}; give one, or set {variable}")
    return secret


def _problem(secret: Secret) -> str | None:
    # A frame of its own, which is gone when the error is raised: its locals hold the credential.
    value: object = secret.reveal()
    if not isinstance(value, str):
        return f"must be text, not {type(value).__name__}"
    if not value:
        return "is missing"
    if not value.isascii() or not value.isprintable() or " " in value:
        return "holds blanks or characters that cannot stand in a header"
    return None


def _proxy_host(proxy: object) -> str:
    # Neither may drop what the other sees: urlsplit passes over the ends of lines.
    plain = isinstance(proxy, str) and proxy.isascii() and proxy.isprintable() and " " not in proxy
    host = None
    if plain:
        with contextlib.suppress(ValueError):
            parts = urlsplit(str(proxy))
            if parts.scheme in {"http", "https"} and parts.port != 0:
                host = parts.hostname
    if not host:
        # It may hold a password, so it is not repeated.
        raise ConfigurationError("proxy must be an http:// or https:// URL")
    return host


def is_loopback(host: str) -> bool:
    """Tell whether a URL's host is this machine's loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        name = host.removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")
