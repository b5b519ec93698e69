"""
Texts that no person wrote: what stands in place of nothing, and what spreadsheets made of a value.

As an id or a key each would do, and stand for many payments at once. No reason repeats a text.
"""

from __future__ import annotations

import re

# What is written for nothing: by databases and languages, by spreadsheets for a formula that failed
# or a column that is too narrow, by reports as a dash.
_PLACEHOLDER = re.compile(
    r"[(<\[]?(?:null|none|nil|nan|nat|undefined)[)>\]]?|<na>|n/?a|\\n"
    r"|#(?:n/a|[a-z]+(?:/0)?[!?])|[!-/:-@\[-`{-~\u2010-\u2015\u2212\u2026]+",
    re.IGNORECASE,
)
# By spreadsheets, pandas, R and JavaScript; without the plus sign by Java, always with a point.
_SHORTENED = re.compile(r"[0-9](?:(?:[.,][0-9]+)?[Ee]\+[0-9]{2,}|[.,][0-9]+[Ee][0-9]{1,2})")
_FRACTION = re.compile(r"\+?[0-9]+[.,]0{1,2}")
_QUOTES = "\"'`\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e\u2032\u2033"
# These take no room, or only room, though Unicode counts them as letters, marks or symbols.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\ufe00-\ufe0f\uffa0]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


# The first kind begins with a letter, and is longer than any placeholder; the second has a digit.
ORDINARY = re.compile(
    r"[A-Za-z][ -~]{10,}[A-Za-z0-9)]"
    r"|(?=[^0-9]*+[0-9])(?!\+?[0-9]++[.,Ee][0-9.,Ee+]*+\Z)[A-Za-z0-9+(][ -~]*[A-Za-z0-9)]"
)
"""Texts that nothing here is wrong with, as most are: one look instead of many."""


def unseen(text: str, *, blanks: bool = False) -> str | None:
    """
    Return what is wrong with *text* where it has a character that nobody sees.

    Args:
        text: Without blanks around it.

        blanks: Whether blanks of all kinds are fine.
    """
    if text.isascii() and text.isprintable():
        return None
    for character in text:
        seen = character.isprintable() or (blanks and character.isspace())
        if not seen or _UNSEEN.match(character):
            return f"has an invisible character, U+{ord(character):04X}; type it anew"
        if character == "\ufffd":
            return "has a character that an earlier conversion lost, U+FFFD; get it from its source"
    return None


def placeholder(text: str) -> str | None:
    """Return what is wrong with *text* where a program wrote it in place of nothing."""
    if _PLACEHOLDER.fullmatch(text):
        return "is a placeholder, such as NULL, #N/A or a dash; write the value, or leave it empty"
    return None


def damage(text: str) -> str | None:
    """Return what is wrong with *text* where a spreadsheet or a program changed a value."""
    if text.startswith("="):
        return "begins with =, as a spreadsheet's formula; write the value alone"
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        return "has a quotation mark or an apostrophe around it; write the value alone"
    if _SHORTENED.fullmatch(text):
        return "is a long number that a program shortened (E+); get it from its source, as text"
    return unseen(text)


def identifier(text: str) -> str | None:
    """Return what is wrong with *text*, an id or the like, where a program changed it."""
    if _FRACTION.fullmatch(text):
        return "is a whole number that a program wrote as a fraction (.0); get it from its source"
    return damage(text)


def control(text: str) -> str | None:
    """Return what is wrong with *text* where it has a character that no person types."""
    found = _CONTROL.search(text)
    return f"has a control character, U+{ord(found[0]):04X}; delete it" if found else None
