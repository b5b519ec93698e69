from __future__ import annotations

import inspect
import json
import math
import pickle
import re
import traceback
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carevalidate_async import CareValidate, carevalidate, planocore
from carevalidate_async._operation import KeyInBody, OnceOnly, SetsState
from carevalidate_async._secret import Secret
from carevalidate_async._wire import Reply
from carevalidate_async.carevalidate import (
    CONFIRM_PAYMENT,
    CREATE_CASE_PAYMENT,
    CREATE_PAYMENT_INTENT,
    UPDATE_USER_PAYMENT,
)
from carevalidate_async.errors import (
    APIStatusError,
    CareValidateError,
    IdempotencyConflictError,
    InvalidRequestError,
    Outcome,
    ResponseDecodeError,
)
from carevalidate_async.models import (
    Answer,
    CasePayment,
    CasePaymentRequest,
    ConfirmationReceipt,
    PaymentIntent,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    PaymentMethod,
    PaymentMethodUpdate,
    UserPaymentUpdated,
)
from carevalidate_async.planocore import UPDATE_PAYMENT_METHOD, Planocore
from strategies import (
    ADDRESS,
    CASE_ID,
    CONFIRMATION,
    CREDENTIAL,
    EXAMPLES,
    KEYS,
    METHOD_ID,
    ODD_BODIES,
    OPERATIONS,
    ORIGIN,
    REPLIES,
    REQUESTS,
    answer,
    read,
    seal,
)

if TYPE_CHECKING:
    from carevalidate_async._operation import Operation

each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: op.name)

# Name, method, path and what makes a repeat safe: the contract's table.
CONTRACT = [
    ("confirm_payment", "POST", "/api/v1/customer-payment-confirmation", KeyInBody),
    ("create_case_payment", "POST", "/api/v1/cases/{case_id}/payments", KeyInBody),
    ("create_payment_intent", "POST", "/api/v1/payments/intent", OnceOnly),
    ("update_user_payment", "POST", "/api/v1/users", SetsState),
    ("update_payment_method", "PUT", "/api/v1/payment_methods/update", SetsState),
]
# The request bodies that the vendors' pages show, and what makes them here.
PAGES: list[tuple[Operation[Any, Any], object, dict[str, Any], str]] = [
    (
        CONFIRM_PAYMENT,
        attrs.evolve(
            CONFIRMATION,
            decision_id="your-decision-id",
            description="Payment for Compounded Semaglutide",
            idempotency_key="unique-payment-key-123",
        ),
        {
            "caseId": "your-case-id",
            "decisionId": "your-decision-id",
            "amount": 50,
            "paymentDate": "2025-01-01",
            "validUntil": "2025-02-01",
            "status": "PAID",
            "description": "Payment for Compounded Semaglutide",
            "idempotencyKey": "unique-payment-key-123",
        },
        "https://vendor.example/api/v1/customer-payment-confirmation",
    ),
    (
        CREATE_CASE_PAYMENT,
        CasePaymentRequest(
            amount=Decimal("100.00"),
            status="UNPAID",
            preauthorize=True,
            description="Creating preauthorized payment for DEMO",
            idempotency_key="case-payment-unique-key-001",
        ),
        {
            "amount": 100,
            "status": "UNPAID",
            "preauthorize": True,
            "description": "Creating preauthorized payment for DEMO",
            "idempotencyKey": "case-payment-unique-key-001",
        },
        f"https://vendor.example/api/v1/cases/{CASE_ID}/payments",
    ),
    (
        CREATE_PAYMENT_INTENT,
        PaymentIntentRequest(
            amount=100,
            payment_method_types=("affirm", "klarna", "card"),
            metadata=PaymentIntentMetadata(email="testemail@example.com", phone="+1404567890"),
        ),
        {
            "amount": 100,
            "paymentMethodTypes": ["affirm", "klarna", "card"],
            "metadata": {"email": "testemail@example.com", "phone": "+1404567890"},
        },
        "https://vendor.example/api/v1/payments/intent",
    ),
    (
        UPDATE_USER_PAYMENT,
        EXAMPLES["update_user_payment"],
        {
            "action": "UPDATE_PAYMENT_INFO",
            "email": "john@example.com",
            "data": {
                "stripeSetupId": "seti_canary",
                "nmiPaymentToken": "nmi-canary",
                "shippingAddress": {
                    "addressLine1": "1600 Pennsylvania Avenue NW",
                    "addressLine2": "",
                    "city": "Washington",
                    "state": "DC",
                    "country": "US",
                    "postalCode": "20500",
                },
            },
        },
        "https://vendor.example/api/v1/users",
    ),
    (
        UPDATE_PAYMENT_METHOD,
        PaymentMethodUpdate(exp_month=5, exp_year=2030, province_iso="us_co", active=False),
        {
            "id": METHOD_ID,
            "payment_method": {
                "active": False,
                "exp_month": 5,
                "exp_year": 2030,
                "province_iso": "us_co",
            },
            "token": CREDENTIAL,
        },
        "https://vendor.example/api/v1/payment_methods/update",
    ),
]


