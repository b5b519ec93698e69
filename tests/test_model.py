"""
A model of what a caller knows, beside the package, a vendor and every fault of the matrix.

The model knows no more than a user does: what the calls under each key have said of the money.
After each step it is held against what the vendor has on record. What fails, how often, who asks
for what again, who is cancelled and when the client is closed: all of it is drawn, and made smaller
once something is found.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import looptime
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from carevalidate_async import (
    CareValidate,
    CareValidateError,
    ClientClosedError,
    IdempotencyConflictError,
    Outcome,
    RetryPolicy,
    RetryQuota,
)
from carevalidate_async._call import Call
from carevalidate_async.hooks import CallEnded, Event
from carevalidate_async.models import Answer
from carevalidate_async.planocore import Planocore
from faults import FAULTS, HEAVY, led_astray
from marked import ASK, KEYED, Asking
from matrix.vendor import Vendor

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from calls import Client

pytestmark = pytest.mark.deep

T = TypeVar("T")

NOT_ON_RECORD = {Outcome.NOT_SENT, Outcome.REJECTED}
STEPS = st.integers(0, 30)
"""Turns of the event loop; a call that goes well takes about twenty."""
SECONDS = st.sampled_from([0.001, 0.3, 1.5, 10.0, 45.0])
UNASKED = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"success":true}'
ATTEMPTS = st.integers(1, 4)
DEADLINES = st.sampled_from([None, 2.0, 120.0])


def faults(*operations: str, most: int = 4) -> st.SearchStrategy[list[str]]:
    """Some faults, by their ids, which each of *operations* may meet: one a request."""
    known = [FAULTS[operation] for operation in operations]
    shared = [name for name in known[0] if name not in HEAVY and all(name in one for one in known)]
    return st.lists(st.sampled_from(shared), max_size=most)


@attrs.define(eq=False)
class Payment:
    """
    What the model knows of a key.

    Attributes:
        operation: Name of the operation that takes it.

        asking: What is asked for under it.

        said: What the calls under it said.
    """

    operation: str
    asking: Asking
    said: list[Outcome] = attrs.Factory(list)

    @property
    def key(self) -> str:
        """The idempotency key."""
        assert self.asking.key is not None
        return self.asking.key


@attrs.frozen
class Said:
    """
    What a call said.

    Attributes:
        outcome: What it says of the money.

        result: Its answer, its error, or None where it was cancelled.
    """

    outcome: Outcome
    result: Answer | CareValidateError | None


class Money(RuleBasedStateMachine):
    """What callers do, and what must be so whatever they do."""

    payments: Bundle[Payment] = Bundle("payments")

    @initialize()
    def begin(self) -> None:
        """Open a vendor and the clients."""
        self.made: list[Payment] = []
        self.runner = asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0))
        self.loop = self.runner.get_loop()
        self.trouble: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.trouble.append(context))
        self.vendor, self.elsewhere = Vendor(), Vendor()
        self.runner.run(self.vendor.__aenter__())
        self.runner.run(self.elsewhere.__aenter__())
        self._open()

    @rule(
        target=payments,
        operation=st.sampled_from(KEYED),
        planned=faults(*KEYED),
        attempts=ATTEMPTS,
        deadline=DEADLINES,
    )
    def pay(
        self, operation: str, planned: list[str], attempts: int, deadline: float | None
    ) -> Payment:
        """Ask for a new payment."""
        payment = self._new(operation)
        self._run(self._ask(payment, attempts=attempts, deadline=deadline), planned, operation)
        return payment

    @rule(payment=payments, planned=faults(*KEYED), attempts=ATTEMPTS, accept=st.booleans())
    def pay_again(self, payment: Payment, planned: list[str], attempts: int, accept: bool) -> None:
        """Ask once more under the key of an earlier call."""
        again = self._ask(payment, attempts=attempts, accept=accept)
        self._run(again, planned, payment.operation)

    @rule(payment=payments, planned=faults(*KEYED), accept=st.booleans(), apart=STEPS)
    def pay_side_by_side(
        self, payment: Payment, planned: list[str], accept: bool, apart: int
    ) -> None:
        """Ask twice for the same at a time."""

        async def both() -> None:
            first = asyncio.create_task(self._ask(payment, accept=accept))
            await _turns(apart)
            await asyncio.gather(first, self._ask(payment, accept=accept))

        self._run(both(), planned, payment.operation)

    @rule(
        payment=payments,
        planned=faults(*KEYED),
        how=st.sampled_from(["close", "reset", "speak"]),
        noticed=st.booleans(),
    )
    def pay_on_a_spoilt_connection(
        self, payment: Payment, planned: list[str], how: str, noticed: bool
    ) -> None:
        """Ask once the server has ended the kept connections, or spoken on them unasked."""

        async def spoil_and_ask() -> None:
            if how == "speak":
                self.vendor.say_to_all(UNASKED)
            else:
                self.vendor.end_all(how)
            # What comes on a connection at the moment of a request can only be its answer.
            if noticed or how == "speak":
                await asyncio.sleep(0.1)
            await self._ask(payment)
            self.vendor.end_all("reset")

        self._run(spoil_and_ask(), planned, payment.operation)

    @rule(payment=payments, planned=faults(*KEYED), moment=STEPS | SECONDS)
    def cancel(self, payment: Payment, planned: list[str], moment: float) -> None:
        """Ask, and let go in the midst of it."""
        self._run(self._cut_off(payment, moment), planned, payment.operation)

    @rule(
        target=payments,
        operation=st.sampled_from(KEYED),
        planned=faults(*KEYED),
        moment=STEPS | SECONDS,
    )
    def cancel_a_new_one(self, operation: str, planned: list[str], moment: float) -> Payment:
        """Ask for a new payment, and let go in the midst of it."""
        payment = self._new(operation)
        self._run(self._cut_off(payment, moment), planned, operation)
        return payment

    @rule(
        target=payments,
        operation=st.sampled_from(KEYED),
        planned=faults(*KEYED),
        moment=STEPS | SECONDS,
    )
    def close_in_flight(self, operation: str, planned: list[str], moment: float) -> Payment:
        """Close the client while two calls are under way, and open another."""
        payment = self._new(operation)

        async def close() -> None:
            calls = [asyncio.create_task(self._ask(payment)) for _ in range(2)]
            await _pass(moment)
            await self._close()
            await asyncio.gather(*calls)

        self._run(close(), planned, operation)
        self._open()
        return payment

    @rule(operation=st.sampled_from(KEYED))
    def ask_a_closed_client(self, operation: str) -> None:
        """A closed client sends nothing, and says so."""
        payment = self._new(operation)
        seen = len(self.vendor.exchanges)
        self._run(self._close(), [], operation)

        said = self._run(self._ask(payment), [], operation)

        assert ClientClosedError is type(said.result)
        assert Outcome.NOT_SENT is said.outcome
        assert seen == len(self.vendor.exchanges)
        self._open()

    @rule(payment=payments)
    def settle(self, payment: Payment) -> None:
        """Whatever was said before, asking again where nothing fails brings it on record."""
        known = self.vendor.executions[payment.key] > 0

        said = self._run(self._ask(payment, accept=True), [], payment.operation)

        assert Outcome.RECORDED is said.outcome
        if known and payment.operation == "create_case_payment":
            assert IdempotencyConflictError is type(said.result)
        else:
            assert isinstance(said.result, Answer)
            assert known is said.result.meta.already_recorded

    @rule(payment=payments)
    def ask_whether_it_was_there(self, payment: Payment) -> None:
        """Who does not accept a duplicate is told of it, and only then."""
        known = self.vendor.executions[payment.key] > 0

        said = self._run(self._ask(payment), [], payment.operation)

        assert Outcome.RECORDED is said.outcome
        assert known is (IdempotencyConflictError is type(said.result))

    @rule(planned=faults("create_payment_intent"), attempts=ATTEMPTS, moment=st.none() | STEPS)
    def intend(self, planned: list[str], attempts: int, moment: int | None) -> None:
        """An intent is made once at most, whatever fails, and as often as is said."""
        before = self.vendor.executions[None]

        said = self._ask_for("create_payment_intent", planned, attempts, moment)

        made = self.vendor.executions[None] - before
        assert made <= 1
        assert made == {Outcome.RECORDED: 1, Outcome.UNKNOWN: made}.get(said.outcome, 0)

    @rule(
        data=st.data(),
        operation=st.sampled_from(["update_user_payment", "update_payment_method"]),
        attempts=ATTEMPTS,
        moment=st.none() | STEPS,
    )
    def update(
        self, data: st.DataObject, operation: str, attempts: int, moment: int | None
    ) -> None:
        """An update is made when that is said, and not made when that is said."""
        before = self.vendor.executions[None]

        said = self._ask_for(operation, data.draw(faults(operation)), attempts, moment)

        made = self.vendor.executions[None] - before
        if said.outcome is Outcome.RECORDED:
            assert made >= 1
        elif said.outcome in NOT_ON_RECORD:
            assert 0 == made

    @invariant()
    def what_was_said_is_so(self) -> None:
        """Recorded is recorded, and what every call denied is not."""
        for payment in self.made:
            on_record = self.vendor.executions[payment.key] > 0
            assert on_record or Outcome.RECORDED not in payment.said
            assert not on_record or not set(payment.said) <= NOT_ON_RECORD

    @invariant()
    def one_record_a_key(self) -> None:
        """Nothing is on record but under the callers' own keys, each time with the same bytes."""
        keys = {key for key, times in self.vendor.executions.items() if times and key is not None}
        assert keys <= {payment.key for payment in self.made}
        bodies: dict[str, set[bytes]] = {}
        for exchange in self.vendor.exchanges:
            if exchange.body and exchange.key is not None:
                bodies.setdefault(exchange.key, set()).add(exchange.body)
        assert all(len(sent) == 1 for sent in bodies.values())

    @invariant()
    def nothing_is_left_behind(self) -> None:
        """No task outlives its call, nobody else was asked, and the quota is within its bounds."""
        servers = self.vendor.tasks | self.elsewhere.tasks
        assert not asyncio.all_tasks(self.loop) - servers
        assert not self.elsewhere.exchanges
        assert 0 <= self.quota.tokens <= self.quota.capacity
        assert [] == self.trouble

    def teardown(self) -> None:
        """Settle what is open, and close everything."""
        try:
            for payment in self.made:
                if Outcome.UNKNOWN in payment.said:
                    self.settle(payment)
        finally:
            self.runner.run(self._close())
            for vendor in (self.vendor, self.elsewhere):
                self.runner.run(vendor.__aexit__(None, None, None))
            self.runner.close()

    def _open(self) -> None:
        url = f"http://127.0.0.1:{self.vendor.port}"
        # Few enough to be used up.
        self.quota = RetryQuota(50)
        self.care: Client = CareValidate("test", base_url=url, retry_quota=self.quota)
        self.plano: Client = Planocore("test", base_url=url, retry_quota=self.quota)

    async def _close(self) -> None:
        await self.care.aclose()
        await self.plano.aclose()

    def _new(self, operation: str) -> Payment:
        mark = f"mark-{len(self.made)}"
        payment = Payment(operation, Asking(mark=mark, key=f"key of {mark}"))
        self.made.append(payment)
        return payment

    def _run(self, main: Coroutine[Any, Any, T], planned: Sequence[str], operation: str) -> T:
        """Run *main*, whose requests meet the *planned* faults, until all is quiet."""
        known = FAULTS[operation]
        self.vendor.planned.extend(led_astray(known[name], self.elsewhere.port) for name in planned)

        async def until_quiet() -> T:
            result = await main
            # What a call had on the wire when it ended may yet be carried out.
            await asyncio.sleep(100)
            return result

        try:
            return self.runner.run(until_quiet())
        finally:
            self.vendor.planned.clear()

    async def _ask(
        self,
        payment: Payment,
        *,
        attempts: int = 4,
        deadline: float | None = 120.0,
        accept: bool = False,
    ) -> Said:
        """Make a call under a key, and note what it says."""
        asking = attrs.evolve(payment.asking, accept_duplicate=accept)
        events: list[Event] = []
        said = Said(Outcome.NOT_SENT, None)
        client = self.plano if payment.operation == "update_payment_method" else self.care
        asker = client.with_options(
            hooks=[events.append], retry=RetryPolicy(max_attempts=attempts), deadline=deadline
        )
        try:
            answer = await ASK[payment.operation](asker, asking)
            said = Said(Outcome.RECORDED, answer)
        except CareValidateError as error:
            said = Said(error.outcome, error)
        finally:
            # A cancelled call tells its hooks alone.
            ends = [event for event in events if isinstance(event, CallEnded)]
            for end in ends:
                said = attrs.evolve(said, outcome=end.outcome)
            payment.said.append(said.outcome)
        return said

    async def _cut_off(self, payment: Payment, moment: float) -> None:
        task = asyncio.create_task(self._ask(payment))
        await _pass(moment)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def _ask_for(
        self, operation: str, planned: list[str], attempts: int, moment: int | None
    ) -> Said:
        """Make a call of an operation without keys, and perhaps cancel it after some turns."""
        payment = Payment(operation, Asking(mark="mark-0", key=None))

        async def ask() -> Said:
            task = asyncio.create_task(self._ask(payment, attempts=attempts))
            if moment is not None:
                await _turns(moment)
                task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                return task.result()
            return Said(payment.said[0] if payment.said else Outcome.NOT_SENT, None)

        return self._run(ask(), planned, operation)


