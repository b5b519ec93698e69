from __future__ import annotations

import csv
import io
import json
import stat
import time
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs
import pytest

from carevalidate_async._files import lines
from carevalidate_async._files.fields import (
    ERROR_COLUMNS,
    UNDECIDED,
    Problem,
    _read_value,
    content_key,
    read_amount,
    read_day,
    to_row,
)
from carevalidate_async._files.rejects import Rejects
from carevalidate_async._files.rows import FileError, FileFormat
from carevalidate_async.idempotency import derive_idempotency_key
from carevalidate_async.models import PaymentConfirmation, PaymentStatus
from input_files import (
    GOOD,
    HEADER,
    PAYMENT,
    before_a_break,
    memory_of,
    parquet,
    payments,
    reader,
    rows,
)

if TYPE_CHECKING:
    import pathlib

OBJECT = {
    "caseId": "case-1",
    "amount": 49,
    "paymentDate": "2026-01-05",
    "validUntil": "2026-02-05",
    "status": "PAID",
}


def line(**changes: object) -> str:
    return json.dumps(OBJECT | changes) + "\n"


def problems(text: str | bytes) -> list[tuple[str, str]]:
    (row,) = rows(text)
    assert row.payment is None
    return [(problem.field, problem.reason) for problem in row.problems]


def test_long_values_are_not_kept() -> None:
    """What is read of short cells again and again is kept; what a file may be full of is not."""
    before = _read_value.cache_info().currsize
    to_row(1, {"status": "x" * 33, "amount": "1" * 33}, "")
    after = _read_value.cache_info().currsize

    assert before == after


class TestReadAmount:
    @pytest.mark.parametrize("text", ["0", "50", "1.1", "1234.50", "007.00"])
    def test_plain_amounts_are_exact(self, text: str) -> None:
        """
        Digits, with at most two more after a point, are the amount that they say.
        """
        assert Decimal(text) == read_amount(text)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("1,234.50", "comma"),
            ("1,5", "comma"),
            ("$5", "currency"),
            ("5 €", "currency"),
            ("USD 5", "currency"),
            ("5usd", "currency"),
            ("1e2", "exponent"),
            ("1.5E+2", "exponent"),
            ("NaN", "finite"),
            ("-inf", "finite"),
            ("Infinity", "finite"),
            ("-5", "negative"),
            ("\u22125", "negative"),
            ("(5.00)", "negative"),
            ("1.001", "two decimal places"),
            (".005", "two decimal places"),
            ("1.", "is not an amount"),
            (".5", "is not an amount"),
            ("+5", "plus sign"),
            ("five", "is not an amount"),
            ("1 000", "blank"),
            ("\u0661", "another script"),
            ("1\n2", "blank"),
            (". " * 50_000, "is not an amount"),
            ("\u0661" * 100_000 + "x", "is not an amount"),
        ],
    )
    def test_anything_else_is_refused_with_its_reason(self, text: str, reason: str) -> None:
        """
        What a spreadsheet may write for an amount is refused, and the reason says what to change,
        soon, however long it is.
        """
        with pytest.raises(ValueError, match=reason):
            read_amount(text)


class TestReadDay:
    def test_a_calendar_day_is_read(self) -> None:
        """
        YYYY-MM-DD is a day.
        """
        assert date(2024, 2, 29) == read_day("2024-02-29")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("20260105", "YYYY-MM-DD"),
            ("2026-W02-1", "YYYY-MM-DD"),
            ("1/5/2026", "YYYY-MM-DD"),
            ("2026-01-05T00:00", "YYYY-MM-DD"),
            ("2026-02-29", "calendar"),
            ("2026-13-01", "calendar"),
            ("1-" * 50_000, "YYYY-MM-DD"),
        ],
    )
    def test_other_spellings_and_no_days_are_refused(self, text: str, reason: str) -> None:
        """
        A date in any other form, or that does not exist, is refused.
        """
        with pytest.raises(ValueError, match=reason):
            read_day(text)


class TestContentKey:
    def test_it_is_made_of_all_fields_but_the_key(self) -> None:
        """
        The key of a row is derived from the operation's name and every field, in the model's order.
        """
        expected = derive_idempotency_key(
            *("confirm_payment", "case-1", Decimal(49), date(2026, 1, 5), date(2026, 2, 5)),
            *("PAID", None, None, None, None),
        )
        own = PaymentConfirmation(
            case_id="case-1",
            amount=Decimal("49.00"),
            payment_date=date(2026, 1, 5),
            valid_until=date(2026, 2, 5),
            status=PaymentStatus.PAID,
            idempotency_key="mine",
        )

        assert expected == content_key(PAYMENT)
        assert expected == content_key(own)