class TestDeclarations:
    def test_as_the_contract_has_them(self) -> None:
        """
        There are the contract's operations, with its methods, paths and safety of a repeat.
        """
        assert CONTRACT == [
            (op.name, op.method, op.path, type(op.idempotency)) for op in OPERATIONS
        ]

    @each_operation
    def test_has_a_client_method(self, operation: Operation[Any, Any]) -> None:
        """
        Each operation is a method of its vendor's client, which takes and gives its classes.
        """
        client = Planocore if operation in planocore.OPERATIONS else CareValidate
        method = inspect.signature(getattr(client, operation.name))

        assert operation.gives.__name__ == method.return_annotation
        assert operation.takes.__name__ in {p.annotation for p in method.parameters.values()}
        assert inspect.iscoroutinefunction(getattr(client, operation.name))

    @each_operation
    def test_repr(self, operation: Operation[Any, Any]) -> None:
        """
        An operation prints as its vendor, name and request line.
        """
        vendor = "planocore" if operation in planocore.OPERATIONS else "carevalidate"
        expected = f"<{vendor} {operation.name}: {operation.method} {operation.path}>"

        assert expected == repr(operation)

    def test_can_be_keys(self) -> None:
        """
        Operations are constants: they can be members of sets and keys of dictionaries.
        """
        assert 5 == len(set(OPERATIONS))

    def test_what_may_be_repeated(self) -> None:
        """
        All but the intent can arrive twice without harm.
        """
        once = [op for op in OPERATIONS if not op.idempotency.repeatable]

        assert [CREATE_PAYMENT_INTENT] == once

    def test_what_a_conflict_means(self) -> None:
        """
        "On record already" is a success of the confirmation only: the case payment's id is lost.
        """
        successes = {
            op.name: op.idempotency.conflict_is_success
            for op in OPERATIONS
            if isinstance(op.idempotency, KeyInBody)
        }

        assert {"confirm_payment": True, "create_case_payment": False} == successes


