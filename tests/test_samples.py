from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carevalidate_async import CareValidate
from carevalidate_async.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ClientRequiredError,
    IdempotencyConflictError,
    InternalServerError,
    NotFoundError,
    Outcome,
    SessionExpiredError,
)
from carevalidate_async.models import (
    Answer,
    CasePayment,
    ConfirmationReceipt,
    PaymentIntent,
    PaymentMethod,
    PaymentStatus,
    UserPaymentUpdated,
)
from carevalidate_async.planocore import Planocore
from carevalidate_async.sandbox._answers import NOT_FOUND
from carevalidate_async.sandbox._routes import Router
from strategies import METHOD_ID, OPERATIONS, answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carevalidate_async._operation import Operation

SAMPLES = Path(__file__).parent / "samples"
FILES = {path.relative_to(SAMPLES).as_posix() for path in SAMPLES.rglob("*") if path.is_file()}
CONFIRM = "carevalidate/confirm_payment"
CASE = "carevalidate/create_case_payment"
INTENT = "carevalidate/create_payment_intent"
USER = "carevalidate/update_user_payment"
METHOD = "planocore/update_payment_method"
REJECTED, RECORDED, UNKNOWN = Outcome.REJECTED, Outcome.RECORDED, Outcome.UNKNOWN

# Every success of the vendors' pages, and what it is read as.
ANSWERS: Mapping[str, Answer] = {
    f"{CONFIRM}/200-success.json": ConfirmationReceipt(),
    f"{CASE}/200-success.json": CasePayment(
        payment_id="9d2461f0-54b8-43dd-9507-e3143d4a50a1",
        status=PaymentStatus.UNPAID,
        amount=Decimal(100),
        description="Creating unpaid case payment",
        created_at=datetime(2026, 5, 6, 12, 54, 10, 287_000, UTC),
        extra={"message": "Case payment created successfully"},
    ),
    f"{INTENT}/200-success.json": PaymentIntent(
        payment_intent_secret="pi_3SG0o8GkkQS2eXzh0BKpSaq0_secret_CBrwqmT726jzfcnvCt0qBcS9e",
        extra={"message": "Payment intent created successfully"},
    ),
    f"{USER}/200-payment-updated-successfully.json": UserPaymentUpdated(
        code="PAYMENT_SETUP_UPDATED"
    ),
    f"{METHOD}/200-action-successful.json": PaymentMethod(
        id=METHOD_ID, data={"id": 42, "active": True, "exp_month": 5, "exp_year": 2030}
    ),
}
# Every refusal of the pages: class, outcome, whether it passes by itself, code, message.
REFUSALS: Mapping[str, tuple[type[APIStatusError], Outcome, bool, str | None, str | None]] = {
    f"{CONFIRM}/409-conflict.json": (
        IdempotencyConflictError,
        RECORDED,
        False,
        "IDEMPOTENCY_ERROR",
        "A record with the provided idempotencyKey already exists for this organization.",
    ),
    f"{CASE}/400-validation-error.json": (
        BadRequestError,
        REJECTED,
        False,
        None,
        "Amount must be a positive number",
    ),
    f"{CASE}/401-unauthorized.json": (
        AuthenticationError,
        REJECTED,
        False,
        None,
        "Invalid API key",
    ),
    f"{INTENT}/400-missing-required-parameters.json": (
        BadRequestError,
        REJECTED,
        False,
        None,
        "Amount is required",
    ),
    f"{INTENT}/400-invalid-amount.json": (
        BadRequestError,
        REJECTED,
        False,
        None,
        "Amount must be a positive number",
    ),
    f"{INTENT}/400-invalid-payment-method-types.json": (
        BadRequestError,
        REJECTED,
        False,
        None,
        "Invalid payment method types",
    ),
    f"{INTENT}/401-unauthorized.json": (
        AuthenticationError,
        REJECTED,
        False,
        None,
        "Invalid API key",
    ),
    f"{INTENT}/500-internal-server-error.json": (
        InternalServerError,
        UNKNOWN,
        True,
        None,
        "Internal server error",
    ),
    f"{USER}/400-user-does-not-exist.json": (
        BadRequestError,
        REJECTED,
        False,
        None,
        "Invalid request: User {email} does not exist",
    ),
    f"{USER}/400-invalid-stripe-setup-id.json": (
        BadRequestError,
        REJECTED,
        False,
        None,
        "Invalid request: No such setupintent: 'seti_1SNZDLKAXrtjbq2duGldHsHf'",
    ),
    **{
        f"{METHOD}/{where}-{slug}.json": (kind, outcome, passing, slug, None)
        for where, slug, kind, outcome, passing in [
            ("401", "invalid-token", AuthenticationError, REJECTED, False),
            ("401", "session-expired", SessionExpiredError, REJECTED, False),
            ("401", "client-required", ClientRequiredError, REJECTED, False),
            ("400", "missing-param", BadRequestError, REJECTED, False),
            ("400", "invalid-param", BadRequestError, REJECTED, False),
            ("400", "invalid-content-type", BadRequestError, REJECTED, False),
            ("500", "application-crash", InternalServerError, UNKNOWN, True),
            ("500", "mandrill-email-failed", InternalServerError, UNKNOWN, False),
            ("500", "route-non-existent", InternalServerError, REJECTED, False),
            ("uncommon", "no-params-decoded", BadRequestError, REJECTED, False),
            ("uncommon", "invalid-encoded-params", BadRequestError, REJECTED, False),
            ("uncommon", "route-not-found", NotFoundError, REJECTED, False),
            ("uncommon", "identify-request-error", InternalServerError, REJECTED, True),
            ("uncommon", "service-not-found", NotFoundError, REJECTED, False),
        ]
    },
}
# The statuses that each operation's page documents.
DOCUMENTED = {
    CONFIRM: {"200", "409"},
    CASE: {"200", "400", "401"},
    INTENT: {"200", "400", "401", "500"},
    USER: {"200", "400"},
    METHOD: {"200", "400", "401", "500", "uncommon"},
}
ANY_STATUS = (200, 400, 404, 500)  # The page gives the uncommon answers none.


