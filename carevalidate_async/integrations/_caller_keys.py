"""
The caller's ``Idempotency-Key`` header, and the vendor's key that is made of it.

Source: draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import attrs

from carevalidate_async._checks import MAX_KEY_LENGTH
from carevalidate_async.errors import InvalidRequestError
from carevalidate_async.idempotency import KeyPart, derive_idempotency_key
from carevalidate_async.integrations.problems import ProblemError, refusal
from carevalidate_async.models import CasePaymentRequest, PaymentConfirmation

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping, MutableMapping, Sequence

    from carevalidate_async.errors import CareValidateError

HEADER = "Idempotency-Key"
DESCRIPTION = (
    "Made once per payment by the caller, such as a UUID, and sent again with each repetition: "
    "the same request under the same key is one payment."
)

Scope: TypeAlias = KeyPart | tuple[KeyPart, ...]
"""Whose keys they are: the id of a user or tenant, or several ids."""

RequestT = TypeVar("RequestT", PaymentConfirmation, CasePaymentRequest)

_KEPT = "carevalidate.caller_key"

# A string of RFC 8941, whose parameters say nothing here; or what users of other APIs send, bare.
_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]+", re.ASCII)
_QUOTED = re.compile(
    rf"({_STRING})(?: *; *[A-Za-z*][\w.*-]*(?:=(?:{_STRING}|{_BARE.pattern}))?)*", re.ASCII
)


class SeenKeys:
    """
    Which request a key was used for, for the latest keys of this process.

    Holds digests under a secret of its own, so nothing of a request.

    Args:
        most: How many.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._secret = os.urandom(32)
        self._digests: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()  # Plain functions of an endpoint run on threads.

    def __len__(self) -> int:
        return len(self._digests)

    def is_new_or_same(self, key: str, request: object) -> bool:
        """Tell whether *key* was used for no other request than this one, as far as is known."""
        digest = hashlib.blake2b(
            repr(request).encode("utf-8", "surrogatepass"), key=self._secret, digest_size=16
        ).digest()
        with self._lock:
            known = self._digests.setdefault(key, digest)
            self._digests.move_to_end(key)
            if len(self._digests) > self._most:
                self._digests.popitem(last=False)
        return known == digest


class CallerKey:
    """
    The Idempotency-Key that came with a request; `bind` makes the vendor's key of it.

    It is no text, so that it cannot be handed to the vendor as it is: two users who choose the same
    one would share a payment.

    Args:
        value: What the caller sent.

        seen: What it was used for before.
    """

    def __init__(self, value: str, seen: SeenKeys) -> None:
        self._value = value
        self._seen = seen
        self._made: set[str] = set()

    def __repr__(self) -> str:
        return "<CallerKey>"

    def made(self, key: str | None) -> bool:
        """Tell whether `bind` has made *key*."""
        return key in self._made

    def bind(
        self, request: RequestT, *, scope: Scope, case_id: str | uuid.UUID | None = None
    ) -> RequestT:
        """
        Return *request* with the vendor's key: the same for this scope, operation, case and header.

        The amount, and whatever else the request says, is no part of it: a second click after a
        change would be a second payment.

        Args:
            request: The payment, without a key.

            scope: Whose key it is, such as the id of the user or tenant that was authenticated:
                other users' keys are other keys, even where they are spelled alike.

            case_id: The case of a `CasePaymentRequest`; a confirmation names its own.

        Raises:
            ProblemError: The key was used for another request in this process (422).
            ValueError: There is no scope, or the request has a key already.
            TypeError: The case is missing, or is given twice; or the scope is none.
        """
        parts = scope if isinstance(scope, tuple) else (scope,)
        if not parts or any(part is None or part == "" for part in parts):
            raise ValueError("scope must say whose key it is: the id of a user or tenant, say")
        if request.idempotency_key is not None:
            raise ValueError("the request has an idempotency key already")
        if isinstance(request, PaymentConfirmation):
            if case_id is not None:
                raise TypeError("a confirmation names its case itself: leave out case_id")
            operation, case = "confirm_payment", request.case_id
        else:
            if case_id is None:
                raise TypeError("case_id must say for which case the payment is")
            operation, case = "create_case_payment", str(case_id).lower()
        try:
            key = derive_idempotency_key("web", *parts, operation, case, self._value)
        except InvalidRequestError:  # It would be the caller's fault, who did not choose it.
            raise TypeError(
                "scope must be an id, or a tuple of ids: text, an int, a UUID"
            ) from None
        # Whoever sends the key for another case has not heard of the first payment.
        whole = derive_idempotency_key("web", *parts, operation, self._value)
        if not self._seen.is_new_or_same(whole, (case, attrs.astuple(request))):
            raise refusal(
                "key-reused", 422, "Ask for another payment with another Idempotency-Key."
            )
        self._made.add(key)
        return attrs.evolve(request, idempotency_key=key)


def key_of(kept: MutableMapping[str, Any], values: Sequence[str], seen: SeenKeys) -> CallerKey:
    """
    Return the key that came with a request, the same object whenever it is asked for.

    Args:
        kept: What is kept for this request alone.

        values: See `read_key`.

        seen: See `CallerKey`.

    Raises:
        ProblemError: See `read_key`.
    """
    key = kept.get(_KEPT)
    if not isinstance(key, CallerKey):
        key = kept[_KEPT] = CallerKey(read_key(values), seen)
    return key


def is_of_caller(kept: Mapping[str, Any], error: CareValidateError) -> bool:
    """
    Tell whether the call that failed was made under the key that came with its request.

    Args:
        kept: What is kept for that request.

        error: What the call raised.
    """
    key = kept.get(_KEPT)
    return isinstance(key, CallerKey) and key.made(error.idempotency_key)


def read_key(values: Sequence[str]) -> str:
    """
    Return the key that the header's *values* spell.

    Args:
        values: The value of each header of that name, as they came.

    Raises:
        ProblemError: There is none, more than one, or one that cannot be used (400).
    """
    if not values:
        detail = "Send one, made anew for each payment, and again with each repetition of it."
        raise refusal("key-missing", 400, detail)
    if len(values) > 1:
        raise _unusable("There is more than one.")
    text = values[0].strip()
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        key = re.sub(r'\\(["\\])', r"\1", quoted[1][1:-1])
    elif _BARE.fullmatch(text):
        key = text
    else:
        raise _unusable('Send printable ASCII between quotation marks, such as "8e03978e-40d5".')
    if not key.strip():
        raise _unusable("It is empty.")
    if len(key) > MAX_KEY_LENGTH:
        raise _unusable(f"It is longer than {MAX_KEY_LENGTH} characters.")
    return key


def _unusable(detail: str) -> ProblemError:
    return refusal("key-unusable", 400, detail)