class TestSeal:
    @pytest.mark.parametrize(
        ("operation", "request_", "body", "url"), PAGES, ids=[op.name for op, *_ in PAGES]
    )
    def test_as_the_page_shows(
        self, operation: Operation[Any, Any], request_: object, body: dict[str, Any], url: str
    ) -> None:
        """
        What is sent is what the vendor's page shows, to the field.
        """
        sealed = seal(operation, request_)

        assert body == json.loads(sealed.body)
        assert (operation.method, url) == (sealed.head.method, sealed.head.url)
        assert body.get("idempotencyKey") == sealed.idempotency_key

    @pytest.mark.parametrize("operation", carevalidate.OPERATIONS, ids=lambda op: op.name)
    def test_key_in_header(self, operation: Operation[Any, Any]) -> None:
        """
        CareValidate's credential is in its header and not in the body, beside the other headers.
        """
        sealed = seal(operation, EXAMPLES[operation.name], headers={"accept": "x"})

        assert {"accept": "x", "cv-api-key": CREDENTIAL} == sealed.head.headers
        assert CREDENTIAL.encode() not in sealed.body
        assert CREDENTIAL not in sealed.head.url

    def test_refused_parameter_shows_no_credential(self) -> None:
        """
        The traceback of a refused parameter of the path holds no credential in its variables.
        """
        with pytest.raises(InvalidRequestError) as caught:
            seal(CREATE_CASE_PAYMENT, EXAMPLES["create_case_payment"], path={"case_id": ".."})

        # The innermost of a name is the package's.
        shown = {
            frame.f_code.co_name: repr(frame.f_locals)
            for frame, _ in traceback.walk_tb(caught.value.__traceback__)
        }
        assert CREDENTIAL not in shown["seal"]
        assert CREDENTIAL not in shown["_segment"]

    def test_token_in_body(self) -> None:
        """
        Planocore's credential is in the body and in no header.
        """
        sealed = seal(UPDATE_PAYMENT_METHOD, EXAMPLES["update_payment_method"], headers={"a": "x"})

        assert {"a": "x"} == sealed.head.headers
        assert CREDENTIAL == json.loads(sealed.body)["token"]

    def test_nothing_replaces_the_token(self) -> None:
        """
        No field beside the model's can take the credential's or the model's place.
        """
        fields = {"id": 1, "token": "other", "payment_method": "other", "view": "full"}

        body = json.loads(
            seal(UPDATE_PAYMENT_METHOD, PaymentMethodUpdate(exp_month=5), fields=fields).body
        )

        assert {
            "id": 1,
            "token": CREDENTIAL,
            "payment_method": {"exp_month": 5},
            "view": "full",
        } == body

    @pytest.mark.parametrize("operation", [CONFIRM_PAYMENT, CREATE_CASE_PAYMENT])
    def test_makes_a_key(self, operation: Operation[Any, Any]) -> None:
        """
        Without a key of the caller's each call gets a random one, the same in body and record.
        """
        first, second = (seal(operation, EXAMPLES[operation.name]) for _ in range(2))

        assert first.idempotency_key == json.loads(first.body)["idempotencyKey"]
        assert first.idempotency_key != second.idempotency_key
        assert 4 == uuid.UUID(first.idempotency_key).version

    @settings(max_examples=40, deadline=None)
    @given(key=KEYS)
    def test_keeps_the_callers_key(self, key: str) -> None:
        """
        The caller's key goes out as it is.
        """
        sealed = seal(CONFIRM_PAYMENT, attrs.evolve(CONFIRMATION, idempotency_key=key))

        assert (key, key) == (sealed.idempotency_key, json.loads(sealed.body)["idempotencyKey"])

    @pytest.mark.parametrize(
        "operation", [CREATE_PAYMENT_INTENT, UPDATE_USER_PAYMENT, UPDATE_PAYMENT_METHOD]
    )
    def test_no_key_where_none_is_known(self, operation: Operation[Any, Any]) -> None:
        """
        An operation whose vendor knows no key sends none.
        """
        sealed = seal(operation, EXAMPLES[operation.name])

        assert sealed.idempotency_key is None
        assert b"dempotency" not in sealed.body

    def test_changes_nothing_of_the_callers(self) -> None:
        """
        Headers and fields that were handed in are as they were.
        """
        headers, fields = {"a": "x"}, {"id": 1}

        seal(CONFIRM_PAYMENT, CONFIRMATION, headers=headers)
        seal(UPDATE_PAYMENT_METHOD, PaymentMethodUpdate(exp_month=5), fields=fields)

        assert ({"a": "x"}, {"id": 1}) == (headers, fields)

    @pytest.mark.parametrize(
        ("value", "quoted"),
        [("../users", "..%2Fusers"), ("a?b#c", "a%3Fb%23c"), ("é %", "%C3%A9%20%25")],
    )
    def test_path_is_quoted(self, value: str, quoted: str) -> None:
        """
        A value in the path cannot leave its place.
        """
        sealed = seal(CREATE_CASE_PAYMENT, EXAMPLES["create_case_payment"], path={"case_id": value})

        assert f"https://vendor.example/api/v1/cases/{quoted}/payments" == sealed.head.url

    def test_origin_with_a_path(self) -> None:
        """
        An origin with a path in front keeps it.
        """
        sealed = seal(CONFIRM_PAYMENT, CONFIRMATION, origin="https://proxy.example/vendor")

        assert (
            "https://proxy.example/vendor/api/v1/customer-payment-confirmation" == sealed.head.url
        )

    @settings(max_examples=25, deadline=None)
    @given(data=st.data())
    @each_operation
    def test_one_request_one_text(
        self, operation: Operation[Any, Any], data: st.DataObject
    ) -> None:
        """
        Equal requests are sealed to equal bytes, and none of them prints its credential or body.
        """
        request = data.draw(REQUESTS[operation.name])
        if isinstance(operation.idempotency, KeyInBody):
            request = attrs.evolve(request, idempotency_key="key-1")

        one, two = seal(operation, request), seal(operation, attrs.evolve(request))

        assert (one.body, one.idempotency_key) == (two.body, two.idempotency_key)
        assert (one.head.url, one.head.headers) == (two.head.url, two.head.headers)
        assert CREDENTIAL not in repr(one)


