from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asking import ADDRESS, GONE, GOOD, Asker, Said, changed
from carevalidate_async.carevalidate import OPERATIONS as CAREVALIDATE_OPERATIONS
from carevalidate_async.planocore import OPERATIONS as PLANOCORE_OPERATIONS
from carevalidate_async.sandbox import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carevalidate_async._operation import Operation

SAMPLES = Path(__file__).parent / "samples"
FILES = sorted(
    path.relative_to(SAMPLES).with_suffix("").as_posix() for path in SAMPLES.glob("*/*/*.json")
)
NO_SETUP = {"stripeSetupId": "seti_unknown", "nmiPaymentToken": "x", "shippingAddress": ADDRESS}

# How to get each documented answer: what to change in a good body, where that does it.
CHANGES: Mapping[str, dict[str, Any]] = {
    "carevalidate/confirm_payment/200-success": {},
    "carevalidate/create_case_payment/200-success": {},
    "carevalidate/create_case_payment/400-validation-error": {"amount": 0},
    "carevalidate/create_payment_intent/200-success": {},
    "carevalidate/create_payment_intent/400-missing-required-parameters": {"amount": GONE},
    "carevalidate/create_payment_intent/400-invalid-amount": {"amount": -1},
    "carevalidate/create_payment_intent/400-invalid-payment-method-types": {
        "paymentMethodTypes": ["unknown"]
    },
    "carevalidate/update_user_payment/200-payment-updated-successfully": {},
    "carevalidate/update_user_payment/400-user-does-not-exist": {"email": "a@unknown.example"},
    "carevalidate/update_user_payment/400-invalid-stripe-setup-id": {"data": NO_SETUP},
    "planocore/update_payment_method/200-action-successful": {
        "payment_method": {"active": True, "exp_month": 5, "exp_year": 2030}
    },
    "planocore/update_payment_method/401-invalid-token": {"token": "wrong"},
    "planocore/update_payment_method/401-session-expired": {"token": "expired"},
    "planocore/update_payment_method/401-client-required": {"token": "client-required"},
    "planocore/update_payment_method/400-missing-param": {"id": GONE},
    "planocore/update_payment_method/400-invalid-param": {"id": "x"},
    "planocore/update_payment_method/uncommon-no-params-decoded": dict.fromkeys(
        ("id", "payment_method", "token"), GONE
    ),
}
# Answers that no body brings about: crashes, and planocore's own affairs.
FAULTS: Mapping[str, Fault] = {
    "carevalidate/create_payment_intent/500-internal-server-error": Fault.ERROR_AFTER,
    "planocore/update_payment_method/500-application-crash": Fault.ERROR_AFTER,
    **{
        f"planocore/update_payment_method/{name}": Fault.ERROR_AFTER(
            body=(SAMPLES / f"planocore/update_payment_method/{name}.json").read_bytes()
        )
        for name in (
            "500-mandrill-email-failed",
            "uncommon-identify-request-error",
            "uncommon-route-not-found",
            "uncommon-service-not-found",
        )
    },
}


def sample(name: str) -> dict[str, Any]:
    """Return the sample called *name*."""
    fields: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_bytes())
    return fields


def shape(value: object) -> object:
    """Return *value* with each scalar replaced by its JSON type."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
    )


async def provoke(asker: Asker, name: str) -> Said:
    """Make the sandbox give the answer called *name*."""
    operation = name.split("/")[1]
    method, path, _ = GOOD[operation]
    if name in CHANGES:
        return await asker.ask(operation, changed(operation, CHANGES[name]))
    if name in FAULTS:
        asker.sandbox.script(FAULTS[name])
        return await asker.ask(operation)
    if name.endswith("401-unauthorized"):
        return await asker.ask(operation, key="wrong")
    if name.endswith("409-conflict"):
        await asker.ask(operation, changed(operation, {"idempotencyKey": "k"}))
        return await asker.ask(operation, changed(operation, {"idempotencyKey": "k"}))
    if name.endswith("invalid-content-type"):
        return await asker.send(method, path, data=b"id=42", content_type="text/plain")
    if name.endswith("invalid-encoded-params"):
        return await asker.send(method, path, data=b"!")
    assert name.endswith("route-non-existent")
    return await asker.send(method, f"{path}x")


class TestSamples:
    @pytest.mark.parametrize("name", FILES)
    async def test_same_shape(self, asker: Asker, name: str) -> None:
        """
        The sandbox gives each documented answer with its status, its fields, and the types of
        their values; a message beside planocore's slug is its own.
        """
        said = await provoke(asker, name)
        expected, fields = sample(name), said.fields
        if name.startswith("planocore/"):
            fields.pop("message", None)

        assert shape(expected) == shape(fields)
        status = name.rpartition("/")[2].partition("-")[0]
        assert status in {str(said.status), "uncommon"}

    @pytest.mark.parametrize("name", [name for name in FILES if "/200-" not in name])
    async def test_same_words(self, asker: Asker, name: str) -> None:
        """Refusals are worded as documented, but for what they name of the request."""
        said = await provoke(asker, name)
        expected, fields = sample(name), said.fields
        fields.pop("message", None) if name.startswith("planocore/") else None
        fields.pop("session", None)
        expected.pop("session", None)
        named = re.compile(r"\{email\}|a@unknown\.example|seti_\w+")

        assert named.sub("…", str(expected)) == named.sub("…", str(fields))

    @pytest.mark.parametrize("operation", [*CAREVALIDATE_OPERATIONS, *PLANOCORE_OPERATIONS])
    def test_every_operation_has_samples(self, operation: Operation[Any, Any]) -> None:
        """Each operation has a sample of its success and of a refusal."""
        statuses = {
            name.rpartition("/")[2].partition("-")[0]
            for name in FILES
            if name.split("/")[1] == operation.name
        }

        assert "200" in statuses
        assert statuses - {"200"}

    def test_every_documented_answer_has_a_sample(self) -> None:
        """The pages document 29 answers."""
        assert 29 == len(FILES)
