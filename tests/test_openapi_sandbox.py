from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from asking import (
    CARE_FLAWS,
    CASE,
    GOOD,
    METHOD_FLAWS,
    USER_FLAWS,
    changed,
)
from carevalidate_async.carevalidate import OPERATIONS as CAREVALIDATE_OPERATIONS
from carevalidate_async.planocore import OPERATIONS as PLANOCORE_OPERATIONS
from carevalidate_async.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

DESCRIPTION: dict[str, Any] = json.loads(
    resources.files("carevalidate_async.sandbox").joinpath("openapi.json").read_bytes()
)
SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION)
ANSWERS = {fault: 0.12 for fault in Fault.EVERY if fault.effect == "answer"} | {
    Fault.REDIRECT(status=307): 0.12
}


def body_validator(operation: str) -> jsonschema.Draft202012Validator:
    """Return what checks a body of *operation* against the description."""
    method, path, _ = GOOD[operation]
    path = path.replace(CASE, "{case_id}")
    content = DESCRIPTION["paths"][path][method.lower()]["requestBody"]["content"]
    # The components stand beside the reference, where it looks for them.
    schema = {**content["application/json"]["schema"], "components": DESCRIPTION["components"]}
    return jsonschema.Draft202012Validator(schema)


@contextlib.contextmanager
def in_a_thread(sandbox: Sandbox) -> Iterator[str]:
    """Run *sandbox* in a loop of its own; give its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(sandbox.start(), loop).result()
        yield sandbox.url
    finally:
        asyncio.run_coroutine_threadsafe(sandbox.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def good_url() -> Iterator[str]:
    """A sandbox where nothing goes wrong."""
    with in_a_thread(Sandbox()) as url:
        yield url


@pytest.fixture(scope="module")
def faulty_url() -> Iterator[str]:
    """A sandbox where most answers are faults."""
    with in_a_thread(Sandbox(faults=ANSWERS, seed=1)) as url:
        yield url


def known(case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
    """Give a good *case* what no schema can say: the token, whole cents, 42 and not 42.0."""
    body: Any = case.body
    if case.meta and case.meta.generation.mode.is_positive and isinstance(body, dict):
        if "token" in body:
            body["token"] = "test"
        if isinstance(body.get("amount"), float) and body["amount"] > 0:
            body["amount"] = max(round(body["amount"], 2), 0.01)
        if "id" in body:
            body["id"] = int(body["id"])
            method = body["payment_method"]
            method |= {key: int(method[key]) for key in ("exp_month", "exp_year") if key in method}
    return case


class TestDescription:
    def test_valid(self) -> None:
        """The description follows the rules of OpenAPI 3.1."""
        OPENAPI_31_VALIDATOR.validate(DESCRIPTION)

        assert "3.1.0" == DESCRIPTION["openapi"]

    def test_schemas_are_valid(self) -> None:
        """Each schema follows the rules of JSON Schema."""
        schemas = DESCRIPTION["components"]["schemas"]
        for schema in schemas.values():
            jsonschema.Draft202012Validator.check_schema(schema)

        assert schemas

    def test_references_lead_somewhere(self) -> None:
        """No reference dangles, and no component is idle."""
        text = json.dumps(DESCRIPTION)
        used = set(re.findall(r"#/components/(\w+)/(\w+)", text))
        kinds = {kind: DESCRIPTION["components"][kind] for kind in ("schemas", "responses")}

        assert {(kind, name) for kind, names in kinds.items() for name in names} == used

    def test_operations(self) -> None:
        """It describes the operations that there are, each by its name, and no others."""
        described = {
            (item["operationId"], method.upper(), path)
            for path, methods in DESCRIPTION["paths"].items()
            for method, item in methods.items()
        }
        operations = (*CAREVALIDATE_OPERATIONS, *PLANOCORE_OPERATIONS)

        assert {(one.name, one.method, one.path) for one in operations} == described

    @pytest.mark.parametrize("operation", GOOD)
    def test_good_bodies_are_valid(self, operation: str) -> None:
        """What the sandbox takes in other tests is good by its description too."""
        validator = body_validator(operation)

        assert validator.is_valid(GOOD[operation][2])
        assert not validator.is_valid({})

    @pytest.mark.parametrize(
        ("operation", "change"),
        [(name, change) for name, flaws in CARE_FLAWS.items() for change, _ in flaws]
        + [("update_user_payment", change) for change, _ in USER_FLAWS]
        + [("update_payment_method", change) for change, _ in METHOD_FLAWS],
    )
    def test_flaws_are_invalid(self, operation: str, change: dict[str, Any]) -> None:
        """What the sandbox refuses is bad by its description, but for what no schema can say."""
        # Cents, the calendar, and what exists.
        beyond = ("1.001", "02-30", "unknown")
        expected = any(word in str(change) for word in beyond)

        assert expected is body_validator(operation).is_valid(changed(operation, change))


@pytest.mark.deep
class TestFuzz:
    @SCHEMA.parametrize()
    @settings(
        max_examples=200,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def test_well_behaved(self, case: schemathesis.Case[Any], good_url: str) -> None:
        """
        Every answer is described, good data is accepted and bad data refused, and nothing makes
        the sandbox crash.
        """
        known(case).call_and_validate(base_url=good_url, headers={"cv-api-key": "test"})

    @SCHEMA.parametrize()
    @settings(
        max_examples=100,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    def test_faults_are_described(self, case: schemathesis.Case[Any], faulty_url: str) -> None:
        """The answers that faults give are described too: status, headers, type and body."""
        case.call_and_validate(
            base_url=faulty_url,
            headers={"cv-api-key": "test"},
            allow_redirects=False,
            checks=[
                schemathesis.checks.status_code_conformance,
                schemathesis.checks.content_type_conformance,
                schemathesis.checks.response_headers_conformance,
                schemathesis.checks.response_schema_conformance,
            ],
        )