class TestRead:
    def test_confirmation(self) -> None:
        """
        A confirmation's success is a receipt; what the vendor adds is kept, the envelope is not.
        """
        body = {"status": 200, "success": True, "id": "r1", "data": {"a": 1}}

        receipt = answer(CONFIRM_PAYMENT, 200, body)

        assert ConfirmationReceipt(extra={"id": "r1", "data": {"a": 1}}) == receipt

    def test_case_payment(self) -> None:
        """
        A case payment is found under its names, and unknown fields of every level are kept.
        """
        body = (
            b'{"success": true, "message": "m", "fee": 0.10, "data": {"page": 1, "result": '
            b'{"paymentId": "p", "status": "NEW_ONE", "amount": 1.15, "description": null, '
            b'"createdAt": "2026-05-06T12:54:10Z", "hold": true, "status_at": null}}}'
        )

        payment = answer(CREATE_CASE_PAYMENT, 200, body)

        assert isinstance(payment, CasePayment)
        assert ("p", "NEW_ONE", "1.15") == (
            payment.payment_id,
            payment.status,
            str(payment.amount),
        )
        assert {
            "message": "m",
            "fee": Decimal("0.10"),
            "page": 1,
            "hold": True,
            "status_at": None,
        } == payment.extra

    def test_inner_field_wins(self) -> None:
        """
        Where two levels have a field of one name, the data's own is kept.
        """
        body = {"success": True, "note": "outer", "data": {"code": "C", "note": "inner"}}

        done = answer(UPDATE_USER_PAYMENT, 200, body)

        assert UserPaymentUpdated(code="C", extra={"note": "inner"}) == done

    def test_data_may_be_named_like_the_envelope(self) -> None:
        """
        A status inside the data is data.
        """
        body = {"success": True, "data": {"code": "C", "status": "S", "success": False}}

        done = answer(UPDATE_USER_PAYMENT, 200, body)

        assert UserPaymentUpdated(code="C", extra={"status": "S", "success": False}) == done

    def test_intent(self) -> None:
        """
        The intent's secret is at hand and in no repr.
        """
        body = {"success": True, "data": {"paymentIntentSecret": "canary"}}

        intent = answer(CREATE_PAYMENT_INTENT, 200, body)

        assert isinstance(intent, PaymentIntent)
        assert "canary" == intent.payment_intent_secret
        assert "canary" not in repr(intent)

    @pytest.mark.parametrize(
        ("said", "data"), [({"data": {"id": 7}}, {"id": 7}), ({"data": None}, None), ({}, None)]
    )
    def test_payment_method(self, said: dict[str, Any], data: object) -> None:
        """
        A payment method has the id that was asked for and the data as the vendor returned it.
        """
        body = {"status": "action-successful", "application": {"a": 1}, "id": 7, **said}

        method = answer(UPDATE_PAYMENT_METHOD, 200, body)

        assert PaymentMethod(id=METHOD_ID, data=data, extra={"application": {"a": 1}}) == method

    @pytest.mark.parametrize("code", [None, 5, True, ["C"]])
    def test_wrong_type(self, code: object) -> None:
        """
        A success with a field of a wrong type cannot be read, and the value is not repeated.
        """
        body = {"success": True, "canary": "canary", "data": {"code": code, "x": "canary"}}

        found = answer(UPDATE_USER_PAYMENT, 200, body)

        assert isinstance(found, ResponseDecodeError)
        assert Outcome.UNKNOWN is found.outcome
        assert "code" in str(found)
        assert "canary" not in str(found)

    @pytest.mark.parametrize(
        ("description", "code", "kept"),
        [
            # A word that is there by chance says nothing of the payer.
            ("payment", "PAYMENT_LIMIT_REACHED", True),
            ("A visit", "ERR_1000234", True),
            ("A visit", "E2024-01-01", True),
            ("PAYMENT_LIMIT_REACHED", "IDEMPOTENCY_ERROR", True),
            # What can only be the request's own.
            ("visit", "VISIT", False),
            ("limit_reached", "PAYMENT_LIMIT_REACHED", False),
            ("A visit", f"bad:{CREDENTIAL}", False),
            ("A visit", "caller-2025550177", False),
        ],
    )
    def test_code_that_repeats_the_request(self, description: str, code: str, kept: bool) -> None:
        """
        A code that nobody documents is given on, unless it repeats a private text of the request.
        """
        request_ = CasePaymentRequest(amount=100, description=description)
        body = json.dumps({"success": False, "code": code, "message": "no"}).encode()

        found = read(
            CREATE_CASE_PAYMENT, Reply(status=400, headers={}, body=body), request=request_
        )

        assert isinstance(found, APIStatusError)
        assert (code if kept else None) == found.code

    @pytest.mark.deep
    @settings(max_examples=300, deadline=None)
    @given(reply=REPLIES)
    @each_operation
    @example(reply=Reply(status=200, headers={}, body=ODD_BODIES[4]))
    @example(reply=Reply(status=400, headers={}, body=ODD_BODIES[4]))
    def test_total(self, operation: Operation[Any, Any], reply: Reply) -> None:
        """
        Any status with any bytes and headers is the answer or an error of ours whose outcome
        agrees with it; nothing is ever raised.
        """
        found = read(operation, reply)

        success = 200 <= reply.status < 300
        if isinstance(found, Answer):
            assert success
            assert operation.gives is type(found)
            return
        assert isinstance(found, CareValidateError)
        assert Outcome.NOT_SENT is not found.outcome
        assert (found.outcome is Outcome.RECORDED) is isinstance(found, IdempotencyConflictError)
        assert re.match(rf"{operation.name}: HTTP {reply.status}\b", str(found))
        assert len(str(found).splitlines()) == 1
        again = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own bytes
        assert (type(found), str(found)) == (type(again), str(again))
        if isinstance(found, ResponseDecodeError):
            assert success
            assert (Outcome.UNKNOWN, reply.status) == (found.outcome, found.status)
            return
        assert isinstance(found, APIStatusError)
        assert reply.status == found.status
        assert isinstance(found.body, dict | str)
        assert found.retry_after is None or math.isfinite(found.retry_after)

    @settings(max_examples=100, deadline=None)
    @given(body=st.binary(max_size=40), status=st.integers(500, 599) | st.integers(300, 399))
    @each_operation
    def test_never_sure_of_others(
        self, operation: Operation[Any, Any], body: bytes, status: int
    ) -> None:
        """
        No 3xx or 5xx without a documented slug is taken for a sure no.
        """
        found = answer(operation, status, body)

        assert isinstance(found, APIStatusError)
        assert Outcome.UNKNOWN is found.outcome

    @settings(max_examples=25, deadline=None)
    @given(data=st.data())
    @each_operation
    def test_echoed_request(self, operation: Operation[Any, Any], data: st.DataObject) -> None:
        """
        A vendor that repeats a whole private text in its refusal cannot get it into ours.
        """
        canary = "canary-" + data.draw(st.text("abcXYZ 0123", min_size=1, max_size=8)).strip()
        request = _with_canary(EXAMPLES[operation.name], canary)
        body = json.dumps({"message": f"bad: {canary}.", "code": canary}).encode()

        found = read(operation, Reply(status=400, headers={}, body=body), request=request)

        assert canary not in str(found) + repr(found)

    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: op.name)
    def test_echoed_credential(self, operation: Operation[Any, Any]) -> None:
        """
        Nor does a vendor that repeats the credential get it into the error's text.
        """
        found = answer(operation, 401, {"message": f"{CREDENTIAL} is unknown"})

        assert CREDENTIAL not in str(found) + repr(found)

    def test_keeps_no_frames(self) -> None:
        """
        The error that is returned was never raised, so it holds no frame with the credential.
        """
        for reply in (b"", b'{"success": true, "data": 5}', b'{"success": false}'):
            found = answer(CREATE_PAYMENT_INTENT, 200, reply)
            assert isinstance(found, CareValidateError)
            assert (None, None, None) == (
                found.__traceback__,
                found.__cause__,
                found.__context__,
            )