async def _turns(number: int) -> None:
    """Let the event loop turn, so that a call gets so far and no further."""
    for _ in range(number):
        await asyncio.sleep(0)


async def _pass(moment: float) -> None:
    """Let so many turns pass, or seconds where it is no whole number."""
    if isinstance(moment, int):
        await _turns(moment)
    else:
        await asyncio.sleep(moment)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each cancelled call would bury what failed."""
    caplog.set_level(logging.CRITICAL, "carevalidate_async")


@pytest.mark.timeout(400)  # What is found is made smaller, which takes its time.
def test_what_callers_know_is_so() -> None:
    """
    Whatever callers do and whatever fails, what they have been told of the money is so.
    """
    run_state_machine_as_test(
        Money, settings=settings(max_examples=50, stateful_step_count=25, deadline=None)
    )


@pytest.mark.parametrize(
    ("method", "lie"),
    [
        ("_cut_off", lambda _: Outcome.NOT_SENT),
        ("_conflict_as_success", lambda _, result: result),
        ("_note_on_wire", lambda _: None),
    ],
)
def test_a_lie_is_found(method: str, lie: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A package that does not say what the model expects of it is found out.
    """
    monkeypatch.setattr(Call, method, lie)
    # Found is enough: to make it smaller takes long.
    found = settings(max_examples=60, phases=[Phase.generate], database=None, deadline=None)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Money, settings=found)
