"""
One of the vendors' operations: everything there is to say about it, said once.

The client's method, the sandbox's route, the command line and the tests all read these constants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

import attrs

from carevalidate_async._codec import WireError, encode
from carevalidate_async._dialect import (
    BodySecret,
    Dialect,
    HeaderSecret,
    No,
    Unreadable,
    blank_out,
    judge,
    refusal_for_status,
)
from carevalidate_async._private import private_texts
from carevalidate_async._wire import Head, Reply, Sealed
from carevalidate_async.errors import (
    APIStatusError,
    CareValidateError,
    InvalidRequestError,
    Outcome,
    ResponseDecodeError,
)
from carevalidate_async.idempotency import checked_key
from carevalidate_async.models import Answer

if TYPE_CHECKING:
    from carevalidate_async._secret import Secret

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT", bound=Answer)


@attrs.frozen(kw_only=True)
class KeyInBody:
    """
    The vendor refuses a second record under one key, so repeating is safe.

    Attributes:
        field: The wire's name of the key.

        conflict_is_success: Whether "on record already" is all that the caller needs to hear. False
            where the answer holds facts that a conflict does not repeat.
    """

    field: str
    conflict_is_success: bool
    repeatable = True


@attrs.frozen
class SetsState:
    """The request says how things shall be, so repeating it is harmless."""

    repeatable = True


@attrs.frozen
class OnceOnly:
    """Each arrival does something new: only a request that surely did not arrive is repeated."""

    repeatable = False


_SHORT = 64  # bytes
_MOST_REMEMBERED = 16
_NO_CHANCE = 8  # characters; a shorter text may be in an answer by chance
_LONG_NUMBER = re.compile(r"[0-9]{10}")  # as long as a phone number


def as_it_is(fields: dict[str, Any]) -> dict[str, Any]:
    """Return *fields*: the model's fields are the body's."""
    return fields


@attrs.frozen(kw_only=True, repr=False, eq=False)
class Operation(Generic[RequestT, AnswerT]):
    """
    An operation of a vendor.

    Attributes:
        name: The client's method.

        method: HTTP method.

        path: Path under the origin; ``{case_id}`` stands for a parameter.

        takes: Class of the request.

        gives: Class of the answer.

        dialect: The vendor's way of talking.

        idempotency: What makes a repeat safe, if anything does.

        shape: Puts the model's fields where the body wants them.

        result: Names that lead from the answer's object to the data.

        echo: Fields beside the model's that the answer class repeats, since the vendor does not.
    """

    name: str
    method: str
    path: str
    takes: type[RequestT]
    gives: type[AnswerT]
    dialect: Dialect
    idempotency: KeyInBody | SetsState | OnceOnly
    shape: Callable[[dict[str, Any]], dict[str, Any]] = as_it_is
    result: tuple[str, ...] = ()
    echo: tuple[str, ...] = ()
    _yes: set[tuple[int, bytes]] = attrs.field(init=False, factory=set)
    """Answers that said yes and no more, as they came: most are the same, byte by byte."""

    def __repr__(self) -> str:
        return f"<{self.dialect.name} {self.name}: {self.method} {self.path}>"

    def head(
        self,
        *,
        origin: str,
        secret: Secret,
        headers: Mapping[str, str],
        path: Mapping[str, str],
    ) -> Head:
        """
        Return where requests go, and their headers, the sender's credential among them.

        Args:
            origin: Scheme, host and port, without a slash at the end.

            secret: The credential.

            headers: Headers that every request has.

            path: Values of the path's parameters.

        Raises:
            InvalidRequestError: A parameter of the path is unusable.
        """
        # First: the credential is no local variable yet, should it be refused.
        url = origin + self.path.format_map({k: _segment(k, v) for k, v in path.items()})
        match self.dialect.secret:
            case HeaderSecret(name):
                headers = {**headers, name: secret.reveal()}
        return Head(self.method, url, headers)

    def seal(
        self, request: RequestT, *, head: Head, secret: Secret, fields: Mapping[str, Any]
    ) -> Sealed:
        """
        Return *request* as the bytes that every attempt sends, its key made.

        Args:
            request: What to ask for.

            head: Where it goes, from `head`.

            secret: The credential.

            fields: Fields of the body beside the model's.

        Raises:
            InvalidRequestError: The idempotency key is unusable.
        """
        body = self.shape(self.dialect.codec.dump(request))
        if fields:
            body = {**fields, **body}
        key = None
        idempotency = self.idempotency
        if isinstance(idempotency, KeyInBody):
            body[idempotency.field] = key = checked_key(body.get(idempotency.field))
        where = self.dialect.secret
        if isinstance(where, BodySecret):
            body[where.name] = secret.reveal()
        return Sealed(head=head, body=encode(body), idempotency_key=key)

    def read(
        self,
        reply: Reply,
        *,
        request: RequestT,
        fields: Mapping[str, Any],
        secret: Secret,
        now: float,
    ) -> AnswerT | CareValidateError:
        """
        Return the typed answer in *reply*, or the error that it is; raises nothing.

        The error speaks for this reply alone: its `outcome` is not yet that of the call.

        Args:
            reply: Any status, any bytes.

            request: What was asked for; its private texts are kept out of the error's text.

            fields: Fields of the body beside the model's, as they were sealed.

            secret: The credential, likewise.

            now: POSIX time, for a Retry-After that is a date.
        """
        if (reply.status, reply.body) in self._yes:
            return self.gives()
        verdict = judge(self.dialect, reply)
        if isinstance(verdict, No):
            return self._error(verdict, reply, (*private_texts(request), secret.reveal()), now)
        reason = verdict.reason if isinstance(verdict, Unreadable) else ""
        if not isinstance(verdict, Unreadable):
            try:
                echo = {name: fields[name] for name in self.echo} if self.echo else {}
                answer = self._load(verdict.document, echo)
            except WireError as error:
                reason = str(error)
            else:
                self._remember(reply, answer)
                return answer
        return ResponseDecodeError(
            f"{self.name}: HTTP {reply.status} that cannot be read: {reason}",
            status=reply.status,
            request_id=reply.request_id,
            outcome=Outcome.UNKNOWN,
            retryable=True,
        )

    def _remember(self, reply: Reply, answer: AnswerT) -> None:
        """Note an answer that tells nothing about anybody: it need not be read again."""
        bare = len(attrs.fields(self.gives)) == len(attrs.fields(Answer))
        if bare and not answer.extra and len(reply.body) <= _SHORT:
            if len(self._yes) >= _MOST_REMEMBERED:
                self._yes.clear()
            self._yes.add((reply.status, reply.body))

    def _load(self, document: Mapping[str, Any], echo: Mapping[str, Any]) -> AnswerT:
        data: Any = document
        around: dict[str, Any] = {}
        hidden = self.dialect.envelope
        for name in self.result:
            around |= {k: v for k, v in data.items() if k != name and k not in hidden}
            data = data.get(name)
            hidden = frozenset()
            if not isinstance(data, dict):
                msg = f"{name} is not an object"
                raise WireError(msg)
        own = {k: v for k, v in data.items() if k not in hidden}
        if echo:
            own |= echo
        answer = self.dialect.codec.load(self.gives, own)
        return attrs.evolve(answer, extra={**around, **answer.extra}) if around else answer

    def _error(self, no: No, reply: Reply, private: tuple[str, ...], now: float) -> APIStatusError:
        refusal = no.refusal
        if refusal.outcome is Outcome.RECORDED and not isinstance(self.idempotency, KeyInBody):
            refusal = refusal_for_status(409)  # whose key? none was sent
        told = no.message if no.message is not None else no.shape
        words = f"{no.code}: {told}" if no.code else told
        # Only the vendor's words are blanked: a description "payment" must not hide ours.
        summary = f"{self.name}: HTTP {reply.status}{' ' if no.code else ': '}"
        code = no.code
        # It goes into journals, and one that nobody documents may be a text of the request's.
        if code is not None and code not in self.dialect.refusals and _repeats(code, private):
            code = None
        return refusal.error(
            summary + blank_out(words, private),
            status=reply.status,
            code=code,
            message=_without(private[-1], no.message),
            body=no.body,
            request_id=reply.request_id,
            retry_after=reply.retry_after(now),
            outcome=refusal.outcome,
            retryable=refusal.transient,
        )


def _segment(name: str, value: str) -> str:
    """Return *value* as one segment of a path; refuse one that would lead elsewhere."""
    if value in {"", ".", ".."}:
        raise InvalidRequestError(name, "cannot stand in a path")
    return quote(value, safe="")


def _repeats(code: str, private: tuple[str, ...]) -> bool:
    """Tell whether *code* is one of the *private* texts, or holds one, not just by chance."""
    told = code.casefold()
    return bool(_LONG_NUMBER.search(code)) or any(
        text.casefold() == told or (len(text) >= _NO_CHANCE and text.casefold() in told)
        for text in private
    )


def _without(credential: str, message: str | None) -> str | None:
    """Return *message*, should it repeat the *credential*, without: it is for people to read."""
    if message is None or len(credential) < _NO_CHANCE:
        return message
    return message.replace(credential, "[hidden]")