class TestArguments:
    @pytest.mark.parametrize(
        ("method_id", "views", "reason"),
        [
            (0, {}, "id: must be from 1 to 9223372036854775807"),
            (-1, {}, "id: must be from 1 to"),
            (2**63, {}, "id: must be from 1 to"),
            ("42", {}, "id: must be an int, not str"),
            (True, {}, "id: must be an int, not bool"),
            (42, {"view": ""}, "view: must not be empty"),
            (42, {"application_view": 5}, "application_view: must be text, not int"),
            (42, {"session_view": "\ud800"}, "session_view: holds a lone surrogate"),
        ],
    )
    async def test_payment_method(self, method_id: Any, views: Any, reason: str) -> None:
        """
        What stands beside the update is checked before anything is sent.
        """
        plano = Planocore("token", base_url=ORIGIN)

        with pytest.raises(InvalidRequestError, match=reason) as caught:
            await plano.update_payment_method(method_id, EXAMPLES["update_payment_method"], **views)

        assert Outcome.NOT_SENT is caught.value.outcome

    @pytest.mark.parametrize(
        "case_id", ["", "abc123", "../users", f"{CASE_ID}/..", f"{CASE_ID}\n", CASE_ID[:-1], None]
    )
    async def test_case_id(self, case_id: Any) -> None:
        """
        A case id that is no UUID is refused before anything is sent.
        """
        care = CareValidate("key", base_url=ORIGIN)

        with pytest.raises(InvalidRequestError) as caught:
            await care.create_case_payment(case_id, EXAMPLES["create_case_payment"])

        assert "case_id" == caught.value.field

    @pytest.mark.parametrize("operation", carevalidate.OPERATIONS, ids=lambda op: op.name)
    async def test_wrong_request(self, operation: Operation[Any, Any]) -> None:
        """
        A request of another operation, or its fields as a dictionary, is refused by its kind.
        """
        care = CareValidate("key", base_url=ORIGIN)
        first = (CASE_ID,) if operation is CREATE_CASE_PAYMENT else ()

        for wrong in (EXAMPLES["update_payment_method"], {"amount": 1}, None):
            with pytest.raises(InvalidRequestError, match=f"must be a {operation.takes.__name__}"):
                await getattr(care, operation.name)(*first, wrong)


