"""The simulation of a fleet keeps what is known of queues, and has the package's own code in it."""

from __future__ import annotations

import asyncio
import json
import math
import pathlib
import random
import subprocess
import sys
from typing import TYPE_CHECKING, cast

import attrs
import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.append(str(ROOT))  # At the end, so that an installed package stays the one that is tested.

from benchmarks import fleet, fleet_run  # noqa: E402
from benchmarks.fleet_broker import TICK, Broker, Delivery  # noqa: E402
from benchmarks.fleet_clock import now, simulate  # noqa: E402
from benchmarks.fleet_limits import ALONE, Limits  # noqa: E402
from benchmarks.fleet_markdown import plan  # noqa: E402
from benchmarks.fleet_plan import Inputs, Settings, parts  # noqa: E402
from benchmarks.fleet_run import play  # noqa: E402
from benchmarks.fleet_scenario import Scenario, ideal_p99  # noqa: E402
from benchmarks.fleet_tables import SIZES, Scale, tables  # noqa: E402
from benchmarks.fleet_vendor import Answer, Overload, Vendor, VendorSettings  # noqa: E402
from benchmarks.fleet_worker import PAYMENT, Client  # noqa: E402
from carevalidate_async import RetryPolicy, RetryQuota, consumer, events  # noqa: E402
from carevalidate_async._config import Settings as ClientSettings  # noqa: E402
from carevalidate_async._limits import Pacer  # noqa: E402
from carevalidate_async._outage import Outages  # noqa: E402
from carevalidate_async._secret import Secret  # noqa: E402
from carevalidate_async._transport import Transport  # noqa: E402
from carevalidate_async._wire import NoReply, Reply  # noqa: E402
from carevalidate_async.carevalidate import CONFIRM_PAYMENT  # noqa: E402
from carevalidate_async.errors import APIStatusError, CareValidateError  # noqa: E402
from carevalidate_async.session import Session  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from carevalidate_async._wire import Sealed

pytestmark = pytest.mark.deep

VENDOR = VendorSettings(rate=100.0, lost=0.02)
PEAK = Scenario(name="ten", workers=10, limits=Limits.SHARED, vendor=VENDOR, payments=400)
CALM = attrs.evolve(VENDOR, lost=0.0, burst=0.2)
DOWN = attrs.evolve(VENDOR, outage=(1.0, 11.0))
KILLED = attrs.evolve(PEAK, churn=True)
DAYS = {
    "peak": PEAK,
    "killed": KILLED,
    "outage": attrs.evolve(PEAK, vendor=DOWN),
    "503": attrs.evolve(PEAK, vendor=attrs.evolve(VENDOR, overload=Overload.UNAVAILABLE)),
    "slow": attrs.evolve(PEAK, vendor=attrs.evolve(VENDOR, overload=Overload.QUEUED)),
}


