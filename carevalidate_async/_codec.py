"""
Models to JSON and back, exactly.

One `Codec` a spelling: camelCase for CareValidate, snake_case for planocore. cattrs does the work;
what it would coerce (``"no"`` to True, ``1.0`` to 1) is refused, and unset optional fields are left
out, since a vendor may not know them and none of them takes null.
"""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import msgspec

from carevalidate_async.models import (
    Answer,
    CasePayment,
    CasePaymentRequest,
    ConfirmationReceipt,
    PaymentConfirmation,
    PaymentIntent,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    PaymentMethod,
    PaymentMethodUpdate,
    PaymentStatus,
    ShippingAddress,
    UserPaymentUpdate,
    UserPaymentUpdated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cattrs import Converter

T = TypeVar("T")

MAX_DEPTH = 100
"""Lists and objects inside each other, in JSON that is read."""

REQUESTS = (
    PaymentConfirmation,
    CasePaymentRequest,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    ShippingAddress,
    UserPaymentUpdate,
    PaymentMethodUpdate,
)
ANSWERS = (CasePayment, ConfirmationReceipt, PaymentIntent, PaymentMethod, UserPaymentUpdated)

_PLAIN: tuple[object, ...] = (str, str | None, int | None, bool | None, Decimal)  # JSON has them

# A context of our own: the caller's may not trap what is no number.
_EXACT = Context(traps=[InvalidOperation])


def _plain(value: object) -> object:
    # msgspec takes no subclass, and the texts of numpy and of templates are subclasses.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


_ENCODER = msgspec.json.Encoder(decimal_format="number", enc_hook=_plain)
_DECODER = msgspec.json.Decoder(float_hook=lambda text: Decimal(text, _EXACT))


class WireError(ValueError):
    """Text from the wire is not what it should be; the message repeats none of its values."""


def encode(document: Mapping[str, Any]) -> bytes:
    """Return *document* as UTF-8 JSON; a Decimal becomes a number that prints exactly."""
    return _ENCODER.encode(document)


def decode(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """
    Return the JSON value in *body*, its fractions as exact Decimals.

    Raises:
        WireError: Not JSON, not UTF-8, nested too deeply, or a number beyond reading.
    """
    try:
        document = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError, ArithmeticError):
        # None of their messages is handed on: some quote the text.
        msg = "not JSON" if body else "empty"
        raise WireError(msg) from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and too_deep(document):
        raise WireError("nested too deeply")
    return document


def too_deep(value: object) -> bool:
    """
    Tell whether lists and objects of a JSON value are more than `MAX_DEPTH` inside each other.

    How deep Python itself can decode, encode and pickle differs between its versions.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(inner, dict | list) for inner in level)


def camel(name: str) -> str:
    """Return *name* in camelCase: ``address_line1`` gives ``addressLine1``."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def snake(name: str) -> str:
    """Return *name* as it is: Python's spelling is snake_case already."""
    return name


class Codec:
    """
    Turns models into JSON objects and back in one spelling of field names.

    Args:
        spell: Gives the wire's name of a Python name.
    """

    def __init__(self, spell: Callable[[str], str]) -> None:
        self._spell = spell
        self._dump: Mapping[type, Callable[[Any], dict[str, Any]]] = {}
        self._load: Mapping[type, Callable[[Mapping[str, Any]], Answer]] = {}
        self._invalid: tuple[type[Exception], ...] = ()  # what cattrs raises

    def prepare(self) -> None:
        """
        Make what turns models into objects and back, unless that is done.

        It takes a while, since cattrs compiles code: not whenever the package is imported, and
        before the first call rather than within it.
        """
        if self._load:
            return
        from cattrs import BaseValidationError, Converter

        converter = Converter(detailed_validation=True)
        converter.register_unstructure_hook(date, date.isoformat)
        for kind in (bool, int, str):
            converter.register_structure_hook(kind, _strict(kind))
        converter.register_structure_hook(Decimal, _read_number)
        converter.register_structure_hook(datetime, _read_moment)
        converter.register_structure_hook(PaymentStatus | str, _read_open_status)
        # In this order: cattrs looks a nested class's hook up when it makes the outer one.
        self._dump = {kind: _dumper(converter, kind, self._spell) for kind in REQUESTS}
        self._invalid = (BaseValidationError,)
        self._load = {kind: _loader(converter, kind, self._spell) for kind in ANSWERS}

    def dump(self, model: object) -> dict[str, Any]:
        """Return a request *model* as a JSON object, without its unset fields."""
        dump = self._dump.get(type(model))
        if dump is None:
            self.prepare()  # or it is a subclass of the caller's
            dump = next(self._dump[kind] for kind in type(model).__mro__ if kind in self._dump)
        return dump(model)

    def load(self, kind: type[T], document: Mapping[str, Any]) -> T:
        """
        Return *document* as a *kind*; fields that *kind* lacks go into its ``extra``.

        Raises:
            WireError: A field is missing or of a wrong type; it is named.
        """
        self.prepare()
        try:
            return cast("T", self._load[kind](document))
        except self._invalid as error:
            from cattrs import transform_error

            raise WireError("; ".join(transform_error(error, format_exception=_reason))) from None


def _dumper(
    converter: Converter, kind: type, spell: Callable[[str], str]
) -> Callable[[Any], dict[str, Any]]:
    from cattrs.fns import identity
    from cattrs.gen import make_dict_unstructure_fn, override

    attrs.resolve_types(kind)  # or the first codec would see their names alone
    names: Any = {
        field.name: override(
            rename=spell(field.name),
            # Of a field with another default than None, one that equals it may be required.
            omit_if_default=field.default is None,
            # cattrs would look up at each call what it has to do with them: nothing.
            unstruct_hook=identity if field.type in _PLAIN else None,
        )
        for field in attrs.fields(kind)
    }
    dump: Callable[[Any], dict[str, Any]] = make_dict_unstructure_fn(kind, converter, **names)
    converter.register_unstructure_hook(kind, dump)
    return dump


def _loader(
    converter: Converter, kind: type[Answer], spell: Callable[[str], str]
) -> Callable[[Any], Answer]:
    from cattrs.gen import make_dict_structure_fn, override

    ours = {field.name for field in attrs.fields(Answer)}
    spelled = {
        field.name: spell(field.name) for field in attrs.fields(kind) if field.name not in ours
    }
    names: Any = {name: override(rename=wire) for name, wire in spelled.items()}
    names |= {name: override(omit=True) for name in ours}
    known = make_dict_structure_fn(kind, converter, **names)
    wires = frozenset(spelled.values())

    if not wires:
        return lambda document: kind(extra=document)

    def load(document: Mapping[str, Any]) -> Answer:
        answer = known(document, kind)
        if document.keys() <= wires:
            return answer
        extra = {name: value for name, value in document.items() if name not in wires}
        return attrs.evolve(answer, extra=extra) if extra else answer

    return load


def _strict(kind: type[T]) -> Callable[[object, object], T]:
    def read(value: object, _: object) -> T:
        if type(value) is not kind:
            msg = f"must be {kind.__name__}, not {type(value).__name__}"
            raise WireError(msg)
        return value

    return read


def _read_number(value: object, _: object) -> Decimal:
    if isinstance(value, Decimal) and value.is_finite():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    msg = f"must be a number, not {type(value).__name__}"
    raise WireError(msg)


def _read_moment(value: object, _: object) -> datetime:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            # The vendor's own are in UTC. To refuse a bare one would lose the payment's id.
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        except ValueError:
            pass
    msg = "must be an ISO 8601 timestamp"
    raise WireError(msg)


def _read_open_status(value: object, _: object) -> PaymentStatus | str:
    text = _strict(str)(value, None)
    return PaymentStatus(text) if text in PaymentStatus.__members__ else text


def _reason(error: BaseException, _: type | None) -> str:
    if isinstance(error, KeyError):
        return "is missing"
    return str(error) if isinstance(error, WireError) else "is not as documented"


class Spelling(enum.Enum):
    """The codecs there are; one each, since preparing one compiles code."""

    CAMEL = Codec(camel)
    SNAKE = Codec(snake)
