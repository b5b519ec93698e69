"""The faults of the fault matrix, for tests that draw them at random."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from matrix.play import FILES
from matrix.vendor import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matrix.vendor import Step

# They cost the machine's own time, which nobody can simulate; the matrix itself plays them.
TOO_HEAVY = frozenset({"gzip-bomb", "huge-body"})
HEAVY = frozenset(
    {"deep-json", "endless-body", "endless-header", "endless-headers", "endless-status"}
)
"""Those to be drawn seldom, for the same reason."""

FAULTS: Mapping[str, Mapping[str, Sequence[Step]]] = {
    operation: {
        scenario["id"]: scenario["fault"]
        for file in FILES
        for scenario in file["scenarios"]
        if "fault" in scenario
        and scenario["id"] not in TOO_HEAVY
        and operation in scenario.get("operations", OPERATIONS)
    }
    for operation in OPERATIONS
}
"""What the server may do with a request: by operation, then by the scenario's id."""


def led_astray(fault: Sequence[Step], port: int) -> Sequence[Step]:
    """Return *fault*, whose redirects to another host lead to *port*, which nobody may ask."""
    where = json.dumps(f"http://127.0.0.1:{port}/elsewhere")[1:-1]
    steps: Sequence[Step] = json.loads(json.dumps(fault).replace("{elsewhere}", where))
    return steps
