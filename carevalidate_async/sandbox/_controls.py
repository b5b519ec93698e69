"""What the page can change: scripted faults, faults by chance, the rate limit, and a reset."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from carevalidate_async.sandbox import _mask
from carevalidate_async.sandbox._faults import BY_CHANCE, Fault

if TYPE_CHECKING:
    from carevalidate_async.sandbox._ledger import Ledger

MOST_SCRIPTED = 1000
"""Faults that the page lets wait."""

HIGHEST_RATE = 100_000
"""Requests a second that the page can admit, short of any number."""

_LONGEST_WAIT = 40  # characters of a Retry-After; a date has 29
_PARAMETERS: Mapping[str, tuple[type, ...]] = {
    "retry_after": (str, int, float),
    "seconds": (int, float),
    "status": (int,),
}

Fields: TypeAlias = Mapping[str, Any]


class Controlled(Protocol):
    """What the page knows of the sandbox; `Sandbox` says what each of these is."""

    faults: Mapping[Fault, float]
    rate_limit: float | None

    @property
    def url(self) -> str: ...

    @property
    def received(self) -> int: ...

    @property
    def rate_burst(self) -> int: ...

    @property
    def script_left(self) -> tuple[Fault, ...]: ...

    @property
    def scripted(self) -> Mapping[str | None, tuple[Fault, ...]]: ...

    def script(self, *faults: Fault, operation: str | None = None) -> None: ...

    def clear_script(self) -> None: ...

    def reset(self) -> None: ...


class ControlError(Exception):
    """The page asks for what there is not; the message says what, for people."""


def state(sandbox: Controlled, ledger: Ledger) -> dict[str, Any]:
    """Return what the page shows beside the requests."""
    return {
        "received": sandbox.received,
        "recorded": {
            "payments": len(ledger.payments),
            "intents": len(ledger.intents),
            "user updates": len(ledger.user_updates),
            "method updates": len(ledger.method_updates),
        },
        "script": [
            {"operation": operation, "faults": _runs(faults)}
            for operation, faults in sandbox.scripted.items()
        ],
        "chances": {label(fault): chance for fault, chance in sandbox.faults.items()},
        # Without end is without a limit; JSON has no word for it.
        "rate_limit": None if sandbox.rate_limit == math.inf else sandbox.rate_limit,
        "rate_burst": sandbox.rate_burst,
    }


@functools.lru_cache(256)  # Thousands may be scripted, told ten times a second.
def label(fault: Fault) -> str:
    """Return a fault's name and parameters, without texts that could hold anything."""
    usual = getattr(Fault, fault.name)
    given: dict[str, Any] = {}
    if fault.body != usual.body:
        given["body"] = b""
    if fault.location != usual.location:
        given["location"] = ""
    after = fault.retry_after
    if after is not None and (len(after) > _LONGEST_WAIT or _mask.Mask(b"").text(after) != after):
        given["retry_after"] = ""
    shown = fault(**given) if given else fault
    return repr(shown).removeprefix("Fault.")


def script(sandbox: Controlled, fields: Fields) -> None:
    """Let the next requests of an operation meet a fault: ``fault``, ``times``, ``operation``."""
    fault, times = _fault(fields), fields.get("times", 1)
    operation = fields.get("operation")
    if type(times) is not int or not 1 <= times <= MOST_SCRIPTED:
        raise ControlError(f"times must be from 1 to {MOST_SCRIPTED}")
    if operation is not None and not isinstance(operation, str):
        raise ControlError("operation must be a name")
    if len(sandbox.script_left) + times > MOST_SCRIPTED:
        raise ControlError(f"at most {MOST_SCRIPTED} faults can wait")
    sandbox.script(*[fault] * times, operation=operation)


def clear_script(sandbox: Controlled, _fields: Fields) -> None:
    """Forget what is scripted."""
    sandbox.clear_script()


def set_chances(sandbox: Controlled, fields: Fields) -> None:
    """Set how likely each fault is: ``chances``, a number from 0 to 1 by the fault's label."""
    chances = fields.get("chances")
    if not isinstance(chances, dict):
        raise ControlError("chances must be an object")
    known = {label(fault): fault for fault in (*Fault.EVERY, *BY_CHANCE, *sandbox.faults)}
    unknown = chances.keys() - known.keys()
    if unknown:
        raise ControlError("there is no such fault")
    if not all(_is_a(chance, (int, float)) for chance in chances.values()):
        raise ControlError("a chance must be a number")
    sandbox.faults = {known[name]: chance for name, chance in chances.items()}


def set_rate_limit(sandbox: Controlled, fields: Fields) -> None:
    """Set how many requests a second are admitted: ``rate``, a number above 0, or null for any."""
    rate = fields.get("rate")
    if rate is not None and not (_is_a(rate, (int, float)) and 0 < rate <= HIGHEST_RATE):
        raise ControlError(f"rate must be above zero and at most {HIGHEST_RATE}, or null")
    sandbox.rate_limit = rate


def reset(sandbox: Controlled, _fields: Fields) -> None:
    """Forget everything that arrived, is on record or is scripted."""
    sandbox.reset()


CONTROLS: Mapping[str, Callable[[Controlled, Fields], None]] = {
    "script": script,
    "script/clear": clear_script,
    "chances": set_chances,
    "rate-limit": set_rate_limit,
    "reset": reset,
}


def _fault(fields: Fields) -> Fault:
    name = fields.get("fault")
    names = {fault.name: fault for fault in (Fault.OK, *Fault.EVERY)}
    if not isinstance(name, str) or name not in names:
        raise ControlError("there is no such fault")
    given = {key: fields[key] for key in _PARAMETERS if fields.get(key) is not None}
    if not all(_is_a(value, _PARAMETERS[key]) for key, value in given.items()):
        raise ControlError("a parameter of the fault is of a wrong kind")
    try:
        return names[name](**given) if given else names[name]
    except (TypeError, ValueError) as error:
        raise ControlError(str(error)) from None


def _is_a(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _runs(faults: tuple[Fault, ...]) -> list[list[Any]]:
    """Return faults in order, the same ones in a row as one with their number."""
    runs: list[list[Any]] = []
    last: Fault | None = None
    for fault in faults:
        if last is not None and (fault is last or fault == last):
            runs[-1][1] += 1
        else:
            runs.append([label(fault), 1])
            last = fault
    return runs
