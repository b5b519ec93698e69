"""
Ten thousand calls under random faults, random cancellations, random deadlines and policies: what
each of them says of the money is so.

Each request draws its fault when it arrives, whichever call it is of. Each call has a mark in its
body, by which the vendor's side knows whose request it carries out. When all is quiet, what was
said is held against what was done.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import pathlib
import random
import re
import socket
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest

import virtual
from carevalidate_async import (
    Attempt,
    CareValidate,
    CareValidateError,
    Outcome,
    RetryPolicy,
    RetryQuota,
)
from carevalidate_async._call import Call
from carevalidate_async._operation import OnceOnly
from carevalidate_async._transport import Transport
from carevalidate_async.hooks import CallEnded, Event, Hook
from carevalidate_async.planocore import Planocore
from faults import FAULTS, HEAVY, led_astray
from marked import ASK, KEYED, Asking
from matrix.play import HOST, Road
from matrix.vendor import OPERATIONS, WELL, Exchange, Step, Vendor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aiohttp.abc import ResolveResult

    from calls import Client
    from carevalidate_async._config import CallOptions
    from carevalidate_async._wire import NoReply, Reply, Sealed

pytestmark = pytest.mark.deep

CALLS = 1_000
AT_A_TIME = 50
CONNECTIONS = 40
QUOTA = 750
NOT_ON_RECORD = {Outcome.NOT_SENT, Outcome.REJECTED}
OPEN_FILES = pathlib.Path("/proc/self/fd")
_MARK = re.compile(rb"mark-[0-9]+")


@attrs.define(kw_only=True)
class BadRoad(Road):
    """
    A way to the vendor on which every tenth connection fails.

    Attributes:
        chance: Says which, and how.
    """

    chance: random.Random

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the address for a connection that is made now."""
        if self.chance.random() < 0.1:
            self.planned.append(self.chance.choice(["dns fails", "dns hangs", "refused"]))
        return await super().resolve(host, port, family)


class Witness(Vendor):
    """
    A vendor that fails by chance, and notes whose requests it carries out.

    Args:
        draw: Gives what a request meets.

    Attributes:
        done: The keys of the requests carried out, by their mark.
    """

    def __init__(self, draw: Callable[[], Iterable[Step]]) -> None:
        super().__init__()
        self._draw = draw
        self.done: defaultdict[str, list[str | None]] = defaultdict(list)

    def next_steps(self, exchange: Exchange) -> Iterable[Step]:
        """Return what the request that has just come meets."""
        return self._draw()

    async def _take(self, step: Step, exchange: Exchange, writer: asyncio.StreamWriter) -> None:
        if "record" in step:
            self.done[mark_of(exchange)].append(exchange.key)
        await super()._take(step, exchange, writer)


def mark_of(exchange: Exchange) -> str:
    """Return the mark of the call that a whole request is of."""
    found = _MARK.search(exchange.body)
    assert found is not None
    return found[0].decode()


@attrs.frozen(kw_only=True)
class Told:
    """
    What a call said when it ended.

    Attributes:
        mark: What stood in its body.

        outcome: What it said of the money.

        attempts: What it counted.

        how: ``success``, the class of the error, ``cancelled``, or ``not begun``.
    """

    mark: str
    outcome: Outcome
    attempts: tuple[Attempt, ...]
    how: str


