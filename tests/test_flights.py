from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import virtual
from carevalidate_async._flights import Flight, Flights


def flight(ends: float, told: list[float] | None = None) -> Flight:
    made = Flight(ends, lambda: None)
    if told is not None:
        made.on_expiry = lambda: told.append(virtual.now())
    return made


class TestFlight:
    def test_starts_before_anybody_hears_of_it(self) -> None:
        """
        It has started by the time that its first byte is told of.
        """
        seen = []
        one = Flight(1.0, lambda: seen.append(one.started))
        one.start()

        assert [True] == seen

    def test_expires_with_nobody_to_tell(self) -> None:
        """
        Between two waits nobody is told, and whoever comes next sees that its time is up.
        """
        one = flight(1.0)
        one.expire()

        assert one.expired

    def test_expires_once(self) -> None:
        """
        Whoever was told that its time is up is not told again when the connections are closed.
        """
        told = []
        one = flight(1.0)
        one.on_expiry = lambda: told.append(1)
        one.expire()
        one.expire()

        assert [1] == told


class TestFlights:
    def test_each_ends_at_its_moment(self) -> None:
        """
        However they are mixed, each is told once, when its time is up, and no later.
        """
        told: dict[float, list[float]] = {ends: [] for ends in (5.0, 1.0, 3.0, 3.5, 2.0)}

        async def main() -> None:
            flights = Flights(asyncio.get_running_loop())
            for ends, heard in told.items():
                flights.add(flight(ends, heard))
            await asyncio.sleep(10)

        virtual.run(main())

        assert {ends: [pytest.approx(ends)] for ends in told} == told

    def test_what_is_over_is_not_told(self) -> None:
        """
        A request that has its answer is left alone, and does not keep another from its end.
        """
        over: list[float] = []
        heard: list[float] = []

        async def main() -> None:
            flights = Flights(asyncio.get_running_loop())
            done = flight(1.0, over)
            flights.add(done)
            flights.add(flight(2.0, heard))
            flights.discard(done)
            await asyncio.sleep(3)

        virtual.run(main())

        assert ([], [2.0]) == (over, heard)

    def test_all_at_once(self) -> None:
        """
        When connections are closed, all end, and the timer with them.
        """
        told: list[float] = []

        async def main() -> int:
            flights = Flights(asyncio.get_running_loop())
            for ends in (5.0, 6.0):
                flights.add(flight(ends, told))
            await asyncio.sleep(1)
            flights.end_all()
            await asyncio.sleep(10)
            return len(flights)

        assert 2 == virtual.run(main())
        assert [1.0, 1.0] == told

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 40), st.integers(1, 40), st.none() | st.integers(0, 60)),
            max_size=20,
        )
    )
    def test_whatever_comes_and_goes(self, requests: list[tuple[int, int, int | None]]) -> None:
        """
        A request ends at its moment exactly where it is not over before.
        """
        found: list[float | None] = [None] * len(requests)

        async def one(flights: Flights, number: int) -> None:
            begins, lasts, over = requests[number]
            await asyncio.sleep(begins)
            ended = asyncio.get_running_loop().create_future()
            it = Flight(begins + lasts, lambda: None)
            it.on_expiry = lambda: ended.set_result(virtual.now())
            flights.add(it)
            await asyncio.wait([ended], timeout=over)
            flights.discard(it)
            it.on_expiry = None
            found[number] = ended.result() if ended.done() else None

        async def main() -> None:
            flights = Flights(asyncio.get_running_loop())
            await asyncio.gather(*(one(flights, number) for number in range(len(requests))))

        virtual.run(main())
        for (begins, lasts, over), moment in zip(requests, found, strict=True):
            if over is None or over > lasts:
                assert moment == pytest.approx(begins + lasts)
            elif over < lasts:
                assert moment is None

    def test_the_timer_is_set_once_for_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Requests with one time limit need one timer: each ends later than the one before.
        """
        timers = 0

        async def main() -> None:
            nonlocal timers
            loop = asyncio.get_running_loop()
            real = loop.call_at

            def call_at(*arguments: object, **options: object) -> asyncio.TimerHandle:
                nonlocal timers
                timers += 1
                return real(*arguments, **options)  # type: ignore[arg-type]  # as they came

            flights = Flights(loop)
            monkeypatch.setattr(loop, "call_at", call_at)
            for number in range(1000):
                one = flight(30.0 + number / 1000)
                flights.add(one)
                flights.discard(one)

        asyncio.run(main())

        assert 1 == timers
