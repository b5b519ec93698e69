"""
The customers of a soak: what they want, and what becomes of it.

A customer comes, makes a call and perhaps gives up in the midst of it; where the outcome is not
known, most come back some time later, as a web server's reconciliation job would.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import date
from decimal import Decimal
from typing import IO, TYPE_CHECKING

import attrs

from benchmarks.soak_clients import NOTES, Notes
from benchmarks.soak_promises import NOT_SENT, ONCE_ONLY, UNKNOWN, Said
from carevalidate_async import (
    CareValidateError,
    CasePaymentRequest,
    Outcome,
    PaymentConfirmation,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    PaymentStatus,
    ShippingAddress,
    UserPaymentUpdate,
)
from carevalidate_async.models import Answer, CasePayment, PaymentIntent
from carevalidate_async.planocore import PaymentMethodUpdate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from benchmarks.soak_clients import Pair, Shop
    from benchmarks.soak_process import Findings, Server

OPERATIONS = {
    "confirm_payment": 50,
    "create_case_payment": 20,
    ONCE_ONLY: 10,
    "update_user_payment": 10,
    "update_payment_method": 10,
}
CASE = "9f0f2f70-f536-4b1d-8ed4-c831f4a4bcab"
DAY = date(2026, 11, 2)
HOME = ShippingAddress(
    address_line1="1 Example Street", city="Denver", state="CO", country="US", postal_code="80014"
)
# How many come at the same moment, now and then.
CROWD = 60
STORMS = ("gone", "storm REFUSE", "storm DROP_AFTER", "gone", "storm HANG_AFTER", "storm TRUNCATE")


@attrs.frozen(kw_only=True)
class Thing:
    """
    Something that a customer wants to be on record.

    Attributes:
        number: Its number, which its request holds as ``thing-`` and the number.

        operation: Name of the operation.

        amount: US dollars, where there is an amount.

        refused: Whether the vendor is to refuse it.
    """

    number: int
    operation: str
    amount: Decimal
    refused: bool

    async def ask(self, pair: Pair, key: str | None, *, accept: bool) -> Answer:
        """Make a call for it."""
        name = f"thing-{self.number}"
        email = f"{name}@{'unknown' if self.refused else 'soak'}.example"
        match self.operation:
            case "confirm_payment":
                payment = PaymentConfirmation(
                    case_id=name,
                    amount=self.amount,
                    payment_date=DAY,
                    valid_until=DAY,
                    status=PaymentStatus.PAID,
                    idempotency_key=key,
                )
                return await pair.care.confirm_payment(payment, accept_duplicate=accept)
            case "create_case_payment":
                request = CasePaymentRequest(
                    amount=self.amount, description=name, idempotency_key=key
                )
                return await pair.care.create_case_payment(CASE, request)
            case "create_payment_intent":
                intent = PaymentIntentRequest(
                    amount=self.amount,
                    payment_method_types=("unknown" if self.refused else "card",),
                    metadata=PaymentIntentMetadata(email=email),
                )
                return await pair.care.create_payment_intent(intent)
            case "update_user_payment":
                update = UserPaymentUpdate(
                    email=email,
                    stripe_setup_id="seti_1",
                    nmi_payment_token="nmi_1",  # noqa: S106 - nobody's
                    shipping_address=HOME,
                )
                return await pair.care.update_user_payment(update)
            case _:
                change = PaymentMethodUpdate(name_on_card=name)
                return await pair.plano.update_payment_method(self.number + 1, change)


class Traffic:
    """
    The customers of one phase.

    Args:
        server: The sandbox.

        shop: The clients.

        chance: Decides.

        findings: Where what is seen is kept.

        diary: Takes a line for each call. Kept in a file, what the calls said is none of the memory
            that is looked at.

        rate: Customers a second.

        concurrency: Calls side by side.
    """

    def __init__(
        self,
        *,
        server: Server,
        shop: Shop,
        chance: Random,
        findings: Findings,
        diary: IO[str],
        rate: float,
        concurrency: int,
    ) -> None:
        self._server = server
        self._shop = shop
        self._chance = chance
        self._findings = findings
        self._diary = diary
        self._rate = rate
        self._slots = asyncio.Semaphore(concurrency)
        self._calm = asyncio.Event()

    async def flow(self, numbers: Iterator[int], seconds: float) -> None:
        """Let customers come for *seconds*, then see all of them off while the sandbox is well."""
        async with asyncio.TaskGroup() as group:
            ongoing = [
                group.create_task(self._customers(group, numbers)),
                group.create_task(self._replacements(min(8, seconds))),
                group.create_task(self._measurements()),
            ]
            await self._weather(seconds)
            await self._server.tell("calm")
            self._calm.set()
            ongoing[0].cancel()
            ongoing[2].cancel()

    async def _weather(self, seconds: float) -> None:
        """Have the sandbox fail wholly for 2 seconds of each 20, or a tenth of a shorter time."""
        period = min(20.0, seconds)
        await self._server.tell("tour")
        ends = asyncio.get_running_loop().time() + seconds
        storms = list(STORMS)
        # Another order each time, or the short phases would see the first kind alone.
        self._chance.shuffle(storms)
        while (left := ends - asyncio.get_running_loop().time()) >= period * 0.9:
            await asyncio.sleep(period * 0.45)
            storms.append(storm := storms.pop(0))
            await self._server.tell(storm)
            self._findings.counts["met outages"] += 1
            await asyncio.sleep(period * 0.1)
            await self._server.tell("usual")
            await asyncio.sleep(period * 0.45)
        await asyncio.sleep(max(0, left))

    async def _customers(self, group: asyncio.TaskGroup, numbers: Iterator[int]) -> None:
        together = 0
        for number in numbers:
            # Who finds all places taken waits at the door, so that a slow machine is not overrun.
            async with self._slots:
                pass
            group.create_task(self._customer(number))
            if together:
                together -= 1
                continue
            if self._chance.random() < 0.005:
                together = CROWD
            await asyncio.sleep(self._chance.expovariate(self._rate))

    async def _replacements(self, longest: float) -> None:
        while not await self._calm_within(self._chance.uniform(0, longest)):
            await self._shop.replace()

    async def _measurements(self) -> None:
        while True:
            self._findings.measure()
            await asyncio.sleep(0.2)

    async def _calm_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._calm.wait(), seconds)
        return self._calm.is_set()

    async def _customer(self, number: int) -> None:
        """Want something, until it is on record, or refused, or not worth it any more."""
        chance = self._chance
        thing = Thing(
            number=number,
            operation=chance.choices(list(OPERATIONS), list(OPERATIONS.values()))[0],
            amount=Decimal(chance.randint(1, 99_999)) / 100,
            refused=chance.random() < 0.03,
        )
        # Who gives no key learns it from the error or, where he gave up, from the hooks.
        key = f"soak-{number}" if chance.random() < 0.5 else None
        if key is not None and thing.operation != ONCE_ONLY and chance.random() < 0.04:
            self._findings.counts["met asked twice at once"] += 1
            _, said = await asyncio.gather(self._call(thing, key), self._call(thing, key))
        else:
            said = await self._call(thing, key)
        asked_in_calm = 0
        while self._wants_more(said):
            key = said.key or key
            await self._calm_within(chance.uniform(0.05, 3))
            asked_in_calm += self._calm.is_set()
            self._findings.counts["met asked again later"] += 1
            said = await self._call(thing, key)
            if asked_in_calm == 5 and said.outcome == UNKNOWN:
                self._findings.wrong[f"{said.operation} stays unknown, however often asked"] += 1
                break

    def _wants_more(self, said: Said) -> bool:
        if said.outcome == UNKNOWN:
            # What must not be done twice is not asked again; a few lose interest.
            return said.operation != ONCE_ONLY and self._chance.random() < 0.95
        return said.outcome in {NOT_SENT, None} and self._chance.random() < 0.5

    async def _call(self, thing: Thing, key: str | None) -> Said:
        async with self._slots:
            calm = self._calm.is_set()
            pair = self._shop.patient() if calm else self._shop.pick()
            accept = self._chance.random() < 0.5
            notes = Notes()

            async def ask(limit: float | None) -> Answer:
                NOTES.set(notes)
                async with asyncio.timeout(limit):
                    return await thing.ask(pair, key, accept=accept)

            # From before the first step to after the last, and short times as often as long ones.
            moment = 10 ** self._chance.uniform(-4, 0)
            dice = 1.0 if calm else self._chance.random()
            task = asyncio.create_task(ask(moment if dice < 0.04 else None))
            # The second one comes while it is ending.
            strokes = (moment, moment + 1e-4) if dice >= 0.07 else (moment,)
            timers = [
                asyncio.get_running_loop().call_later(stroke, task.cancel)
                for stroke in (strokes if 0.04 <= dice < 0.08 else ())
            ]
            await asyncio.wait((task,))
            for timer in timers:
                timer.cancel()  # It would keep the call in memory until its time has come.
            said = _said(thing, key, notes, task, may_end=dice < 0.08)
            self._diary.write(said.line() + "\n")
            self._count(said)
            return said

    def _count(self, said: Said) -> None:
        counts = self._findings.counts
        counts["calls"] += 1
        counts["attempts"] += said.watched
        counts[f"outcome {said.outcome or 'not begun'}"] += 1
        counts[f"end {said.how}"] += 1


def _said(
    thing: Thing, key: str | None, notes: Notes, task: asyncio.Task[Answer], *, may_end: bool
) -> Said:
    """Return what a call said, well or not."""
    outcome = None if notes.hooked is None else str(notes.hooked)
    how, strange, told, name = "cancelled", None, None, None
    error = None if task.cancelled() else task.exception()
    if task.cancelled() or isinstance(error, TimeoutError):
        strange = None if may_end else "nobody had cancelled it"
    elif error is None:
        answer = task.result()
        how, outcome, told = "returned", str(Outcome.RECORDED), len(answer.meta.attempts)
        key, name = answer.meta.idempotency_key, _id(answer)
    elif isinstance(error, CareValidateError):
        how, outcome, told = type(error).__name__, str(error.outcome), len(error.attempts)
        key = error.idempotency_key or key
    else:
        how, strange = type(error).__name__, f"is no error of the package: {error!r}"
    if notes.key is not None and key is not None and notes.key != key:
        strange = f"began under the key {notes.key} and ended under {key}"
    payment = thing.operation not in {"update_user_payment", "update_payment_method"}
    return Said(
        thing=thing.number,
        operation=thing.operation,
        how=how,
        strange=strange,
        outcome=outcome,
        hooked=None if notes.hooked is None else str(notes.hooked),
        key=notes.key or key,
        told=told,
        watched=notes.watched,
        on_wire=notes.on_wire,
        answered=notes.answered,
        started=notes.started,
        ended=notes.ended,
        id=name,
        amount=str(thing.amount) if payment else None,
    )


def _id(answer: Answer) -> str | None:
    match answer:
        case CasePayment():
            return answer.payment_id
        case PaymentIntent():
            return answer.payment_intent_secret.partition("_secret_")[0]
        case _:
            return None
