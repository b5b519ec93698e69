"""
Calls as lines of a log, with fields: for `logging`, and for structlog.

::

    care = CareValidate(api_key, hooks=[ClientLog()])
    care = CareValidate(api_key, hooks=[ClientLog(structlog.get_logger())])

One line a call, at a level that says how it stands with the money; a line for each retry below
that. The fields are those of a list that stands here: none holds the request, the answer, an id in
a path or a vendor's words, and an error is never handed on as such, since it holds them.
"""

from __future__ import annotations

import logging
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from carevalidate_async.errors import ConfigurationError, Outcome
from carevalidate_async.hooks import AttemptEnded, CallEnded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carevalidate_async.hooks import Event

__all__ = ["FIELDS", "ClientLog", "StructuredLogger"]

FIELDS = (
    *("operation", "outcome", "attempts", "elapsed", "already_recorded", "error_type", "gave_up"),
    *("http_status", "retryable", "method", "path", "origin", "idempotency_key"),
    *("attempt", "happened", "delay"),
)
"""Every field that a line may have; the last three stand in those of retries alone."""

_LEVELS: Mapping[Outcome, int] = {
    Outcome.NOT_SENT: logging.WARNING,
    Outcome.REJECTED: logging.WARNING,
    Outcome.RECORDED: logging.WARNING,
    Outcome.UNKNOWN: logging.ERROR,
}
"""Of calls that raise, or were cancelled."""


class StructuredLogger(Protocol):
    """What is asked of a logger of structlog: its bound ones have it, but for asynchronous ones."""

    def log(self, level: int, event: str, /, **fields: Any) -> Any:  # noqa: ANN401 - structlog's
        """Log an event and its fields."""


class ClientLog:
    """
    A hook that logs calls; one can serve any number of clients.

    A logger of `logging` is given a sentence that can be read alone, and the fields as ``extra``.
    Any other is taken for a bound one of structlog: it is given the name of an event,
    ``payment_call`` or ``payment_retry``, and the fields as arguments. What is None is left out.
    Nobody awaits an ``AsyncBoundLogger``: give its ``sync_bl``.

    | the call | level |
    |---|---|
    | gave an answer | INFO |
    | raised, or was cancelled, and nothing was recorded, or it was before | WARNING |
    | raised, or was cancelled, and may be on record (``unknown``) | ERROR |
    | is tried again | DEBUG |

    Args:
        logger: Where the lines go; ``carevalidate_async.calls`` of `logging` by default.

        idempotency_key: Whether lines say a call's key, by which it can be asked for again.

    Raises:
        ConfigurationError: *logger* is a `logging.LoggerAdapter`, which puts fields of its own in
            the place of these.
    """

    wants: ClassVar[tuple[type[Event], ...]] = (AttemptEnded, CallEnded)

    def __init__(
        self,
        logger: logging.Logger | StructuredLogger | None = None,
        *,
        idempotency_key: bool = True,
    ) -> None:
        if isinstance(logger, logging.LoggerAdapter):
            raise ConfigurationError("a LoggerAdapter would take the fields away; give its logger")
        self._logger = logging.getLogger("carevalidate_async.calls") if logger is None else logger
        self._with_key = idempotency_key

    def __call__(self, event: Event) -> None:
        """Log what happened."""
        if isinstance(event, CallEnded):
            failed = event.cancelled or event.error is not None
            level = _LEVELS[event.outcome] if failed else logging.INFO
            self._log(level, "payment_call", _sentence(event), self._about(event, **_end(event)))
        elif isinstance(event, AttemptEnded) and event.attempt.delay is not None:
            attempt = event.attempt
            self._log(
                logging.DEBUG,
                "payment_retry",
                f"{event.operation}: attempt {attempt.number} met {_met(event)}, "
                f"trying again in {attempt.delay:.3f} s",
                self._about(
                    event,
                    attempt=attempt.number,
                    happened=attempt.happened,
                    outcome=attempt.outcome.value,
                    http_status=attempt.status,
                    elapsed=attempt.duration,
                    delay=attempt.delay,
                ),
            )

    def _about(self, event: CallEnded | AttemptEnded, **more: object) -> dict[str, object]:
        fields: dict[str, object] = {
            "operation": event.operation,
            **more,
            "method": event.call.method,
            "path": event.call.path,
            "origin": event.call.origin,
            "idempotency_key": event.idempotency_key if self._with_key else None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _log(self, level: int, name: str, sentence: str, fields: dict[str, object]) -> None:
        logger = self._logger
        if isinstance(logger, logging.Logger):
            logger.log(level, "%s%s", sentence, self._key_of(fields), extra=fields)
        else:
            told = logger.log(level, name, **fields)
            if iscoroutine(told):
                told.close()
                raise TypeError("nobody awaits an asynchronous logger: give its sync_bl")

    @staticmethod
    def _key_of(fields: Mapping[str, object]) -> str:
        key = fields.get("idempotency_key")
        return "" if key is None else f"; idempotency key {key}"


def _end(event: CallEnded) -> dict[str, object]:
    error = event.error
    last = event.attempts[-1] if event.attempts else None
    return {
        "outcome": event.outcome.value,
        "attempts": len(event.attempts),
        "elapsed": event.elapsed,
        "already_recorded": event.already_recorded or None,
        "error_type": "cancelled" if event.cancelled else error and type(error).__name__,
        "gave_up": error and error.gave_up and error.gave_up.value,
        "retryable": None if error is None else error.retryable,
        "http_status": last and last.status,
    }


def _sentence(event: CallEnded) -> str:
    tries = len(event.attempts)
    pains = f"{tries} attempt{'s' * (tries != 1)}, {event.elapsed:.3f} s"
    if event.cancelled:
        return f"{event.operation}: cancelled, outcome {event.outcome} ({pains})"
    if event.error is not None:
        why = f", gave up: {event.error.gave_up}" if event.error.gave_up else ""
        name = type(event.error).__name__
        return f"{event.operation}: {name}, outcome {event.outcome} ({pains}{why})"
    how = "was on record already" if event.already_recorded else "done"
    return f"{event.operation}: {how} ({pains})"


def _met(event: AttemptEnded) -> str:
    status, happened = event.attempt.status, event.attempt.happened
    if status is None:
        return happened
    return f"HTTP {status}" if status >= 300 else f"{happened} (HTTP {status})"
