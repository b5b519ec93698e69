"""
One call: its attempts, what each of them tells, and what is true of all of them together.

Nothing is raised while attempts are made. An attempt's error becomes the call's only once it speaks
for the whole call: whether an earlier attempt may have landed decides the outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from carevalidate_async._operation import KeyInBody, Operation
from carevalidate_async._policy import why_not_again
from carevalidate_async._retry import Clock, earn, no_charge, repeat
from carevalidate_async._wire import NoReply, Reply, Sealed
from carevalidate_async.errors import (
    AnswerLostError,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Attempt,
    CareValidateError,
    ClientClosedError,
    ConfigurationError,
    GaveUp,
    IdempotencyConflictError,
    Outcome,
)
from carevalidate_async.hooks import AttemptEnded, CallEnded, CallInfo, CallStarted, Event, Hook
from carevalidate_async.models import Answer, Meta, with_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carevalidate_async._config import Settings
    from carevalidate_async._quota import RetryQuota
    from carevalidate_async._secret import Secret
    from carevalidate_async._transport import Transport


def loop_time() -> Callable[[], float]:
    """Return the running event loop's clock."""
    return asyncio.get_running_loop().time


AnswerT = TypeVar("AnswerT", bound=Answer)
RequestT = TypeVar("RequestT")

_logger = logging.getLogger("carevalidate_async")


@attrs.define(kw_only=True)
class _Try(Generic[AnswerT]):
    """
    One attempt and what came of it: an answer, or an error that is not raised yet.

    Attributes:
        attempt: What is recorded of it.

        result: What came of it.

        reply: The vendor's answer, where there was one.

        final: Why it is not to be repeated; None for an answer, and where nothing is against it.
    """

    attempt: Attempt
    result: AnswerT | CareValidateError
    reply: Reply | None
    final: GaveUp | None

    @property
    def again(self) -> bool:
        return isinstance(self.result, CareValidateError) and self.final is None

    @property
    def settled(self) -> bool:
        return self.reply is not None and (
            not isinstance(self.result, CareValidateError)
            or (self.result.outcome is not Outcome.UNKNOWN and not self.result.retryable)
        )

    @property
    def timed_out(self) -> bool:
        return isinstance(self.result, APITimeoutError)

    @property
    def asked_delay(self) -> float | None:
        return self.result.retry_after if isinstance(self.result, APIStatusError) else None