class TestCsv:
    def test_both_spellings_in_any_order_give_the_payment(self) -> None:
        """
        Column names are snake_case or camelCase, in any order.
        """
        text = (
            "status,phoneNumber,valid_until,email,amount,paymentDate,caseId,decisionId,"
            'description,idempotencyKey\nREFUND,+15550100200,2026-02-05,a@example.com,"1.10",'
            '2026-01-05,c,d,"one, two",k-1\n'
        )

        (row,) = rows(text)

        assert (
            PaymentConfirmation(
                case_id="c",
                amount=Decimal("1.10"),
                payment_date=date(2026, 1, 5),
                valid_until=date(2026, 2, 5),
                status=PaymentStatus.REFUND,
                email="a@example.com",
                phone_number="+15550100200",
                decision_id="d",
                description="one, two",
                idempotency_key="k-1",
            )
            == row.payment
        )
        assert 2 == row.line
        assert () == row.problems

    def test_bom_crlf_blank_lines_and_quoted_newlines_are_fine(self) -> None:
        """
        What spreadsheets write is read, and lines are counted as an editor counts them.
        """
        text = (
            f'\ufeff\r\n{HEADER},description\r\n\r\n{GOOD},"one\r\ntwo"\r\n,,,,,\r\n   \r\n'
            f"{GOOD},\r\n"
        )

        found = rows(text)

        assert [4, 8] == [row.line for row in found]
        assert ["one\ntwo", None] == [r.payment.description for r in found if r.payment]

    def test_blanks_around_cells_are_dropped(self) -> None:
        """
        A blank before or after a value is no part of it.
        """
        (row,) = rows(
            " case_id , amount,payment_date,valid_until,status\n" + GOOD.replace(",", " , ")
        )

        assert PAYMENT == row.payment

    def test_each_bad_field_is_named(self) -> None:
        """
        A row is refused with all that is wrong with it, and no reason repeats a value.
        """
        assert [
            ("case_id", "is missing"),
            ("amount", "has a currency sign or code; write the number alone, in US dollars"),
            ("payment_date", "must be a date as YYYY-MM-DD"),
        ] == problems(f"{HEADER}\n ,$5,today,2026-02-05,PAID")

    def test_what_the_model_refuses_is_a_problem(self) -> None:
        """
        The model's own checks name the field too.
        """
        found = problems(f"{HEADER},email\n{GOOD},secret-person\n")

        assert [("email", "is not an email address")] == found

    @pytest.mark.parametrize(
        ("cells", "reason"),
        [
            ("case-1,49.00", "has too few cells: 2, and the header 5"),
            (f"{GOOD},,", "has too many cells: 7, and the header 5"),
        ],
    )
    def test_a_row_of_another_width_is_refused(self, cells: str, reason: str) -> None:
        """
        A row with cells missing or left over says that its cells may be in the wrong columns.
        """
        assert [("", reason)] == problems(f"{HEADER}\n{cells}\n")

    def test_a_cell_that_is_not_utf8_is_refused(self) -> None:
        """
        Text in another encoding is refused row by row, and only where a field holds it.
        """
        head = f"{HEADER},description,note\n".encode()
        bad = rows(head + GOOD.encode() + b",caf\xe9,\n" + GOOD.encode() + b",,caf\xe9\n")

        reason = "is not UTF-8 text; save the file as UTF-8"
        assert (Problem("description", reason),) == bad[0].problems
        assert PAYMENT == bad[1].payment

    def test_non_ascii_text_is_kept(self) -> None:
        """
        UTF-8 text arrives as it is.
        """
        (row,) = rows(f"{HEADER},description\n{GOOD},Größe\n")

        assert row.payment is not None
        assert "Größe" == row.payment.description

    def test_a_misplaced_quote_spoils_its_row_alone(self) -> None:
        """
        A broken record is refused, and the next line is a record again.
        """
        found = rows(f'{HEADER}\n"case-1"x,49.00,2026-01-05,2026-02-05,PAID\n{GOOD}\n')

        assert [2, 3] == [row.line for row in found]
        assert "line 2 was not read" in found[0].problems[0].reason
        assert PAYMENT == found[1].payment

    def test_an_unclosed_quote_says_how_far_it_reaches(self) -> None:
        """
        Rows inside an unclosed quote are not guessed at, and the reason says which they are.
        """
        found = rows(f'{HEADER}\n"{GOOD}\n{GOOD}\n{GOOD}\n')

        assert 1 == len(found)
        assert "lines 2 to 4 were not read" in found[0].problems[0].reason

    @pytest.mark.parametrize("filler", ["x" * 200_000, "\n".join(["x" * 400_000] * 3)])
    def test_an_endless_cell_ends_the_file(self, filler: str) -> None:
        """
        A file in which a quote swallows the rest is read up to a bound, and the row says so, as
        does the reader.
        """
        found, said = before_a_break(f'{HEADER}\n{GOOD}\n"{filler}\n{GOOD}\n')

        reason = "is too long; is a quote not closed? Nothing after line 3 was read"
        assert 2 == len(found)
        assert (Problem("", reason),) == found[1].problems
        assert (
            "the input is damaged: line 3 has a quote that is not closed, or is too long; "
            "nothing after line 3 was read"
        ) == said

    def test_many_long_lines_in_one_cell_end_the_file(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The bound holds for a record of many lines as well.
        """
        monkeypatch.setattr(lines, "MAX_RECORD", 200)

        found, said = before_a_break(f'{HEADER}\n{GOOD}\n"' + "x\n" * 150)

        assert 2 == len(found)
        assert "too long" in found[1].problems[0].reason
        assert str(found[1].original).startswith("('\"x\\nx\\n")
        assert "nothing after line 3 was read" in said

    @pytest.mark.parametrize("length", [140_000, 2**20, 2**20 + 5, 3 * 2**20])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_a_long_line_without_quotes_is_one_bad_row(self, length: int, end: str) -> None:
        """
        Where no quote can reach beyond it, the next line is a row, even if what is too long stands
        in a column that nobody reads.
        """
        found = rows(f"{HEADER},note{end}{GOOD},{'z' * length}{end}{GOOD},x{end}")

        reason = "is too long; a cell has at most 131072 characters, a row 1048576"
        assert (Problem("", reason),) == found[0].problems
        assert [2, 3] == [row.line for row in found]
        assert PAYMENT == found[1].payment
        assert 1 == len(found[0].original)
        assert 1000 == len(found[0].original[0])

    @pytest.mark.parametrize("line", ['{}"{}', '"{}{}"', '{}{}"', '{}",x{}', '"\n{}{}'])
    @pytest.mark.parametrize("length", [140_000, 3 * 2**20])
    def test_a_quote_in_it_puts_what_follows_in_doubt(self, line: str, length: int) -> None:
        """
        Wherever it stands, rows after it could be a part of its text.
        """
        text = line.format("z" * length, "z" * length)
        found, said = before_a_break(f"{HEADER},note\n{GOOD},{text}\n{GOOD},x\n")

        assert [None] == [row.payment for row in found]
        assert said.endswith("nothing after line 2 was read")

    def test_a_long_last_line_is_one_bad_row(self) -> None:
        """
        After it there is nothing in doubt.
        """
        (found,) = rows(f"{HEADER},note\n{GOOD},{'z' * 2**21}")

        assert "is too long; a cell has at most" in found.problems[0].reason

    def test_columns_that_no_field_has_are_named(self) -> None:
        """
        Extra columns are ignored and listed once, our own error columns silently.
        """
        found = reader(f"error_line,{HEADER},note,,error_reason\n1,{GOOD},x,y,z\n")

        assert ["note"] == found.ignored
        assert [PAYMENT] == [row.payment for row in found]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "empty"),
            ("\n\r\n  \n", "it is empty but for blank lines"),
            ("case_id,amount\n", "missing: payment_date, valid_until, status"),
            (f"{HEADER},caseId\n", "more than once: case_id"),
            (f"{HEADER},Idempotency Key\n", 'rename the column "Idempotency Key" to idempotency_k'),
            (HEADER.replace("amount", "Amount"), 'rename the column "Amount" to amount'),
            (HEADER.replace(",", ";"), "separated by semicolons"),
            (HEADER.replace(",", "\t"), "separated by tabs"),
            (HEADER.replace(",", "|"), "separated by vertical bars"),
            (GOOD, "its first line seems to be a row; put the column names before it"),
            (f"sep=,\n{HEADER}", r"its first line is a note of a spreadsheet \(sep=\); delete it"),
            (f"{HEADER},e\u00admail", r"to email \(it has an invisible character, U\+00AD"),
            (HEADER.replace(",", "\r"), "its lines end with CR alone, as on old Macs"),
            (HEADER + "\r" + f"{GOOD}\r" * 30_000, "its lines end with CR alone"),
            (line().replace("\n", "\r") * 2, "its lines end with CR alone"),
            ('{\n  "case_id": "c"\n}\n', "its objects are written over several lines"),
            ('"case_id"x\n', "column names in line 1 cannot be read"),
            ('\n"case_id', "column names in line 2 cannot be read"),
            ('[{"case_id": 1}]', "JSON array"),
            (HEADER.encode() + b"\0", "not UTF-8"),
            (f"{HEADER},caf\xe9".encode("latin-1"), "not UTF-8"),
            ("x" * 2**21, "first line is longer"),
        ],
    )
    def test_a_file_that_is_wrong_as_a_whole_is_refused(
        self, text: str | bytes, reason: str
    ) -> None:
        """
        Trouble with the file itself is found before any row is taken, and says what to do.
        """
        with pytest.raises(FileError, match=reason):
            reader(text)

    def test_a_header_of_endless_lines_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A quote that is not closed in the header is found without reading the whole file.
        """
        monkeypatch.setattr(lines, "MAX_RECORD", 200)

        with pytest.raises(FileError, match="column names"):
            reader('"case_id' + "\nx" * 300)


CUT = "may be cut short: the file ends without a line end; add one if it is whole"


class TestCutShort:
    """A file that lost its end, such as one that is read while it is copied."""

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize(
        ("last", "value"),
        [
            ("idempotency_key", "invoice-20"),
            ("idempotency_key", ""),
            ("idempotency_key", "  "),
            ("idempotencyKey", "invoice-20"),
            ("description", "two"),
            ("description", '5" screen'),
            ("description", '5"'),
            ("email", "a@example.co"),
            ("phone_number", "+1555"),
            ("decision_id", "dec-1"),
        ],
    )
    def test_the_last_value_is_not_taken_for_whole(self, last: str, value: str, end: str) -> None:
        """
        A value that would pass, whatever is missing of it, is refused where the last line does not
        end; an empty one too, since all of it may be missing.
        """
        field = "idempotency_key" if last == "idempotencyKey" else last
        first, cut = rows(f"{HEADER},{last}{end}{GOOD},{value}{end}{GOOD},{value}")

        assert first.payment is not None
        assert (3, None, (Problem(field, CUT),)) == (cut.line, cut.payment, cut.problems)

    @pytest.mark.parametrize("last", ["amount", "case_id"])
    def test_it_may_be_any_that_can_be_cut(self, last: str) -> None:
        """
        12 may have been 1250.00.
        """
        names = [*(name for name in HEADER.split(",") if name != last), last]
        cells = dict(zip(HEADER.split(","), GOOD.split(","), strict=True))
        text = ",".join(names) + "\n" + ",".join(cells[name] for name in names)

        assert [(last, CUT)] == problems(text)
        assert [PAYMENT] == [row.payment for row in rows(text + "\n")]

    @pytest.mark.parametrize(
        ("columns", "line"),
        [
            (HEADER, GOOD),
            (f"{HEADER},note", f"{GOOD},x"),
            (f"{HEADER},", f"{GOOD},"),
            (f"{HEADER},error_reason", f"{GOOD},x"),
            (f"{HEADER},idempotency_key", f'{GOOD},"k-1"'),
            (f"{HEADER},idempotency_key", f'{GOOD},""'),
            (f"{HEADER},description", f'{GOOD},"5"" screen"'),
            (f"{HEADER},description", f'{GOOD},"one,\ntwo"'),
            (f"{HEADER},idempotency_key", f"{GOOD},k-1\r"),
            (f"{HEADER},idempotency_key", f"{GOOD},k-1\n\n"),
            (f"{HEADER},idempotency_key", f"{GOOD},k-1\n  "),
            (f"{HEADER},idempotency_key", f"{GOOD},k-1\r\n,,,,"),
        ],
    )
    def test_what_shows_by_itself_needs_no_line_end(self, columns: str, line: str) -> None:
        """
        Google Sheets ends no last line: a cut day or status is none, a quote would not be closed,
        and what nobody reads does not matter.
        """
        (row,) = rows(f"{columns}\n{line}")

        assert () == row.problems
        assert row.payment is not None

    def test_wherever_it_is_cut_nothing_else_is_sent(self) -> None:
        """
        Of a file that is cut at any place, each payment is one that the whole file has.
        """
        columns = f"{HEADER},description,idempotency_key".split(",")
        lines = [f'{GOOD},"a, b",key-{n}' for n in (100, 200)]
        for last in ("amount", "idempotency_key", "status", "description"):
            order = [*(name for name in columns if name != last), last]
            table = [columns, *csv.reader(lines)]
            file = io.StringIO()
            csv.writer(file).writerows(
                [row[columns.index(name)] for name in order] for row in table
            )
            text = file.getvalue()
            whole = {row.payment for row in rows(text)}
            start = text.index("\n") + 1
            for end in range(start, len(text)):
                assert {row.payment for row in rows(text[:end])} <= whole | {None}

    def test_what_else_is_wrong_is_told_too(self) -> None:
        """
        A row is not half corrected.
        """
        found = problems(f"{HEADER},email\n{GOOD.replace('49.00', '$49')},a@example.c")

        assert {"email", "amount"} == {field for field, _ in found}

    def test_a_header_alone_is_no_row(self) -> None:
        """
        A file of one line has none that could be cut.
        """
        assert [] == rows(f"{HEADER},email")

    def test_a_cut_object_is_none(self) -> None:
        """
        JSON Lines need no line end: what is cut is no JSON.
        """
        assert [PAYMENT, PAYMENT] == [row.payment for row in rows(line() + line().strip())]
        for end in range(1, len(line().strip())):
            assert rows(line() + line()[:end])[1].payment is None


class TestLineEnds:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_a_text_of_several_lines_is_the_same_one(self, end: str) -> None:
        """
        Whichever line ends a program writes: the payment has one key, in every kind of file.
        """
        text = f"one{end}two"
        expected = content_key(attrs.evolve(PAYMENT, description="one\ntwo"))
        files: list[str | bytes] = [
            f'{HEADER},description\n{GOOD},"{text}"\n',
            line(description=text),
            parquet(payments(1, amount=[Decimal(49)], description=[text])),
        ]

        for file in files:
            (row,) = rows(file)
            assert row.payment is not None
            assert expected == content_key(row.payment)

    def test_a_rejects_file_has_it_as_it_was(self, tmp_path: pathlib.Path) -> None:
        """
        What comes back is what was there.
        """
        data = write_rejects(tmp_path / "r", f'{HEADER},description\n{GOOD},"one\r\ntwo"\n')

        assert b'"one\r\ntwo"' in data


class TestJsonLines:
    def test_amounts_are_exact_as_numbers_and_as_text(self) -> None:
        """
        A JSON number is read digit by digit, never through a float.
        """
        found = rows(line() + line(amount="1.15") + json.dumps(OBJECT).replace("49", "0.10") + "\n")

        assert [Decimal(49), Decimal("1.15"), Decimal("0.10")] == [
            row.payment.amount for row in found if row.payment
        ]
        assert [1, 2, 3] == [row.line for row in found]

    def test_null_and_empty_are_as_good_as_absent(self) -> None:
        """
        An optional field that is null or blank is left out.
        """
        (row,) = rows("\n" + line(email=None, description="  "))

        assert PAYMENT == row.payment
        assert 2 == row.line

    @pytest.mark.parametrize(
        ("changes", "field", "reason"),
        [
            ({"caseId": 7}, "case_id", "must be text, not a number"),
            ({"caseId": ["x"]}, "case_id", "must be text"),
            ({"caseId": None}, "case_id", "is missing"),
            ({"amount": True}, "amount", "must be a number or text"),
            ({"amount": float("nan")}, "amount", "must be a finite number"),
            ({"amount": 1e30}, "amount", "has an exponent; write it out in digits"),
            ({"amount": 1.005}, "amount", "has more than two decimal places"),
            (
                {"email": "\ud800@example.com"},
                "email",
                "is not UTF-8 text; save the file as UTF-8",
            ),
            ({"paymentDate": 20260105}, "payment_date", "must be text, not a number"),
            ({"case_id": "other"}, "case_id", "is given twice"),
            ({"Email": "x@example.com"}, "email", "is spelled differently"),
        ],
    )
    def test_a_bad_field_is_named(
        self, changes: dict[str, object], field: str, reason: str
    ) -> None:
        """
        A value of the wrong kind is refused by field, and never coerced.
        """
        assert [(field, reason)] == problems(line(**changes))

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (b'"text"', "is not one JSON object"),
            (b'{"case_id": "caf\xe9"}', "is not UTF-8 text; save the file as UTF-8"),
            (b'{"a":' * 100_000, "is nested too deeply"),
            (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "is nested too deeply"),
        ],
    )
    def test_a_line_that_is_no_object_is_refused(self, text: bytes, reason: str) -> None:
        """
        A broken line spoils itself alone.
        """
        first, second = rows(text + b"\n" + line().encode(), FileFormat.JSONL)

        assert (Problem("", reason),) == first.problems
        assert PAYMENT == second.payment

    def test_an_endless_line_is_skipped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A line that is too long is refused without holding it, and the next one is read.
        """
        monkeypatch.setattr(lines, "MAX_RECORD", 300)
        read = reader(line() + "{" + "x" * 2000 + "\n" + line())

        found = list(read)

        assert [PAYMENT, None, PAYMENT] == [row.payment for row in found]
        assert [1, 2, 3] == [row.line for row in found]
        assert "{" + "x" * 299 == found[1].original
        assert 2 * len(line()) + 2002 == read.bytes_read

    def test_a_line_that_ends_at_the_limit_costs_no_other(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A line that is too long by its very end is refused alone: the next one is read.
        """
        monkeypatch.setattr(lines, "MAX_RECORD", 300)
        found = rows(line() + "{" + "x" * 298 + "\n" + line(caseId="next") + line())

        assert [1, 2, 3, 4] == [row.line for row in found]
        assert (Problem("", "is longer than 300 bytes"),) == found[1].problems
        assert found[2].payment is not None
        assert "next" == found[2].payment.case_id

    def test_names_that_no_field_has_are_bounded(self) -> None:
        """
        A file whose names are data does not fill the memory with them.
        """
        read = reader("".join(line(**{f"x{n}": 1}) for n in range(1000)))

        assert 1000 == len(list(read))
        assert 50 == len(read.ignored)

    def test_names_of_a_row_without_any_field_are_not_told(self) -> None:
        """
        They may be what it says, such as addresses of people.
        """
        read = reader(line(note=1) + '{"jane.doe@example.com": {"amount": 5}}\n')

        assert 2 == len(list(read))
        assert ["note"] == read.ignored

    def test_a_row_takes_no_more_memory_than_its_text(self, tmp_path: pathlib.Path) -> None:
        """
        What is nested in it, and no field has, is not kept.
        """
        path = tmp_path / "p.jsonl"
        path.write_text(line().replace("}", ', "x": [' + ",".join(["[]"] * 40_000) + "]}") * 40)
        code = """
with open(path, "rb") as file:
    print(len([row for row in RowReader(file) if row.payment]))
"""
        read, mebibytes = memory_of(code, path)

        assert "40" == read
        assert 40 > mebibytes

    def test_a_field_that_is_repeated_without_end_takes_no_long_look(self) -> None:
        """
        As many names as a line can hold are counted once.
        """
        began = time.process_time()
        (row,) = rows("{" + ",".join(['"email":1'] * 95_000) + "}\n")

        assert (Problem("email", "is given twice"),) == row.problems
        assert 5 > time.process_time() - began

    def test_names_that_no_field_has_are_listed_once(self) -> None:
        """
        Extra names are ignored, and each is listed once however often it comes.
        """
        read = reader(line(note=1, error_line=2) + line(note={"a": [1]}))

        assert [PAYMENT, PAYMENT] == [row.payment for row in read]
        assert ["note"] == read.ignored
        assert () == read.header

    def test_the_format_can_be_forced(self) -> None:
        """
        A file that looks like the other format is read as it is told to be.
        """
        with pytest.raises(FileError, match="missing"):
            reader(line(), FileFormat.CSV)


