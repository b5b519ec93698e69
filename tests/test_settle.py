from __future__ import annotations

import asyncio
import pathlib
import sqlite3

import pytest

from carevalidate_async.journal import Candidate, Duplicates, Journal, Plan, State, Verdict
from cli_support import run_with
from journal_support import NOW, TARGET, command, left, left_by_a_kill, snapshot

EVERY: dict[str, State | None] = {
    "a": State.CONFIRMED,
    "b": State.ALREADY_RECORDED,
    "c": State.REJECTED,
    "d": State.UNKNOWN,
    "e": None,
    "f": State.NOT_SENT,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder where nothing is yet."""
    monkeypatch.chdir(tmp_path)


def rows() -> dict[str, tuple[str, int]]:
    """Return where the rows are, and whether a person said so."""
    with sqlite3.connect("journal") as db:
        found = {
            key: (state, by)
            for key, state, by in db.execute("SELECT key, state, by_hand FROM rows")
        }
    db.close()
    return found


def next_run(key: str, *, years: int = 0) -> Plan:
    """Return what a run does with a row, however many years later."""

    async def run() -> Plan:
        clock = lambda: NOW + years * 31_536_000  # noqa: E731 - one expression
        async with Journal("journal", target=TARGET, max_key_age=60, clock=clock) as journal:
            (plan,) = await journal.plan([Candidate(line=2, content=key)], Duplicates.REFUSE)
        return plan

    return asyncio.run(run())


class TestSettle:
    @pytest.mark.parametrize("key", ["d", "e"])
    def test_what_is_recorded_is_not_asked_for_again(self, key: str) -> None:
        """
        A row in doubt that a person found at the vendor is on record.
        """
        left("journal", EVERY)
        result = command("settle", "journal", key, "--as", "recorded")

        assert (0, "") == (result.exit_code, result.stderr)
        assert "Settled as recorded: 1; no run asks for them again\n" == result.stdout
        assert ("already_recorded", 1) == rows()[key]
        assert Verdict.ON_RECORD is next_run(key).verdict

    @pytest.mark.parametrize("key", ["d", "e"])
    def test_what_is_not_recorded_is_sent_by_the_next_run_under_its_key(self, key: str) -> None:
        """
        Where a person found nothing there is no doubt left, however old the key is.
        """
        left("journal", EVERY)
        result = command("settle", "journal", key, "--as", "not-recorded")
        plan = next_run(key, years=9)

        assert "Settled as not-recorded: 1; the next run sends them\n" == result.stdout
        assert (Verdict.SEND, key, State.NOT_SENT, False) == (
            plan.verdict,
            plan.key,
            plan.state,
            plan.may_have_landed,
        )
        assert ("planned", 0) == rows()[key]

    def test_nothing_else_changes(self) -> None:
        """
        Rows that are not named stay as they are.
        """
        left("journal", EVERY)
        before = rows()
        command("settle", "journal", "d", "--as", "recorded")

        assert {**before, "d": ("already_recorded", 1)} == rows()

    @pytest.mark.parametrize("key", ["a", "b", "c", "f"])
    def test_what_is_settled_is_not_for_a_person_to_say(self, key: str) -> None:
        """
        What the vendor said, or a run knows, is refused, by name and state.
        """
        left("journal", EVERY)
        before = rows()
        result = command("settle", "journal", "d", key, "--as", "not-recorded")

        assert 2 == result.exit_code
        assert (
            "Error: nothing was changed, since these keys cannot be settled:\n"
            f"  {key}: needs no settling, it is {EVERY[key]}\n" == result.stderr
        )
        assert before == rows()

    def test_all_are_settled_or_none(self) -> None:
        """
        One key that no row has, and nothing is changed; each that is wrong is named.
        """
        left("journal", EVERY)
        before = rows()
        result = command("settle", "journal", "d", "x", "e", "y", "--as", "recorded")

        assert 2 == result.exit_code
        assert ["  x: no row has this key", "  y: no row has this key"] == [
            *result.stderr.splitlines()[1:]
        ]
        assert before == rows()

    def test_what_a_person_said_can_be_taken_back(self) -> None:
        """
        A payment is not lost by a slip of the hand: until the vendor has said something about the
        row, a person may say something else, however many runs took it for recorded.
        """
        left("journal", EVERY)
        command("settle", "journal", "d", "--as", "recorded")
        assert Verdict.ON_RECORD is next_run("d").verdict
        back = command("settle", "journal", "d", "--as", "not-recorded")

        assert 0 == back.exit_code
        assert Verdict.SEND is next_run("d").verdict

    def test_what_the_vendor_said_since_stands(self) -> None:
        """
        Once a run has sent the row, what a person said before is over.
        """
        left("journal", EVERY)
        command("settle", "journal", "d", "--as", "not-recorded")
        left("journal", {"d": State.CONFIRMED})
        result = command("settle", "journal", "d", "--as", "not-recorded")

        assert 2 == result.exit_code
        assert "d: needs no settling, it is confirmed" in result.stderr

    def test_keys_come_from_a_file_too(self) -> None:
        """
        One a line, blank lines and outer blanks aside; a key that is named twice is one.
        """
        left("journal", EVERY)
        pathlib.Path("keys").write_text("\ufeff d \r\n\r\ne\nd\n", encoding="utf-8")
        result = command("settle", "journal", "--keys", "keys", "d", "--as", "recorded")

        assert "Settled as recorded: 2; no run asks for them again\n" == result.stdout

    def test_keys_come_from_standard_input_too(self) -> None:
        """
        As many as there are.
        """
        keys = [f"key-{n}" for n in range(3000)]
        left("journal", dict.fromkeys(keys, State.UNKNOWN))
        pathlib.Path("keys").write_text("\n".join(keys))
        result = run_with("<keys", "settle", "journal", "--keys", "-", "--as", "recorded")

        assert "Settled as recorded: 3,000; no run asks for them again\n" == result.stdout
        assert {("already_recorded", 1)} == set(rows().values())

    def test_a_key_may_look_like_an_option(self) -> None:
        """
        What begins with a hyphen comes after --, or from a file.
        """
        left("journal", {"-5": State.UNKNOWN})

        assert 0 == command("settle", "journal", "--as", "recorded", "--", "-5").exit_code

    def test_what_a_killed_run_left_can_be_settled(self) -> None:
        """
        What is only in the log counts, and the journal is one plain file then.
        """
        left_by_a_kill("journal", a="unknown")
        result = command("settle", "journal", "a", "--as", "recorded")

        assert 0 == result.exit_code
        assert {"a": ("already_recorded", 1)} == rows()
        assert ["journal"] == list(snapshot())


class TestRefused:
    def test_no_key_at_all(self) -> None:
        """
        Nothing is settled by leaving out what.
        """
        left("journal", EVERY)
        pathlib.Path("keys").write_text("\n")
        for arguments in ([], ["--keys", "keys"]):
            result = command("settle", "journal", "--as", "recorded", *arguments)

            assert 2 == result.exit_code
            assert "give a KEY" in result.stderr

    def test_no_finding(self) -> None:
        """
        What the vendor's books say has to be said.
        """
        left("journal", EVERY)
        result = command("settle", "journal", "d")

        assert 2 == result.exit_code
        assert "Missing option '--as'" in result.stderr

    def test_a_file_that_is_no_text(self) -> None:
        """
        A spreadsheet is not a list of keys.
        """
        left("journal", EVERY)
        pathlib.Path("keys").write_bytes(b"\xff\xfe\x00")
        result = command("settle", "journal", "--keys", "keys", "--as", "recorded")

        assert (2, "Error: keys: is not UTF-8 text\n") == (result.exit_code, result.stderr)

    @pytest.mark.parametrize("content", [b"", b"case_id,amount\n" * 99])
    def test_what_is_no_journal(self, content: bytes) -> None:
        """
        It is left as it is.
        """
        pathlib.Path("journal").write_bytes(content)
        result = command("settle", "journal", "d", "--as", "recorded")

        assert 2 == result.exit_code
        assert "journal" in result.stderr
        assert content == pathlib.Path("journal").read_bytes()

    async def test_while_a_run_is_at_work(self) -> None:
        """
        A run knows its rows, and nobody changes them under it.
        """
        async with Journal("journal", target=TARGET) as journal:
            await journal.plan([Candidate(line=2, content="d")], Duplicates.REFUSE)
            result = await asyncio.to_thread(command, "settle", "journal", "d", "--as", "recorded")

        assert 2 == result.exit_code
        assert "is in use: another run is at work on it" in result.stderr
        assert {"d": ("planned", 0)} == rows()
