"""
What is wrong with a text that is no amount or no day: what to change, for each way to write one.

Nothing is guessed: 1.234 may be dollars and cents or thousands, and 1/5 be in January or in May.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SPLIT = "write it without thousands separators, cents after a point"
_ORDER = "write it as YYYY-MM-DD"
_LONGEST = 100  # characters of a number or a day that a person would write
_CODE = r"[^\W\d_]{2,3}"  # USD, Rs, kr
_DATE = r"[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}"


def _reasons(*rules: tuple[str, str]) -> Callable[[str], str]:
    """Return a function that gives the reason of the first pattern that is all of a text."""
    compiled = [(re.compile(rule, re.IGNORECASE | re.DOTALL), reason) for rule, reason in rules]
    # Of a cell as long as a page the last reason says enough, and some patterns would take forever.
    return lambda text: next(
        reason for wrong, reason in compiled[-(len(text) > _LONGEST) :] if wrong.fullmatch(text)
    )


wrong_amount = _reasons(
    (r"[+-]?(s?nan|inf(inity)?)", "must be a finite number"),
    (r"=.*", "begins with =, as a spreadsheet's formula; write the number alone"),
    (r"['`\"\u2018\u2019\u201c\u201d].*", "begins with an apostrophe; write the number alone"),
    (_DATE + r"([T\s].*)?", "is a date, not an amount; is it in the right column?"),
    (r".*[0-9]\s*[cd]r\.?", "has a credit or debit mark; write the number alone"),
    (
        (
            r".*[$\u00a2-\u00a5\u060b\u0e3f\u20a0-\u20cf\ufe69\uff04\uffe0\uffe1\uffe5\uffe6].*|"
            rf"{_CODE}\.?\s*\(?[0-9].*|.*[0-9]\)?\s*{_CODE}|.*dollars?"
        ),
        "has a currency sign or code; write the number alone, in US dollars",
    ),
    (r".*%", "is a percentage; write the amount in US dollars"),
    (r".*[0-9]['\u2019`\u00b4][0-9].*", f"has an apostrophe; {_SPLIT}"),
    (r".*,.*", f"has a comma; {_SPLIT}"),
    (r"[+-]?[0-9.]+e[+-]?[0-9]+", "has an exponent; write it out in digits"),
    (
        r"[-\u2010-\u2015\u2212].*|\(.*\)|.*[-\u2010-\u2015\u2212]",
        "must not be negative; a refund is a status",
    ),
    (r"[0-9.]+\s[0-9.\s]*", f"has a blank; {_SPLIT}"),
    (r"[0-9]*\.[0-9]+\.[0-9.]*", f"has more than one point; {_SPLIT}"),
    (r"\+.*", "has a plus sign; write the number alone"),
    (r"[0-9]*\.[0-9]{3,}", "has more than two decimal places"),
    (r"[\d.\u066b]*(?![0-9])\d[\d.\u066b]*", "has digits of another script; write 0 to 9"),
    (r".*", "is not an amount such as 1234.50"),
)
"""Returns what is wrong with a text that is no amount."""

wrong_day = _reasons(
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T\s].*", f"has a time; {_ORDER}, the day alone"),
    (_DATE + r"|[0-9]{8}", f"is a date in another form; {_ORDER}"),
    (
        r"[0-9]{5}(\.[0-9]+)?",
        "is a spreadsheet's number of a day; format the column as a date, YYYY-MM-DD",
    ),
    (r"-?[0-9]{9,}(\.[0-9]+)?", f"is a moment, counted in seconds or less, not a day; {_ORDER}"),
    (r"[0-9]+[\u2010-\u2015\u2212][0-9]+.*", f"has dashes that are no hyphens; {_ORDER}"),
    (r"(?=.*(?![0-9])\d)[\d/.-]+", f"has digits of another script; {_ORDER} with 0 to 9"),
    (r".*", "must be a date as YYYY-MM-DD"),
)
"""Returns what is wrong with a text that is no day."""