class TestIgnored:
    @pytest.mark.parametrize(
        "text",
        [
            f"{HEADER},{'N' * 100_000}\n{GOOD},x\n",
            line(**{"N" * 100_000: 1}),
            parquet(payments(1, **{"N" * 100_000: ["x"]})),
        ],
    )
    def test_a_long_name_is_cut(self, text: str | bytes) -> None:
        """
        A name may be as long as a row; what is told of it is not.
        """
        read = reader(text)

        assert 1 == len(list(read))
        assert ["N" * 59 + "\u2026"] == read.ignored

    def test_a_long_name_is_nearly_a_fields_all_the_same(self) -> None:
        """
        It is looked at as a whole.
        """
        with pytest.raises(FileError, match=r'rename the column "e_{58}…" to email$'):
            reader(f"{HEADER},e{'_' * 90}mail\n")


class TestSwallowedRows:
    @pytest.mark.parametrize(
        ("first", "last"),
        [
            (
                'case-1,1,2026-01-05,2026-02-05,PAID,"5 inch',
                'case-4,1,2026-01-05,2026-02-05,PAID,5"',
            ),
            ('"case-1,1,2026-01-05,2026-02-05,PAID,', 'case-4",1,2026-01-05,2026-02-05,PAID,'),
        ],
    )
    def test_rows_between_two_stray_quotes_are_told(self, first: str, last: str) -> None:
        """
        Rows that two stray quotes make the text of one cell are no part of a payment.
        """
        middle = "case-2,1,2026-01-05,2026-02-05,PAID,\n" * 2
        good = "case-5,1,2026-01-05,2026-02-05,PAID,\n"
        broken, after = rows(f"{HEADER},description\n{first}\n{middle}{last}\n{good}")

        assert broken.payment is None
        assert "lines 2 to 5 were not read" in str(broken.problems[0])
        assert after.payment is not None

    @pytest.mark.parametrize(
        "days", ["11/02/2026,12/01/2026", "2.11.2026,1.12.2026", "2026-11-02 00:00,x", ","]
    )
    @pytest.mark.parametrize("rest", ["case-3,$60,{days},paid,b\n", ""])
    def test_however_their_days_are_written(self, days: str, rest: str) -> None:
        """
        Rows that could not have been sent anyway are not lost either.
        """
        swallowed = f"5 inch\n{rest.format(days=days)}case-4,1,{days},PAID,5"
        (broken,) = rows(f'{HEADER},description\n{GOOD},"{swallowed}"\n')

        assert broken.payment is None
        assert "has a quote in the wrong place" in str(broken.problems[0])

    @pytest.mark.parametrize(
        "text",
        [
            f'{HEADER},description\n{GOOD},"one, two\nthree, four\n"\n',
            f'description,{HEADER}\n"one, two\nthree, four",{GOOD}\n',
            f'{HEADER},description\n{GOOD},"Items:\na, b, c, d, e, f, of 2026-01-05"\n',
            f'{HEADER},description\n{GOOD},"Items:\n2, syringes\n1, box\n3, vials, a, b"\n',
            f'{HEADER},description\n{GOOD},"To: John, Main St, IL, 62704\nTel, 5551, a.m."\n',
            f'{HEADER},description\n{GOOD},"On March 3, 2026, May 5, 2026,\nby card, a"\n',
        ],
    )
    def test_a_text_of_several_lines_is_fine(self, text: str) -> None:
        """
        A cell may hold line breaks, with commas, in whatever column.
        """
        (row,) = rows(text)

        assert row.payment is not None
        assert "\n" in (row.payment.description or "")

    @pytest.mark.parametrize("filling", ["\n", " ", "1.", "1-", "\r", "$1\n"])
    def test_a_long_text_takes_no_long_look(self, filling: str) -> None:
        """
        As long as a cell can be, a look at it takes no longer than reading it.
        """
        text = "a,b,c,d,e,f\n" + filling * (120_000 // len(filling))
        (row,) = rows(f'{HEADER},description\n{GOOD},"{text}"\n')

        assert row.payment is not None

    def test_a_broken_amount_beside_it_is_told(self) -> None:
        """
        A text of several lines does not hide what is wrong with its row.
        """
        (row,) = rows(f'note,{HEADER}\n"a\nb",{GOOD.replace("49.00", "$49")}\n')

        assert ["amount"] == [problem.field for problem in row.problems]


def write_rejects(path: pathlib.Path, text: str | bytes, *, key: str | None = None) -> bytes:
    """Return what a rejects file has of all rows, up to where reading them ends."""
    rejects = Rejects(str(path), reader(text))
    for row in before_a_break(text)[0]:
        rejects.write(row, row.problems or [Problem("", "refused")], key)
    rejects.flush()
    rejects.close()
    return path.read_bytes()


class TestRejects:
    write = staticmethod(write_rejects)

    @pytest.mark.parametrize(
        "text",
        [
            f"{HEADER},note\n,$5,2026-01-05,2026-02-05,PAID,x\nshort,1\n{GOOD},x,y,z\n{GOOD},n\n",
            f'{HEADER}\n"case-1"x,49.00,2026-01-05,2026-02-05,PAID\n',
            line(amount=1.005, note={"a": [1, 2.50], "b": None}) + line(amount=float("nan")),
            line(email="\ud800@example.com") + "{}\n",
        ],
    )
    def test_a_rejects_file_is_refused_for_the_same_reasons(
        self, tmp_path: pathlib.Path, text: str
    ) -> None:
        """
        What was written out reads back as the same rows, so that only what is corrected passes.
        """
        first = self.write(tmp_path / "1", text)
        second = self.write(tmp_path / "2", first)

        def reasons(data: str | bytes) -> list[list[str]]:
            return [[p.field for p in row.problems] for row in rows(data)]

        assert reasons(text) == reasons(first)
        assert reasons(first) == reasons(second)

    @pytest.mark.parametrize("cells", range(1, 12))
    def test_a_row_of_another_width_keeps_its_cells(
        self, tmp_path: pathlib.Path, cells: int
    ) -> None:
        """
        Of a row with too few or too many cells nothing is lost, and it is refused again, however
        often it goes through a rejects file.
        """
        broken = ",".join(f"cell-{n}" for n in range(cells))
        data = self.write(tmp_path / "1", f"{HEADER}\n{broken}\n")
        for turn in range(2, 5):
            data = self.write(tmp_path / str(turn), data)
            (row,) = rows(data)

            assert row.payment is None
            assert broken in data.decode()

    @pytest.mark.parametrize("number", ["1e" + "9" * 25, "1.10", "NaN", "-Infinity"])
    def test_numbers_come_back_as_they_were_written(
        self, tmp_path: pathlib.Path, number: str
    ) -> None:
        """
        Even one that no Decimal holds stops no run, and none becomes a text, which might pass.
        """
        fields = ('"case_id":' + number, '"amount":' + number, f'"note":[{{"a":{number}}}]')
        data = self.write(tmp_path / "r", "{" + ",".join(fields) + "}\n").decode()

        assert all(field in data for field in fields)

    @pytest.mark.parametrize("text", ["José", "a\ud800é", 'a"b\n', ""])
    def test_texts_come_back_as_they_were(self, tmp_path: pathlib.Path, text: str) -> None:
        """
        A text is legible where it can be, and the same in any case.
        """
        data = self.write(tmp_path / "r", json.dumps({"case_id": 1, text: text}) + "\n")

        assert text == json.loads(data)[text]
        assert "José" not in text or text in data.decode()

    def test_a_corrected_row_can_be_run(self, tmp_path: pathlib.Path) -> None:
        """
        The error columns of a rejects file are ignored without a word.
        """
        data = self.write(tmp_path / "r", f"{HEADER}\n{GOOD.replace('49.00', '$49')}\n")
        read = reader(data.replace(b"$", b""))

        assert [PAYMENT] == [row.payment for row in read]
        assert [] == read.ignored
        assert (*ERROR_COLUMNS, "idempotency_key", *HEADER.split(",")) == read.header

    @pytest.mark.parametrize("text", [f"{HEADER}\n{GOOD}\n", line(), line(idempotencyKey="k")])
    def test_a_key_that_a_person_has_to_decide_is_refused(
        self, tmp_path: pathlib.Path, text: str
    ) -> None:
        """
        A row with such a key is refused again until somebody decides, whatever became of the arrow.
        """
        data = self.write(tmp_path / "r", text, key=f"{UNDECIDED} (was k)")
        (again,) = rows(data)
        for arrow in ("\u00e2\u2020\u2019", "?", "->", "-> ", ""):
            (mangled,) = rows(data.decode().replace("\u2192", arrow))
            assert ["idempotency_key"] == [problem.field for problem in mangled.problems]

        (problem,) = again.problems
        assert "idempotency_key" == problem.field
        assert "is undecided" in problem.reason

    def test_repeated_column_names_stop_no_later_run(self, tmp_path: pathlib.Path) -> None:
        """
        Among its rows, column names that a file had once more are a bad row, not a header.
        """
        bad = GOOD.replace("49.00", "$49")
        data = f"{HEADER}\n{HEADER}\n{bad}\n"
        for turn in range(3):
            data = self.write(tmp_path / str(turn), data).decode()
            again, wrong = rows(data)

            assert "has the column names once more" in again.problems[0].reason
            assert "amount" == wrong.problems[0].field
        assert [None, PAYMENT] == [row.payment for row in rows(data.replace("$", ""))]

    def test_nor_do_those_of_another_file(self, tmp_path: pathlib.Path) -> None:
        """
        They ended the reading of the first file; rows beside them in its rejects file are its own.
        """
        other = HEADER.replace("payment_date,valid_until", "valid_until,payment_date")
        bad = GOOD.replace("49.00", "$49")
        read = reader(f"{HEADER}\n{bad}\n{other}\n{GOOD}\n")
        rejects = Rejects(str(tmp_path / "r"), read)
        found = iter(read)
        late, names = next(found), next(found)
        rejects.write(names, names.problems)
        rejects.write(late, late.problems)  # as a payment that the vendor refuses
        rejects.close()
        data = (tmp_path / "r").read_text()

        assert [None, PAYMENT] == [row.payment for row in rows(data.replace("$", ""))]

    @pytest.mark.parametrize("name", ["a\rb", "x\0y", "a\r\nb", "\r", "a\nb"])
    def test_a_name_that_no_first_line_can_have_is_mended(
        self, tmp_path: pathlib.Path, name: str
    ) -> None:
        """
        A Parquet column may be called anything; the rejects file can be read again.
        """
        columns = payments(1, amount=["$49"], **{name: ["x"]})
        data = self.write(tmp_path / "r", parquet(columns)).replace(b"$", b"")

        assert [PAYMENT.case_id] == [row.payment.case_id for row in rows(data) if row.payment]

    def test_its_last_line_ends(self, tmp_path: pathlib.Path) -> None:
        """
        Of a file whose own last line may be cut, and has no end.
        """
        text = f"{HEADER},idempotency_key\n{GOOD},key-1"
        data = self.write(tmp_path / "r", text)

        assert data.endswith(b",key-1\n")
        assert [("idempotency_key", CUT)] == problems(text)

    def test_a_lone_carriage_return_stays_in_its_cell(self, tmp_path: pathlib.Path) -> None:
        """
        A row comes back as one row, whatever its cells hold.
        """
        data = self.write(tmp_path / "r", f'{HEADER},email\n{GOOD},"a\rb"\n')
        found = list(csv.reader(io.StringIO(data.decode(), newline="")))

        assert 2 == len(found)
        assert "a\rb" == found[1][-1]

    def test_a_field_given_twice_is_kept_twice(self, tmp_path: pathlib.Path) -> None:
        """
        A row that says a field twice comes back as it was read, so that a person sees both values,
        and is refused again.
        """
        text = line().replace("}", ', "amount": 20}')
        data = self.write(tmp_path / "r", text)
        (found,) = (json.loads(text) for text in data.splitlines())
        (again,) = rows(data)

        assert text.strip() == found["original"]
        assert again.payment is None

    def test_the_reason_stands_beside_the_row(self, tmp_path: pathlib.Path) -> None:
        """
        Each row carries its line, its field and its reason.
        """
        data = self.write(tmp_path / "r", f"{HEADER}\n{GOOD}\n,1,2026-01-05,2026-02-05,PAID\n")
        found = list(csv.DictReader(io.StringIO(data.decode())))

        assert ["2", "3"] == [row["error_line"] for row in found]
        assert ["", "case_id"] == [row["error_field"] for row in found]
        assert ["refused", "is missing"] == [row["error_reason"] for row in found]

    def test_json_numbers_stay_exact(self, tmp_path: pathlib.Path) -> None:
        """
        A JSON row comes out with its numbers digit by digit, extra fields included.
        """
        text = '{"amount": 1.10, "big": 12345678901234567890.123456789, "list": [1]}\n'
        data = self.write(tmp_path / "r", text)

        assert b'"amount":1.10,"big":12345678901234567890.123456789,"list":[1]}' in data

    @pytest.mark.parametrize(
        "text",
        [
            f"{HEADER}\n{GOOD}\n",
            f"{HEADER},idempotencyKey\n{GOOD},\n",
            line(),
            line(idempotencyKey=None),
        ],
    )
    def test_a_fixed_key_goes_with_its_row(self, tmp_path: pathlib.Path, text: str) -> None:
        """
        A repeated row keeps the key that tells it from its first appearance.
        """
        data = self.write(tmp_path / "r", text, key="nth-2")
        (row,) = rows(data)

        assert row.payment is not None
        assert "nth-2" == row.payment.idempotency_key

    def test_bytes_that_are_no_text_survive(self, tmp_path: pathlib.Path) -> None:
        """
        A cell in another encoding is written back byte for byte.
        """
        data = self.write(tmp_path / "r", f"{HEADER}\ncaf\xe9".encode("latin-1"))
        object_data = self.write(tmp_path / "o", b'{"case_id": "caf\xe9"}\n')

        assert data.endswith(b"caf\xe9\n")
        assert (Problem("case_id", "is missing") in rows(object_data)[0].problems) is True

    def test_it_is_private_and_replaces_what_was_there(self, tmp_path: pathlib.Path) -> None:
        """
        Only its owner can read it, also where the file was there with other rights.
        """
        path = tmp_path / "r"
        path.write_text("old")
        path.chmod(0o644)

        self.write(path, f"{HEADER}\n")

        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        own = "error_line,error_field,error_reason,idempotency_key,"
        assert f"{own}{HEADER}\n" == path.read_text()

    def test_a_broken_record_too_long_for_csv_leaves_its_reason(
        self, tmp_path: pathlib.Path
    ) -> None:
        """
        Of a record that cannot be read at all its line, its reason and its beginning are kept.
        """
        data = self.write(tmp_path / "r", f'{HEADER}\n"{"x" * 200_000}\n')

        assert b"2,," in data
        assert 1500 > len(data)

    def test_what_is_nested_is_kept(self, tmp_path: pathlib.Path) -> None:
        """
        Fields that are none of ours come back whole, however they are nested.
        """
        deep = "[" * 98 + "1.10" + "]" * 98
        data = self.write(tmp_path / "r", line(caseId=None).replace("}", f', "deep": {deep}}}'))

        assert f'"deep":{deep}'.encode() in data
        assert b'"amount":49' in data

    def test_what_is_nested_too_deeply_is_kept_as_text(self, tmp_path: pathlib.Path) -> None:
        """
        A row that no person wrote is no reason to stop: it comes back as it was read.
        """
        text = line().replace("}", f', "deep": {"[" * 100 + "]" * 100}}}')
        data = self.write(tmp_path / "r", text)
        (found,) = (json.loads(text) for text in data.splitlines())

        assert text.strip() == found["original"]

    def test_a_lone_surrogate_costs_neither_key_nor_reason(self, tmp_path: pathlib.Path) -> None:
        """
        Text that only an escape can write comes with its new reason and its fixed key.
        """
        text = line(note="\ud800", error_reason="old")
        data = self.write(tmp_path / "r", text, key="nth-2")
        (row,) = rows(data)

        assert row.payment is not None
        assert "nth-2" == row.payment.idempotency_key
        assert b"old" not in data
        assert b"\\ud800" in data

    def test_a_full_disk_is_found_at_once_and_named(self) -> None:
        """
        Without room for the header there is no run, and the error says where.
        """
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            Rejects("/dev/full", reader(f"{HEADER}\n"))

    def test_closing_twice_is_fine_even_if_it_fails(self) -> None:
        """
        What could not be written is told once.
        """
        read = reader(line(caseId=None))
        rejects = Rejects("/dev/full", read)
        for row in read:
            rejects.write(row, row.problems)
        with pytest.raises(OSError, match="'/dev/full'"):
            rejects.close()
        rejects.close()

    def test_the_rights_of_a_device_are_left_alone(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        What is no file of ours, such as a terminal, stays everybody's.
        """
        changed: list[str] = []
        monkeypatch.setattr("os.chmod", lambda path, _: changed.append(path))
        Rejects("/dev/null", reader(line())).close()
        Rejects(str(tmp_path / "r"), reader(line())).close()

        assert [str(tmp_path / "r")] == changed