def sample(name: str) -> tuple[Operation[Any, Any], tuple[int, ...], bytes]:
    """Return the operation, the possible statuses and the body of a sample."""
    _, operation, file = name.split("/")
    status = file.partition("-")[0]
    statuses = ANY_STATUS if status == "uncommon" else (int(status),)
    found = next(op for op in OPERATIONS if op.name == operation)
    return found, statuses, (SAMPLES / name).read_bytes()


class TestSamples:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_success(self, name: str) -> None:
        """
        The documented success is read, whole, as the contract's answer.
        """
        operation, (status,), body = sample(name)

        found = answer(operation, status, body)

        assert ANSWERS[name] == found
        assert type(ANSWERS[name]) is type(found)

    @pytest.mark.parametrize("name", REFUSALS)
    def test_refusal(self, name: str) -> None:
        """
        The documented refusal is read as the contract's error, with its outcome, code and message.
        """
        operation, statuses, body = sample(name)
        kind, outcome, passing, code, message = REFUSALS[name]

        for status in statuses:
            found = answer(operation, status, body, x_request_id="id-1")

            assert isinstance(found, APIStatusError)
            assert kind is type(found)
            assert (outcome, passing) == (found.outcome, found.retryable)
            assert (code, message) == (found.code, found.message)
            assert (status, "id-1") == (found.status, found.request_id)
            assert json.loads(body) == found.body

    def test_client_required_has_its_session(self) -> None:
        """
        The documented `client-required` gives the session that registering needs.
        """
        operation, (status,), body = sample(f"{METHOD}/401-client-required.json")

        found = answer(operation, status, body)

        assert isinstance(found, ClientRequiredError)
        assert json.loads(body)["session"] == found.session

    def test_secret_is_a_credential(self) -> None:
        """
        The documented payment secret is in no repr of its answer.
        """
        operation, (status,), body = sample(f"{INTENT}/200-success.json")

        found = answer(operation, status, body)

        assert "pi_3SG0o8" not in repr(found)


class TestWhole:
    def test_every_sample_has_a_row(self) -> None:
        """
        There is a row for each sample and a sample for each row.
        """
        assert FILES == {*ANSWERS, *REFUSALS}

    def test_every_documented_status_has_a_sample(self) -> None:
        """
        Each operation has a sample of each status that its page documents, and of no other.
        """
        found: dict[str, set[str]] = {}
        for name in FILES:
            folder, _, file = name.rpartition("/")
            found.setdefault(folder, set()).add(file.partition("-")[0])

        assert found == DOCUMENTED
        assert {f"{op.dialect.name}/{op.name}" for op in OPERATIONS} == set(DOCUMENTED)

    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: op.name)
    def test_every_operation_is_everywhere(self, operation: Operation[Any, Any]) -> None:
        """
        Each operation has a client method, a sandbox route on its method and path, and samples.
        """
        client: type = CareValidate if operation.dialect.name == "carevalidate" else Planocore
        router = Router(NOT_FOUND)
        path = operation.path.format(case_id="9f0f2f70-f536-4b1d-8ed4-c831f4a4bcab")
        found = router.find(operation.method, path)

        assert callable(getattr(client, operation.name))
        assert isinstance(found, tuple)
        assert operation.name == found[0].name
        assert any(operation.name in name for name in FILES)

    def test_sandbox_has_no_other(self) -> None:
        """
        The sandbox serves the operations and nothing beside them.
        """
        names = Router(NOT_FOUND).names

        assert sorted(op.name for op in OPERATIONS) == sorted(names)
