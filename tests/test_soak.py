"""The soak finds a broken promise where one is planted, and none in a few seconds of traffic."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import pytest

ROOT = pathlib.Path(__file__).parents[1]
sys.path.append(str(ROOT))  # At the end, so that an installed package stays the one that is tested.

from benchmarks import soak  # noqa: E402
from benchmarks.soak_promises import (  # noqa: E402
    FIRST,
    LAST,
    OPEN,
    WARM,
    Figures,
    Held,
    Record,
    Said,
    broken,
    leaks,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.deep

SAID = Said(
    thing=7,
    operation="create_case_payment",
    how="returned",
    outcome="recorded",
    hooked="recorded",
    key="key-7",
    told=2,
    watched=2,
    on_wire=2,
    answered=1,
    started=1,
    ended=1,
    id="id-7",
    amount="49.90",
)
REJECTED = attrs.evolve(
    SAID, how="RateLimitError", outcome="rejected", hooked="rejected", id=None, answered=2
)
NOT_SENT = attrs.evolve(
    SAID, how="APIConnectionError", outcome="not_sent", hooked="not_sent", id=None, on_wire=0
)
CUT_OFF = attrs.evolve(
    SAID, how="cancelled", outcome="unknown", hooked="unknown", told=None, id=None, answered=0
)
RECORD = Record(operation="create_case_payment", thing=7, key="key-7", id="id-7", amount="49.9")
MIB = 2**20
FIGURES = Figures(objects=40_000, kinds=Counter(), memory=40 * MIB, descriptors=12, tasks=1)


def findings(*said: Said, records: tuple[Record, ...] = (RECORD,), arrived: int = 2) -> list[str]:
    """Return what the checker finds where the sandbox holds that of thing 7."""
    held = Held(received=arrived, without_body=0, arrived={7: arrived}, faults={}, records=records)
    return list(broken(said, held))


class TestRecords:
    @pytest.mark.parametrize("records", [(RECORD,), ()])
    def test_unknown_may_be_either(self, records: tuple[Record, ...]) -> None:
        """A call that was cancelled and does not know is no lie, whatever is on record."""
        assert [] == findings(CUT_OFF, records=records)

    def test_truth(self) -> None:
        """What was told to be on record, and is, breaks nothing, asked for once or twice."""
        again = attrs.evolve(SAID, told=1, watched=1, on_wire=1)

        assert [] == findings(SAID)
        assert [] == findings(CUT_OFF, again, arrived=3)
        assert [] == findings(REJECTED, records=())
        assert [] == findings(attrs.evolve(NOT_SENT, answered=0), records=(), arrived=0)

    def test_double(self) -> None:
        """A payment on record twice is found by its key and by what it is for."""
        by_key, by_thing = findings(SAID, records=(RECORD, RECORD))

        assert "key key-7 is on record 2 times" == by_key
        assert "thing 7: create_case_payment is on record 2 times" in by_thing

    def test_double_under_two_keys(self) -> None:
        """A payment on record under two keys is found too."""
        (found,) = findings(SAID, records=(RECORD, attrs.evolve(RECORD, key="another")))

        assert "is on record 2 times" in found

    def test_update_may_be_recorded_twice(self) -> None:
        """What says how things shall be may be on record as often as it arrived."""
        said = attrs.evolve(SAID, operation="update_user_payment", amount=None, key=None)
        record = attrs.evolve(RECORD, operation="update_user_payment", amount=None, key=None)

        assert [] == findings(said, records=(record, record))

    def test_recorded_and_is_not(self) -> None:
        """A call that said that it is on record, where nothing is, lied."""
        first, second = findings(SAID, records=())

        assert "is not on record; its calls said returned (recorded)" in first
        assert "returned the id id-7, which is not on record" in second

    @pytest.mark.parametrize("said", [REJECTED, NOT_SENT], ids=["rejected", "not sent"])
    def test_not_recorded_and_is(self, said: Said) -> None:
        """A call that said that nothing is on record, where something is, lied."""
        assert any("is on record; its calls said" in found for found in findings(said))

    def test_other_amount(self) -> None:
        """An amount on record that nobody asked for is found."""
        (found,) = findings(SAID, records=(attrs.evolve(RECORD, amount="4.99"),))

        assert "thing 7: 4.99 dollars are on record, and 49.90 were asked for" == found

    def test_nobody_asked(self) -> None:
        """A record that no call is about is found."""
        found = findings(SAID, records=(RECORD, attrs.evolve(RECORD, thing=8, key="key-8")))

        assert ["thing 8: nobody asked for it"] == found


class TestRequests:
    def test_more_than_counted(self) -> None:
        """A request that no call counted is found, by its thing and in all."""
        in_all, by_thing = findings(SAID, arrived=3)

        assert "3 requests arrived, and the calls counted 2" == in_all
        assert "3 requests arrived; its calls counted 2 that may have" in by_thing

    def test_answer_to_nothing(self) -> None:
        """An answer to a request that never arrived is found."""
        (found,) = findings(attrs.evolve(SAID, answered=2), arrived=1)

        assert "1 requests arrived" in found

    def test_intent_twice(self) -> None:
        """An intent that may have arrived and was sent again is found, even if it did no harm."""
        said = attrs.evolve(CUT_OFF, operation="create_payment_intent")

        (found,) = findings(said, records=())

        assert "2 attempts may have arrived, of what must not arrive twice" in found


class TestHooks:
    @pytest.mark.parametrize(
        "changes",
        [
            {"hooked": "unknown"},
            {"told": 1},
            {"ended": 0},
            {"started": 2, "ended": 2},
            {"strange": "nobody had cancelled it"},
        ],
        ids=" ".join,
    )
    def test_other_than_the_caller(self, changes: Mapping[str, object]) -> None:
        """Hooks that saw something else than the caller was told, and a strange end, are found."""
        (found,) = findings(attrs.evolve(SAID, **changes))  # type: ignore[arg-type]  # By name.

        assert found.startswith("thing 7: create_case_payment, returned: ")


class TestLeaks:
    def found(self, when: str, **changes: int) -> list[str]:
        marks = dict.fromkeys((FIRST, WARM + OPEN, WARM, LAST + OPEN, LAST), FIGURES)
        return list(
            leaks({**marks, when: attrs.evolve(FIGURES, **changes)})  # type: ignore[arg-type]  # By name.
        )

    def test_none(self) -> None:
        """A process that has what it had leaks nothing, nor one that has a little more."""
        assert [] == self.found(LAST, objects=40_005, memory=41 * MIB)
        assert [] == self.found(LAST, objects=39_000, memory=39 * MIB)

    def test_connections_of_open_clients(self) -> None:
        """An open client may have connections, and what belongs to them."""
        assert [] == self.found(LAST + OPEN, descriptors=22, objects=41_500)

    @pytest.mark.parametrize(
        ("when", "changes", "finding"),
        [
            (WARM, {"tasks": 2}, "1 tasks are left: after the warm-up"),
            (LAST, {"descriptors": 14}, "2 descriptors are left: last"),
            (LAST, {"objects": 40_450}, "450 objects more than after the warm-up"),
            (LAST + OPEN, {"objects": 41_450}, "1450 objects more than after the warm-up"),
            (LAST, {"memory": 60 * MIB}, "20.0 MiB more than after the warm-up"),
        ],
    )
    def test_planted(self, when: str, changes: dict[str, int], finding: str) -> None:
        """A task, a descriptor, objects or memory that stay behind are found."""
        (found,) = self.found(when, **changes)

        assert found.startswith(finding)

    def test_where_the_system_does_not_say(self) -> None:
        """Objects and tasks are looked at where there is no /proc."""
        blind = attrs.evolve(FIGURES, memory=None, descriptors=None)
        marks = dict.fromkeys((FIRST, WARM + OPEN, WARM, LAST + OPEN, LAST), blind)
        grown = attrs.evolve(blind, objects=50_000)

        assert [] == list(leaks(marks))
        assert 1 == len(list(leaks({**marks, LAST: grown})))


class TestRun:
    def test_traffic(self) -> None:
        """A few seconds of traffic and faults break no promise."""
        command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.05", "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

        report = json.loads(done.stdout)
        assert [] == report["broken"]
        assert (0, "") == (done.returncode, done.stderr)
        assert 0 < report["on record"] <= report["requests that arrived"]

    @pytest.mark.parametrize(("found", "status"), [((), 0), (("it lied",), 1)])
    def test_exit_status(
        self,
        found: tuple[str, ...],
        status: int,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The exit status tells whether a promise is broken."""

        async def soaked(options: object) -> soak.Report:
            return soak.Report(broken=found, summary={"calls": 1})

        monkeypatch.setattr(soak, "soak", soaked)
        monkeypatch.setattr(sys, "argv", ["soak"])

        assert status == soak.main()
        lines = capsys.readouterr().out.splitlines()
        assert ["calls: 1", *(f"BROKEN: {what}" for what in found)] == lines[:-1]