class Call(Generic[RequestT, AnswerT]):
    """The state of one call; each call has its own, so that tasks share nothing."""

    __slots__ = (
        *("_accept_duplicate", "_asked", "_attempts", "_began", "_ends", "_fields", "_info"),
        *("_may_have_landed", "_now", "_on_wire", "_operation", "_quota", "_request", "_sealed"),
        *("_secret", "_settings", "_spend", "_started", "_transport"),
    )

    def __init__(
        self,
        operation: Operation[RequestT, AnswerT],
        request: RequestT,
        *,
        fields: Mapping[str, Any],
        sealed: Sealed,
        accept_duplicate: bool,
        transport: Transport,
        secret: Secret,
        settings: Settings,
        quota: RetryQuota | None,
    ) -> None:
        self._operation = operation
        self._request = request
        self._fields = fields
        self._sealed = sealed
        self._accept_duplicate = accept_duplicate
        self._transport = transport
        self._secret = secret
        self._settings = settings
        self._quota = quota
        self._info: CallInfo  # Only where a hook will see it.
        self._attempts: list[Attempt] = []
        self._may_have_landed = False
        # Of the attempt under way: when it began to wait for a connection, when the wait was over,
        # and whether it may arrive.
        self._asked = 0.0
        self._began: float | None = None
        self._on_wire = False
        self._spend: Callable[[], None] = no_charge
        self._now = loop_time()
        self._started = self._now()
        limit = settings.deadline
        self._ends = None if limit is None else self._started + limit

    async def run(self) -> AnswerT:
        """
        Return the answer.

        Raises:
            CareValidateError: Its `outcome` is that of the whole call.
        """
        answer: AnswerT | None = None
        error: CareValidateError | None = None
        if self._settings.hooks:
            self._info = self._about()
        try:
            if hooks := self._settings.at_start:
                name, key = self._operation.name, self._sealed.idempotency_key
                self._emit(hooks, CallStarted(operation=name, idempotency_key=key, call=self._info))
            # Most calls end here: whatever retries need is not made for them.
            last, stopped = await self._attempt(no_charge), None
            earn(self._quota, last)
            if last.again:
                last, stopped = await self._repeat(last)
            # Before anybody is told: what a hook or a log raises must find the truth settled.
            if isinstance(last.result, CareValidateError):
                error = self._settled(last.result, last.final or stopped)
            else:
                answer = self._with_meta(last.result, last.reply)
            self._tell(last.attempt)
        finally:
            self._end(answer, error)
        if answer is not None:
            return answer
        assert error is not None  # noqa: S101 - for the type checker: one of both is there
        try:
            raise error
        finally:
            # Or it and this frame would hold each other, and all that the callers' frames hold.
            del error, last

    async def _repeat(self, first: _Try[AnswerT]) -> tuple[_Try[AnswerT], GaveUp | None]:
        return await repeat(
            self._attempt,
            policy=self._settings.retry,
            quota=self._quota,
            before_sleep=self._before_sleep,
            deadline=self._ends,
            clock=Clock(now=self._now, sleep=self._transport.rest),
            first=first,
        )

    def _end(self, answer: AnswerT | None, error: CareValidateError | None) -> None:
        """Tell how the call ended; without an answer or an error it was cancelled."""
        cancelled = answer is None and error is None
        outcome = Outcome.RECORDED if error is None else error.outcome
        if cancelled:
            outcome = self._cut_off()
            self._log(
                logging.WARNING,
                "%s cancelled after %d attempts, outcome %s; idempotency key %s",
                self._operation.name,
                len(self._attempts),
                outcome,
                self._sealed.idempotency_key,
            )
        if hooks := self._settings.at_end:
            self._emit(
                hooks,
                CallEnded(
                    operation=self._operation.name,
                    idempotency_key=self._sealed.idempotency_key,
                    attempts=tuple(self._attempts),
                    outcome=outcome,
                    error=error,
                    cancelled=cancelled,
                    elapsed=self._now() - self._started,
                    already_recorded=answer is not None and answer.meta.already_recorded,
                    quota_tokens=None if self._quota is None else self._quota.tokens,
                    call=self._info,
                ),
            )

    def _about(self) -> CallInfo:
        head = self._sealed.head
        return CallInfo.of(method=head.method, url=head.url, template=self._operation.path)

    async def _attempt(self, spend: Callable[[], None]) -> _Try[AnswerT]:
        self._spend = spend
        self._asked = self._now()
        self._began = None
        reply: Reply | None = None
        result: AnswerT | CareValidateError
        try:
            got = await self._transport.send(
                self._sealed,
                attempt_timeout=self._settings.attempt_timeout,
                deadline=self._ends,
                on_turn=self._note_turn,
                on_wire=self._note_on_wire,
            )
        except (ClientClosedError, ConfigurationError) as error:
            # Not raised from here: an earlier attempt may have landed, and the error must say so.
            result = error.with_traceback(None)
        else:
            if isinstance(got, NoReply):
                result = self._lost(got)
            else:
                reply = got
                result = self._operation.read(
                    reply,
                    request=self._request,
                    fields=self._fields,
                    secret=self._secret,
                    now=time.time(),
                )
        self._on_wire = False
        if reply is not None and not isinstance(result, CareValidateError):  # as most end
            attempt = self._noted_attempt("ok", Outcome.RECORDED, reply.status)
            return _Try(attempt=attempt, result=result, reply=reply, final=None)
        return self._noted(self._conflict_as_success(result), reply)

    def _note_turn(self) -> None:
        self._began = self._now()
        self._spend()

    def _note_on_wire(self) -> None:
        self._on_wire = True

    def _lost(self, lost: NoReply) -> APIConnectionError:
        if lost.timed_out:
            kind: type[APIConnectionError] = APITimeoutError
        else:
            kind = AnswerLostError if lost.sent else APIConnectionError
        error = kind(
            f"{self._operation.name}: {lost.what}",
            outcome=Outcome.UNKNOWN if lost.sent else Outcome.NOT_SENT,
            retryable=lost.transient,
        )
        error.__cause__ = lost.cause
        return error

    def _conflict_as_success(
        self, result: AnswerT | CareValidateError
    ) -> AnswerT | CareValidateError:
        """Turn "on record already" into the success it is, where nothing else is to be told."""
        if (
            isinstance(result, IdempotencyConflictError)
            and isinstance(self._operation.idempotency, KeyInBody)
            and self._operation.idempotency.conflict_is_success
            and (self._may_have_landed or self._accept_duplicate)
        ):
            return self._operation.gives(meta=Meta(already_recorded=True))
        return result

    def _noted(self, result: AnswerT | CareValidateError, reply: Reply | None) -> _Try[AnswerT]:
        if isinstance(result, CareValidateError):
            outcome = result.outcome
            happened = type(result).__name__
        else:
            outcome, happened = Outcome.RECORDED, "already recorded"
        status = reply.status if reply is not None else None
        attempt = self._noted_attempt(happened, outcome, status)
        return _Try(attempt=attempt, result=result, reply=reply, final=self._final(result))

    def _final(self, result: AnswerT | CareValidateError) -> GaveUp | None:
        if not isinstance(result, CareValidateError):
            return None
        reason = why_not_again(
            transient=result.retryable,
            outcome=result.outcome,
            repeatable=self._operation.idempotency.repeatable,
        )
        if self._transport.closed and (reason is None or isinstance(result, ClientClosedError)):
            # To wait for a try that cannot be made would only keep the truth back.
            return GaveUp.CLOSED
        return reason

    def _noted_attempt(self, happened: str, outcome: Outcome, status: int | None) -> Attempt:
        now = self._now()
        began = now if self._began is None else self._began
        attempt = Attempt(
            number=len(self._attempts) + 1,
            duration=now - began,
            happened=happened,
            outcome=outcome,
            status=status,
            queued=began - self._asked,
        )
        self._attempts.append(attempt)
        self._may_have_landed |= outcome is Outcome.UNKNOWN
        return attempt

    def _tell(self, attempt: Attempt) -> None:
        self._log(
            logging.DEBUG,
            "%s attempt %d: %s, status %s, %.3f s, idempotency key %s",
            self._operation.name,
            attempt.number,
            attempt.happened,
            attempt.status,
            attempt.duration,
            self._sealed.idempotency_key,
        )
        if hooks := self._settings.at_attempt:
            name, key = self._operation.name, self._sealed.idempotency_key
            self._emit(
                hooks,
                AttemptEnded(operation=name, idempotency_key=key, attempt=attempt, call=self._info),
            )

    def _cut_off(self) -> Outcome:
        """Note the attempt that the cancellation met on the wire; return the call's outcome."""
        if self._on_wire:
            self._tell(self._noted_attempt("cancelled", Outcome.UNKNOWN, None))
        return self._overall(Outcome.NOT_SENT)

    def _overall(self, last: Outcome) -> Outcome:
        """Return what all attempts tell together, the *last* of which tells this."""
        if self._may_have_landed and last is not Outcome.RECORDED:
            return Outcome.UNKNOWN
        refused = any(attempt.outcome is Outcome.REJECTED for attempt in self._attempts)
        return Outcome.REJECTED if refused and last is Outcome.NOT_SENT else last

    def _before_sleep(self, last: _Try[AnswerT], delay: float) -> None:
        self._attempts[-1] = attempt = attrs.evolve(last.attempt, delay=delay)
        self._tell(attempt)
        self._log(
            logging.INFO,
            "%s: trying again in %.3f s after %s, idempotency key %s",
            self._operation.name,
            delay,
            last.attempt.happened,
            self._sealed.idempotency_key,
        )

    def _settled(self, error: CareValidateError, gave_up: GaveUp | None) -> CareValidateError:
        """Make the last attempt's error speak for the whole call."""
        error.outcome = self._overall(error.outcome)
        if error.outcome is Outcome.UNKNOWN and not self._operation.idempotency.repeatable:
            error.retryable = False  # asking again might make a second one
        error.idempotency_key = self._sealed.idempotency_key
        error.attempts = tuple(self._attempts)
        error.gave_up = gave_up
        return error

    def _log(
        self, level: int, message: str, *facts: object, why: BaseException | None = None
    ) -> None:
        if _logger.isEnabledFor(level):
            # A filter that fails must not change what happens to the money.
            with contextlib.suppress(Exception):
                _logger.log(level, message, *facts, exc_info=why, stacklevel=2)

    def _emit(self, hooks: tuple[Hook, ...], event: Event) -> None:
        for hook in hooks:
            try:
                hook(event)
            # A broken hook must not change what happens to the money. It cannot be the caller's
            # cancellation, since nothing is awaited here.
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - and logged
                self._log(logging.ERROR, "a hook failed on %s", type(event).__name__, why=error)

    def _with_meta(self, answer: AnswerT, reply: Reply | None) -> AnswerT:
        assert reply is not None  # noqa: S101 - for the type checker: an answer was read from one
        return with_meta(
            answer,
            Meta(
                idempotency_key=self._sealed.idempotency_key,
                attempts=tuple(self._attempts),
                already_recorded=answer.meta.already_recorded,
                status=reply.status,
                request_id=reply.request_id,
                elapsed=self._now() - self._started,
                headers=reply.headers,
            ),
        )
