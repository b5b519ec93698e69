from __future__ import annotations

import asyncio
import inspect
import os
import random
import sqlite3
import stat
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from canaries import KEY, Seen
from carevalidate_async import journal as module
from carevalidate_async._secret import Secret
from carevalidate_async._version import __version__
from carevalidate_async.idempotency import derive_idempotency_key
from carevalidate_async.journal import (
    FORMAT,
    ON_RECORD,
    Candidate,
    Duplicates,
    Ending,
    Journal,
    JournalError,
    Plan,
    Settlement,
    State,
    Verdict,
    _plans,
    _records,
    _runs,
)
from carevalidate_async.journal._runs import PastRun, past_runs
from journal_support import TARGET, left_by_a_kill, snapshot

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

FREE = {State.REJECTED, State.NOT_SENT}
REFUSE, ONCE, EACH = Duplicates.REFUSE, Duplicates.ONCE, Duplicates.EACH


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "journal")


def open_journal(path: str, *, target: str = "staging", **options: Any) -> Journal:
    return Journal(path, target=target, **options)


def row(content: str, *, line: int = 2, key: str | None = None) -> Candidate:
    return Candidate(line=line, content=content, key=key)


def sent(key: str, **facts: object) -> Plan:
    return Plan(verdict=Verdict.SEND, key=key, **facts)  # type: ignore[arg-type]  # of its fields


async def settle(path: str, content: str, state: State, *, key: str | None = None) -> None:
    """Let a run plan a row and settle it."""
    async with open_journal(path) as journal:
        (plan,) = await journal.plan([row(content, key=key)], REFUSE)
        await journal.settle([Settlement(keys=[plan.key], state=state, attempts=1)])


async def copies(path: str, *states: State) -> None:
    """Let a run plan equal rows, each a payment of its own, and settle them."""
    async with open_journal(path) as journal:
        plans = await journal.plan([row("a", line=n) for n in range(2, 2 + len(states))], EACH)
        await journal.settle(
            [Settlement(keys=[p.key], state=s) for p, s in zip(plans, states, strict=True)]
        )


async def planned(path: str, count: int, duplicates: Duplicates, content: str = "a") -> list[Plan]:
    """Return what a run does with so many equal rows."""
    async with open_journal(path) as journal:
        candidates = [row(content, line=line) for line in range(2, 2 + count)]
        return await journal.plan(candidates, duplicates)


def name(key: str) -> str:
    """Return the key of a copy of "a" as a short name."""
    return {derive_idempotency_key("a", n): f"a{n}" for n in range(2, 9)}.get(key, key)


def modes(folder: pathlib.Path) -> dict[str, int]:
    return {found.name: stat.S_IMODE(found.stat().st_mode) for found in folder.iterdir()}


def seen(path: str) -> dict[str, tuple[int, int, int]]:
    """Return of each key which run saw its content last, where first, and how often."""
    with sqlite3.connect(path) as db:
        found = {key: facts for key, *facts in db.execute("SELECT key, run, line, seen FROM rows")}
    db.close()
    return {key: (run, line, often) for key, (run, line, often) in found.items()}


def ours(value: object) -> bool:
    """Tell whether a value is of this package, as far as it says; a plain value does not."""
    module = getattr(value, "__module__", "carevalidate_async")
    return not inspect.ismodule(value) and module.startswith("carevalidate_async")


def own_threads() -> list[threading.Thread]:
    """Return the threads that journals have."""
    return [found for found in threading.enumerate() if found.name.startswith("journal")]


def states(path: str) -> dict[str, str]:
    with sqlite3.connect(path) as db:
        found = dict(db.execute("SELECT key, state FROM rows"))
    db.close()
    return found


class TestNames:
    def test_all_are_exported(self) -> None:
        """
        The folder's list of names is whole: what it brings of its files.
        """
        found = {
            name for name, value in vars(module).items() if not name.startswith("_") and ours(value)
        }

        assert set(module.__all__) == found


class TestWords:
    def test_never_change(self) -> None:
        """
        The words that journals hold, and those that people choose by, stay as they are.
        """
        assert [
            *("planned", "confirmed", "already_recorded", "rejected", "unknown", "not_sent")
        ] == list(State)
        assert ["refuse", "once", "each"] == list(Duplicates)

    @pytest.mark.parametrize("kind", [Candidate, Plan, Settlement])
    def test_facts_have_names(self, kind: Callable[..., object]) -> None:
        """
        A key and a content, or two numbers, cannot change places: each is given by its name.
        """
        with pytest.raises(TypeError, match="positional"):
            kind(Verdict.SEND, "a", "b")