class TestConservation:
    @pytest.mark.parametrize("limits", Limits)
    @pytest.mark.parametrize("day", DAYS)
    def test_every_payment_is_recorded_once(self, day: str, limits: Limits) -> None:
        """Whatever happens, each payment is on record once, and nothing is left in the queue."""
        figures = play(attrs.evolve(DAYS[day], limits=limits))

        assert (400, 0, 0, 0) == (figures.recorded, figures.twice, figures.left, figures.parked)

    @pytest.mark.parametrize("limits", Limits)
    @pytest.mark.parametrize("day", DAYS)
    def test_every_request_is_accounted_for(self, day: str, limits: Limits) -> None:
        """
        The requests are the first ones and the repeats, and one for each payment put it on record.
        """
        figures = play(attrs.evolve(DAYS[day], limits=limits))
        recording = figures.statuses[200] + figures.statuses.get(500, 0)

        assert 400 == recording
        assert figures.requests == 400 + figures.repeats == sum(figures.statuses.values())
        assert pytest.approx(figures.repeats / figures.requests) == figures.waste

    def test_what_is_not_recorded_is_still_queued(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A scenario that is cut short has each payment on record or in its queue."""
        monkeypatch.setattr(fleet_run, "PATIENCE", -2.0)
        figures = play(PEAK)

        assert 0 < figures.recorded < 400
        # Some are on record, and not acknowledged yet.
        in_flight = PEAK.workers * PEAK.slots
        assert 400 <= figures.recorded + figures.left <= 400 + in_flight

    @pytest.mark.parametrize("limits", Limits)
    def test_killed_workers_lose_nothing(self, limits: Limits) -> None:
        """What a killed worker held is on record once the broker has given it to another."""
        calm = play(attrs.evolve(PEAK, limits=limits))
        # It always holds some: those that wait out a delay keep no others from it.
        alone = attrs.evolve(KILLED, workers=1, concurrency=12, max_ack_pending=1000)
        figures = play(attrs.evolve(alone, limits=limits))

        assert 400 == figures.recorded
        assert figures.seconds >= KILLED.ack_wait > calm.seconds

    def test_keys_by_delivery_record_twice(self) -> None:
        """
        With a new key for each delivery payments are on record twice, and with derived ones none.
        """
        careless = attrs.evolve(KILLED, vendor=attrs.evolve(VENDOR, lost=0.3), derived_keys=False)
        figures = play(careless)

        assert figures.twice > 0
        assert 400 == figures.recorded
        assert 0 == play(attrs.evolve(careless, derived_keys=True)).twice


class TestDeterminism:
    def test_same_seed(self) -> None:
        """The same seed gives the same figures, and another one others."""
        assert play(KILLED) == play(KILLED)
        assert play(KILLED) != play(attrs.evolve(KILLED, seed=2))

    def test_jitter(self) -> None:
        """The jitter of the package's delays is of the seed, too."""
        steady = attrs.evolve(VENDOR, lost=0.0, spread=0.0)
        refused = attrs.evolve(PEAK, vendor=steady, limits=Limits.NONE, workers=100)

        assert play(refused) == play(refused)
        assert play(refused) != play(attrs.evolve(refused, seed=2))

    def test_other_process(self) -> None:
        """The figures do not depend on what differs between processes: the seed of hashes."""
        script = (
            "from benchmarks.fleet_run import play\n"
            "from benchmarks.fleet_tables import Limits, Scale\n"
            "import attrs, logging; logging.disable()\n"
            "scenario = Scale(rate=100.0, seconds=4.0).scenario('', 10, Limits.OWN)\n"
            "print(play(attrs.evolve(scenario, churn=True)))\n"
        )
        printed = {
            subprocess.run(
                [sys.executable, "-c", script],
                cwd=ROOT,
                env={"PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed in ("1", "2")
        }

        assert 1 == len(printed)

    def test_leaves_chance_as_it_was(self) -> None:
        """Python's own generator goes on as though there had been no simulation."""
        random.seed(7)
        expected = [random.random() for _ in range(2)]
        random.seed(7)
        first = random.random()
        play(attrs.evolve(PEAK, payments=10))

        assert expected == [first, random.random()]


class TestTheory:
    @pytest.mark.parametrize(("concurrency", "latency"), [(1, 0.1), (10, 0.1), (16, 0.5)])
    def test_little(self, concurrency: int, latency: float) -> None:
        """One worker with C messages at a time and answers in L seconds makes C / L a second."""
        vendor = VendorSettings(rate=1e6, latency=latency, spread=0.0)
        figures = play(
            Scenario(
                name="little",
                workers=1,
                limits=Limits.NONE,
                vendor=vendor,
                payments=400,
                concurrency=concurrency,
            )
        )

        rounds = math.ceil(400 / concurrency) - 1
        assert 0 == figures.repeats
        assert pytest.approx(rounds * latency, abs=2 * TICK) == figures.seconds

    @pytest.mark.parametrize("limits", Limits)
    @pytest.mark.parametrize("workers", [1, 10, 100])
    def test_vendors_rate_is_never_passed(self, workers: int, limits: Limits) -> None:
        """A vendor of R a second, with B saved up, has no more than R t + B on record after t."""
        figures = play(attrs.evolve(PEAK, limits=limits, workers=workers))
        burst = VENDOR.rate * VENDOR.burst

        assert figures.seconds >= (400 - burst) / VENDOR.rate - 1e-6
        assert figures.goodput <= 1

    def test_queueing_vendor_records_no_faster(self) -> None:
        """A vendor that queues has nothing on record before its turn."""
        slow = attrs.evolve(VENDOR, overload=Overload.QUEUED, lost=0.0)
        figures = play(attrs.evolve(PEAK, vendor=slow, limits=Limits.NONE))

        assert figures.seconds >= 400 / VENDOR.rate
        assert {200: 400} == figures.statuses

    @pytest.mark.parametrize("limits", [Limits.SPLIT, Limits.SHARED])
    def test_limiters_respect_the_rate(self, limits: Limits) -> None:
        """
        With limiters that know the rate nothing is refused, and no second has more but for what
        the limiter's burst allows, or one payment of each worker.
        """
        figures = play(attrs.evolve(PEAK, vendor=CALM, limits=limits))

        assert {200: 400} == figures.statuses
        assert figures.busiest <= VENDOR.rate + 10
        assert figures.goodput >= 0.98

    def test_split_among_fewer_than_there_are(self) -> None:
        """Workers that reckon with half as many of them ask for twice the rate."""
        split = attrs.evolve(PEAK, limits=Limits.SPLIT, payments=1000, believed=5, concurrency=12)
        figures = play(split)

        assert figures.busiest > 1.5 * VENDOR.rate
        assert figures.statuses[429] > 100

    def test_split_among_more_than_there_are(self) -> None:
        """Workers that reckon with twice as many of them leave half of the rate."""
        figures = play(attrs.evolve(PEAK, limits=Limits.SPLIT, believed=20))

        assert pytest.approx(0.5, abs=0.03) == figures.goodput
        assert pytest.approx(2.0, abs=0.06) == figures.over_ideal

    def test_unlimited_fleet_is_refused(self) -> None:
        """A fleet that holds more than the vendor takes is refused, unless somebody limits it."""
        many = attrs.evolve(PEAK, vendor=CALM, limits=Limits.NONE, workers=100)

        assert play(many).statuses[429] > 100
        assert {200: 400} == play(attrs.evolve(many, limits=Limits.SHARED)).statuses

    def test_nothing_is_recorded_in_an_outage(self) -> None:
        """An outage delays the last record by its length, and more."""
        calm = attrs.evolve(PEAK, vendor=CALM)
        figures = play(attrs.evolve(calm, vendor=attrs.evolve(CALM, outage=DOWN.outage)))

        assert figures.seconds >= play(calm).seconds + 9
        assert figures.statuses[502] > 0

    def test_ideal(self) -> None:
        """The ideal fleet records each payment as soon as the vendor can take it."""
        down = attrs.evolve(VENDOR, outage=(2.0, 12.0))

        # The one hundredth that waits longest is published last: half the time of the work.
        assert pytest.approx(2.0, abs=0.05) == ideal_p99(PEAK)
        assert pytest.approx(12.0, abs=0.05) == ideal_p99(attrs.evolve(PEAK, vendor=down))
        assert (4.0, 14.0) == (PEAK.ideal, attrs.evolve(PEAK, vendor=down).ideal)

    def test_ack_wait_shorter_than_the_work(self) -> None:
        """
        Messages that are held for longer than the broker waits are asked for twice, unless their
        worker says that it still has them.
        """
        held = attrs.evolve(PEAK, concurrency=20, ack_wait=0.6)
        silent = play(attrs.evolve(held, extends=False))

        assert silent.repeats > 100
        assert 0 == silent.twice
        assert play(held).repeats < 40


class TestBroker:
    @staticmethod
    def _after(
        *steps: tuple[float, Callable[[Broker, Delivery], None]], until: float
    ) -> list[tuple[float, int, int]]:
        """Return when which delivery of which of two messages came, a step done at its moment."""
        came: list[tuple[float, int, int]] = []

        async def main() -> None:
            broker = Broker(messages=2, rate=1e6, ack_wait=5.0, max_ack_pending=2)
            running = asyncio.create_task(broker.run())
            await asyncio.sleep(TICK)

            async def take() -> None:
                while True:
                    delivery = await broker.next()
                    came.append((round(now()), delivery.message, delivery.attempt))
                    if delivery.message == 1:
                        broker.ack(delivery)
                    elif delivery.attempt == 1:
                        for moment, step in steps:
                            loop.call_at(moment, step, broker, delivery)

            loop = asyncio.get_running_loop()
            taking = asyncio.create_task(take())
            await asyncio.sleep(until)
            taking.cancel()
            running.cancel()

        simulate(main(), 1)
        return came

    def test_unsettled_comes_again(self) -> None:
        """A message that nobody settles comes again after each `ack_wait`."""
        assert [(0, 0, 1), (0, 1, 1), (5, 0, 2), (10, 0, 3)] == self._after(until=12)

    def test_acknowledged_comes_no_more(self) -> None:
        """A message that is acknowledged, be it late and for its first delivery, is gone."""
        first = [(0, 0, 1), (0, 1, 1)]

        assert first == self._after((1, Broker.ack), until=12)
        assert [*first, (5, 0, 2)] == self._after((7, Broker.ack), until=12)

    def test_delay(self) -> None:
        """A message that is given back comes again after the delay, not sooner and not later."""
        step = (1.0, lambda broker, delivery: broker.nak(delivery, 2.0))

        assert [(0, 0, 1), (0, 1, 1), (3, 0, 2), (8, 0, 3)] == self._after(step, until=12)

    def test_extended(self) -> None:
        """A worker's word that it still has a message puts its redelivery off."""
        came = self._after((4, Broker.in_progress), until=12)

        assert [(0, 0, 1), (0, 1, 1), (9, 0, 2)] == came

    def test_late_word(self) -> None:
        """What is said of a delivery after it was repeated changes nothing."""
        came = self._after((7, Broker.in_progress), until=12)

        assert [(0, 0, 1), (0, 1, 1), (5, 0, 2), (10, 0, 3)] == came

    def test_pending(self) -> None:
        """No more than `max_ack_pending` are held or wait out a delay."""
        down = attrs.evolve(PEAK, vendor=DOWN, limits=Limits.NONE)

        assert 2 * 10 * PEAK.slots >= play(down).most_pending > 10 * PEAK.slots
        assert 30 == play(attrs.evolve(down, max_ack_pending=30)).most_pending

    def test_acknowledged_before_it_is_taken_again(self) -> None:
        """A message that is to come again, and is acknowledged before anybody takes it, is gone."""

        async def main() -> tuple[int, bool]:
            broker = Broker(messages=1, rate=1e6, ack_wait=5.0, max_ack_pending=2)
            running = asyncio.create_task(broker.run())
            delivery = await broker.next()
            await asyncio.sleep(6)
            broker.ack(delivery)
            waiting = broker.next()
            await running
            return broker.left, waiting.done()

        assert (0, False) == simulate(main(), 1)

    def test_word_that_comes_too_late(self) -> None:
        """A message that is to come again comes once, whatever is said of it before it does."""

        async def main() -> tuple[int, bool]:
            broker = Broker(messages=1, rate=1e6, ack_wait=5.0, max_ack_pending=2)
            running = asyncio.create_task(broker.run())
            delivery = await broker.next()
            await asyncio.sleep(6)
            broker.in_progress(delivery)
            await asyncio.sleep(6)
            again, waiting = await broker.next(), broker.next()
            await asyncio.sleep(1)
            running.cancel()
            return again.attempt, waiting.done()

        assert (2, False) == simulate(main(), 1)

    def test_killed_while_it_waits(self) -> None:
        """A message does not go to a worker that is no more."""

        async def main() -> int:
            broker = Broker(messages=1, rate=1e6, ack_wait=5.0, max_ack_pending=2)
            broker.next().cancel()
            waiting = broker.next()
            running = asyncio.create_task(broker.run())
            delivery = await waiting
            running.cancel()
            return delivery.attempt

        assert 1 == simulate(main(), 1)


class Scripted(Transport):
    """
    Answers as a script says: a status, its Retry-After, and the seconds that it takes.

    Args:
        script: The answers.
    """

    def __init__(self, script: tuple[tuple[int, float | None, float], ...]) -> None:
        super().__init__(session=None, connector=None, max_connections=1, proxy=None, ssl=True)
        self._script = list(script)
        self.asked: list[float] = []

    def ask(self, payment: int, key: str) -> tuple[Answer, float]:
        """Answer as a `Vendor` does."""
        self.asked.append(now())
        status, retry_after, seconds = self._script.pop(0)
        return Answer(status=status, retry_after=retry_after), seconds

    async def send(
        self,
        sealed: Sealed,
        *,
        attempt_timeout: float,
        deadline: float | None,
        on_turn: Callable[[], None],
        on_wire: Callable[[], None],
    ) -> Reply | NoReply:
        """Answer as a connection does."""
        on_turn()
        answer, seconds = self.ask(0, "")
        await asyncio.sleep(min(seconds, attempt_timeout))
        if seconds > attempt_timeout:
            return NoReply(what="", sent=True, timed_out=True)
        body = {"success": answer.status == 200, "code": "IDEMPOTENCY_ERROR"}
        if answer.status != 409:
            del body["code"]
        headers = {} if answer.retry_after is None else {"retry-after": f"{answer.retry_after:g}"}
        return Reply(status=answer.status, headers=headers, body=json.dumps(body).encode())

    async def rest(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


OK, KNOWN = (200, None, 0.1), (409, None, 0.1)
REFUSED, BROKEN, AWAY = (429, 1.0, 0.1), (500, None, 0.1), (502, None, 0.1)
SCRIPTS = [
    (OK,),
    (KNOWN,),
    (REFUSED, OK),
    (REFUSED, REFUSED),
    ((429, None, 0.1), OK),
    ((429, 100.0, 0.1),),
    ((503, 2.0, 0.1), (503, None, 0.1)),
    (BROKEN, KNOWN),
    (BROKEN, REFUSED),
    (REFUSED, BROKEN),
    (AWAY, AWAY),
    ((200, None, 40.0), KNOWN),
    ((200, None, 40.0), (200, None, 40.0)),
]


class TestOurOwnCode:
    @staticmethod
    def _met(
        script: tuple[tuple[int, float | None, float], ...], capacity: int, *, real: bool
    ) -> tuple[object, ...]:
        """Return how a call ends, when it asked, and what is left of its quota."""

        async def main() -> tuple[object, ...]:
            transport, quota = Scripted(script), RetryQuota(capacity)
            policy = RetryPolicy(max_attempts=events.ATTEMPTS)
            payment = attrs.evolve(PAYMENT, idempotency_key="7")
            quota.take(timed_out=False)
            end: object = "on record"
            try:
                if real:
                    session = Session(
                        origin="https://vendor.example",
                        secret=Secret("test"),
                        transport=transport,
                        settings=ClientSettings(retry=policy),
                        quota=quota,
                    )
                    await session.run(CONFIRM_PAYMENT, payment, accept_duplicate=True)
                else:
                    vendor = cast("Vendor", transport)
                    client = Client(vendor=vendor, quota=quota)
                    asking = client.with_options(retry=policy)
                    await asking.confirm_payment(payment, accept_duplicate=True)
            except CareValidateError as error:
                asked = error.retry_after if isinstance(error, APIStatusError) else None
                end = (type(error).__name__, error.outcome, error.retryable, asked)
            return end, transport.asked, now(), quota.tokens

        return simulate(main(), 1)

    @pytest.mark.parametrize("capacity", [0, 5, 500])
    @pytest.mark.parametrize("script", SCRIPTS)
    def test_call(self, script: tuple[tuple[int, float | None, float], ...], capacity: int) -> None:
        """The stand-in asks at the moments, and ends as, a real call does."""
        assert self._met(script, capacity, real=True) == self._met(script, capacity, real=False)

    def test_pace_is_the_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A fleet that paces itself is refused more where the package's pacer does nothing."""
        crowd = attrs.evolve(PEAK, limits=Limits.OWN, payments=1000, concurrency=30)
        paced = play(crowd)
        monkeypatch.setattr(Pacer, "end", lambda *_, **__: None)

        assert 2 * paced.statuses[429] < play(crowd).statuses[429]

    def test_outages_are_the_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A fleet asks more often in an outage where the package does not notice it."""
        down = attrs.evolve(PEAK, vendor=DOWN, max_ack_pending=1000)
        noticed = play(down)
        monkeypatch.setattr(Outages, "missed", lambda *_, **__: None)

        assert 2 * noticed.statuses[502] < play(down).statuses[502]

    def test_decisions_are_the_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A fleet whose handler gives in doubts up at once leaves payments to a person."""
        broken = attrs.evolve(PEAK, vendor=attrs.evolve(VENDOR, lost=0.9))
        careful = play(broken)
        monkeypatch.setattr(events, "_ACTIONS", dict.fromkeys(events._ACTIONS, events.Action.PARK))

        assert 0 == careful.parked
        assert play(broken).parked > 300

    def test_order_is_the_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A consumer that drops what it does not confirm leaves payments without a record."""

        async def acknowledge(_: object, __: events.Decision, delivery: consumer.Delivery) -> None:
            await delivery.ack()

        monkeypatch.setattr(consumer.Consumer, "_carry_out", acknowledge)

        assert 400 > play(attrs.evolve(PEAK, limits=Limits.NONE, workers=100)).recorded


class TestPlan:
    def test_settings(self) -> None:
        """A hundred million payments a day with a peak of five need what can be worked out."""
        settings = Settings(inputs=Inputs())
        rate = 1e8 / 86_400 * 5 * 1.05

        assert pytest.approx(rate) == settings.rate
        assert 11 == settings.workers  # 5,787 by 600, and one
        assert math.ceil(rate / 11) == settings.concurrency
        assert 22 * settings.concurrency == settings.max_ack_pending
        assert pytest.approx(1e8 / 24 * 5) == settings.backlog
        assert pytest.approx(1e8 / 24 * 5 * 400 * 1.2) == settings.max_bytes
        assert 1.25 == settings.caught_up

    def test_what_breaks_first(self) -> None:
        """The parts come in the order in which they are full at the peak."""
        full = [part.full_at(Inputs(), peak=True) for part in parts(Inputs())]

        assert sorted(full) == full
        assert "a worker's 100 connections, answers in 1 s" == parts(Inputs())[0].name
        poor = parts(Inputs(vendor_rate=10.0))
        assert poor[0].name.startswith("the vendor's limit")
        assert 608 == poor[0].needed(Inputs())  # 6,076 by 10

    def test_a_day_has_no_peak(self) -> None:
        """Results fill a disk by the day, whenever they come."""
        (results,) = (part for part in parts(Inputs()) if part.by_day)

        assert pytest.approx(250e6) == results.full_at(Inputs(), peak=True)
        assert 2 == results.needed(Inputs(per_day=400e6))

    def test_without_a_peak(self) -> None:
        """Where no hour is busier than another nothing is left to catch up with."""
        assert math.inf == Settings(inputs=Inputs(peak=1.0)).caught_up


def rows(text: str) -> list[list[str]]:
    """Return the first two cells of the rows of scenarios."""
    found = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in cells[:2]] for cells in found if len(cells) == 9]


def titles(text: str) -> list[str]:
    """Return the titles of tables."""
    return [line.strip("*") for line in text.splitlines() if line.startswith("**")]


def wanted() -> list[list[str]]:
    """Return the rows that there are to be."""
    told = [["workers", "limit"], ["ideal", ""]]
    return [
        cells
        for scenarios in tables(Scale(), Inputs()).values()
        for cells in (*told, *([one.name, one.limits.value] for one in scenarios))
    ]


class TestCommand:
    def test_prints_every_scenario(self) -> None:
        """The command prints a row for each scenario of each table, and the plan."""
        command = [sys.executable, "-m", "benchmarks.fleet", "--quick"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

        assert (0, "") == (done.returncode, done.stderr)
        quick = tables(fleet.QUICK, Inputs())
        assert list(quick) == titles(done.stdout)
        assert [one.limits.value for table in quick.values() for one in table] == [
            limits for name, limits in rows(done.stdout) if name not in {"workers", "ideal"}
        ]
        assert done.stdout.endswith(plan(Inputs()) + "\n")

    def test_every_size_and_limit_is_played(self) -> None:
        """Each size of a fleet plays each day under each limit."""
        played = tables(Scale(), Inputs())
        for day in list(played)[:3]:
            assert [(size, limits) for size in SIZES for limits in ALONE] == [
                (one.workers, one.limits) for one in played[day]
            ]

    def test_page(self) -> None:
        """The page has each row that the command prints, and the plan as it is."""
        page = (ROOT / "docs" / "explanation" / "scale.md").read_text(encoding="utf-8")

        assert list(tables(Scale(), Inputs())) == titles(page)
        assert wanted() == rows(page)
        assert plan(Inputs()) in page

    @pytest.mark.parametrize(
        "options",
        [["--rate", "0"], ["--seconds", "nan"], ["--peak", "0.5"], ["--rate", "0.01"]],
    )
    def test_refuses_nonsense(
        self,
        options: list[str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """An option that makes no sense is refused with exit status 2."""
        monkeypatch.setattr(sys, "argv", ["fleet", *options])

        with pytest.raises(SystemExit) as ended:
            fleet.main()

        assert 2 == ended.value.code
        assert "error: " in capsys.readouterr().err