class TestRemembered:
    @pytest.fixture(autouse=True)
    def forget(self) -> None:
        """
        What other tests had answered.
        """
        for operation in OPERATIONS:
            operation._yes.clear()

    def test_an_answer_that_says_yes_and_no_more(self) -> None:
        """
        Its bytes need not be read again; what comes of them is another object each time.
        """
        reply = Reply(status=200, headers={}, body=b'{"success": true, "status": 200 }')
        one, other = read(CONFIRM_PAYMENT, reply), read(CONFIRM_PAYMENT, reply)

        assert (200, reply.body) in CONFIRM_PAYMENT._yes
        assert ConfirmationReceipt() == one == other
        assert one is not other

    @pytest.mark.parametrize(
        ("operation", "status", "body"),
        [
            (CONFIRM_PAYMENT, 200, b'{"success":true,"name":"Ann"}'),
            (CONFIRM_PAYMENT, 200, b'{"success":true}' + b" " * 99),
            (CONFIRM_PAYMENT, 200, b'{"success":false}'),
            (CONFIRM_PAYMENT, 200, b"{}"),
            (CONFIRM_PAYMENT, 409, b'{"success":true}'),
            (CONFIRM_PAYMENT, 500, b'{"success":true}'),
            (UPDATE_USER_PAYMENT, 200, b'{"success":true,"data":{"code":"OK"}}'),
            (CREATE_PAYMENT_INTENT, 200, b'{"success":true,"data":{"paymentIntentSecret":"s"}}'),
            (UPDATE_PAYMENT_METHOD, 200, b'{"status":"action-successful","data":{"id":42}}'),
        ],
    )
    def test_no_other_is(self, operation: Operation[Any, Any], status: int, body: bytes) -> None:
        """
        What says more, or no, is read each time, and nothing of it is kept.
        """
        answer(operation, status, body)

        assert not operation._yes

    def test_few_are(self) -> None:
        """
        A vendor whose answers differ fills no memory.
        """
        for blanks in range(40):
            answer(CONFIRM_PAYMENT, 200, b'{"success":true}' + b" " * blanks)

        assert 16 >= len(CONFIRM_PAYMENT._yes) > 0

    def test_the_status_counts(self) -> None:
        """
        The same bytes under another status are another answer.
        """
        body = b'{"success":true }'
        answer(CONFIRM_PAYMENT, 200, body)

        assert isinstance(answer(CONFIRM_PAYMENT, 500, body), APIStatusError)


class TestSecretInRequest:
    def test_two_credentials(self) -> None:
        """
        Each call is signed with the credential that it was given.
        """
        sealed = seal(CONFIRM_PAYMENT, CONFIRMATION, secret=Secret("other"))

        assert "other" == sealed.head.headers["cv-api-key"]


def _with_canary(request: Any, canary: str) -> Any:
    changes: dict[str, Any] = {}
    for field in attrs.fields(type(request)):
        if not field.repr and field.name not in {"email", "province_iso"}:
            changes[field.name] = canary
    if hasattr(request, "shipping_address"):
        changes["shipping_address"] = attrs.evolve(ADDRESS, city=canary)
    if hasattr(request, "metadata"):
        changes["metadata"] = PaymentIntentMetadata(phone=canary)
    return attrs.evolve(request, **changes)