class TestPlan:
    async def test_a_new_row_goes_under_the_key_of_its_content(self, path: str) -> None:
        """
        Without a key of its own, a row is sent under the one that its content gives.
        """
        async with open_journal(path) as journal:
            plans = await journal.plan([row("a"), row("b", key="mine")], REFUSE)

        assert [sent("a"), sent("mine")] == plans

    async def test_the_key_is_on_disk_before_the_plan_is_told(self, path: str) -> None:
        """
        A process that dies right after the plan leaves the key behind.
        """
        code = (
            "import asyncio, os, sys\n"
            "from carevalidate_async.journal import *\n"
            "async def main():\n"
            "    journal = await Journal(sys.argv[1], target='staging').__aenter__()\n"
            "    await journal.plan([Candidate(line=2, content='a')], Duplicates.REFUSE)\n"
            "    os._exit(9)\n"
            "asyncio.run(main())\n"
        )
        died = await asyncio.create_subprocess_exec(sys.executable, "-c", code, path)
        await died.wait()

        async with open_journal(path) as journal:
            plans = await journal.plan([row("a")], REFUSE)

        assert 9 == died.returncode
        assert [sent("a", may_have_landed=True)] == plans

    @pytest.mark.parametrize("state", sorted(ON_RECORD))
    async def test_a_row_on_record_is_not_sent_again(self, path: str, state: State) -> None:
        """
        A later run keeps what is known of a row on record.
        """
        await settle(path, "a", state)
        async with open_journal(path) as journal:
            plans = await journal.plan([row("a")], REFUSE)

        assert [Plan(verdict=Verdict.ON_RECORD, key="a", state=state)] == plans
        assert {"a": state} == states(path)

    @pytest.mark.parametrize(
        ("state", "may_have_landed"),
        [(State.REJECTED, False), (State.NOT_SENT, False), (State.UNKNOWN, True)],
    )
    async def test_all_else_is_sent_again_under_its_own_key(
        self, path: str, state: State, *, may_have_landed: bool
    ) -> None:
        """
        A later run asks again for what is not on record, and remembers what was never settled.
        """
        await settle(path, "a", state)
        async with open_journal(path) as journal:
            plans = await journal.plan([row("a")], REFUSE)

        assert [sent("a", state=state, may_have_landed=may_have_landed)] == plans
        assert {"a": State.PLANNED} == states(path)

    async def test_doubt_outlives_a_run_that_did_not_settle_it(self, path: str) -> None:
        """
        A row that was unknown once stays in doubt over a run that only planned it again.
        """
        await settle(path, "a", State.UNKNOWN)
        plans = []
        for _ in range(2):
            async with open_journal(path) as journal:
                plans += await journal.plan([row("a")], REFUSE)

        assert [True, True] == [plan.may_have_landed for plan in plans]

    @pytest.mark.parametrize("duplicates", [REFUSE, ONCE])
    async def test_the_same_content_again_is_a_duplicate(
        self, path: str, duplicates: Duplicates
    ) -> None:
        """
        A row that the file had before is not sent, and the plan names the first one.
        """
        async with open_journal(path) as journal:
            first = await journal.plan([row("a"), row("a", line=3)], duplicates)
            later = await journal.plan([row("a", line=9)], duplicates)

        assert sent("a") == first[0]
        assert Plan(verdict=Verdict.DUPLICATE, key="a", line=2) == first[1]
        assert [Plan(verdict=Verdict.DUPLICATE, key="a", line=2)] == later

    async def test_each_appearance_has_a_key_of_its_own_that_stays(self, path: str) -> None:
        """
        With each row a payment of its own, the nth appearance has the same key in every run.
        """
        keys = ["a", derive_idempotency_key("a", 2), derive_idempotency_key("a", 3)]
        for _ in range(2):
            async with open_journal(path) as journal:
                plans = await journal.plan([row("a", line=n) for n in (2, 3, 4)], EACH)

            assert keys == [plan.key for plan in plans]
            assert [Verdict.SEND] * 3 == [plan.verdict for plan in plans]
            assert [None, 2, 3] == [plan.copy for plan in plans]

    async def test_copies_that_may_be_on_record_come_first(self, path: str) -> None:
        """
        Whichever of equal rows was deleted or corrected, those that are left are those on record:
        under a free key they would be recorded once more.
        """
        ends = (State.REJECTED, State.UNKNOWN, State.CONFIRMED, State.NOT_SENT, State.UNKNOWN)
        await copies(path, *ends)
        plans = await planned(path, 6, EACH)

        assert ["a3", "a2", "a5", "a", "a4", "a6"] == [name(plan.key) for plan in plans]
        assert [Verdict.ON_RECORD, *[Verdict.SEND] * 5] == [plan.verdict for plan in plans]
        assert [False, True, True, *[False] * 3] == [plan.may_have_landed for plan in plans]
        assert [3, 2, 5, None, 4, 6] == [plan.copy for plan in plans]

    @pytest.mark.parametrize("first", [State.REJECTED, State.UNKNOWN, State.PLANNED])
    @pytest.mark.parametrize("duplicates", Duplicates)
    async def test_the_first_row_is_one_on_record_whatever_is_done_with_others(
        self, path: str, duplicates: Duplicates, first: State
    ) -> None:
        """
        A single row that is left is the one on record, not one that was refused or is in doubt.
        """
        await copies(path, first, State.CONFIRMED)
        (plan,) = await planned(path, 1, duplicates)

        assert (Verdict.ON_RECORD, "a2") == (plan.verdict, name(plan.key))

    async def test_copies_of_an_earlier_run_are_settled_though_no_more_are_made(
        self, path: str
    ) -> None:
        """
        That copies are refused from now on does not make one that may be on record a duplicate.
        """
        await copies(path, State.CONFIRMED, State.UNKNOWN, State.NOT_SENT)
        plans = await planned(path, 4, REFUSE)

        assert [
            (Verdict.ON_RECORD, "a", None),
            (Verdict.SEND, "a2", None),
            (Verdict.DUPLICATE, "a", 2),
            (Verdict.DUPLICATE, "a", 2),
        ] == [(plan.verdict, name(plan.key), plan.line) for plan in plans]

    async def test_a_copy_on_record_is_the_one_appearance(self, path: str) -> None:
        """
        A later row equal to one that a copy's record stands for is a duplicate of that row, and not
        sent under the key that is free.
        """
        await copies(path, State.REJECTED, State.CONFIRMED)
        plans = await planned(path, 3, REFUSE)

        assert [
            (Verdict.ON_RECORD, "a2", None),
            (Verdict.DUPLICATE, "a", 2),
            (Verdict.DUPLICATE, "a", 2),
        ] == [(plan.verdict, name(plan.key), plan.line) for plan in plans]

    async def test_one_payment_has_one_row_on_record(self, path: str) -> None:
        """
        Who says that equal rows are one payment is told of one, though two are on record.
        """
        await copies(path, State.CONFIRMED, State.CONFIRMED)
        plans = await planned(path, 2, ONCE)

        assert [Verdict.ON_RECORD, Verdict.DUPLICATE] == [plan.verdict for plan in plans]

    async def test_it_counts_what_a_run_has_seen(self, path: str) -> None:
        """
        The journal holds where a run saw a content first, and how often it did.
        """
        await copies(path, State.REJECTED, State.CONFIRMED)
        await planned(path, 3, REFUSE)
        three = seen(path)
        await planned(path, 1, REFUSE)

        one = seen(path)
        await planned(path, 2, EACH)

        assert [(2, 2, 3), (3, 2, 1), (4, 2, 2)] == [
            found["a"] for found in (three, one, seen(path))
        ]

    async def test_nothing_is_sent_of_what_is_one_payment(self, path: str) -> None:
        """
        Who says that equal rows are one payment gets no second one, whatever an earlier run did.
        """
        await copies(path, State.CONFIRMED, State.UNKNOWN)
        plans = await planned(path, 3, ONCE)

        assert [Verdict.ON_RECORD, Verdict.DUPLICATE, Verdict.DUPLICATE] == [
            plan.verdict for plan in plans
        ]

    async def test_many_equal_rows_take_no_longer_each(self, path: str) -> None:
        """
        A copy's key is looked up in an index, in order, however many copies there are.
        """
        await copies(path, State.CONFIRMED, State.REJECTED)
        with sqlite3.connect(path) as db:
            steps = db.execute(f"EXPLAIN QUERY PLAN {_plans._COPY}", ("a", 0, 2)).fetchall()
            last = db.execute(f"EXPLAIN QUERY PLAN {_plans._LAST_COPY}", ("a",)).fetchall()
        db.close()

        (look,), (most,) = ([step[-1] for step in found] for found in (steps, last))
        assert "INDEX copies_to_use (content=? AND <expr>=? AND used<?)" in look
        assert "INDEX copies (content=? AND nth>?)" in most

    @pytest.mark.parametrize("key", ["a", derive_idempotency_key("a", 2)])
    @pytest.mark.parametrize("duplicates", Duplicates)
    async def test_a_content_s_key_is_given_to_no_other_payment(
        self, path: str, key: str, duplicates: Duplicates
    ) -> None:
        """
        A row that was corrected has the key of what it says now, whatever key it has still: the
        file that it came from, once it is corrected as well, has that one, too.
        """
        await copies(path, State.REJECTED, State.REJECTED)
        await settle(path, "b", State.CONFIRMED, key=key)
        (plan,) = await planned(path, 1, duplicates, content="b")
        (again, *_) = await planned(path, 2, duplicates)

        assert (Verdict.ON_RECORD, "b") == (plan.verdict, plan.key)
        assert (Verdict.SEND, "a") == (again.verdict, again.key)

    @pytest.mark.parametrize("state", [State.UNKNOWN, State.CONFIRMED])
    async def test_a_content_s_key_that_may_be_on_record_is_given_to_no_other_payment(
        self, path: str, state: State
    ) -> None:
        """
        A row that was corrected too late is refused: under another key it would be paid twice.
        """
        await copies(path, State.CONFIRMED, state)
        async with open_journal(path) as journal:
            (plan,) = await journal.plan([row("b", key=derive_idempotency_key("a", 2))], EACH)

        assert (Verdict.CONFLICT, state) == (plan.verdict, plan.state)

    @pytest.mark.parametrize("duplicates", Duplicates)
    async def test_copies_on_record_count_though_their_content_s_key_is_another_payment_s(
        self, path: str, duplicates: Duplicates
    ) -> None:
        """
        A row that is on record under a copy's key is not sent under the key that its content gives,
        which a file gave to another payment before that.
        """
        await settle(path, "b", State.REJECTED, key="a")
        await settle(path, "a", State.CONFIRMED, key=derive_idempotency_key("a", 2))
        with sqlite3.connect(path) as db:
            db.execute("UPDATE rows SET nth = 2 WHERE content = 'a'")
        db.close()
        first, second = await planned(path, 2, duplicates)

        assert (Verdict.ON_RECORD, "a2") == (first.verdict, name(first.key))
        wanted = Verdict.SEND if duplicates is EACH else Verdict.DUPLICATE
        assert wanted is second.verdict

    async def test_a_row_that_named_a_copy_s_key_is_that_copy(self, path: str) -> None:
        """
        A row that an earlier run sent under the key of a copy is the copy.
        """
        await settle(path, "a", State.CONFIRMED, key=derive_idempotency_key("a", 2))
        plans = await planned(path, 3, EACH)

        assert ["a", "a2", "a3"] == [name(plan.key) for plan in plans]
        assert [Verdict.SEND, Verdict.ON_RECORD, Verdict.SEND] == [p.verdict for p in plans]
        assert [None, 2, 3] == [plan.copy for plan in plans]

    @pytest.mark.deep
    @pytest.mark.parametrize("seed", range(100))
    async def test_there_are_never_more_on_record_than_rows(self, path: str, seed: int) -> None:
        """
        However a file of equal rows changes from run to run, no key is used twice in a run, and no
        run sends more than the rows that are not on record yet.
        """
        chance = random.Random(seed)
        may_be: set[str] = set()
        on_record: set[str] = set()
        for _ in range(6):
            rows, duplicates = chance.randrange(1, 6), chance.choice([*Duplicates, EACH, EACH])
            async with open_journal(path) as journal:
                plans = await journal.plan([row("a", line=n) for n in range(rows)], duplicates)
                used = [plan for plan in plans if plan.verdict is not Verdict.DUPLICATE]
                sends = [plan for plan in used if plan.verdict is Verdict.SEND]
                ends = {plan.key: chance.choice([*State]) for plan in sends}
                ends = {
                    key: State.UNKNOWN if key in may_be and state in FREE else state
                    for key, state in ends.items()
                }
                await journal.settle([Settlement(keys=[k], state=s) for k, s in ends.items()])

            assert len(sends) <= max(0, rows - len(on_record))
            may_be |= {key for key, state in ends.items() if state not in FREE}
            on_record |= {key for key, state in ends.items() if state in ON_RECORD}
            assert len(used) == len({plan.key for plan in used})
            assert {p.key for p in used if p.verdict is Verdict.ON_RECORD} <= on_record

    async def test_a_content_s_key_that_another_payment_was_given_is_no_copy(
        self, path: str
    ) -> None:
        """
        Nor is the key that a content gives, once a file has given it to another payment.
        """
        await settle(path, "b", State.CONFIRMED, key="a")
        (plan,) = await planned(path, 1, EACH)

        assert (Verdict.CONFLICT, "a") == (plan.verdict, plan.key)

    async def test_a_content_s_key_that_the_file_gave_to_another_row_is_a_conflict(
        self, path: str
    ) -> None:
        """
        Within one file the row that has the key of a later row's content is named.
        """
        async with open_journal(path) as journal:
            plans = await journal.plan([row("b", key="a"), row("a", line=3)], EACH)

        conflict = Plan(verdict=Verdict.CONFLICT, key="a", line=2)
        assert [sent("a"), conflict] == plans

    async def test_a_content_s_key_that_nothing_is_recorded_under_comes_back(
        self, path: str
    ) -> None:
        """
        A key that another payment had in vain is free for the content that gives it.
        """
        await settle(path, "b", State.REJECTED, key="a")

        assert [sent("a", state=State.REJECTED)] == await planned(path, 1, REFUSE)

    async def test_one_key_given_twice_is_a_duplicate_even_so(self, path: str) -> None:
        """
        A key that the file itself repeats stands for one payment.
        """
        async with open_journal(path) as journal:
            plans = await journal.plan([row("a", key="k"), row("a", key="k", line=3)], EACH)

        assert [sent("k"), Plan(verdict=Verdict.DUPLICATE, key="k", line=2)] == plans

    async def test_a_key_given_twice_tells_what_came_of_the_first(self, path: str) -> None:
        """
        The second row of a key comes with what is known of the first one by then.
        """
        async with open_journal(path) as journal:
            await journal.plan([row("a", key="k")], REFUSE)
            await journal.settle([Settlement(keys=["k"], state=State.CONFIRMED)])
            plans = await journal.plan([row("a", key="k", line=3)], REFUSE)

        duplicate = Plan(verdict=Verdict.DUPLICATE, key="k", state=State.CONFIRMED, line=2)
        assert [duplicate] == plans

    async def test_a_row_with_a_key_of_its_own_is_no_copy(self, path: str) -> None:
        """
        A key that a file gives stands for a first appearance, in the run that made it and later.
        """
        for _ in range(2):
            async with open_journal(path) as journal:
                (plan,) = await journal.plan([row("a", key="k")], EACH)
            with sqlite3.connect(path) as db:
                ((nth,),) = db.execute("SELECT nth FROM rows")
            db.close()

            assert (None, 1) == (plan.copy, nth)

    async def test_one_key_for_two_payments_is_a_conflict(self, path: str) -> None:
        """
        A key that stands for another payment of the file is refused, whatever came of that one.
        """
        async with open_journal(path) as journal:
            (first,) = await journal.plan([row("a", key="k")], EACH)
            await journal.settle([Settlement(keys=["k"], state=State.REJECTED)])
            (second,) = await journal.plan([row("b", key="k", line=3)], EACH)

        assert sent("k") == first
        assert (Verdict.CONFLICT, "k", 2) == (second.verdict, second.key, second.line)

    @pytest.mark.parametrize(
        ("state", "verdict"),
        [
            (State.REJECTED, Verdict.SEND),
            (State.NOT_SENT, Verdict.SEND),
            (State.UNKNOWN, Verdict.CONFLICT),
            (State.PLANNED, Verdict.CONFLICT),
            (State.CONFIRMED, Verdict.CONFLICT),
            (State.ALREADY_RECORDED, Verdict.CONFLICT),
        ],
    )
    async def test_a_corrected_row_keeps_its_key_while_nothing_is_recorded_under_it(
        self, path: str, state: State, verdict: Verdict
    ) -> None:
        """
        Another payment may have the key of one that surely was not recorded, and of no other.
        """
        await settle(path, "a", state, key="k")
        async with open_journal(path) as journal:
            (plan,) = await journal.plan([row("corrected", key="k")], REFUSE)

        assert (verdict, state) == (plan.verdict, plan.state)
        assert plan.line is None


