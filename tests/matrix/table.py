"""The results of the fault matrix as the tables of docs/explanation/guarantees.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from matrix.play import FILES, cases

if TYPE_CHECKING:
    from collections.abc import Mapping

BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "`confirm_payment`": ("confirm_payment",),
    "`create_case_payment`": ("create_case_payment",),
    "`create_payment_intent`": ("create_payment_intent",),
    "updates": ("update_user_payment", "update_payment_method"),
}


@attrs.frozen(kw_only=True)
class Result:
    """
    What became of a combination.

    Attributes:
        result: The class of the error, ``success``, or ``already recorded``.

        outcome: What the call says of the money.

        attempts: How many it took.
    """

    result: str
    outcome: str
    attempts: int


def stated() -> dict[str, Result]:
    """Return what the scenarios state of each combination."""
    return {
        case.id: Result(
            result=case.result,
            outcome=case.expected["outcome"],
            attempts=case.expected["attempts"],
        )
        for case in cases()
    }


def table(results: Mapping[str, Result]) -> str:
    """Return the tables of *results*, one for each position in the exchange."""
    lines = []
    for file in FILES:
        lines += [
            f"### {file['position'][:1].upper()}{file['position'][1:]}",
            "",
            f"| fault | error of the attempt | {' | '.join(_COLUMNS)} | if it stays |",
            "|---" * (len(_COLUMNS) + 3) + "|",
        ]
        for scenario in file["scenarios"]:
            error = f"`{scenario['error']}`" if scenario["error"] else "none"
            cells = [_cell(results, scenario["id"], names) for names in _COLUMNS.values()]
            stays = _stays(results, scenario["id"])
            lines.append(f"| {' | '.join([scenario['says'], error, *cells, stays])} |")
        lines.append("")
    return "\n".join(lines)


def fill(page: str, content: str) -> str:
    """Return *page* with *content* between its marks."""
    return re.sub(
        f"{BEGIN}\n.*{END}", lambda _: f"{BEGIN}\n\n{content}\n{END}", page, flags=re.DOTALL
    )


def _cell(results: Mapping[str, Result], scenario: str, operations: tuple[str, ...]) -> str:
    plans = ("fails once", "two seconds")
    found = _found(results, scenario, operations, plans)
    if not found:
        return "-"
    (one,) = {(result.outcome, result.attempts) for result in found}
    outcome, attempts = one
    if "already recorded" in {result.result for result in found}:
        outcome += " already"
    elif outcome == "recorded" and any(result.result.endswith("Error") for result in found):
        outcome += " (raised)"
    return f"{outcome}, {attempts}"


def _stays(results: Mapping[str, Result], scenario: str) -> str:
    once, *others = (
        {
            f"{result.outcome}, {result.attempts}"
            for result in _found(results, scenario, names, ("fails always",))
        }
        for names in (("create_payment_intent",), *_COLUMNS.values())
    )
    rest = set.union(*others) - once
    if not rest:
        return ", ".join(once) or "-"
    told = " or ".join(rest)
    return f"{told} (intents: {', '.join(once)})" if once else told


def _found(
    results: Mapping[str, Result],
    scenario: str,
    operations: tuple[str, ...],
    plans: tuple[str, ...],
) -> list[Result]:
    return [
        results[case.id]
        for case in cases()
        if case.scenario["id"] == scenario and case.operation in operations and case.plan in plans
    ]
