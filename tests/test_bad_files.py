"""
What is wrong with a row: every way that people, spreadsheets and programs make a bad one.

Each case gives what stands in the file and the line, the field and the reason that are expected.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import hypothesis
import hypothesis.strategies as st
import pytest
from click.testing import CliRunner

from carevalidate_async import cli
from carevalidate_async._files.rows import FileError
from carevalidate_async._files.texts import ORDINARY, control, damage, placeholder
from carevalidate_async._files.texts import unseen as unseen_in
from cli_support import running_sandbox
from input_files import (
    CELLS,
    GOOD,
    HEADER,
    PAYMENT,
    as_csv,
    as_jsonl,
    as_parquet,
    before_a_break,
    problems,
    reader,
    rows,
)

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Mapping, Sequence

pytestmark = pytest.mark.deep

SPLIT = "write it without thousands separators, cents after a point"
CURRENCY = "has a currency sign or code; write the number alone, in US dollars"
NEGATIVE = "must not be negative; a refund is a status"
NO_AMOUNT = "is not an amount such as 1234.50"
OTHER_DIGITS = "has digits of another script; write 0 to 9"
OTHER_DATE = "is a date in another form; write it as YYYY-MM-DD"
TIME = "has a time; write it as YYYY-MM-DD, the day alone"
MOMENT = "is a moment, counted in seconds or less, not a day; write it as YYYY-MM-DD"
SERIAL = "is a spreadsheet's number of a day; format the column as a date, YYYY-MM-DD"
NO_DATE = "must be a date as YYYY-MM-DD"
NO_DAY = "is no day of the calendar"
STATUSES = "must be one of PAID, UNPAID, CANCELED, IN_DISPUTE, LOST_DISPUTE, REFUND, ERROR"
CAPITALS = "must be in capital letters, with _ between words"
PLACEHOLDER = "is a placeholder, such as NULL, #N/A or a dash; write the value, or leave it empty"
QUOTED = "has a quotation mark or an apostrophe around it; write the value alone"
FORMULA = "begins with =, as a spreadsheet's formula; write the value alone"
SHORTENED = "is a long number that a program shortened (E+); get it from its source, as text"
FRACTION = "is a whole number that a program wrote as a fraction (.0); get it from its source"
LOST = "has a character that an earlier conversion lost, U+FFFD; get it from its source"
NO_UTF8 = "is not UTF-8 text; save the file as UTF-8"
NO_KEY = "must be printable ASCII without blanks at either end"
NO_EMAIL = "is not an email address"
NO_OBJECT = "is not one JSON object; see column"
MISPLACED = "has a quote in the wrong place, or one that is never closed"


def unseen(code: str) -> str:
    return f"has an invisible character, {code}; type it anew"


# A field, what its cell holds, and the reason.
VALUES = [
    # Thousands separators of every kind.
    ("amount", "1,234.50", f"has a comma; {SPLIT}"),
    ("amount", "1234,50", f"has a comma; {SPLIT}"),
    ("amount", "1.234,50", f"has a comma; {SPLIT}"),
    ("amount", "1 234,50", f"has a comma; {SPLIT}"),
    ("amount", "1,23,456.00", f"has a comma; {SPLIT}"),
    ("amount", "1 234.50", f"has a blank; {SPLIT}"),
    ("amount", "1\u00a0234.50", f"has a blank; {SPLIT}"),
    ("amount", "1\u202f234.50", f"has a blank; {SPLIT}"),
    ("amount", "1\u2009234", f"has a blank; {SPLIT}"),
    ("amount", "12\n50", f"has a blank; {SPLIT}"),
    ("amount", "1'234.50", f"has an apostrophe; {SPLIT}"),
    ("amount", "1\u2019234.50", f"has an apostrophe; {SPLIT}"),
    ("amount", "1.234.567", f"has more than one point; {SPLIT}"),
    ("amount", "1.234", "has more than two decimal places"),
    ("amount", "49.999", "has more than two decimal places"),
    ("amount", "49.000", "has more than two decimal places"),
    ("amount", "1_000", NO_AMOUNT),
    # Currencies, in front and behind.
    ("amount", "$49", CURRENCY),
    ("amount", "US$ 49.00", CURRENCY),
    ("amount", "49 $", CURRENCY),
    ("amount", "49 \u20ac", CURRENCY),
    ("amount", "\u00a349", CURRENCY),
    ("amount", "\uff0449", CURRENCY),
    ("amount", "USD 49", CURRENCY),
    ("amount", "49.00 usd", CURRENCY),
    ("amount", "EUR49", CURRENCY),
    ("amount", "CHF 1'049.00", CURRENCY),
    ("amount", "Rs. 500", CURRENCY),
    ("amount", "49 dollars", CURRENCY),
    ("amount", "$(49.00)", CURRENCY),
    # Signs.
    ("amount", "-49", NEGATIVE),
    ("amount", "49-", NEGATIVE),
    ("amount", "49.00-", NEGATIVE),
    ("amount", "(49.00)", NEGATIVE),
    ("amount", "\u221249", NEGATIVE),
    ("amount", "\u201349", NEGATIVE),
    ("amount", "+49", "has a plus sign; write the number alone"),
    ("amount", "49 CR", "has a credit or debit mark; write the number alone"),
    ("amount", "49.00Dr.", "has a credit or debit mark; write the number alone"),
    # What computers and spreadsheets make of numbers.
    ("amount", "4.9e1", "has an exponent; write it out in digits"),
    ("amount", "1.5E+2", "has an exponent; write it out in digits"),
    ("amount", "1e-400", "has an exponent; write it out in digits"),
    ("amount", "49%", "is a percentage; write the amount in US dollars"),
    ("amount", "=49", "begins with =, as a spreadsheet's formula; write the number alone"),
    ("amount", "=SUM(A1:A9)", "begins with =, as a spreadsheet's formula; write the number alone"),
    ("amount", "'49", "begins with an apostrophe; write the number alone"),
    ("amount", "\u201849", "begins with an apostrophe; write the number alone"),
    ("amount", '"49"', "begins with an apostrophe; write the number alone"),
    ("amount", "Infinity", "must be a finite number"),
    ("amount", "-inf", "must be a finite number"),
    ("amount", "0x31", NO_AMOUNT),
    ("amount", "49.", NO_AMOUNT),
    ("amount", ".50", NO_AMOUNT),
    ("amount", "TRUE", NO_AMOUNT),
    ("amount", "49k", NO_AMOUNT),
    ("amount", "forty-nine", NO_AMOUNT),
    ("amount", "12:30", NO_AMOUNT),
    ("amount", "9" * 14, "must be at most 1000000000000"),
    ("amount", "9" * 100_000, "must be at most 1000000000000"),
    ("amount", "2026-01-05", "is a date, not an amount; is it in the right column?"),
    ("amount", "1/5/2026", "is a date, not an amount; is it in the right column?"),
    # Other scripts, and what cannot be seen.
    ("amount", "\uff14\uff19", OTHER_DIGITS),
    ("amount", "\u0664\u0669", OTHER_DIGITS),
    ("amount", "\u0664\u0669\u066b\u0665\u0660", OTHER_DIGITS),
    ("amount", "4\u200b9", unseen("U+200B")),
    ("amount", "49\u200e", unseen("U+200E")),
    ("amount", "4\x009", unseen("U+0000")),
    # No amount.
    ("amount", "", "is missing"),
    ("amount", " \u00a0 ", "is missing"),
    ("amount", "-", PLACEHOLDER),
    ("amount", "nan", PLACEHOLDER),
    ("amount", "#VALUE!", PLACEHOLDER),
    # Days that people, spreadsheets and databases write.
    ("payment_date", "01/05/2026", OTHER_DATE),
    ("payment_date", "1/5/26", OTHER_DATE),
    ("payment_date", "31.12.2026", OTHER_DATE),
    ("payment_date", "05-01-2026", OTHER_DATE),
    ("payment_date", "26-01-05", OTHER_DATE),
    ("payment_date", "2026/01/05", OTHER_DATE),
    ("payment_date", "2026-1-5", OTHER_DATE),
    ("payment_date", "20260105", OTHER_DATE),
    ("payment_date", "Jan 5, 2026", NO_DATE),
    ("payment_date", "05-Jan-26", NO_DATE),
    ("payment_date", "2026-W02-1", NO_DATE),
    ("payment_date", "today", NO_DATE),
    ("payment_date", "2026", NO_DATE),
    ("payment_date", "2026-01-05T00:00:00Z", TIME),
    ("payment_date", "2026-01-05 00:00:00", TIME),
    ("payment_date", "2026-01-05T23:30:00+02:00", TIME),
    ("payment_date", "46027", SERIAL),
    ("payment_date", "46027.5", SERIAL),
    ("payment_date", "1767571200", MOMENT),
    ("payment_date", "1767571200000", MOMENT),
    ("payment_date", "2026-02-30", NO_DAY),
    ("payment_date", "2026-02-29", NO_DAY),
    ("payment_date", "2026-13-01", NO_DAY),
    ("payment_date", "0000-00-00", NO_DAY),
    ("payment_date", "1900-01-00", NO_DAY),
    (
        "payment_date",
        "2026\u201101\u201105",
        "has dashes that are no hyphens; write it as YYYY-MM-DD",
    ),
    (
        "payment_date",
        "\uff12\uff10\uff12\uff16-01-05",
        "has digits of another script; write it as YYYY-MM-DD with 0 to 9",
    ),
    ("payment_date", "'2026-01-05", QUOTED),
    ("payment_date", "=TODAY()", FORMULA),
    ("payment_date", "2026-01-05\u200b", unseen("U+200B")),
    ("payment_date", "########", PLACEHOLDER),
    ("payment_date", "NaT", PLACEHOLDER),
    ("valid_until", "", "is missing"),
    ("valid_until", "never", NO_DATE),
    ("valid_until", "2026-01-04", "is before payment_date"),
    # Words that are no status.
    ("status", "paid", CAPITALS),
    ("status", "Paid", CAPITALS),
    ("status", "in dispute", CAPITALS),
    ("status", "Lost-Dispute", CAPITALS),
    ("status", "TRUE", STATUSES),
    ("status", "1", STATUSES),
    ("status", "yes", STATUSES),
    ("status", "CANCELLED", STATUSES),
    ("status", "bezahlt", STATUSES),
    ("status", "PAID;", STATUSES),
    ("status", "PAID\u200b", unseen("U+200B")),
    ("status", "P\u0410ID", STATUSES),  # its A is Cyrillic
    ("status", "None", PLACEHOLDER),
    # Placeholders.
    *(
        ("case_id", text, PLACEHOLDER)
        for text in (
            *("NULL", "null", "(null)", "<null>", "[NULL]", "None", "nil", "NaN", "<NA>", "N/A"),
            *("n/a", "NA", "undefined", "\\N", "#N/A", "#REF!", "#NAME?", "#DIV/0!", "#NULL!"),
            *("#NUM!", "#SPILL!", "-", "--", "\u2014", "?", "#", ".", "...", "\u2026", "***"),
        )
    ),
    ("decision_id", "NULL", PLACEHOLDER),
    ("idempotency_key", "NULL", PLACEHOLDER),
    ("idempotency_key", "#N/A", PLACEHOLDER),
    ("email", "None", PLACEHOLDER),
    ("phone_number", "\\N", PLACEHOLDER),
    ("description", "nan", PLACEHOLDER),
    # What spreadsheets made of an id.
    ("case_id", "'case-1", QUOTED),
    ("case_id", '"case-1"', QUOTED),
    ("case_id", "\u201ccase-1\u201d", QUOTED),
    ("case_id", "\u00abcase-1\u00bb", QUOTED),
    ("case_id", '="0042"', FORMULA),
    ("case_id", "1.23457E+14", SHORTENED),
    ("case_id", "1,23457E+14", SHORTENED),
    ("decision_id", "'dec-1", QUOTED),
    ("phone_number", "'+15550100200", QUOTED),
    ("phone_number", "1.55501E+10", SHORTENED),
    ("idempotency_key", '"k-1"', QUOTED),
    ("idempotency_key", "=k-1", FORMULA),
    ("idempotency_key", "2E+11", SHORTENED),
    # What pandas, R, JavaScript and Java made of it.
    ("case_id", "1.23457e+14", SHORTENED),
    ("idempotency_key", "1e+05", SHORTENED),
    ("decision_id", "1.23457E14", SHORTENED),
    ("email", "1.5e+10", SHORTENED),
    ("case_id", "20021.0", FRACTION),
    ("decision_id", "7.00", FRACTION),
    ("idempotency_key", "20021,0", FRACTION),
    ("phone_number", "15551234567.0", FRACTION),
    ("phone_number", "+15551234567.0", FRACTION),
    # What nobody sees.
    *(
        ("case_id", f"case{character}1", unseen(code))
        for character, code in (
            ("\u200b", "U+200B"),  # zero width space
            ("\u200c", "U+200C"),
            ("\u200d", "U+200D"),
            ("\u2060", "U+2060"),  # word joiner
            ("\u00ad", "U+00AD"),  # soft hyphen
            ("\ufeff", "U+FEFF"),  # byte order mark
            ("\u200e", "U+200E"),  # left-to-right mark
            ("\u202e", "U+202E"),
            ("\u00a0", "U+00A0"),  # no-break space
            ("\u2028", "U+2028"),
            ("\u3000", "U+3000"),
            ("\u2800", "U+2800"),  # a Braille cell without dots
            ("\u3164", "U+3164"),  # a letter that is empty
            ("\ufe0f", "U+FE0F"),
            ("\ue000", "U+E000"),
            ("\t", "U+0009"),
            ("\n", "U+000A"),
            ("\x00", "U+0000"),
            ("\x1a", "U+001A"),
            ("\x7f", "U+007F"),
        )
    ),
    ("case_id", "\u200bcase-1", unseen("U+200B")),
    ("case_id", "case-1\ufeff", unseen("U+FEFF")),
    ("case_id", "\u200b", unseen("U+200B")),
    ("case_id", "ca\ufffde", LOST),
    ("decision_id", "dec\u200b1", unseen("U+200B")),
    ("idempotency_key", "k\u200b1", unseen("U+200B")),
    ("email", "a\u00ad@example.com", unseen("U+00AD")),
    ("phone_number", "+1\u202c5550100200", unseen("U+202C")),
    ("description", "a\x00b", "has a control character, U+0000; delete it"),
    ("description", "a\x1bb", "has a control character, U+001B; delete it"),
    # What the model refuses.
    ("case_id", "", "is missing"),
    ("case_id", " \t ", "is missing"),
    ("email", "someone at example.com", NO_EMAIL),
    ("email", "a@example.com;b@example.com", NO_EMAIL),
    ("email", "@example.com", NO_EMAIL),
    ("idempotency_key", "cl\u00e9-1", NO_KEY),
    ("idempotency_key", "k" * 256, "has 256 characters; 255 at most"),
    (
        "idempotency_key",
        "\u2192 decide",
        "is undecided: give the row one of its own, or delete it if it is the same",
    ),
]
# Values that look odd and are fine: whatever is refused needs a person.
FINE = [
    ("case_id", "nan-1"),
    ("case_id", "null-and-void"),
    ("case_id", "12e5"),
    ("idempotency_key", "2E11"),
    ("decision_id", "2.0.1"),
    ("case_id", "20021.5"),
    ("description", "20021.0"),
    ("case_id", "000123"),
    ("case_id", "F\u00e4lle/\u6848\u4ef6 7"),
    ("case_id", "  case-7 \u00a0"),
    ("amount", "0"),
    ("amount", "007.5"),
    ("amount", " 50 "),
    ("description", "'Express' visit"),
    ("description", "=1+1 is a formula"),
    ("description", "two\nlines,\tand a\u200bcharacter \U0001f468\u200d\u2695\ufe0f"),
    ("description", "None of the above"),
    ("phone_number", "(555) 010-0200"),
    ("phone_number", "+1 555 010 0200"),
    ("email", "o'neil+x@example.com"),
    ("idempotency_key", "-1-"),
    ("idempotency_key", "a#b c=d"),
    ("valid_until", "9999-12-31"),
]
FORMATS = pytest.mark.parametrize("write", [as_csv, as_jsonl, as_parquet])


def between(field: str, cell: str) -> list[dict[str, str]]:
    """Return a row that has the cell, between two good ones, as a program would hold them."""
    good = CELLS | {field: CELLS.get(field, "")}
    return [good, good | {field: cell}, good]


class TestOrdinary:
    @hypothesis.given(
        st.text(alphabet="aNULnul0159E+e.,#/()'\"=- \u200b\u00a0\ufffd\x00", max_size=9)
    )
    @hypothesis.example("1.5E+10")
    @hypothesis.example("n/a")
    def test_nothing_is_wrong_with_it(self, text: str) -> None:
        """
        A text that gets one look only would pass all others.
        """
        looks = (placeholder, damage, control, unseen_in)

        assert ORDINARY.fullmatch(text) is None or not any(look(text) for look in looks)


class TestValues:
    @FORMATS
    @pytest.mark.parametrize(("field", "cell", "reason"), VALUES)
    def test_a_bad_one_spoils_its_row_alone(
        self,
        write: Callable[[Sequence[Mapping[str, str]]], bytes],
        field: str,
        cell: str,
        reason: str,
    ) -> None:
        """
        It is named by line, field and reason, the same ones in every kind of file, and the rows
        around it are fine.
        """
        before, bad, after = rows(write(between(field, cell)))

        assert [(bad.line, field, reason)] == problems([bad])
        assert before.line + 1 == bad.line
        assert bad.line + 1 + (write is as_csv) * cell.count("\n") == after.line
        assert [PAYMENT, PAYMENT] == [before.payment, after.payment]

    @FORMATS
    @pytest.mark.parametrize(("field", "cell"), FINE)
    def test_an_odd_one_is_fine(
        self, write: Callable[[Sequence[Mapping[str, str]]], bytes], field: str, cell: str
    ) -> None:
        """
        What a person may mean is not refused, and arrives as it is but for blanks around it.
        """
        found = rows(write(between(field, cell)))[1]

        assert [] == problems([found])
        assert found.payment is not None
        if field != "amount":
            assert cell.strip() == str(getattr(found.payment, field))

    @FORMATS
    @pytest.mark.parametrize("field", ["case_id", "email", "phone_number", "decision_id", "status"])
    @pytest.mark.parametrize(
        "around",
        ["'{}", '"{}"', "={}", "{}\u200b", "{}\x00", "{}\ufffd", "{}" + chr(0xDCE9)],
    )
    def test_no_reason_repeats_it(
        self,
        write: Callable[[Sequence[Mapping[str, str]]], bytes],
        field: str,
        around: str,
    ) -> None:
        """
        A reason stands in logs and on terminals: what a row says of a person does not.
        """
        if write is as_parquet and chr(0xDCE9) in around:
            pytest.skip("pyarrow writes no such text")
        cell = around.replace("{}", "Rosa.Diaz")
        (bad,) = rows(write(between(field, cell)[1:2]))

        assert all("osa" not in reason for _, _, reason in problems([bad]))


def csv_with(*lines: str, header: str = HEADER, end: str = "\n") -> bytes:
    """Return a CSV file with so many good rows around what is bad about it."""
    text = end.join([header, GOOD, *lines, GOOD]) + end
    return text.encode("utf-8", "surrogateescape")


AGAIN = "has the column names once more; were files put together? Delete it"
WIDTH = "and the header 5"
# A CSV file, and what is wrong with its rows; the good ones among them are as many.
RECORDS = [
    ("too few cells", csv_with("case-1,49.00"), [(3, "", f"has too few cells: 2, {WIDTH}")], 2),
    ("too many cells", csv_with(f"{GOOD},x"), [(3, "", f"has too many cells: 6, {WIDTH}")], 2),
    ("trailing commas", csv_with(f"{GOOD},,"), [(3, "", f"has too many cells: 7, {WIDTH}")], 2),
    (
        "semicolons",
        csv_with(GOOD.replace(",", ";")),
        [(3, "", f"has too few cells: 1, {WIDTH}")],
        2,
    ),
    ("tabs", csv_with(GOOD.replace(",", "\t")), [(3, "", f"has too few cells: 1, {WIDTH}")], 2),
    (
        "a thousands comma without quotes",
        csv_with(GOOD.replace("49.00", "1,049.00")),
        [(3, "", f"has too many cells: 6, {WIDTH}")],
        2,
    ),
    (
        "a total at the end",
        csv_with("Total,98.00,,,"),
        [(3, field, "is missing") for field in ("payment_date", "valid_until", "status")],
        2,
    ),
    ("a footer", csv_with("(2 rows affected)"), [(3, "", f"has too few cells: 1, {WIDTH}")], 2),
    ("a comment", csv_with("# by hand"), [(3, "", f"has too few cells: 1, {WIDTH}")], 2),
    ("the end of a DOS file", csv_with("\x1a"), [(3, "", f"has too few cells: 1, {WIDTH}")], 2),
    ("zeros of a crash", csv_with("\0" * 99), [(3, "", f"has too few cells: 1, {WIDTH}")], 2),
    ("files put together", csv_with(HEADER), [(3, "", AGAIN)], 2),
    ("with a byte order mark", csv_with("\ufeff" + HEADER), [(3, "", AGAIN)], 2),
    (
        "a byte order mark without names",
        csv_with("\ufeff" + GOOD),
        [(3, "case_id", unseen("U+FEFF"))],
        2,
    ),
    (
        "with names in the other spelling",
        csv_with("caseId,amount,paymentDate,validUntil,status"),
        [(3, "", AGAIN)],
        2,
    ),
    (
        "with names in no spelling of ours",
        csv_with("Case ID,Amount,Payment Date,Valid-Until,STATUS"),
        [(3, "", AGAIN)],
        2,
    ),
    (
        "a quote inside a cell",
        csv_with(f'"case-1"x{GOOD[6:]}'),
        [(3, "", f"{MISPLACED}; line 3 was not read")],
        2,
    ),
    (
        "a quote that is not closed",
        csv_with(f'"{GOOD}'),
        [(3, "", f"{MISPLACED}; lines 3 to 4 were not read")],
        1,
    ),
    (
        "typographic quotes",
        csv_with(f"\u201ccase-1\u201d{GOOD[6:]}"),
        [(3, "case_id", QUOTED)],
        2,
    ),
    (
        "a line end of old Macs",
        csv_with(f"{GOOD}\r{GOOD}"),
        [(3, "", "has a CR without LF, the line end of old Macs; line 3 was not read")],
        2,
    ),
    (
        "Windows-1252",
        csv_with("caf\udce9,49.00,2026-01-05,2026-02-05,PAID"),
        [(3, "case_id", NO_UTF8)],
        2,
    ),
    ("UTF-8 that is cut", csv_with("caf\udcc3" + GOOD[6:]), [(3, "case_id", NO_UTF8)], 2),
    (
        "cells in the wrong columns",
        csv_with("49.00,case-1,2026-01-05,2026-02-05,PAID"),
        [(3, "case_id", FRACTION), (3, "amount", NO_AMOUNT)],
        2,
    ),
    (
        "nothing but commas and dashes",
        csv_with("-,-,-,-,-"),
        [(3, field, PLACEHOLDER) for field in HEADER.split(",")],
        2,
    ),
    (
        "everything at once",
        csv_with("NULL,$1,1/5/26,,paid"),
        [
            (3, "case_id", PLACEHOLDER),
            (3, "amount", CURRENCY),
            (3, "payment_date", OTHER_DATE),
            (3, "valid_until", "is missing"),
            (3, "status", CAPITALS),
        ],
        2,
    ),
]
# Files that are fine, for all that they look like.
LAYOUTS = [
    ("LF", csv_with()),
    ("CRLF", csv_with(end="\r\n")),
    ("CR, CR and LF", csv_with(end="\r\r\n")),
    ("a byte order mark", b"\xef\xbb\xbf" + csv_with()),
    ("two of them", b"\xef\xbb\xbf\xef\xbb\xbf" + csv_with()),
    ("one before blank lines", b"\xef\xbb\xbf\r\n\r\n" + csv_with()),
    ("empty lines", csv_with("", "   ", ",,,,", "")),
    ("no line's end at the end", csv_with().rstrip()),
    ("blanks around names", csv_with(header=HEADER.replace(",", " , "))),
    ("quotes around everything", csv_with(end="\n").replace(b",", b'","').replace(b"\n", b'"\n"')),
    ("a column without a name", csv_with(header=f"{HEADER},").replace(b"PAID", b"PAID,")),
    ("a column of ours", csv_with(header=f"{HEADER},error_line").replace(b"PAID", b"PAID,7")),
]


class TestCsv:
    @pytest.mark.parametrize(
        ("text", "expected", "good"),
        [case[1:] for case in RECORDS],
        ids=[case[0] for case in RECORDS],
    )
    def test_a_bad_record_is_told(
        self, text: bytes, expected: list[tuple[int, str, str]], good: int
    ) -> None:
        """
        What is no row, or not the row that it seems to be, is named by its line, and rows that are
        not in doubt because of it are read.
        """
        found = rows(text)

        assert expected == problems(found)
        assert [PAYMENT] * good == [row.payment for row in found if row.payment]

    @pytest.mark.parametrize("text", [c[1] for c in LAYOUTS], ids=[c[0] for c in LAYOUTS])
    def test_an_odd_layout_is_fine(self, text: bytes) -> None:
        """
        What spreadsheets and editors do to a file without changing what it says is read.
        """
        if text.startswith(b'case_id","'):
            text = b'"' + text.removesuffix(b'"')

        assert [PAYMENT, PAYMENT] == [row.payment for row in rows(text)]

    @pytest.mark.parametrize(
        "names",
        [
            HEADER.replace("payment_date,valid_until", "valid_until,payment_date"),
            "Status,Valid Until,Payment Date,Amount,Case ID",
            "caseId,decisionId,amount,paymentDate,validUntil,status",
            f"{HEADER},idempotency_key",
        ],
    )
    def test_other_columns_end_the_reading(self, names: str) -> None:
        """
        After column names of another file, in whatever spelling, a row would still look like one,
        and say something else: they are a bad row, and the last one.
        """
        found, said = before_a_break(csv_with(names, GOOD))

        reason = (
            "has other column names than the first line; were files put together? "
            "Nothing after line 3 was read"
        )
        assert [PAYMENT, None] == [row.payment for row in found]
        assert [(3, "", reason)] == problems(found)
        assert (
            "the input is damaged: line 3 has other column names than the first line; "
            "nothing after line 3 was read"
        ) == said

    def test_extra_columns_are_told_once(self) -> None:
        """
        Columns that no field has are ignored, and listed in the file's order.
        """
        found = reader(csv_with(header=f"{HEADER},note,Case").replace(b"PAID", b"PAID,x,y"))

        assert [PAYMENT, PAYMENT] == [row.payment for row in found]
        assert ["note", "Case"] == found.ignored


OBJECT = json.dumps(CELLS)
AFTER = len(OBJECT) + 1
CUT = "it is cut short, or followed by a comma; write one whole object a line"
TWO = "it has more than one object; write one a line"
QUOTES = 'it has texts in other quotation marks than "'
COMMENT = "it has a comment, which JSON does not have"
MARK = "it begins with a byte order mark (U+FEFF); were files put together? Delete it"
# A line of JSON Lines, and what is wrong with it.
LINES = [
    (OBJECT[:-1], "", f"{NO_OBJECT} {AFTER - 1}: {CUT}"),
    (OBJECT + ",", "", f"{NO_OBJECT} {AFTER}: {CUT}"),
    (OBJECT * 2, "", f"{NO_OBJECT} {AFTER}: {TWO}"),
    (OBJECT + ", " + OBJECT, "", f"{NO_OBJECT} {AFTER}: {TWO}"),
    ('{"case_id": "c', "", f"{NO_OBJECT} 13: it has a text that does not end"),
    ("{'case_id': 'c'}", "", f"{NO_OBJECT} 2: {QUOTES}"),
    ("{\u201ccase_id\u201d: 1}", "", f"{NO_OBJECT} 2: {QUOTES}"),
    ('{"amount": None}', "", f"{NO_OBJECT} 12: it has a word that is not JSON; write null"),
    ('{"amount": 1} // one', "", f"{NO_OBJECT} 15: {COMMENT}"),
    ("# a comment", "", f"{NO_OBJECT} 1: {COMMENT}"),
    ('{"amount": 007}', "", f"{NO_OBJECT} 13"),
    ("\ufeff" + OBJECT, "", f"{NO_OBJECT} 1: {MARK}"),
    ("[]", "", "is not one JSON object"),
    ("null", "", "is not one JSON object"),
    ('"case_id"', "", "is not one JSON object"),
    (
        f'{{"count": 1, "payments": [{OBJECT}]}}',
        "",
        "has objects in a list; write each of them on a line of its own",
    ),
    ('{"a":' * 100_000, "", "is nested too deeply"),
    (OBJECT.replace("}", ', "amount": 20}'), "amount", "is given twice"),
    (OBJECT.replace("}", ', "caseId": "x"}'), "case_id", "is given twice"),
    (OBJECT.replace("}", ', "Email": "x"}'), "email", "is spelled differently"),
    (OBJECT.replace('"49.00"', "49.001"), "amount", "has more than two decimal places"),
    (OBJECT.replace('"49.00"', "4.9e1"), "amount", "has an exponent; write it out in digits"),
    (OBJECT.replace('"49.00"', "1e999999999"), "amount", "has an exponent; write it out in digits"),
    (OBJECT.replace('"49.00"', "9" * 5000), "amount", "must be at most 1000000000000"),
    (OBJECT.replace('"49.00"', "NaN"), "amount", "must be a finite number"),
    (OBJECT.replace('"49.00"', "-0.5"), "amount", NEGATIVE),
    (OBJECT.replace('"49.00"', "true"), "amount", "must be a number or text"),
    (OBJECT.replace('"49.00"', "[49]"), "amount", "must be a number or text"),
    (OBJECT.replace('"49.00"', '{"USD": 49}'), "amount", "must be a number or text"),
    (OBJECT.replace('"49.00"', "null"), "amount", "is missing"),
    (OBJECT.replace('"case-1"', "1"), "case_id", "must be text, not a number"),
    (OBJECT.replace('"case-1"', '{"id": "case-1"}'), "case_id", "must be text"),
    (OBJECT.replace('"2026-01-05"', "20260105"), "payment_date", "must be text, not a number"),
    (OBJECT.replace('"PAID"', "true"), "status", "must be text"),
    (OBJECT.replace('"case-1"', '"caf\udce9"'), "", NO_UTF8),
    (OBJECT.replace('"case-1"', '"caf\\ud800"'), "case_id", NO_UTF8),
    (OBJECT.replace('"case-1"', '"case\\u0000"'), "case_id", unseen("U+0000")),
]


class TestJsonLines:
    @pytest.mark.parametrize(("line", "field", "reason"), LINES)
    def test_a_bad_line_is_told(self, line: str, field: str, reason: str) -> None:
        """
        A line is named by its number, with its column where it ends to be JSON, and what to do;
        the lines around it are fine.
        """
        text = f"{OBJECT}\n{line}\n\n{OBJECT}"
        found = rows(text.encode("utf-8", "surrogateescape"))

        assert [(2, field, reason)] == problems(found)
        assert [1, 2, 4] == [row.line for row in found]
        assert [PAYMENT, PAYMENT] == [row.payment for row in found if row.payment]

    @pytest.mark.parametrize(
        "text",
        [
            json.dumps(CELLS, indent=2),
            json.dumps(CELLS, indent="\t") + "\n" + json.dumps(CELLS, indent="\t"),
        ],
    )
    def test_pretty_printed_objects_are_refused_at_once(self, text: str) -> None:
        """
        Each of their lines would be a bad row.
        """
        with pytest.raises(FileError, match="written over several lines; write one a line"):
            reader(text)

    @pytest.mark.parametrize(
        "text",
        [
            f'{{"payments": [\n  {OBJECT},\n  {OBJECT}\n]}}\n',
            f'{{"payments": [{OBJECT},\n{OBJECT}]}}\n',
            f'\n{{"a": {{\r\n"payments": [{OBJECT}]}}}}\n',
            f"{OBJECT},\n{OBJECT},\n",
        ],
    )
    def test_so_is_a_document_around_them(self, text: str) -> None:
        """
        It is told by a first line that is no whole JSON, and says itself that there is more of it.
        """
        with pytest.raises(FileError, match="write each payment as an object on a line of its own"):
            reader(text)

    @pytest.mark.parametrize("first", ['{"case_id": "c', "{'a': 1}", '{"a": [' * 50_000])
    def test_a_first_line_that_is_bad_alone_is_not_mistaken_for_one(self, first: str) -> None:
        """
        The lines after it are rows.
        """
        assert [None, PAYMENT] == [row.payment for row in rows(f"{first}\n{OBJECT}\n")]


class TestCommand:
    def test_all_of_them_stop_nothing(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A file of all bad rows between good ones: the good ones go on record, the bad ones to the
        rejects file with line, field and reason, and that file can be run once it is corrected.
        """
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
        monkeypatch.chdir(tmp_path)
        objects: list[dict[str, str]] = []
        for number, (field, cell, _) in enumerate(VALUES, start=1):
            good = {**CELLS, **dict.fromkeys(OPTIONAL, ""), "amount": f"{number}"}
            objects += [good, {**good, "case_id": f"bad-{number}", field: cell}]
        (tmp_path / "p.csv").write_bytes(as_csv(objects))
        with running_sandbox(api_key="test") as sandbox:
            first = self.run("p.csv", sandbox.url, "--rejects", "r.csv")
            with open("r.csv", encoding="utf-8", newline="") as file:
                rejects = list(csv.DictReader(file))
            for reject, number in zip(rejects, range(1, len(VALUES) + 1), strict=True):
                reject["case_id"] = f"bad-{number}"
                reject["amount"] = f"{number}"
                field = VALUES[number - 1][0]
                if field not in {"case_id", "amount"}:
                    reject[field] = CELLS.get(field, "")
            (tmp_path / "corrected.csv").write_bytes(as_csv(rejects))
            again = self.run("corrected.csv", sandbox.url)
            recorded = {payment.case_id for payment in sandbox.payments}

        count = len(VALUES)
        assert (1, count, count) == (first["status"], first["confirmed"], first["invalid"])
        assert [(field, reason) for field, _, reason in VALUES] == [
            (reject["error_field"], reject["error_reason"]) for reject in rejects
        ]
        assert [row.line for row in rows(as_csv(objects))][1::2] == [
            int(reject["error_line"]) for reject in rejects
        ]
        assert (0, count) == (again["status"], again["confirmed"])
        assert {"case-1"} | {f"bad-{number}" for number in range(1, count + 1)} == recorded

    def test_a_run_that_gave_up_reading_says_so(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Rows after a quote that is not closed are not lost without a word: the run ends early, and
        once the quote is gone the same command goes on.
        """
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
        monkeypatch.chdir(tmp_path)
        good = [f"{GOOD.replace('49.00', str(n))},ok" for n in range(1, 4001)]
        text = "\n".join([f"{HEADER},description", *good, ""])
        with running_sandbox(api_key="test") as sandbox:
            args = ["confirm", "p.csv", "--base-url", sandbox.url, "--json"]
            (tmp_path / "p.csv").write_text(text.replace("PAID,ok", 'PAID,"ok', 1))
            first = CliRunner().invoke(cli.cli, args)
            (tmp_path / "p.csv").write_text(text)
            again = self.run("p.csv", sandbox.url)

        told = (
            "line 2 has a quote that is not closed, or is too long; nothing after line 2 was read"
        )
        assert 1 == first.exit_code
        assert f"Error: the run cannot go on: the input is damaged: {told}\n" in first.stderr
        assert '"rows":1,"confirmed":0' in first.stdout
        assert (0, 4000) == (again["status"], again["confirmed"])

    def run(self, file: str, url: str, *more: str) -> dict[str, int]:
        result = CliRunner().invoke(cli.cli, ["confirm", file, "--base-url", url, "--json", *more])
        return {**json.loads(result.stdout.splitlines()[-1]), "status": result.exit_code}


OPTIONAL = ("email", "phone_number", "decision_id", "description", "idempotency_key")