@pytest.mark.deep
class TestBatch:
    """Rows that are planned together, in one statement for many, are planned as one by one."""

    @pytest.mark.parametrize("seed", range(60))
    async def test_together_or_one_by_one_is_the_same(
        self, tmp_path: pathlib.Path, seed: int
    ) -> None:
        """
        Whatever earlier runs left, a batch gets the plans that its rows would get by themselves,
        and leaves the same journal behind.
        """
        chance = random.Random(seed)
        runs = [
            (chance.choice([*Duplicates]), [random_rows(chance) for _ in range(3)])
            for _ in range(4)
        ]
        ends = [[chance.choice([*State]) for _ in range(99)] for _ in runs]
        found = []
        for together in (True, False):
            path = str(tmp_path / f"{together}")
            told: list[Plan] = []
            for number, (duplicates, batches) in enumerate(runs):
                clock = partial(int, NOW + number * 20 * HOUR)
                async with open_journal(path, clock=clock, max_key_age=DAY) as journal:
                    before = len(told)
                    for batch in batches:
                        parts = [batch] if together else [[one] for one in batch]
                        for part in parts:
                            told += await journal.plan(part, duplicates)
                    sends = [p.key for p in told[before:] if p.verdict is Verdict.SEND]
                    settled = zip(sends, ends[number], strict=False)
                    await journal.settle([Settlement(keys=[k], state=s) for k, s in settled])
            found.append((told, everything(path)))

        assert found[1] == found[0]
        assert len({plan.verdict for plan in found[0][0]}) >= 3

    @pytest.mark.parametrize("together", [True, False])
    async def test_a_copy_s_key_goes_to_one_row_though_two_want_it(
        self, path: str, together: bool
    ) -> None:
        """
        Where a row names the key that a copy of other rows would get, one of the two is refused;
        which one that is depends on what was read together, and the journal remembers it.
        """
        second = derive_idempotency_key("a", 2)
        rows = [row("a"), row("a", line=3), row("b", line=4, key=second)]
        async with open_journal(path) as journal:
            parts = [rows] if together else [[one] for one in rows]
            plans = [plan for part in parts for plan in await journal.plan(part, EACH)]
            await journal.settle([Settlement(keys=[second], state=State.CONFIRMED)])
        async with open_journal(path) as journal:
            again = [(one, (await journal.plan([one], EACH))[0]) for one in rows]

        refused, sends = Verdict.CONFLICT, Verdict.SEND
        told = [plan.verdict for plan in plans]
        assert ([sends, refused, sends] if together else [sends, sends, refused]) == told
        on_record = [one.content for one, plan in again if plan.verdict is Verdict.ON_RECORD]
        assert ["b" if together else "a"] == on_record

    async def test_any_key_and_line_will_do(self, path: str) -> None:
        """
        Keys go to SQLite inside of JSON, and come out as they were.
        """
        keys = ['"', "\\", "\\u0041", "$.a", "0", "{}", "[1]", "a'b", "~ ~", "k" * 255]
        rows = [row(f"content of {key}", key=key, line=2**40 + n) for n, key in enumerate(keys)]
        async with open_journal(path) as journal:
            first = await journal.plan(rows, REFUSE)
            await journal.settle([Settlement(keys=[key], state=State.CONFIRMED) for key in keys])
        async with open_journal(path) as journal:
            second = await journal.plan(rows, REFUSE)

        assert [sent(key) for key in keys] == first
        assert [Verdict.ON_RECORD] * len(keys) == [plan.verdict for plan in second]
        assert set(keys) == states(path).keys()
        assert {2**40 + n for n in range(len(keys))} == {line for _, line, _ in seen(path).values()}

    async def test_many_rows_make_few_statements(
        self, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The journal's thread waits for Python's lock after each statement, so that a statement a row
        would take as long as all else under a busy event loop.
        """
        traced: list[str] = []
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect

        def spy(*args: Any, **options: Any) -> sqlite3.Connection:
            db = connect(*args, **options)
            db.set_trace_callback(traced.append)
            return db

        monkeypatch.setattr(sqlite3, "connect", spy)
        counts = []
        for _ in range(2):
            async with open_journal(path) as journal:
                traced.clear()
                plans = await journal.plan([row(f"{n}", line=n) for n in range(256)], REFUSE)
                await journal.settle(
                    [Settlement(keys=[plan.key], state=State.UNKNOWN, attempts=1) for plan in plans]
                )
                counts.append(len(traced))

        assert [7, 9] == counts  # what is new needs no look at what is known


NOW = 1_800_000_000
HOUR = 3600
DAY = 24 * HOUR


def random_rows(chance: random.Random) -> list[Candidate]:
    """Return rows of few contents, with keys of their own now and then: one is another's."""
    contents = ["a", "b", "c", "d"]
    keys = [*[None] * 12, "x", "y", "z", "a"]
    return [
        row(chance.choice(contents), key=chance.choice(keys), line=chance.randrange(10**6))
        for _ in range(chance.randrange(1, 7))
    ]


def everything(path: str) -> list[tuple[object, ...]]:
    """Return all rows of a journal."""
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT * FROM rows ORDER BY key").fetchall()
    db.close()
    return found


async def age(path: str, after: float, **options: Any) -> Plan:
    """Return what a run does with a row so many seconds after it was planned first."""
    options = {"max_key_age": DAY, **options}
    async with open_journal(path, clock=lambda: NOW + after, **options) as journal:
        (plan,) = await journal.plan([row("a")], REFUSE)
    return plan


async def left(path: str, state: State | None, after: float = 0) -> None:
    """Leave a row behind, settled or not."""
    async with open_journal(path, clock=lambda: NOW + after) as journal:
        await journal.plan([row("a")], REFUSE)
        if state is not None:
            await journal.settle([Settlement(keys=["a"], state=state)])


def planned_at(path: str) -> int | None:
    with sqlite3.connect(path) as db:
        ((found,),) = db.execute("SELECT planned_at FROM rows")
    db.close()
    assert found is None or isinstance(found, int)
    return found


class TestKeyAge:
    @pytest.mark.parametrize("state", [State.UNKNOWN, None])
    async def test_a_row_in_doubt_is_asked_for_while_its_key_is_young(
        self, path: str, state: State | None
    ) -> None:
        """
        A key that may have been sent is sent again for a day, and not a second longer: the vendor
        may have forgotten it, and would record the payment once more.
        """
        await left(path, state)
        before = state or State.PLANNED

        assert sent("a", state=before, may_have_landed=True) == await age(path, DAY)
        assert Plan(
            verdict=Verdict.TOO_OLD, key="a", state=State.PLANNED, may_have_landed=True, age=DAY + 1
        ) == await age(path, DAY + 1)
        assert {"a": "unknown"} == states(path)

    async def test_it_counts_from_the_first_time_that_the_key_may_have_been_sent(
        self, path: str
    ) -> None:
        """
        Runs that ask again and learn nothing do not make a key younger, and nor do runs that do not
        ask since it is too old.
        """
        for hours in (0, 10, 20):
            await left(path, State.UNKNOWN, hours * HOUR)
        first = await age(path, 25 * HOUR)
        second = await age(path, 26 * HOUR)

        assert [25 * HOUR, 26 * HOUR] == [first.age, second.age]
        assert NOW == planned_at(path)

    @pytest.mark.parametrize("state", [State.REJECTED, State.NOT_SENT])
    async def test_a_key_under_which_surely_nothing_is_recorded_is_new_again(
        self, path: str, state: State
    ) -> None:
        """
        A row that the vendor refused, or that was never sent, can be sent whenever that was; from
        then on its key may have been sent.
        """
        await left(path, state)

        assert sent("a", state=state) == await age(path, 300 * DAY)
        assert NOW + 300 * DAY == planned_at(path)

    async def test_what_is_on_record_has_no_age(self, path: str) -> None:
        """
        A row that is settled needs no asking, however long ago that was.
        """
        await left(path, State.CONFIRMED)

        assert Verdict.ON_RECORD is (await age(path, 300 * DAY)).verdict

    async def test_forever_is_any_age(self, path: str) -> None:
        """
        Who knows that the vendor never forgets a key has it sent again after years.
        """
        await left(path, State.UNKNOWN)

        assert Verdict.SEND is (await age(path, 3000 * DAY, max_key_age=None)).verdict

    async def test_a_clock_that_went_back_makes_the_age_unknown(self, path: str) -> None:
        """
        A key that seems to have been sent in the future was sent nobody knows when. It stays too
        old when the clock comes to that time again, and seems to make the key new.
        """
        await left(path, State.UNKNOWN)
        back = await age(path, -2 * HOUR)
        again = await age(path, 1)

        unknown = Plan(
            verdict=Verdict.TOO_OLD, key="a", state=State.UNKNOWN, may_have_landed=True, age=None
        )
        assert [unknown, unknown] == [back, again]
        assert planned_at(path) is None

    async def test_a_clock_that_is_set_right_by_seconds_changes_nothing(self, path: str) -> None:
        """
        Machines set their clocks right all the time.
        """
        await left(path, State.UNKNOWN)

        assert Verdict.SEND is (await age(path, -60)).verdict
        assert Verdict.TOO_OLD is (await age(path, -61)).verdict

    async def test_who_sends_at_any_age_sends_also_at_an_unknown_one(self, path: str) -> None:
        """
        That the clock went back is remembered all the same.
        """
        await left(path, State.UNKNOWN)

        assert Verdict.SEND is (await age(path, -DAY, max_key_age=None)).verdict
        assert Verdict.TOO_OLD is (await age(path, 1)).verdict

    async def test_a_row_that_repeats_one_too_old_is_no_other_payment(self, path: str) -> None:
        """
        Of equal rows the key that is too old is in use, and the rest goes on as ever.
        """
        await left(path, State.UNKNOWN)
        later = open_journal(path, clock=lambda: NOW + 2 * DAY, max_key_age=DAY)
        async with later as journal:
            plans = await journal.plan([row("a"), row("a", line=3), row("b", line=4)], REFUSE)

        assert [Verdict.TOO_OLD, Verdict.DUPLICATE, Verdict.SEND] == [p.verdict for p in plans]
        assert 1 == later.too_old

    async def test_of_copies_the_old_ones_stay_and_the_others_go(self, path: str) -> None:
        """
        With each row a payment of its own, a key that is too old stands for one of them.
        """
        async with open_journal(path, clock=lambda: NOW) as journal:
            first, second = await journal.plan([row("a"), row("a", line=3)], EACH)
            await journal.settle(
                [
                    Settlement(keys=[first.key], state=State.REJECTED),
                    Settlement(keys=[second.key], state=State.UNKNOWN),
                ]
            )
        async with open_journal(path, clock=lambda: NOW + 2 * DAY, max_key_age=DAY) as journal:
            plans = await journal.plan([row("a"), row("a", line=3)], EACH)

        assert [(Verdict.TOO_OLD, "a2"), (Verdict.SEND, "a")] == [
            (plan.verdict, name(plan.key)) for plan in plans
        ]
        assert {"a": "planned", second.key: "unknown"} == states(path)

    async def test_a_key_that_is_too_old_is_not_given_to_another_payment(self, path: str) -> None:
        """
        What may be on record under it may be on record however long.
        """
        await left(path, State.UNKNOWN)
        async with open_journal(path, clock=lambda: NOW + 9 * DAY, max_key_age=DAY) as journal:
            (plan,) = await journal.plan([row("corrected", key="a")], REFUSE)

        assert Verdict.CONFLICT is plan.verdict


class TestSettle:
    async def test_what_came_of_a_row_is_on_disk_without_the_row(self, path: str) -> None:
        """
        The journal holds the state, the error's kind and the tries of all runs.
        """
        for _ in range(2):
            async with open_journal(path) as journal:
                await journal.plan([row("a")], REFUSE)
                await journal.settle(
                    [
                        Settlement(
                            keys=["a"],
                            state=State.REJECTED,
                            attempts=3,
                            error="BadRequestError",
                            status=400,
                            code="X",
                        )
                    ]
                )
        with sqlite3.connect(path) as db:
            db.row_factory = sqlite3.Row
            (found,) = map(dict, db.execute("SELECT * FROM rows"))
        db.close()

        assert found.pop("settled_at") >= found.pop("planned_at")
        assert {
            "key": "a",
            "content": "a",
            "nth": 1,
            "given_away": 0,
            "state": "rejected",
            "may_have_landed": 0,
            "by_hand": 0,
            "used": 2,
            "run": 2,
            "line": 2,
            "seen": 1,
            "attempts": 6,
            "error": "BadRequestError",
            "status": 400,
            "code": "X",
        } == found

    async def test_a_transaction_that_fails_leaves_nothing(self, path: str) -> None:
        """
        A group is settled whole or not at all.
        """
        async with open_journal(path) as journal:
            await journal.plan([row("a")], REFUSE)
            broken = Settlement(keys=["a"], state=object())  # type: ignore[arg-type]  # on purpose
            with pytest.raises(JournalError, match="cannot be used"):
                await journal.settle([Settlement(keys=["a"], state=State.CONFIRMED), broken])
            await journal.settle([])

        assert {"a": "planned"} == states(path)

    async def test_a_row_without_trouble_has_none_on_disk(self, path: str) -> None:
        """
        Where nothing is said of tries and errors, there were none.
        """
        async with open_journal(path) as journal:
            await journal.plan([row("a")], REFUSE)
            await journal.settle([Settlement(keys=["a"], state=State.ALREADY_RECORDED)])
        with sqlite3.connect(path) as db:
            found = db.execute("SELECT nth, attempts, error, status, code FROM rows").fetchall()
        db.close()

        assert [(1, 0, None, None, None)] == found


class TestFile:
    async def test_only_its_owner_can_read_it(self, path: str, tmp_path: pathlib.Path) -> None:
        """
        The journal and what SQLite puts beside it have mode 0600.
        """
        async with open_journal(path) as journal:
            await journal.plan([row("a")], REFUSE)
            during = modes(tmp_path)

        assert {"journal": 0o600, "journal-wal": 0o600} == during
        assert {"journal": 0o600} == modes(tmp_path)

    async def test_a_file_that_was_there_becomes_its_owner_s_alone(
        self, path: str, tmp_path: pathlib.Path
    ) -> None:
        """
        Whoever could read the empty file that a run was given cannot read the journal.
        """
        (tmp_path / "journal").touch(0o666)
        (tmp_path / "journal").chmod(0o666)
        async with open_journal(path):
            assert {0o600} == set(modes(tmp_path).values())

    async def test_nobody_else_can_open_it_even_for_a_moment(
        self, path: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A journal has its rights from its beginning: who opened it before could read it ever after.
        """
        at_first = []

        def look(*_: object) -> None:
            at_first.append(modes(tmp_path)["journal"])

        monkeypatch.setattr("carevalidate_async.journal._file.os.chmod", look)
        mask = os.umask(0)
        try:
            async with open_journal(path):
                pass
        finally:
            os.umask(mask)

        assert [0o600] == at_first

    async def test_a_file_whose_rights_stay_is_refused(
        self, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A file of somebody else's is no place for a journal.
        """

        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("carevalidate_async.journal._file.os.chmod", refuse)
        with pytest.raises(JournalError) as caught:
            await open_journal(path).__aenter__()

        reason = "cannot be made its owner's alone: Operation not permitted"
        assert f"the journal {path} {reason}" == str(caught.value)

    async def test_a_second_run_on_it_is_refused(self, path: str) -> None:
        """
        Two runs at a time would send the same rows twice over.
        """
        async with open_journal(path):
            for rehearse in (False, True):
                with pytest.raises(JournalError) as caught:
                    await open_journal(path, rehearse=rehearse).__aenter__()
                reason = "is in use: another run is at work on it, or a command"
                assert f"the journal {path} {reason}" == str(caught.value)

        async with open_journal(path):
            pass

    async def test_it_serves_one_target(self, path: str) -> None:
        """
        What is on record in staging says nothing about production.
        """
        async with open_journal(path):
            pass
        with pytest.raises(JournalError) as caught:
            await open_journal(path, target="production").__aenter__()

        assert (
            f"the journal {path} belongs to staging, and this run goes to production; "
            "name another file" == str(caught.value)
        )

    async def test_a_refused_run_does_not_keep_the_file(self, path: str) -> None:
        """
        A run that was refused leaves the journal to the next one, and no thread behind.
        """
        async with open_journal(path):
            pass
        refused = open_journal(path, target="production")
        with pytest.raises(JournalError):
            await refused.__aenter__()

        async with open_journal(path) as journal:
            assert not journal.fresh
        for thread in own_threads():
            thread.join(timeout=5)
        assert [] == own_threads()

    async def test_the_first_run_on_it_is_told_from_later_ones(self, path: str) -> None:
        """
        What is not in a journal was never sent only if no run came before.
        """
        fresh = []
        for rehearse in (True, False, True, False, False):
            async with open_journal(path, rehearse=rehearse) as journal:
                fresh.append(journal.fresh)

        assert [True, True, False, False, False] == fresh

    async def test_its_header_says_what_it_is(self, path: str, tmp_path: pathlib.Path) -> None:
        """
        The marks that tell a journal and its format never change, or no run would read a journal
        of an earlier version of the package.
        """
        async with open_journal(path):
            pass
        header = (tmp_path / "journal").read_bytes()[:100]

        # Where SQLite's file format has the user version and the application's id.
        assert (3).to_bytes(4) == header[60:64]
        assert b"CVJL" == header[68:72]

    @pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1])
    async def test_another_format_is_refused(self, path: str, other: int) -> None:
        """
        A journal of an earlier or a later version is not guessed at.
        """
        async with open_journal(path):
            pass
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {other}")
        db.close()
        with pytest.raises(JournalError) as caught:
            await open_journal(path).__aenter__()

        assert (
            f"the journal {path} has format {other}, and this version of the package reads "
            f"format {FORMAT}; use the version that began it, or name another file"
            == str(caught.value)
        )

    @pytest.mark.parametrize(
        "statement", ["CREATE TABLE precious (x)", "PRAGMA application_id = 7"]
    )
    async def test_someone_elses_database_is_left_alone(self, path: str, statement: str) -> None:
        """
        A database that is no journal is refused unchanged.
        """
        with sqlite3.connect(path) as db:
            db.execute(statement)
        db.close()
        with open(path, "rb") as file:
            before = file.read()
        with pytest.raises(JournalError) as caught:
            await open_journal(path).__aenter__()

        expected = f"{path} is a database, but no journal; name another file"
        assert expected == str(caught.value)
        with open(path, "rb") as file:
            assert before == file.read()

    async def test_a_file_that_is_no_database_is_left_alone(self, tmp_path: pathlib.Path) -> None:
        """
        Naming the payments file as the journal does it no harm.
        """
        path = tmp_path / "payments.csv"
        path.write_text("case_id,amount\n" * 100)
        with pytest.raises(JournalError, match="not a database"):
            await open_journal(str(path)).__aenter__()

        assert "case_id,amount\n" * 100 == path.read_text()

    async def test_a_place_where_nothing_can_be_written_is_named(
        self, tmp_path: pathlib.Path
    ) -> None:
        """
        A journal that cannot be made says why.
        """
        path = tmp_path / "absent" / "journal"
        with pytest.raises(JournalError) as caught:
            await open_journal(str(path)).__aenter__()

        reason = "cannot be opened: No such file or directory"
        assert f"the journal {path} {reason}" == str(caught.value)

    @pytest.mark.parametrize("rehearse", [True, False])
    async def test_what_is_no_file_is_refused(self, *, rehearse: bool) -> None:
        """
        A device remembers nothing.
        """
        with pytest.raises(JournalError, match=r"^the journal /dev/null is not a regular file$"):
            await open_journal("/dev/null", rehearse=rehearse).__aenter__()

    async def test_a_name_that_sqlite_reads_otherwise_is_a_file(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Whatever the journal is called, it is on disk.
        """
        monkeypatch.chdir(tmp_path)
        await settle(":memory:", "a", State.CONFIRMED)

        assert {"a": "confirmed"} == states(str(tmp_path / ":memory:"))

    async def test_sqlites_own_troubles_are_journal_errors(
        self, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Whatever SQLite finds wrong names the journal.
        """

        def fail(*_: object, **__: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(_runs, "begin", fail)
        with pytest.raises(JournalError) as caught:
            await open_journal(path).__aenter__()

        assert f"the journal {path} cannot be used: disk I/O error" == str(caught.value)

    async def test_a_run_that_ends_leaves_one_plain_file(
        self, path: str, tmp_path: pathlib.Path
    ) -> None:
        """
        It can be copied, mailed and read by itself, also from where nothing can be written.
        """
        await settle(path, "a", State.CONFIRMED)

        assert ["journal"] == list(modes(tmp_path))
        with open(path, "rb") as file:
            # Where SQLite's file format says who may read and write: 1 is without a log.
            assert b"\x01\x01" == file.read()[18:20]

    async def test_a_log_that_cannot_be_put_away_stays(
        self, path: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A disk that is full at the end loses nothing: the next run reads the log.
        """

        class Full(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                if "journal_mode = DELETE" in sql:
                    raise sqlite3.OperationalError("database or disk is full")
                return super().execute(sql, *parameters)

        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Full))
            await settle(path, "a", State.CONFIRMED)

        assert Verdict.ON_RECORD is (await planned(path, 1, REFUSE))[0].verdict

    async def test_an_sqlite_that_is_too_old_is_named(
        self, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        What it could not do would be a syntax error in the middle of a run.
        """
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 32, 9))
        monkeypatch.setattr(sqlite3, "sqlite_version", "3.32.9")
        with pytest.raises(JournalError) as caught:
            await open_journal(path).__aenter__()

        assert "a journal needs SQLite 3.33; here is 3.32.9" == str(caught.value)

    async def test_a_full_disk_is_named(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Where SQLite has rolled back by itself, as it does on a full disk, its reason is told, and
        the journal goes on.
        """

        def fail(db: sqlite3.Connection, *_: object, **__: object) -> None:
            db.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")

        async with open_journal(path) as journal:
            await journal.plan([row("a")], REFUSE)
            with monkeypatch.context() as patch:
                patch.setattr(_records, "settle", fail)
                with pytest.raises(JournalError, match="cannot be used: database or disk is full"):
                    await journal.settle([Settlement(keys=["a"], state=State.CONFIRMED)])
            await journal.settle([Settlement(keys=["a"], state=State.REJECTED)])

        assert {"a": "rejected"} == states(path)

    async def test_closing_twice_is_fine_and_using_it_after_says_so(self, path: str) -> None:
        """
        A closed journal takes nothing.
        """
        journal = await open_journal(path).__aenter__()
        await journal.aclose()
        await journal.aclose()

        with pytest.raises(JournalError) as caught:
            await journal.plan([row("a")], REFUSE)

        assert f"the journal {path} is not open" == str(caught.value)

    async def test_it_is_used_within_its_block_only(self, path: str) -> None:
        """
        A journal that was not opened yet takes nothing, and nor does one that is being closed.
        """
        journal = open_journal(path)
        with pytest.raises(JournalError, match="is not open"):
            await journal.plan([row("a")], REFUSE)
        await journal.__aenter__()
        closing = asyncio.create_task(journal.aclose())
        await asyncio.sleep(0)
        with pytest.raises(JournalError, match="is not open"):
            await journal.plan([row("a")], REFUSE)
        await closing

        assert {} == states(path)

    async def test_all_sqlite_work_is_in_one_thread_of_its_own(
        self, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The event loop never waits for the disk.
        """
        seen = set()
        connect = sqlite3.connect

        def spy(*args: object, **kwargs: object) -> sqlite3.Connection:
            seen.add(threading.current_thread().name)
            return connect(*args, **kwargs)  # type: ignore[call-overload,no-any-return]

        monkeypatch.setattr(sqlite3, "connect", spy)
        async with open_journal(path) as journal:
            await journal.plan([row("a")], REFUSE)

        assert {"journal_0"} == seen


class TestRehearsal:
    async def test_it_makes_no_file(
        self, path: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A rehearsal of a first run keeps nothing, and still finds duplicates.
        """
        monkeypatch.chdir(tmp_path)
        async with open_journal(path, rehearse=True) as journal:
            plans = await journal.plan([row("a"), row("a", line=3)], REFUSE)

        assert [Verdict.SEND, Verdict.DUPLICATE] == [plan.verdict for plan in plans]
        assert {} == modes(tmp_path)

    async def test_it_needs_no_name(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Where no file is named there is none to read; what is no rehearsal needs one.
        """
        monkeypatch.chdir(tmp_path)
        async with open_journal("", rehearse=True) as journal:
            assert [sent("a")] == await journal.plan([row("a")], REFUSE)
        with pytest.raises(JournalError, match="cannot be opened: No such file"):
            await open_journal("").__aenter__()

        assert {} == modes(tmp_path)

    async def test_it_reads_what_is_there_and_changes_nothing(
        self, path: str, tmp_path: pathlib.Path
    ) -> None:
        """
        A rehearsal knows what is on record, and leaves the journal byte for byte.
        """
        await settle(path, "a", State.CONFIRMED)
        before = (tmp_path / "journal").read_bytes()
        async with open_journal(path, rehearse=True) as journal:
            plans = await journal.plan([row("a"), row("b", line=3)], REFUSE)

        assert [Verdict.ON_RECORD, Verdict.SEND] == [plan.verdict for plan in plans]
        assert before == (tmp_path / "journal").read_bytes()
        assert ["journal"] == list(modes(tmp_path))

    async def test_it_reads_what_a_killed_run_left_and_changes_nothing(
        self, path: str, tmp_path: pathlib.Path
    ) -> None:
        """
        What is only in the log is known, and stays there.
        """
        await asyncio.to_thread(left_by_a_kill, path, a="confirmed")
        before = snapshot(str(tmp_path))
        target = {"target": TARGET}
        async with open_journal(path, rehearse=True, **target) as journal:
            plans = await journal.plan([row("a"), row("b", line=3)], REFUSE)

        assert [Verdict.ON_RECORD, Verdict.SEND] == [plan.verdict for plan in plans]
        assert {"journal", "journal-wal"} == before.keys()
        assert before == snapshot(str(tmp_path))

    async def test_it_takes_an_empty_file_for_a_new_journal(
        self, path: str, tmp_path: pathlib.Path
    ) -> None:
        """
        As a run would, which makes a journal of it.
        """
        (tmp_path / "journal").touch()
        async with open_journal(path, rehearse=True) as journal:
            assert [sent("a")] == await journal.plan([row("a")], REFUSE)

        assert b"" == (tmp_path / "journal").read_bytes()

    async def test_it_holds_nobody_up(self, path: str) -> None:
        """
        While one goes on, a run can begin, of which it knows nothing.
        """
        await settle(path, "a", State.CONFIRMED)
        async with open_journal(path, rehearse=True) as rehearsal:
            await settle(path, "b", State.CONFIRMED)
            plans = await rehearsal.plan([row("a"), row("b", line=3)], REFUSE)

        assert [Verdict.ON_RECORD, Verdict.SEND] == [plan.verdict for plan in plans]


class TestCredential:
    """A journal belongs to the organization whose API key its runs had."""

    async def test_another_key_is_refused_once_something_is_at_stake(self, path: str) -> None:
        """
        What is on record in one organization would not be sent to another, and what is in doubt
        would be recorded a second time there.
        """
        for state in (State.CONFIRMED, State.ALREADY_RECORDED, State.UNKNOWN, None):
            own = f"{path}-{state}"
            async with open_journal(own, secret=Secret("one")) as journal:
                await journal.plan([row("a")], REFUSE)
                if state is not None:
                    await journal.settle([Settlement(keys=["a"], state=state)])
            with pytest.raises(JournalError, match="was begun with another API key") as caught:
                await open_journal(own, secret=Secret("two")).__aenter__()

            assert "--rotated-key" in str(caught.value)
            async with open_journal(own, secret=Secret("one")) as journal:
                assert 2 == journal._run  # the refused one is none

    @pytest.mark.parametrize("state", [State.REJECTED, State.NOT_SENT])
    async def test_a_key_under_which_nothing_was_recorded_binds_nothing(
        self, path: str, state: State
    ) -> None:
        """
        Who had mistyped the key, and was refused, runs the same journal with the right one.
        """
        async with open_journal(path, secret=Secret("mistyped")) as journal:
            await journal.plan([row("a")], REFUSE)
            await journal.settle([Settlement(keys=["a"], state=state)])
        async with open_journal(path, secret=Secret("right")) as journal:
            await journal.plan([row("a")], REFUSE)
            await journal.settle([Settlement(keys=["a"], state=State.CONFIRMED)])

        with pytest.raises(JournalError, match="another API key"):
            await open_journal(path, secret=Secret("mistyped")).__aenter__()

    async def test_a_rotated_key_takes_the_old_one_s_place(self, path: str) -> None:
        """
        Who says that the key is a new one of the same organization says it once.
        """
        async with open_journal(path, secret=Secret("old")) as journal:
            await journal.plan([row("a")], REFUSE)
        for rotated in (True, False):
            async with open_journal(path, secret=Secret("new"), rotated=rotated):
                pass
        with pytest.raises(JournalError, match="another API key"):
            await open_journal(path, secret=Secret("old")).__aenter__()

    async def test_without_a_key_nothing_is_looked_at(self, path: str) -> None:
        """
        A rehearsal may have no key; with one it tells what a run would say, and binds nothing.
        """
        async with open_journal(path, secret=Secret("one")) as journal:
            await journal.plan([row("a")], REFUSE)
        for secret, rotated in ((None, False), (Secret("one"), False), (Secret("two"), True)):
            async with open_journal(path, rehearse=True, secret=secret, rotated=rotated):
                pass
        with pytest.raises(JournalError, match="another API key"):
            await open_journal(path, rehearse=True, secret=Secret("two")).__aenter__()

    async def test_the_key_is_nowhere(self, path: str, tmp_path: pathlib.Path) -> None:
        """
        The journal has a fingerprint with a salt of its own, and an error has nothing in its frames
        from which the key could be read.
        """
        seen = Seen()
        prints = set()
        for name in (path, f"{path}-2"):
            async with open_journal(name, secret=Secret(KEY)) as journal:
                await journal.plan([row("a")], REFUSE)
            with sqlite3.connect(name) as db:
                prints |= {value for _, value in db.execute("SELECT * FROM facts")}
            db.close()
        with pytest.raises(JournalError) as caught:
            await open_journal(path, secret=Secret("other")).__aenter__()
        seen.add_error(caught.value)
        with pytest.raises(JournalError) as caught:
            await open_journal(path, target="production", secret=Secret(KEY)).__aenter__()
        seen.add_error(caught.value)
        for file in modes(tmp_path):
            with open(tmp_path / file, "rb") as stream:
                seen.add(file, stream.read())

        assert [] == seen.planted()
        assert {"staging"} < prints
        assert 5 == len(prints)


class TestRuns:
    """A journal knows its runs."""

    def past(self, path: str) -> Sequence[PastRun]:
        with sqlite3.connect(path) as db:
            found = past_runs(db)
        db.close()
        return found

    async def test_it_says_when_of_what_and_how(self, path: str, tmp_path: pathlib.Path) -> None:
        """
        Each run has its beginning, its file, the package's version, and how it ended.
        """
        counts = {"rows": 3, "confirmed": 2, "to_decide": 1}
        for number, ending in enumerate(Ending):
            times = iter([NOW + number, NOW + 10 + number])
            file = str(tmp_path / "payments.csv")
            async with open_journal(path, file=file, clock=partial(next, times)) as journal:
                await journal.end(ending, counts, "the disk is full" if number else None)

        assert [
            PastRun(
                number=number + 1,
                began_at=NOW + number,
                ended_at=NOW + 10 + number,
                file=str(tmp_path / "payments.csv"),
                version=__version__,
                max_key_age=None,
                duplicates=None,
                ended=ending,
                reason="the disk is full" if number else None,
                counts=counts,
            )
            for number, ending in enumerate(Ending)
        ] == self.past(path)
        assert ["complete", "interrupted", "stopped early"] == [*Ending]

    async def test_one_that_was_killed_has_no_end(self, path: str) -> None:
        """
        A run that never said how it ended is told from one that did.
        """
        async with open_journal(path):
            pass
        (run,) = self.past(path)

        assert (None, None, None, None) == (run.ended_at, run.ended, run.reason, run.counts)
        assert (run.file, run.count("rows")) == (None, 0)

    @pytest.mark.parametrize("name", ["payments.csv", "caf\udce9.csv", "\u20ac.csv"])
    async def test_its_file_is_named_whatever_its_name(
        self, path: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """
        A name is kept as it is, in any encoding, from the root on.
        """
        monkeypatch.chdir(tmp_path)
        async with open_journal(path, file=name):
            pass

        assert [str(tmp_path / name)] == [run.file for run in self.past(path)]

    async def test_why_it_ended_may_name_such_a_file(self, path: str) -> None:
        """
        A reason that is no text, for the file's name in it is none, can be written all the same.
        """
        async with open_journal(path) as journal:
            await journal.end(Ending.STOPPED_EARLY, {}, "no space: caf\udce9.csv")

        assert ["no space: caf\\udce9.csv"] == [run.reason for run in self.past(path)]

    async def test_the_first_file_is_remembered(self, path: str, tmp_path: pathlib.Path) -> None:
        """
        A run of another file, of a rejects file for one, is told what the journal was begun with.
        """
        begun = []
        for file in ("first.csv", "second.csv", None):
            given = None if file is None else str(tmp_path / file)
            async with open_journal(path, file=given) as journal:
                begun.append(journal.begun_with)

        assert [str(tmp_path / "first.csv")] * 3 == begun

    async def test_a_rehearsal_is_no_run(self, path: str) -> None:
        """
        What keeps nothing does not count.
        """
        async with open_journal(path):
            pass
        async with open_journal(path, rehearse=True) as journal:
            await journal.end(Ending.COMPLETE, {}, None)

        assert [1] == [run.number for run in self.past(path)]
        assert self.past(path)[0].ended is None
