from __future__ import annotations

import asyncio
import inspect
import os
import random
import sqlite3
import stat
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from carevalidate_async import _records
from carevalidate_async import journal as module
from carevalidate_async.idempotency import derive_idempotency_key
from carevalidate_async.journal import (
    FORMAT,
    ON_RECORD,
    Candidate,
    Duplicates,
    Journal,
    JournalError,
    Plan,
    Settlement,
    State,
    Verdict,
)

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

FREE = {State.REJECTED, State.NOT_SENT}
REFUSE, ONCE, EACH = Duplicates.REFUSE, Duplicates.ONCE, Duplicates.EACH


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "journal")


def open_journal(path: str, *, target: str = "staging", rehearse: bool = False) -> Journal:
    return Journal(path, target=target, rehearse=rehearse)


def row(content: str, *, line: int = 2, key: str | None = None) -> Candidate:
    return Candidate(line=line, content=content, key=key)


def sent(key: str, **facts: object) -> Plan:
    return Plan(verdict=Verdict.SEND, key=key, **facts)  # type: ignore[arg-type]  # of its fields


async def settle(path: str, content: str, state: State, *, key: str | None = None) -> None:
    """Let a run plan a row and settle it."""
    async with open_journal(path) as journal:
        (plan,) = await journal.plan([row(content, key=key)], REFUSE)
        await journal.settle([Settlement(key=plan.key, state=state, attempts=1)])


async def copies(path: str, *states: State) -> None:
    """Let a run plan equal rows, each a payment of its own, and settle them."""
    async with open_journal(path) as journal:
        plans = await journal.plan([row("a", line=n) for n in range(2, 2 + len(states))], EACH)
        await journal.settle(
            [Settlement(key=p.key, state=s) for p, s in zip(plans, states, strict=True)]
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
        The module's list of names is whole: what it defines, and what it brings of the records.
        """
        found = {
            name for name, value in vars(module).items() if not name.startswith("_") and ours(value)
        }

        assert {*module.__all__, "SCHEMA", "T", "TYPE_CHECKING"} == found


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
            assert [False, True, True] == [plan.nth for plan in plans]

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
        assert [True, True, True, False, True, True] == [plan.nth for plan in plans]

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
            steps = db.execute(f"EXPLAIN QUERY PLAN {_records._COPY}", ("a", 0, 2)).fetchall()
            last = db.execute(f"EXPLAIN QUERY PLAN {_records._LAST_COPY}", ("a",)).fetchall()
        db.close()

        (look,), (most,) = ([step[-1] for step in found] for found in (steps, last))
        assert "INDEX copies_to_use (content=? AND <expr>=? AND used<?)" in look
        assert "INDEX copies (content=? AND nth>?)" in most

    async def test_a_copy_s_key_that_another_payment_was_given_is_no_copy(self, path: str) -> None:
        """
        A key that a file names stands for its payment alone.
        """
        second = derive_idempotency_key("a", 2)
        await copies(path, State.CONFIRMED, State.REJECTED, State.CONFIRMED)
        await settle(path, "b", State.CONFIRMED, key=second)
        plans = await planned(path, 4, EACH)
        others = await planned(path, 2, EACH, content="b")

        assert [*[Verdict.ON_RECORD] * 2, *[Verdict.CONFLICT] * 2] == [p.verdict for p in plans]
        assert ["a", "a3", "a", "a"] == [name(plan.key) for plan in plans]
        assert second not in {plan.key for plan in others}

    async def test_a_row_that_named_a_copy_s_key_is_that_copy(self, path: str) -> None:
        """
        A row that an earlier run sent under the key of a copy is the copy.
        """
        await settle(path, "a", State.CONFIRMED, key=derive_idempotency_key("a", 2))
        plans = await planned(path, 3, EACH)

        assert ["a", "a2", "a3"] == [name(plan.key) for plan in plans]
        assert [Verdict.SEND, Verdict.ON_RECORD, Verdict.SEND] == [p.verdict for p in plans]
        assert [False, True, True] == [plan.nth for plan in plans]

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
                await journal.settle([Settlement(key=k, state=s) for k, s in ends.items()])

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
            await journal.settle([Settlement(key="k", state=State.CONFIRMED)])
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

            assert (False, 1) == (plan.nth, nth)

    async def test_one_key_for_two_payments_is_a_conflict(self, path: str) -> None:
        """
        A key that stands for another payment of the file is refused, whatever came of that one.
        """
        async with open_journal(path) as journal:
            (first,) = await journal.plan([row("a", key="k")], EACH)
            await journal.settle([Settlement(key="k", state=State.REJECTED)])
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
                            key="a",
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
            broken = Settlement(key="a", state=object())  # type: ignore[arg-type]  # on purpose
            with pytest.raises(JournalError, match="cannot be used"):
                await journal.settle([Settlement(key="a", state=State.CONFIRMED), broken])
            await journal.settle([])

        assert {"a": "planned"} == states(path)

    async def test_a_row_without_trouble_has_none_on_disk(self, path: str) -> None:
        """
        Where nothing is said of tries and errors, there were none.
        """
        async with open_journal(path) as journal:
            await journal.plan([row("a")], REFUSE)
            await journal.settle([Settlement(key="a", state=State.ALREADY_RECORDED)])
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

        monkeypatch.setattr("carevalidate_async.journal.os.chmod", look)
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

        monkeypatch.setattr("carevalidate_async.journal.os.chmod", refuse)
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
                reason = "is in use: another run is at work on it"
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
        assert (1).to_bytes(4) == header[60:64]
        assert b"CVJL" == header[68:72]

    async def test_another_format_is_refused(self, path: str) -> None:
        """
        A journal of a later version is not guessed at.
        """
        async with open_journal(path):
            pass
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {FORMAT + 1}")
        db.close()
        with pytest.raises(JournalError) as caught:
            await open_journal(path).__aenter__()

        assert (
            f"the journal {path} has format 2, and this version of the package reads format 1; "
            "use the version that began it, or name another file" == str(caught.value)
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

        def fail(_: object, __: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(Journal, "_begin_run", fail)
        with pytest.raises(JournalError) as caught:
            await open_journal(path).__aenter__()

        assert f"the journal {path} cannot be used: disk I/O error" == str(caught.value)

    async def test_a_full_disk_is_named(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Where SQLite has rolled back by itself, as it does on a full disk, its reason is told, and
        the journal goes on.
        """

        def fail(db: sqlite3.Connection, _: object) -> None:
            db.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")

        async with open_journal(path) as journal:
            await journal.plan([row("a")], REFUSE)
            with monkeypatch.context() as patch:
                patch.setattr(_records, "settle", fail)
                with pytest.raises(JournalError, match="cannot be used: database or disk is full"):
                    await journal.settle([Settlement(key="a", state=State.CONFIRMED)])
            await journal.settle([Settlement(key="a", state=State.REJECTED)])

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
