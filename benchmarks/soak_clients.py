"""The clients of a soak: opened, watched, copied, replaced in the midst of calls, and closed."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

from carevalidate_async import (
    AttemptEnded,
    CallEnded,
    CallStarted,
    CareValidate,
    Outcome,
    RetryPolicy,
    RetryQuota,
)
from carevalidate_async.planocore import Planocore

if TYPE_CHECKING:
    from random import Random

    from benchmarks.soak_process import Findings
    from carevalidate_async import CallOptions, ClientOptions, Event

BRISK = RetryPolicy(base_delay=0.05, max_delay=0.5, max_retry_after=2)
OPTIONS: tuple[CallOptions, ...] = (
    {"attempt_timeout": 0.2},
    {"deadline": 0.4},
    {"deadline": None},
    {"retry": RetryPolicy(max_attempts=1)},
    {"retry": RetryPolicy(max_attempts=8, base_delay=0, max_delay=0)},
)
# The patience of somebody who wants to know at last.
CALM: CallOptions = {"attempt_timeout": 30, "deadline": 120, "retry": RetryPolicy()}
# Less than the calls there may be side by side, so that some wait for a connection.
CONNECTIONS = 16


@attrs.define(kw_only=True)
class Notes:
    """What the hooks see of one call."""

    key: str | None = None
    hooked: Outcome | None = None
    watched: int = 0
    on_wire: int = 0
    answered: int = 0
    started: int = 0
    ended: int = 0

    def take(self, event: Event) -> None:
        """Note an event."""
        match event:
            case CallStarted():
                self.started += 1
                self.key = event.idempotency_key
            case AttemptEnded():
                self.watched += 1
                self.on_wire += event.attempt.outcome is not Outcome.NOT_SENT
                self.answered += event.attempt.status is not None
            case CallEnded():
                self.ended += 1
                self.hooked = event.outcome


# Hooks are called in the task of the call, so that each finds its own.
NOTES: ContextVar[Notes] = ContextVar("NOTES")


@attrs.frozen(kw_only=True)
class Pair:
    """A client of each vendor."""

    care: CareValidate
    plano: Planocore

    def with_options(self, options: CallOptions) -> Pair:
        """Return copies."""
        return Pair(
            care=self.care.with_options(**options), plano=self.plano.with_options(**options)
        )

    async def aclose(self) -> None:
        """Close both."""
        await self.care.aclose()
        await self.plano.aclose()


class Shop:
    """
    The clients: a pair that stays for a phase, and one that is replaced now and then.

    Args:
        url: Where the sandbox is.

        chance: Decides.

        findings: Where what is seen is kept.
    """

    def __init__(self, url: str, chance: Random, findings: Findings) -> None:
        self._url = url
        self._chance = chance
        self._findings = findings
        self._quotas: list[RetryQuota] = []
        self._staying = self._opened()
        self._passing = self._opened()

    def _opened(self) -> Pair:
        # Some share what pays for retries, as the clients of one process may.
        quota = self._quotas[0] if self._quotas and self._chance.random() < 0.5 else RetryQuota()
        self._quotas = [*self._quotas[-3:], quota]

        options: ClientOptions = {
            "attempt_timeout": 1,
            "deadline": 5,
            "retry": BRISK,
            "retry_quota": quota,
            "hooks": [self._watch],
            "max_connections": CONNECTIONS,
        }
        return Pair(
            care=CareValidate("test", base_url=self._url, **options),
            plano=Planocore("test", base_url=self._url, **options),
        )

    def _watch(self, event: Event) -> None:
        NOTES.get().take(event)
        for quota in self._quotas:
            self._findings.look_at(quota)

    def pick(self) -> Pair:
        """Return a pair for a call; sometimes a copy with other options."""
        pair = self._chance.choice((self._staying, self._passing))
        if self._chance.random() < 0.2:
            self._findings.counts["met copies with other options"] += 1
            return pair.with_options(self._chance.choice(OPTIONS))
        return pair

    def patient(self) -> Pair:
        """Return a pair for who wants to know at last."""
        return self._staying.with_options(CALM)

    async def replace(self) -> None:
        """Open another passing pair; the one before is closed at once, or a moment later."""
        old, self._passing = self._passing, self._opened()
        self._findings.counts["met clients reopened"] += 2
        await asyncio.sleep(self._chance.choice((0, 0.01, 1)))
        await old.aclose()

    async def aclose(self) -> None:
        """Close them all."""
        await self._passing.aclose()
        await self._staying.aclose()
