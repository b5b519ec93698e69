from __future__ import annotations

import importlib.resources
import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carevalidate_async.models import (
    CasePaymentRequest,
    PaymentConfirmation,
    PaymentIntentRequest,
    PaymentMethodUpdate,
    ShippingAddress,
    UserPaymentUpdate,
)
from strategies import EXAMPLES, METHOD_ID, OPERATIONS, ORIGIN, REQUESTS, UUIDS, seal, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carevalidate_async._operation import Operation

DESCRIPTION: dict[str, Any] = json.loads(
    importlib.resources.files("carevalidate_async.sandbox").joinpath("openapi.json").read_bytes()
)
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: op.name)


def described(operation: Operation[Any, Any]) -> dict[str, Any]:
    """Return what the description says of *operation*."""
    found: dict[str, Any] = DESCRIPTION["paths"][operation.path][operation.method.lower()]
    return found


def schema(operation: Operation[Any, Any]) -> dict[str, Any]:
    """Return the schema of the body of *operation*'s requests, with what it refers to."""
    body = described(operation)["requestBody"]["content"]["application/json"]["schema"]
    return {**body, "components": DESCRIPTION["components"]}


def judge(operation: Operation[Any, Any]) -> jsonschema.Draft202012Validator:
    """Return the judge of *operation*'s bodies."""
    return jsonschema.Draft202012Validator(
        schema(operation), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


JUDGES = {operation.name: judge(operation) for operation in OPERATIONS}

FIELDS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    operation.name: st.just({}) for operation in OPERATIONS
} | {
    "update_payment_method": st.fixed_dictionaries(
        {"id": st.integers(1, 2**63 - 1)},
        optional={
            "view": texts(),
            "application": st.sampled_from(["planoauth", "planoorder", "planox2"]),
            "application_view": texts(),
            "session_view": texts(),
        },
    )
}


def required(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the way to each required field in a schema, nested ones too."""
    if "$ref" in found:
        found = DESCRIPTION["components"]["schemas"][found["$ref"].rpartition("/")[2]]
    for name in found.get("required", []):
        yield (name,)
        yield from ((name, *rest) for rest in required(found["properties"][name]))


class TestBodies:
    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    @each_operation
    def test_valid(self, operation: Operation[Any, Any], data: st.DataObject) -> None:
        """
        Whatever request can be made, what is sent for it is as the shipped description says.
        """
        request = data.draw(REQUESTS[operation.name])
        fields = data.draw(FIELDS[operation.name])

        body = seal(operation, request, fields=fields).body

        exact, usual = json.loads(body, parse_float=Decimal), json.loads(body)
        assert [] == [*JUDGES[operation.name].iter_errors(exact)]
        assert [] == [*JUDGES[operation.name].iter_errors(usual)]

    @each_operation
    def test_description_is_strict(self, operation: Operation[Any, Any]) -> None:
        """
        The judge is no rubber stamp: it refuses each required field's absence, null and an
        unknown field.
        """
        fields = {"id": METHOD_ID} if operation.echo else {}
        body = json.loads(seal(operation, EXAMPLES[operation.name], fields=fields).body)
        validator = JUDGES[operation.name]
        ways = list(required(schema(operation)))

        assert ways
        assert validator.is_valid(body)
        assert not validator.is_valid(body | {"canary": 1})
        for way in ways:
            assert not validator.is_valid(_changed(body, way, remove=True)), way
            assert not validator.is_valid(_changed(body, way, remove=False)), way

    @pytest.mark.parametrize(
        "model", [PaymentConfirmation, CasePaymentRequest, PaymentIntentRequest]
    )
    def test_same_fields(self, model: type) -> None:
        """
        Model and description have the same fields, and require the same.
        """
        found = DESCRIPTION["components"]["schemas"][model.__name__]

        assert _spelled(model) == set(found["properties"])
        assert _spelled(model, needed=True) == set(found["required"])

    def test_same_nested_fields(self) -> None:
        """
        So it is where the body wraps the model.
        """
        schemas = DESCRIPTION["components"]["schemas"]
        user = schemas["UserPaymentUpdate"]["properties"]
        address = user["data"]["properties"]["shippingAddress"]
        method = schemas["PaymentMethodUpdate"]["properties"]["payment_method"]

        assert _spelled(UserPaymentUpdate) == {"email", *user["data"]["properties"]}
        assert _spelled(ShippingAddress) == set(address["properties"])
        assert set(address["required"]) == set(address["properties"])
        assert {f.name for f in attrs.fields(PaymentMethodUpdate)} == set(method["properties"])


class TestRequestLines:
    def test_described_and_declared(self) -> None:
        """
        The description has the operations' methods and paths under the operations' names, and no
        other.
        """
        found = {
            (what["operationId"], method.upper(), path)
            for path, methods in DESCRIPTION["paths"].items()
            for method, what in methods.items()
        }

        assert {(op.name, op.method, op.path) for op in OPERATIONS} == found

    @settings(max_examples=20, deadline=None)
    @given(case_id=UUIDS)
    @each_operation
    def test_path(self, operation: Operation[Any, Any], case_id: str) -> None:
        """
        Each value in a path is as the description says, and there is no place left unfilled.
        """
        url = seal(operation, EXAMPLES[operation.name], path={"case_id": case_id}).head.url

        names = re.findall(r"\{(\w+)\}", operation.path)
        parameters = described(operation).get("parameters", [])
        assert names == [what["name"] for what in parameters if what["in"] == "path"]
        for what in parameters:
            jsonschema.Draft202012Validator(what["schema"]).validate(case_id)
        assert url == ORIGIN + operation.path.replace("{case_id}", case_id)

    @each_operation
    def test_credential(self, operation: Operation[Any, Any]) -> None:
        """
        The credential travels where the description wants it: in the header of its security
        scheme, or in the body where it names none.
        """
        sealed = seal(operation, EXAMPLES[operation.name])
        schemes = [
            DESCRIPTION["components"]["securitySchemes"][name]["name"]
            for need in described(operation)["security"]
            for name in need
        ]

        assert schemes == list(sealed.head.headers)
        assert bool(schemes) is ("token" not in json.loads(sealed.body))

    @each_operation
    def test_documented_answers(self, operation: Operation[Any, Any]) -> None:
        """
        Each operation's success and its refusal of the credential are described.
        """
        assert {"200", "400", "401"} <= set(described(operation)["responses"])


def _changed(body: dict[str, Any], way: tuple[str, ...], *, remove: bool) -> dict[str, Any]:
    first, *rest = way
    if rest:
        return body | {first: _changed(body[first], tuple(rest), remove=remove)}
    kept = {name: value for name, value in body.items() if name != first}
    return kept if remove else kept | {first: None}


def _spelled(model: Any, *, needed: bool = False) -> set[str]:
    return {
        re.sub(r"_(\w)", lambda found: found[1].upper(), field.name)
        for field in attrs.fields(model)
        if not needed or field.default is attrs.NOTHING
    }