class Storm:
    """
    Many calls of one operation on one client, and all that can happen to them.

    Args:
        operation: Name of the operation.

        calls: Their number.

        seed: Of all that is random.

        bad_road: Whether some connections cannot be made. Where all can, the client has the
            package's own connector.

    Attributes:
        told: What the calls said.

        met: The faults that requests met, by their id.

        problems: What was said and is not so, and what was left behind.
    """

    def __init__(self, operation: str, *, calls: int, seed: str, bad_road: bool = False) -> None:
        self.operation = operation
        self._bad_road = bad_road
        self.told: list[Told] = []
        self.met: Counter[str] = Counter()
        self.problems: list[str] = []
        self.requests = 0
        self._calls = calls
        self._random = random.Random(f"{seed} {operation}")
        self._faults = FAULTS[operation]
        self._names = [*self._faults]
        self._weights = [*itertools.accumulate(0.1 if name in HEAVY else 1 for name in self._names)]
        self._quota = RetryQuota(QUOTA)
        self._asked: list[Asking] = []

    def run(self) -> None:
        """Let it rage, and judge."""
        # The delays between attempts are of the package's own making, and of this generator's.
        state = random.getstate()
        random.seed(self._random.random())
        try:
            virtual.run(self._run())
        finally:
            random.setstate(state)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.problems.append(f"loop: {context}"))
        elsewhere = Vendor()
        async with elsewhere, Witness(lambda: self._draw(elsewhere.port)) as vendor:
            self._vendor = vendor
            around = asyncio.all_tasks()
            if self._bad_road:
                await self._all_calls_on_a_bad_road()
            else:
                await self._all_calls(f"http://127.0.0.1:{vendor.port}", None)
            # What a cancelled call had on the wire may arrive after its end, and be carried out.
            await asyncio.sleep(120)
            self.requests = len(vendor.exchanges)
            self._judge(vendor)
            if elsewhere.exchanges:
                self.problems.append("another host was asked")
            left = asyncio.all_tasks() - around - vendor.tasks
            if left:
                self.problems.append(f"tasks left: {left}")

    def _draw(self, elsewhere: int) -> Iterable[Step]:
        if self._random.random() < 0.3:
            return WELL
        (name,) = self._random.choices(self._names, cum_weights=self._weights)
        self.met[name] += 1
        fault = self._faults[name]
        return led_astray(fault, elsewhere) if name.endswith("other-host") else fault

    async def _all_calls_on_a_bad_road(self) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # and not listening
            road = BadRoad(
                vendor=self._vendor,
                scheme="http",
                bad_port=closed.getsockname()[1],
                chance=self._random,
            )
            async with aiohttp.TCPConnector(
                limit=0, resolver=road, use_dns_cache=False
            ) as connector:
                await self._all_calls(f"http://{HOST}", connector)
            self.met["no connection"] += road.consumed

    async def _all_calls(self, url: str, connector: aiohttp.BaseConnector | None) -> None:
        vendor = Planocore if self.operation == "update_payment_method" else CareValidate
        numbers = iter(range(self._calls))
        async with vendor(
            "test",
            base_url=url,
            max_connections=CONNECTIONS,
            retry_quota=self._quota,
            connector=connector,
        ) as client:
            async with asyncio.TaskGroup() as workers:
                for _ in range(AT_A_TIME):
                    workers.create_task(self._work(client, numbers))
            if not 0 <= self._quota.tokens <= self._quota.capacity:
                self.problems.append(f"{self._quota} after all")

    async def _work(self, client: Client, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number % 500 == 499:
                # The server is restarted, say.
                self._vendor.end_all(self._random.choice(["close", "reset"]))
            await self._call(client, self._next(number))
            if not 0 <= self._quota.tokens <= self._quota.capacity:
                self.problems.append(f"{self._quota}")

    def _next(self, number: int) -> Asking:
        chance = self._random
        if self.operation in KEYED and self._asked and chance.random() < 0.2:
            # Again: after its end, or while it is under way, by somebody who does not know.
            earlier = chance.choice(self._asked[-2 * AT_A_TIME :])
            return attrs.evolve(earlier, accept_duplicate=chance.random() < 0.5)
        mark = f"mark-{number}"
        asking = Asking(mark=mark, key=f"key of {mark}" if chance.random() < 0.8 else None)
        if asking.key is not None:
            self._asked.append(asking)
        return asking

    async def _call(self, client: Client, asking: Asking) -> None:
        events: list[Event] = []
        asker = client.with_options(**self._options(events.append))
        task = asyncio.create_task(self._ask(asker, asking))
        cancelled = await self._disturb(task)
        await asyncio.wait([task])
        if cancelled and not task.cancelled():
            self.problems.append(f"{asking.mark}: it was cancelled and went on")
        self._take_down(asking.mark, task, events)

    def _options(self, hook: Hook) -> CallOptions:
        choice = self._random.choice
        return {
            "hooks": [hook],
            "deadline": choice([None, 0.5, 2, 10, 60, 120, 300]),
            "attempt_timeout": choice([0.2, 1, 5, 30, 30, 30]),
            "retry": RetryPolicy(
                max_attempts=choice([1, 2, 3, 4, 4, 6]),
                base_delay=choice([0, 0.1, 0.5, 2]),
                max_delay=choice([0, 1, 8]),
                max_retry_after=choice([0, 5, 60]),
            ),
        }

    async def _ask(self, client: Client, asking: Asking) -> object:
        """Make the call, sometimes under a timeout of the caller's."""
        ask = ASK[self.operation]
        if self._random.random() < 0.8:
            return await ask(client, asking)
        async with asyncio.timeout(self._moment()):
            return await ask(client, asking)

    def _moment(self) -> float:
        """Return seconds: as likely as not within the first one, hardly ever beyond a minute."""
        return self._random.choice([0.001, 0.1, 1, 10]) * self._random.expovariate(1)

    async def _disturb(self, task: asyncio.Task[object]) -> bool:
        """Cancel the call, or leave it alone; tell whether it was under way still."""
        dice = self._random.random()
        if dice < 0.7:
            return False
        if dice < 0.8:
            await asyncio.wait([task], timeout=self._moment())
        else:
            # Between two steps of the call: a simulated second does not pass in the midst of them.
            for _ in range(self._random.choice([0, 1, 2, 3, 5, 8, 13, 21])):
                await asyncio.sleep(0)
        cancelled = task.cancel()
        if dice > 0.95:
            await asyncio.sleep(0)
            task.cancel()  # An impatient one.
        return cancelled

    def _take_down(self, mark: str, task: asyncio.Task[object], events: Sequence[Event]) -> None:
        error = None if task.cancelled() else task.exception()
        cut_off = task.cancelled() or isinstance(error, TimeoutError)
        if cut_off and not events:
            self.told.append(
                Told(mark=mark, outcome=Outcome.NOT_SENT, attempts=(), how="not begun")
            )
            return
        ends = [event for event in events if isinstance(event, CallEnded)]
        if len(ends) != 1:
            self.problems.append(f"{mark}: {len(ends)} ends of one call")
            return
        (end,) = ends
        told = Told(
            mark=mark,
            outcome=end.outcome,
            attempts=end.attempts,
            how="cancelled" if cut_off else "success" if error is None else type(error).__name__,
        )
        self.told.append(told)
        if isinstance(error, CareValidateError):
            if (end.error, end.outcome, end.attempts) != (error, error.outcome, error.attempts):
                self.problems.append(f"{mark}: the hook and the error differ")
        elif error is not None and not cut_off:
            self.problems.append(f"{mark}: {error!r}")
        if end.cancelled is not cut_off:
            self.problems.append(f"{mark}: the hook does not know whether it was cancelled")
        if error is None and not cut_off and end.outcome is not Outcome.RECORDED:
            self.problems.append(f"{mark}: a success that is {end.outcome}")
        # At this very moment, not later.
        if end.outcome is Outcome.RECORDED and not self._vendor.done[mark]:
            self.problems.append(f"{mark}: {told.how} says recorded, and it is not on record")

    def _judge(self, vendor: Witness) -> None:
        """Hold what was said against what was done."""
        arrived: defaultdict[str, list[bytes]] = defaultdict(list)
        for exchange in vendor.exchanges:
            if exchange.body:
                arrived[mark_of(exchange)].append(exchange.body)
        by_mark: defaultdict[str, list[Told]] = defaultdict(list)
        for told in self.told:
            by_mark[told.mark].append(told)
        for mark, calls in by_mark.items():
            self._judge_one(calls, vendor.done[mark], arrived[mark])
        if arrived.keys() - by_mark.keys():
            self.problems.append("requests of no call")
        # Those of which too little was read to know whose they are, too.
        if len(vendor.exchanges) > sum(map(sent, self.told)):
            self.problems.append("more requests than attempts in all")

    def _judge_one(
        self, calls: Sequence[Told], done: Sequence[str | None], bodies: Sequence[bytes]
    ) -> None:
        """Judge the calls of one mark: one call, or several that asked for the same."""
        mark = calls[0].mark
        if done and {told.outcome for told in calls} <= NOT_ON_RECORD:
            said = ", ".join(f"{told.how} says {told.outcome}" for told in calls)
            self.problems.append(f"{mark}: {said}, and it is on record")
        if self.operation in KEYED and len(set(done)) > 1:
            self.problems.append(f"{mark}: on record {len(set(done))} times")
        if self.operation == "create_payment_intent" and len(done) > 1:
            self.problems.append(f"{mark}: made {len(done)} times")
        if len(set(bodies)) > 1:
            self.problems.append(f"{mark}: {len(set(bodies))} different bodies")
        if len(bodies) > sum(map(sent, calls)):
            self.problems.append(f"{mark}: more requests than attempts")


def sent(told: Told) -> int:
    """Return how many requests there may be at most by what a call said of its attempts."""
    return sum(attempt.outcome is not Outcome.NOT_SENT for attempt in told.attempts)


def open_files() -> int:
    """Return the number of open files, sockets included; 0 where the system does not tell."""
    return sum(1 for _ in OPEN_FILES.iterdir()) if OPEN_FILES.exists() else 0


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each cancelled call would bury what failed."""
    caplog.set_level(logging.CRITICAL, "carevalidate_async")


@pytest.mark.parametrize("bad_road", [False, True], ids=["good-road", "bad-road"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_said_is_so(
    operation: str, bad_road: bool, record_property: Callable[[str, object], None]
) -> None:
    """
    Whatever meets a thousand calls of an operation, side by side on one client, none of them says
    of the money what is not so, sends what it does not count, or leaves anything behind.
    """
    gc.collect()  # What others left open is not to be closed in between.
    before = open_files()
    storm = Storm(operation, calls=CALLS, seed="truth", bad_road=bad_road)

    storm.run()

    assert [] == storm.problems
    assert before == open_files()
    assert CALLS == len(storm.told)
    # It was a storm: of all that can happen nearly all did.
    outcomes = Counter(str(told.outcome) for told in storm.told)
    cancelled = sum(told.how == "cancelled" for told in storm.told)
    assert len(storm.met) > 0.9 * len(FAULTS[operation])
    assert {str(outcome) for outcome in Outcome} == outcomes.keys()
    assert cancelled > CALLS / 20
    record_property("calls", CALLS)
    record_property("faults_met", storm.met.total())
    record_property("cancelled", cancelled)


def rejects_all(patch: pytest.MonkeyPatch) -> None:
    settled = Call._settled

    def lie(self: Call[Any, Any], *facts: Any) -> CareValidateError:
        error = settled(self, *facts)
        error.outcome = Outcome.REJECTED
        return error

    patch.setattr(Call, "_settled", lie)


def claims_all(patch: pytest.MonkeyPatch) -> None:
    settled = Call._settled

    def lie(self: Call[Any, Any], *facts: Any) -> CareValidateError:
        error = settled(self, *facts)
        error.outcome = Outcome.RECORDED
        return error

    patch.setattr(Call, "_settled", lie)


def shrugs_when_cancelled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Call, "_cut_off", lambda _: Outcome.NOT_SENT)


def forgets_attempts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        Call, "_may_have_landed", property(lambda _: False, lambda *_: None), raising=False
    )


def invents_keys(patch: pytest.MonkeyPatch) -> None:
    send, number = Transport.send, itertools.count()

    async def lie(self: Transport, sealed: Sealed, **told: Any) -> Reply | NoReply:
        body = json.loads(sealed.body) | {"idempotencyKey": f"key {next(number)}"}
        return await send(self, attrs.evolve(sealed, body=json.dumps(body).encode()), **told)

    patch.setattr(Transport, "send", lie)


def sends_twice(patch: pytest.MonkeyPatch) -> None:
    send = Transport.send

    async def lie(self: Transport, sealed: Sealed, **told: Any) -> Reply | NoReply:
        await send(self, sealed, **told)
        return await send(self, sealed, **told)

    patch.setattr(Transport, "send", lie)


def repeats_whatever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OnceOnly, "repeatable", True)


def goes_on(patch: pytest.MonkeyPatch) -> None:
    send = Transport.send

    async def lie(self: Transport, sealed: Sealed, **told: Any) -> Reply | NoReply:
        try:
            return await send(self, sealed, **told)
        except asyncio.CancelledError:
            return await send(self, sealed, **told)

    patch.setattr(Transport, "send", lie)


def leaves_tasks(patch: pytest.MonkeyPatch) -> None:
    send = Transport.send

    async def lie(self: Transport, sealed: Sealed, **told: Any) -> Reply | NoReply:
        self.left = asyncio.create_task(asyncio.sleep(10**6))  # type: ignore[attr-defined]  # to hold it
        return await send(self, sealed, **told)

    patch.setattr(Transport, "send", lie)


def raises_anything(patch: pytest.MonkeyPatch) -> None:
    settled = Call._settled

    def lie(self: Call[Any, Any], error: CareValidateError, *facts: Any) -> CareValidateError:
        if error.retryable:
            raise KeyError
        return settled(self, error, *facts)

    patch.setattr(Call, "_settled", lie)


def earns_too_much(patch: pytest.MonkeyPatch) -> None:
    def lie(self: RetryQuota, tokens: int) -> None:
        self._tokens += 100 * tokens

    patch.setattr(RetryQuota, "give_back", lie)


@pytest.mark.parametrize(
    ("lie", "operation", "words"),
    [
        (rejects_all, "confirm_payment", "says rejected, and it is on record"),
        (rejects_all, "update_payment_method", "says rejected, and it is on record"),
        (claims_all, "create_payment_intent", "says recorded, and it is not on record"),
        (shrugs_when_cancelled, "create_case_payment", "cancelled says not_sent, and it is on"),
        (forgets_attempts, "confirm_payment", "says rejected, and it is on record"),
        (invents_keys, "confirm_payment", "on record 2 times"),
        (invents_keys, "create_case_payment", "different bodies"),
        (sends_twice, "update_user_payment", "more requests than attempts"),
        (repeats_whatever, "create_payment_intent", "made 2 times"),
        (goes_on, "confirm_payment", "it was cancelled and went on"),
        (leaves_tasks, "confirm_payment", "tasks left"),
        (raises_anything, "confirm_payment", "KeyError()"),
        (earns_too_much, "confirm_payment", "tokens"),
    ],
)
def test_a_lie_is_found(
    lie: Callable[[pytest.MonkeyPatch], None],
    operation: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    A package that says what is not so, or leaves something behind, is found out by a short storm.
    """
    lie(monkeypatch)
    storm = Storm(operation, calls=300, seed="lie")

    storm.run()

    assert any(words in problem for problem in storm.problems)
